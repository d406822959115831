"""Made-up faces and pictures for the tests of storage."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from backend.core.faces import Face, FaceType
from backend.storage.face_file import write_face_image


def make_face(source: str, seed: int = 0) -> Face:
    """A face with consistent landmarks and matrix."""
    rng = np.random.default_rng(seed)
    in_frame = rng.uniform(100, 300, (68, 2))
    angle, scale = rng.uniform(-0.5, 0.5), rng.uniform(0.2, 0.5)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    mat = np.hstack([turn, rng.uniform(-20, 20, (2, 1))])
    return Face(
        source_filename=source,
        source_rect=np.array([100, 100, 300, 300]),
        source_landmarks=in_frame,
        landmarks=in_frame @ turn.T + mat[:, 2],
        image_to_face_mat=mat,
        face_type=FaceType.WHOLE,
    )


def picture(side: int = 64, seed: int = 0) -> np.ndarray:
    """A smooth colour picture, (side, side, 3) uint8."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return cv2.resize(small, (side, side), interpolation=cv2.INTER_CUBIC)


def fill(folder: Path, count: int) -> list[str]:
    """Write faces 00001_0.jpg ... of the frames 00001.png ...; their names."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{number:05d}_0.jpg" for number in range(1, count + 1)]
    for number, name in enumerate(names):
        write_face_image(folder / name, picture(seed=number), make_face(f"{name[:5]}.png", number))
    return names


def names_in(folder: Path) -> list[str]:
    """Names of everything in a folder, hidden things too, sorted."""
    return sorted(path.name for path in folder.iterdir())
