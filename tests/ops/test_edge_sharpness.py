from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy.stats import spearmanr

from backend.ops.align import transform_points, warp_face
from backend.ops.edge_sharpness import edge_sharpness, face_sharpness
from backend.ops.mask import hull_mask
from backend.storage.face_file import read_face
from backend.storage.image import read_image
from tests.ops.cpbd_reference import cpbd


def texture(rng: np.random.Generator, side: int = 256) -> np.ndarray:
    coarse = rng.integers(40, 220, (side // 16, side // 16), dtype=np.uint8)
    return cv2.resize(coarse, (side, side), interpolation=cv2.INTER_NEAREST)


@pytest.mark.parametrize("sigma", [0.3, 0.8, 1.2, 2.5])
def test_equals_the_reference_on_a_drawn_texture(rng, sigma):
    image = cv2.GaussianBlur(texture(rng), (0, 0), sigma)
    assert edge_sharpness(image) == pytest.approx(cpbd(image), abs=0.005)


@pytest.mark.parametrize("shape", [(200, 130), (64, 300)])
def test_equals_the_reference_with_blocks_left_over_and_a_black_rim(rng, shape):
    image = np.zeros(shape, np.uint8)
    inner = cv2.resize(texture(rng), (shape[1] - 20, shape[0] - 9))
    image[4:-5, 15:-5] = inner
    assert 0 < edge_sharpness(image) == pytest.approx(cpbd(image), abs=0.01)


def test_ranks_the_golden_faces_as_the_reference_does(golden):
    ours, theirs = [], []
    for path in sorted((golden / "dfl_faceset").glob("*.jpg")):
        gray, face = read_image(path, 1), read_face(path)
        masked = gray * hull_mask(gray.shape, face.landmarks, face.eyebrows_expand_mod).astype(np.uint8)
        for sigma in (0, 0.7, 1.4):
            image = cv2.GaussianBlur(masked, (0, 0), sigma) if sigma else masked
            ours.append(edge_sharpness(image))
            theirs.append(cpbd(image))
    assert spearmanr(ours, theirs).statistic > 0.995
    assert np.abs(np.subtract(ours, theirs)).max() < 0.02


def test_face_sharpness_sees_added_blur_better_than_the_reference(golden):
    added, ours, theirs = [], [], []
    for path in sorted((golden / "dfl_faceset").glob("*.jpg")):
        gray, face = read_image(path, 1), read_face(path)
        hull = hull_mask(gray.shape, face.landmarks, face.eyebrows_expand_mod).astype(np.uint8)
        for sigma in (0.0, 0.8, 1.5, 3.0):
            image = cv2.GaussianBlur(gray, (0, 0), sigma) if sigma else gray
            added.append(-sigma)
            ours.append(face_sharpness(image, hull))
            theirs.append(edge_sharpness(image * hull))
    unblurred = slice(None, None, 4)
    assert spearmanr(ours, added).statistic > max(spearmanr(theirs, added).statistic, 0.75)
    assert spearmanr(ours[unblurred], theirs[unblurred]).statistic > 0.6


@pytest.fixture(scope="module")
def real_faces(assets):
    """(gray, hull, sigma of an added blur) of 34 full faces of three clips at 256 px, each three times."""
    data = np.load(assets / "data" / "golden" / "dfl_alignment.npz")
    matrices = data["mat_256"][:, data["types"].tolist().index("full")]
    frames = {clip: clip_frames(assets / "data" / f"{clip}.mp4") for clip in set(data["clip"].tolist())}
    faces = []
    for clip, frame, landmarks, matrix in zip(data["clip"], data["frame"], data["landmarks"], matrices, strict=True):
        crop = warp_face(frames[clip][frame], matrix, 256, cv2.INTER_LANCZOS4)
        hull = hull_mask((256, 256), transform_points(landmarks, matrix), 1.0).astype(np.uint8)
        gray = cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY)
        faces += [(cv2.GaussianBlur(gray, (0, 0), sigma) if sigma else gray, hull, sigma) for sigma in (0.0, 0.7, 1.4)]
    return faces


def clip_frames(path):
    clip, frames = cv2.VideoCapture(str(path)), []
    while (read := clip.read())[0]:
        frames.append(read[1])
    return frames


def test_rank_correlations_with_the_reference_on_real_faces(real_faces):
    exact = [edge_sharpness(gray * hull) for gray, hull, _ in real_faces]
    blackened = [cpbd(gray * hull) for gray, hull, _ in real_faces]
    whole = [cpbd(gray) for gray, _, _ in real_faces]
    ours = [face_sharpness(gray, hull) for gray, hull, _ in real_faces]
    unblurred = [-sigma for _, _, sigma in real_faces]
    assert spearmanr(exact, blackened).statistic > 0.999
    assert spearmanr(ours, whole).statistic == pytest.approx(0.94, abs=0.02)
    assert spearmanr(ours, blackened).statistic == pytest.approx(0.61, abs=0.04)
    assert spearmanr(ours, unblurred).statistic == pytest.approx(0.62, abs=0.04)
    assert spearmanr(blackened, unblurred).statistic == pytest.approx(0.15, abs=0.04)


def test_noise_and_the_rim_of_the_mask_do_not_make_a_dim_face_sharp(rng):
    hull = np.zeros((256, 256), np.uint8)
    cv2.circle(hull, (128, 128), 90, 1, -1)
    dim = np.clip(20 + rng.normal(0, 1.0, hull.shape), 0, 255).astype(np.uint8)
    assert edge_sharpness(dim * hull) > 0.5
    assert face_sharpness(dim, hull) == 0
    assert face_sharpness(cv2.GaussianBlur(texture(rng), (0, 0), 0.5), hull) > 0.3


def test_nothing_to_see():
    assert edge_sharpness(np.zeros((128, 128), np.uint8)) == 0
    assert edge_sharpness(np.full((128, 128), 90, np.uint8)) == 0
    assert edge_sharpness(np.arange(900, dtype=np.uint8).reshape(30, 30)) == 0
    assert face_sharpness(np.full((128, 128), 90, np.uint8), np.zeros((128, 128), np.uint8)) == 0
