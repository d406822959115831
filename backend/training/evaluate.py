"""How well faces are rebuilt that the network never saw."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from backend.models.base import FaceSwapModel
from backend.ops.quality import ssim
from backend.training.augment import plain
from backend.training.dataset import FaceCache
from backend.training.loader import take

MOST_FACES = 400
"""Held-out faces evaluated per side, evenly picked."""

_BATCH = 8


@torch.inference_mode()
def held_out_ssim(
    model: FaceSwapModel,
    src: tuple[FaceCache, npt.NDArray[np.int64]],
    dst: tuple[FaceCache, npt.NDArray[np.int64]],
    device: torch.device,
) -> dict[str, float | None]:
    """Mean masked SSIM of src-src and dst-dst, in float32, without distortion.

    Two measures, since "masked SSIM" is used for both in the field: of the whole pictures after both were cut by the
    face mask, and of what lies inside the mask alone, which is the stricter one.

    Args:
        model: on ``device``; its mode is left as it was.
        src, dst: a side's faces and the held-out entries.
        device: where to compute.

    Returns:
        ssim_src, ssim_dst (cut by the mask), ssim_inside_src, ssim_inside_dst: means over the held-out faces of each
        side, 0..1; None for a side without any.
    """
    was_training = model.training
    model.eval()
    (src_faces, src_entries), (dst_faces, dst_entries) = src, dst
    src_entries, dst_entries = evenly(src_entries, MOST_FACES), evenly(dst_entries, MOST_FACES)
    src_scores: list[tuple[float, float]] = []
    dst_scores: list[tuple[float, float]] = []
    for start in range(0, max(len(src_entries), len(dst_entries)), _BATCH):
        a, b = src_entries[start : start + _BATCH], dst_entries[start : start + _BATCH]
        side_a = plain(take(src_faces, a if len(a) else src_faces.usable[:1]), device)
        side_b = plain(take(dst_faces, b if len(b) else dst_faces.usable[:1]), device)
        out = model.autoencode(side_a.target, side_b.target)
        src_scores.extend(_scores(side_a.target, out.src_src, side_a.mask)[: len(a)])
        dst_scores.extend(_scores(side_b.target, out.dst_dst, side_b.mask)[: len(b)])
    model.train(was_training)
    return {
        f"{name}_{side}": _mean([score[at] for score in scores])
        for at, name in enumerate(("ssim", "ssim_inside"))
        for side, scores in (("src", src_scores), ("dst", dst_scores))
    }


def evenly(entries: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """At most ``count`` of the entries, evenly spaced."""
    if len(entries) <= count:
        return entries
    return entries[np.linspace(0, len(entries) - 1, count).round().astype(np.int64)]


def _scores(target: torch.Tensor, rebuilt: torch.Tensor, mask: torch.Tensor) -> list[tuple[float, float]]:
    """(SSIM of the cut pictures, SSIM inside the mask) of each face."""
    pairs = zip(_hwc(target), _hwc(rebuilt), _hwc(mask), strict=True)
    return [(ssim(a * m, b * m), ssim(a, b, m[..., 0])) for a, b, m in pairs]


def _hwc(images: torch.Tensor) -> npt.NDArray[np.float32]:
    return np.ascontiguousarray(images.float().permute(0, 2, 3, 1).cpu().numpy())


def _mean(scores: list[float]) -> float | None:
    return float(np.mean(scores)) if scores else None
