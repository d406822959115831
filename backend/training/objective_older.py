"""What DeepFaceLab 1's models make small: structure or pixels inside the mask, the mask, and SAE's styles."""

from __future__ import annotations

import torch
from torch import Tensor

from backend.core.errors import BadInputError
from backend.core.settings import TrainSettings
from backend.core.settings.older import OlderSettings, SaeSettings
from backend.models.base import Reconstruction
from backend.models.losses.blur import gaussian_blur
from backend.models.losses.dssim import structure_loss, two_windows
from backend.models.losses.mask import rim
from backend.models.losses.pixel import pixel_loss
from backend.models.losses.style import style_loss
from backend.training.batch import FaceBatch
from backend.training.objective_base import Objective, Terms

STYLE_BLUR = 16
"""The face style blurs both pictures by their side divided by this; the background style does not blur."""
PIXEL_RIM = 64
"""With pixel loss the plain models blur their mask by its side divided by this, at least 1 px."""


class OlderObjective(Objective):
    """H64, H128, DF and LIAEF128: structure inside the mask, or pixels inside the blurred mask, and the mask.

    The window of the structure loss is that of the full size at every size.
    """

    _settings: OlderSettings

    def __init__(self, settings: TrainSettings) -> None:
        super().__init__(settings)
        if not isinstance(settings, OlderSettings):
            raise BadInputError(f"These settings are not those of an older model: {type(settings).__name__}.")
        self._settings = settings

    def _windows(self, side: int) -> tuple[int, ...]:
        return two_windows(side)[:1]

    def _cut(self, mask: Tensor) -> Tensor | None:
        if not self._settings.masked_training:
            return None
        return gaussian_blur(mask, max(1, mask.shape[-1] // PIXEL_RIM)) if self._settings.pixel_loss else mask

    def _own(self, target: Tensor, seen: Tensor) -> Terms:
        settings = self._settings
        if settings.pixel_loss:
            return {"pixel": pixel_loss(target, seen) * settings.pixel_weight}
        windows = self._windows(settings.resolution)
        return {"structure": structure_loss(target, seen, windows) * settings.structure_weight}


class SaeObjective(OlderObjective):
    """SAE: the same inside the softened mask, at every size the network answers in; styles count for src.

    The face style brings the swap's colours near those of the destination inside its mask, the background style the
    swap near the destination outside. Their gradient ends in the source's decoder; in DeepFaceLab 1 it also reaches
    the encoder and the inter.
    """

    def __init__(self, settings: TrainSettings) -> None:
        super().__init__(settings)
        styled = isinstance(settings, SaeSettings)
        self._face_style = settings.face_style_power / 100 if styled else 0.0
        self._background_style = settings.bg_style_power / 100 if styled else 0.0
        self.wants_swap = bool(self._face_style or self._background_style)

    def _cut(self, mask: Tensor) -> Tensor | None:
        return _softened(mask) if self._settings.masked_training else None

    def _src_only(self, out: Reconstruction, dst: FaceBatch) -> Terms:
        if not self.wants_swap:
            return {}
        if out.swap is None:
            raise BadInputError("A style is to be learned, but the network gave no swapped face.")
        inside = _softened(dst.mask)
        styles: list[Tensor] = []
        if self._face_style:
            sigma = dst.target.shape[-1] // STYLE_BLUR
            styles.append(style_loss(dst.target * inside, out.swap * inside, sigma) * self._face_style)
        if self._background_style:
            outside = 1 - inside
            found = self._own(dst.target * outside, out.swap * outside)
            styles += [loss * self._background_style for loss in found.values()]
        return {"style": torch.stack(styles).sum(dim=0)}


def _softened(mask: Tensor) -> Tensor:
    """(B, 1, R, R) masks blurred by a 32nd of their side, at least 1 px; neither cut nor doubled."""
    return gaussian_blur(mask, rim(mask))
