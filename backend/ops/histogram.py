"""Histograms of faces and how far apart they are."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from backend.ops.chain import Order, Pause, Vectors, dissimilarity, nearest_chain, no_pause

Counts = npt.NDArray[np.uint32]


def face_histogram(face_bgr: npt.NDArray[np.uint8]) -> Counts:
    """Histograms of the three channels of a (h, w, 3) uint8 BGR image: (3, 256) uint32 counts."""
    return np.stack([gray_histogram(channel)[0] for channel in cv2.split(face_bgr)])


def gray_histogram(gray: npt.NDArray[np.uint8], mask: npt.NDArray[Any] | None = None) -> Counts:
    """Histogram of (h, w) gray levels, inside the mask where one is given: (1, 256) uint32 counts."""
    inside = None if mask is None else (np.asarray(mask) > 0).astype(np.uint8)
    return cv2.calcHist([gray], [0], inside, [256], [0, 256]).reshape(1, 256).astype(np.uint32)


def histogram_vectors(hists: npt.NDArray[Any]) -> Vectors:
    """Vectors whose distance is the sum over the channels of the Bhattacharyya distances of histograms.

    sqrt(1 - sum sqrt(p q)) is the Euclidean distance of sqrt(p / 2) and sqrt(q / 2).

    Args:
        hists: (n, channels, bins) counts of at least 0.
    """
    by_channel = np.asarray(hists).transpose(1, 0, 2).astype(np.float32)
    by_channel /= np.maximum(2 * by_channel.sum(axis=2, keepdims=True), 1e-12)
    return Vectors(np.sqrt(by_channel, out=by_channel))


def histogram_chain(hists: npt.NDArray[Any], pause: Pause = no_pause) -> Order:
    """Order faces so that each is followed by the one of most similar colours among those left (DeepFaceLab's "hist").

    Args:
        hists: (n, 3, 256) counts, as face_histogram() gives them.
        pause: called between blocks; may raise.

    Returns:
        (n,) int64 indexes, starting with 0.
    """
    return nearest_chain(histogram_vectors(hists), pause)


def histogram_dissimilarity(hists: npt.NDArray[Any], pause: Pause = no_pause) -> npt.NDArray[np.float32]:
    """Sum of the Bhattacharyya distances of each face to all others: (n,) float32, highest for the rarest looks.

    Args:
        hists: (n, channels, bins) counts.
        pause: called between blocks; may raise.
    """
    return dissimilarity(histogram_vectors(hists), pause)
