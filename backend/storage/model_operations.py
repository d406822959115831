"""Renaming, copying and deleting whole models. What is deleted lies in model/.trash/ until that is emptied.

::

    model/.trash/<id>/<model name>/     one deleted model; ids ascend with time
    model/.unfinished-<token>/          a model in the making
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from backend.core.errors import BadInputError
from backend.storage.atomic import require_free_disk, sync_folder
from backend.storage.folder_lock import LockOwner, locked
from backend.storage.linking import Progress, copy_file, folder_bytes, link_file, link_folder, no_progress
from backend.storage.lr_curve import LR_CURVE
from backend.storage.model_folder import DFM_FILE, ModelFolder
from backend.storage.project import Project, check_name

RESERVE_BYTES = 64 << 20
"""Free disk that stays after a model was copied or unpacked."""

_TRASH = ".trash"
_UNFINISHED = ".unfinished-"
_LOCK = "writer.lock"
_COPIED = ("model.json", "loss.bin", "terms.bin", "notes.txt", LR_CURVE)


@dataclass(frozen=True)
class DeletedModel:
    """A model in the trash.

    Attributes:
        id: by which it is restored.
        name: that it had.
        time: unix time at which it was deleted.
    """

    id: str
    name: str
    time: float


def rename_model(project: Project, old: str, new: str) -> None:
    """Give a model another name.

    Raises:
        BadInputError: there is no such model, or the new name is taken or no name.
        ModelBusyError: somebody writes this model.
    """
    folder = existing_model(project, old)
    if old == new:
        return
    require_new_name(project, new, but=old)
    _require_idle(folder, f"renaming to {new}")
    folder.path.rename(project.model_dir(new))
    sync_folder(project.model_root)


def delete_model(project: Project, name: str, typed_name: str) -> DeletedModel:
    """Move a model into the trash.

    Raises:
        BadInputError: there is no such model, or the typed name is not its name.
        ModelBusyError: somebody writes this model.
    """
    folder = existing_model(project, name)
    if typed_name != name:
        raise BadInputError(f"The typed name is not '{name}'; nothing was deleted.", "Type the name of the model.")
    _require_idle(folder, "deleting")
    entry = _trash(project) / f"{time.time_ns():020d}-{secrets.token_hex(3)}"
    entry.mkdir(parents=True)
    folder.path.rename(entry / name)
    sync_folder(project.model_root)
    return DeletedModel(entry.name, name, _time_of(entry.name))


def deleted_models(project: Project) -> list[DeletedModel]:
    """What lies in the trash, the newest first."""
    found = []
    for entry in _entries(project):
        found += [DeletedModel(entry.name, path.name, _time_of(entry.name)) for path in entry.iterdir()]
    return sorted(found, key=lambda model: model.id, reverse=True)


def restore_deleted(project: Project, deleted: str) -> str:
    """Bring a model back from the trash.

    Args:
        project: its project.
        deleted: id of the deleted model.

    Returns:
        its name now: the old one, with -2, -3, ... behind it when that is taken meanwhile.

    Raises:
        BadInputError: the trash holds no such model.
    """
    for model in deleted_models(project):
        if model.id == deleted:
            name = free_model_name(project, model.name)
            entry = _trash(project) / model.id
            (entry / model.name).rename(project.model_dir(name))
            entry.rmdir()
            sync_folder(project.model_root)
            return name
    raise BadInputError("This model is not in the trash any more.")


def empty_deleted(project: Project) -> int:
    """Remove everything in the trash from the disk. Returns the bytes of its files."""
    size = folder_bytes(_trash(project))
    for entry in _entries(project):
        shutil.rmtree(entry, ignore_errors=True)
    return size


def copy_model(project: Project, old: str, new: str, owner: str, progress: Progress = no_progress) -> ModelFolder:
    """A second model that goes on from where the first one stands; backups and event files stay behind.

    Args:
        project: of both models.
        old, new: their names.
        owner: name shown to whoever wants to write the first one meanwhile.
        progress: told the bytes as they are done; what it raises leaves no second model.

    Raises:
        BadInputError: there is no such model, or the new name is taken or no name.
        ModelBusyError: somebody else writes the first model.
        DiskFullError: a copy of everything would not fit.
    """
    source = existing_model(project, old)
    with source.lock(owner):
        require_free_disk(project.model_root, model_bytes(source) + RESERVE_BYTES)
        with new_model(project, new) as target:
            for name in _COPIED:
                if (source.path / name).exists():
                    copy_file(source.path / name, target / name, progress)
            for file in (*source.path.glob("preview*.jpg"), *source.path.glob(DFM_FILE)):
                link_file(file, target / file.name, progress)
            for folder in (source.history_dir, *_generations(source)):
                if folder.is_dir():
                    link_folder(folder, target / folder.relative_to(source.path), progress)
    return ModelFolder(project.model_dir(new))


def model_bytes(folder: ModelFolder) -> int:
    """Bytes of what copy_model() takes along."""
    files = [*(folder.path / name for name in (*_COPIED, DFM_FILE)), *folder.path.glob("preview*.jpg")]
    folders = (folder.history_dir, *_generations(folder))
    return sum(path.stat().st_size for path in files if path.exists()) + sum(map(folder_bytes, folders))


@contextlib.contextmanager
def new_model(project: Project, name: str) -> Iterator[Path]:
    """A folder to fill. It becomes the model when the block ends, and goes when the block fails.

    Folders that a crash left behind are removed first.

    Raises:
        BadInputError: the name is taken or no name, before the block or after it.
    """
    require_new_name(project, name)
    _remove_leftovers(project)
    temporary = project.model_root / f"{_UNFINISHED}{secrets.token_hex(8)}"
    temporary.mkdir(parents=True)
    try:
        with locked(temporary / _LOCK, LockOwner.this_process(f"the making of {name}")):
            yield temporary
        (temporary / _LOCK).unlink()
        sync_folder(temporary)
        require_new_name(project, name)
        temporary.rename(project.model_dir(name))
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_folder(project.model_root)


def existing_model(project: Project, name: str) -> ModelFolder:
    """A model's folder. BadInputError when there is no model of this name."""
    if name not in project.models():
        known = ", ".join(project.models()) or "none yet"
        raise BadInputError(f"There is no model '{name}' in the project '{project.name}'.", f"Models: {known}.")
    return ModelFolder(project.model_dir(name))


def require_new_name(project: Project, name: str, but: str = "") -> None:
    """BadInputError when a name is no folder name or something has it, letter case ignored; ``but`` may have it."""
    check_name(name, "model")
    if name.lower() in _taken(project) - {but.lower()}:
        raise BadInputError(f"There is already something named '{name}' among the models.", "Choose another name.")


def free_model_name(project: Project, name: str) -> str:
    """The name, with -2, -3, ... behind it while that is taken."""
    taken, candidate, number = _taken(project), name, 1
    while candidate.lower() in taken:
        number += 1
        candidate = f"{name}-{number}"
    return candidate


def _require_idle(folder: ModelFolder, owner: str) -> None:
    """ModelBusyError while somebody writes the folder. Let go again at once: some systems rename no open folder."""
    with folder.lock(owner):
        pass


def _generations(folder: ModelFolder) -> list[Path]:
    return [path for path in folder.generations_dir.glob("[0-9]*-[0-9]*") if path.is_dir()]


def _taken(project: Project) -> set[str]:
    return {path.name.lower() for path in project.model_root.glob("*")}


def _trash(project: Project) -> Path:
    return project.model_root / _TRASH


def _entries(project: Project) -> list[Path]:
    return [path for path in _trash(project).glob("*") if path.is_dir()]


def _time_of(entry: str) -> float:
    stamp = entry.partition("-")[0]
    return int(stamp) / 1e9 if stamp.isdigit() else 0.0


def _remove_leftovers(project: Project) -> None:
    """Delete folders in the making whose maker is gone."""
    for path in project.model_root.glob(f"{_UNFINISHED}*"):
        with contextlib.suppress(BlockingIOError):
            with locked(path / _LOCK, LockOwner.this_process("cleaning")):
                pass
            shutil.rmtree(path, ignore_errors=True)
