"""Fixing by hand: the faces of one frame are moved, placed, copied, filled in or deleted; all of it can be undone."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Callable
from typing import Any

import gradio as gr
from pydantic import ValidationError

from backend.core.errors import BadInputError, LookalikeError
from backend.core.faces import MANUAL
from backend.core.fixing import FixRequest
from backend.jobs.scheduler import writes
from backend.jobs.store import one_line
from backend.jobs.warm import WarmFaceFixer
from backend.storage.face_edits import FaceEdits, edits_of
from backend.storage.faceset import FaceRecord
from backend.storage.project import Project, SideFiles
from ui_tabs.context import OPEN_STATES, PageContext, Updates, View
from ui_tabs.fix_data import FramePictures, extraction_values, face_json, pick_refine, refine_choices
from ui_tabs.fix_frames import KINDS, FrameMap, FrameMaps
from ui_tabs.fix_markup import viewer_html

FIX_SCRIPT = "window.lookalikeFix(element, trigger, 'fix-data');"
STRIP_EACH_WAY = 4
ONE_FACE_S, FILL_S = 120.0, 900.0
"""How long the child may take for a frame or for many, with its start and slow networks on a CPU, seconds."""
MOST_FRAMES = 1000
"""Faces of so many frames are named to the child; it refuses to fill more."""


class FixView:
    """The viewer and what it does. Place it inside a layout.

    Args:
        page: the page's context.
        side_of: which side a browser tab looks at.

    Attributes:
        maps: the frames and faces of the sides, for whoever shows them too.
    """

    def __init__(self, page: PageContext, side_of: Callable[[View], str]) -> None:
        self.page = page
        self.side_of = side_of
        self.fixer = WarmFaceFixer(page.workspace, page.manager.weights_dir)
        self.maps = FrameMaps()
        self._pictures = FramePictures(page)
        self.viewer = gr.HTML(viewer_html(), elem_id="fix-viewer", js_on_load=FIX_SCRIPT)
        self.data = gr.HTML("", elem_id="fix-data", elem_classes="lk-fix-data")
        options = {"trigger_mode": "multiple", "concurrency_limit": None}
        page.on(self.viewer.select, self._asked, page.view, [self.data], **options)

    @property
    def outputs(self) -> list[Any]:
        """Every component that tick() and fill() may update."""
        return [self.data]

    def tick(self, view: View) -> Updates:
        """The frame, when it or its faces changed."""
        project = self.page.project(view)
        if project is None:
            return {self.data: _hidden({"empty": "No project is open."})} if view.changed("fix.stamp", None) else {}
        return {self.data: self._shown(view, project)} if view.changed("fix.stamp", self._stamp(view, project)) else {}

    def fill(self, view: View) -> Updates:
        """Nothing is kept in a form: the frame follows with the next tick."""
        view.seen.pop("fix.stamp", None)
        return {}

    # -- what the viewer asks for

    def _asked(self, view: View, event: gr.EventData) -> Updates:
        """Do what was asked for, and show the frame as it is then; a refusal is shown below it."""
        asked: dict[str, Any] = getattr(event, "_data", None) or {}
        project = self.page.project(view)
        if project is None:
            return {self.data: _hidden({"empty": "No project is open."})}
        side = project.side(self.side_of(view))
        view.local.update({"fix.said": "", "fix.failed": False})
        try:
            act = {
                **dict.fromkeys(("go", "jump", "choose"), self._look),
                **dict.fromkeys(("place", "copy", "between"), self._change),
                **dict.fromkeys(("delete", "undo", "redo"), self._change),
                "mark": self._mark,
            }[str(asked.get("do"))]
            act(view, side, asked)
        except ValidationError as error:
            view.local["fix.said"], view.local["fix.failed"] = f"This was not understood: {one_line(error)}.", True
        except (LookalikeError, OSError, KeyError, ValueError, TypeError, OverflowError) as error:
            words = str(error) if isinstance(error, LookalikeError | OSError) else "This was not understood."
            view.local["fix.said"], view.local["fix.failed"] = words, True
        view.local["fix.answered"] = asked.get("ask", 0)  # only now: a tick may have looked meanwhile
        view.seen["fix.stamp"] = self._stamp(view, project)
        return {self.data: self._shown(view, project)}

    def _look(self, view: View, side: SideFiles, asked: dict[str, Any]) -> None:
        """Another frame, or another choice of what to jump to and what refines."""
        if asked["do"] == "choose":
            if str(asked.get("kind", "")) in KINDS:
                view.local["fix.kind"] = str(asked["kind"])
            if "threshold" in asked:
                wanted = float(asked["threshold"])
                view.local["fix.threshold"] = min(max(wanted, 0.0), 1.0) if math.isfinite(wanted) else 0.9
            if "refine" in asked:
                view.local["fix.refine"] = str(asked["refine"])
            return
        frames = self.maps.get(side, self._busy(view, side)) or self.maps.need(side)
        if not frames.frames:
            return
        at = frames.number(str(view.local.get("fix.frame", "")))
        if asked["do"] == "jump":
            found = frames.next(_kind(view), _threshold(view), at, 1 if int(asked["step"]) > 0 else -1)
            if found is None:
                raise BadInputError(f"There is no frame {KINDS[_kind(view)]}.")
            at = found
        else:
            at = min(max(int(asked["index"]), 0), len(frames.frames) - 1)
        view.local["fix.frame"] = frames.frames[at].name
        device = extraction_values(self.page, view, side, frames, at)["device"]
        self.fixer.prepare(self._refine(view), device)

    def _mark(self, view: View, side: SideFiles, asked: dict[str, Any]) -> None:
        """Remember a face as one end of the frames to fill."""
        record = self.maps.need(side).record(str(asked["name"]), str(asked["frame"]))
        view.local["fix.mark"] = (side.name, record.face.source_filename, record.path.name)
        view.local["fix.said"] = "Marked. Go to the other end, select the face there and press Fill between."

    def _change(self, view: View, side: SideFiles, asked: dict[str, Any]) -> None:
        """A correction: refused while a job writes the same faces."""
        reason = self.page.consent_missing(view)
        if reason:
            raise BadInputError(reason)
        if self._busy(view, side):
            raise BadInputError("A job is changing these faces.", "Wait for it or stop it, then try again.")
        if asked["do"] in ("undo", "redo"):
            self._replay(view, edits_of(side.frames_dir, side.faceset()), str(asked["do"]))
        elif asked["do"] == "delete":
            record = self.maps.need(side).record(str(asked["name"]), str(asked["frame"]))
            edits = edits_of(side.frames_dir, side.faceset())
            edits.apply("Delete face", record.face.source_filename, {record.path.name: None})
            view.local["fix.said"] = "Moved to the trash."
        else:
            self._ask_child(view, side, asked)

    def _replay(self, view: View, edits: FaceEdits, which: str) -> None:
        done = edits.undo() if which == "undo" else edits.redo()
        if done is None:
            raise BadInputError(f"There is nothing to {which}.")
        view.local["fix.frame"] = done.step.frame
        view.local["fix.said"] = f"{'Taken back' if which == 'undo' else 'Done again'}: {done.step.what}."

    def _ask_child(self, view: View, side: SideFiles, asked: dict[str, Any]) -> None:
        project = self.page.need_project(view)
        frames = self.maps.need(side)
        frame = str(asked["frame"])
        given = {key: asked[key] for key in ("name", "seen", "landmarks", "points", "box") if asked.get(key)}
        refine = "none" if asked.get("plain") else self._refine(view)
        request = {"do": asked["do"], "frame": frame, "refine": refine, **given}
        if asked["do"] == "copy":
            request["other_frame"] = _neighbour(frames, frame, int(asked["step"]))
        elif asked["do"] == "between":
            request["other_frame"], request["other_name"] = self._other_end(view, side, frames, asked)
        at = frames.number(frame)
        if "other_frame" in request:
            ends = sorted((at, frames.number(request["other_frame"])))
            names = {frames.frames[n].name: frames.of(n) for n in range(ends[0], ends[1] + 1)[:MOST_FRAMES]}
            request["faces"] = {name: [r.path.name for r in records] for name, records in names.items() if records}
        request.update(extraction_values(self.page, view, side, frames, at))
        checked = FixRequest.model_validate(request)
        patience = FILL_S if checked.do == "between" else ONE_FACE_S
        made = self.fixer.fix(project, side.name, checked.model_dump(mode="json"), patience)
        view.local["fix.frame"] = frame
        view.local["fix.selected"] = made.names[0] if len(made.names) == 1 else ""
        number = f"{len(made.names):,} faces" if len(made.names) != 1 else "Face"
        words = f"{number} saved in {made.seconds:.2f} s."
        view.local["fix.said"] = words if made.names else "Nothing has changed."

    def _other_end(self, view: View, side: SideFiles, frames: FrameMap, asked: dict[str, Any]) -> tuple[str, str]:
        """(frame, face) of the marked face, else of the nearest earlier hand-made one."""
        marked = view.local.get("fix.mark")
        if marked and marked[0] == side.name and marked[2] != asked.get("name"):
            frame = frames.frames[frames.number(marked[1])].name
            view.local.pop("fix.mark")
            return frame, marked[2]
        at = frames.number(str(asked["frame"]))
        for number in reversed([n for n in frames.found["hand"] if n < at]):
            record = next(r for r in frames.of(number) if r.face.origin == MANUAL)
            return frames.frames[number].name, record.path.name
        raise BadInputError(
            "The other end is not known: no earlier frame has a hand-made face.", "Mark a face as the other end first."
        )

    # -- what is shown

    def _shown(self, view: View, project: Project) -> str:
        side = project.side(self.side_of(view))
        busy = self._busy(view, side)
        frames = self.maps.get(side, busy)
        if frames is None:
            return _hidden({"empty": "Reading the faces."})
        if not frames.frames:
            return _hidden({"empty": "The frames appear here once they were extracted from the clip."})
        at = frames.number(str(view.local.get("fix.frame", "")))
        view.local["fix.frame"] = frames.frames[at].name
        view.local["fix.draws"] = view.local.get("fix.draws", 0) + 1
        log = edits_of(side.frames_dir, side.faceset()).log()
        marked = view.local.get("fix.mark")
        choices = refine_choices(self.page)
        shown = {
            "draw": view.local["fix.draws"],
            "answered": view.local.get("fix.answered", 0),
            "place": f"{project.name}/{side.name}",
            "count": len(frames.frames),
            "index": at,
            "counts": {kind: len(frames.places(kind, _threshold(view))) for kind in KINDS},
            "kind": _kind(view),
            "threshold": _threshold(view),
            "refine": pick_refine(choices, str(view.local.get("fix.refine", ""))),
            "choices": choices,
            "undo": log.steps[log.done - 1].what if log.done else "",
            "redo": log.steps[log.done].what if log.done < len(log.steps) else "",
            "mark": marked[2] if marked and marked[0] == side.name else "",
            "selected": view.local.pop("fix.selected", ""),
            "said": view.local.get("fix.said", ""),
            "failed": bool(view.local.get("fix.failed")),
            "busy": "A job is changing these faces." if busy else "",
            "strip": self._strip(project, frames, at),
            **self._pictures.frame(project, frames.frames[at]),
            "faces": [face_json(record) for record in frames.of(at)],
        }
        return _hidden(shown)

    def _strip(self, project: Project, frames: FrameMap, at: int) -> list[dict[str, Any]]:
        near = range(max(0, at - STRIP_EACH_WAY), min(len(frames.frames), at + STRIP_EACH_WAY + 1))
        urls = self._pictures.small(project, [frames.frames[number] for number in near])
        return [
            {"index": number, "url": url, "faces": len(frames.of(number)), "hand": _is_hand(frames.of(number))}
            for number, url in zip(near, urls, strict=True)
        ]

    def _stamp(self, view: View, project: Project) -> tuple[Any, ...]:
        """Changes when something else has to be shown."""
        side = project.side(self.side_of(view))
        busy = self._busy(view, side)
        frames = self.maps.get(side, busy)
        if frames is None:
            return (project.name, side.name, None)
        at = frames.number(str(view.local.get("fix.frame", "")))
        near = frames.frames[max(0, at - STRIP_EACH_WAY) : at + STRIP_EACH_WAY + 1]
        log = edits_of(side.frames_dir, side.faceset()).log()
        ready = self._pictures.ready(near)
        return (project.name, side.name, at, frames.stamp, busy, len(log.steps), log.done, ready)

    def _refine(self, view: View) -> str:
        return pick_refine(refine_choices(self.page), str(view.local.get("fix.refine", "")))

    def _busy(self, view: View, side: SideFiles) -> bool:
        """Whether a job that is running or waiting changes these faces or their frames."""
        ours = {f"{side.name} faces", f"{side.name} frames"}
        return any(job.status.state in OPEN_STATES and writes(job.request) & ours for job in self.page.jobs(view))


def _hidden(shown: dict[str, Any]) -> str:
    """What fix.js reads."""
    return f"<div hidden>{html.escape(json.dumps(shown), quote=False)}</div>"


def _kind(view: View) -> str:
    return str(view.local.get("fix.kind", "none"))


def _threshold(view: View) -> float:
    return float(view.local.get("fix.threshold", 0.9))


def _neighbour(frames: FrameMap, frame: str, step: int) -> str:
    at = frames.number(frame) + (1 if step > 0 else -1)
    if not 0 <= at < len(frames.frames):
        raise BadInputError(f"There is no {'next' if step > 0 else 'previous'} frame.")
    return frames.frames[at].name


def _is_hand(records: list[FaceRecord]) -> bool:
    return any(record.face.origin == MANUAL for record in records)
