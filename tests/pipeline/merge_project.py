"""Destinations to merge: drawn faces in few small frames, and models that predict plain colours."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from backend.core.faces import Face, FaceType
from backend.core.provenance import Provenance
from backend.ops.align import face_matrix, transform_points, warp_face
from backend.ops.face_swap import SwapPrediction
from backend.storage.face_file import write_face_image
from backend.storage.workspace import Project, Workspace
from tests.drawn_faces import draw_face

RESOLUTION = 64
SIDE = 160
FRAMES = 6


class FlatModel:
    """Predicts one colour, and remembers what it was asked."""

    face_type = FaceType.FULL
    iteration = 7
    provenance = Provenance(model_class="saehd")
    precision = "fp32"
    skipped = ()
    weight_bytes = 1000

    def __init__(self, bgr: tuple[float, float, float] = (0, 0, 1), stamp: str = "7-a", resolution: int = RESOLUTION):
        self.bgr = bgr
        self.stamp = stamp
        self.resolution = resolution
        self.batches: list[tuple[int, float]] = []

    @property
    def device(self):
        import torch

        return torch.device("cpu")

    def predict_batch(self, crops, morph: float = 1.0) -> list[SwapPrediction]:
        self.batches.append((len(crops), morph))
        side = self.resolution
        mask = np.zeros((side, side), np.float32)
        mask[8:-8, 8:-8] = 1.0
        face = np.broadcast_to(np.array(self.bgr, np.float32), (side, side, 3))
        return [SwapPrediction((face * 0.9 + crop * 0.1).astype(np.float32), mask, mask) for crop in crops]


def add_face(folder: Path, name: str, frame: str, image: npt.NDArray[np.uint8], landmarks, track: int | None) -> None:
    """Write one aligned face."""
    matrix = face_matrix(landmarks, 128, FaceType.WHOLE)
    face = Face(
        source_filename=frame,
        source_rect=np.array([*landmarks.min(axis=0), *landmarks.max(axis=0)]).astype(np.int64),
        source_landmarks=landmarks,
        landmarks=transform_points(landmarks, matrix),
        image_to_face_mat=matrix,
        face_type=FaceType.WHOLE,
        track=track,
    )
    write_face_image(folder / name, warp_face(image, matrix, 128), face, 90)


def make_destination(root: Path, frames: int = FRAMES, tracked: bool = True) -> Project:
    """Two drawn people: the left one walks right by 4 px a frame, the right one stands. No face in the third frame.

    Tracks are 0 and 1; persons "anna" and "person 2".
    """
    root.mkdir(parents=True, exist_ok=True)
    project = Workspace(root).create("film", "Drawn people agreed.", "")
    side, rng = project.side("dst"), np.random.default_rng(3)
    side.aligned_dir.mkdir(parents=True, exist_ok=True)
    left, left_points = draw_face(SIDE, rng)
    right, right_points = draw_face(SIDE, rng)
    for index in range(frames):
        frame = np.full((SIDE, 2 * SIDE + 4 * frames, 3), 90, np.uint8)
        moved = 4 * index
        frame[:, moved : moved + SIDE] = left
        frame[:, -SIDE:] = right
        name = f"{index + 1:05d}"
        cv2.imwrite(str(side.frames_dir / f"{name}.png"), frame)
        if index == 2:
            continue
        points = [left_points + np.array([moved, 0]), right_points + np.array([frame.shape[1] - SIDE, 0])]
        for number, landmarks in enumerate(points):
            track = number if tracked else None
            add_face(side.aligned_dir, f"{name}_{number}.jpg", f"{name}.png", frame, landmarks, track)
    persons = {name: int(name[6]) for name in side.faceset().names()}
    side.faceset().set_persons(persons, "drawn", {0: "anna"})
    return project
