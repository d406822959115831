"""Reading a model file that comes from elsewhere. It is checked before a byte is written, and again while it is read.

Refused are: another format or a newer version, names that are not among those an export writes (so no path leads out
of the model's folder), members twice, compressed, encrypted, of another size than listed or with another checksum,
and contents that are not what their names say.
"""

from __future__ import annotations

import hashlib
import re
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import safetensors
from pydantic import ValidationError

from backend.core.errors import BadInputError, DamagedFileError, LookalikeError
from backend.core.names import is_folder_name
from backend.storage.atomic import read_json, require_free_disk, sync_folder
from backend.storage.generation_folder import check_generation, newest_generation, stored_info
from backend.storage.jpeg import is_complete_jpeg
from backend.storage.linking import Progress, no_progress, pass_on
from backend.storage.lr_curve import LR_CURVE, read_lr_curve
from backend.storage.model_file import FORMAT, MANIFEST, RESERVE_BYTES, VERSION, Manifest, Member
from backend.storage.model_folder import ModelFolder, ModelInfo
from backend.storage.model_operations import free_model_name, new_model
from backend.storage.project import Project

_MB = 1 << 20
_LARGEST: Mapping[re.Pattern[str], int] = MappingProxyType(
    {
        re.compile(r"model\.json"): 64 * _MB,
        re.compile(r"notes\.txt"): _MB,
        re.compile(r"loss\.bin"): 4096 * _MB,
        re.compile(r"terms\.bin"): 4096 * _MB,
        re.compile(re.escape(LR_CURVE)): 4 * _MB,
        re.compile(r"preview(_[a-z0-9-]{1,40})?\.jpg"): 256 * _MB,
        re.compile(r"generations/\d{1,12}-\d{1,9}/state\.json"): 64 * _MB,
        re.compile(r"generations/\d{1,12}-\d{1,9}/[a-z_]{1,40}\.safetensors"): 1 << 40,
    }
)
"""Names a member may have -> most bytes of it."""

_AGAIN = "Export it again, or copy or download the file again."
_LARGEST_MANIFEST = 4 * _MB
_READING_FAILS = (zipfile.BadZipFile, EOFError, struct.error, NotImplementedError, RuntimeError, ValueError)


def import_model(path: Path, project: Project, name: str, progress: Progress = no_progress) -> ModelFolder:
    """Make a model of a model file.

    Args:
        path: the file.
        project: that gets the model.
        name: of the new model; empty takes the one in the file, with -2, -3, ... behind it when that is taken.
        progress: told the bytes as they are done, twice the size of the file in all; what it raises leaves nothing.

    Returns:
        the new model's folder.

    Raises:
        BadInputError: no such file, not a model file, made by a newer version, or the name is taken or no name.
        DamagedFileError: the file is cut off or was changed; the sentence says where.
        DiskFullError: the model does not fit.
    """
    with _opened(path) as archive:
        manifest = _manifest(archive, path)
        entries = _checked_entries(archive, manifest, path)
        total = sum(entry.file_size for entry in entries)
        require_free_disk(project.model_root, total + RESERVE_BYTES)
        name = name or _fitting_name(project, manifest.name)
        with new_model(project, name) as target:
            for entry in entries:
                _unpack(archive, entry, manifest.members[entry.filename], target, path, progress)
            _check_contents(target, path, progress)
    return ModelFolder(project.model_dir(name))


def is_ours(path: Path) -> bool:
    """Whether an archive has the manifest of a model file, whatever else is in it."""
    try:
        with zipfile.ZipFile(path) as archive:
            return MANIFEST in archive.namelist()
    except (OSError, *_READING_FAILS):
        return False


def _opened(path: Path) -> zipfile.ZipFile:
    if not path.is_file():
        raise BadInputError(f"There is no file {path}.", "Check the path.")
    try:
        return zipfile.ZipFile(path)
    except _READING_FAILS as error:
        raise DamagedFileError(
            f"{path.name} is cut off, or is no model file at all.", "Copy or download it again."
        ) from error


def _manifest(archive: zipfile.ZipFile, path: Path) -> Manifest:
    wrong = BadInputError(f"{path.name} is not a model file of this program.", "Choose a file that it exported.")
    try:
        entry = archive.getinfo(MANIFEST)
    except KeyError:
        raise wrong from None
    if entry.file_size > _LARGEST_MANIFEST or entry.compress_type != zipfile.ZIP_STORED:
        raise wrong
    try:
        manifest = Manifest.model_validate_json(archive.read(entry))
    except ValidationError as error:
        raise wrong from error
    except _READING_FAILS as error:
        raise _damaged(path, MANIFEST, "cannot be read") from error
    if manifest.format != FORMAT:
        raise wrong
    if manifest.version > VERSION:
        raise BadInputError(
            f"{path.name} was written by a newer version of the program ({manifest.software}).", "Update this one."
        )
    return manifest


def _checked_entries(archive: zipfile.ZipFile, manifest: Manifest, path: Path) -> list[zipfile.ZipInfo]:
    """The archive's members without the manifest. What its directory and its manifest say has to agree."""
    entries = [entry for entry in archive.infolist() if entry.filename != MANIFEST]
    names = [entry.filename for entry in entries]
    if len(archive.namelist()) != len(entries) + 1 or len(set(names)) != len(names):
        raise _damaged(path, "a member", "is there twice")
    for entry in entries:
        if not any(pattern.fullmatch(entry.filename) for pattern in _LARGEST):
            raise _damaged(path, repr(entry.filename[:80]), "has no place in a model file")
        _check_entry(entry, manifest.members.get(entry.filename), path)
    missing = set(manifest.members) - set(names)
    if missing:
        raise _damaged(path, min(missing)[:80], "is missing")
    folders = {name.rpartition("/")[0] for name in names if "/" in name}
    needed = {f"{folder}/{file}" for folder in folders for file in ("state.json", "weights.safetensors")}
    if len(folders) != 1 or not {"model.json", *needed} <= set(names):
        raise _damaged(path, "the checkpoint", "is not complete")
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise _damaged(path, "its directory", "promises more bytes than the file has")
    return entries


def _check_entry(entry: zipfile.ZipInfo, listed: Member | None, path: Path) -> None:
    limit = next(most for pattern, most in _LARGEST.items() if pattern.fullmatch(entry.filename))
    if listed is None:
        raise _damaged(path, entry.filename, "is not in the manifest")
    if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
        raise _damaged(path, entry.filename, "is compressed or encrypted")
    if entry.file_size != listed.bytes or entry.compress_size != listed.bytes or listed.bytes > limit:
        raise _damaged(path, entry.filename, "has another size than it should")


def _unpack(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo, listed: Member, target: Path, path: Path, progress: Progress
) -> None:
    written = target / entry.filename
    written.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    try:
        with archive.open(entry) as source, written.open("xb") as out:
            pass_on(source, [digest.update, out.write], progress)  # type: ignore[arg-type]
    except _READING_FAILS as error:
        raise _damaged(path, entry.filename, "cannot be read") from error
    if digest.hexdigest() != listed.sha256:
        raise _damaged(path, entry.filename, "fails its checksum")


def _check_contents(target: Path, path: Path, progress: Progress) -> None:
    """Refuse a model that could not be opened later; its facts and losses are cut to where its checkpoint stands."""
    try:
        generation = newest_generation(target / "generations")
        if generation is None:
            raise DamagedFileError("The checkpoint is missing.")
        check_generation(generation, progress)
        for tensors in generation.glob("*.safetensors"):
            with safetensors.safe_open(tensors, framework="numpy"):
                pass
        ModelInfo.model_validate(read_json(target / "model.json"))
        info = ModelInfo.model_validate(stored_info(generation))
        info.train_settings()
    except (LookalikeError, OSError, safetensors.SafetensorError, ValidationError, KeyError, TypeError) as error:
        what = error.what if isinstance(error, LookalikeError) else f"{type(error).__name__}."
        raise DamagedFileError(f"The model in {path.name} cannot be used: {what}", _AGAIN) from error
    for picture in target.glob("preview*.jpg"):
        if not is_complete_jpeg(picture.read_bytes()):
            raise _damaged(path, picture.name, "is no JPEG picture")
    if (target / LR_CURVE).exists() and read_lr_curve(target) is None:
        raise _damaged(path, LR_CURVE, "holds no curve")
    folder = ModelFolder(target)
    folder.write_info(info)
    folder.losses.truncate(info.iteration)
    folder.terms.truncate(info.iteration)
    sync_folder(generation)


def _fitting_name(project: Project, name: str) -> str:
    return free_model_name(project, name if is_folder_name(name) else "imported")


def _damaged(path: Path, member: str, fault: str) -> DamagedFileError:
    return DamagedFileError(f"{path.name} is damaged or was changed: {member} {fault}.", _AGAIN)
