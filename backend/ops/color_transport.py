"""Colour transfer by optimal transport along lines: the whole distribution of colours is matched, not its moments.

Both methods project colours on lines, match the two distributions on each line, and move every colour along it. The
match is made between histograms and not by sorting: a bin of the face moves by the mean distance to the share of the
reference that has the same ranks, which equals sorting to within a bin. And it is made on a regular grid of pixels,
4096 at least, which are as good as all of them to tell how colours are distributed.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Places = npt.NDArray[np.int32]

SOT_STEPS = 10
SOT_DIRECTIONS = 5
SOT_SIGMA_COLOR = 5.0
SOT_BINS = 512  # what it changes is within 0.0002 of sorting

IDT_ROUNDS = 20
IDT_BINS = 512

_GRID_SIDE = 64
_IDT_GRID_SIDE = 128
_BLOCK = 8192  # pixels whose working arrays stay in the cache

_SIGMA_SPACE = 16.0
_SHRINK = 4  # the change is smoothed at a quarter of its size
_SMOOTHED_REACH = round(1.5 * _SIGMA_SPACE / _SHRINK)


class _Moves(NamedTuple):
    """How colours move along k lines.

    Attributes:
        to_bin: (k, 4), a colour and a 1 -> its bin on each line, counted on over the lines.
        moves: (k, bins), how far each bin moves.
        held: (k, bins), how many colours are in it.
    """

    to_bin: Float32
    moves: Float32
    held: npt.NDArray[np.int64]


def iterative_distribution(
    face_bgr: Float32, reference_bgr: Float32, mask: Float32 | None = None, rng: np.random.Generator | None = None
) -> Float32:
    """Match the distribution of the colours in 20 random turns of the colour space ("idt").

    Pitié et al., "N-dimensional probability density function transfer", 2005, as DeepFaceLab runs it: in each turn the
    three axes are matched by histograms over their joint range, and every colour goes 1/20 of the way. How bins move
    is found on a grid of pixels; then all pixels go that way.

    Args:
        face_bgr: (h, w, 3) float32 0..1.
        reference_bgr: (h, w, 3) float32 0..1, of any size.
        mask: not looked at: all pixels take part.
        rng: where the turns come from; None takes the same ones at every call.

    Returns:
        (h, w, 3) float32 0..1.
    """
    turns = rng or np.random.default_rng(0)
    sample, reference = (_planes(_on_grid(image, _IDT_GRID_SIDE)) for image in (face_bgr, reference_bgr))
    rounds: list[tuple[Float32, _Moves]] = []
    for _ in range(IDT_ROUNDS):
        axes = _random_rotation(turns)
        found, places = _match(axes, sample, reference, IDT_BINS)
        found.moves[:] /= IDT_ROUNDS
        _fill(found)
        sample[:3] += axes.T @ np.take(found.moves, places)
        rounds.append((axes, found))
    result = np.empty((face_bgr.shape[0] * face_bgr.shape[1], 3), np.float32)
    pixels = face_bgr.reshape(-1, 3)
    for start in range(0, len(pixels), _BLOCK):
        result[start : start + _BLOCK] = _turned(_planes(pixels[start : start + _BLOCK]), rounds)
    return np.clip(result, 0.0, 1.0, out=result).reshape(face_bgr.shape)


def sliced_transport(
    face_bgr: Float32,
    reference_bgr: Float32,
    mask: Float32 | None = None,
    rng: np.random.Generator | None = None,
    directions: int = SOT_DIRECTIONS,
    sigma_color: float = SOT_SIGMA_COLOR,
) -> Float32:
    """Match the distribution of the colours by sliced optimal transport, then smooth the change ("sot").

    Rabin et al., "Wasserstein barycenter and its application to texture mixing", 2011, as DeepFaceLab runs it: ten
    steps, each the mean of the moves along some random directions. The change, not the face, is smoothed over 16 px,
    so that the face keeps its detail; therefore it need not be known but for a grid of pixels. One channel has one
    direction and is matched in one step.

    Args:
        face_bgr: (h, w, C) float32 0..1, C 3 or 1.
        reference_bgr: (h, w, C) float32 0..1, of any size.
        mask: not looked at: all pixels take part.
        rng: where the directions come from; None takes the same ones at every call.
        directions: random directions per step: DeepFaceLab takes 5 in training, 30 in merging.
        sigma_color: changes that differ by more are not smoothed into each other; as it is, all are.

    Returns:
        (h, w, C) float32 0..1.
    """
    grid = _on_grid(face_bgr, _GRID_SIDE)
    change = _sliced_change(grid, _on_grid(reference_bgr, _GRID_SIDE), rng or np.random.default_rng(0), directions)
    return np.clip(face_bgr + _smooth(change, face_bgr.shape[:2], sigma_color), 0.0, 1.0)


def _sliced_change(face: Float32, reference: Float32, rng: np.random.Generator, directions: int) -> Float32:
    """What sliced transport adds to each pixel of (h, w, C); all pixels of both images take part."""
    channels = face.shape[2]
    moved, wanted = _planes(face), _planes(reference)
    for _ in range(SOT_STEPS if channels > 1 else 1):
        lines = _random_lines(rng, directions) if channels > 1 else np.ones((1, 1), np.float32)
        found, places = _match(lines, moved, wanted, SOT_BINS)
        moved[:channels] += lines.T @ np.take(found.moves, places) / np.float32(len(lines))
    return moved[:channels].T.reshape(face.shape) - face


def _turned(colours: Float32, rounds: list[tuple[Float32, _Moves]]) -> Float32:
    """Where (4, n) colours are after all rounds, (n, 3); they are carried along in place."""
    first = np.arange(3, dtype=np.float32)[:, None] * IDT_BINS
    last = first + (IDT_BINS - 1)
    for axes, (to_bin, moves, _) in rounds:
        places = to_bin @ colours
        np.clip(places, first, last, out=places)
        colours[:3] += axes.T @ np.take(moves, places.astype(np.int32))
    return colours[:3].T


def _match(lines: Float32, values: Float32, wanted: Float32, bins: int) -> tuple[_Moves, Places]:
    """How (C + 1, n) colours have to move along each of (k, C) lines to lie on it like (C + 1, m) wanted ones.

    Returns:
        the moves, and the bins (k, n) in which the colours are now.
    """
    low, high = np.minimum(values.min(axis=1), wanted.min(axis=1)), np.maximum(values.max(axis=1), wanted.max(axis=1))
    middle, half = (high + low)[:-1] / 2, (high - low)[:-1] / 2
    reach = np.maximum(np.abs(lines) @ half, 1e-6) * np.float32(1.0001)
    scale = bins / (2 * reach)
    offset = bins * (np.arange(len(lines)) + 0.5) - (lines @ middle) * scale
    to_bin = np.column_stack([lines * scale[:, None], offset]).astype(np.float32)
    places, aims = ((to_bin @ colours).astype(np.int32) for colours in (values, wanted))
    held, found = (np.bincount(which.reshape(-1), minlength=len(lines) * bins) for which in (places, aims))
    share = values.shape[1] / wanted.shape[1]
    centres = np.arange(len(held)) + 0.5
    ranks = np.append(0, np.cumsum(found)) * share
    sums = np.append(0, np.cumsum(found * centres)) * share
    sum_below = np.interp(np.append(0, np.cumsum(held)), ranks, sums)
    moves = np.where(held > 0, np.diff(sum_below) / np.maximum(held, 1) - centres, 0.0)
    moves = (moves.reshape(-1, bins) / scale[:, None]).astype(np.float32)
    return _Moves(to_bin, moves, held.reshape(-1, bins)), places


def _fill(found: _Moves) -> None:
    """Let bins without a colour move as the ones beside them do."""
    bins = np.arange(found.moves.shape[1])
    for moves, held in zip(found.moves, found.held > 0, strict=True):
        moves[:] = np.interp(bins, bins[held], moves[held])


def _smooth(change: Float32, size_hw: tuple[int, ...], sigma_color: float) -> Float32:
    """Bilateral filter with sigma 16 px in space, made at a quarter of the size, in the full size.

    What such a wide filter leaves has no finer detail: at 96 px the result differs by 0.0007 on average and 0.006 at
    most, 1.5 levels of 8 bits, and takes 1/100 of the time. The window is as wide as OpenCV makes it by itself.

    Args:
        change: (h, w, C) float32, the change on a grid of the pixels or on all.
        size_hw: of the image.
        sigma_color: in the unit of the change.
    """
    height, width = size_hw[:2]
    size = (max(1, round(width / _SHRINK)), max(1, round(height / _SHRINK)))
    small = change if change.shape[1::-1] == size else cv2.resize(change, size, interpolation=cv2.INTER_AREA)
    diameter = 2 * _SMOOTHED_REACH + 1
    small = cv2.bilateralFilter(small, diameter, sigma_color, _SIGMA_SPACE / _SHRINK, borderType=cv2.BORDER_REFLECT)
    smooth = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(smooth, np.float32).reshape(height, width, change.shape[2])


def _random_rotation(rng: np.random.Generator) -> Float32:
    """A turn of the colour space, all equally likely, (3, 3)."""
    turn, upper = np.linalg.qr(rng.standard_normal((3, 3)))
    turn = turn * np.sign(np.diag(upper))
    turn[0] *= np.sign(np.linalg.det(turn))
    return turn.astype(np.float32)


def _random_lines(rng: np.random.Generator, count: int) -> Float32:
    """Directions in the colour space, all equally likely, (count, 3)."""
    lines = rng.standard_normal((count, 3)).astype(np.float32)
    return lines / np.linalg.norm(lines, axis=1, keepdims=True)


def _on_grid(image: Float32, side: int) -> Float32:
    """Every so many pixels of (h, w, C) in both directions: at least ``side`` * ``side`` where there are as many."""
    step = max(1, int((image.shape[0] * image.shape[1]) ** 0.5) // side)
    return image[step // 2 :: step, step // 2 :: step]


def _planes(image: Float32) -> Float32:
    """A copy of (..., C) colours as (C + 1, n), the last row ones."""
    flat = image.reshape(-1, image.shape[-1])
    planes = np.ones((flat.shape[1] + 1, len(flat)), np.float32)
    planes[:-1] = flat.T
    return planes
