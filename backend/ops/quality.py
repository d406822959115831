"""Measures of faces: sharpness and structural similarity."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]

SHARPNESS_SIZE = 128
_SSIM_WINDOW = 11
_SSIM_SIGMA = 1.5
_SSIM_C1 = 0.01**2
_SSIM_C2 = 0.03**2


def sharpness(face_bgr: npt.NDArray[np.uint8], mask: npt.NDArray[Any] | None = None) -> float:
    """Variance of the Laplacian of the gray face at 128 px; higher is sharper.

    Faces of all sizes are brought to the same size first, so that the numbers can be compared.

    Args:
        face_bgr: (h, w, 3) uint8 BGR.
        mask: (h, w), values of 0.5 and more take part; None takes the whole image.

    Returns:
        The variance in squared gray levels; 0 for an empty mask.
    """
    size = (SHARPNESS_SIZE, SHARPNESS_SIZE)
    shrinks = min(face_bgr.shape[:2]) > SHARPNESS_SIZE
    gray = cv2.cvtColor(face_bgr, cv2.COLOR_BGR2GRAY)
    gray = cv2.resize(gray, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    edges = cv2.Laplacian(gray, cv2.CV_32F)
    if mask is None:
        return float(edges.var())
    inside = cv2.resize(np.asarray(mask, dtype=np.float32), size, interpolation=cv2.INTER_LINEAR) >= 0.5
    return float(edges[inside].var()) if inside.any() else 0.0


def ssim(a_bgr: Float32, b_bgr: Float32, mask: npt.NDArray[Any] | None = None) -> float:
    """Mean structural similarity of two images, weighted by a mask.

    Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity", 2004: Gaussian window of
    11 pixels and sigma 1.5, K1 0.01, K2 0.03, only positions where the window lies inside the image; mean of channels.

    Args:
        a_bgr: (h, w, c) or (h, w) float32 0..1, at least 11 pixels wide and high.
        b_bgr: the same shape.
        mask: (h, w) weight of the window's centre, or None for equal weights.

    Returns:
        -1..1; 1 for identical images.

    Raises:
        ValueError: shapes differ, an image is smaller than the window, or the mask has no weight at any valid position.
    """
    if a_bgr.shape != b_bgr.shape or min(a_bgr.shape[:2]) < _SSIM_WINDOW:
        raise ValueError(f"Cannot compare images of shapes {a_bgr.shape} and {b_bgr.shape}.")
    a = np.asarray(a_bgr, dtype=np.float32)
    b = np.asarray(b_bgr, dtype=np.float32)
    mean_a, mean_b = _window_mean(a), _window_mean(b)
    var_a = _window_mean(a * a) - mean_a * mean_a
    var_b = _window_mean(b * b) - mean_b * mean_b
    covariance = _window_mean(a * b) - mean_a * mean_b
    index = (2 * mean_a * mean_b + _SSIM_C1) * (2 * covariance + _SSIM_C2)
    index /= (mean_a * mean_a + mean_b * mean_b + _SSIM_C1) * (var_a + var_b + _SSIM_C2)
    if index.ndim == 3:
        index = index.mean(axis=2)
    if mask is None:
        return float(index.mean(dtype=np.float64))
    weights = _valid(np.asarray(mask, dtype=np.float64).reshape(a.shape[:2]))
    total = float(weights.sum())
    if total <= 0:
        raise ValueError("The mask leaves nothing to compare.")
    return float((index * weights).sum() / total)


def _window_mean(image: Float32) -> Float32:
    """Gaussian mean around each position where the whole window lies inside the image."""
    kernel = cv2.getGaussianKernel(_SSIM_WINDOW, _SSIM_SIGMA, cv2.CV_32F)
    return _valid(cv2.sepFilter2D(image, cv2.CV_32F, kernel, kernel))


def _valid(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Without the rim that the window cannot reach."""
    rim = _SSIM_WINDOW // 2
    return image[rim:-rim, rim:-rim]
