"""How the sharpness that faces are sorted by relates to CPBD, on the faces of real clips. Prints what it finds (-s)."""

from __future__ import annotations

import sys

import cv2
import numpy as np
import pytest
from scipy.stats import spearmanr

from backend.core.settings import ExtractFacesSettings
from backend.ops.edge_sharpness import edge_sharpness, face_sharpness
from backend.ops.mask import hull_mask
from backend.pipeline import extract_faces
from backend.storage.image import read_image, write_image
from backend.storage.video import decode
from tests.ops.cpbd_reference import cpbd
from tests.pipeline.stage_bench import bench

EVERY = {"painting": 4, "address": 8, "concert": 9}
SIZES = (192, 256, 512)
BLURS = (0.0, 1.5, 3.0, 5.0)


@pytest.fixture(scope="module")
def faces(assets, tmp_path_factory):
    """(512, 512) gray pictures and the landmarks of the faces of the clips."""
    root = tmp_path_factory.mktemp("clips")
    project, ctx, _ = bench(root)
    frames_dir = project.side("src").frames_dir
    frames_dir.mkdir(parents=True, exist_ok=True)
    for clip, every in EVERY.items():
        for frame in decode(assets / "data" / f"{clip}.mp4"):
            if frame.index % every == 0:
                write_image(frames_dir / f"{clip}_{frame.index:05d}.png", frame.frame_bgr)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOOKALIKE_WEIGHTS", str(assets / "models"))
        extract_faces.run(ExtractFacesSettings(side="src", fill_gaps=0), ctx)
    records = project.side("src").faceset().records()
    return [(read_image(record.path, 1), record.face) for record in records]


def ranks(one, other) -> float:
    return float(spearmanr(one, other).statistic)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_sharpness_of_small_faces_follows_cpbd_and_of_large_ones_the_blur(faces):
    follows, sees, cpbd_sees = {}, {}, {}
    for size in SIZES:
        reference, exact, ours, added = [], [], [], []
        for picture, face in faces:
            small = picture if size == 512 else cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
            hull = hull_mask(small.shape, face.landmarks * size / 512, face.eyebrows_expand_mod).astype(np.uint8)
            reference.append(cpbd(small * hull))
            for blur in BLURS:
                gray = cv2.GaussianBlur(small, (0, 0), blur * size / 512) if blur else small
                exact.append(edge_sharpness(gray * hull))
                ours.append(face_sharpness(gray, hull))
                added.append(-blur)
        plain = slice(None, None, len(BLURS))
        follows[size], same = ranks(ours[plain], reference), ranks(exact[plain], reference)
        sees[size], cpbd_sees[size] = ranks(ours, added), ranks(exact, added)
        sys.stdout.write(
            f"\n{len(faces)} faces, {size} px: face_sharpness with CPBD {follows[size]:.2f}, "
            f"own CPBD with the reference {same:.4f}; "
            f"with added blur: face_sharpness {sees[size]:.2f}, CPBD {cpbd_sees[size]:.2f}"
        )
        assert same > 0.995
    assert min(follows[192], follows[256]) > 0.7
    assert sees[512] > cpbd_sees[512] + 0.3
