"""The two people of the sample project: the public-domain portrait scikit-image carries, and a face derived from it.

Each person is cut into a head, a body and a wall behind them, so that the head can move in front of the rest.
All coordinates are pixels of the 512 x 512 portrait (scikit-image's "astronaut", a NASA photograph of Eileen Collins).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
UInt8 = npt.NDArray[np.uint8]

HEAD = (
    (186, 150), (183, 141), (176, 131), (160, 118), (153, 95), (153, 75), (163, 52), (188, 38), (200, 23), (232, 15),
    (262, 23), (288, 42), (300, 70), (302, 90), (296, 115), (283, 131), (272, 139), (266, 152), (258, 168), (255, 178),
    (252, 187), (240, 190), (220, 188), (200, 183), (190, 178), (186, 168),
)  # fmt: skip
"""Outline of hair, face and the visible neck."""

BODY = (
    (0, 512), (0, 430), (28, 340), (38, 295), (58, 252), (85, 231), (115, 212), (118, 190), (128, 168), (145, 154),
    (170, 149), (182, 149),
    (205, 156), (235, 165), (258, 177), (280, 188), (295, 205), (306, 235), (335, 255), (348, 275), (362, 340),
    (380, 512),
)  # fmt: skip
"""Outline of suit and collar ring, the ring's hidden back edge included."""

FACE = (
    (182, 95),
    (185, 145),
    (195, 168),
    (220, 182),
    (242, 176),
    (260, 152),
    (270, 100),
    (262, 84),
    (226, 78),
    (190, 84),
)
LEFT_EYE, RIGHT_EYE, MOUTH, NOSE = (203, 101), (247, 103), (223, 144), (226, 122)
LEFT_BROW = ((188, 96), (196, 91), (212, 93))
RIGHT_BROW = ((237, 94), (252, 91), (263, 95))
BEARD = (
    (184, 122),
    (189, 150),
    (200, 171),
    (222, 183),
    (243, 176),
    (258, 152),
    (266, 122),
    (254, 137),
    (242, 133),
    (224, 132),
    (206, 133),
    (194, 138),
)
LIPS = ((203, 140), (214, 140), (223, 141), (233, 140), (244, 140), (237, 149), (223, 154), (210, 149))


@dataclass(frozen=True)
class Layer:
    """A part of a picture: color_bgr (512, 512, 3) float32 0..1 that goes on beyond the edge, alpha (512, 512) 0..1."""

    color_bgr: Float32
    alpha: Float32


@dataclass(frozen=True)
class Person:
    """Head and body on the portrait's pixel grid."""

    head: Layer
    body: Layer


def portrait() -> UInt8:
    """(512, 512, 3) uint8 BGR; a file of the scikit-image package, nothing is downloaded."""
    import skimage.data

    return np.ascontiguousarray(skimage.data.astronaut()[..., ::-1])


def first_person(image_bgr: UInt8) -> Person:
    """The person of the portrait (512, 512, 3) uint8 BGR, cut out."""
    head = _cut(image_bgr, HEAD)
    body = _cut(image_bgr, BODY)
    body = np.where(_filled(BODY, 0) > 0, np.maximum(body * (head < 0.5), _collar()), 0).astype(np.float32)
    without_head = cv2.inpaint(image_bgr, _filled(HEAD, 5), 3, cv2.INPAINT_TELEA)
    return Person(
        Layer(_beyond_edge(_unit(image_bgr), head), head),
        Layer(_beyond_edge(_unit(without_head), body), _soft(body, 0.8)),
    )


def second_person(first: Person) -> Person:
    """Another face made from the first: mirrored, broader below, shorter hair, darker, bearded, in other clothes."""
    color = _with_beard(_recolored_head(first.head.color_bgr))
    grown = _reshape(np.dstack([color, first.head.alpha]))
    body = _recolored_body(first.body.color_bgr)
    return Person(
        Layer(_mirrored(grown[..., :3]), _mirrored(grown[..., 3])), Layer(_mirrored(body), _mirrored(first.body.alpha))
    )


def _cut(image_bgr: UInt8, outline: tuple[tuple[int, int], ...]) -> Float32:
    """Soft mask of what the outline encloses; its exact edge is found by colour in a band around the outline."""
    labels = np.full(image_bgr.shape[:2], cv2.GC_BGD, np.uint8)
    labels[_filled(outline, 7) > 0] = cv2.GC_PR_BGD
    labels[_filled(outline, 0) > 0] = cv2.GC_PR_FGD
    labels[_filled(outline, -7) > 0] = cv2.GC_FGD
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(7)
    cv2.grabCut(image_bgr, labels, None, *models, 3, cv2.GC_INIT_WITH_MASK)
    inside = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    inside = cv2.morphologyEx(inside, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5)))
    inside = cv2.morphologyEx(inside, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7)))
    return _soft(cv2.erode(inside, np.ones((3, 3), np.uint8)).astype(np.float32), 1.2)


def _collar() -> Float32:
    """The opening of the collar ring, where the neck was."""
    return _unit(_filled(((180, 152), (205, 158), (235, 167), (258, 179), (262, 205), (176, 205)), 0) * 255)


def _filled(outline: tuple[tuple[int, int], ...], grow_px: int) -> UInt8:
    mask = np.zeros((512, 512), np.uint8)
    cv2.fillPoly(mask, [np.array(outline, np.int32)], 1)
    size = 2 * abs(grow_px) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    return cv2.dilate(mask, kernel) if grow_px > 0 else cv2.erode(mask, kernel)


def _area(outline: tuple[tuple[int, int], ...], blur_px: float) -> Float32:
    return _soft(_filled(outline, 0).astype(np.float32), blur_px)


def _unit(image: npt.NDArray[np.uint8]) -> Float32:
    return (image / np.float32(255)).astype(np.float32)


def _soft(mask: Float32, blur_px: float) -> Float32:
    return cv2.GaussianBlur(mask, (0, 0), blur_px)


def _beyond_edge(color: Float32, alpha: Float32) -> Float32:
    """Colours continued outside the mask, so that a soft edge shows nothing of the old background."""
    sure = (alpha > 0.9).astype(np.float32)
    spread = np.zeros_like(color)
    for blur_px in (24.0, 8.0, 3.0):
        weight = _soft(sure, blur_px)[..., None]
        near = _soft(color * sure[..., None], blur_px) / np.maximum(weight, 1e-4)
        spread = np.where(weight > 0.02, near, spread)
    return np.where(sure[..., None] > 0, color, spread).astype(np.float32)


def _mirrored(array: Float32) -> Float32:
    return np.ascontiguousarray(array[:, ::-1])


def _skin(color: Float32) -> Float32:
    """How much a pixel of the head is skin, 0..1: by colour inside and around the face."""
    lab = cv2.cvtColor(color, cv2.COLOR_BGR2Lab)
    reddish = np.clip((lab[..., 1] - 0.32 * lab[..., 2] - 1) / 6, 0, 1) * np.clip((lab[..., 0] - 42) / 12, 0, 1)
    below_fringe = _area(((168, 90), (186, 84), (226, 76), (262, 84), (284, 100), (284, 200), (168, 200)), 4)
    return _soft(np.maximum(reddish * below_fringe, _area(FACE, 3)).astype(np.float32), 1.5)


def _recolored_head(color: Float32) -> Float32:
    """Tanned skin and nearly black hair."""
    lab = cv2.cvtColor(color, cv2.COLOR_BGR2Lab)
    skin = lab.copy()
    skin[..., 0] = np.clip(skin[..., 0], 0, 100) ** 1.12 * 0.50
    skin[..., 1] = skin[..., 1] * 0.85 + 3
    skin[..., 2] = skin[..., 2] * 0.9 + 8
    hair = lab.copy()
    hair[..., 0] = np.clip(hair[..., 0] - 8, 0, 100) * 0.42
    hair[..., 1:] = hair[..., 1:] * 0.25 + (1, 2)
    weight = _skin(color)[..., None]
    mixed = (skin * weight + hair * (1 - weight)).astype(np.float32)
    return np.clip(cv2.cvtColor(mixed, cv2.COLOR_Lab2BGR), 0, 1)


def _with_beard(color: Float32) -> Float32:
    """A short dark beard and heavy brows."""
    grain = np.random.default_rng(5).normal(0, 1, (512, 512)).astype(np.float32)
    hairs = cv2.GaussianBlur(grain, (0, 0), sigmaX=0.6, sigmaY=1.6)
    beard = _area(BEARD, 3.5) * (1 - _area(LIPS, 1.0)) * np.clip(0.66 + 0.22 * hairs, 0, 0.85)
    brows = np.zeros((512, 512), np.float32)
    for brow in (LEFT_BROW, RIGHT_BROW):
        cv2.polylines(brows, [np.array(brow, np.int32)], False, 1.0, 4, cv2.LINE_AA)
    dark = np.maximum(beard, _soft(brows, 1.0) * 0.8)[..., None]
    return (color * (1 - dark) + np.array((0.07, 0.09, 0.11), np.float32) * dark).astype(np.float32)


def _recolored_body(color: Float32) -> Float32:
    """The orange suit becomes a dark green one."""
    hsv = cv2.cvtColor(color, cv2.COLOR_BGR2HSV)
    orange = np.clip((hsv[..., 1] - 0.35) / 0.2, 0, 1)[..., None]
    green = hsv.copy()
    green[..., 0] = 165
    green[..., 1] *= 0.55
    green[..., 2] *= 0.50
    return (color * (1 - orange) + cv2.cvtColor(green, cv2.COLOR_HSV2BGR) * orange).astype(np.float32)


def _reshape(layer: Float32) -> Float32:
    """Other proportions: broad jaw, longer nose, smaller eyes set closer, hair close to the head."""
    y, x = np.mgrid[0:512, 0:512].astype(np.float32)
    source_x = x.copy()
    source_y = y.copy()
    centre = 225.0
    jaw = np.exp(-(((y - 165) / 32) ** 2))
    source_x -= (x - centre) * 0.14 * jaw
    outer = np.clip((np.abs(x - centre) - 42) / 20, 0, 1) * np.clip((150 - y) / 20, 0, 1)
    source_x += np.sign(x - centre) * 11 * outer
    source_y -= 9 * np.exp(-(((x - centre) / 70) ** 2)) * np.clip((62 - y) / 45, 0, 1)
    source_y -= 5 * np.exp(-(((x - centre) / 26) ** 2) - ((y - 138) / 24) ** 2)
    source_x -= (x - NOSE[0]) * 0.28 * np.exp(-(((x - NOSE[0]) / 14) ** 2) - ((y - NOSE[1] - 4) / 14) ** 2)
    source_x -= (x - MOUTH[0]) * -0.12 * np.exp(-(((x - MOUTH[0]) / 24) ** 2) - ((y - MOUTH[1] - 4) / 12) ** 2)
    for eye, towards in ((LEFT_EYE, 1), (RIGHT_EYE, -1)):
        near = np.exp(-(((x - eye[0]) / 13) ** 2) - ((y - eye[1]) / 9) ** 2)
        source_x += (x - eye[0]) * 0.14 * near - towards * 2.5 * near
        source_y += (y - eye[1]) * 0.16 * near
    return cv2.remap(layer, source_x, source_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE).clip(0, 1)


def studio(width: int, height: int) -> Float32:
    """A cool gray studio wall with soft patches, (height, width, 3) float32 BGR 0..1."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    glow = np.exp(-(((x / width - 0.5) / 0.55) ** 2) - ((y / height - 0.4) / 0.6) ** 2)[..., None]
    patches = np.random.default_rng(3).normal(0, 1, (8, 8)).astype(np.float32)
    patches = cv2.resize(patches, (width, height), interpolation=cv2.INTER_CUBIC)[..., None]
    wall = np.array((0.46, 0.42, 0.38), np.float32) + 0.26 * glow + 0.018 * patches
    return wall.clip(0, 1).astype(np.float32)


def room(width: int, height: int) -> Float32:
    """A warm room out of focus: wall, window and shelf, (height, width, 3) float32 BGR 0..1."""
    wall = np.full((height, width, 3), (0.30, 0.45, 0.62), np.float32)
    wall *= np.linspace(1.15, 0.75, width, dtype=np.float32)[None, :, None]
    at = np.array((width, height), np.float32)

    def box(left: float, top: float, right: float, bottom: float, color: tuple[float, float, float]) -> None:
        corner, other = (at * (left, top)).astype(int).tolist(), (at * (right, bottom)).astype(int).tolist()
        cv2.rectangle(wall, corner, other, color, -1)

    box(0.03, 0.08, 0.27, 0.62, (0.95, 0.93, 0.85))
    box(0.14, 0.08, 0.16, 0.62, (0.25, 0.33, 0.42))
    box(0.03, 0.33, 0.27, 0.36, (0.25, 0.33, 0.42))
    box(0.72, 0.30, 1.00, 0.33, (0.10, 0.16, 0.25))
    rng = np.random.default_rng(11)
    left = 0.73
    while left < 0.98:
        wide, tall = rng.uniform(0.018, 0.035), rng.uniform(0.12, 0.2)
        box(left, 0.30 - tall, left + wide, 0.30, tuple(rng.uniform(0.1, 0.55, 3).tolist()))
        left += wide + 0.004
    return cv2.GaussianBlur(wall, (0, 0), 7).clip(0, 1)
