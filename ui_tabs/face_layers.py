"""What the inspector lays over a face: landmarks, hull, polygons and the XSeg mask."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from backend.core.faces import HULL_PARTS, Face
from ui_tabs.gallery import landmark_path

Points = npt.NDArray[np.float64]

LAYERS = (("marks", "Landmarks"), ("hull", "Hull"), ("polygons", "Polygons"), ("xseg", "XSeg mask"))


def layers_of(face: Face) -> list[tuple[str, str]]:
    """(name, title) of what there is to lay over a face."""
    there = {"marks": True, "hull": True, "polygons": bool(face.seg_ie_polys), "xseg": face.xseg_mask is not None}
    return [(name, title) for name, title in LAYERS if there[name]]


def layers_html(face: Face, size: tuple[int, int]) -> str:
    """All layers of a face over a picture of (width, height) pixels."""
    hull = "".join(f'<polygon points="{_points(part)}"/>' for part in hull_parts(face))
    drawn = "".join(
        f'<polygon class="{"lk-include" if kind else "lk-exclude"}" points="{_points(points)}"/>'
        for kind, points in face.seg_ie_polys
    )
    found = [
        f'<g data-layer="hull">{hull}</g>',
        f'<g data-layer="polygons">{drawn}</g>',
        f'<g data-layer="marks"><path d="{landmark_path(face.landmarks)}"/></g>',
    ]
    svg = f'<svg viewBox="0 0 {size[0]} {size[1]}" aria-hidden="true">{"".join(found)}</svg>'
    return xseg_html(face) + svg


def xseg_html(face: Face) -> str:
    """The XSeg mask as a picture that darkens what the mask leaves out; "" when there is none that can be read."""
    if face.xseg_mask is None:
        return ""
    try:
        with Image.open(io.BytesIO(face.xseg_mask.tobytes())) as opened:
            mask = np.asarray(opened.convert("L"))
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError):
        return ""
    veil = np.zeros((*mask.shape, 4), np.uint8)
    veil[..., 3] = (255 - mask.astype(np.uint16)) * 3 // 4
    written = io.BytesIO()
    Image.fromarray(veil, "RGBA").save(written, "PNG")
    text = base64.b64encode(written.getvalue()).decode("ascii")
    return f'<img data-layer="xseg" alt="" src="data:image/png;base64,{text}">'


def hull_parts(face: Face) -> list[Points]:
    """Corners, each (n, 2) in pixels of the face, of the convex shapes that the hull mask of a face is made of."""
    points = _raise_brows(np.asarray(face.landmarks, np.float64), face.eyebrows_expand_mod)
    return [convex_hull(points[list(part)]) for part in HULL_PARTS]


def convex_hull(points: Points) -> Points:
    """(m, 2) corners of the convex hull of (n, 2) points, in order (Andrew's monotone chain)."""
    ordered = sorted({(float(x), float(y)) for x, y in points})
    return np.array([*_half(ordered), *_half(ordered[::-1])] or ordered)


def _half(ordered: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """One side of the hull without its last corner."""
    found: list[tuple[float, float]] = []
    for point in ordered:
        while len(found) > 1 and _turn(found[-2], found[-1], point) <= 0:
            found.pop()
        found.append(point)
    return found[:-1]


def _turn(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _raise_brows(points: Points, amount: float) -> Points:
    """Landmarks with the brows moved away from the eyes by ``amount`` half distances."""
    right_eye = np.vstack([(points[36] + (points[36] + points[0]) / 2) / 2, points[36:40]])
    left_eye = np.vstack([points[42:46], (points[45] + (points[16] + points[45]) / 2) / 2])
    raised = points.copy()
    raised[17:22] += amount * 0.5 * (points[17:22] - right_eye)
    raised[22:27] += amount * 0.5 * (points[22:27] - left_eye)
    return raised


def _points(points: Iterable[Iterable[float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
