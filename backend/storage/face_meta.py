"""DeepFaceLab's meta.dat: the data of all faces of a folder in one file beside them, to be put back after editing.

It is a pickled dictionary: file name -> (shape of the picture, the dictionary stored in the file).
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.core.errors import BadInputError, DamagedFileError
from backend.storage import jpeg, pickle_writer, safe_pickle
from backend.storage.atomic import replacing
from backend.storage.face_file import read_stored, write_stored
from backend.storage.face_index import is_face_name, stamps

META_NAME = "meta.dat"
MAX_META_BYTES = 1 << 30

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Restored:
    """What came of putting data back.

    Attributes:
        names: files that hold the data now, in the order of meta.dat.
        failed: (file name, reason) of those that do not.
        gone: names of which there is no file any more.
    """

    names: tuple[str, ...]
    failed: tuple[tuple[str, str], ...]
    gone: tuple[str, ...]


def save_meta(folder: Path, progress: Progress | None = None) -> int:
    """Write the data of all faces of a folder into its meta.dat; one that is there is replaced.

    Args:
        folder: where the faces lie; files without face data, or with damaged data, are left out.
        progress: called with (done, total).

    Returns:
        of how many faces.

    Raises:
        BadInputError: no file has face data.
        OSError, DiskFullError: a file cannot be read or written.
    """
    names = [name for name in stamps(folder) if _read(folder / name) is not None]
    if not names:
        raise BadInputError(f"No file in {folder} has face data.")
    with replacing(folder / META_NAME) as file:
        pickle_writer.dump_dict(_pairs(folder, names, progress), len(names), file.write)
    return len(names)


def restore_meta(folder: Path, progress: Progress | None = None) -> Restored:
    """Put the data of meta.dat back into the faces of its folder.

    Pictures are never encoded again: one that was enlarged or reduced keeps its size, and the data is fitted to it.
    When every file that is there has its data, meta.dat is removed; otherwise it stays.

    Args:
        folder: where meta.dat and the faces lie.
        progress: called with (done, total).

    Raises:
        BadInputError: there is no meta.dat.
        DamagedFileError: it cannot be read as one.
        OSError: a file cannot be read or written.
    """
    path = folder / META_NAME
    if not path.is_file():
        raise BadInputError(f"There is no {META_NAME} in {folder}.", "Save the metadata first.")
    total = sum(1 for _ in read_meta(path))
    stems = {other.stem.lower() for other in folder.iterdir() if other.name != META_NAME}
    names, failed, gone = [], [], []
    for number, (name, shape, values) in enumerate(read_meta(path)):
        if not (folder / name).is_file() and Path(name).stem.lower() not in stems:
            gone.append(name)
        elif reason := _restore(folder / name, shape, values):
            failed.append((name, reason))
        else:
            names.append(name)
        if progress:
            progress(number + 1, total)
    if not failed:
        path.unlink()
    return Restored(tuple(names), tuple(failed), tuple(gone))


def read_meta(path: Path) -> Iterator[tuple[str, tuple[int, int], dict[str, Any]]]:
    """The faces of a meta.dat one by one; only a few of them are in memory.

    Yields:
        file name, (height, width) of the picture in px, stored dictionary.

    Raises:
        DamagedFileError: it is no meta.dat, or asks for what is never in one. May come after some faces.
        OSError: the file cannot be read.
    """
    size = path.stat().st_size
    if not 0 < size <= MAX_META_BYTES:
        raise DamagedFileError(f"{path.name} holds no saved metadata.", "Save the metadata again.")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for name, entry in safe_pickle.load_pairs(data):
            if not _is_entry(name, entry):
                raise DamagedFileError(f"{path.name} holds no saved metadata.", "Save the metadata again.")
            shape, values = entry
            yield name, (int(shape[0]), int(shape[1])), values


def _is_entry(name: object, entry: object) -> bool:
    if not isinstance(name, str) or not is_face_name(name) or Path(name).name != name:
        return False
    if not isinstance(entry, tuple | list) or len(entry) != 2:
        return False
    shape, values = entry
    sizes = isinstance(shape, tuple | list) and len(shape) >= 2 and all(type(n) is int and 0 < n < 65536 for n in shape)
    return sizes and isinstance(values, dict)


def _read(path: Path) -> tuple[dict[str, Any], tuple[int, int]] | None:
    """Data and (width, height) of a face file; None when it has none that can be read."""
    try:
        return read_stored(path)
    except DamagedFileError:
        return None


def _pairs(folder: Path, names: list[str], progress: Progress | None) -> Iterator[tuple[str, Any]]:
    for number, name in enumerate(names):
        values, (width, height) = read_stored(folder / name)
        yield name, ((height, width, 3), values)
        if progress:
            progress(number + 1, len(names))


def _restore(path: Path, shape: tuple[int, int], values: dict[str, Any]) -> str:
    """Put data into one file; why it cannot be done, "" when it was."""
    try:
        header = jpeg.read_header(jpeg.read_file(path))
        factor = header.width / shape[1]
        if abs(shape[0] * factor - header.height) > 1:
            return f"the picture was cropped: it has {header.width} x {header.height} px, not {shape[1]} x {shape[0]}"
        write_stored(path, values, factor)
    except FileNotFoundError:
        return "it is no JPEG file any more"
    except (DamagedFileError, BadInputError) as error:
        return error.what
    return ""
