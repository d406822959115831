"""Masks of the eyes and of the mouth, from landmarks to batches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from backend.core.faces import FaceType
from backend.ops.mask import eyes_area, mouth_area
from backend.training import lookup
from backend.training.augment import Augmenter, SideOptions, augment_side, plain, random_affine
from backend.training.dataset import load_faces
from backend.training.face_crop import FaceShape, prepare_face
from backend.training.loader import RawBatch, RawSide, take
from backend.training.lookup import Distortion, look_up
from backend.training.synthetic import synthetic_faces
from tests.training.test_dataset import SHAPE, aligned, budget, items

CPU = torch.device("cpu")
APART = replace(SHAPE, parts_apart=True)


def weighted_centre(mask: np.ndarray) -> np.ndarray:
    """(x, y) of a mask's middle."""
    rows, columns = np.indices(mask.shape)
    return np.array([(mask * columns).sum(), (mask * rows).sum()]) / mask.sum()


def test_areas_lie_on_their_landmarks_and_grow_by_a_fortieth() -> None:
    points = np.zeros((68, 2))
    points[36:42] = [(60, 100), (70, 92), (80, 92), (90, 100), (80, 108), (70, 108)]
    points[42:48] = points[36:42] + np.array([100, 0])
    turns = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    points[48:60] = np.column_stack([120 + 30 * np.cos(turns), 180 + 12 * np.sin(turns)])
    eyes, mouth = eyes_area((256, 256), points), mouth_area((256, 256), points)
    assert eyes[100, 75] == eyes[100, 175] == mouth[180, 120] == pytest.approx(1, abs=1e-3)
    assert np.allclose(weighted_centre(eyes), (125, 100), atol=0.6)
    assert np.allclose(weighted_centre(mouth), (120, 180), atol=0.6)
    assert eyes[:, 115:135].max() == 0
    column = mouth[:, 120]
    assert (column > 0.5).sum() == pytest.approx(24 + 6, abs=2)
    assert (column > 0).sum() == pytest.approx(24 + 6 + 16, abs=3)


def test_faces_have_four_masks_when_parts_are_apart() -> None:
    image, face, _ = aligned(FaceType.WHOLE, 96)
    picture, masks = prepare_face(image, face, APART)
    plain_picture, plain_masks = prepare_face(image, face, SHAPE)
    assert np.array_equal(picture, plain_picture)
    assert masks.shape == (64, 64, 4)
    assert np.array_equal(masks[..., :2], plain_masks)
    scale = 64 / 96
    for plane, group in ((2, range(36, 48)), (3, range(48, 60))):
        middle = face.landmarks[list(group)].mean(0) * scale
        assert np.allclose(weighted_centre(masks[..., plane].astype(float)), middle - 0.5, atol=2.5)
        assert 200 < masks[..., plane].max() <= 255
    assert bool((masks[..., 2:] <= masks[..., :1]).all())
    assert (SHAPE.bytes_per_face, APART.bytes_per_face) == (64 * 64 * 5, 64 * 64 * 7)


def test_parts_follow_the_crop_of_a_larger_face() -> None:
    image, face, _ = aligned(FaceType.WHOLE, 256)
    own_image, own_face, _ = aligned(FaceType.FULL, 256)
    shape = replace(APART, face_type=FaceType.FULL)
    masks, own = prepare_face(image, face, shape)[1], prepare_face(own_image, own_face, shape)[1]
    assert np.abs(masks.astype(int) - own).mean() < 3
    assert masks[..., 2].sum() == pytest.approx(own[..., 2].sum(), rel=0.05)


@pytest.mark.parametrize("mapped", [False, True])
def test_caches_hold_them(tmp_path: Path, mapped: bool) -> None:
    faces = items(tmp_path / "src", 4)
    room = replace(budget(tmp_path), memory_bytes=1) if mapped else budget(tmp_path)
    cache, _ = load_faces(faces, faces, APART, room)
    assert cache.masks.shape == (4, 64, 64, 4)
    assert load_faces(faces, faces, SHAPE, room)[0].masks.shape == (4, 64, 64, 2)
    batch = plain(take(cache, np.arange(2)), CPU)
    assert batch.eyes is not None
    assert batch.mouth is not None
    assert torch.equal((batch.mouth[1, 0] * 255).round().to(torch.uint8), torch.from_numpy(cache.masks[1, ..., 3]))
    assert plain(RawSide(torch.from_numpy(cache.images), torch.from_numpy(cache.masks[..., :2])), CPU).eyes is None


def test_they_move_with_the_target() -> None:
    shape = FaceShape(64, 3, FaceType.WHOLE, parts_apart=True)
    cache = synthetic_faces(shape, 4, seed=1)
    assert cache.masks.shape == (4, 64, 64, 4)
    assert np.array_equal(cache.masks[..., 1], cache.masks[..., 2:].max(axis=-1))
    raw = take(cache, np.arange(4))
    side = augment_side(raw, SideOptions(flip=True), torch.Generator().manual_seed(2), CPU)
    assert side.eyes_mouth is not None
    assert side.eyes is not None
    assert side.mouth is not None
    assert torch.equal(torch.maximum(side.eyes, side.mouth), side.eyes_mouth)
    unmoved = plain(raw, CPU).eyes
    assert unmoved is not None
    assert not torch.equal(side.eyes, unmoved)
    augmenter = Augmenter.__new__(Augmenter)
    augmenter._last = (side, side)
    again = augmenter.again()[0]
    assert again.eyes is side.eyes
    assert again.warped is side.target


def test_the_cpu_finds_what_a_gpu_finds() -> None:
    cache = synthetic_faces(FaceShape(64, 3, FaceType.WHOLE, parts_apart=True), 4, seed=1)
    raw = take(cache, np.arange(4))
    by = Distortion(random_affine(4, True, torch.Generator().manual_seed(3)))
    found, wanted = look_up(raw.images, raw.masks, by, CPU), lookup._on_device(raw.images, raw.masks, by, CPU)
    assert len(found.masks) == len(wanted.masks) == 4
    for one, two in zip(found.masks, wanted.masks, strict=True):
        assert one.shape == two.shape == (4, 1, 64, 64)
        assert float((one - two).abs().max()) < 0.51 / 255


def test_two_masks_stay_two() -> None:
    cache = synthetic_faces(FaceShape(32, 1, FaceType.FULL), 4, seed=1)
    raw = take(cache, np.arange(4))
    assert raw.masks.shape == (4, 32, 32, 2)
    batch = RawBatch(raw, raw, (4, 4))
    side = augment_side(batch.src, SideOptions(), torch.Generator().manual_seed(2), CPU)
    assert side.eyes is None
    assert side.mouth is None
    assert side.eyes_mouth is not None
