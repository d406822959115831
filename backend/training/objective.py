"""What a training step makes small: the losses of both sides for each model class, weighted by the settings."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from backend.core.errors import BadInputError
from backend.core.settings import SaehdSettings, TrainSettings
from backend.models.base import Reconstruction
from backend.models.losses.adversarial import total_variation
from backend.models.losses.blur import gaussian_blur
from backend.models.losses.dssim import structure_windows, two_windows
from backend.models.losses.mask import soft_mask
from backend.models.losses.pixel import pixel_loss
from backend.models.losses.style import background_style, style_loss, surroundings
from backend.training.batch import FaceBatch
from backend.training.loss_shelf import LossShelf, LpipsSource, without_lpips
from backend.training.objective_base import Losses, Objective, Terms
from backend.training.objective_older import OlderObjective, SaeObjective

__all__ = ["OBJECTIVES", "Losses", "Objective", "build_objective", "gan_extras"]

SMOOTHNESS = 1e-6
"""DeepFaceLab's weight of total variation."""
AMP_BACKGROUND = 0.1
GAN_BACKGROUND = 0.02
FACE_STYLE = 10_000
BACKGROUND_STYLE = 10
QUICK96_WINDOW = 8
QUICK96_RIM = 3


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


class ShelfObjective(Objective):
    """Phaze-A: chosen losses alone, as in faceswap, and the mask where it learns one."""

    def _windows(self, side: int) -> tuple[int, ...]:
        return structure_windows(side)


OBJECTIVES: Mapping[str, type[Objective]] = MappingProxyType(
    {
        "saehd": SaehdObjective,
        "quick96": Quick96Objective,
        "amp": AmpObjective,
        "h64": OlderObjective,
        "h128": OlderObjective,
        "df": OlderObjective,
        "liaef128": OlderObjective,
        "sae": SaeObjective,
        "phaze_a": ShelfObjective,
    }
)
"""Model class name -> its objective. A new model adds one line."""


def build_objective(settings: TrainSettings, lpips: LpipsSource = without_lpips) -> Objective:
    """The objective of these settings.

    Args:
        settings: effective ones.
        lpips: gives the networks of LPIPS losses.

    Raises:
        BadInputError: the model class is unknown; or the weights of a chosen loss are missing.
        DamagedFileError: they are something else.
    """
    if settings.model_class not in OBJECTIVES:
        known = ", ".join(sorted(OBJECTIVES))
        raise BadInputError(f"There is no model class '{settings.model_class}'.", f"Choose one of: {known}.")
    objective = OBJECTIVES[settings.model_class](settings)
    objective.shelf = LossShelf(settings, lpips)
    return objective


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
