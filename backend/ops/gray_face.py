"""Faces of one-channel models: their brightness in the colours of the crop they were made from."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]

_SOFT = 0.06  # deviation of the blur, of the crop's side: brows and mouth of the destination must not shine through
_DARKEST = 0.02
_EPSILON = 1e-6


def color_back(gray: Float32, crop_bgr: Float32) -> Float32:
    """Give a gray face the chroma of a crop.

    The softened crop's channels less its luma (ITU-R BT.601, as OpenCV's BGR2GRAY) are scaled with the luma, which
    keeps hue and saturation as a change of light does, and added to the gray face. Where that leaves 0..1, all three
    differences shrink by one factor: hue and luma stay, the colour gets paler. Turned gray again the result is the gray
    face.

    Args:
        gray: (r, r, 1) float32 0..1.
        crop_bgr: (r, r, 3) float32 0..1.

    Returns:
        (r, r, 3) float32 0..1 BGR.
    """
    luma = np.clip(gray.reshape(*crop_bgr.shape[:2], 1), 0.0, 1.0)
    soft = cv2.GaussianBlur(crop_bgr, (0, 0), _SOFT * crop_bgr.shape[0], borderType=cv2.BORDER_REPLICATE)
    own_luma = cv2.cvtColor(soft, cv2.COLOR_BGR2GRAY)[:, :, None]
    chroma = (soft - own_luma) * (luma / np.maximum(own_luma, _DARKEST))
    above = chroma.max(axis=2, keepdims=True)
    below = -chroma.min(axis=2, keepdims=True)
    room = np.minimum((1.0 - luma) / np.maximum(above, _EPSILON), luma / np.maximum(below, _EPSILON))
    return np.clip(luma + chroma * np.minimum(room, 1.0), 0.0, 1.0)
