from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from backend.core.faces import FaceType
from backend.ops.align import face_matrix, transform_points, warp_face
from backend.storage.image import write_image
from backend.training.face_crop import crop_matrix, prepare_face, read_picture
from tests.training.test_dataset import SHAPE, Item, aligned


@pytest.mark.parametrize("size", [64, 200])
def test_same_type_is_resized(size: int) -> None:
    image, face, frame = aligned(FaceType.WHOLE, size)
    picture, masks = prepare_face(image, face, SHAPE)
    direct = warp_face(frame, face_matrix(face.source_landmarks, 64, FaceType.WHOLE), 64)
    assert picture.shape == (64, 64, 3)
    assert masks.shape == (64, 64, 2)
    assert np.abs(picture.astype(int) - direct).mean() < 6
    assert 0.1 < (masks[..., 0] > 127).mean() < 0.5
    assert masks[..., 1].max() == 255
    assert not masks[..., 1][masks[..., 0] == 0].any()


def test_larger_type_is_cropped_anew() -> None:
    image, face, frame = aligned(FaceType.WHOLE, 256)
    picture, masks = prepare_face(image, face, replace(SHAPE, face_type=FaceType.FULL))
    direct = warp_face(frame, face_matrix(face.source_landmarks, 64, FaceType.FULL), 64)
    assert np.abs(picture.astype(int) - direct).mean() < 6
    own_image, own_face, _ = aligned(FaceType.FULL, 256)
    own = prepare_face(own_image, own_face, replace(SHAPE, face_type=FaceType.FULL))[1]
    assert np.abs(masks.astype(int) - own).mean() < 3


def test_gray_has_one_channel() -> None:
    image, face, _ = aligned(FaceType.WHOLE, 96)
    gray, _ = prepare_face(image, face, replace(SHAPE, channels=1))
    colour, _ = prepare_face(image, face, SHAPE)
    assert gray.shape == (64, 64, 1)
    assert np.array_equal(gray[..., 0], cv2.cvtColor(colour, cv2.COLOR_BGR2GRAY))


def test_applied_mask_replaces_the_hull() -> None:
    image, face, _ = aligned(FaceType.WHOLE, 96)
    mask = np.zeros((256, 256), np.uint8)
    mask[:, :128] = 255
    face = replace(face, xseg_mask=cv2.imencode(".png", mask)[1].reshape(-1))
    full = prepare_face(image, face, SHAPE)[1][..., 0]
    assert full[:, :31].min() == 255
    assert full[:, 33:].max() == 0


@pytest.mark.parametrize("face_type", [FaceType.WHOLE, FaceType.FULL])
@pytest.mark.parametrize("size", [256, 1024])
def test_large_pictures_are_decoded_smaller_and_come_out_alike(tmp_path: Path, face_type: FaceType, size: int) -> None:
    image, face, _ = aligned(FaceType.WHOLE, size)
    image = cv2.GaussianBlur(image, (0, 0), size / 100)
    path = tmp_path / "face.jpg"
    write_image(path, image)
    shape = replace(SHAPE, face_type=face_type)
    small, reduction = read_picture(Item(path, face), shape)
    assert reduction == (2 if size == 256 else 4)
    assert small.shape == (size // reduction, size // reduction, 3)
    picture, masks = prepare_face(small, face, shape, reduction)
    expected, expected_masks = prepare_face(image, face, shape)
    assert np.abs(picture.astype(int) - expected).mean() < 1
    assert np.array_equal(masks, expected_masks)


@pytest.mark.parametrize("zoom", [0.7, 1.3])
@pytest.mark.parametrize("face_type", [FaceType.WHOLE, FaceType.FULL])
def test_faces_come_larger_or_smaller_about_the_centre(face_type: FaceType, zoom: float) -> None:
    image, face, _ = aligned(FaceType.WHOLE, 256)
    shape = replace(SHAPE, face_type=face_type)
    plain, plain_masks = prepare_face(image, face, shape)
    zoomed, masks = prepare_face(image, face, replace(shape, zoom=zoom))
    about = np.array([[zoom, 0, (1 - zoom) * 31.5], [0, zoom, (1 - zoom) * 31.5]])
    within = slice(12, 52)
    for found, wanted in ((zoomed, plain), (masks, plain_masks)):
        moved = cv2.warpAffine(wanted, about, (64, 64), flags=cv2.INTER_CUBIC)
        apart, unmoved = (np.abs(found.astype(int) - other)[within, within].mean() for other in (moved, wanted))
        assert apart < min(6, 0.4 * unmoved)
    points = transform_points(face.landmarks, crop_matrix(face, replace(shape, zoom=zoom), (256, 256)))
    plain_points = transform_points(face.landmarks, crop_matrix(face, shape, (256, 256)))
    np.testing.assert_allclose(points - 32, (plain_points - 32) * zoom, atol=1e-6)
