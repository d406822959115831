"""A project of drawn faces whose frames can be corrected by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from backend.core.faces import FaceType
from backend.pipeline.face_maker import FaceMaker, FoundFace
from backend.pipeline.fix_faces import face_box
from backend.storage.image import write_image
from backend.storage.workspace import Project, Workspace
from tests.drawn_faces import draw_face

SIZE = 240


def make_fix_project(root: Path, frames: int = 5, faceless: tuple[int, ...] = (2,)) -> Project:
    """Project "film": drawn frames 00001.png ..., each with its face 00001_0.jpg except those numbered from 0."""
    project = Workspace(root).create("film", "Drawn people agreed.")
    side = project.side("dst")
    side.aligned_dir.mkdir(parents=True)
    rng = np.random.default_rng(3)
    maker = FaceMaker(FaceType.WHOLE, 96, 90)
    for number in range(frames):
        image, landmarks = draw_face(SIZE, rng)
        name = f"{number + 1:05d}"
        write_image(side.frames_dir / f"{name}.png", image)
        if number not in faceless:
            found = FoundFace(face_box(landmarks), landmarks, 0.5 + number / 10, track=4, detector="drawn")
            face = maker.face(found, f"{name}.png")
            assert face is not None
            maker.write(image, face, side.aligned_dir / f"{name}_0.jpg")
    return project
