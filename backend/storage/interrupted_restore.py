"""Going back to an earlier state in one step: a journal is written when all is prepared, and carried out after that.

A crash before the journal leaves the model as it was. A crash after it is repaired by the next writer of the folder,
who finds the journal and carries it out again from the start.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from backend.core.errors import DamagedFileError
from backend.storage.atomic import read_json, replacing, sync_folder, write_json
from backend.storage.generation_folder import generation_names, stored_info
from backend.storage.linking import link_folder, pass_on
from backend.storage.loss_history import LossHistory
from backend.storage.lr_curve import LR_CURVE
from backend.storage.term_history import TermHistory

JOURNAL = ".restore.json"
PREPARED = ".restored-"
"""Before the name of a generation that will be the only one."""


def commit_restore(model: Path, backup: str, generation: str) -> None:
    """Decide for a backup; finish_restore() does the rest.

    Args:
        model: the model's folder.
        backup: name of the folder in backups/.
        generation: the checkpoint to keep; it lies prepared in generations/ under PREPARED and this name.
    """
    write_json(model / JOURNAL, {"backup": backup, "generation": generation})
    sync_folder(model)


def finish_restore(model: Path) -> None:
    """Carry out the journal if there is one. Call only as the folder's writer.

    A journal whose checkpoint cannot be read is dropped, and the model stays as it is.
    """
    try:
        journal = read_json(model / JOURNAL)
        backup = model / "backups" / Path(journal["backup"]).name
        generation = model / "generations" / Path(journal["generation"]).name
    except FileNotFoundError:
        return
    except (DamagedFileError, KeyError, TypeError):
        (model / JOURNAL).unlink()
        return
    _place(generation)
    try:
        info = stored_info(generation)
    except DamagedFileError:
        (model / JOURNAL).unlink()
        return
    _remove_others(generation)
    iteration = int(info["iteration"])
    for name in ("loss.bin", "terms.bin", LR_CURVE):
        _replace_file(backup / name, model / name)
    LossHistory(model / "loss.bin").truncate(iteration)
    TermHistory(model / "terms.bin").truncate(iteration)
    if backup.is_dir():
        _replace_pictures(backup, model)
    write_json(model / "model.json", info)
    (model / JOURNAL).unlink()
    sync_folder(model)


def _place(generation: Path) -> None:
    prepared = generation.with_name(f"{PREPARED}{generation.name}")
    if prepared.exists():
        prepared.rename(generation)
        sync_folder(generation.parent)


def _remove_others(generation: Path) -> None:
    """The newest go first: an interruption must not leave one that is newer than the one to keep."""
    for name in reversed(generation_names(generation.parent)):
        if name != generation.name:
            shutil.rmtree(generation.with_name(name), ignore_errors=True)


def _replace_pictures(backup: Path, model: Path) -> None:
    for old in model.glob("preview*.jpg"):
        old.unlink(missing_ok=True)
    for picture in backup.glob("preview*.jpg"):
        _replace_file(picture, model / picture.name)
    shutil.rmtree(model / "history", ignore_errors=True)
    if (backup / "history").is_dir():
        link_folder(backup / "history", model / "history")


def _replace_file(source: Path, target: Path) -> None:
    """Put a copy in place; nothing happens when there is no source."""
    if source.exists():
        with source.open("rb") as read, replacing(target) as written:
            pass_on(read, [written.write])
