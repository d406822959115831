"""The map of head poses: how many faces of either side look where, on one scale, and which poses one side lacks."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from ui_tabs.labels import SIDES
from ui_tabs.sort_shelf import CELL_DEG, COLUMNS, PITCH_EDGE_DEG, ROWS, YAW_EDGE_DEG, Ints, Shelf

NO_POSES = "The map of head poses appears here once there are faces with a measured pose."
UNMEASURED = "They come from another program; Measure poses puts them on the map."


def pose_map_html(shelves: Mapping[str, Shelf], chosen: Collection[int]) -> str:
    """Both sides' maps beside each other.

    Args:
        shelves: side -> its faces; "src" and "dst".
        chosen: cells that filter the faces.
    """
    counts = {side: shelf.pose_counts for side, shelf in shelves.items()}
    most = max(int(found.max(initial=0)) for found in counts.values())
    if not most:
        return f'<p class="lk-empty">{NO_POSES}</p>{unmeasured_html(shelves)}'
    src, dst = counts["src"], counts["dst"]
    maps = _map("src", src, dst, chosen, most) + _map("dst", dst, src, chosen, most)
    return (
        f'<div class="lk-poses">{maps}</div><p class="lk-note">{coverage(src, dst)} {_legend(most)}</p>'
        f"{unmeasured_html(shelves)}"
    )


def coverage(src: Ints, dst: Ints) -> str:
    """How much of the destination's poses the source has, in words; counts per cell."""
    if not src.any() or not dst.any():
        return "Once both sides have faces, poses that one of them lacks are outlined."
    wanted, lacking = dst > 0, (dst > 0) & (src == 0)
    if not lacking.any():
        return f"The source has every pose of the destination, {wanted.sum():,} in all."
    return (
        f"The source has {(wanted & ~lacking).sum():,} of the {wanted.sum():,} poses of the destination; "
        f"{dst[lacking].sum():,} destination faces look where no source face does."
    )


def unmeasured_html(shelves: Mapping[str, Shelf]) -> str:
    """How many faces are not on the map, and what measures them; "" when all are."""
    words = [
        f"{shelf.unknown_poses:,} of the {SIDES[side].lower()}"
        for side, shelf in shelves.items()
        if shelf.unknown_poses
    ]
    return f'<p class="lk-note">Faces without a measured pose: {", ".join(words)}. {UNMEASURED}</p>' if words else ""


def cell_words(cell: int) -> str:
    """Where faces of a cell look: "nose 10 to 20° left, 5 to 15° up"."""
    row, column = divmod(cell, COLUMNS)
    yaw, pitch = YAW_EDGE_DEG - column * CELL_DEG, PITCH_EDGE_DEG - row * CELL_DEG
    return f"{_span(yaw, YAW_EDGE_DEG, 'left', 'right')}, {_span(pitch, PITCH_EDGE_DEG, 'up', 'down')}"


def _span(high: int, edge: int, positive: str, negative: str) -> str:
    """Words for the angles between high - CELL_DEG and high, in degrees."""
    low = high - CELL_DEG
    if low < 0 < high:
        return f"less than {max(high, -low)}\u00b0 {positive} or {negative}"
    near, far, word = (low, high, positive) if low >= 0 else (-high, -low, negative)
    return f"{near}\u00b0 or more {word}" if far == edge else f"{near} to {far}\u00b0 {word}"


def _map(side: str, own: Ints, other: Ints, chosen: Collection[int], most: int) -> str:
    cells = "".join(
        _cell(side, cell, int(own[cell]), int(other[cell]), cell in chosen, most) for cell in range(ROWS * COLUMNS)
    )
    return (
        f'<figure class="lk-pose-map" data-side="{side}"><figcaption><span class="lk-side-{side}">{SIDES[side]}</span>'
        f' <span class="lk-fact">{int(own.sum()):,} faces</span></figcaption>'
        f'<div class="lk-pose-axis lk-pose-up" aria-hidden="true">looks up</div>'
        f'<div class="lk-pose-grid" role="group" aria-label="Poses of the {SIDES[side].lower()}">{cells}</div>'
        '<div class="lk-pose-axis" aria-hidden="true">'
        "<span>nose left</span><span>looks down</span><span>nose right</span></div>"
        "</figure>"
    )


def _cell(side: str, cell: int, own: int, other: int, chosen: bool, most: int) -> str:
    """One cell; its shade grows with the logarithm of its faces."""
    shade = math.log1p(own) / math.log1p(most)
    lacking = own == 0 and other > 0
    there = f"{own:,} faces" if own else ("none here, " + f"{other:,} on the other side" if lacking else "none")
    marks = f' style="--n:{shade:.2f}"' if own else (" data-lacking" if lacking else "")
    first = ' tabindex="0"' if cell == ROWS * COLUMNS // 2 else ' tabindex="-1"'
    words = f"{cell_words(cell)}: {there}"
    return (
        f'<button type="button" data-cell="{cell}" aria-pressed="{str(chosen).lower()}"{marks}{first}'
        f' title="{words}" aria-label="{words}"></button>'
    )


def _legend(most: int) -> str:
    steps = "".join(f'<i style="--n:{shade}"></i>' for shade in (0.15, 0.4, 0.7, 1))
    return (
        f'<span class="lk-pose-legend">1 {steps} {most:,} faces</span> '
        '<span class="lk-pose-legend"><i data-lacking></i> only on the other side</span>'
    )
