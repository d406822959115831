"""High dynamic range to ordinary video: PQ or HLG in, BT.709 out. Arrays only; frame_colour.py feeds it.

The way of a pixel, all in floating point: code values to light in nits, the BT.2390 tone curve on the strongest of the
three channels (so that the hue stays), BT.2020 to BT.709 primaries, what lies outside cut off, and the inverse of
BT.1886 as ordinary displays expect it. HDR reference white, 203 nits, stands for the white of an ordinary display
(ITU-R BT.2408), so that faces keep their brightness and only what is brighter than they are is compressed.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

PQ, HLG = "smpte2084", "arib-std-b67"
KINDS = MappingProxyType({PQ: "HDR10 (PQ)", HLG: "HLG"})
"""Transfer characteristics that are mapped -> what people call them."""

REFERENCE_WHITE_NITS = 203.0
"""White of a title or a sheet of paper in HDR (ITU-R BT.2408); it becomes the white of an ordinary display."""
USUAL_PEAK_NITS = 1000.0
"""Brightest light of a clip that does not say; HLG is defined for such a display."""
PQ_PEAK_NITS = 10_000.0

_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
_A = 0.17883277
_B, _C = 1 - 4 * _A, 0.5 - _A * np.log(4 * _A)
_HLG_GAMMA = 1.2
_DISPLAY_GAMMA = 2.4

_PRIMARIES = MappingProxyType(
    {
        1: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)),
        9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
        12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    }
)
"""H.273 number -> chromaticities of red, green and blue: BT.709, BT.2020, P3 with a D65 white."""
_WHITE_XY = (0.3127, 0.3290)

_STEPS = 1 << 16
"""Entries of the tables; sources have 10 or 12 bits."""
_BAND = 64
"""Lines mapped at once: the intermediate values then stay in the processor's cache."""


def pq_to_nits(code: npt.ArrayLike) -> Float64:
    """Light in nits, 0..10,000, of PQ code values 0..1 (SMPTE ST 2084)."""
    root = np.clip(np.asarray(code, np.float64), 0, 1) ** (1 / _M2)
    return PQ_PEAK_NITS * (np.maximum(root - _C1, 0) / (_C2 - _C3 * root)) ** (1 / _M1)


def nits_to_pq(nits: npt.ArrayLike) -> Float64:
    """PQ code values 0..1 of light in nits (SMPTE ST 2084)."""
    power = np.clip(np.asarray(nits, np.float64) / PQ_PEAK_NITS, 0, 1) ** _M1
    return ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2


def hlg_to_scene(code: npt.ArrayLike) -> Float64:
    """Scene light 0..1 of HLG code values 0..1 (ARIB STD-B67, ITU-R BT.2100)."""
    value = np.clip(np.asarray(code, np.float64), 0, 1)
    return np.where(value <= 0.5, value**2 / 3, (np.exp((value - _C) / _A) + _B) / 12)


def tone_curve(nits: npt.ArrayLike, peak_nits: float) -> Float64:
    """Light 0..REFERENCE_WHITE_NITS of light 0..peak_nits: the same in the shadows, rolled off above (BT.2390 EETF)."""
    top = float(nits_to_pq(peak_nits))
    most = float(nits_to_pq(REFERENCE_WHITE_NITS)) / top
    if most >= 1:
        return np.minimum(np.asarray(nits, np.float64), REFERENCE_WHITE_NITS)
    knee = 1.5 * most - 0.5
    given = np.minimum(nits_to_pq(nits) / top, 1)
    t = np.maximum(given - knee, 0) / (1 - knee)
    rolled = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (-2 * t**3 + 3 * t**2) * most
    return pq_to_nits(np.where(given < knee, given, rolled) * top)


def to_bt709(primaries: int) -> Float64:
    """(3, 3) matrix from linear light in primaries (an H.273 number) to BT.709; unknown ones count as BT.2020."""
    return np.linalg.inv(_to_xyz(_PRIMARIES[1])) @ _to_xyz(_PRIMARIES.get(primaries, _PRIMARIES[9]))


def luminance_weights(primaries: int) -> Float64:
    """(3,) share of red, green and blue in the luminance."""
    return _to_xyz(_PRIMARIES.get(primaries, _PRIMARIES[9]))[1]


def _to_xyz(primaries: tuple[tuple[float, float], ...]) -> Float64:
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in primaries]).T
    x, y = _WHITE_XY
    return columns * np.linalg.solve(columns, np.array([x / y, 1, (1 - x - y) / y]))


class ToneMap:
    """Maps pictures of one clip.

    Args:
        transfer: PQ or HLG.
        peak_nits: brightest light of the clip; of no meaning for HLG.
        primaries: H.273 number of the clip's primaries, 9 for BT.2020.
    """

    def __init__(self, transfer: str, peak_nits: float = USUAL_PEAK_NITS, primaries: int = 9) -> None:
        self.transfer = transfer
        codes = np.arange(_STEPS) / (_STEPS - 1)
        self._matrix = (to_bt709(primaries) / REFERENCE_WHITE_NITS).astype(np.float32)
        self._weights = luminance_weights(primaries).astype(np.float32)[None]
        self._shown = np.rint(255 * codes ** (2 / _DISPLAY_GAMMA)).astype(np.uint8)
        if transfer == HLG:
            peak_nits, nits = USUAL_PEAK_NITS, USUAL_PEAK_NITS * codes**2
            self._light = hlg_to_scene(codes).astype(np.float32)
            self._opened = (USUAL_PEAK_NITS * codes ** (2 * (_HLG_GAMMA - 1))).astype(np.float32)
        else:
            nits = pq_to_nits(codes)
            self._light = nits.astype(np.float32)
        self._gain = _ratio(tone_curve(nits, peak_nits), nits)

    def to_bgr(self, code_rgb: Float32) -> npt.NDArray[np.uint8]:
        """(h, w, 3) uint8 BGR for ordinary displays, of (h, w, 3) float32 non-linear RGB; outside 0..1 it is cut."""
        made = np.empty(code_rgb.shape, np.uint8)
        for top in range(0, code_rgb.shape[0], _BAND):
            made[top : top + _BAND] = self._band(code_rgb[top : top + _BAND])
        return made

    def _band(self, code_rgb: Float32) -> npt.NDArray[np.uint8]:
        import cv2

        index = _entry(code_rgb)
        light = np.take(self._light, index)
        if self.transfer == HLG:
            # The system gamma of a 1,000 nit display, on the luminance (BT.2100): scene light becomes nits.
            luminance = np.asarray(cv2.transform(light, self._weights), np.float32).reshape(light.shape[:2])
            light *= np.take(self._opened, _root_entry(luminance))[:, :, None]
            strongest = _root_entry(_largest(light / np.float32(USUAL_PEAK_NITS)))
        else:
            strongest = _largest(index)
        light *= np.take(self._gain, strongest)[:, :, None]
        shown = np.asarray(cv2.transform(light, self._matrix), np.float32)
        return np.take(self._shown, _root_entry(shown)[:, :, ::-1])


def _entry(values: Float32) -> npt.NDArray[np.uint16]:
    """Place in a table of values 0..1."""
    return (np.clip(values, 0, 1) * np.float32(_STEPS - 1) + np.float32(0.5)).astype(np.uint16)


def _root_entry(values: Float32) -> npt.NDArray[np.uint16]:
    """Place in a table over the square root, which is fine where the eye is."""
    return (np.sqrt(np.clip(values, 0, 1)) * np.float32(_STEPS - 1) + np.float32(0.5)).astype(np.uint16)


def _largest(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """(h, w) largest of three channels; several times faster than a maximum over the last axis."""
    return np.maximum(np.maximum(values[:, :, 0], values[:, :, 1]), values[:, :, 2])


def _ratio(mapped: Float64, nits: Float64) -> Float32:
    """What to multiply light with; 1 for black."""
    return np.divide(mapped, nits, out=np.ones_like(nits), where=nits > 1e-6).astype(np.float32)
