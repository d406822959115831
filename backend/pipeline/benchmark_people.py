"""What the faceset benchmark works on, made on the spot: a drawn person's clip, and facesets of that person.

The person is the derived one of the sample project; no picture shows anybody who lives.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from backend.core.faces import FaceType
from backend.environment import usable_cores
from backend.ops.pose import LANDMARKS_3D
from backend.pipeline.cores import one_thread_each
from backend.pipeline.face_maker import FaceMaker, FoundFace
from backend.pipeline.sample_motion import AXIS_DEPTH, PIVOT, Pose, Shot, pose_at, render
from backend.pipeline.sample_people import first_person, portrait, room, second_person
from backend.storage.image import write_image

WIDTH, HEIGHT = 1280, 720
FPS = 25
QUALITY = 90

_PORTRAIT = 511
_ZOOM = 2.4
_CLOSE = (640, 600)
_MIDDLE_XY = (286, 145)
"""Portrait pixel in the middle of the picture; the derived person stands mirrored."""
_LOOKS = 24
_FACE_SCALE, _FACE_XY, _FACE_DEPTH = 0.65, (225.0, 127.0), 51.0
"""Where the generic face lies on the portrait, in its pixels; depth as sample_motion has it."""
_TURN_Y = 110.0

UInt8 = npt.NDArray[np.uint8]
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Look:
    """The person at one moment: (h, w, 3) uint8 BGR, and the (68, 2) landmarks in its pixels."""

    picture_bgr: UInt8
    landmarks: Float64


def shot(size: tuple[int, int] = (WIDTH, HEIGHT)) -> Shot:
    """The drawn person in the middle of a picture of a size (w, h)."""
    origin = (_MIDDLE_XY[0] - size[0] / 2 / _ZOOM, _MIDDLE_XY[1] - size[1] / 2 / _ZOOM)
    return Shot(second_person(first_person(portrait())), room(*size), origin, _ZOOM, mirrored=True, light=0.1)


def write_clip(folder: Path, count: int) -> None:
    """Frames of 1280x720 as JPEG, 25 of them a second, in which the person moves."""
    folder.mkdir(parents=True, exist_ok=True)
    scene = shot()
    for number in range(count):
        frame = render(scene, pose_at(number / FPS, 0.0))
        write_image(folder / f"{number + 1:05d}.jpg", frame, QUALITY)


def clip_landmarks(count: int) -> Float64:
    """(count, 68, 2) frame pixels: where the landmarks of the generic face are in the clip."""
    return np.stack([_landmarks(pose_at(number / FPS, 0.0), (WIDTH, HEIGHT)) for number in range(count)])


def make_looks(seed: int) -> list[Look]:
    """24 looks of the person close up, turned by 30 degrees at most."""
    scene, rng = shot(_CLOSE), np.random.default_rng(seed)
    poses = [
        Pose(
            yaw_deg=float(rng.uniform(-30, 30)),
            pitch_deg=float(rng.uniform(-15, 15)),
            roll_deg=float(rng.uniform(-10, 10)),
            shift_xy=(0.0, 0.0),
            scale=float(rng.uniform(0.9, 1.1)),
            blink=float(rng.uniform(0, 1)),
            talk=float(rng.uniform(0, 1)),
        )
        for _ in range(_LOOKS)
    ]
    return [Look(render(scene, pose), _landmarks(pose, _CLOSE)) for pose in poses]


def write_faceset(folder: Path, looks: Sequence[Look], count: int, size: int) -> None:
    """Whole faces with all their data; looks repeat, but each face has its own place, colours, landmarks and blur.

    Args:
        folder: where to write.
        looks: what the person looks like.
        count: how many faces.
        size: side in pixels.
    """
    folder.mkdir(parents=True, exist_ok=True)
    maker = FaceMaker(FaceType.WHOLE, size, QUALITY)

    def write(number: int) -> None:
        rng = np.random.default_rng((size, number))
        look = looks[int(rng.integers(len(looks)))]
        landmarks = look.landmarks + rng.normal(0, 2, (1, 2)) + rng.normal(0, 0.5, (68, 2))
        box = np.concatenate([landmarks.min(axis=0), landmarks.max(axis=0)])
        name = f"{number + 1:05d}"
        face = maker.face(FoundFace(box, landmarks, float(rng.uniform(0.8, 1)), track=number // 100), f"{name}.jpg")
        if face is None:
            raise ValueError("a drawn face cannot be cut out")
        maker.write(_varied(look.picture_bgr, rng), face, folder / f"{name}_0.jpg")

    with one_thread_each(), ThreadPoolExecutor(usable_cores()) as pool:
        for _ in pool.map(write, range(count)):
            pass


def _varied(picture_bgr: UInt8, rng: np.random.Generator) -> UInt8:
    """Other light and colours, noise, and for every second face some blur."""
    picture = picture_bgr.astype(np.float32) * rng.uniform(0.7, 1.2, 3).astype(np.float32)
    picture += rng.uniform(-15, 15)
    if rng.random() < 0.5:
        picture = cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.5, 4)))
    picture += cv2.randn(np.empty_like(picture), 0, 2)
    return np.clip(picture, 0, 255).astype(np.uint8)


def _landmarks(pose: Pose, size: tuple[int, int]) -> Float64:
    """(68, 2) pixels of the generic face, turned and moved as sample_motion moves the portrait, in a picture (w, h)."""
    # The picture is mirrored in the end: mirrored here as well, the points keep their order.
    face = np.asarray(LANDMARKS_3D) * (-_FACE_SCALE, _FACE_SCALE, _FACE_SCALE)
    x, y = face[:, 0] + _FACE_XY[0] - PIVOT[0], face[:, 1] + _FACE_XY[1] - _TURN_Y
    depth = _FACE_DEPTH - face[:, 2] - AXIS_DEPTH
    yaw, pitch, roll = np.deg2rad((pose.yaw_deg, pose.pitch_deg, pose.roll_deg))
    x = x * np.cos(yaw) + depth * np.sin(yaw)
    y = y * np.cos(pitch) - depth * np.sin(pitch) + _TURN_Y - PIVOT[1]
    turned_x = (x * np.cos(roll) - y * np.sin(roll)) * pose.scale + PIVOT[0] + pose.shift_xy[0]
    turned_y = (x * np.sin(roll) + y * np.cos(roll)) * pose.scale + PIVOT[1] + pose.shift_xy[1]
    return (np.column_stack([_PORTRAIT - turned_x, turned_y]) - _MIDDLE_XY) * _ZOOM + np.array(size) / 2
