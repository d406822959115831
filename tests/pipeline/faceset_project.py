"""A project with drawn faces, for the tests of the tools that work on whole facesets."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from backend.core.faces import Face, FaceType
from backend.ops.align import face_matrix, transform_points
from backend.ops.recrop import cut
from backend.pipeline.context import StageContext
from backend.storage.face_file import write_face_image
from backend.storage.image import write_image
from backend.storage.workspace import Project, SideFiles, Workspace
from tests.drawn_faces import draw_face


class Events:
    """What a stage reported."""

    def __init__(self) -> None:
        self.all: list[tuple[str, dict]] = []

    def __call__(self, kind: str, data: dict) -> None:
        self.all.append((kind, data))

    def warnings(self) -> list[str]:
        return [data["message"] for kind, data in self.all if kind == "log" and data["level"] == "warning"]


def make_project(folder: Path) -> Project:
    return Workspace(folder / "workspace").create("film", "Drawn people agreed.")


def context(project: Project, name: str = "job", **more) -> StageContext:
    job_dir = project.jobs_dir / name
    job_dir.mkdir(parents=True, exist_ok=True)
    return StageContext(project=project, job_dir=job_dir, **({"emit": Events()} | more))


def stop_after(checks: int):
    """A stop wish that comes after so many looks."""
    left = [checks]

    def asked() -> bool:
        left[0] -= 1
        return left[0] < 0

    return asked


def fill_side(side: SideFiles, count: int = 3, size: int = 128, face_type: FaceType = FaceType.WHOLE) -> list[Path]:
    """Frames 00001.png ... of 300 px and their faces 00001_0.jpg ...; the paths of the faces."""
    rng = np.random.default_rng(5)
    side.aligned_dir.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(1, count + 1):
        frame, landmarks = draw_face(300, rng)
        write_image(side.frames_dir / f"{number:05d}.png", frame)
        paths.append(side.aligned_dir / f"{number:05d}_0.jpg")
        write_drawn(paths[-1], frame, landmarks, size, face_type)
    return paths


def write_drawn(path: Path, frame: np.ndarray, landmarks: np.ndarray, size: int, face_type: FaceType, **more) -> Face:
    """Cut a face out of a frame and write it, as extraction does."""
    matrix = face_matrix(landmarks, size, face_type)
    facts = {
        "source_filename": f"{path.stem.partition('_')[0]}.png",
        "source_rect": np.array([*landmarks.min(axis=0), *landmarks.max(axis=0)]).astype(np.int64),
        "source_landmarks": landmarks,
        "landmarks": transform_points(landmarks, matrix),
        "image_to_face_mat": matrix,
        "face_type": face_type,
        "detector": "drawn",
        "landmarker": "drawn",
    }
    face = Face(**(facts | more))
    write_face_image(path, cut(frame, matrix, size), face, 95)
    return face


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Name -> content of the visible files of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name[0] != "."}
