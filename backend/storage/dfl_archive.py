"""A model of DeepFaceLab in a ZIP archive: taken out without trusting a path in it, and written into one."""

from __future__ import annotations

import lzma
import struct
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.core.errors import BadInputError, DamagedFileError
from backend.storage import safe_pickle
from backend.storage.atomic import require_free_disk
from backend.storage.dfl_model import DATA, KINDS, MAX_DATA_BYTES, MAX_TENSOR_BYTES, TENSORS, Tensor
from backend.storage.linking import Progress, no_progress, pass_on
from backend.storage.pickle_writer import dump_dict

RESERVE_BYTES = 64 << 20
"""Free disk that stays after a model was taken out."""

MOST_UNPACKED = 64 << 30
"""Bytes of all files of a model together."""

_READING_FAILS = (
    *(zipfile.BadZipFile, EOFError, struct.error, NotImplementedError, RuntimeError, ValueError),
    *(zlib.error, lzma.LZMAError),
)
_NAME_BYTES = 255
"""Of a file, at most, on the disks there are."""

_AGAIN = "Make it again, or copy or download it again."


def unpack_model(path: Path, target: Path, progress: Progress = no_progress) -> Path:
    """Take the only model out of an archive. Files are told by their names alone, in whatever folder they lie there.

    Args:
        path: the archive.
        target: an empty folder for its files.
        progress: told the bytes as they are written.

    Returns:
        the data file in the target.

    Raises:
        BadInputError: it holds no model, or several.
        DamagedFileError: it is no archive, cut off, encrypted, or larger than a model can be.
        DiskFullError: its files do not fit.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = _entries(archive, path)
            total = sum(entry.file_size for entry in entries.values())
            if total > MOST_UNPACKED:
                raise DamagedFileError(f"{path.name} unfolds to {total >> 30} GiB: no model is so large.", _AGAIN)
            require_free_disk(target, total + RESERVE_BYTES)
            for name, entry in entries.items():
                with archive.open(entry) as source, (target / name).open("xb") as out:
                    pass_on(source, [out.write], progress)  # type: ignore[arg-type]
    except (*_READING_FAILS, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk; damage in bzip2 has no number
            raise
        raise DamagedFileError(f"{path.name} is cut off, encrypted, or no archive at all.", _AGAIN) from error
    return next(target / name for name in entries if DATA.fullmatch(name))


def name_in(path: Path) -> str:
    """The name of the only model in an archive, "" for one without. Errors as of unpack_model()."""
    try:
        with zipfile.ZipFile(path) as archive:
            named = (DATA.fullmatch(name) for name in _entries(archive, path))
            return next((found["name"] or "" for found in named if found), "")
    except _READING_FAILS as error:
        raise DamagedFileError(f"{path.name} is cut off, or no archive at all.", _AGAIN) from error


def _entries(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    """File name -> entry of what belongs to the only model."""
    listed = [(entry.filename.replace("\\", "/").rpartition("/"), entry) for entry in archive.infolist()]
    models = [(folder, name) for (folder, _, name), _ in listed if DATA.fullmatch(name)]
    if len(models) != 1:
        names = ", ".join(name.removesuffix("_data.dat") for _, name in models)
        what = f"holds {len(models)} models: {names}." if models else "holds no model of a kind that is known here."
        way = "Unpack it and name the data file of the one you mean." if models else f"Known are {', '.join(KINDS)}."
        raise BadInputError(f"{path.name} {what}", way)
    place, data = models[0]
    found: dict[str, zipfile.ZipInfo] = {}
    for (folder, _, name), entry in listed:
        tensors = TENSORS.fullmatch(name)
        belongs = name == data or (tensors is not None and tensors["model"] == data.removesuffix("_data.dat"))
        if folder != place or not belongs:
            continue
        too_large = entry.file_size > (MAX_DATA_BYTES if name == data else MAX_TENSOR_BYTES)
        if name in found or too_large or len(name.encode()) > _NAME_BYTES:
            raise DamagedFileError(f"{path.name} holds {name[:80]} twice, or longer than it can be.", _AGAIN)
        found[name] = entry
    return found


@dataclass(frozen=True)
class TensorFile:
    """One file of tensors to be written.

    Attributes:
        part: network or optimiser, such as "encoder".
        count: tensors in it.
        tensors: DeepFaceLab's name and array, in its order.
    """

    part: str
    count: int
    tensors: Iterable[tuple[str, Tensor | Any]]


def write_archive(path: Path, stem: str, facts: Mapping[str, Any], summary: str, files: Iterable[TensorFile]) -> int:
    """Write a model as DeepFaceLab lays it out, in an archive without compression: weights hardly shrink.

    Args:
        path: the archive, which must not exist.
        stem: of all its files: <name>_SAEHD.
        facts: what the data file says: iter, options, loss_history, ...; plain data.
        summary: text about the model for people.
        files: its networks and optimisers, made one at a time.

    Returns:
        the bytes of the archive.
    """
    with zipfile.ZipFile(path, "x", zipfile.ZIP_STORED) as archive:
        for each in files:
            _write(archive, f"{stem}_{each.part}.npy", lambda write, e=each: dump_dict(e.tensors, e.count, write))
        _write(archive, f"{stem}_summary.txt", lambda write: write(summary.encode()))
        _write(archive, f"{stem}_data.dat", lambda write: write(safe_pickle.dumps(dict(facts))))
    return path.stat().st_size


def _write(archive: zipfile.ZipFile, name: str, fill: Callable[[Callable[[bytes], object]], object]) -> None:
    entry = zipfile.ZipInfo(name, time.localtime()[:6])
    entry.external_attr = 0o644 << 16
    with archive.open(entry, "w", force_zip64=True) as target:
        fill(target.write)
