"""Warp grids that lead a face's landmarks to those of a similar face of the other side, as dfaker and faceswap do."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from scipy.spatial import Delaunay

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Entries = npt.NDArray[np.int64]

SIMILAR = 10
"""How many faces of the other side a face may be warped to."""

NOISE = 2 / 256
"""Deviation of the random shift of each landmark aimed at, in shares of the picture's side."""

CELLS = 64
"""Cells of the grid along each side: at 128 px one of two pixels."""

_JAW = 17
_EDGE = ((0, 0), (0, 0.5), (0, 1), (0.5, 0), (0.5, 1), (1, 0), (1, 0.5), (1, 1))
_AT_ONCE = 64  # faces compared with the whole other side together
_TOUCH = 1e-9  # rounding that must not open a gap between two triangles
_STEPS = 1 << 20  # landmarks are compared as whole numbers: sums of their products are exact, whoever adds them up
_CHANCE_SEED = 1 << 42  # keeps these random numbers apart from those of other work on the same face


class SimilarShapes:
    """For each face the faces of the other side whose landmarks lie nearest, looked for when a face first comes.

    The result does not depend on which faces are asked for together: distances are exact.

    Args:
        points: (N, 68, 2) float32 landmarks of this side, in shares of the picture's side.
        others: (M, 68, 2) float32 those of the other side.
    """

    def __init__(self, points: Float32, others: Float32) -> None:
        self._points = points
        self._others = _whole(others)
        self._sizes = (self._others**2).sum(axis=1)
        self._known = np.full((len(points), min(SIMILAR, len(others))), -1, np.int32)

    def of(self, entries: Entries) -> npt.NDArray[np.int32]:
        """(n, 10) indices into the others, in no order; all of them where there are fewer."""
        new = np.unique(entries[self._known[entries, 0] < 0])
        for start in range(0, len(new), _AT_ONCE):
            some = new[start : start + _AT_ONCE]
            distances = self._sizes - 2 * (_whole(self._points[some]) @ self._others.T)
            count = self._known.shape[1]
            self._known[some] = np.sort(np.argpartition(distances, count - 1, axis=1)[:, :count], axis=1)
        return self._known[entries]


class LandmarkWarp:
    """Draws the warp grids of one side's faces.

    Args:
        points: (N, 68, 2) float32 landmarks of this side, in shares of the picture's side.
        others: (M, 68, 2) float32 those of the faces of the other side that train.
        seed: of the training.
        side: 0 src, 1 dst.
    """

    def __init__(self, points: Float32, others: Float32, seed: int, side: int) -> None:
        self._points = points
        self._others = others
        self._similar = SimilarShapes(points, others)
        self._seed = (_CHANCE_SEED, seed, side)

    def aims(self, entries: Entries) -> npt.NDArray[np.int32]:
        """(n, 10) faces of the other side that each face may be warped to; for nodes()."""
        return self._similar.of(entries)

    def nodes(self, number: int, entry: int, aims: npt.NDArray[np.int32]) -> Float32:
        """The warp grid of a face; see warp_nodes().

        Args:
            number: of the face in the training: chance follows from it, the side and the seed alone.
            entry: of the face.
            aims: (10,) what aims() gave for it.
        """
        rng = np.random.default_rng([*self._seed, int(number)])
        aim = self._others[aims[rng.integers(len(aims))]]
        return warp_nodes(self._points[entry], aim + rng.normal(0, NOISE, aim.shape))


def warp_nodes(points: npt.ArrayLike, aims: npt.ArrayLike) -> Float32:
    """A grid of displacements that makes a face's landmarks appear where others lie.

    Between the landmarks aimed at and eight points on the picture's edge, which stay, the lookup is linear inside each
    triangle (Delaunay). Jaw points inside the hull of the inner landmarks of both faces are left out, as they would
    cross these; so is whatever lies beyond the picture.

    Args:
        points: (68, 2) landmarks of the face, in shares of the picture's side.
        aims: (68, 2) where they are to appear.

    Returns:
        (2, 65, 65) float32, x and y: what is to be added to each place to find where to look, in units of -1..1 across
        the picture; 0 on its edge.
    """
    own, wanted = np.asarray(points, np.float64), np.asarray(aims, np.float64)
    kept = _outside_core(own, wanted) & _in_picture(own) & _in_picture(wanted)
    places = np.concatenate([wanted[kept], _EDGE]) * CELLS
    moves = np.concatenate([own[kept] - wanted[kept], np.zeros((len(_EDGE), 2))]) * 2
    return _on_nodes(places, moves, Delaunay(places).simplices)


def _on_nodes(places: Float64, moves: Float64, triangles: npt.NDArray[np.int32]) -> Float32:
    """What is linear inside each triangle, at the nodes of the grid.

    All nodes of all triangles' bounding boxes are tried at once. SciPy would find them by a matrix factorised for each
    triangle, which a BLAS of several threads makes fifty times slower.

    Args:
        places: (n, 2) corners, in cells.
        moves: (n, 2) values there.
        triangles: (t, 3) indices of corners; together they cover the grid.

    Returns:
        (2, 65, 65) float32.
    """
    corners = places[triangles]
    of, x, y = _nodes_around(corners)
    (ax, ay), (bx, by) = (corners[:, 1] - corners[:, 0]).T, (corners[:, 2] - corners[:, 0]).T
    area = ax * by - ay * bx
    flat = np.abs(area) <= _TOUCH
    per_area = 1 / np.where(flat, 1.0, area)
    dx, dy = x - corners[of, 0, 0], y - corners[of, 0, 1]
    share_a = dx * (by * per_area)[of] - dy * (bx * per_area)[of]
    share_b = dy * (ax * per_area)[of] - dx * (ay * per_area)[of]
    inside = (share_a >= -_TOUCH) & (share_b >= -_TOUCH) & (share_a + share_b <= 1 + _TOUCH) & ~flat[of]
    of, x, y, share_a, share_b = (part[inside] for part in (of, x, y, share_a, share_b))
    out = np.zeros((2, CELLS + 1, CELLS + 1), np.float32)
    for plane, (start, end_a, end_b) in zip(out, moves[triangles].transpose(2, 1, 0), strict=True):
        plane[y, x] = start[of] + share_a * (end_a - start)[of] + share_b * (end_b - start)[of]
    return out


def _nodes_around(corners: Float64) -> tuple[Entries, Entries, Entries]:
    """All nodes inside the bounding boxes of triangles (t, 3, 2): number of the triangle, x and y, each (m,)."""
    first = np.clip(np.ceil(corners.min(axis=1) - _TOUCH), 0, CELLS).astype(np.int64)
    size = np.clip(np.floor(corners.max(axis=1) + _TOUCH), 0, CELLS).astype(np.int64) - first + 1
    held = size.prod(axis=1)
    of = np.repeat(np.arange(len(corners)), held)
    row, column = np.divmod(np.arange(len(of)) - np.repeat(np.cumsum(held) - held, held), size[of, 0])
    return of, first[of, 0] + column, first[of, 1] + row


def _outside_core(own: Float64, wanted: Float64) -> npt.NDArray[np.bool_]:
    """(68,): False for jaw points that lie inside the hull of brows, eyes, nose and mouth of both, in either face."""
    core = cv2.convexHull(np.concatenate([own[_JAW:], wanted[_JAW:]]).astype(np.float32))
    outside = np.ones(len(own), np.bool_)
    for index in range(_JAW):
        either = (face[index] for face in (own, wanted))
        outside[index] = all(cv2.pointPolygonTest(core, (x, y), False) < 0 for x, y in either)
    return outside


def _in_picture(points: Float64) -> npt.NDArray[np.bool_]:
    return np.logical_and.reduce((points > 0) & (points < 1), axis=1)


def _whole(points: Float32) -> Float64:
    """(n, 68, 2) shares -> (n, 136) whole numbers."""
    return np.rint((points.reshape(len(points), -1) - np.float32(0.5)) * _STEPS).astype(np.float64)
