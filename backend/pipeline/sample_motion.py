"""Moving a person of the sample project: the head turns in depth, breathes with the body, blinks and talks a little."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from backend.pipeline.sample_people import LEFT_EYE, MOUTH, NOSE, RIGHT_EYE, Float32, Layer, Person

PIVOT = (225.0, 172.0)
"""Where neck and head meet, in portrait pixels."""

AXIS_DEPTH = 24.0
"""Depth of the axis the head turns about, portrait pixels behind the tip of the cheek plane."""

COARSE = 4
"""The head's motion is worked out once per so many pixels and filled in between: it is smooth."""

STEPS = 4
"""Rounds of the search for the portrait pixel that lands on an output pixel; depth is smooth, so few are needed."""


@dataclass(frozen=True)
class Pose:
    """One moment: angles in degrees, shift in portrait pixels, blink and talk 0..1."""

    yaw_deg: float
    pitch_deg: float
    roll_deg: float
    shift_xy: tuple[float, float]
    scale: float
    blink: float
    talk: float


@dataclass(frozen=True)
class Shot:
    """A person in front of a wall, seen by a fixed camera.

    Attributes:
        person: who is seen.
        wall_bgr: (h, w, 3) float32 0..1, the background in output pixels.
        origin_xy: portrait pixel at the output's top left corner.
        zoom: output pixels per portrait pixel.
        mirrored: whether the portrait was mirrored.
        light: brightness at the left minus that at the right edge of the face, 0 for flat light.
    """

    person: Person
    wall_bgr: Float32
    origin_xy: tuple[float, float]
    zoom: float
    mirrored: bool
    light: float


def pose_at(time_s: float, phase: float) -> Pose:
    """Smooth motion: sums of slow waves, different for every phase."""

    def wave(period_s: float, offset: float) -> float:
        return float(np.sin(2 * np.pi * (time_s / period_s + offset + phase)))

    blink = max(0.0, 1 - abs((time_s + phase * 2) % 2.3 - 1.1) / 0.13)
    return Pose(
        yaw_deg=14 * wave(3.7, 0.0) + 4 * wave(1.9, 0.3),
        pitch_deg=7 * wave(2.9, 0.1) + 2 * wave(1.3, 0.6),
        roll_deg=4 * wave(4.3, 0.4),
        shift_xy=(5 * wave(4.1, 0.2), 3 * wave(2.3, 0.7)),
        scale=1 + 0.03 * wave(5.3, 0.5),
        blink=blink,
        talk=0.5 + 0.5 * wave(0.9, 0.0) * wave(2.7, 0.35),
    )


def render(shot: Shot, pose: Pose) -> npt.NDArray[np.uint8]:
    """One frame, (h, w, 3) uint8 BGR."""
    height, width = shot.wall_bgr.shape[:2]
    x, y = _portrait_grid(shot, (width, height), 1)
    frame = _over(shot.wall_bgr, shot.person.body, x - pose.shift_xy[0] * 0.3, y - pose.shift_xy[1] * 0.3)
    coarse_x, coarse_y = _portrait_grid(shot, (width // COARSE, height // COARSE), COARSE)
    head_x, head_y = _head_source(511 - coarse_x if shot.mirrored else coarse_x, coarse_y, pose)
    shade = 1 + shot.light * np.clip((head_x - PIVOT[0]) / 90, -1, 1) + 0.002 * pose.yaw_deg
    shade = shade.astype(np.float32)
    if shot.mirrored:
        head_x = 511 - head_x
    fine = [cv2.resize(part, (width, height)) for part in (head_x - coarse_x, head_y - coarse_y, shade)]
    frame = _over(frame, shot.person.head, x + fine[0], y + fine[1], fine[2])
    return (frame.clip(0, 1) * 255 + 0.5).astype(np.uint8)


def _portrait_grid(shot: Shot, size: tuple[int, int], step: int) -> tuple[Float32, Float32]:
    """Portrait pixels under the middles of blocks of step x step output pixels; size (w, h) counts blocks."""
    y, x = np.mgrid[0 : size[1], 0 : size[0]].astype(np.float32)
    middle = (step - 1) / 2
    return (x * step + middle) / shot.zoom + shot.origin_xy[0], (y * step + middle) / shot.zoom + shot.origin_xy[1]


def _over(under: Float32, layer: Layer, x: Float32, y: Float32, shade: Float32 | None = None) -> Float32:
    """Lay a layer, read at the given portrait pixels, over a picture."""
    color = cv2.remap(layer.color_bgr, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    alpha = cv2.remap(layer.alpha, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[..., None]
    if shade is not None:
        color = color * shade[..., None]
    return (under * (1 - alpha) + color * alpha).astype(np.float32)


def _head_source(x: Float32, y: Float32, pose: Pose) -> tuple[Float32, Float32]:
    """Portrait pixels of the head that land on the pixels x, y."""
    x, y = _unrolled(x, y, pose)
    source_x, source_y = x.copy(), y.copy()
    for _ in range(STEPS):
        turned_x, turned_y = _turned(source_x, source_y, pose)
        source_x += x - turned_x
        source_y += y - turned_y
    return _expression(source_x, source_y, pose)


def _unrolled(x: Float32, y: Float32, pose: Pose) -> tuple[Float32, Float32]:
    """Undo shift, scale and tilt about the neck."""
    angle = np.deg2rad(pose.roll_deg)
    cos, sin = np.float32(np.cos(angle) / pose.scale), np.float32(np.sin(angle) / pose.scale)
    dx, dy = x - PIVOT[0] - pose.shift_xy[0], y - PIVOT[1] - pose.shift_xy[1]
    return (PIVOT[0] + cos * dx + sin * dy).astype(np.float32), (PIVOT[1] - sin * dx + cos * dy).astype(np.float32)


def _turned(x: Float32, y: Float32, pose: Pose) -> tuple[Float32, Float32]:
    """Where a portrait pixel goes when the head turns: rotation of the point (x, y, depth), seen from far away."""
    depth = _depth(x, y) - AXIS_DEPTH
    yaw, pitch = np.deg2rad(pose.yaw_deg), np.deg2rad(pose.pitch_deg)
    dx, dy = x - PIVOT[0], y - 110.0
    neck = np.clip((188 - y) / 40, 0, 1)
    moved_x = dx * (np.cos(yaw) - 1) + depth * np.sin(yaw)
    moved_y = dy * (np.cos(pitch) - 1) - depth * np.sin(pitch)
    return (x + moved_x * neck).astype(np.float32), (y + moved_y * neck).astype(np.float32)


def _depth(x: Float32, y: Float32) -> Float32:
    """Depth of the head towards the camera in portrait pixels: a round head, cheeks, and the nose."""
    head = 62 * np.exp(-1.1 * (((x - 225) / 74) ** 2 + ((y - 108) / 88) ** 2))
    nose = 13 * np.exp(-(((x - NOSE[0]) / 10) ** 2) - ((y - NOSE[1]) / 15) ** 2)
    return (head + nose).astype(np.float32)


def _expression(x: Float32, y: Float32, pose: Pose) -> tuple[Float32, Float32]:
    """Blink by pressing the eyes together, talk by opening and narrowing the mouth."""
    out_x, out_y = x.copy(), y.copy()
    for eye in (LEFT_EYE, RIGHT_EYE):
        near = np.exp(-(((x - eye[0]) / 12) ** 2) - ((y - eye[1]) / 7) ** 2)
        out_y += 1.7 * pose.blink * (y - eye[1]) * near
    around = np.exp(-(((x - MOUTH[0]) / 26) ** 2) - ((y - MOUTH[1]) / 16) ** 2)
    out_y -= 0.30 * pose.talk * (y - MOUTH[1]) * around
    out_x += 0.16 * pose.talk * (x - MOUTH[0]) * around
    return out_x.astype(np.float32), out_y.astype(np.float32)
