"""Choosing faces: the best of every pose, and those whose poses match another set of faces."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from backend.ops.histogram import histogram_dissimilarity

Indexes = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]

YAW_BINS = 128
_YAW_REACH = 1.2
_CANDIDATES = 10
_CELL_RAD = 0.1
_CELL_SHIFT = 32  # more cells than a quarter turn has


def best_faces(pose: Float64, sharpness: npt.NDArray[Any], hists: npt.NDArray[Any], target: int) -> Indexes:
    """DeepFaceLab's best faces (reference section 5.1): sharp ones, spread over yaw, pitch and looks.

    Targets below 64, for which its rule takes no face at all, take one of every yaw and then an even selection of them.

    Args:
        pose: (n, 2) pitch and yaw in radians.
        sharpness: (n,) higher is better.
        hists: (n, channels, bins) counts.
        target: how many faces are wanted; the result may be a little more or less.

    Returns:
        (m,) int64 indexes: by yaw from right to left, each yaw going round its pitches.
    """
    bins = _bins(-pose[:, 1], np.linspace(-_YAW_REACH, _YAW_REACH, YAW_BINS))
    counts = np.bincount(bins, minlength=YAW_BINS)
    wanted = max(round(target / YAW_BINS), 1)
    wanted += int(np.maximum(wanted - counts, 0).sum()) // YAW_BINS
    edges = np.linspace(-np.pi / 2, np.pi / 2, wanted)
    chosen: list[int] = []
    for number in range(YAW_BINS):
        members = np.flatnonzero(bins == number)
        members = members[np.argsort(-sharpness[members], kind="stable")][: _CANDIDATES * wanted]
        chosen += _round_robin(_cells(members, _bins(pose[members, 0], edges), hists), wanted)
    found = np.array(chosen, dtype=np.int64)
    if target < YAW_BINS // 2 and len(found) > target:
        found = found[np.linspace(0, len(found) - 1, target).round().astype(np.int64)]
    return found


class MatchedPoses(NamedTuple):
    """Faces chosen to match.

    Attributes:
        order: (m,) int64 indexes, by pose, the sharpest of each pose first.
        is_known: (n,) whether the other set has the pose of a face at all.
        missing: (pitch, yaw, count) of the poses that only the other set has: middle of the cell in radians and
            how many faces of the other set it holds, the most frequent first.
    """

    order: Indexes
    is_known: npt.NDArray[np.bool_]
    missing: list[tuple[float, float, int]]


def matching_poses(own: Float64, other: Float64, sharpness: npt.NDArray[Any], target: int) -> MatchedPoses:
    """Choose up to ``target`` faces spread over the poses as another set of faces is, the sharpest of each pose first.

    Poses are cells of 0.1 radians of pitch and yaw. The faces are dealt out by highest averages (Sainte-Lague), so
    that a cell with too few faces passes its share on to the others.

    Args:
        own: (n, 2) pitch and yaw in radians.
        other: (m, 2) those of the other set.
        sharpness: (n,) higher is better.
        target: how many faces are wanted at most.
    """
    own_cells, other_cells = _pose_cells(own), _pose_cells(other)
    cells, counts = np.unique(other_cells, return_counts=True)
    place = np.minimum(np.searchsorted(cells, own_cells), len(cells) - 1)
    is_known = cells[place] == own_cells
    candidates = np.flatnonzero(is_known)
    candidates = candidates[np.lexsort((-sharpness[candidates], own_cells[candidates]))]
    turns = _numbers_within(own_cells[candidates])
    shares = (turns + 0.5) / counts[place[candidates]]
    order = candidates[np.sort(np.argsort(shares, kind="stable")[:target])]
    lacking = ~np.isin(cells, own_cells)
    missing = [(*_middle(cell), int(count)) for cell, count in zip(cells[lacking], counts[lacking], strict=True)]
    return MatchedPoses(order, is_known, sorted(missing, key=lambda cell: -cell[2]))


def _bins(values: Float64, edges: Float64) -> Indexes:
    """Number of the bin of each value: below edges[1] is 0, from edges[-1] on is the last."""
    return np.digitize(values, edges[1:]).astype(np.int64)


def _cells(members: Indexes, numbers: Indexes, hists: npt.NDArray[Any]) -> list[list[int]]:
    """The members of each cell that has any, by cell, those with the rarest colours first."""
    cells = []
    for number in np.unique(numbers):
        cell = members[numbers == number]
        if len(cell) > 2:
            cell = cell[np.argsort(-histogram_dissimilarity(hists[cell]), kind="stable")]
        cells.append(cell.tolist())
    return cells


def _round_robin(cells: list[list[int]], wanted: int) -> list[int]:
    """One of each cell in turn until so many are taken or none is left."""
    longest = max((len(cell) for cell in cells), default=0)
    turns = [cell[turn] for turn in range(longest) for cell in cells if turn < len(cell)]
    return turns[:wanted]


def _pose_cells(pose: Float64) -> Indexes:
    """One number for the cell of each pose, growing with yaw, then pitch."""
    pitch, yaw = np.floor(np.clip(pose[:, :2], -np.pi / 2, np.pi / 2) / _CELL_RAD).astype(np.int64).T
    return (yaw + _CELL_SHIFT) * 2 * _CELL_SHIFT + pitch + _CELL_SHIFT


def _middle(cell: int) -> tuple[float, float]:
    """Pitch and yaw in the middle of a cell, in radians."""
    yaw, pitch = divmod(int(cell), 2 * _CELL_SHIFT)
    return (pitch - _CELL_SHIFT + 0.5) * _CELL_RAD, (yaw - _CELL_SHIFT + 0.5) * _CELL_RAD


def _numbers_within(groups: Indexes) -> Indexes:
    """0, 1, 2 ... within each run of equal numbers."""
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    lengths = np.diff(starts, append=len(groups))
    return np.arange(len(groups)) - np.repeat(starts, lengths)
