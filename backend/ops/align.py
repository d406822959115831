"""Alignment: 68 landmarks in a frame -> the square crop of a face type, as DeepFaceLab defines it."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from backend.core.faces import FaceType

Float64 = npt.NDArray[np.float64]

# Canonical positions of landmarks 17..67 in the unit square (x right, y down). The jaw (0..16) has none.
CANONICAL_2D: Float64 = np.array(
    [
        (0.000213256, 0.106454),
        (0.0752622, 0.038915),
        (0.18113, 0.0187482),
        (0.29077, 0.0344891),
        (0.393397, 0.0773906),
        (0.586856, 0.0773906),
        (0.689483, 0.0344891),
        (0.799124, 0.0187482),
        (0.904991, 0.038915),
        (0.98004, 0.106454),
        (0.490127, 0.203352),
        (0.490127, 0.307009),
        (0.490127, 0.409805),
        (0.490127, 0.515625),
        (0.36688, 0.587326),
        (0.426036, 0.609345),
        (0.490127, 0.628106),
        (0.554217, 0.609345),
        (0.613373, 0.587326),
        (0.121737, 0.216423),
        (0.187122, 0.178758),
        (0.265825, 0.179852),
        (0.334606, 0.231733),
        (0.260918, 0.245099),
        (0.182743, 0.244077),
        (0.645647, 0.231733),
        (0.714428, 0.179852),
        (0.793132, 0.178758),
        (0.858516, 0.216423),
        (0.79751, 0.244077),
        (0.719335, 0.245099),
        (0.254149, 0.780233),
        (0.340985, 0.745405),
        (0.428858, 0.727388),
        (0.490127, 0.742578),
        (0.551395, 0.727388),
        (0.639268, 0.745405),
        (0.726104, 0.780233),
        (0.642159, 0.864805),
        (0.556721, 0.902192),
        (0.490127, 0.909281),
        (0.423532, 0.902192),
        (0.338094, 0.864805),
        (0.290379, 0.784792),
        (0.428096, 0.778746),
        (0.490127, 0.785343),
        (0.552157, 0.778746),
        (0.689874, 0.784792),
        (0.553364, 0.824182),
        (0.490127, 0.831803),
        (0.42689, 0.824182),
    ],
    dtype=np.float64,
)
CANONICAL_2D.setflags(write=False)

# Brows, nose, eyes and both mouth corners; jaw and lips are left out so that talking does not shake the crop.
_ALIGN_INDEXES = np.array([*range(17, 49), 54])
_ALIGN_INDEXES.setflags(write=False)

_NO_ALIGN = (FaceType.FULL_NO_ALIGN, FaceType.HEAD_NO_ALIGN)
_UNIT_SQUARE = np.array([(0, 0), (1, 0), (1, 1), (0, 1), (0.5, 0.5)], dtype=np.float64)
_UNIT_SQUARE.setflags(write=False)


def umeyama(src_n2: npt.ArrayLike, dst_n2: npt.ArrayLike) -> Float64:
    """Least-squares similarity (rotation, uniform scale, shift) that maps points onto points.

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns", PAMI 1991.

    Args:
        src_n2: (n, 2) points, n >= 2.
        dst_n2: (n, 2) points they should land on.

    Returns:
        (2, 3) float64 matrix, src -> dst; never a reflection.

    Raises:
        ValueError: the shapes differ, a point is not finite, or all source points coincide.
    """
    src = np.asarray(src_n2, dtype=np.float64)
    dst = np.asarray(dst_n2, dtype=np.float64)
    if src.shape != dst.shape or src.ndim != 2 or src.shape[1] != 2:
        raise ValueError(f"Expected two equal (n, 2) point arrays, got {src.shape} and {dst.shape}.")
    if not (np.isfinite(src).all() and np.isfinite(dst).all()):
        raise ValueError("A similarity needs finite points.")
    src_mean, dst_mean = src.mean(axis=0), dst.mean(axis=0)
    src_centred, dst_centred = src - src_mean, dst - dst_mean
    variance = float((src_centred**2).sum(axis=1).mean())
    if variance <= 0:
        raise ValueError("A similarity needs points that do not all coincide.")
    left, singular, right = np.linalg.svd(dst_centred.T @ src_centred / len(src))
    signs = np.array([1.0, 1.0 if np.linalg.det(left) * np.linalg.det(right) >= 0 else -1.0])
    linear = (left * signs) @ right * (float(singular @ signs) / variance)
    return np.column_stack([linear, dst_mean - linear @ src_mean])


def transform_points(points_n2: npt.ArrayLike, mat_23: npt.ArrayLike) -> Float64:
    """Apply a (2, 3) affine matrix to (n, 2) points; returns (n, 2) float64."""
    mat = np.asarray(mat_23, dtype=np.float64)
    return np.asarray(points_n2, dtype=np.float64) @ mat[:, :2].T + mat[:, 2]


def invert(mat_23: npt.ArrayLike) -> Float64:
    """Inverse of a (2, 3) affine matrix, (2, 3) float64. ValueError when it cannot be inverted."""
    mat = np.asarray(mat_23, dtype=np.float64)
    try:
        linear = np.linalg.inv(mat[:, :2])
    except np.linalg.LinAlgError as error:
        raise ValueError("The affine matrix has no inverse.") from error
    return np.column_stack([linear, -linear @ mat[:, 2]]).astype(np.float64, copy=False)


def averaged_yaw(landmarks_68x2: npt.ArrayLike) -> float:
    """How far the nose ridge is from the middle of the cheeks, in the unit of the landmarks; 0 when frontal.

    Positive when the image-right cheek shows more. DeepFaceLab's measure for profile views.
    """
    x = np.asarray(landmarks_68x2, dtype=np.float64)[:, 0]
    ridge = x[[27, 28, 29]]
    return float((x[[16, 15, 14]] - ridge).mean() - (ridge - x[[0, 1, 2]]).mean())


def face_matrix(landmarks_68x2: npt.ArrayLike, size: int, face_type: FaceType, scale: float = 1.0) -> Float64:
    """Affine matrix from the frame to the square crop of a face type (DeepFaceLab's construction).

    Args:
        landmarks_68x2: (68, 2) landmarks in frame pixels.
        size: side of the crop in pixels.
        face_type: how much of the head the crop shows; not MARK_ONLY.
        scale: larger values show the face larger in the crop.

    Returns:
        (2, 3) float64, frame -> crop.

    Raises:
        ValueError: MARK_ONLY, wrong shape, or landmarks that are not finite or all coincide.
    """
    if face_type is FaceType.MARK_ONLY:
        raise ValueError("A mark_only face has no aligned crop.")
    landmarks = np.asarray(landmarks_68x2, dtype=np.float64)
    if landmarks.shape != (68, 2):
        raise ValueError(f"Expected landmarks of shape (68, 2), got {landmarks.shape}.")
    to_unit = umeyama(landmarks[_ALIGN_INDEXES], CANONICAL_2D[_ALIGN_INDEXES - 17])
    left_top, right_top, right_bottom, left_bottom, centre = transform_points(_UNIT_SQUARE, invert(to_unit))

    down_right = right_bottom - left_top
    diagonal = float(np.linalg.norm(down_right))
    half = diagonal * (face_type.padding * np.sqrt(2.0) + 0.5) / scale
    down_right = down_right / diagonal
    up_right = (right_top - left_bottom) / np.linalg.norm(right_top - left_bottom)

    if face_type is FaceType.WHOLE:
        centre = centre + 0.07 * (left_top - left_bottom)
    elif face_type is FaceType.HEAD:
        yaw = averaged_yaw(transform_points(landmarks, to_unit))
        damped = yaw * abs(np.tanh(2.0 * yaw))
        centre = centre + 0.5 * (left_top - left_bottom) - (left_top - right_top) * damped / 2.0

    if face_type in _NO_ALIGN:  # same area, but without rotation
        half_side = half / np.sqrt(2.0)
        offsets = np.array([(-half_side, -half_side), (half_side, -half_side), (half_side, half_side)])
    else:
        offsets = np.stack([-down_right, up_right, down_right]) * half
    return _three_point_affine(centre + offsets, size)


def crop_corners(mat_23: npt.ArrayLike, size: int) -> Float64:
    """Corners of a crop in the frame, (4, 2) float64: left-top, right-top, right-bottom, left-bottom of the crop."""
    return transform_points(_UNIT_SQUARE[:4] * size, invert(mat_23))


def warp_face(
    frame: npt.NDArray[Any], mat_23: npt.ArrayLike, size: int, interpolation: int = cv2.INTER_CUBIC
) -> npt.NDArray[Any]:
    """Cut the aligned crop out of a frame.

    Args:
        frame: (h, w) or (h, w, c), uint8 or float32.
        mat_23: (2, 3) frame -> crop.
        size: side of the crop in pixels.
        interpolation: an OpenCV interpolation flag.

    Returns:
        (size, size) or (size, size, c) of the same dtype; 0 outside the frame. Float results may overshoot their range.
    """
    mat = np.asarray(mat_23, dtype=np.float64)
    return cv2.warpAffine(frame, mat, (size, size), flags=interpolation, borderMode=cv2.BORDER_CONSTANT, borderValue=0)


def _three_point_affine(points_32: Float64, size: int) -> Float64:
    """Affine matrix that maps three frame points to (0, 0), (size, 0), (size, size)."""
    target = np.array([(0, 0), (size, 0), (size, size)], dtype=np.float64)
    system = np.column_stack([points_32, np.ones(3)])
    return np.asarray(np.linalg.solve(system, target).T, dtype=np.float64)
