"""The losses that can be chosen, by name, and how a training adds them up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from backend.core.errors import BadInputError
from backend.core.lpips_files import LPIPS_FILES
from backend.core.settings import TrainSettings
from backend.core.settings.losses import chosen_losses
from backend.models.losses.flip import flip
from backend.models.losses.frequency import focal_frequency
from backend.models.losses.gradient import gmsd, slopes
from backend.models.losses.laplacian import laplacian
from backend.models.losses.lpips import Lpips
from backend.models.losses.pointwise import l_inf, log_cosh, mae, mse, smooth
from backend.models.losses.ssim import ms_ssim, ssim
from backend.training.batch import FaceBatch

SCALE = 10.0
"""What a chosen loss at 100 % weighs. The families' own compositions weigh their terms by about ten; with the default
mask weight, ten as well, chosen losses and mask relate as in faceswap, which weighs neither."""

Loss = Callable[[Tensor, Tensor], Tensor]
LpipsSource = Callable[[str], Lpips]
"""Name of an LPIPS loss -> its network with weights."""


@dataclass(frozen=True)
class ShelfLoss:
    """One loss.

    Attributes:
        compare: (wanted, seen) pictures (B, C, H, W) float32 0..1 -> a map (B, c, H, W), or one value per sample (B,).
        is_map: which of the two.
        smallest_px: side of the smallest pictures it compares.
    """

    compare: Loss
    is_map: bool = True
    smallest_px: int = 8


SHELF: Mapping[str, ShelfLoss] = MappingProxyType(
    {
        "mae": ShelfLoss(mae),
        "mse": ShelfLoss(mse),
        "logcosh": ShelfLoss(log_cosh),
        "smooth_loss": ShelfLoss(smooth),
        "l_inf_norm": ShelfLoss(l_inf, is_map=False),
        "ssim": ShelfLoss(ssim),
        "ms_ssim": ShelfLoss(ms_ssim, is_map=False, smallest_px=48),
        "gmsd": ShelfLoss(gmsd),
        "pixel_gradient_diff": ShelfLoss(slopes),
        "laploss": ShelfLoss(laplacian, smallest_px=48),
        "ffl": ShelfLoss(focal_frequency, is_map=False),
        "flip": ShelfLoss(flip),
    }
)
"""Name -> loss; those of LPIPS have weights and are made when they are chosen."""

_INSTEAD = "ssim"


def without_lpips(name: str) -> Lpips:
    """The source of a training that was given no weights: refuses."""
    raise BadInputError(f"{name} needs weights, and nobody said where they are.", "Choose another loss.")


class LossShelf:
    """The losses that settings choose, weighted and added up.

    A map is multiplied by the face mask, plus the masks of eyes and mouth times their multipliers where those are above
    1, and averaged over all pixels. A loss that gives one value compares what each of these masks leaves of the
    pictures, and the values are added with the same weights. Both are faceswap's rules.

    Args:
        settings: effective ones.
        lpips: gives the networks of LPIPS losses.

    Raises:
        BadInputError, DamagedFileError: an LPIPS loss is chosen and its weights are not there, or are something else.
    """

    def __init__(self, settings: TrainSettings, lpips: LpipsSource = without_lpips) -> None:
        self._weights = {name: share * SCALE for name, share in chosen_losses(settings).items()}
        self._losses = {name: ShelfLoss(lpips(name), smallest_px=64) for name in self._weights if name in LPIPS_FILES}
        self._losses.update({name: SHELF[name] for name in self._weights if name in SHELF})
        apart = settings.parts_apart
        self._eyes = settings.eye_multiplier if apart and settings.eye_multiplier > 1 else 0.0
        self._mouth = settings.mouth_multiplier if apart and settings.mouth_multiplier > 1 else 0.0

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights of LPIPS networks."""
        networks = [loss.compare for loss in self._losses.values() if isinstance(loss.compare, Lpips)]
        return sum(p.nbytes for network in networks for p in network.parameters())

    def __call__(self, wanted: FaceBatch, seen: Tensor, cut: Tensor | None) -> dict[str, Tensor]:
        """Weighted losses by name, (B,) each; {} when none is chosen.

        Args:
            wanted: targets (B, C, R, R) float32 0..1, with masks of eyes and mouth when a multiplier asks for them.
            seen: what the network drew, same shape. Pictures too small for a loss are compared by SSIM instead.
            cut: face mask (B, 1, R, R); None compares whole pictures.

        Raises:
            BadInputError: a mask of eyes or mouth is missing.
        """
        areas = [] if cut is None or not self._weights else self._areas(wanted, cut)
        found: dict[str, Tensor] = {}
        for name, weight in self._weights.items():
            loss = self._losses[name]
            if seen.shape[-1] < loss.smallest_px:
                loss = SHELF[_INSTEAD]
            if isinstance(loss.compare, Lpips) and loss.compare.weights[0].device != seen.device:
                loss.compare.to(seen.device)
            mean = _mean_of_map if loss.is_map else _sum_of_values
            found[name] = mean(loss.compare, wanted.target, seen, areas) * weight
        return found

    def _areas(self, wanted: FaceBatch, cut: Tensor) -> list[tuple[Tensor, float]]:
        """(mask, weight) of the face and of what counts besides."""
        areas = [(cut, 1.0)]
        for mask, weight in ((wanted.eyes, self._eyes), (wanted.mouth, self._mouth)):
            if weight and mask is None:
                raise BadInputError("Eyes or mouth have a multiplier, but the batch has no mask of them.")
            if weight and mask is not None:
                areas.append((mask, weight))
        return areas


def _mean_of_map(compare: Loss, wanted: Tensor, seen: Tensor, areas: list[tuple[Tensor, float]]) -> Tensor:
    found = compare(wanted, seen).mean(dim=1, keepdim=True)
    if areas:
        found = found * torch.stack([mask * weight for mask, weight in areas]).sum(dim=0)
    return found.flatten(1).mean(dim=1)


def _sum_of_values(compare: Loss, wanted: Tensor, seen: Tensor, areas: list[tuple[Tensor, float]]) -> Tensor:
    if not areas:
        return compare(wanted, seen)
    masks = torch.stack([mask for mask, _ in areas])
    found = compare((wanted * masks).flatten(0, 1), (seen * masks).flatten(0, 1))
    weights = [weight for _, weight in areas]
    return torch.stack([part * w for part, w in zip(found.chunk(len(areas)), weights, strict=True)]).sum(dim=0)
