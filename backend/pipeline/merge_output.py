"""The folders of merged frames and masks: what is in them, what made it, and what has to be made again."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from backend.core.errors import BadInputError
from backend.storage.atomic import MIN_FREE_BYTES, require_free_disk, write_json
from backend.storage.folder_lock import LockOwner, locked, read_owner
from backend.storage.image import list_images
from backend.storage.merge_ledger import MergedRecord, MergeLedger
from backend.storage.workspace import Project

FACTS_FILE = "merge.json"
LOCK_FILE = ".writer.lock"


class MergedFolders:
    """merged/ and merged_mask/ while they are written. As a context it keeps other jobs from writing them.

    Args:
        project: whose merged frames.
        job: what the user knows the running job by.

    Raises:
        BadInputError: another job writes them, when it is entered.
    """

    def __init__(self, project: Project, job: str) -> None:
        self._folders = (project.merged_dir, project.merged_mask_dir)
        self._job = job
        self._ledger = MergeLedger(project.merged_dir)
        self._facts: dict[str, Any] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        lock = self._folders[0] / LOCK_FILE
        try:
            self._stack.enter_context(locked(lock, LockOwner.this_process(self._job)))
        except BlockingIOError as error:
            owner = read_owner(lock)
            who = f" ({owner.name})" if owner else ""
            raise BadInputError(
                f"Another job{who} is writing the merged frames of this project.", "Wait for it, or stop it."
            ) from error
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def fresh(self, wanted: Mapping[int, MergedRecord]) -> set[int]:
        """Which of the wanted frames are there already, made of the same."""
        known = self._ledger.read()
        there = [_not_empty(folder) for folder in self._folders]
        return {
            index
            for index, record in wanted.items()
            if (old := known.get(record.stem)) is not None
            and old.key == record.key
            and all(f"{record.stem}.png" in names for names in there)
        }

    def require_room(self, stems: Collection[str], frame_bytes: float) -> None:
        """DiskFullError when the disk does not hold the frames that come new; others take the place of what is there.

        Args:
            stems: of the frames that will be made.
            frame_bytes: size of one with its mask.
        """
        there = _not_empty(self._folders[0])
        new = sum(f"{stem}.png" not in there for stem in stems)
        if new:
            require_free_disk(self._folders[0], MIN_FREE_BYTES + int(new * frame_bytes))

    def begin(self, stems: Collection[str], again: Collection[str], facts: dict[str, Any]) -> None:
        """Make the folders, and forget what will be made anew. Frames can be noted then.

        What earlier runs left of frames that are not in the clip any more is removed. A frame that is made anew has no
        record until it is finished: a run that dies in between cannot leave a picture with the record of another.

        Args:
            stems: of all frames of the clip.
            again: of the frames that will be made anew.
            facts: what stands beside the frames, see export.
        """
        for folder in self._folders:
            folder.mkdir(parents=True, exist_ok=True)
            for image in list_images(folder):
                if image.stem not in stems:
                    image.unlink()
            for unfinished in folder.glob(".*.tmp"):  # of a run that was killed
                unfinished.unlink()
        records = self._ledger.read()
        self._ledger.keep(record for stem, record in records.items() if stem in stems and stem not in again)
        self._stack.enter_context(self._ledger)
        self._facts = facts
        self._write_facts(complete=False)

    def note(self, record: MergedRecord) -> None:
        """Write down what made a frame, after its files are there."""
        self._ledger.append(record)

    def finish(self) -> None:
        """Write down that every frame of the range was merged."""
        self._write_facts(complete=True)

    def _write_facts(self, complete: bool) -> None:
        write_json(self._folders[0] / FACTS_FILE, {**self._facts, "complete": complete})


def _not_empty(folder: Path) -> set[str]:
    """Names of the files in a folder that hold anything: a power cut may leave empty ones."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.stat().st_size}
    except (FileNotFoundError, NotADirectoryError):
        return set()
