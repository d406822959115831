"""The frames of one side as they were before they were changed in place, and the way back to them.

A frame gets a second name in a hidden folder before a new file takes its place. So at every moment each frame is there
as it was, and putting all of them back undoes the change, finished or not.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from backend.core.errors import DamagedFileError
from backend.storage.atomic import move_over, read_json, replacing, write_json
from backend.storage.image import list_images

FOLDER = ".frames_before"
NOTE = "denoise.json"


class Denoised(BaseModel):
    """What was done to the frames.

    Attributes:
        factor: strength of the denoising.
        done: so many frames have been changed, in order of their names.
        total: number of frames.
        first, last: file names of the first and the last one.
        complete: whether all were changed.
        kept: whether the frames as they were are still there.
    """

    model_config = ConfigDict(frozen=True)

    factor: int
    done: int = 0
    total: int = 0
    first: str = ""
    last: str = ""
    complete: bool = False
    kept: bool = True

    def goes_on(self, factor: int, frames: Sequence[Path]) -> bool:
        """Whether this is the unfinished beginning of the same work on the same frames."""
        same = (self.total, self.first, self.last) == (len(frames), frames[0].name, frames[-1].name)
        return same and self.factor == factor and not self.complete and self.kept


class FramesBefore:
    """The earlier frames of one folder.

    Args:
        frames_dir: folder of the frames.
    """

    def __init__(self, frames_dir: Path) -> None:
        self.frames_dir = frames_dir
        self.folder = frames_dir / FOLDER

    def note(self) -> Denoised | None:
        """What was done to the frames; None when nothing was, or nothing that is known."""
        try:
            return Denoised.model_validate(read_json(self.folder / NOTE))
        except (FileNotFoundError, NotADirectoryError, DamagedFileError, ValidationError):
            return Denoised(factor=1) if list_images(self.folder) else None

    def write_note(self, note: Denoised) -> None:
        """Store what was done."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / NOTE, note.model_dump())

    def kept(self) -> list[Path]:
        """The frames as they were, by name."""
        return list_images(self.folder)

    def original(self, frame: Path) -> Path:
        """Where a frame lies as it was: among the kept ones, else in its place."""
        kept = self.folder / frame.name
        return kept if kept.exists() else frame

    def keep(self, frame: Path) -> None:
        """Keep a frame as it is now, unless an earlier state of it is kept. Call before its file is replaced."""
        self.folder.mkdir(parents=True, exist_ok=True)
        kept = self.folder / frame.name
        if kept.exists():
            return
        try:
            os.link(frame, kept)
        except OSError:
            with frame.open("rb") as read, replacing(kept, durable=False) as written:
                shutil.copyfileobj(read, written, 1 << 20)

    def put_back(self, each: Callable[[int, int], None] = lambda done, total: None) -> int:
        """Bring all kept frames back and forget them; what an interruption left is brought back the next time.

        Args:
            each: called with (done, total) after every frame; may raise to stop.

        Returns:
            how many came back.
        """
        note, kept = self.note(), self.kept()
        if note is not None:
            self.write_note(note.model_copy(update={"done": 0, "complete": False}))
        for done, path in enumerate(kept, start=1):
            move_over(path, self.frames_dir / path.name)
            each(done, len(kept))
        self.forget()
        return len(kept)

    def drop(self) -> int:
        """Delete the kept frames, so that the change stays for good; returns the bytes freed."""
        freed, note = 0, self.note()
        if note is not None:
            self.write_note(note.model_copy(update={"kept": False}))
        for path in self.kept():
            with contextlib.suppress(FileNotFoundError):
                freed += path.stat().st_size
                path.unlink()
        return freed

    def forget(self) -> None:
        """Remove the folder with all that is in it."""
        shutil.rmtree(self.folder, ignore_errors=True)
