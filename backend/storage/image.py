"""Reading and writing pictures. Paths may hold any characters; OpenCV only ever sees bytes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from backend.core.errors import BadInputError, DamagedFileError
from backend.storage.atomic import write_bytes
from backend.storage.jpeg import is_complete_jpeg

UInt8 = npt.NDArray[np.uint8]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")

_JPEG_START = b"\xff\xd8"
_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"IEND\xaeB`\x82"


def list_images(folder: Path) -> list[Path]:
    """Pictures directly in a folder by name, letter case ignored; empty when there is no folder."""
    try:
        with os.scandir(folder) as entries:
            names = [e.name for e in entries if is_image_name(e.name) and e.is_file()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [folder / name for name in sorted(names, key=lambda name: (name.lower(), name))]


def is_image_name(name: str) -> bool:
    """Whether a file name is that of a picture; hidden files are none."""
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")


def read_image(path: Path, channels: Literal[1, 3] | None = 3) -> UInt8:
    """Read a picture as it is stored: an orientation noted by a camera is not applied, 16 bits become 8.

    Args:
        path: the file.
        channels: 3 gives (h, w, 3) BGR, transparency dropped; 1 gives (h, w) gray; None leaves what the file holds,
            (h, w), (h, w, 3) or (h, w, 4).

    Returns:
        uint8 0..255.

    Raises:
        DamagedFileError: no picture, damaged or cut off.
        OSError: the file cannot be read, for example because it is not there.
    """
    return decode_image(path.read_bytes(), path.name, channels)


def decode_image(data: bytes, name: str, channels: Literal[1, 3] | None = 3) -> UInt8:
    """Decode the bytes of a picture; see read_image(). ``name`` is what errors call it."""
    import cv2

    if not _looks_complete(data):
        raise DamagedFileError(f"The picture {name} is cut off or damaged.", "Make it again or remove it.")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        image = None
    if image is None or image.size == 0:
        raise DamagedFileError(f"{name} is no picture or is damaged.", "Make it again or remove it.")
    return _with_channels(_to_8_bits(image), channels)


def encode_image(image: npt.NDArray[Any], suffix: str, quality: int = 95) -> bytes:
    """Encode (h, w), (h, w, 1), (h, w, 3) BGR or, as PNG, (h, w, 4) BGRA uint8.

    Args:
        image: the picture.
        suffix: ".jpg", ".jpeg", ".png", ".tif" or ".tiff".
        quality: of a JPEG, 1..100. Colour is not subsampled from 90 on, so that lips and eyes keep their edges.
    """
    import cv2

    suffix = suffix.lower()
    if suffix not in IMAGE_SUFFIXES:
        raise BadInputError(f"Pictures cannot be written as '{suffix}'.", f"Use one of {', '.join(IMAGE_SUFFIXES)}.")
    options: list[int] = []
    if suffix in (".jpg", ".jpeg"):
        sampling = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444 if quality >= 90 else cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420
        options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    elif suffix == ".png":
        options = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
    encoded, data = cv2.imencode(suffix, np.ascontiguousarray(image), options)
    if not encoded:
        raise BadInputError(f"A picture of shape {image.shape} could not be encoded as {suffix}.")
    return data.tobytes()


def write_image(path: Path, image: npt.NDArray[Any], quality: int = 95, durable: bool = False) -> None:
    """Write a picture as a whole, in the format of the path's suffix; see encode_image() and atomic.replacing()."""
    write_bytes(path, encode_image(image, path.suffix, quality), durable)


def _looks_complete(data: bytes) -> bool:
    """False for JPEG and PNG files that end early; decoders fill the rest with gray without a word."""
    if data.startswith(_JPEG_START):
        return is_complete_jpeg(data)
    return not data.startswith(_PNG_START) or _PNG_END in data


def _to_8_bits(image: npt.NDArray[Any]) -> UInt8:
    if image.dtype == np.uint8:
        return image
    if image.dtype == np.uint16:
        return ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if np.issubdtype(image.dtype, np.floating):
        return np.rint(np.clip(np.nan_to_num(image), 0.0, 1.0) * 255.0).astype(np.uint8)
    return np.clip(image, 0, 255).astype(np.uint8)


def _with_channels(image: UInt8, channels: Literal[1, 3] | None) -> UInt8:
    import cv2

    if image.ndim == 3 and image.shape[2] < 3:
        image = image[:, :, 0]
    if channels == 3:
        if image.ndim == 2:
            return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
        return np.ascontiguousarray(image[:, :, :3])
    if channels == 1 and image.ndim == 3:
        return cv2.cvtColor(np.ascontiguousarray(image[:, :, :3]), cv2.COLOR_BGR2GRAY)
    return image
