"""What sorting measures of one face. Pictures are decoded no larger than the measure needs."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from backend.core.errors import DamagedFileError
from backend.core.faces import Face
from backend.ops.edge_sharpness import face_sharpness
from backend.ops.histogram import face_histogram, gray_histogram
from backend.ops.landmark_outliers import shape_error
from backend.ops.likeness import colour_thumbnail, face_details
from backend.ops.mask import hull_mask, polygons_mask
from backend.ops.pose import estimate_pose
from backend.ops.quality import sharpness
from backend.ops.recrop import decode_mask
from backend.storage.faceset import FaceRecord
from backend.storage.jpeg import is_complete_jpeg, read_header

UInt8 = npt.NDArray[np.uint8]

THUMBNAIL_PX = 128
_MASK_PX = 256
_BLUR_KERNEL = 11
_BLUR_SCALE = 2.0**-14  # brings the numbers to about 1 to 1000
_FULL = 1 << 20
_REDUCED = (
    (8, cv2.IMREAD_REDUCED_GRAYSCALE_8, cv2.IMREAD_REDUCED_COLOR_8),
    (4, cv2.IMREAD_REDUCED_GRAYSCALE_4, cv2.IMREAD_REDUCED_COLOR_4),
    (2, cv2.IMREAD_REDUCED_GRAYSCALE_2, cv2.IMREAD_REDUCED_COLOR_2),
    (1, cv2.IMREAD_GRAYSCALE, cv2.IMREAD_COLOR),
)


class Picture(NamedTuple):
    """A face at a size that suffices.

    Attributes:
        image: (h, w) gray or (h, w, 3) BGR uint8.
        landmarks: (68, 2) in its pixels.
        face: the face as it is stored.
    """

    image: UInt8
    landmarks: npt.NDArray[np.float64]
    face: Face

    @property
    def hull(self) -> UInt8:
        """(h, w) 0 or 1, the area of the face."""
        return hull_mask(self.image.shape, self.landmarks, self.face.eyebrows_expand_mod).astype(np.uint8)


class BestFacts(NamedTuple):
    """What choosing the best faces needs of one: pitch and yaw in radians, its value, its histogram."""

    pose: tuple[float, float]
    value: float
    histogram: npt.NDArray[np.uint16]


def load(record: FaceRecord, side: int = _FULL, gray: bool = False) -> Picture:
    """Decode a face at half, a quarter or an eighth of its size, as long as it stays at least ``side`` pixels wide.

    Raises:
        DamagedFileError: the picture cannot be decoded.
        OSError: the file cannot be read.
    """
    data = record.path.read_bytes()
    width = read_header(data).width
    if not is_complete_jpeg(data):
        raise DamagedFileError(f"The picture {record.path.name} is cut off.", "Extract the face again or remove it.")
    flag = next(flags[1 if gray else 2] for flags in _REDUCED if width >= side * flags[0] or flags[0] == 1)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flag | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        image = None
    if image is None or not image.size:
        raise DamagedFileError(f"{record.path.name} cannot be decoded.", "Extract the face again or remove it.")
    scale = image.shape[1] / width
    landmarks = (record.face.landmarks + 0.5) * scale - 0.5
    return Picture(image, landmarks, record.face)


def thumbnail(record: FaceRecord, gray: bool = False) -> Picture:
    """A face at 128 pixels, or at its own size where that is less."""
    picture = load(record, THUMBNAIL_PX, gray)
    width = picture.image.shape[1]
    if width <= THUMBNAIL_PX:
        return picture
    image = cv2.resize(picture.image, (THUMBNAIL_PX, THUMBNAIL_PX), interpolation=cv2.INTER_AREA)
    return Picture(image, (picture.landmarks + 0.5) * THUMBNAIL_PX / width - 0.5, record.face)


def pose(record: FaceRecord) -> tuple[float, float]:
    """(pitch, yaw) in radians, stored or measured."""
    if record.face.pose_rad is not None:
        return record.face.pose_rad[0], record.face.pose_rad[1]
    pitch, yaw, _ = estimate_pose(record.face.landmarks, crop_size(record))
    return pitch, yaw


def crop_size(record: FaceRecord) -> int:
    """Side of the picture in pixels, without decoding it."""
    return read_header(record.path.read_bytes()).width


def edge_value(record: FaceRecord) -> float:
    """How sharp the edges of the face are, 0..1; see backend.ops.edge_sharpness."""
    return _edge_value(load(record, gray=True))


def blur(record: FaceRecord) -> tuple[float, float]:
    """The sharpness of the edges, and the plain sharpness, which tells faces without any sharp edge apart."""
    picture = load(record, gray=True)
    return _edge_value(picture), _plain_sharpness(picture)


def motion_blur(record: FaceRecord) -> float:
    """Variance of the Laplacian, kernel 11, of the picture with everything but the face black (reference section 5).

    Only the part around the face is filtered; the rest is black and its Laplacian 0.
    """
    picture = load(record)
    hull = picture.hull
    left, top, width, height = cv2.boundingRect(hull)
    rim = _BLUR_KERNEL
    part = np.s_[max(top - rim, 0) : top + height + rim, max(left - rim, 0) : left + width + rim]
    face = picture.image[part] * hull[part][:, :, None]
    edges = cv2.Laplacian(face, cv2.CV_32F, ksize=_BLUR_KERNEL, scale=_BLUR_SCALE)
    mean = float(edges.sum(dtype=np.float64)) / picture.image.size
    return float(np.einsum("ijk,ijk->", edges, edges, dtype=np.float64)) / picture.image.size - mean * mean


def rect_area(record: FaceRecord) -> float:
    """Area of the detected face in frame pixels."""
    left, top, right, bottom = (float(edge) for edge in record.face.source_rect)
    return abs((right - left) * (bottom - top))


def brightness(record: FaceRecord) -> float:
    """Mean value (HSV), 0..255."""
    return float(thumbnail(record).image.max(axis=2).mean())


def hue(record: FaceRecord) -> float:
    """Mean hue in OpenCV's units of 2 degrees, 0..180."""
    return float(cv2.cvtColor(thumbnail(record).image, cv2.COLOR_BGR2HSV)[:, :, 0].mean())


def black_share(record: FaceRecord) -> float:
    """Share of the samples of all channels that are 0, 0..1."""
    return float(np.mean(thumbnail(record).image == 0))


def colours(record: FaceRecord) -> npt.NDArray[np.uint16]:
    """(3, 256) histograms of blue, green and red at 128 px."""
    return face_histogram(thumbnail(record).image).astype(np.uint16)


def face_grays(record: FaceRecord) -> npt.NDArray[np.uint16]:
    """(1, 256) histogram of the gray levels inside the face at 128 px."""
    picture = thumbnail(record, gray=True)
    return gray_histogram(picture.image, picture.hull).astype(np.uint16)


def colour_pixels(record: FaceRecord) -> UInt8:
    """The picture as 16 x 16 pixels in a row."""
    return colour_thumbnail(thumbnail(record).image)


def details(record: FaceRecord) -> tuple[npt.NDArray[np.float32], float]:
    """What tells near-duplicates apart, and the sharpness that says which of them stays."""
    picture = thumbnail(record, gray=True)
    unit = picture.image.shape[1] / (1 + 2 * picture.face.face_type.padding)
    return face_details(picture.image, picture.landmarks, unit), _plain_sharpness(picture)


def mask_coverage(record: FaceRecord) -> float:
    """Share of the face that its mask leaves, 0..1: the applied mask, else the drawn polygons, else all of it."""
    face, size = record.face, crop_size(record)
    scale = _MASK_PX / size
    hull = hull_mask((_MASK_PX, _MASK_PX), face.landmarks * scale, face.eyebrows_expand_mod) > 0
    if face.xseg_mask is not None:
        mask = decode_mask(face.xseg_mask)
        if mask is None:
            raise DamagedFileError(f"The mask in {record.path.name} cannot be decoded.", "Apply the mask again.")
        left = cv2.resize(mask, (_MASK_PX, _MASK_PX), interpolation=cv2.INTER_AREA) >= 128
    elif face.seg_ie_polys:
        polygons = [(kind, points * scale) for kind, points in face.seg_ie_polys]
        left = polygons_mask(hull.shape, _with_area(polygons)) > 0
    else:
        return 1.0
    return float(np.count_nonzero(hull & left)) / max(int(np.count_nonzero(hull)), 1)


def shape(record: FaceRecord) -> float:
    """How far the landmarks are from those of a head, see backend.ops.landmark_outliers."""
    return shape_error(record.face.landmarks, crop_size(record))


def best_facts(record: FaceRecord) -> BestFacts:
    """Pose, sharpness of the edges and gray histogram, for the best faces."""
    picture = load(record, gray=True)
    return BestFacts(pose(record), _edge_value(picture), _small_grays(picture.image))


def best_facts_by_size(record: FaceRecord) -> BestFacts:
    """Pose, detected area and gray histogram, for the best faces by size."""
    return BestFacts(pose(record), rect_area(record), _small_grays(load(record, THUMBNAIL_PX, gray=True).image))


def pose_and_edge_value(record: FaceRecord) -> tuple[tuple[float, float], float]:
    """(pitch, yaw) in radians, and the sharpness of the edges."""
    return pose(record), edge_value(record)


def _edge_value(picture: Picture) -> float:
    return face_sharpness(picture.image, picture.hull)


def _plain_sharpness(picture: Picture) -> float:
    """Variance of the Laplacian at 128 px, stored or measured."""
    if picture.face.sharpness is not None:
        return picture.face.sharpness
    return sharpness(cv2.cvtColor(picture.image, cv2.COLOR_GRAY2BGR), picture.hull)


def _small_grays(gray: UInt8) -> npt.NDArray[np.uint16]:
    size = (min(gray.shape[1], THUMBNAIL_PX), min(gray.shape[0], THUMBNAIL_PX))
    return gray_histogram(cv2.resize(gray, size, interpolation=cv2.INTER_AREA)).astype(np.uint16)


def _with_area(polygons: list[tuple[int, Any]]) -> list[tuple[int, Any]]:
    """With the whole picture in front where the polygons only cut out."""
    if any(kind for kind, _ in polygons):
        return polygons
    whole = np.array([(0, 0), (_MASK_PX, 0), (_MASK_PX, _MASK_PX), (0, _MASK_PX)])
    return [(1, whole), *polygons]
