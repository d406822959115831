"""The benchmark of merging: what is measured, and the tables of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from backend.jobs.bench_tables import Measure, Row, failed, table, tell

TRANSFER_PX = 256


@dataclass(frozen=True)
class Extent:
    """How much is measured: resolutions of the model, seconds for each row, and whether all rows."""

    resolutions: tuple[int, ...] = (128, 256)
    seconds: float = 1.0
    all_rows: bool = True


QUICK = Extent(resolutions=(128,), seconds=0.3, all_rows=False)

_PLAIN = MappingProxyType({"color_transfer": "none"})
LOOKS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "overlay, rct, blur 40 (the defaults)": {},
        "overlay, no colour transfer": _PLAIN,
        "overlay, lct": {"color_transfer": "lct"},
        "overlay, mkl": {"color_transfer": "mkl"},
        "overlay, mkl-m": {"color_transfer": "mkl-m"},
        "overlay, idt": {"color_transfer": "idt"},
        "overlay, idt-m": {"color_transfer": "idt-m"},
        "overlay, sot-m": {"color_transfer": "sot-m"},
        "overlay, mix-m": {"color_transfer": "mix-m"},
        "hist-match": {**_PLAIN, "mode": "hist-match"},
        "hist-match-gray": {**_PLAIN, "mode": "hist-match-gray"},
        "seamless, no colour transfer": {**_PLAIN, "mode": "seamless"},
        "seamless, no colour transfer, steady": {**_PLAIN, "mode": "seamless", "steady_seamless": True},
        "seamless, rct": {"mode": "seamless"},
        "seamless, sot-m": {"mode": "seamless", "color_transfer": "sot-m"},
        "seamless-hist-match": {**_PLAIN, "mode": "seamless-hist-match"},
        "raw-rgb": {"mode": "raw-rgb"},
        "raw-predict": {"mode": "raw-predict"},
        "original (the mask alone)": {"mode": "original"},
        "overlay, full-square mask": {"mask_mode": "full"},
        "overlay, landmarks' mask": {"mask_mode": "dst"},
        "overlay, erode 60, blur 100": {"erode_mask": 60, "blur_mask": 100},
        "overlay, motion blur 50": {"motion_blur": 50},
        "overlay, sharpen 10 (gaussian)": {"sharpen_mode": "gaussian", "sharpen_amount": 10},
        "overlay, blur -30": {"sharpen_amount": -30},
        "overlay, denoise 100": {"denoise": 100},
        "overlay, bicubic degrade 40": {"bicubic_degrade": 40},
        "overlay, colour degrade 50": {"color_degrade": 50},
        "overlay, super-resolution 100 (enhancer free)": {"super_resolution": 100},
        "seamless, super-resolution 100 (enhancer free)": {"mode": "seamless", "super_resolution": 100},
    }
)
"""How a face is put into the frame, by name: what differs from the defaults."""

QUICK_LOOKS = ("overlay, rct, blur 40 (the defaults)", "overlay, sot-m", "seamless, no colour transfer")
TRANSFERS = ("rct", "lct", "mkl", "mkl-m", "idt", "idt-m", "sot", "sot-m", "mix-m")
QUICK_TRANSFERS = ("rct", "idt", "sot")

DEEPFACELAB_FRAMES: Mapping[tuple[str, int], float] = MappingProxyType(
    {
        ("overlay, no colour transfer", 128): 30,
        ("overlay, no colour transfer", 256): 21,
        ("seamless, no colour transfer", 128): 14.7,
        ("seamless, no colour transfer", 256): 12.4,
        ("overlay, sot-m", 128): 2.4,
        ("overlay, sot-m", 256): 0.55,
    }
)
"""(look, resolution) -> frames per CPU second of DeepFaceLab, 11 ms for reading each frame's PNG included."""

DEEPFACELAB_TRANSFERS: Mapping[str, float] = MappingProxyType(
    {"rct": 530, "lct": 600, "mkl": 200, "idt": 5.5, "sot": 0.67}
)
"""Colour transfers of 256 px per CPU second of DeepFaceLab; sot with as many directions as here."""


def merge_tables(quick: bool, measure: Measure) -> Iterator[str]:
    """All tables, one after the other, as markdown.

    Args:
        quick: few rows, one resolution, a short time each.
        measure: one measurement in a process of its own.
    """
    extent = QUICK if quick else Extent()
    yield (
        "One face, one thread, the model free, nothing read or written; medians. DeepFaceLab's figures were taken on "
        "another computer, and its frames include 11 ms for reading a PNG."
    )
    yield looks_table(extent, measure)
    yield transfer_table(extent, measure)


def looks_table(extent: Extent, measure: Measure) -> str:
    """Frames per CPU second by mode, colour transfer, mask and finishing step."""
    rows: list[Row] = []
    for name in LOOKS if extent.all_rows else QUICK_LOOKS:
        row = [name]
        for resolution in extent.resolutions:
            tell(f"merging, {resolution} px: {name}")
            request = {"kind": "merge", "options": {**LOOKS[name]}, "resolution": resolution}
            found = measure({**request, "seconds": extent.seconds})
            theirs = _theirs(DEEPFACELAB_FRAMES, (name, resolution))
            row += [failed(found) or _rate(found), _milliseconds(found), theirs]
        rows.append(row)
    head = ["merging into 1280x720 bytes, the crop 500 px wide in the frame"]
    for resolution in extent.resolutions:
        head += [f"{resolution} px: frames per CPU s", "CPU ms", "DeepFaceLab, frames per CPU s"]
    return table(head, rows)


def transfer_table(extent: Extent, measure: Measure) -> str:
    """Colour transfers per CPU second, by themselves."""
    rows: list[Row] = []
    for name in TRANSFERS if extent.all_rows else QUICK_TRANSFERS:
        tell(f"colour transfer: {name}")
        found = measure({"kind": "transfer", "transfer": name, "side": TRANSFER_PX, "seconds": extent.seconds})
        words = "sot, 10 steps of 30 directions" if name == "sot" else name
        figures = (failed(found) or _rate(found), _milliseconds(found))
        rows.append((words, *figures, _theirs(DEEPFACELAB_TRANSFERS, name)))
    head = (f"colour transfer alone, {TRANSFER_PX} px", "per CPU s", "CPU ms", "DeepFaceLab, per CPU s")
    return table(head, rows)


def _rate(found: Mapping[str, Any]) -> str:
    rate = 1 / max(found["cpu_s"], 1e-9)
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"


def _milliseconds(found: Mapping[str, Any]) -> str:
    return "" if failed(found) else f"{1000 * found['cpu_s']:.1f}"


def _theirs(figures: Mapping[Any, float], key: Any) -> str:
    return f"{figures[key]:g}" if key in figures else "not measured"
