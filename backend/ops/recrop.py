"""Another size or face type for a face that is already aligned: where everything of it comes to lie."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from backend.core.faces import Face, FaceType
from backend.ops.align import Float64, face_matrix, invert, transform_points, umeyama, warp_face
from backend.ops.mask import hull_mask
from backend.ops.pose import estimate_pose
from backend.ops.quality import sharpness

MAX_MASK_BYTES = 50_000
"""A mask stored in a face file as PNG is at most this large; beyond it becomes a JPEG (reference section 2.2)."""

_LONGEST_SHRINK = 8
_COMPARED_PX = 64


def frame_matrix(face: Face) -> Float64:
    """Matrix from the frame to the aligned picture, (2, 3) float64.

    Old files do not store it; it then follows from the landmarks in both. ValueError when they do not fit together.
    """
    if face.image_to_face_mat is not None:
        return np.asarray(face.image_to_face_mat, dtype=np.float64)
    return umeyama(face.source_landmarks, face.landmarks)


def moved_matrix(face: Face, old_size: int, new_size: int, face_type: FaceType) -> Float64:
    """Matrix from the aligned picture as it is to the one it becomes, (2, 3) float64.

    Args:
        face: what the picture shows.
        old_size, new_size: sides of the pictures in pixels.
        face_type: what the new one shows; the same type only changes the size.

    Raises:
        ValueError: the landmarks make no crop.
    """
    if face_type is face.face_type:
        return np.column_stack([np.eye(2) * (new_size / old_size), np.zeros(2)])
    return compose(face_matrix(face.source_landmarks, new_size, face_type), invert(frame_matrix(face)))


def compose(second_23: npt.ArrayLike, first_23: npt.ArrayLike) -> Float64:
    """One (2, 3) affine matrix that does what two do one after the other."""
    second = np.asarray(second_23, dtype=np.float64)
    first = np.asarray(first_23, dtype=np.float64)
    linear = second[:, :2] @ first[:, :2]
    return np.column_stack([linear, second[:, :2] @ first[:, 2] + second[:, 2]])


def moved_face(face: Face, matrix_23: npt.ArrayLike, old_size: int, new_size: int, face_type: FaceType) -> Face:
    """The face in its new picture: landmarks, matrix, polygons, mask and pose follow; what is known of the frame stays.

    Args:
        face: as it is.
        matrix_23: old picture -> new picture, see moved_matrix().
        old_size, new_size: sides of the pictures in pixels.
        face_type: what the new picture shows.
    """
    matrix = np.asarray(matrix_23, dtype=np.float64)
    landmarks = transform_points(face.landmarks, matrix)
    kept = face_type is face.face_type
    mat = face.image_to_face_mat
    moved = replace(
        face,
        landmarks=landmarks,
        image_to_face_mat=None if mat is None and kept else compose(matrix, frame_matrix(face)),
        face_type=face_type,
        seg_ie_polys=tuple(
            (kind, transform_points(points, matrix).astype(np.float32)) for kind, points in face.seg_ie_polys
        ),
    )
    if kept:
        return moved
    mask = None if face.xseg_mask is None else moved_mask(face.xseg_mask, matrix, old_size, new_size)
    return replace(moved, xseg_mask=mask, pose_rad=estimate_pose(landmarks, new_size))


def moved_mask(
    encoded: npt.NDArray[np.uint8], matrix_23: npt.ArrayLike, old_size: int, new_size: int
) -> npt.NDArray[np.uint8] | None:
    """An applied mask in its new crop, encoded again at its own resolution.

    Outside the old crop it is 0. A mask of only black and white stays one.

    Args:
        encoded: 1-D uint8, a gray PNG or JPEG that covers the whole old picture.
        matrix_23: old picture -> new picture.
        old_size, new_size: sides of the pictures in pixels.

    Returns:
        1-D uint8, see encode_mask(); None when the mask cannot be decoded.
    """
    mask = decode_mask(encoded)
    if mask is None:
        return None
    height, width = mask.shape
    to_old = np.diag([old_size / width, old_size / height])
    to_new = np.diag([width / new_size, height / new_size])
    matrix = np.asarray(matrix_23, dtype=np.float64)
    in_mask = np.column_stack([to_new @ matrix[:, :2] @ to_old, to_new @ matrix[:, 2]])
    moved = np.asarray(cv2.warpAffine(mask, in_mask, (width, height), flags=cv2.INTER_LINEAR), np.uint8)
    if np.isin(mask, (0, 255)).all():
        moved = np.where(moved >= 128, 255, 0).astype(np.uint8)
    return encode_mask(moved)


def decode_mask(encoded: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8] | None:
    """A stored mask as (h, w) uint8; None when it is no picture."""
    try:
        mask = cv2.imdecode(np.ascontiguousarray(encoded).reshape(-1), cv2.IMREAD_GRAYSCALE)
    except cv2.error:
        return None
    return None if mask is None else np.asarray(mask, np.uint8)


def encode_mask(mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """A (h, w) uint8 mask as DeepFaceLab stores it: PNG, or a JPEG of falling quality when that is too large."""
    encoded = np.asarray(cv2.imencode(".png", mask)[1], np.uint8).reshape(-1)
    quality = 100
    while encoded.size > MAX_MASK_BYTES and quality > 0:
        encoded = np.asarray(cv2.imencode(".jpg", mask, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], np.uint8).reshape(-1)
        quality -= 5
    return encoded


def cut(image: npt.NDArray[Any], matrix_23: npt.ArrayLike, size: int) -> npt.NDArray[np.uint8]:
    """Cut a crop out of a frame or an aligned picture; growing is by Lanczos, shrinking averages: nothing aliases.

    Args:
        image: (h, w) or (h, w, 3) uint8.
        matrix_23: (2, 3) image -> crop, similar to a rotation with one scale.
        size: side of the crop in pixels.

    Returns:
        (size, size) or (size, size, 3) uint8; 0 where the image ends.
    """
    matrix = np.asarray(matrix_23, dtype=np.float64)
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    finer = int(np.clip(np.ceil(0.99 / max(scale, 1e-3)), 1, _LONGEST_SHRINK))
    if finer == 1:
        return warp_face(image, matrix, size, cv2.INTER_LANCZOS4)
    larger = matrix * finer
    larger[:, 2] += (finer - 1) / 2
    crop = warp_face(image, larger, size * finer, cv2.INTER_CUBIC)
    return np.asarray(cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA), np.uint8)


def outside_share(matrix_23: npt.ArrayLike, old_hw: tuple[int, int], new_size: int) -> float:
    """Share of a crop that lies outside the picture it is cut from, 0..1."""
    corners = np.array([(0, 0), (new_size, 0), (new_size, new_size), (0, new_size)], dtype=np.float64)
    in_old = transform_points(corners, invert(matrix_23)).astype(np.float32)
    height, width = old_hw
    whole = np.array([(0, 0), (width, 0), (width, height), (0, height)], dtype=np.float32)
    area, _ = cv2.intersectConvexConvex(in_old, whole)
    return float(np.clip(1.0 - area / max(cv2.contourArea(in_old), 1e-6), 0.0, 1.0))


def measured(face: Face, image: npt.NDArray[np.uint8]) -> Face:
    """The face with the sharpness of its (h, w) or (h, w, 3) uint8 picture, where one was noted before."""
    if face.sharpness is None:
        return face
    colour = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image
    inside = hull_mask(image.shape[:2], face.landmarks, face.eyebrows_expand_mod)
    return replace(face, sharpness=sharpness(np.asarray(colour, np.uint8), inside))


def shows_the_same(
    frame: npt.NDArray[np.uint8], aligned: npt.NDArray[np.uint8], matrix_23: npt.ArrayLike, tolerance: float = 8.0
) -> bool:
    """Whether an aligned picture is what its place in a frame shows, and was not edited or taken from elsewhere.

    Args:
        frame: (h, w, 3) uint8.
        aligned: (s, s, 3) uint8.
        matrix_23: frame -> aligned picture.
        tolerance: mean difference in gray levels that compression and resampling may make, at 64 px.
    """
    smaller = np.column_stack([np.eye(2) * (_COMPARED_PX / aligned.shape[0]), np.zeros(2)])
    seen = cut(frame, compose(smaller, matrix_23), _COMPARED_PX).astype(np.float32)
    small = cut(aligned, smaller, _COMPARED_PX).astype(np.float32)
    return float(np.abs(seen - small).mean()) <= tolerance
