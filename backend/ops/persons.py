"""Which faces show the same person: how a face looks as numbers, and grouping by likeness."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from backend.ops.mask import hull_mask
from backend.ops.pose import LANDMARKS_3D, head_rotation

Float32 = npt.NDArray[np.float32]

LOOK_SIZE = 96
"""Side in pixels at which a face is looked at."""

MOST_GROUPED = 2000
"""Items that are grouped pair by pair; of more, the most alike are joined beforehand."""

_DARK = 6.0
_FEATURES = tuple(range(start, stop) for start, stop in ((36, 42), (42, 48), (48, 60), (17, 22), (22, 27)))
_LIPS = list(range(48, 60))
# Points that hardly move with the expression: jaw, nose, corners of the eyes; the last two groups also place the face.
_STILL = np.array([*range(17), *range(27, 36), 36, 39, 42, 45])
_STILL.setflags(write=False)
_PLACING = np.array([*range(27, 36), 36, 39, 42, 45, 0, 16])
_PLACING.setflags(write=False)
# How much each number varies for one person; points in the unit of LANDMARKS_3D.
_COLOUR_SPREAD = np.array([0.015, 0.015, 0.04, 0.04, 0.25, 0.25, 0.11, 0.05, 0.1, 0.03])
_COLOUR_SPREAD.setflags(write=False)
_SHAPE_SPREAD = 2.0
_SHAPE_SHARE = 0.7
_SKIN_PERCENTILES = (25, 90)


def look(face_bgr: npt.NDArray[np.uint8], landmarks_68x2: npt.ArrayLike, shape_counts: bool = True) -> Float32:
    """How a face looks, as numbers whose Euclidean distance says how unlike two faces are; up to 3 is often one person.

    Colours: chroma of skin and hair (logarithms of the channels' ratios, which a change of brightness leaves), hair and
    lips against the skin, texture of the hair. Shape: where the still points of the face lie off a generic head in the
    same pose, seen from the front.

    Args:
        face_bgr: (h, h, 3) uint8 aligned crop.
        landmarks_68x2: (68, 2) in pixels of the crop.
        shape_counts: False leaves the shape out, for landmarks that are those of a generic head.

    Returns:
        (70,) float32; the shape is 0 where it does not count.
    """
    zoom = LOOK_SIZE / face_bgr.shape[0]
    small = cv2.resize(face_bgr, (LOOK_SIZE, LOOK_SIZE), interpolation=cv2.INTER_AREA)
    points = np.asarray(landmarks_68x2, dtype=np.float64) * zoom
    colour = _colours(small, points) / _COLOUR_SPREAD / np.sqrt(len(_COLOUR_SPREAD))
    shape = _proportions(points) if shape_counts else np.zeros(2 * len(_STILL))
    return np.concatenate([colour, shape * (_SHAPE_SHARE / _SHAPE_SPREAD / np.sqrt(shape.size))]).astype(np.float32)


def group(
    vectors_nd: npt.ArrayLike, weights_n: npt.ArrayLike, frames_n: Sequence[Iterable[Hashable]], threshold: float
) -> npt.NDArray[np.int64]:
    """Group items by average linkage; two items of one frame never come together.

    Args:
        vectors_nd: (n, d); their Euclidean distances say how unlike the items are.
        weights_n: (n,) how much each item counts, for example its number of faces.
        frames_n: for each item the frames it is seen in.
        threshold: groups further apart than this on average stay apart.

    Returns:
        (n,) group of each item, 0 for the heaviest.
    """
    vectors = np.asarray(vectors_nd, dtype=np.float64)
    weights = np.asarray(weights_n, dtype=np.float64)
    frames = [frozenset(each) for each in frames_n]
    first = _leaders(vectors, frames, threshold)
    count = int(first.max(initial=-1)) + 1
    seen: list[set[Hashable]] = [set() for _ in range(count)]
    for item, leader in enumerate(first):
        seen[leader] |= frames[item]
    heavy = np.bincount(first, weights, count).astype(np.float64)
    centres = np.stack([np.bincount(first, weights * column, count) for column in vectors.T], axis=1) / heavy[:, None]
    labels = _linked(_distances(centres, centres), heavy, seen, threshold)[first]
    total = np.bincount(labels, weights)
    rank = np.empty(len(total), dtype=np.int64)
    rank[np.argsort(-total, kind="stable")] = np.arange(len(total))
    return rank[labels]


def _colours(face: npt.NDArray[np.uint8], points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(10,) numbers: skin chroma 2, hair chroma 2, hair brightness and texture, range of the skin 2, lips 2."""
    blue, green, red = cv2.split(np.log(face.astype(np.float32) + _DARK))
    light, first, second = (red + green + blue) / 3, red - green, blue - green
    skin = hull_mask(face.shape[:2], points) > 0
    skin &= _filled([points[list(part)] for part in _FEATURES], grown=True) == 0
    if not skin.any():
        skin[:] = True
    low, high = np.percentile(light[skin], _SKIN_PERCENTILES)
    lit = skin & (light >= low) & (light <= high)
    dark, middle, bright = np.percentile(light[skin], (10, 50, 95))
    hair = _filled([_hair_quad(points)]) > 0
    hair = hair if hair.any() else skin
    lips = _filled([points[_LIPS]]) > 0
    lips = lips if lips.any() else skin
    texture = np.log(cv2.Laplacian(light, cv2.CV_32F)[hair].std() + 0.02)
    skin_first = first[lit].mean()
    return np.array(
        [
            *(skin_first, second[lit].mean()),
            *(first[hair].mean(), second[hair].mean()),
            *(np.median(light[hair]) - middle, texture),
            *(dark - middle, bright - middle),
            *(light[lips].mean() - middle, first[lips].mean() - skin_first),
        ],
        dtype=np.float64,
    )


def _hair_quad(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Where the hair above the forehead is: corners of a band above the brows, as high and wide as the face says."""
    eyes = points[36:48].mean(axis=0)
    up = eyes - points[8]
    across = np.array([-up[1], up[0]]) / max(float(np.linalg.norm(up)), 1e-6)
    half = across * np.linalg.norm(points[16] - points[0]) * 0.35
    return np.array(
        [eyes + 0.62 * up - half, eyes + 0.62 * up + half, eyes + 0.95 * up + half, eyes + 0.95 * up - half]
    )


def _filled(polygons: Sequence[npt.NDArray[np.float64]], *, grown: bool = False) -> npt.NDArray[np.uint8]:
    """Convex hulls of points as a mask of 0 and 1."""
    mask = np.zeros((LOOK_SIZE, LOOK_SIZE), np.uint8)
    for points in polygons:
        cv2.fillConvexPoly(mask, cv2.convexHull(np.clip(points, -1e4, 1e4).astype(np.int32)), 1)
    return np.asarray(cv2.dilate(mask, np.ones((3, 3), np.uint8)) if grown else mask, dtype=np.uint8)


def _proportions(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(60,) how far the still points lie off the generic head, from its front, in its unit."""
    turn = head_rotation(points, LOOK_SIZE)
    if turn is None:
        return np.zeros(2 * len(_STILL))
    head = (LANDMARKS_3D @ turn.T)[:, :2]
    head = head - head[_PLACING].mean(axis=0)
    seen = points - points[_PLACING].mean(axis=0)
    size = float((head[_PLACING] * seen[_PLACING]).sum() / (head[_PLACING] ** 2).sum())
    off = seen / (size if abs(size) > 1e-6 else 1e-6) - head
    return np.clip((off @ turn[:2])[_STILL, :2], -30, 30).ravel()


def _leaders(
    vectors: npt.NDArray[np.float64], frames: Sequence[frozenset[Hashable]], threshold: float
) -> npt.NDArray[np.int64]:
    """(n,) group of each item before linking: all apart; of very many items, those that are very near are together."""
    count = len(vectors)
    if count <= MOST_GROUPED:
        return np.arange(count)
    reach = threshold / 8
    while True:
        groups, chosen = np.full(count, -1), list[int]()
        taken: list[set[Hashable]] = []
        for item in range(count):
            near = _distances(vectors[item : item + 1], vectors[chosen])[0] if chosen else np.zeros(0)
            order = np.argsort(near, kind="stable")[: int((near <= reach).sum())]
            fit = next((int(at) for at in order if not frames[item] & taken[at]), None)
            if fit is None:
                if len(chosen) == MOST_GROUPED:
                    break
                fit = len(chosen)
                chosen.append(item)
                taken.append(set())
            groups[item] = fit
            taken[fit] |= frames[item]
        else:
            return groups
        reach *= 1.5


def _linked(
    distances: npt.NDArray[np.float64], weights: npt.NDArray[np.float64], frames: list[set[Hashable]], threshold: float
) -> npt.NDArray[np.int64]:
    """(n,) groups by average linkage; what shares a frame is infinitely far apart, and so is whatever joins it."""
    count = len(distances)
    distances = distances.copy()
    for members in _by_frame(frames).values():
        distances[np.ix_(members, members)] = np.inf
    np.fill_diagonal(distances, np.inf)
    weights, labels = weights.copy(), np.arange(count)
    nearest = distances.argmin(axis=1) if count else np.zeros(0, np.int64)
    least = distances[np.arange(count), nearest]
    while count and least.min() <= threshold:
        one = int(least.argmin())
        other = int(nearest[one])
        whole = weights[one] + weights[other]
        joined = (weights[one] * distances[one] + weights[other] * distances[other]) / whole
        joined[[one, other]] = np.inf
        weights[one] = whole
        labels[labels == other] = one
        distances[one], distances[:, one] = joined, joined
        distances[other], distances[:, other] = np.inf, np.inf
        stale = np.flatnonzero((nearest == one) | (nearest == other) | (joined < least))
        stale = np.union1d(stale, (one, other))
        nearest[stale] = distances[stale].argmin(axis=1)
        least[stale] = distances[stale, nearest[stale]]
    return np.unique(labels, return_inverse=True)[1]


def _by_frame(frames: Sequence[Iterable[Hashable]]) -> dict[Hashable, list[int]]:
    """Frame -> the items seen in it."""
    found: dict[Hashable, list[int]] = {}
    for item, seen in enumerate(frames):
        for frame in seen:
            found.setdefault(frame, []).append(item)
    return found


def _distances(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(n, m) Euclidean distances."""
    square = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1)[None] - 2 * first @ second.T
    return np.sqrt(np.maximum(square, 0))
