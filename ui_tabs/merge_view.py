"""The frame of the Merge tab: which one is shown, what is asked of the warm child, and what the browser is told."""

from __future__ import annotations

import hashlib
import html
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any

import gradio as gr
import numpy as np
from pydantic import ValidationError

from backend.core.errors import LookalikeError
from backend.core.merge_keys import next_change, previous_change
from backend.core.settings import MergeSettings
from backend.jobs.scheduler import writes
from backend.jobs.store import one_line
from backend.jobs.warm import WarmFace, WarmPreview
from backend.storage.project import Project
from ui_tabs.context import OPEN_STATES, PageContext, Updates, View
from ui_tabs.fix_data import FramePictures
from ui_tabs.gallery import modified
from ui_tabs.merge_acts import Desk, act, flattened, look_words, range_at
from ui_tabs.merge_clip import MergeClip, MergeClips
from ui_tabs.merge_form import mask_choices
from ui_tabs.merge_markup import viewer_html
from ui_tabs.merge_networks import networks
from ui_tabs.merge_plans import PlanBook
from ui_tabs.merge_strip import MergedFrames, strip

VIEW_SCRIPT = "window.lookalike.merge(element, trigger, 'merge-data', 'merge-shot');"
FRAME = "merge.frame"
COMING = "merge.coming"
RUN_FIELDS = frozenset({"first_frame", "last_frame", "redo", "alpha_png", "batch_size", "workers"})
"""Settings that do not change how one frame looks by itself."""
OUTLINE = (*range(17), *range(26, 16, -1))
"""Landmarks around a face: along the jaw and back over the brows."""
PATIENCE_S = 0.1
"""So long an answer waits for its picture, seconds."""


class MergeViewer:
    """The frame, its strip and its keys. Place it inside a layout, then wire() it.

    Args:
        page: the page's context.
        plans: the plans of the projects.
        missing: why nothing can be shown, "" when it can.

    Attributes:
        data, shot: what merge.js reads: where it stands, and the newest picture.
        want: changes when another picture is wanted that no question asked for.
        clips, merged, pictures: see their classes, for whoever shows them too.
    """

    def __init__(self, page: PageContext, plans: PlanBook, missing: Callable[[View], str]) -> None:
        self.page = page
        self.plans = plans
        self._missing = missing
        self.warm = WarmPreview(page.workspace, page.manager.weights_dir)
        self.clips = MergeClips()
        self.merged = MergedFrames()
        self.pictures = FramePictures(page)
        self.viewer = gr.HTML(viewer_html(), elem_id="merge-viewer", js_on_load=VIEW_SCRIPT)
        self.data = gr.HTML("", elem_id="merge-data", elem_classes="lk-fix-data")
        self.shot = gr.HTML("", elem_id="merge-shot", elem_classes="lk-fix-data")
        self.want = gr.State("")
        self._turn = threading.Lock()
        self._pool = ThreadPoolExecutor(4, thread_name_prefix="merge-picture")

    @property
    def outputs(self) -> list[Any]:
        """Every component that told() may update."""
        return [self.data, self.want]

    def wire(self, then: Callable[[View], Updates], outputs: Sequence[Any]) -> None:
        """Make it answer.

        Args:
            then: what else is to be shown after a question was answered; fast.
            outputs: what that may update.
        """

        def asked(view: View, event: gr.EventData) -> Updates:
            self.ask(view, dict(getattr(event, "_data", None) or {}))
            return self.answer(view, lambda: then(view))

        def wanted(view: View) -> Any:
            coming = view.local.pop(COMING, None)
            return (coming.result() if coming else self.render(view)) or gr.skip()

        page = self.page
        at_once = {"trigger_mode": "multiple", "concurrency_limit": None, **page.quiet}
        self.viewer.select(asked, page.view, [*self.picture_parts, *outputs], **at_once)
        page.on(self.want.change, wanted, page.view, [self.shot], concurrency_limit=None)

    @property
    def picture_parts(self) -> list[Any]:
        """What answer() and render() update."""
        return [self.data, self.shot, self.want]

    # -- what the browser asks for

    def ask(self, view: View, asked: dict[str, Any]) -> None:
        """Do what was asked for; a refusal is shown below the frame."""
        view.local.update({"merge.said": "", "merge.failed": False})
        try:
            project = self.page.need_project(view)
            if asked.get("do") == "again":
                view.local["merge.tries"] = view.local.get("merge.tries", 0) + 1
            made: list[Desk] = []

            def change(plan: MergeSettings) -> MergeSettings:
                made.append(act(self.desk(view, project, plan), asked))
                return made[-1].plan

            if asked.get("do") in ("go", "change", "again"):
                change(self.plans.get(view, project))
            else:
                self.plans.change(view, project, change)
            view.local.update({FRAME: made[-1].frame, "merge.said": made[-1].said})
        except ValidationError as error:
            view.local.update({"merge.said": f"{one_line(error)}.", "merge.failed": True})
        except (LookalikeError, OSError) as error:
            view.local.update({"merge.said": str(error), "merge.failed": True})
        except (KeyError, ValueError, TypeError, OverflowError):
            view.local.update({"merge.said": "This was not understood.", "merge.failed": True})
        view.local["merge.answered"] = asked.get("ask", 0)

    def desk(self, view: View, project: Project, plan: MergeSettings) -> Desk:
        """What a browser tab looks at."""
        clip = self.clips.need(project)
        found = networks(self.page, project)
        frame = shown_frame(view, clip)
        masks = tuple(value for _, value in mask_choices(found.segmentation, plan.look_at(frame).mask_mode))
        return Desk(plan, frame, max(clip.count, 1), masks, bool(found.enhancer))

    # -- what the browser is told

    def told(self, view: View) -> Updates:
        """Where it stands, and which picture is wanted."""
        stands, want = self._stands(view)
        view.seen.update({"merge.data": stands, "merge.want": want})
        return {self.data: _hidden(stands), self.want: _once(view, want)}

    def stand(self, view: View) -> Updates:
        """Where it stands; for an event that renders the picture itself."""
        stands, want = self._stands(view)
        view.seen.update({"merge.data": stands, "merge.want": want})
        return {self.data: _hidden(stands)}

    def answer(self, view: View, then: Callable[[], Updates]) -> Updates:
        """Where it stands and the picture, for an event; when the child takes long, the picture follows by ``want``.

        One answer and no generator: every step of one costs the browser as much time as a whole event.

        Args:
            then: what else is to be shown.
        """
        coming = self._pool.submit(self.render, view)
        shown = {**self.stand(view), **then()}
        try:
            return {**shown, **coming.result(PATIENCE_S)}
        except TimeoutError:
            view.local[COMING] = coming
            return {**shown, self.want: _once(view, view.seen["merge.want"])}

    def tick(self, view: View) -> Updates:
        """The same, as far as it changed."""
        stands, want = self._stands(view)
        shown: Updates = {self.data: _hidden(stands)} if view.changed("merge.data", stands) else {}
        if view.changed("merge.want", want):
            shown[self.want] = _once(view, want)
        return shown

    def _stands(self, view: View) -> tuple[dict[str, Any], str]:
        project = self.page.project(view)
        reason = self._missing(view)
        clip = None if project is None or reason else self.clips.get(project, self._busy(view))
        answered = view.local.get("merge.answered", 0)
        if project is None or clip is None or not clip.count:
            return {"answered": answered, "empty": reason or "Reading the faces."}, ""
        plan = self.plans.get(view, project)
        frame = view.local[FRAME] = shown_frame(view, clip)
        want = self._want(view, project, clip, plan)
        stands = {
            "answered": answered,
            "place": project.name,
            "count": clip.count,
            "frame": frame,
            "stem": clip.stems[frame - 1],
            "want": want,
            "look": look_words(plan, frame, clip.count),
            "keys": [key.frame for key in plan.keys if 1 < key.frame <= clip.count],
            "able": _able(plan, frame, clip.count),
            "strip": strip(self.pictures, project, clip, plan),
            "runs": self.merged.standing(project, clip, plan).runs,
            "said": view.local.get("merge.said", ""),
            "failed": bool(view.local.get("merge.failed")),
        }
        return stands, want

    def _want(self, view: View, project: Project, clip: MergeClip, plan: MergeSettings) -> str:
        """Changes when the shown frame has to be rendered anew."""
        frame = int(view.local[FRAME])
        steady = plan.smooth_mask or plan.smooth_color  # then the frames around it count too
        flat = (plan if steady else flattened(plan, frame)).model_dump(mode="json", exclude=set(RUN_FIELDS))
        saved = [modified(project.model_root / name / "model.json") for name in plan.model_names()]
        parts = (str(project.path), frame, flat, saved, clip.stamp, view.local.get("merge.tries", 0))
        return hashlib.sha1(json.dumps(parts).encode(), usedforsecurity=False).hexdigest()[:12]

    def _busy(self, view: View) -> bool:
        """Whether a job that is running or waiting changes the destination's frames or faces."""
        ours = {"dst faces", "dst frames"}
        return any(job.status.state in OPEN_STATES and writes(job.request) & ours for job in self.page.jobs(view))

    # -- the picture

    def render(self, view: View) -> Updates:
        """Ask the warm child for the frame as the plan wants it now; an error takes the place of a new picture.

        Of several events that wait for the child the first one gets the newest picture, the others have nothing to do.
        """
        with self._turn:
            stands, want = self._stands(view)
            project = self.page.project(view)
            if project is None or view.local.get("merge.shown", "") == want:
                return {}
            view.local["merge.shown"] = want
            return {self.shot: _hidden(self._rendered(view, project, stands))}

    def _rendered(self, view: View, project: Project, stands: Mapping[str, Any]) -> dict[str, Any]:
        frame, plan = int(stands["frame"]), self.plans.get(view, project)
        told: dict[str, Any] = {"want": stands["want"], "place": project.name, "frame": frame}
        began = time.monotonic()
        try:
            images = self.warm.render(project, plan, frame - 1)
            told |= {key: self._url(getattr(images, key)) for key in ("before", "after", "mask", "alpha")}
            outlines = {face.name: face.landmarks for face in self.clips.need(project).faces_of(frame)}
            told["faces"] = [_face_json(face, outlines.get(face.name)) for face in images.faces]
            told["seconds"] = round(time.monotonic() - began, 2)
        except (LookalikeError, OSError) as error:
            told["error"] = str(error)
        return told

    def _url(self, path: Path) -> str:
        return self.page.file_url(path, 1)


def shown_frame(view: View, clip: MergeClip) -> int:
    """The frame that a browser tab looks at, counted from 1."""
    return min(max(int(view.local.get(FRAME, 1)), 1), max(clip.count, 1))


def _once(view: View, want: str) -> str:
    """A value for MergeViewer.want that it never had before: the same picture may be wanted again after another."""
    view.local["merge.wants"] = view.local.get("merge.wants", 0) + 1
    return f"{want} {view.local['merge.wants']}"


def _able(plan: MergeSettings, frame: int, last: int) -> dict[str, bool]:
    """Button -> whether it does anything."""
    first, until = range_at(plan, frame, last)
    ahead = next_change(plan, frame)
    return {
        "first": frame > 1,
        "prev": frame > 1,
        "next": frame < last,
        "last": frame < last,
        "key": frame != first,
        "unkey": any(key.frame <= frame for key in plan.keys),
        "before": first > 1,
        "after": until < last,
        "change-prev": previous_change(plan, frame) is not None,
        "change-next": ahead is not None and ahead <= last,
    }


OUTCOMES: Mapping[str, str] = MappingProxyType(
    {
        "merged": "",
        "left": "left as it is",
        "empty_mask": "not swapped: its mask is empty",
        "seamless_failed": "laid over: seamless was not possible here",
        "no_crop": "not swapped: its points fit no face",
    }
)
"""What became of a face, in words."""


def _face_json(face: WarmFace, landmarks: Any) -> dict[str, Any]:
    """A face as merge.js draws it, in frame pixels; ``fine`` when it was swapped as asked for."""
    track = f"track {face.track}" if face.track is not None else ""
    model = f"model {face.model}" if face.model else ""
    words = [face.person, track, model, OUTCOMES.get(face.outcome, face.outcome)]
    points = [] if landmarks is None else np.asarray(landmarks)[list(OUTLINE)].round(1).tolist()
    left, top, right, bottom = face.box_xyxy
    return {
        "points": points or [[left, top], [right, top], [right, bottom], [left, bottom]],
        "corners": [list(corner) for corner in face.corners],
        "label": ", ".join(word for word in words if word),
        "fine": face.outcome == "merged",
    }


def _hidden(told: dict[str, Any]) -> str:
    """What merge.js reads."""
    return f"<div hidden>{html.escape(json.dumps(told), quote=False)}</div>"
