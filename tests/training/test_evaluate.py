from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from backend.core.faces import FaceType
from backend.models.base import FaceSwapModel, Reconstruction, SwapOutput
from backend.ops.pose import LANDMARKS_3D
from backend.training.dataset import FaceCache
from backend.training.evaluate import BEST_PSNR_DB, held_out_ssim, rebuild_score, rebuild_scores
from backend.training.swap_quality import expression_error, jitter, pose_error_deg

CPU = torch.device("cpu")
SIDE = 64


class Mirror(FaceSwapModel):
    """Gives back what it sees, moved by so many pixels to the right, with a given mask."""

    def __init__(self, shift: int = 0) -> None:
        super().__init__()
        self.resolution, self.channels, self.face_type = SIDE, 3, FaceType.WHOLE
        self.shift = shift

    def autoencode(self, src: Tensor, dst: Tensor, with_swap: bool = False) -> Reconstruction:
        return Reconstruction(*(t for side in (src, dst) for t in (self.moved(side), self.moved(mask_of(len(side))))))

    def swap(self, dst: Tensor, morph: float = 1.0) -> SwapOutput:
        return SwapOutput(self.moved(dst), mask_of(len(dst)), mask_of(len(dst)))

    def parts(self) -> dict[str, nn.Module]:
        return {}

    def moved(self, images: Tensor) -> Tensor:
        return torch.roll(images, self.shift, dims=3)


def mask_of(count: int) -> Tensor:
    mask = torch.zeros(count, 1, SIDE, SIDE)
    mask[:, :, 12:52, 16:48] = 1
    return mask


def cache_of(count: int, seed: int) -> FaceCache:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, SIDE // 4, SIDE // 4, 3), np.uint8).repeat(4, 1).repeat(4, 2)
    masks = np.repeat((mask_of(count).permute(0, 2, 3, 1).numpy() * 255).astype(np.uint8), 2, axis=3)
    return FaceCache(images, masks, tuple(str(i) for i in range(count)), np.arange(count))


def scores_of(shift: int, on_faces: Any = lambda done: None):
    src, dst = cache_of(9, 1), cache_of(3, 2)
    return rebuild_scores(Mirror(shift), (src, src.usable), (dst, dst.usable), CPU, on_faces)


def test_a_perfect_network_has_perfect_figures() -> None:
    src, dst = scores_of(0)
    assert (len(src), len(dst)) == (9, 3)
    for score in (*src, *dst):
        assert score.ssim == score.ssim_inside == pytest.approx(1, abs=1e-6)
        assert score.psnr_db == BEST_PSNR_DB
        assert score.mask_iou == 1
        assert score.sharpness == pytest.approx(1)


def test_a_shifted_face_is_worse_in_every_figure() -> None:
    src, _ = scores_of(8)
    for score in src:
        assert score.ssim_inside < score.ssim < 0.7
        assert score.psnr_db < 15
        assert score.mask_iou == pytest.approx(24 / 40)


def test_a_blurred_face_loses_sharpness() -> None:
    target = np.random.default_rng(0).random((SIDE, SIDE, 3), np.float32)
    mask = np.ones((SIDE, SIDE, 1), np.float32)
    soft = cv2.GaussianBlur(target, (0, 0), 3)
    kept = rebuild_score(target, soft, mask, mask).sharpness
    assert kept is not None
    assert kept < 0.9


def test_an_empty_mask_breaks_nothing() -> None:
    target = np.random.default_rng(0).random((SIDE, SIDE, 1), np.float32)
    nothing = np.zeros((SIDE, SIDE, 1), np.float32)
    score = rebuild_score(target, target[::-1], nothing, nothing)
    assert (score.mask_iou, score.sharpness) == (1, None)
    assert rebuild_score(target, target, nothing, nothing + 1).mask_iou == 0


def test_held_out_ssim_is_the_mean_of_the_scores_and_leaves_the_mode() -> None:
    model, src, dst = Mirror(3), cache_of(9, 1), cache_of(3, 2)
    model.train()
    found = held_out_ssim(model, (src, src.usable), (dst, dst.usable[:0]), CPU)
    assert model.training
    assert found["ssim_dst"] is found["ssim_inside_dst"] is None
    each = scores_of(3)[0]
    assert found["ssim_src"] == pytest.approx(np.mean([s.ssim for s in each]))
    assert found["ssim_inside_src"] == pytest.approx(np.mean([s.ssim_inside for s in each]))


def test_progress_counts_faces_and_may_leave() -> None:
    told: list[int] = []
    scores_of(0, told.append)
    assert told == [11, 12]

    def leave(done: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        scores_of(0, leave)


def head(yaw_deg: float = 0.0, roll_deg: float = 0.0, opening: float = 0.0) -> np.ndarray:
    """Landmarks of a turned head in a crop of 256 px, before the camera that poses assume."""
    points = np.array(LANDMARKS_3D)
    points[[55, 56, 57, 58, 59, 65, 66, 67], 1] += opening
    yaw, roll = np.radians([yaw_deg, roll_deg])
    turned = points @ np.array([[np.cos(yaw), 0, -np.sin(yaw)], [0, 1, 0], [np.sin(yaw), 0, np.cos(yaw)]])
    flat = turned[:, :2] @ np.array([[np.cos(roll), np.sin(roll)], [-np.sin(roll), np.cos(roll)]])
    return flat / (turned[:, 2:] + 300) * 256 + 128


@pytest.mark.parametrize(("turn", "expected"), [({"yaw_deg": 20}, 20), ({"roll_deg": 15}, 15), ({}, 0)])
def test_pose_error_is_the_angle_between_the_heads(turn: dict[str, float], expected: float) -> None:
    assert pose_error_deg(head(**turn), head(), 256) == pytest.approx(expected, abs=0.1)


def test_expression_error_sees_the_mouth_and_neither_size_nor_place() -> None:
    assert expression_error(head() * 2 + 5, head()) == pytest.approx(0, abs=1e-6)
    assert expression_error(head(opening=12), head()) > expression_error(head(opening=4), head()) > 0.005


def test_jitter_is_the_second_difference_and_knows_gaps() -> None:
    moving = [head() + step * 3.0 for step in range(6)]
    assert jitter(moving) == pytest.approx(0, abs=1e-9)
    shaken = [points + np.array([(-1) ** i, 0]) for i, points in enumerate(moving)]
    eyes = np.linalg.norm(head()[36] - head()[45])
    assert jitter(shaken) == pytest.approx(4 / eyes)
    assert jitter([moving[0], None, moving[2], moving[3]]) is None
