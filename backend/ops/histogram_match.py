"""Histogram matching: give every channel of a face the distribution of levels that a reference has."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]


def match_histograms(
    face: Float32, reference: Float32, mask: Float32 | None = None, threshold: float = 255.0
) -> Float32:
    """Map every channel's quantiles on those of the reference, as DeepFaceLab does.

    A level of the face that the share q of all pixels does not exceed becomes the reference's level of the share
    q * threshold / 255; between the levels that occur there it is interpolated.

    Args:
        face: (h, w, C) float32 0..1, in any number of channels.
        reference: (h, w, C) float32 0..1.
        mask: (h, w) float32 0..1; both images are white where it is 0, and white counts. None takes all pixels.
        threshold: 0..255; lower values keep the reference's brightest levels back.

    Returns:
        (h, w, C) float32 0..1; outside the mask what white became.
    """
    if mask is not None:
        inside = mask[:, :, None]
        face, reference = (np.minimum(image * inside + (1 - inside), 1.0) for image in (face, reference))
    share = threshold / 255.0
    channels = [_match(face[..., c], reference[..., c], share) for c in range(face.shape[2])]
    return np.stack(channels, axis=2)


def _match(values: Float32, wanted: Float32, share: float) -> Float32:
    """One channel (h, w)."""
    _, which, counts = np.unique(values.reshape(-1), return_inverse=True, return_counts=True)
    aims, aim_counts = np.unique(wanted.reshape(-1), return_counts=True)
    quantiles = np.cumsum(aim_counts) / wanted.size
    mapped = np.interp(np.cumsum(counts) * (share / values.size), quantiles, aims)
    return mapped.astype(np.float32)[which].reshape(values.shape)
