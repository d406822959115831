"""What a training step makes small: the losses of both sides for each model class, weighted by the settings.

An objective holds no state but its settings, so it is rebuilt whenever a live setting changes. Nothing here waits
for the device. Losses are float32: call outside autocast.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch
from torch import Tensor

from backend.core.errors import BadInputError
from backend.core.settings import SaehdSettings, TrainSettings
from backend.models.base import Reconstruction
from backend.models.losses.adversarial import total_variation
from backend.models.losses.blur import gaussian_blur
from backend.models.losses.dssim import structure_loss, structure_windows, two_windows
from backend.models.losses.mask import blur_out, mask_loss, soft_mask
from backend.models.losses.pixel import eyes_mouth_loss, pixel_loss
from backend.models.losses.style import background_style, style_loss, surroundings
from backend.training.batch import FaceBatch

SMOOTHNESS = 1e-6
"""DeepFaceLab's weight of total variation."""
AMP_BACKGROUND = 0.1
GAN_BACKGROUND = 0.02
FACE_STYLE = 10_000
BACKGROUND_STYLE = 10
QUICK96_WINDOW = 8
QUICK96_RIM = 3

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
    """

    wants_swap: bool = False

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
        wanted = _joined(src, dst)
        face, mask = torch.cat((out.src_src, out.dst_dst)), torch.cat((out.src_src_mask, out.dst_dst_mask))
        both = self._both_sides(wanted, face, mask)
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

    def _both_sides(self, wanted: FaceBatch, face: Tensor, mask: Tensor) -> Terms:
        settings, cut = self._settings, self._cut(wanted.mask)
        target, seen = wanted.target, face
        if cut is not None:
            target, seen = target * cut, seen * cut
        terms = {
            "structure": structure_loss(target, seen, self._windows(target.shape[-1])) * settings.structure_weight,
            "pixel": pixel_loss(target, seen) * settings.pixel_weight,
            "mask": mask_loss(wanted.mask, mask) * settings.mask_weight,
        }
        if settings.eyes_mouth_priority:
            if wanted.eyes_mouth is None:
                raise BadInputError("Eyes and mouth have priority, but the batch has no mask of eyes and mouth.")
            found = eyes_mouth_loss(wanted.target, face, wanted.eyes_mouth)
            terms["eyes_mouth"] = found * settings.eyes_mouth_weight
        return terms


class SaehdObjective(Objective):
    """SAEHD: structure, pixel, mask, eyes and mouth when wanted; face and background style count for src.

    As in DeepFaceLab, except for the background style: its area is the one that was meant, see ``surroundings``, and
    its gradient ends in the source's decoder like that of the face style, so that one decoded swap serves both;
    there it also reaches the encoder and the inter.
    """

    def __init__(self, settings: TrainSettings) -> None:
        super().__init__(settings)
        styled = isinstance(settings, SaehdSettings)
        self._face_style = settings.face_style_power / 100 if styled else 0.0
        self._background_style = settings.bg_style_power / 100 if styled else 0.0
        self.wants_swap = bool(self._face_style or self._background_style)

    def _windows(self, side: int) -> tuple[int, ...]:
        return structure_windows(side)

    def _src_only(self, out: Reconstruction, dst: FaceBatch) -> Terms:
        if not self.wants_swap:
            return {}
        if out.swap is None or out.swap_mask is None:
            raise BadInputError("A style is to be learned, but the network gave no swapped face.")
        styles: list[Tensor] = []
        if self._face_style:
            look = (out.dst_dst * out.dst_dst_mask).detach()
            found = style_loss(look, out.swap * out.swap_mask.detach(), sigma=look.shape[-1] // 8)
            styles.append(found * (FACE_STYLE * self._face_style))
        if self._background_style:
            found = background_style(dst.target, out.swap, surroundings(out.swap_mask, out.dst_dst_mask))
            styles.append(found * (BACKGROUND_STYLE * self._background_style))
        return {"style": torch.stack(styles).sum(dim=0)}


class Quick96Objective(Objective):
    """Quick96: one small DSSIM window, and the plainly blurred mask as the cut-out, neither clipped nor doubled."""

    def _windows(self, side: int) -> tuple[int, ...]:
        return (QUICK96_WINDOW,)

    def _cut(self, mask: Tensor) -> Tensor | None:
        return gaussian_blur(mask, QUICK96_RIM)


class AmpObjective(Objective):
    """AMP: both DSSIM windows at any resolution, and a weak hold on the surroundings of dst."""

    def _windows(self, side: int) -> tuple[int, ...]:
        return two_windows(side)

    def _dst_only(self, out: Reconstruction, dst: FaceBatch) -> Terms:
        outside = 1 - soft_mask(dst.mask)
        there, here = dst.target * outside, out.dst_dst * outside
        return {"background_dst": pixel_loss(there, here) * AMP_BACKGROUND + total_variation(here) * SMOOTHNESS}


OBJECTIVES: Mapping[str, type[Objective]] = MappingProxyType(
    {"saehd": SaehdObjective, "quick96": Quick96Objective, "amp": AmpObjective}
)
"""Model class name -> its objective. A new model adds one line."""


def build_objective(settings: TrainSettings) -> Objective:
    """The objective of these settings.

    Raises:
        BadInputError: the model class is unknown.
    """
    if settings.model_class not in OBJECTIVES:
        known = ", ".join(sorted(OBJECTIVES))
        raise BadInputError(f"There is no model class '{settings.model_class}'.", f"Choose one of: {known}.")
    return OBJECTIVES[settings.model_class](settings)


def gan_extras(face: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """What joins the adversarial loss of src in masked training, so that the unjudged surroundings stay calm.

    1e-6 * total variation of the face + 0.02 * mean squared difference outside the soft mask; AMP adds the same.

    Args:
        face: (B, C, R, R) float32 0..1, predicted for src.
        target: same shape, prepared.
        mask: (B, 1, R, R) float32 0..1, of the target.

    Returns:
        (B,) float32; the power of the GAN does not scale it.
    """
    outside = 1 - soft_mask(mask)
    return total_variation(face) * SMOOTHNESS + pixel_loss(target * outside, face * outside) * GAN_BACKGROUND


def _joined(src: FaceBatch, dst: FaceBatch) -> FaceBatch:
    """The answers of both sides as one batch, src first; eyes and mouth only when both have them."""
    eyes_mouth = None
    if src.eyes_mouth is not None and dst.eyes_mouth is not None:
        eyes_mouth = torch.cat((src.eyes_mouth, dst.eyes_mouth))
    target = torch.cat((src.target, dst.target))
    return FaceBatch(target, target, torch.cat((src.mask, dst.mask)), eyes_mouth)


def _gathered(table: Tensor, names: tuple[str, ...], own: Terms) -> tuple[Tensor, Terms]:
    """One side's loss (B,) and the means of its terms: rows (n, B) of the shared terms, and terms (B,) of its own."""
    means = table.detach().mean(dim=1).unbind()
    loss = table.sum(dim=0)
    for found in own.values():
        loss = loss + found
    return loss, dict(zip(names, means, strict=True)) | {name: found.detach().mean() for name, found in own.items()}
