"""Cartoon faces with exact landmarks, so that tests need no picture of anybody."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from backend.core.faces import Face, FaceType
from backend.ops.align import face_matrix, transform_points, warp_face
from backend.ops.pose import LANDMARKS_3D

Image = npt.NDArray[np.uint8]
Landmarks = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Person:
    """Colours of a drawn person, BGR 0..255."""

    skin: tuple[int, int, int] = (150, 180, 225)
    hair: tuple[int, int, int] = (30, 40, 60)
    eyes: tuple[int, int, int] = (120, 70, 30)
    lips: tuple[int, int, int] = (80, 70, 190)


ANNA = Person()
BRUNO = Person(skin=(95, 125, 170), hair=(20, 20, 20), eyes=(40, 90, 60), lips=(70, 60, 140))


def draw_face(size: int, rng: np.random.Generator, person: Person = ANNA) -> tuple[Image, Landmarks]:
    """Draw a head that looks about, with a mouth more or less open.

    Args:
        size: side of the square picture in px.
        rng: turn, place, size, expression and background come from it.
        person: whom to draw.

    Returns:
        (size, size, 3) uint8 BGR, and its (68, 2) float64 landmarks in px.
    """
    points = _posed(rng) * size * rng.uniform(0.0030, 0.0034) + size * rng.uniform([0.47, 0.5], [0.53, 0.56])
    image = _background(size, rng)
    brow = points[17:27].mean(axis=0)
    up = brow - points[8]
    crown = points[[0, 16, 19, 24]] + up * np.array([[0.25], [0.25], [0.55], [0.55]])
    _fill(image, np.vstack([points[:17], crown + up * 0.12]), person.hair, grow=1.06)
    _fill(image, np.vstack([points[:17], crown * 0.55 + points[[0, 16, 19, 24]] * 0.45]), person.skin)
    width = max(1, size // 60)
    for line in (points[17:22], points[22:27]):
        _stroke(image, line, person.hair, width * 2)
    shade = tuple(int(c * 0.75) for c in person.skin)
    _stroke(image, points[27:31], shade, width)
    _stroke(image, points[31:36], shade, width)
    for eye in (points[36:42], points[42:48]):
        _fill(image, eye, (245, 245, 245))
        reach = float(np.linalg.norm(eye[0] - eye[3]))
        _dot(image, eye.mean(axis=0), reach * 0.20, person.eyes)
        _dot(image, eye.mean(axis=0), reach * 0.09, (10, 10, 10))
    _fill(image, points[48:60], person.lips)
    _fill(image, points[60:68], (40, 25, 60))
    return image, points


def write_faceset(
    folder: Path,
    count: int,
    person: Person = ANNA,
    size: int = 128,
    face_type: FaceType = FaceType.WHOLE,
    seed: int = 0,
) -> list[Path]:
    """Write aligned faces with metadata, as extraction does: 00001_0.jpg ... in ``folder``. Returns the paths."""
    from backend.storage.face_file import write_face_image

    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for i in range(count):
        frame, landmarks = draw_face(size * 2, rng, person)
        matrix = face_matrix(landmarks, size, face_type)
        low, high = landmarks.min(axis=0), landmarks.max(axis=0)
        face = Face(
            source_filename=f"{i + 1:05d}.png",
            source_rect=np.array([*low, *high]).astype(np.int64),
            source_landmarks=landmarks,
            landmarks=transform_points(landmarks, matrix),
            image_to_face_mat=matrix,
            face_type=face_type,
            detector="drawn",
            landmarker="drawn",
        )
        path = folder / f"{i + 1:05d}_0.jpg"
        write_face_image(path, warp_face(frame, matrix, size), face, 92)
        paths.append(path)
    return paths


def _posed(rng: np.random.Generator) -> Landmarks:
    """The 68 points turned by a random yaw, pitch and roll, mouth opened, centred, (68, 2)."""
    shape = np.array(LANDMARKS_3D, dtype=np.float64)
    opening = rng.uniform(0, 9)
    shape[[55, 56, 57, 58, 59, 65, 66, 67], 1] += opening
    shape[6:11, 1] += opening * 0.6
    shape -= shape.mean(axis=0)
    yaw, pitch, roll = rng.uniform([-0.5, -0.2, -0.15], [0.5, 0.2, 0.15])
    turn, _ = cv2.Rodrigues(np.array([pitch, yaw, 0.0]))
    lean, _ = cv2.Rodrigues(np.array([0.0, 0.0, roll]))
    return (shape @ (lean @ turn).T)[:, :2]


def _background(size: int, rng: np.random.Generator) -> Image:
    coarse = rng.integers(60, 200, (4, 4, 3), dtype=np.uint8)
    return cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)


def _fill(image: Image, points: Landmarks, color: tuple[int, int, int], grow: float = 1.0) -> None:
    centre = points.mean(axis=0)
    hull = cv2.convexHull((((points - centre) * grow + centre) * 16).astype(np.int32))
    cv2.fillConvexPoly(image, hull, color, cv2.LINE_AA, shift=4)


def _stroke(image: Image, points: Landmarks, color: tuple[int, ...], width: int) -> None:
    cv2.polylines(image, [(points * 16).astype(np.int32)], False, color, width, cv2.LINE_AA, shift=4)


def _dot(image: Image, centre: Landmarks, radius: float, color: tuple[int, int, int]) -> None:
    place = tuple(int(v) for v in centre * 16)
    cv2.circle(image, place, max(8, int(radius * 16)), color, -1, cv2.LINE_AA, shift=4)
