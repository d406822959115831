"""Calm landmarks along a track without delay: trembling goes, movement and expression stay.

The landmarks of a frame are split into a similarity (where the face is, how large and how turned) and a shape in the
face's own unit square (expression, and what the similarity leaves). Both are smoothed by local polynomials over the
frames before and after, which have no lag (Savitzky and Golay 1964; here weighted by a Gaussian, for any spacing). How
wide and how stiff they may be is decided frame by frame from the data: the candidates, the unsmoothed value among them,
are mixed with weights that fall with Stein's unbiased estimate of their error (Leung and Barron, "Information theory
and mixing least-squares regressions", 2006).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from backend.ops.align import CANONICAL_2D

Float64 = npt.NDArray[np.float64]

MOST_RADIUS = 10
"""Frames before and behind that the strongest smoothing looks at."""
HISTORY = 24
"""Frames before that help to tell how much the points tremble."""

_SIGMA = 4.0
_SIGMAS_SEEN = 2.5
_FOURTH = np.array([1.0, -4.0, 6.0, -4.0, 1.0])
_FOURTH_GAIN = 70.0  # variance of a fourth difference of independent noise of variance 1
_MEDIAN_SQUARE = 0.4549  # median of the square of a standard normal number
_PARTS: tuple[tuple[int, ...], ...] = (
    (*range(5), *range(12, 17)),  # sides of the jaw
    tuple(range(5, 12)),  # chin
    tuple(range(17, 22)),
    tuple(range(22, 27)),
    tuple(range(27, 36)),
    (36, 39, 42, 45),  # corners of the eyes
    (37, 38, 43, 44),  # upper lids
    (40, 41, 46, 47),  # lower lids
    (*range(48, 55), *range(60, 65)),  # upper lip and corners of the mouth
    (*range(55, 60), *range(65, 68)),  # lower lip
)
_FITS = ((2, 0.5), (2, 1.0), (1, 1.0))  # order of the polynomial, width of its Gaussian

_ALIGNED = np.array([*range(17, 49), 54])  # the points that the alignment of a face looks at
_ALIGNED.setflags(write=False)
_CANONICAL = CANONICAL_2D[_ALIGNED - 17] @ np.array([1, 1j])
_CANONICAL.setflags(write=False)

# Columns that are smoothed alike: place x, y; size; angle; then x, y of each point of the shape.
_GROUPS = ((0, 1), (2,), (3,), *(tuple(4 + 2 * point + axis for point in part for axis in (0, 1)) for part in _PARTS))
_MEMBER = np.array([[float(column in group) for group in _GROUPS] for column in range(4 + 2 * 68)])
_MEMBER.setflags(write=False)
# How many of a group's columns tremble independently.
_FREEDOM = np.array([2.0, 1.0, 1.0, *[2.0] * len(_PARTS)])
_FREEDOM.setflags(write=False)


class Motion(NamedTuple):
    """Landmarks of n frames, taken apart.

    Attributes:
        place: (n,) complex, the frame pixel of the canonical square's middle, x + iy.
        size: (n,) log of the square's side in pixels.
        angle: (n,) radians, without jumps.
        shape: (n, 68) complex, the landmarks in the canonical square about its middle.
    """

    place: npt.NDArray[np.complex128]
    size: Float64
    angle: Float64
    shape: npt.NDArray[np.complex128]


def smoothing_radius(strength: float) -> int:
    """Frames before and behind that take part at a strength of 0..1; 0 for none."""
    return 0 if strength <= 0 else max(2, round(MOST_RADIUS * min(strength, 1.0)))


def split(landmarks_n682: npt.ArrayLike) -> Motion:
    """Take landmarks (n, 68, 2) in frame pixels apart; the similarity is that of the alignment."""
    landmarks = np.asarray(landmarks_n682, dtype=np.float64)
    points = landmarks[..., 0] + 1j * landmarks[..., 1]
    used = points[:, _ALIGNED]
    middle = used.mean(axis=1)
    model = _CANONICAL - _CANONICAL.mean()
    turn = (used - middle[:, None]) @ model.conj() / (np.abs(model) ** 2).sum()
    shape = (points - middle[:, None]) / turn[:, None]
    return Motion(middle, np.log(np.abs(turn)), np.unwrap(np.angle(turn)), shape)


def join(motion: Motion) -> Float64:
    """Landmarks (n, 68, 2) of what split() took apart."""
    turn = np.exp(motion.size + 1j * motion.angle)
    points = motion.shape * turn[:, None] + motion.place[:, None]
    return np.stack([points.real, points.imag], axis=2)


def between(before_682: npt.ArrayLike, after_682: npt.ArrayLike, share: float) -> tuple[Float64, float]:
    """Landmarks on the way from one frame to another.

    Args:
        before_682, after_682: (68, 2) in frame pixels.
        share: 0 is before, 1 after.

    Returns:
        (68, 2) float64 in frame pixels, and the side of their canonical square in pixels.
    """
    motion = split(np.stack([np.asarray(before_682, np.float64), np.asarray(after_682, np.float64)]))
    weight = np.array([1 - share, share])
    middle = Motion(
        np.array([weight @ motion.place]),
        np.array([weight @ motion.size]),
        np.array([weight @ motion.angle]),
        (weight @ motion.shape)[None],
    )
    return join(middle)[0], float(np.exp(middle.size[0]))


def smooth_at(frames: npt.ArrayLike, landmarks_n682: npt.ArrayLike, index: int, strength: float) -> Float64:
    """Smoothed landmarks of one frame of a track.

    Args:
        frames: (n,) rising frame indexes of the track's faces; frames may be missing.
        landmarks_n682: (n, 68, 2) in frame pixels. More than smoothing_radius() frames behind change nothing; of the
            frames before, HISTORY are of use.
        index: which of the n to smooth.
        strength: 0..1; 0 returns the landmarks as they are.

    Returns:
        (68, 2) float64 in frame pixels.
    """
    times = np.asarray(frames, dtype=np.int64)
    landmarks = np.asarray(landmarks_n682, dtype=np.float64)
    radius = smoothing_radius(strength)
    seen = (times >= times[index] - max(radius, HISTORY)) & (times <= times[index] + radius)
    times, landmarks, index = times[seen], landmarks[seen], int(seen[:index].sum())
    if radius == 0 or len(times) < 3:
        return landmarks[index]
    motion = split(landmarks)
    shape = np.stack([motion.shape.real, motion.shape.imag], axis=2).reshape(len(times), -1)
    values = np.column_stack([motion.place.real, motion.place.imag, motion.size, motion.angle, shape])
    calm = _mixed(values, _noise(times, values), times, index, radius)
    x, y, size, angle = calm[:4]
    points = calm[4:].reshape(68, 2)
    result = Motion(
        np.array([complex(x, y)]), np.array([size]), np.array([angle]), (points[:, 0] + 1j * points[:, 1])[None]
    )
    return join(result)[0]


def _noise(times: npt.NDArray[np.int64], values_nc: Float64) -> Float64:
    """(groups,) variance of the trembling: from the median of fourth differences, which movement hardly touches.

    0 when there are too few frames in a row. All points of the shape tremble alike.
    """
    runs = np.flatnonzero(times[4:] - times[:-4] == 4) if len(times) > 4 else np.zeros(0, np.int64)
    if not len(runs):
        return np.zeros(len(_GROUPS))
    fourth = np.tensordot(_FOURTH, values_nc[runs[None] + np.arange(5)[:, None]], axes=1) ** 2
    place, size, angle, shape = (float(np.median(part)) for part in np.split(fourth, (2, 3, 4), axis=1))
    return np.array([place, size, angle, *[shape] * len(_PARTS)]) / (_MEDIAN_SQUARE * _FOURTH_GAIN)


def _mixed(values_nc: Float64, noise: Float64, times: npt.NDArray[np.int64], index: int, radius: int) -> Float64:
    """(c,) smoothed values of one frame: the candidates, mixed for each group of columns by their estimated errors."""
    near = np.abs(times - times[index]) <= radius
    middle = int(near[:index].sum())
    at = (times[near] - times[index]).astype(np.float64)
    sigma = _SIGMA * radius / MOST_RADIUS
    weight = np.exp(-0.5 * (at / sigma) ** 2)
    weight /= weight.sum()
    hats = np.stack([np.eye(len(at)), *(_hat(at, sigma * width, order) for order, width in _FITS)])
    values = values_nc[near]
    fitted = hats @ values
    error = np.tensordot((values - fitted) ** 2, weight, axes=(1, 0)) @ (_MEMBER / _MEMBER.sum(axis=0))
    own = np.diagonal(hats, axis1=1, axis2=2) @ weight
    risk = error / np.where(noise > 0, noise, 1.0) + 2 * own[:, None]
    mix = np.exp(-0.25 * _FREEDOM / (weight**2).sum() * (risk - risk.min(axis=0)))
    mix = np.where(noise > 0, mix / mix.sum(axis=0), np.eye(len(hats))[:, :1])
    return np.asarray((fitted[:, middle] * (mix @ _MEMBER.T)).sum(axis=0), dtype=np.float64)


def _hat(at: Float64, sigma: float, order: int) -> Float64:
    """(n, n) matrix of the local polynomial fit of an order at each of n times."""
    apart = at[None] - at[:, None]
    weight = np.exp(-0.5 * (apart / max(sigma, 0.5)) ** 2) + 1e-9
    basis = apart[:, :, None] ** np.arange(order + 1)
    weighted = basis * weight[:, :, None]
    normal = np.einsum("tik,til->tkl", basis, weighted) + 1e-9 * np.eye(order + 1)
    return np.asarray(np.linalg.solve(normal, weighted.transpose(0, 2, 1))[:, 0], dtype=np.float64)
