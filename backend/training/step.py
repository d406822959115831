"""One training step: both faces through the network, losses, gradients, optimiser."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from backend.core.errors import BadInputError
from backend.core.settings.train import TrainSettings
from backend.models.base import FaceSwapModel
from backend.models.losses.dssim import structure_loss
from backend.models.losses.mask import mask_loss, soft_mask
from backend.models.losses.pixel import eyes_mouth_loss, pixel_loss
from backend.training.batch import FaceBatch
from backend.training.optimizers import build_optimizer
from backend.training.precision import choose_precision


@dataclass(frozen=True)
class StepLosses:
    """What a step found.

    Attributes:
        src, dst: mean loss of each side before the update, float32 scalars without gradient, on the device.
        skipped: losses or gradients were not finite, and the step changed nothing. An fp16 overflow that the scaling
            of gradients will cure is not counted, although such a step changes nothing either.
    """

    src: Tensor
    dst: Tensor
    skipped: bool


class SwapLoss:
    """Reconstruction loss of a face and its mask: structure + pixel + mask, and eyes and mouth when wanted.

    With masked training, structure and pixel compare only what lies inside the softened mask.
    """

    def __init__(self, settings: TrainSettings) -> None:
        self._masked = settings.masked_training
        self._eyes_mouth = settings.eyes_mouth_priority

    def __call__(self, wanted: FaceBatch, face: Tensor, mask: Tensor) -> Tensor:
        """Loss of each sample.

        Args:
            wanted: targets and masks, float32; its input is not looked at.
            face: (B, C, R, R) float32 0..1, predicted.
            mask: (B, 1, R, R) float32 0..1, predicted.

        Returns:
            (B,) float32.

        Raises:
            BadInputError: eyes and mouth have priority and the batch has no mask of them.
        """
        target, seen = wanted.target, face
        if self._masked:
            soft = soft_mask(wanted.mask)
            target, seen = target * soft, seen * soft
        loss = structure_loss(target, seen) + pixel_loss(target, seen) + mask_loss(wanted.mask, mask)
        if self._eyes_mouth:
            if wanted.eyes_mouth is None:
                raise BadInputError("Eyes and mouth have priority, but the batch has no mask of eyes and mouth.")
            loss = loss + eyes_mouth_loss(wanted.target, face, wanted.eyes_mouth)
        return loss


class TrainStep:
    """Trains a model, one call per iteration. Minimised is the mean over the batch, src plus dst.

    Args:
        model: freshly built or loaded; it is moved to the device.
        settings: its training settings.
        device: where to train.

    Attributes:
        model: on the device, in training mode, convolution weights in channels-last memory.
        device, precision, optimizer: as chosen.
    """

    def __init__(self, model: FaceSwapModel, settings: TrainSettings, device: torch.device) -> None:
        self.device = device
        model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] - torch's stub lacks it
        self.model = model.to(device).train()
        frozen = model.frozen_parts(settings.random_warp)
        for name, part in model.parts().items():
            part.requires_grad_(name not in frozen)
        self.precision = choose_precision(settings.precision, device)
        self.optimizer = build_optimizer(settings, self.model.parameters())
        self._scaler = self.precision.scaler()
        self._loss = SwapLoss(settings)

    def __call__(self, src: FaceBatch, dst: FaceBatch) -> StepLosses:
        """Learn from one batch of each side, float32 on the device."""
        src_loss, dst_loss = self.losses(src, dst)
        self.optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(src_loss + dst_loss).backward()
        self._scaler.unscale_(self.optimizer)
        applied = self._gradients_are_finite()
        if applied:
            self._scaler.step(self.optimizer)
        self._scaler.update()
        skipped = not applied and not (self._scaler.is_enabled() and bool((src_loss + dst_loss).isfinite()))
        return StepLosses(src_loss.detach(), dst_loss.detach(), skipped)

    def losses(self, src: FaceBatch, dst: FaceBatch) -> tuple[Tensor, Tensor]:
        """Mean loss of src and of dst, float32 scalars that carry gradients; nothing is updated."""
        with self.precision.autocast():
            out = self.model.autoencode(src.warped, dst.warped)
        face = torch.cat((out.src_src, out.dst_dst))
        mask = torch.cat((out.src_src_mask, out.dst_dst_mask))
        each = self._loss(_joined(src, dst), face, mask)
        count = len(src.target)
        return each[:count].mean(), each[count:].mean()

    def optimizer_state(self) -> dict[str, Any]:
        """State of the optimiser, as torch's ``state_dict``."""
        return self.optimizer.state_dict()

    def load_optimizer_state(self, state: dict[str, Any]) -> None:
        """Take over a stored state; the learning rate stays that of the settings.

        Raises:
            DamagedFileError: it belongs to another model or another optimiser.
        """
        rates = [group["lr"] for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(state)
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate

    def _gradients_are_finite(self) -> bool:
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        return bool(torch.nn.utils.get_total_norm(gradients).isfinite())


def _joined(src: FaceBatch, dst: FaceBatch) -> FaceBatch:
    """The answers of both sides as one batch, src first; eyes and mouth only when both have them."""
    eyes_mouth = None
    if src.eyes_mouth is not None and dst.eyes_mouth is not None:
        eyes_mouth = torch.cat((src.eyes_mouth, dst.eyes_mouth))
    target = torch.cat((src.target, dst.target))
    return FaceBatch(target, target, torch.cat((src.mask, dst.mask)), eyes_mouth)
