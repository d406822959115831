"""How well faces are rebuilt that the network never saw."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch

from backend.models.base import FaceSwapModel
from backend.ops.quality import ssim
from backend.training.augment import plain
from backend.training.batch import FaceBatch
from backend.training.dataset import FaceCache
from backend.training.loader import take

MOST_FACES = 400
"""Held-out faces evaluated per side, evenly picked."""

BEST_PSNR_DB = 100.0
"""PSNR given to pictures that are equal."""

_BATCH = 8
_SHARP_ENOUGH = 1e-3
_RIM = 5
"""Pixels along the border around which SSIM has no whole window."""

Images = npt.NDArray[np.float32]
Entries = npt.NDArray[np.int64]
Side = tuple[FaceCache, Entries]
"""A side's faces, and which of them are looked at."""


@dataclass(frozen=True)
class Rebuilt:
    """Faces of one side and what the network made of them: (n, R, R, C) and (n, R, R, 1) float32 0..1, colours BGR."""

    target: Images
    mask: Images
    face: Images
    drawn_mask: Images

    def __len__(self) -> int:
        return len(self.target)


@dataclass(frozen=True)
class RebuildScore:
    """How well one face was rebuilt.

    Attributes:
        ssim: of the whole pictures after both were cut by the face mask, -1..1.
        ssim_inside: of what lies inside the mask alone; the stricter one.
        psnr_db: inside the mask, at most BEST_PSNR_DB.
        mask_iou: area where the drawn and the true mask both exceed a half, over the area where one does, 0..1.
        sharpness: what is left of the original's sharpness: (1 - blur) of the rebuilt face over that of the original;
            None where the original has none. The blur is that of Crete et al., "The blur effect: perception and
            estimation with a new no-reference perceptual blur metric", 2007.
    """

    ssim: float
    ssim_inside: float
    psnr_db: float
    mask_iou: float
    sharpness: float | None


def held_out_ssim(model: FaceSwapModel, src: Side, dst: Side, device: torch.device) -> dict[str, float | None]:
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
    scores: tuple[list[tuple[float, float]], list[tuple[float, float]]] = ([], [])
    (src_faces, src_entries), (dst_faces, dst_entries) = src, dst
    src_some, dst_some = evenly(src_entries, MOST_FACES), evenly(dst_entries, MOST_FACES)
    for batch in rebuild(model, (src_faces, src_some), (dst_faces, dst_some), device):
        for of_side, faces in zip(scores, batch, strict=True):
            of_side.extend(_ssims(faces.target[i], faces.face[i], faces.mask[i]) for i in range(len(faces)))
    return {
        f"{name}_{side}": _mean([score[at] for score in of_side])
        for at, name in enumerate(("ssim", "ssim_inside"))
        for side, of_side in zip(("src", "dst"), scores, strict=True)
    }


def rebuild_scores(
    model: FaceSwapModel, src: Side, dst: Side, device: torch.device, on_faces: Callable[[int], None]
) -> tuple[list[RebuildScore], list[RebuildScore]]:
    """Score the faces of both sides one by one, in the order of their entries.

    Args:
        model: on ``device``; its mode is left as it was.
        src, dst: a side's faces and the entries to score.
        device: where to compute.
        on_faces: told after each batch how many faces of both sides are done; may raise to leave.
    """
    scores: tuple[list[RebuildScore], list[RebuildScore]] = ([], [])
    for batch in rebuild(model, src, dst, device):
        for of_side, faces in zip(scores, batch, strict=True):
            of_side.extend(
                rebuild_score(faces.target[i], faces.face[i], faces.mask[i], faces.drawn_mask[i])
                for i in range(len(faces))
            )
        on_faces(sum(len(of_side) for of_side in scores))
    return scores


def rebuild_score(target: Images, face: Images, mask: Images, drawn_mask: Images) -> RebuildScore:
    """Compare one face with its original: (R, R, C) and (R, R, 1) float32 0..1."""
    cut, inside = _ssims(target, face, mask)
    return RebuildScore(cut, inside, _psnr(target, face, mask), _iou(mask, drawn_mask), _sharpness(target, face, mask))


def rebuild(model: FaceSwapModel, src: Side, dst: Side, device: torch.device) -> Iterator[tuple[Rebuilt, Rebuilt]]:
    """Rebuild the faces of both sides in float32, without distortion, a few at a time.

    Args:
        model: on ``device``; its mode is left as it was.
        src, dst: a side's faces and the entries wanted.
        device: where to compute.

    Yields:
        the next faces of each side, fewer or none where a side has no more.
    """
    was_training = model.training
    model.eval()
    try:
        for start in range(0, max(len(src[1]), len(dst[1])), _BATCH):
            (side_a, count_a), (side_b, count_b) = (_batch(side, start, device) for side in (src, dst))
            with torch.inference_mode():
                out = model.autoencode(side_a.target, side_b.target)
            yield (
                _rebuilt(side_a, out.src_src, out.src_src_mask, count_a),
                _rebuilt(side_b, out.dst_dst, out.dst_dst_mask, count_b),
            )
    finally:
        model.train(was_training)


def evenly(entries: Entries, count: int) -> Entries:
    """At most ``count`` of the entries, evenly spaced."""
    if len(entries) <= count:
        return entries
    return entries[np.linspace(0, len(entries) - 1, count).round().astype(np.int64)]


def _batch(side: Side, start: int, device: torch.device) -> tuple[FaceBatch, int]:
    """The next faces and how many count: a side that has no more lends one, because the network takes both."""
    faces, entries = side
    some = entries[start : start + _BATCH]
    return plain(take(faces, some if len(some) else faces.usable[:1]), device), len(some)


def _rebuilt(side: FaceBatch, face: torch.Tensor, mask: torch.Tensor, count: int) -> Rebuilt:
    return Rebuilt(*(_hwc(images[:count]) for images in (side.target, side.mask, face, mask)))


def _ssims(target: Images, face: Images, mask: Images) -> tuple[float, float]:
    """(SSIM of the cut pictures, SSIM inside the mask); an empty mask leaves the first for both."""
    cut = ssim(target * mask, face * mask)
    seen = mask[_RIM:-_RIM, _RIM:-_RIM].any()
    return cut, ssim(target, face, mask[..., 0]) if seen else cut


def _psnr(target: Images, face: Images, mask: Images) -> float:
    error = float(((target - face) ** 2 * mask).sum(dtype=np.float64))
    mean = error / max(1e-9, float(mask.sum(dtype=np.float64)) * target.shape[-1])
    return min(BEST_PSNR_DB, -10 * float(np.log10(max(mean, 1e-12))))


def _iou(mask: Images, drawn: Images) -> float:
    true, found = mask > 0.5, drawn > 0.5
    either = int((true | found).sum())
    return int((true & found).sum()) / either if either else 1.0


def _sharpness(target: Images, face: Images, mask: Images) -> float | None:
    from skimage.measure import blur_effect

    rows, columns = (np.flatnonzero((mask[..., 0] > 0).any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return None
    window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    kept = [1 - float(np.asarray(blur_effect(_gray(image * mask)[window]))) for image in (face, target)]
    return kept[0] / kept[1] if np.isfinite(kept).all() and kept[1] > _SHARP_ENOUGH else None


def _gray(image: Images) -> Images:
    """(R, R, 3) BGR or (R, R, 1) -> (R, R)."""
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) if image.shape[2] == 3 else image[..., 0], np.float32)


def _hwc(images: torch.Tensor) -> Images:
    return np.ascontiguousarray(images.float().permute(0, 2, 3, 1).cpu().numpy())


def _mean(scores: list[float]) -> float | None:
    return float(np.mean(scores)) if scores else None
