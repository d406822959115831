"""Colour transfer: give a face the colours of a reference. A new method is one function and one line at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import cv2
import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
ColorTransferFunction = Callable[[Float32, Float32, Float32 | None], Float32]

_RIDGE = 1e-5  # keeps the covariance of a flat image invertible
_LAB_NOISE = 0.1  # deviation in Lab units; rounding alone gives a gray image 0.03 in a and b


def keep_colors(face_bgr: Float32, reference_bgr: Float32, mask: Float32 | None = None) -> Float32:
    """Leave the face as it is; reference and mask are not looked at."""
    return face_bgr


def reinhard_lab(face_bgr: Float32, reference_bgr: Float32, mask: Float32 | None = None) -> Float32:
    """Match mean and deviation of each Lab channel ("rct").

    Reinhard et al., "Color Transfer between Images", 2001. As in DeepFaceLab the values outside the mask are set to 0
    and then counted, so that the size of the mask weighs on both images alike. A channel without any spread, like the
    two colour channels of a gray face, takes the reference's mean only.

    Args:
        face_bgr: (h, w, 3) float32 0..1.
        reference_bgr: (h, w, 3) float32 0..1.
        mask: (h, w) float32; values of 0.5 and more take part. None takes all.

    Returns:
        (h, w, 3) float32 0..1.
    """
    face = cv2.cvtColor(face_bgr, cv2.COLOR_BGR2LAB)
    reference = cv2.cvtColor(reference_bgr, cv2.COLOR_BGR2LAB)
    face_mean, face_std = _masked_statistics(face, mask)
    reference_mean, reference_std = _masked_statistics(reference, mask)
    gain = np.where(face_std > _LAB_NOISE, reference_std / np.maximum(face_std, _LAB_NOISE), 0.0)
    result = face * gain.astype(np.float32) + (reference_mean - face_mean * gain).astype(np.float32)
    np.clip(result, (0.0, -127.0, -127.0), (100.0, 127.0, 127.0), out=result)
    result = cv2.cvtColor(result, cv2.COLOR_LAB2BGR)
    return np.clip(result, 0.0, 1.0, out=result)


def linear_covariance(face_bgr: Float32, reference_bgr: Float32, mask: Float32 | None = None) -> Float32:
    """Match mean and covariance of the colours by symmetric square roots ("lct").

    Hertzmann's linear colour transfer in the form DeepFaceLab uses.

    Args:
        face_bgr: (h, w, 3) float32 0..1.
        reference_bgr: (h, w, 3) float32 0..1.
        mask: not looked at: all pixels take part.

    Returns:
        (h, w, 3) float32 0..1.
    """
    face_mean, _, face_inverse = _covariance_roots(face_bgr)
    reference_mean, reference_root, _ = _covariance_roots(reference_bgr)
    linear = reference_root @ face_inverse
    mat = np.column_stack([linear, reference_mean - linear @ face_mean])
    result = cv2.transform(face_bgr, mat)
    return np.clip(result, 0.0, 1.0, out=result)


def _masked_statistics(image: Float32, mask: Float32 | None) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean and deviation per channel over all pixels, those outside the mask counted as 0."""
    if mask is not None:
        image = image * (mask >= 0.5)[:, :, None]
    mean, deviation = cv2.meanStdDev(image)
    return mean[:, 0], deviation[:, 0]


def _covariance_roots(
    image: Float32,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean (3,), square root and inverse square root (3, 3) of the colour covariance."""
    pixels = image.reshape(-1, 3).astype(np.float64)
    mean = pixels.mean(axis=0)
    centred = pixels - mean
    values, vectors = np.linalg.eigh(centred.T @ centred / len(pixels) + _RIDGE * np.eye(3))
    root = np.sqrt(values)
    return mean, (vectors * root) @ vectors.T, (vectors / root) @ vectors.T


COLOR_TRANSFERS: Mapping[str, ColorTransferFunction] = MappingProxyType(
    {
        "none": keep_colors,
        "rct": reinhard_lab,
        "lct": linear_covariance,
    }
)
