"""A whole model as one file to carry elsewhere: a ZIP archive without compression.

::

    model.json  notes.txt  loss.bin  terms.bin  lr_finder.json  preview.jpg  preview_<page>.jpg
    generations/000001200-0/state.json  weights.safetensors  ...     the newest whole checkpoint
    manifest.json                                                    size and sha256 of every other member

Nothing in it can run code: it is JSON, safetensors, JPEG, text and plain numbers, and a reader refuses all else. The
series of previews, the backups and the event files stay at home.
"""

from __future__ import annotations

import hashlib
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from backend.core.errors import BadInputError
from backend.core.provenance import SOFTWARE
from backend.storage.atomic import replacing, require_free_disk
from backend.storage.generation_folder import newest_whole_generation
from backend.storage.linking import Progress, no_progress, pass_on
from backend.storage.lr_curve import LR_CURVE
from backend.storage.model_folder import ModelFolder

SUFFIX = ".lookalike-model"
MANIFEST = "manifest.json"
FORMAT = "lookalike-model"
VERSION = 1

RESERVE_BYTES = 64 << 20
"""Free disk that stays after a file was written."""


class Member(BaseModel):
    """Size and sha256, in hex, of one member."""

    model_config = ConfigDict(frozen=True)

    bytes: int = Field(ge=0)
    sha256: str


class Manifest(BaseModel):
    """manifest.json: what the file holds.

    Attributes:
        name, model_class, iteration: of the model.
        created: unix time.
        members: name in the archive -> size and checksum, all but the manifest itself.
    """

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    format: str
    version: int
    software: str = SOFTWARE
    name: str
    model_class: str
    iteration: int
    created: float
    members: dict[str, Member]


@dataclass(frozen=True)
class Packed:
    """A written file: its bytes, and the iteration of the model inside."""

    bytes: int
    iteration: int


def export_model(folder: ModelFolder, path: Path, owner: str, progress: Progress = no_progress) -> Packed:
    """Write a model as one file, which appears only when it is complete.

    Args:
        folder: the model's folder.
        path: the file; an existing one is replaced.
        owner: name shown to whoever wants to write the model meanwhile.
        progress: told the bytes as they are done, export_bytes() in all; what it raises leaves no file.

    Raises:
        BadInputError: there is nothing to export.
        ModelBusyError: somebody writes this model.
        DamagedFileError: no checkpoint of the model is whole.
        DiskFullError: the file does not fit.
    """
    with folder.lock(owner):
        info = folder.info()
        if info is None:
            raise BadInputError(f"The model '{folder.name}' was not saved yet.", "Train it first.")
        generation = newest_whole_generation(folder.generations_dir, progress)
        files = dict(_members(folder, generation))
        size = sum(file.stat().st_size for file in files.values())
        path.parent.mkdir(parents=True, exist_ok=True)
        require_free_disk(path.parent, size + RESERVE_BYTES)
        iteration = int(generation.name.partition("-")[0])
        with replacing(path) as out, zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
            members = {name: _write(archive, name, file, progress) for name, file in files.items()}
            manifest = Manifest(
                format=FORMAT,
                version=VERSION,
                name=folder.name,
                model_class=info.model_class,
                iteration=iteration,
                created=time.time(),
                members=members,
            )
            archive.writestr(MANIFEST, manifest.model_dump_json(indent=1))
    return Packed(path.stat().st_size, iteration)


def export_bytes(folder: ModelFolder) -> int:
    """About how many bytes export_model() reports: the checkpoint is read twice, once to check it."""
    newest = max(folder.generations_dir.glob("[0-9]*-[0-9]*"), default=None)
    if newest is None:
        return 0
    tensors = sum(path.stat().st_size for path in newest.glob("*.safetensors"))
    return tensors + sum(file.stat().st_size for _, file in _members(folder, newest))


def _members(folder: ModelFolder, generation: Path) -> Iterator[tuple[str, Path]]:
    """(name in the archive, file) of everything that goes along."""
    for name in ("model.json", "notes.txt", "loss.bin", "terms.bin", LR_CURVE):
        if (folder.path / name).exists():
            yield name, folder.path / name
    for page in folder.pages():
        picture = folder.preview(page)
        if picture is not None:
            yield picture.name, picture
    for path in sorted(generation.iterdir()):
        if path.is_file():
            yield f"generations/{generation.name}/{path.name}", path


def _write(archive: zipfile.ZipFile, name: str, file: Path, progress: Progress) -> Member:
    digest = hashlib.sha256()
    entry = zipfile.ZipInfo(name, time.localtime()[:6])
    entry.external_attr = 0o644 << 16
    with file.open("rb") as source, archive.open(entry, "w", force_zip64=True) as target:
        size = pass_on(source, [digest.update, target.write], progress)
    return Member(bytes=size, sha256=digest.hexdigest())
