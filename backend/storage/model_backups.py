"""Earlier states of a model, kept beside it. A backup is laid out like a model's folder.

::

    backups/000001200-20260131-142500/backup.json            iteration, time, size
                                      model.json
                                      generations/000001200-0/
                                      loss.bin  terms.bin  lr_finder.json
                                      preview*.jpg  history/

Checkpoints and pictures never change in place, so that a backup holds second names for them and takes no disk until
training replaces the originals. Where the file system knows no second names, it holds copies.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from backend.core.errors import BadInputError, DamagedFileError
from backend.storage.atomic import read_json, require_free_disk, sync_folder, write_json
from backend.storage.generation_folder import (
    STATE,
    check_generation,
    generation_names,
    newest_generation,
    stored_info,
)
from backend.storage.interrupted_restore import PREPARED, commit_restore, finish_restore
from backend.storage.linking import Progress, copy_file, folder_bytes, link_file, link_folder, no_progress
from backend.storage.lr_curve import LR_CURVE
from backend.storage.model_folder import ModelFolder, ModelInfo

RESERVE_BYTES = 64 << 20
"""Free disk that stays after a backup."""

GB = 1e9

_FACTS = "backup.json"
_UNFINISHED = ".unfinished-"


@dataclass(frozen=True)
class Backup:
    """One backup.

    Attributes:
        name: of its folder.
        iteration: of its checkpoint.
        time: unix time at which it was made.
        bytes: sum of the sizes of its files, shared or not.
        pinned: why it stays whatever the limits, "" when it is one like the others.
    """

    name: str
    iteration: int
    time: float
    bytes: int
    pinned: str = ""


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True)

    version: int = 1
    iteration: int
    time: float
    bytes: int
    pinned: str = ""


def list_backups(folder: ModelFolder) -> list[Backup]:
    """Complete backups of a model, newest first."""
    found = []
    for path in folder.backups_dir.glob("[0-9]*-[0-9]*"):
        with contextlib.suppress(OSError, DamagedFileError, ValidationError):
            facts = _Facts.model_validate(read_json(path / _FACTS))
            found.append(Backup(path.name, facts.iteration, facts.time, facts.bytes, facts.pinned))
    return sorted(found, key=lambda backup: (backup.time, backup.name), reverse=True)


def create_backup(folder: ModelFolder, progress: Progress = no_progress, pinned: str = "") -> Backup:
    """Keep the newest checkpoint with its losses and pictures. Call only as the folder's writer.

    When the newest backup holds that checkpoint already, it is returned and nothing is written.

    Args:
        folder: the model's folder.
        progress: told the bytes as they are done; what it raises leaves no backup.
        pinned: why it has to stay whatever the limits; "" for one that may be pruned.

    Raises:
        BadInputError: nothing was saved yet.
        DamagedFileError: the checkpoint's state cannot be read.
        DiskFullError: copies of everything would not fit.
    """
    generation = newest_generation(folder.generations_dir)
    if generation is None:
        raise BadInputError(f"The model '{folder.name}' was not saved yet.", "Train it first.")
    same = _backup_of(folder, generation)
    if same is not None and (same.pinned or not pinned):
        return same
    folder.backups_dir.mkdir(exist_ok=True)
    remove_leftovers(folder)
    pictures = folder_bytes(folder.history_dir)
    require_free_disk(folder.path, folder_bytes(generation) + 24 * len(folder.losses) + pictures + RESERVE_BYTES)
    info = ModelInfo.model_validate(stored_info(generation))
    temporary = folder.backups_dir / f"{_UNFINISHED}{secrets.token_hex(8)}"
    try:
        temporary.mkdir()
        link_folder(generation, temporary / "generations" / generation.name, progress)
        _keep_history(folder, temporary, info.iteration, progress)
        write_json(temporary / "model.json", info.model_dump(mode="json"))
        now = time.time()
        name = _free_name(folder, info.iteration, now)
        backup = Backup(name, info.iteration, now, folder_bytes(temporary), pinned)
        facts = _Facts(iteration=backup.iteration, time=backup.time, bytes=backup.bytes, pinned=pinned)
        write_json(temporary / _FACTS, facts.model_dump())
        temporary.rename(folder.backups_dir / backup.name)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_folder(folder.backups_dir)
    return backup


def prune_backups(folder: ModelFolder, kept: int, gigabytes: float) -> list[str]:
    """Remove the oldest backups beyond a number and beyond a size together; the newest and pinned ones always stay.

    Args:
        folder: the model's folder.
        kept: largest number of backups.
        gigabytes: largest sum of their sizes, in units of 10^9 bytes.

    Returns:
        names of the removed ones.
    """
    total, removed = 0, []
    loose = (backup for backup in list_backups(folder) if not backup.pinned)
    for number, backup in enumerate(loose):
        total += backup.bytes
        if number > 0 and (number >= kept or total > gigabytes * GB):
            _remove(folder.backups_dir / backup.name)
            removed.append(backup.name)
    return removed


def delete_backup(folder: ModelFolder, name: str) -> None:
    """Remove one backup from the disk. BadInputError when there is none of this name."""
    _remove(folder.backups_dir / _find(folder, name).name)


def restore_backup(folder: ModelFolder, name: str, owner: str, progress: Progress = no_progress) -> Backup | None:
    """Go back to a backup. The present state is kept as a backup first, unless it cannot be read.

    A crash at any moment leaves the present state, or the backup's, which the next writer of the folder completes.

    Args:
        folder: the model's folder.
        name: of the backup.
        owner: name shown to whoever wants to write the model meanwhile.
        progress: told the bytes as they are checked or copied; what it raises leaves the model as it was, with one
            backup more at most.

    Returns:
        the backup of the state before, None when there was none to keep.

    Raises:
        BadInputError: there is no such backup.
        ModelBusyError: somebody else writes this model.
        DamagedFileError: the backup fails its checks; nothing was changed.
        DiskFullError: the state before does not fit beside the others.
    """
    backup = folder.backups_dir / _find(folder, name).name
    with folder.lock(owner):
        generation = newest_generation(backup / "generations")
        if generation is None:
            raise DamagedFileError(f"The backup {name} holds no checkpoint.", "Choose another backup.")
        check_generation(generation, progress)
        before = None
        with contextlib.suppress(BadInputError, DamagedFileError):
            before = create_backup(folder, progress)
        placed = _prepare(folder, generation, progress)
        commit_restore(folder.path, backup.name, placed)
        finish_restore(folder.path)
    return before


def remove_leftovers(folder: ModelFolder) -> None:
    """Delete what a crash in the middle of a backup, or of removing one, left. Call only as the folder's writer."""
    for path in folder.backups_dir.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(path, ignore_errors=True)


def _prepare(folder: ModelFolder, generation: Path, progress: Progress) -> str:
    """Place the backup's checkpoint out of sight among the others; returns a name that none of them has."""
    for path in folder.generations_dir.glob(f"{PREPARED}*"):
        shutil.rmtree(path, ignore_errors=True)
    iteration = generation.name.partition("-")[0]
    numbers = [int(n.partition("-")[2]) for n in generation_names(folder.generations_dir) if n.startswith(iteration)]
    placed = f"{iteration}-{max(numbers, default=-1) + 1}"
    prepared = folder.generations_dir / f"{PREPARED}{placed}"
    try:
        link_folder(generation, prepared, progress)
    except BaseException:
        shutil.rmtree(prepared, ignore_errors=True)
        raise
    sync_folder(folder.generations_dir)
    return placed


def _keep_history(folder: ModelFolder, target: Path, iteration: int, progress: Progress) -> None:
    """Losses up to the checkpoint, and the pictures."""
    for name in ("loss.bin", "terms.bin", LR_CURVE):
        if (folder.path / name).exists():
            copy_file(folder.path / name, target / name, progress)
    kept = ModelFolder(target)
    kept.losses.truncate(iteration)
    kept.terms.truncate(iteration)
    for page in folder.pages():
        newest = folder.preview(page)
        if newest is not None:
            link_file(newest, target / newest.name, progress)
    if folder.history_dir.is_dir():
        link_folder(folder.history_dir, target / "history", progress)


def _backup_of(folder: ModelFolder, generation: Path) -> Backup | None:
    """The newest backup, when it holds this very checkpoint."""
    for backup in list_backups(folder)[:1]:
        kept = folder.backups_dir / backup.name / "generations" / generation.name / STATE
        with contextlib.suppress(OSError):
            if kept.read_bytes() == (generation / STATE).read_bytes():
                return backup
    return None


def _find(folder: ModelFolder, name: str) -> Backup:
    for backup in list_backups(folder):
        if backup.name == name:
            return backup
    raise BadInputError(f"The model '{folder.name}' has no backup '{name}'.", "Choose one of the list.")


def _free_name(folder: ModelFolder, iteration: int, now: float) -> str:
    stem = f"{iteration:09d}-{time.strftime('%Y%m%d-%H%M%S', time.localtime(now))}"
    name, number = stem, 1
    while (folder.backups_dir / name).exists():
        number += 1
        name = f"{stem}-{number}"
    return name


def _remove(backup: Path) -> None:
    """Out of sight first, so that an interruption leaves no half backup."""
    hidden = backup.with_name(f"{_UNFINISHED}{secrets.token_hex(8)}")
    backup.rename(hidden)
    shutil.rmtree(hidden, ignore_errors=True)
