"""The data of a face inside its JPEG, as DeepFaceLab stores it, and our own fields under one key that it ignores."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
import numpy.typing as npt

from backend.core.errors import BadInputError, DamagedFileError
from backend.core.faces import Face, FaceType
from backend.storage import jpeg, safe_pickle
from backend.storage.atomic import write_bytes
from backend.storage.image import encode_image

OWN_KEY = "lookalike"
OWN_VERSION = 2
"""Poses of version 1 were found by another solver and are not used."""
MAX_POLYGON_POINTS = 100_000
MAX_NUMBER = 1e9
"""No coordinate and no measure of a face comes near this."""
MAX_PIXELS = 1 << 26
"""No aligned picture has so many, not even a whole frame."""

_INCLUDE = 1
_MAX_OWN_DEPTH = 32
_AGAIN = "Extract the face again or remove the file."


def read_face(path: Path) -> Face:
    """The face of an aligned JPEG; its pixels are not decoded.

    Raises:
        DamagedFileError: no JPEG, cut off, without face data, or with data that is refused or makes no sense.
        OSError: the file cannot be read.
    """
    return read_sized_face(path)[0]


def read_sized_face(path: Path) -> tuple[Face, tuple[int, int]]:
    """The face and (width, height) of its picture in pixels; see read_face()."""
    stored, size = read_stored(path)
    with _naming(path):
        return face_of_dict(stored), size


def read_stored(path: Path) -> tuple[dict[str, Any], tuple[int, int]]:
    """The dictionary as it is stored, unknown keys too, and (width, height) of the picture; errors as read_face()."""
    with _naming(path):
        data = jpeg.read_file(path)
        header = jpeg.read_header(data)
        if header.width * header.height > MAX_PIXELS:
            raise DamagedFileError(f"A picture of {header.width} x {header.height} px is no face.", _AGAIN)
        if not jpeg.is_complete_jpeg(data):
            raise DamagedFileError("The JPEG file is cut off.", _AGAIN)
        stored = _read_dict(data)
        if stored is None:
            raise DamagedFileError(
                "It has no face data in it.", "Restore the data, extract the face again or remove the file."
            )
        return stored, (header.width, header.height)


def write_stored(path: Path, stored: Mapping[str, Any], factor: float = 1.0) -> bool:
    """Put a dictionary as read_stored() gives it into an aligned JPEG; picture and other segments stay byte for byte.

    Args:
        path: the JPEG.
        stored: the dictionary.
        factor: size of the picture over the size that the data was measured at.

    Returns:
        whether the file was written; it is not when it holds the same already.

    Raises:
        DamagedFileError: the data makes no sense, or the file is no JPEG.
        BadInputError: the data is too large for a JPEG.
        OSError: the file cannot be read or written.
    """
    with _naming(path):
        data = jpeg.read_file(path)
        face = face_of_dict(stored)
        after = stored if factor == 1 else _merged(stored, face, scaled(face, factor)) or stored
        payload = safe_pickle.dumps({key: value for key, value in after.items() if value is not None})
        try:
            before = _read_dict(data)
            same = before is not None and safe_pickle.dumps(before) == payload
        except DamagedFileError:
            same = False
        if not same:
            write_bytes(path, jpeg.with_payload(data, payload))
        return not same


def write_face(path: Path, face: Face, durable: bool = True) -> None:
    """Replace the face data of an aligned JPEG. The picture and what other programs stored stay byte for byte.

    Raises:
        DamagedFileError: no JPEG.
        BadInputError: the data is too large for a JPEG.
        OSError: the file cannot be read or written.
    """
    with _naming(path):
        data = jpeg.read_file(path)
    try:
        before = _read_dict(data) or {}
        known = face_of_dict(before) if before else None
    except DamagedFileError:
        before, known = {}, None
    after = dict_of_face(face) if known is None else _merged(before, known, face)
    if after is not None:
        with _naming(path):
            write_bytes(path, jpeg.with_payload(data, safe_pickle.dumps(after)), durable)


def write_face_image(
    path: Path, image_bgr: npt.NDArray[np.uint8], face: Face, quality: int = 90, durable: bool = False
) -> None:
    """Write an aligned JPEG with its face data, in one go.

    Args:
        path: the target, ending in .jpg.
        image_bgr: (h, w, 3) uint8, or (h, w) for one channel.
        face: what the picture shows.
        quality: of the JPEG, 1..100.
        durable: see atomic.replacing().
    """
    encoded = encode_image(image_bgr, ".jpg", quality)
    write_bytes(path, jpeg.with_payload(encoded, safe_pickle.dumps(dict_of_face(face))), durable)


def scaled(face: Face, factor: float) -> Face:
    """The face of the same picture at another size: everything measured in aligned pixels times the factor."""
    mat = face.image_to_face_mat
    return replace(
        face,
        landmarks=face.landmarks * factor,
        image_to_face_mat=None if mat is None else mat * factor,
        seg_ie_polys=tuple((kind, (points * factor).astype(np.float32)) for kind, points in face.seg_ie_polys),
    )


# -- dictionary -> face


def face_of_dict(stored: Mapping[str, Any]) -> Face:
    """A face of DeepFaceLab's dictionary. DamagedFileError when it makes no sense."""
    try:
        return _face(stored)
    except (ValueError, TypeError, KeyError, OverflowError, np.linalg.LinAlgError) as error:
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise DamagedFileError(f"The face data makes no sense ({reason[:120]}).", _AGAIN) from error


def _face(stored: Mapping[str, Any]) -> Face:
    landmarks = _array(stored["landmarks"], (68, 2))
    face_type = FaceType(str(stored.get("face_type") or FaceType.FULL.value).lower())
    mat = None if stored.get("image_to_face_mat") is None else _array(stored["image_to_face_mat"], (2, 3))
    source = stored.get("source_landmarks")
    in_frame = _back_to_frame(landmarks, mat, face_type) if source is None else _array(source, (68, 2))
    brows = stored.get("eyebrows_expand_mod")
    return Face(
        source_filename=_file_name(stored.get("source_filename")),
        source_rect=_rect(stored.get("source_rect"), in_frame),
        source_landmarks=in_frame,
        landmarks=landmarks,
        image_to_face_mat=mat,
        face_type=face_type,
        eyebrows_expand_mod=1.0 if brows is None else _finite(brows),
        seg_ie_polys=_polygons(stored.get("seg_ie_polys")),
        xseg_mask=_mask(stored.get("xseg_mask")),
        **_own_fields(_own(stored)),
    )


def _array(value: Any, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    array = np.asarray(value, np.float64)
    if array.shape != shape or not (np.abs(array) <= MAX_NUMBER).all():
        raise ValueError(f"an array of shape {array.shape} instead of sensible numbers of shape {shape}")
    return array


def _finite(value: Any) -> float:
    number = float(value)
    if not abs(number) <= MAX_NUMBER:
        raise ValueError("a number that is far too large")
    return number


def _file_name(value: Any) -> str:
    """Without folders of either kind of system."""
    text = str(value).encode("utf-8", "replace").decode() if value else ""
    return PureWindowsPath(text).name[:255]


def _back_to_frame(
    landmarks: npt.NDArray[np.float64], mat: npt.NDArray[np.float64] | None, face_type: FaceType
) -> npt.NDArray[np.float64]:
    if mat is not None:
        with np.errstate(over="ignore", invalid="ignore"):
            return _array((landmarks - mat[:, 2]) @ np.linalg.inv(mat[:, :2]).T, (68, 2))
    if face_type is FaceType.MARK_ONLY:
        return landmarks
    raise ValueError("neither source_landmarks nor image_to_face_mat are there")


def _rect(value: Any, landmarks: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    if value is None:
        value = [*np.floor(landmarks.min(0)), *np.ceil(landmarks.max(0))]
    return np.rint(_array(value, (4,))).astype(np.int64)


def _polygons(value: Any) -> tuple[tuple[int, npt.NDArray[np.float32]], ...]:
    """Both forms in which polygons were stored; those that include come first, as DeepFaceLab draws them."""
    if value is None:
        return ()
    entries = [(p["type"], p["pts"]) for p in value["polys"]] if isinstance(value, dict) else [(k, p) for k, p in value]
    polygons = []
    for kind, points in entries:
        array = np.asarray(points, np.float32).reshape(-1, 2)
        if int(kind) not in (0, 1) or not np.isfinite(array).all() or len(array) > MAX_POLYGON_POINTS:
            raise ValueError("a polygon that is none")
        polygons.append((int(kind), array))
    return tuple(sorted(polygons, key=lambda polygon: polygon[0] != _INCLUDE))


def _mask(value: Any) -> npt.NDArray[np.uint8] | None:
    if value is None or len(value) == 0:
        return None
    mask = np.frombuffer(bytes(value), np.uint8) if isinstance(value, bytes | bytearray) else np.asarray(value)
    if mask.dtype != np.uint8 or mask.size != max(mask.shape):
        raise ValueError("a mask that is no encoded picture")
    return mask.reshape(-1)


def _own(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Our own fields as stored; empty when they are missing, cannot be read or could not be stored again."""
    text = stored.get(OWN_KEY)
    try:
        own = json.loads(text) if isinstance(text, str) else {}
        json.dumps(own, ensure_ascii=False, allow_nan=False).encode("utf-8")
        return own if isinstance(own, dict) and _depth(own) <= _MAX_OWN_DEPTH else {}
    except (ValueError, RecursionError):
        return {}


def _depth(value: Any) -> int:
    """How deep JSON nests, 0 for a plain value."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, inner), default=0) if isinstance(value, dict | list) else 0


def _own_fields(own: Mapping[str, Any]) -> dict[str, Any]:
    pose = own.get("pose") if own.get("version") != 1 else None
    sharpness, score, track = own.get("sharpness"), own.get("score"), own.get("track")
    provenance = own.get("provenance")
    return {
        "pose_rad": tuple(_array(pose, (3,)).tolist()) if pose is not None else None,
        "sharpness": None if sharpness is None else _finite(sharpness),
        "score": None if score is None else _finite(score),
        "track": None if track is None else int(_finite(track)),
        "origin": str(own.get("origin") or ""),
        "detector": str(own.get("detector") or ""),
        "landmarker": str(own.get("landmarker") or ""),
        "provenance": provenance if isinstance(provenance, dict) else {},
    }


# -- face -> dictionary


def dict_of_face(face: Face) -> dict[str, Any]:
    """DeepFaceLab's dictionary of a face, in the types its own tools expect; what is None or empty is left out."""
    values: dict[str, Any] = {
        "face_type": face.face_type.value,
        "landmarks": np.asarray(face.landmarks, np.float64).tolist(),
        "source_filename": face.source_filename,
        "source_rect": np.asarray(face.source_rect).astype(np.int64),
        "source_landmarks": np.asarray(face.source_landmarks, np.float64).tolist(),
        "image_to_face_mat": None if face.image_to_face_mat is None else np.asarray(face.image_to_face_mat, np.float64),
        "seg_ie_polys": _polygons_dict(face) if face.seg_ie_polys else None,
        "xseg_mask": None if face.xseg_mask is None else np.asarray(face.xseg_mask, np.uint8).reshape(-1),
        "eyebrows_expand_mod": float(face.eyebrows_expand_mod),
    }
    own = _own_dict(face)
    values[OWN_KEY] = _own_text(own) if own else None
    return {key: value for key, value in values.items() if value is not None}


def _polygons_dict(face: Face) -> dict[str, Any]:
    return {"polys": [{"type": kind, "pts": np.asarray(pts, np.float32)} for kind, pts in face.seg_ie_polys]}


def _own_dict(face: Face) -> dict[str, Any]:
    pose = None if face.pose_rad is None else [float(angle) for angle in face.pose_rad]
    sharpness = None if face.sharpness is None else float(face.sharpness)
    values = {
        "pose": pose,
        "sharpness": sharpness,
        "score": None if face.score is None else float(face.score),
        "track": face.track,
        "origin": face.origin,
        "detector": face.detector,
        "landmarker": face.landmarker,
        "provenance": face.provenance,
    }
    return {key: value for key, value in values.items() if value not in (None, "", {})}


def _own_text(own: Mapping[str, Any]) -> str:
    return json.dumps({"version": OWN_VERSION, **own}, ensure_ascii=False)


def _merged(before: Mapping[str, Any], known: Face, face: Face) -> dict[str, Any] | None:
    """The stored dictionary with only those keys replaced whose meaning changed; None when none did."""
    current, wanted = dict_of_face(known), dict_of_face(face)
    changed = [key for key in {**current, **wanted} if not _same(current.get(key), wanted.get(key))]
    if not changed:
        return None
    foreign = {key: value for key, value in _own(before).items() if key not in (*_own_dict(known), "version")}
    if foreign and OWN_KEY in changed:
        wanted[OWN_KEY] = _own_text({**foreign, **_own_dict(face)})
    kept = {key: value for key, value in before.items() if key not in changed}
    return kept | {key: wanted[key] for key in changed if key in wanted}


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
        return first.dtype == second.dtype and np.array_equal(first, second)
    if isinstance(first, dict) and isinstance(second, dict):
        return _same_polygons(first["polys"], second["polys"])
    return type(first) is type(second) and bool(first == second)


def _same_polygons(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> bool:
    pairs = zip(first, second, strict=False)
    return len(first) == len(second) and all(a["type"] == b["type"] and _same(a["pts"], b["pts"]) for a, b in pairs)


def _read_dict(data: bytes) -> dict[str, Any] | None:
    payload = jpeg.read_payload(data)
    if payload is None:
        return None
    stored = safe_pickle.loads(payload, max_bytes=jpeg.MAX_PAYLOAD)
    if not isinstance(stored, dict):
        raise DamagedFileError("The face data is no dictionary.", _AGAIN)
    return stored


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Errors of the block say which file they are about."""
    try:
        yield
    except (DamagedFileError, BadInputError) as error:
        raise type(error)(f"{path.name}: {error.what[:1].lower()}{error.what[1:]}", error.fix) from error
