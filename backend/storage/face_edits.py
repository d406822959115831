"""The log of corrections by hand: every step can be taken back and done again, byte for byte, also after a restart."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from backend.core.errors import BadInputError, DamagedFileError
from backend.storage.atomic import move_over, read_json, write_bytes, write_json
from backend.storage.face_index import stamps
from backend.storage.faceset import LOCK_NAME, Faceset
from backend.storage.folder_lock import LockOwner, locked

EDITS_NAME = ".face_edits"
"""Folder of the log and of the files it needs, beside the aligned faces."""
LOG_NAME = "log.json"
KEPT_STEPS = 200

T = TypeVar("T")

_PATIENCE_S = 3.0
_PAUSE_S = 0.02
_FACES_BUSY = "Another program is changing these faces at the moment."


class Change(BaseModel):
    """What a step did to one file: SHA-256 of its bytes before and after, "" where there was no file."""

    model_config = ConfigDict(frozen=True)

    name: str
    before: str = ""
    after: str = ""

    def turned(self) -> Change:
        """The change that takes this one back."""
        return Change(name=self.name, before=self.after, after=self.before)


class Step(BaseModel):
    """One correction.

    Attributes:
        what: the words of it, for example "Move face".
        frame: file name of the frame it was made on.
    """

    model_config = ConfigDict(frozen=True)

    what: str
    frame: str
    changes: tuple[Change, ...]


class EditLog(BaseModel):
    """log.json: the steps, oldest first; the first ``done`` of them are in effect, the others can be done again."""

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    steps: tuple[Step, ...] = ()
    done: int = 0


@dataclass(frozen=True)
class Done:
    """A step that was taken, taken back or done again, and the names its files have now ("" for removed ones)."""

    step: Step
    names: tuple[str, ...]


class FaceEdits:
    """The corrections of one side. Threads and processes may use it at once; they wait for each other.

    Args:
        faceset: the faces.
        folder: where the log lies, there or not.
    """

    def __init__(self, faceset: Faceset, folder: Path) -> None:
        self._faceset = faceset
        self._folder = folder

    def log(self) -> EditLog:
        """The steps as stored; empty when there are none or the log is damaged."""
        try:
            log = EditLog.model_validate(read_json(self._folder / LOG_NAME))
        except (OSError, DamagedFileError, ValidationError):
            return EditLog()
        return log if 0 <= log.done <= len(log.steps) else EditLog()

    def apply(self, what: str, frame: str, changes: Mapping[str, Path | None]) -> Done:
        """Take a step: put files in place or remove faces. Steps that were taken back are forgotten.

        Args:
            what: the words of it.
            frame: file name of the frame.
            changes: name in the faceset -> file with the new content, which is copied; None moves it to the trash.

        Raises:
            BadInputError: another program holds the faces.
            OSError: a file cannot be written; then nothing has changed.
        """
        with self._alone():
            made = [
                Change(name=name, before=self._keep(self._faceset.folder / name), after=self._keep(new))
                for name, new in changes.items()
            ]
            step = Step(what=what, frame=frame, changes=tuple(c for c in made if c.before != c.after))
            if not step.changes:
                return Done(step, ())
            before = self.log()
            steps = (*before.steps[: before.done], step)[-KEPT_STEPS:]
            self._write(EditLog(steps=steps, done=len(steps)))
            try:
                names = self._perform(step.changes, True)
            except BaseException:
                self._write(before)
                raise
            self._prune(steps)
            return Done(step, names)

    def undo(self) -> Done | None:
        """Take the newest step back; None when there is none.

        Raises:
            BadInputError: a file of it was changed by something else since; the step is dropped from the log then.
        """
        with self._alone():
            log = self.log()
            if not log.done:
                return None
            step = log.steps[log.done - 1]
            names = self._replay(log, log.done - 1, tuple(c.turned() for c in reversed(step.changes)), False)
            self._write(EditLog(steps=log.steps, done=log.done - 1))
            return Done(step, names)

    def redo(self) -> Done | None:
        """Do the step again that was taken back last; None when there is none. Raises as undo() does."""
        with self._alone():
            log = self.log()
            if log.done == len(log.steps):
                return None
            step = log.steps[log.done]
            names = self._replay(log, log.done, step.changes, True)
            self._write(EditLog(steps=log.steps, done=log.done + 1))
            return Done(step, names)

    # -- inside

    def _replay(self, log: EditLog, at: int, changes: Sequence[Change], forward: bool) -> tuple[str, ...]:
        """Carry a step's changes out under the names its files have now; drops it from the log when that cannot be."""
        step = log.steps[at]
        taken = [change.name for change in changes]
        placed = [self._found(change, taken) for change in changes]
        if any(change is None for change in placed):
            kept = (*log.steps[:at], *log.steps[at + 1 :])
            self._write(EditLog(steps=kept, done=min(at, log.done)))
            changed = ", ".join(c.name for c, found in zip(changes, placed, strict=True) if found is None)
            raise BadInputError(
                f"'{step.what}' on {step.frame} stays as it is: {changed} was changed by something else since.",
                "The step was dropped from the list of corrections.",
            )
        return self._perform([change for change in placed if change is not None], forward)

    def _found(self, change: Change, taken: Sequence[str]) -> Change | None:
        """The change under the name its file has now, wherever it was renamed to; None when the file is another one."""
        folder = self._faceset.folder
        if change.before:
            if _digest(folder / change.name) == change.before:
                return change
            name = self._named_now(change.before, folder, list(stamps(folder)))
            return change.model_copy(update={"name": name}) if name else None
        if not (folder / change.name).exists():
            return change
        if _digest(folder / change.name) == change.after:
            return Change(name=change.name, before=change.after, after=change.after)
        return change.model_copy(update={"name": free_name(folder, Path(change.name).stem, taken)})

    def _named_now(self, digest: str, folder: Path, names: Sequence[str]) -> str:
        """Name of the file with these bytes, "" when there is none."""
        size = _size(self._blob(digest))
        return next((n for n in names if _size(folder / n) == size and _digest(folder / n) == digest), "")

    def _perform(self, changes: Sequence[Change], forward: bool) -> tuple[str, ...]:
        """Bring the files to what they are after the changes; all of them or, when one fails, none.

        Args:
            forward: a step is taken or done again: removed faces go to the trash. Else it is taken back: faces that it
                made are no loss, the log keeps them.
        """
        done: list[Change] = []
        names: list[str] = []
        try:
            for change in changes:
                names.append(self._one(change, forward))
                done.append(change)
        except BaseException:
            with contextlib.suppress(OSError, BadInputError):
                for change in reversed(done):
                    self._one(change.turned(), False)
            raise
        return tuple(names)

    def _one(self, change: Change, forward: bool) -> str:
        """Carry one change out; the file's name now, "" when it was removed."""
        path = self._faceset.folder / change.name
        if change.before == change.after:
            return change.name if change.after else ""
        if not change.after and forward:
            _waiting(lambda: self._faceset.trash([change.name], "deleted by hand"))
            return ""
        if not change.after:
            with _held(path.parent / LOCK_NAME, _FACES_BUSY):
                path.unlink(missing_ok=True)
            return ""
        blob = self._blob(change.after)
        if _digest(blob) != change.after:
            raise BadInputError(f"The kept copy of {change.name} is gone or damaged.", "Correct the face again.")
        stored = (
            "" if change.before else self._named_now(change.after, self._faceset.trash_dir, self._faceset.trashed())
        )
        if stored:
            restored = _waiting(lambda: self._faceset.restore([stored]))
            return restored[0] if restored else change.name
        path.parent.mkdir(parents=True, exist_ok=True)
        with _held(path.parent / LOCK_NAME, _FACES_BUSY):
            write_bytes(path, blob.read_bytes())
        return change.name

    def _keep(self, path: Path | None) -> str:
        """Lay a copy of a file aside; its digest, "" when there is no file."""
        digest = "" if path is None else _digest(path)
        blob = self._blob(digest)
        if path is not None and digest and _digest(blob) != digest:
            unfinished = blob.with_suffix(".part")
            shutil.copyfile(path, unfinished)
            move_over(unfinished, blob)
        return digest

    def _blob(self, digest: str) -> Path:
        return self._folder / f"{digest}.jpg"

    def _write(self, log: EditLog) -> None:
        write_json(self._folder / LOG_NAME, log.model_dump(mode="json"))

    def _prune(self, steps: Sequence[Step]) -> None:
        needed = {f"{digest}.jpg" for step in steps for c in step.changes for digest in (c.before, c.after)}
        for path in self._folder.iterdir():
            if path.suffix in (".jpg", ".part") and path.name not in needed:
                path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        with _held(self._folder / ".lock", "Another correction of these faces is being saved."):
            yield


def edits_of(frames_dir: Path, faceset: Faceset) -> FaceEdits:
    """The corrections of the side whose frames lie in a folder."""
    return FaceEdits(faceset, frames_dir / EDITS_NAME)


def free_name(folder: Path, stem: str, taken: Sequence[str] = ()) -> str:
    """``<stem>_<k>.jpg`` with the first k that is free in a folder, letter case ignored.

    Args:
        taken: names that are not free although there is no such file yet.
    """
    used = {name.lower() for name in (*stamps(folder), *taken)}
    number = 0
    while f"{stem}_{number}.jpg".lower() in used:
        number += 1
    return f"{stem}_{number}.jpg"


def _digest(path: Path) -> str:
    """SHA-256 of a file's bytes in hex, "" when it is not there."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return ""


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1


def _waiting(act: Callable[[], T]) -> T:
    """Do what needs the faceset for itself as soon as it is free."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return act()
        except BadInputError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE_S)


@contextlib.contextmanager
def _held(path: Path, busy: str) -> Iterator[None]:
    """Hold a lock file, waiting a little for whoever has it. BadInputError with ``busy`` when it stays taken."""
    deadline = time.monotonic() + _PATIENCE_S
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(locked(path, LockOwner.this_process("corrections")))
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise BadInputError(busy, "Try again in a moment.") from error
                time.sleep(_PAUSE_S)
        yield
