"""Clients of warm children: processes that keep networks loaded and answer one request per line."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.core.errors import LookalikeError
from backend.core.settings import MergeSettings
from backend.environment import worker_environment
from backend.jobs.launch import PROGRAM_DIR
from backend.storage.weights import default_folder
from backend.storage.workspace import Project, Workspace

PREVIEW_MODULE = "backend.jobs.warm_child"
FACES_MODULE = "backend.jobs.face_child"


class WarmError(LookalikeError):
    """A warm child could not do what was asked."""


class WarmChild:
    """A child that is started on demand, is asked one thing at a time, and ends after a while without work.

    Args:
        workspace: whose projects.
        weights_dir: folder of downloaded weights; ``<workspace>/weights`` when None.
        module: the child's module.
        name: what messages and the log file call it, for example "preview".
    """

    def __init__(self, workspace: Workspace, weights_dir: Path | None, module: str, name: str) -> None:
        self._workspace = workspace
        self._weights_dir = weights_dir or default_folder(workspace.root)
        self._module = module
        self._name = name
        self._guard = threading.Lock()
        self._child: subprocess.Popen[str] | None = None
        self._answers: queue.Queue[str | None] = queue.Queue()
        self._asked = 0

    def ask(self, request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """The child's answer to a request.

        Args:
            request: JSON without "id".
            timeout_s: how long the child may take; the first request includes loading the networks.

        Raises:
            WarmError: the child refused (the sentence says why), took too long, or ended.
        """
        with self._guard:
            answer = self._exchange(request, timeout_s)
        if not answer.get("ok"):
            raise WarmError(str(answer.get("error", f"The {self._name} process gave no reason.")))
        return answer

    @property
    def warm(self) -> bool:
        """Whether the child runs already."""
        child = self._child
        return child is not None and child.poll() is None

    def close(self) -> None:
        """End the child and free its memory."""
        with self._guard:
            self._end()

    def _exchange(self, request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        child = self._running()
        self._asked += 1
        try:
            assert child.stdin is not None
            child.stdin.write(json.dumps({"id": self._asked, **request}) + "\n")
            child.stdin.flush()
        except OSError:
            self._end()
            raise WarmError(f"The {self._name} process ended.", "Try again: it starts anew.") from None
        return self._answer(self._asked, time.monotonic() + timeout_s, timeout_s)

    def _answer(self, asked: int, deadline: float, timeout_s: float) -> dict[str, Any]:
        while True:
            try:
                line = self._answers.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                self._end()
                raise WarmError(
                    f"The {self._name} process took longer than {timeout_s:g} s and was ended.",
                    "Try again, or choose the CPU while the accelerator trains.",
                ) from None
            if line is None:
                self._end()
                raise WarmError(
                    f"The {self._name} process ended unexpectedly.",
                    f"Try again: it starts anew. Its log is {self._log_path}.",
                )
            answer = json.loads(line)
            if answer.get("id") == asked:
                return answer

    @property
    def _log_path(self) -> Path:
        return self._workspace.root / f".{self._name}.log"

    def _running(self) -> subprocess.Popen[str]:
        if self._child is not None and self._child.poll() is None:
            return self._child
        self._end()
        with self._log_path.open("ab") as log:
            self._child = subprocess.Popen(
                [sys.executable, "-m", self._module, str(self._workspace.root.absolute())],
                cwd=PROGRAM_DIR,
                env=worker_environment(self._weights_dir.absolute()),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="utf-8",
                start_new_session=True,
            )
        self._answers = queue.Queue()
        reader = threading.Thread(target=_read_lines, args=(self._child, self._answers), daemon=True)
        reader.start()
        return self._child

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        child.wait()
        if child.stdin is not None:
            child.stdin.close()


@dataclass(frozen=True)
class WarmFace:
    """One face of a rendered frame.

    Attributes:
        name: file name of the aligned face.
        track: number of its track; None when it was never tracked.
        person: whose it is, "" when persons were never told apart.
        model: name of the model it got; "" when a rule leaves it.
        outcome: "merged", "empty_mask", "seamless_failed", "left" by a rule, or "no_crop" when its landmarks fit no
            face.
        corners: four (x, y) in frame pixels around what the model saw, clockwise; empty without a crop.
        box_xyxy: around its landmarks, frame pixels.
    """

    name: str
    track: int | None
    person: str
    model: str
    outcome: str
    corners: tuple[tuple[float, float], ...]
    box_xyxy: tuple[float, float, float, float]

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> WarmFace:
        """What the child says of a face."""
        left, top, right, bottom = (float(value) for value in told["box"])
        return cls(
            name=str(told["name"]),
            track=None if told["track"] is None else int(told["track"]),
            person=str(told["person"]),
            model=str(told["model"]),
            outcome=str(told["outcome"]),
            corners=tuple((float(x), float(y)) for x, y in told["corners"]),
            box_xyxy=(left, top, right, bottom),
        )


@dataclass(frozen=True)
class WarmImages:
    """Pictures of one rendered frame, JPEG files inside the project's jobs folder.

    Attributes:
        before, after, mask: their paths; a new picture has a new name, and one that did not change keeps its own.
        alpha: what was merged, over a checkerboard where the frame stays as it was.
        faces: all faces of the frame.
        seconds: time the child took.
    """

    before: Path
    after: Path
    mask: Path
    alpha: Path
    faces: tuple[WarmFace, ...]
    seconds: float


class WarmPreview(WarmChild):
    """Renders single merged frames; see WarmChild."""

    def __init__(self, workspace: Workspace, weights_dir: Path | None = None, module: str = PREVIEW_MODULE) -> None:
        super().__init__(workspace, weights_dir, module, "preview")

    def render(
        self, project: Project | str, settings: MergeSettings, frame_index: int, timeout_s: float = 60.0
    ) -> WarmImages:
        """Merge one destination frame.

        Args:
            project: whose frame.
            settings: how to merge; the range of frames does not matter.
            frame_index: from 0.
            timeout_s: how long the child may take; the first frame includes loading the model.

        Raises:
            WarmError: see ask().
        """
        name = project if isinstance(project, str) else project.name
        request = {"project": name, "settings": settings.model_dump(mode="json"), "frame": frame_index}
        answer = self.ask(request, timeout_s)
        before, after, mask, alpha = (Path(str(answer[key])) for key in ("before", "after", "mask", "alpha"))
        faces = tuple(map(WarmFace.from_json, answer["faces"]))
        return WarmImages(before, after, mask, alpha, faces, float(answer["seconds"]))


@dataclass(frozen=True)
class WarmFaces:
    """What became of the faces of one correction.

    Attributes:
        names: file names of the faces that were written.
        seconds: time the child took.
    """

    names: tuple[str, ...]
    seconds: float


class WarmFaceFixer(WarmChild):
    """Places, refines, copies and writes faces by hand; see WarmChild and backend.pipeline.fix_faces for requests."""

    def __init__(self, workspace: Workspace, weights_dir: Path | None = None, module: str = FACES_MODULE) -> None:
        super().__init__(workspace, weights_dir, module, "corrections")

    def fix(self, project: Project, side: str, request: dict[str, Any], timeout_s: float) -> WarmFaces:
        """Carry one correction out and save it.

        Args:
            side: "src" or "dst".
            request: a FixRequest as JSON.
            timeout_s: how long the child may take.

        Raises:
            WarmError: see ask().
        """
        answer = self.ask({"project": project.name, "side": side, "fix": request}, timeout_s)
        return WarmFaces(tuple(str(name) for name in answer["names"]), float(answer["seconds"]))

    def prepare(self, landmarker: str, device: str, timeout_s: float = 60.0) -> None:
        """Start the child, when it does not run, and have it load a landmarker, so that the first correction is quick.

        Returns at once; what goes wrong shows with the first correction.
        """
        if self.warm:
            return

        def load() -> None:
            with contextlib.suppress(WarmError):
                self.ask({"load": landmarker, "device": device}, timeout_s)

        threading.Thread(target=load, daemon=True, name="prepare-corrections").start()


def _read_lines(child: subprocess.Popen[str], answers: queue.Queue[str | None]) -> None:
    """Hand over each line of the child, and None when it has ended."""
    assert child.stdout is not None
    with child.stdout as lines:
        for line in lines:
            answers.put(line)
    answers.put(None)
