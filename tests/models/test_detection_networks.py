"""Networks whose weights have to be downloaded: with the optional assets, or with random weights."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from backend.core.faces import Detection
from backend.models.detection.build import DetectorOptions, LandmarkerOptions, build_detector, build_landmarker
from backend.models.detection.fan import heatmap_points, sharp_points
from backend.models.detection.find import find_faces, turn_back
from backend.models.detection.s3fd import _decoded
from backend.storage.weights import obtain
from tests.models.detection_tools import EYES, PORTRAIT_BOX, portrait, random_weights

PORTRAIT = Detection(np.array(PORTRAIT_BOX, np.float32), 0.9)


def test_facemesh_on_the_portrait(assets: Path) -> None:
    mesh = build_landmarker("facemesh", obtain("facemesh", assets / "models"))
    (detection,) = build_detector("mtcnn", obtain("mtcnn", assets)).detect(portrait())
    landmarks = mesh.landmarks(portrait(), detection)
    assert landmarks.shape == (68, 2)
    np.testing.assert_allclose([landmarks[36:42].mean(axis=0), landmarks[42:48].mean(axis=0)], EYES, atol=4)
    assert landmarks[0, 0] < landmarks[36, 0] < landmarks[45, 0] < landmarks[16, 0]
    assert landmarks[27, 1] < landmarks[33, 1] < landmarks[51, 1] < landmarks[57, 1] < landmarks[8, 1]
    without_points = mesh.landmarks(portrait(), PORTRAIT)
    assert np.linalg.norm(without_points - landmarks, axis=1).mean() < 3


def test_facemesh_follows_a_tilted_head(assets: Path) -> None:
    mesh = build_landmarker("facemesh", obtain("facemesh", assets / "models"))
    detector = build_detector("mtcnn", obtain("mtcnn", assets))
    turn = cv2.getRotationMatrix2D((223, 120), 25, 1.0)
    tilted = cv2.warpAffine(portrait(), turn, (512, 512))
    plain = mesh.landmarks(portrait(), detector.detect(portrait())[0])
    found = mesh.landmarks(tilted, detector.detect(tilted)[0])
    assert np.linalg.norm(found - (plain @ turn[:, :2].T + turn[:, 2]), axis=1).mean() < 2


def test_blazeface_finds_the_portrait(assets: Path) -> None:
    detector = build_detector("blazeface", obtain("blazeface", assets / "models"))
    (found,) = detector.detect(portrait())
    left, top, right, bottom = found.box_xyxy
    assert left < EYES[0][0] < EYES[1][0] < right
    assert top < EYES[0][1] < bottom
    assert found.points5 is None
    wide = np.zeros((512, 1400, 3), np.uint8)
    wide[:, 800:1312] = portrait()
    (shifted,) = detector.detect(wide)
    np.testing.assert_allclose(shifted.box_xyxy - (800, 0, 800, 0), found.box_xyxy, atol=12)
    assert detector.detect(np.zeros((300, 900, 3), np.uint8)) == []


@pytest.mark.parametrize("quarter", [0, 1, 2, 3])
def test_blazeface_leaves_lying_faces_to_the_turned_frame(assets: Path, quarter: int) -> None:
    detector = build_detector("blazeface", obtain("blazeface", assets / "models"))
    landmarker = build_landmarker("facemesh", obtain("facemesh", assets / "models"))
    lying = np.ascontiguousarray(np.rot90(portrait(), quarter))
    assert bool(detector.detect(lying)) == (quarter == 0)
    ((_, points),) = find_faces(lying, detector, landmarker)
    eyes = turn_back(points, quarter, portrait().shape[:2])[36:48].mean(axis=0)
    assert np.linalg.norm(eyes - np.mean(EYES, axis=0)) < 12


@pytest.mark.slow
def test_s3fd_decodes_like_face_alignment(tmp_path: Path) -> None:
    from face_alignment.detection.sfd.detect import detect
    from face_alignment.detection.sfd.net_s3fd import s3fd

    net = s3fd()
    random_weights(net, tmp_path / "s3fd.pth")
    detector = build_detector("s3fd", (tmp_path / "s3fd.pth",), DetectorOptions(min_face_px=16, score=0.0))
    for found in detector.detect(portrait()):
        assert found.box_xyxy.shape == (4,)
    small = cv2.resize(portrait(), (256, 256))
    expected = np.asarray(detect(net.eval(), small[..., ::-1].copy(), "cpu")[0])
    batch = torch.from_numpy(small.astype(np.float32) - np.float32((104, 117, 123))).permute(2, 0, 1)[None]
    with torch.inference_mode():
        boxes, scores = _decoded(net(batch))
    np.testing.assert_allclose(boxes, expected[:, :4], atol=1e-3)
    np.testing.assert_allclose(scores, expected[:, 4], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "file"), [("fan2d", "2DFAN4-11f355bf06.pth.tar"), ("fan3d", "3DFAN4-7835d9f11d.pth.tar")]
)
def test_fan_agrees_with_face_alignment(name: str, file: str, tmp_path: Path) -> None:
    import face_alignment
    from face_alignment.models import FAN

    (tmp_path / "checkpoints").mkdir()
    path = tmp_path / "checkpoints" / file
    random_weights(FAN(4), path)
    found = build_landmarker(name, (path,), LandmarkerOptions(subpixel=False)).landmarks(portrait(), PORTRAIT)
    kind = face_alignment.LandmarksType.TWO_D if name == "fan2d" else face_alignment.LandmarksType.TWO_HALF_D
    hub = torch.hub.get_dir()
    try:
        torch.hub.set_dir(str(tmp_path))
        theirs = face_alignment.FaceAlignment(
            kind, device="cpu", flip_input=False, face_detector="folder", compile=False
        )
    finally:
        torch.hub.set_dir(hub)
    image = np.ascontiguousarray(portrait()[..., ::-1])
    (expected,) = theirs.get_landmarks_from_image(image, detected_faces=[[*PORTRAIT_BOX, 0.9]])
    assert found.shape == (68, 2)
    assert np.median(np.linalg.norm(found - expected, axis=1)) < 1.5
    sharp = build_landmarker(name, (path,)).landmarks(portrait(), PORTRAIT)
    assert 0 < np.linalg.norm(sharp - found, axis=1).max() < 4


def test_heatmap_peaks() -> None:
    maps = np.zeros((68, 64, 64), np.float32)
    maps[:, 20, 30] = 1.0
    maps[0, 20, 31], maps[0, 19, 30] = 0.5, 0.5
    maps[1] = 0.0
    maps[1, 0, 63] = 1.0
    points = heatmap_points(maps)
    np.testing.assert_allclose(points[0], (30.75, 20.25))
    np.testing.assert_allclose(points[1], (63.5, 0.5))
    np.testing.assert_allclose(points[2], (30.5, 20.5))


def spots(centres: np.ndarray, noise: float, rng: np.random.Generator, height: float = 0.8) -> np.ndarray:
    """(68, 64, 64) heatmaps as FAN learned them: Gaussians about centres, counted from the edge, with noise."""
    y, x = np.mgrid[:64, :64] + 0.5
    squares = (x - centres[:, 0, None, None]) ** 2 + (y - centres[:, 1, None, None]) ** 2
    maps = height * (np.exp(-squares / (2 * 1.75**2)) + rng.normal(0, noise, (len(centres), 64, 64)))
    return maps.astype(np.float32)


def test_sharp_points_find_the_centre_between_pixels(rng: np.random.Generator) -> None:
    centres = rng.uniform(5, 59, (68, 2))
    clean = np.linalg.norm(sharp_points(spots(centres, 0.0, rng)) - centres, axis=1)
    assert clean.max() < 0.01
    maps = spots(centres, 0.025, rng)
    sharp, quarter = (
        np.linalg.norm(decode(maps) - centres, axis=1).mean() for decode in (sharp_points, heatmap_points)
    )
    assert sharp < quarter / 4
    assert quarter > 0.15


def test_sharp_points_at_the_rim_and_on_empty_maps(rng: np.random.Generator) -> None:
    maps = np.zeros((68, 64, 64), np.float32)
    maps[1:] = rng.normal(0, 1, (67, 64, 64))
    maps[2, 0, 63] = 50.0
    points = sharp_points(maps)
    assert np.isfinite(points).all()
    np.testing.assert_allclose(points[2], (63.5, 0.5))
    assert np.abs(points - heatmap_points(maps)).max() <= 1.25
