"""What all objectives have in common; those of the model classes are in objective.py and objective_older.py.

An objective holds no state but its settings, so it is rebuilt whenever a live setting changes. Nothing here waits
for the device. Losses are float32: call outside autocast.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from backend.core.errors import BadInputError
from backend.core.settings import TrainSettings
from backend.core.settings.losses import OWN
from backend.models.base import Reconstruction
from backend.models.losses.dssim import structure_loss
from backend.models.losses.mask import blur_out, mask_loss, soft_mask
from backend.models.losses.pixel import eyes_mouth_loss, pixel_loss
from backend.training.batch import FaceBatch
from backend.training.loss_shelf import LossShelf

Terms = dict[str, Tensor]


@dataclass(frozen=True)
class Losses:
    """What an objective found.

    Attributes:
        src, dst: (B,) float32 of each side, weighted, with gradient.
        terms: mean of each weighted term over the batch, 0-dim without gradient, on the device. Names end in "_src"
            or "_dst"; "style" belongs to src. The terms of a side add up to the mean of its loss.
    """

    src: Tensor
    dst: Tensor
    terms: dict[str, Tensor]


class Objective(ABC):
    """Loss of a pair of batches. Each model class has its own.

    Attributes:
        wants_swap: whether the network has to decode the swap too.
        shelf: the losses that were chosen, beside the family's own comparison of pictures or instead of it.
    """

    wants_swap: bool = False
    shelf: LossShelf | None = None

    def __init__(self, settings: TrainSettings) -> None:
        self._settings = settings

    def prepare(self, batch: FaceBatch) -> FaceBatch:
        """One side as it is compared: with the target's surroundings blurred out when the settings say so."""
        if not self._settings.blur_out_mask:
            return batch
        return replace(batch, target=blur_out(batch.target, batch.mask))

    def __call__(self, out: Reconstruction, src: FaceBatch, dst: FaceBatch) -> Losses:
        """Losses of both sides.

        Args:
            out: what the network made of both inputs, float32.
            src, dst: prepared batches, float32 on the same device, of equal size when a style is wanted; their input
                is not looked at.

        Raises:
            BadInputError: eyes and mouth count and a batch has no mask of them; or the swap is wanted and missing.
        """
        both = self._both_sides(_joined(src, dst), out)
        table, count = torch.stack(tuple(both.values())), len(src.target)
        src_names, dst_names = (tuple(f"{name}_{side}" for name in both) for side in ("src", "dst"))
        src_loss, src_terms = _gathered(table[:, :count], src_names, self._src_only(out, dst))
        dst_loss, dst_terms = _gathered(table[:, count:], dst_names, self._dst_only(out, dst))
        return Losses(src_loss, dst_loss, src_terms | dst_terms)

    @abstractmethod
    def _windows(self, side: int) -> tuple[int, ...]:
        """Sides of the DSSIM windows for pictures of this side in px."""

    def _cut(self, mask: Tensor) -> Tensor | None:
        """The soft mask inside which structure and pixels are compared; None compares whole pictures."""
        return soft_mask(mask) if self._settings.masked_training else None

    def _src_only(self, out: Reconstruction, dst: FaceBatch) -> Terms:
        """Weighted terms that count for src alone."""
        return {}

    def _dst_only(self, out: Reconstruction, dst: FaceBatch) -> Terms:
        """Weighted terms that count for dst alone."""
        return {}

    def _own(self, target: Tensor, seen: Tensor) -> Terms:
        """The family's own comparison of wanted and drawn pictures (B, C, H, W), both cut out already, weighted."""
        settings = self._settings
        return {
            "structure": structure_loss(target, seen, self._windows(target.shape[-1])) * settings.structure_weight,
            "pixel": pixel_loss(target, seen) * settings.pixel_weight,
        }

    def _pictures(self, wanted: FaceBatch, face: Tensor) -> Terms:
        """The family's own comparison, unless another loss takes its place, and the chosen ones."""
        terms: Terms = {}
        cut = self._cut(wanted.mask)
        if self._settings.loss_function == OWN:
            target, seen = (wanted.target, face) if cut is None else (wanted.target * cut, face * cut)
            terms = self._own(target, seen)
        return terms if self.shelf is None else terms | self.shelf(wanted, face, cut)

    def _both_sides(self, wanted: FaceBatch, out: Reconstruction) -> Terms:
        settings, face = self._settings, torch.cat((out.src_src, out.dst_dst))
        terms = self._pictures(wanted, face)
        for smaller in (out.half, out.quarter):
            if smaller is not None:
                found = self._pictures(_shrunk(wanted, smaller.shape[-1]), smaller)
                terms |= {name: terms[name] + loss if name in terms else loss for name, loss in found.items()}
        if getattr(settings, "learn_mask", True):
            mask = torch.cat((out.src_src_mask, out.dst_dst_mask))
            terms["mask"] = mask_loss(wanted.mask, mask, settings.mask_loss_function) * settings.mask_weight
        if settings.eyes_mouth_priority:
            if wanted.eyes_mouth is None:
                raise BadInputError("Eyes and mouth have priority, but the batch has no mask of eyes and mouth.")
            found = eyes_mouth_loss(wanted.target, face, wanted.eyes_mouth)
            terms["eyes_mouth"] = found * settings.eyes_mouth_weight
        return terms


def _joined(src: FaceBatch, dst: FaceBatch) -> FaceBatch:
    """The answers of both sides as one batch, src first; eyes and mouth only when both have them."""
    parts = ((src.eyes_mouth, dst.eyes_mouth), (src.eyes, dst.eyes), (src.mouth, dst.mouth))
    masks = (None if one is None or other is None else torch.cat((one, other)) for one, other in parts)
    target = torch.cat((src.target, dst.target))
    return FaceBatch(target, target, torch.cat((src.mask, dst.mask)), *masks)


def _gathered(table: Tensor, names: tuple[str, ...], own: Terms) -> tuple[Tensor, Terms]:
    """One side's loss (B,) and the means of its terms: rows (n, B) of the shared terms, and terms (B,) of its own."""
    means = table.detach().mean(dim=1).unbind()
    loss = table.sum(dim=0)
    for found in own.values():
        loss = loss + found
    return loss, dict(zip(names, means, strict=True)) | {name: found.detach().mean() for name, found in own.items()}


def _shrunk(wanted: FaceBatch, side: int) -> FaceBatch:
    """A batch whose pictures and masks are averaged down to a side in px that divides theirs; but eyes_mouth goes."""
    step = wanted.target.shape[-1] // side
    target, mask = (F.avg_pool2d(x, step) for x in (wanted.target, wanted.mask))
    eyes, mouth = (None if x is None else F.avg_pool2d(x, step) for x in (wanted.eyes, wanted.mouth))
    return FaceBatch(target, target, mask, eyes=eyes, mouth=mouth)
