from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from backend.core.faces import FaceType
from backend.core.settings import SaehdSettings
from backend.core.settings.train import TrainColorTransfer
from backend.ops.color import COLOR_TRANSFERS
from backend.training.dataset import FaceCache
from backend.training.face_crop import FaceShape
from backend.training.loader import BatchLoader, RawBatch, recoloured, take
from backend.training.sampler import ALONE, EpochSampler, Share
from backend.training.synthetic import synthetic_faces


def numbered(count: int) -> FaceCache:
    """Faces whose pixels are their number."""
    images = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 8, 8, 3)).copy()
    return cache_of(images)


def coloured(count: int, seed: int) -> FaceCache:
    """Faces of random colours."""
    rng = np.random.default_rng(seed)
    low, high = rng.integers(0, 100, (2, count, 1, 1, 3))
    return cache_of((low + rng.random((count, 8, 8, 3)) * (high + 20)).astype(np.uint8))


def cache_of(images: np.ndarray) -> FaceCache:
    masks = np.zeros((len(images), 8, 8, 2), np.uint8)
    return FaceCache(images, masks, tuple(f"{i}.jpg" for i in range(len(images))), np.arange(len(images)))


def settings(batch_size: int, transfer: TrainColorTransfer = "none") -> SaehdSettings:
    return SaehdSettings(batch_size=batch_size, color_transfer=transfer, seed=11)


def batches(count: int, transfer: TrainColorTransfer, drawn: int = 0, share: Share = ALONE) -> list[RawBatch]:
    """Batches of 4 from two coloured sides."""
    src, dst = coloured(7, 1), coloured(5, 2)
    sides = ((src, EpochSampler(src.usable, 1, drawn)), (dst, EpochSampler(dst.usable, 2, drawn)))
    with BatchLoader(*sides, settings(4, transfer), share=share) as loader:
        return [loader.next() for _ in range(count)]


def test_loader_hands_out_in_order_and_counts() -> None:
    cache = numbered(6)
    expected = EpochSampler(np.arange(6), seed=1).draw(8)
    src, dst = EpochSampler(np.arange(6), seed=1), EpochSampler(np.arange(6), seed=2)
    with BatchLoader((cache, src), (cache, dst), settings(4)) as loader:
        first, second = loader.next(), loader.next()
    assert [*first.src.images[:, 0, 0, 0].tolist(), *second.src.images[:, 0, 0, 0].tolist()] == expected.tolist()
    assert first.drawn == (4, 4)
    assert second.drawn == (8, 8)
    assert first.dst.masks.shape == (4, 8, 8, 2)


@pytest.mark.parametrize("transfer", ["none", "rct", "sot"])
def test_shares_together_are_the_batch_of_one_process(transfer: TrainColorTransfer) -> None:
    whole = batches(3, transfer)
    parts = [batches(3, transfer, share=Share(rank, 2)) for rank in range(2)]
    for batch, *slices in zip(whole, *parts, strict=True):
        assert torch.equal(batch.src.images, torch.cat([part.src.images for part in slices]))
        assert torch.equal(batch.dst.images, torch.cat([part.dst.images for part in slices]))
        assert {part.drawn for part in slices} == {batch.drawn}


@pytest.mark.parametrize("transfer", ["lct", "idt", "sot"])
def test_recoloured_batches_go_on_where_they_stood(transfer: TrainColorTransfer) -> None:
    whole, rest = batches(4, transfer), batches(2, transfer, drawn=8)
    for expected, found in zip(whole[2:], rest, strict=True):
        assert torch.equal(expected.src.images, found.src.images)


def test_source_faces_take_the_colours_of_all_destination_faces_in_turn() -> None:
    dst = coloured(5, 2)
    used = []
    for before, after in zip(batches(5, "none"), batches(5, "lct"), strict=True):
        assert torch.equal(before.dst.images, after.dst.images)
        for face, result in zip(before.src.images.numpy(), after.src.images.numpy(), strict=True):
            candidates = [np.array_equal(result, recoloured("lct", 11, 0, face, wanted)) for wanted in dst.images]
            used.append(candidates.index(True))
    assert sorted(used[:5]) == sorted(used[5:10]) == list(range(5))


@pytest.mark.parametrize("channels", [1, 3])
def test_bytes_are_recoloured_as_floats_are(channels: int) -> None:
    rng = np.random.default_rng(3)
    face, reference = rng.integers(0, 256, (2, 16, 16, channels), np.uint8)
    result = recoloured("sot", 5, 9, face, reference // 2)
    rng = np.random.default_rng([5, 9])
    floats = COLOR_TRANSFERS["sot"](face * np.float32(1 / 255), reference // 2 * np.float32(1 / 255), None, rng)
    assert result.dtype == np.uint8
    assert np.abs(result - floats * 255).max() < 0.51


EVERYTHING: dict[str, Any] = {"color_clahe_chance": 50, "warp_to_landmarks": True, "color_transfer": "sot"}


def with_options(count: int, drawn: int = 0, share: Share = ALONE, **changes: Any) -> list[RawBatch]:
    """Batches of 4 with options that change faces before they are distorted."""
    shape = FaceShape(32, 3, FaceType.WHOLE)
    src, dst = synthetic_faces(shape, 30, 1), synthetic_faces(shape, 20, 2)
    sides = ((src, EpochSampler(src.usable, 1, drawn)), (dst, EpochSampler(dst.usable[:15], 2, drawn)))
    with BatchLoader(*sides, settings(4).model_copy(update=changes), share=share) as loader:
        return [loader.next() for _ in range(count)]


def tensors(batch: RawBatch) -> list[torch.Tensor]:
    found = [batch.src.images, batch.src.nodes, batch.dst.images, batch.dst.nodes]
    return [tensor for tensor in found if tensor is not None]


def test_prepared_batches_go_on_where_they_stood() -> None:
    whole, rest = with_options(4, **EVERYTHING), with_options(2, 8, **EVERYTHING)
    for expected, found in zip(whole[2:], rest, strict=True):
        assert len(tensors(found)) == 4
        for one, two in zip(tensors(expected), tensors(found), strict=True):
            assert torch.equal(one, two)


def test_shares_are_prepared_as_the_whole_is() -> None:
    whole = with_options(3, **EVERYTHING)
    parts = [with_options(3, share=Share(rank, 2), **EVERYTHING) for rank in range(2)]
    for batch, *slices in zip(whole, *parts, strict=True):
        for one, *two in zip(tensors(batch), *map(tensors, slices), strict=True):
            assert torch.equal(one, torch.cat(two))


def test_both_sides_are_equalised_in_part() -> None:
    plain, some = with_options(5), with_options(5, color_clahe_chance=50)
    for side in ("src", "dst"):
        pairs = [(getattr(one, side).images, getattr(two, side).images) for one, two in zip(plain, some, strict=True)]
        same = [torch.equal(one[i], two[i]) for one, two in pairs for i in range(4)]
        assert 3 < sum(same) < 17
    assert tensors(plain[0])[0].shape == (4, 32, 32, 3)
    assert plain[0].src.nodes is None


def test_each_face_brings_a_warp_grid_of_its_own() -> None:
    (batch,) = with_options(1, warp_to_landmarks=True)
    for side in (batch.src, batch.dst):
        assert side.nodes is not None
        assert side.nodes.shape == (4, 2, 65, 65)
        assert side.nodes.dtype == torch.float32
        assert (side.nodes[0] - side.nodes[1]).abs().max() > 0.01


def test_an_error_of_the_thread_reaches_the_caller() -> None:
    cache, broken = numbered(6), EpochSampler(np.array([99]), seed=1)
    with BatchLoader((cache, broken), (cache, broken), settings(2)) as loader, pytest.raises(IndexError):
        loader.next()


def test_take_copies() -> None:
    cache = numbered(4)
    side = take(cache, np.array([2, 0]))
    side.images.zero_()
    assert cache.images[2, 0, 0, 0] == 2
