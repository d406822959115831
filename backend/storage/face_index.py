"""The side index of a faceset: the face data of every file, so that reading a faceset again costs no time.

It also brings back face data that an image editor dropped from a file. Losing the index costs nothing else: it is made
again from the files.
"""

from __future__ import annotations

import base64
import contextlib
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from backend.core.errors import DamagedFileError
from backend.core.faces import Face, FaceType
from backend.storage.atomic import read_json, write_json
from backend.storage.face_file import read_sized_face

INDEX_NAME = ".faceset.json"
LATEST_NAME = ".faceset-latest.json"
"""Entries that changed since the index was last written as a whole."""
INDEX_VERSION = 2
_WHOLE_SHARE = 100
"""The index is written as a whole when one in so many faces changed, as that takes long; before, only the changes."""
FACE_SUFFIXES = (".jpg", ".jpeg")

Stamp = tuple[int, int, int]


@dataclass(frozen=True)
class Entry:
    """What is known of one file.

    Attributes:
        stamp: size in bytes, modification time in ns, inode: another value means another file.
        face: its face data, None when there never was any.
        size: (width, height) of the picture when the face data was read.
        problem: why the file cannot be used as it is, "" when it can; ``face`` is then what it once held.
    """

    stamp: Stamp
    face: Face | None
    size: tuple[int, int]
    problem: str = ""


def is_face_name(name: str) -> bool:
    """Whether a file can be an aligned face; hidden files are none, nor are those whose name is no text."""
    return name.lower().endswith(FACE_SUFFIXES) and not name.startswith(".") and _is_text(name)


def _is_text(name: str) -> bool:
    """False for names in another encoding than UTF-8, which cannot be written down."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def stamps(folder: Path) -> dict[str, Stamp]:
    """Name -> stamp of every face file, by name with letter case ignored; empty when there is no folder."""
    found: list[tuple[str, Stamp]] = []
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            if is_face_name(entry.name) and entry.is_file():
                with contextlib.suppress(FileNotFoundError):
                    stat = entry.stat()
                    found.append((entry.name, (stat.st_size, stat.st_mtime_ns, entry.inode())))
    return dict(sorted(found, key=lambda pair: (pair[0].lower(), pair[0])))


class FaceIndex:
    """The entries of one folder. Not thread-safe by itself; a Faceset guards it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._entries: dict[str, Entry] = {}
        self._loaded = False
        self._latest: set[str] = set()

    def refresh(self) -> Mapping[str, Entry]:
        """Entries of all files that are there now, by name. Reads only new and changed files."""
        if not self._loaded:
            self._open()
        now = stamps(self._folder)
        stale = [name for name, stamp in now.items() if name not in self._entries or self._entries[name].stamp != stamp]
        changed = set(stale)
        if stale or len(now) != len(self._entries):
            with ThreadPoolExecutor(4) as pool:
                read = pool.map(lambda name: self._read(name, now[name]), stale)
                fresh = {name: entry for name, entry in zip(stale, read, strict=True) if entry is not None}
            kept = {name: entry for name, entry in self._entries.items() if name not in changed}
            self._latest |= changed | (self._entries.keys() - now.keys())
            self._entries = {name: entry for name in now if (entry := fresh.get(name) or kept.get(name))}
            self._save()
        return self._entries

    def rename(self, names: Mapping[str, str]) -> None:
        """Follow renamed files; ``names`` is old -> new."""
        self._entries = {names.get(name, name): entry for name, entry in self._entries.items()}
        self._latest = set(self._entries)
        self._save()

    def known(self) -> Mapping[str, Entry]:
        """The entries as of the last refresh()."""
        return self._entries

    def _read(self, name: str, stamp: Stamp) -> Entry | None:
        """A new entry; None when the file has just gone. Face data known from before is kept when it is lost."""
        try:
            face, size = read_sized_face(self._folder / name)
            return Entry(stamp, face, size)
        except FileNotFoundError:
            return None
        except (DamagedFileError, OSError) as error:
            before = self._entries.get(name)
            damaged = isinstance(error, DamagedFileError)
            what = error.what.removeprefix(f"{name}: ") if damaged else f"it cannot be read ({error.strerror})."
            return Entry(stamp, before.face if before else None, before.size if before else (0, 0), what)

    def _open(self) -> None:
        latest = _load(self._folder / LATEST_NAME)
        known = {**_load(self._folder / INDEX_NAME), **latest}
        self._entries = {name: entry for name, entry in known.items() if entry is not None}
        self._latest = set(latest)
        self._loaded = True

    def _save(self) -> None:
        """Write what changed down at once: the data of a face may be lost before anything else changes."""
        if not self._folder.is_dir():
            return
        with contextlib.suppress(OSError):
            if len(self._latest) * _WHOLE_SHARE < len(self._entries):
                _write(self._folder / LATEST_NAME, {name: self._entries.get(name) for name in self._latest})
                return
            _write(self._folder / INDEX_NAME, self._entries)
            (self._folder / LATEST_NAME).unlink(missing_ok=True)
            self._latest = set()


def _write(path: Path, entries: Mapping[str, Entry | None]) -> None:
    stored = {name: None if entry is None else _entry_to_json(entry) for name, entry in entries.items()}
    write_json(path, {"version": INDEX_VERSION, "faces": stored}, durable=False)


def _load(path: Path) -> dict[str, Entry | None]:
    """The stored entries, None for files that are gone; nothing when the file is missing or damaged."""
    try:
        stored = read_json(path)
        if stored["version"] not in (1, INDEX_VERSION):
            return {}
        poses = stored["version"] == INDEX_VERSION
        faces = stored["faces"].items()
        return {str(name): None if entry is None else _entry_of_json(entry, poses) for name, entry in faces}
    except (OSError, DamagedFileError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _entry_to_json(entry: Entry) -> dict[str, Any]:
    face = None if entry.face is None else _face_to_json(entry.face)
    return {"stamp": entry.stamp, "size": entry.size, "problem": entry.problem, "face": face}


def _entry_of_json(stored: Mapping[str, Any], poses: bool) -> Entry:
    """An entry; poses of the first version were found by another solver and are left out."""
    size, modified, inode = (int(part) for part in stored["stamp"])
    width, height = (int(part) for part in stored["size"])
    face = None if stored["face"] is None else _face_of_json(stored["face"], poses)
    return Entry((size, modified, inode), face, (width, height), str(stored["problem"]))


def _face_to_json(face: Face) -> dict[str, Any]:
    numbers = [face.source_rect, face.source_landmarks, face.landmarks]
    if face.image_to_face_mat is not None:
        numbers.append(face.image_to_face_mat)
    return {
        "source": face.source_filename,
        "type": face.face_type.value,
        "numbers": _text(np.concatenate([np.asarray(part, "<f8").ravel() for part in numbers])),
        "brows": face.eyebrows_expand_mod,
        "polygons": [[kind, _text(np.asarray(points, "<f4"))] for kind, points in face.seg_ie_polys],
        "mask": None if face.xseg_mask is None else _text(face.xseg_mask),
        "pose": face.pose_rad,
        "sharpness": face.sharpness,
        "score": face.score,
        "track": face.track,
        "origin": face.origin,
        "detector": face.detector,
        "landmarker": face.landmarker,
        "provenance": face.provenance,
    }


def _face_of_json(stored: Mapping[str, Any], poses: bool) -> Face:
    parts = _split(np.frombuffer(_bytes(stored["numbers"]), "<f8").astype(np.float64))
    mask = stored["mask"]
    pose = stored["pose"] if poses else None
    return Face(
        source_filename=stored["source"],
        source_rect=next(parts).astype(np.int64),
        source_landmarks=next(parts).reshape(68, 2),
        landmarks=next(parts).reshape(68, 2),
        image_to_face_mat=next(parts, None),
        face_type=FaceType(stored["type"]),
        eyebrows_expand_mod=stored["brows"],
        seg_ie_polys=tuple((k, np.frombuffer(_bytes(p), "<f4").reshape(-1, 2).copy()) for k, p in stored["polygons"]),
        xseg_mask=None if mask is None else np.frombuffer(_bytes(mask), np.uint8).copy(),
        pose_rad=None if pose is None else (pose[0], pose[1], pose[2]),
        sharpness=stored["sharpness"],
        score=stored.get("score"),
        track=stored.get("track"),
        origin=stored.get("origin", ""),
        detector=stored["detector"],
        landmarker=stored["landmarker"],
        provenance=stored["provenance"],
    )


def _split(numbers: npt.NDArray[np.float64]) -> Iterator[npt.NDArray[np.float64]]:
    """Rectangle, both sets of landmarks and, when it is there, the matrix."""
    yield numbers[:4]
    yield numbers[4:140]
    yield numbers[140:276]
    if len(numbers) > 276:
        yield numbers[276:].reshape(2, 3)


def _text(array: npt.NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
