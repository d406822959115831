"""Discriminators and what they ask of the network: detail (GAN) and the source's look (true face).

The reference computes the predictions again before each discriminator learns. Here a discriminator learns from the
predictions that were just made, cut off from the network: the usual way, and it saves one pass through the network
for each discriminator.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from backend.core.errors import BadInputError
from backend.core.settings import TrainSettings
from backend.models.base import FaceSwapModel, Reconstruction
from backend.models.discriminators import CodeDiscriminator, UNetDiscriminator
from backend.models.losses.adversarial import bce
from backend.models.losses.mask import soft_mask
from backend.models.saehd import SaehdDf
from backend.training.batch import FaceBatch
from backend.training.learner import Learner, require_gradients
from backend.training.objective import gan_extras
from backend.training.precision import Precision
from backend.training.ranks import Ranks


class Adversary(ABC):
    """A discriminator with its own optimiser, and the loss it adds to that of the network.

    Args:
        network: judges pictures or codes; moved to the device.
        settings: of the training.
        precision: number format of its convolutions.
        ranks: average its gradients over these processes.

    Attributes:
        name: names its sets of tensors in a checkpoint and its terms: the loss it adds, and its own with "_d".
        power: weight of the loss it adds; 0 switches it off.
    """

    name: str

    def __init__(self, network: nn.Module, settings: TrainSettings, precision: Precision, ranks: Ranks) -> None:
        network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] - torch's stub lacks it
        self.network = network.to(precision.device).train()
        self.power = 0.0
        self._precision = precision
        self.learner = Learner(self.network.parameters(), settings, precision, ranks)

    @abstractmethod
    def fool(self, out: Reconstruction, src: FaceBatch, dst: FaceBatch) -> Tensor:
        """The loss it adds, 0-dim, weighted; gradients reach the network only."""

    @abstractmethod
    def judge(self, out: Reconstruction, src: FaceBatch, dst: FaceBatch) -> Tensor:
        """Its own loss, 0-dim; gradients reach the discriminator only."""

    def learn(self, out: Reconstruction, src: FaceBatch, dst: FaceBatch, share: float) -> Tensor:
        """Gather gradients of its own loss, times ``share``; returns the loss without gradient."""
        require_gradients(self.network, True)
        loss = self.judge(out, src, dst)
        self.learner.backward(loss * share)
        return loss.detach()

    def state(self) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
        """(sets of tensors, JSON by set)."""
        tensors, rest = self.learner.state()
        return {self.name: self.network.state_dict(), f"{self.name}_optimizer": tensors}, {
            f"{self.name}_optimizer": rest
        }

    def load(self, tensors: Mapping[str, Mapping[str, Tensor]], rest: Mapping[str, Any]) -> str:
        """Take over a stored state; a sentence when it has another size and the discriminator begins anew."""
        weights = tensors[self.name]
        own = self.network.state_dict()
        if {n: t.shape for n, t in weights.items()} != {n: t.shape for n, t in own.items()}:
            return f"The size of the discriminator '{self.name}' changed; it begins anew."
        self.network.load_state_dict(dict(weights))
        which = f"{self.name}_optimizer"
        return self.learner.load(tensors.get(which, {}), rest.get(which, {}))


class Gan(Adversary):
    """Judges whether faces are drawn: SAEHD shows it src-src, AMP both sides."""

    name = "gan"

    def __init__(self, model: FaceSwapModel, settings: TrainSettings, precision: Precision, ranks: Ranks) -> None:
        patch = settings.gan_patch_size or model.resolution // 8
        super().__init__(UNetDiscriminator(model.channels, patch, settings.gan_dims), settings, precision, ranks)
        self._both_sides = settings.model_class == "amp"
        self._settings = settings

    def fool(self, out: Reconstruction, src: FaceBatch, dst: FaceBatch) -> Tensor:
        """power * (BCE of both maps against "real"); small terms that keep the surroundings calm when masked."""
        require_gradients(self.network, False)
        drawn = self._drawn(out, src, dst)
        loss = self._scores(drawn, real=True).mean() * self.power * (2 if self._both_sides else 1)
        if self._settings.masked_training:
            loss = loss + gan_extras(out.src_src, src.target, src.mask).mean()
        return loss

    def judge(self, out: Reconstruction, src: FaceBatch, dst: FaceBatch) -> Tensor:
        """Half the BCE of real faces against "real" and drawn ones against "drawn", of both maps; AMP: a quarter."""
        drawn = self._drawn(out, src, dst).detach()
        real = self._cut(src.target, src.mask)
        if self._both_sides:
            real = torch.cat((real, self._cut(dst.target, dst.mask)))
        share = 0.25 if self._both_sides else 0.5
        return (self._scores(real, real=True).mean() + self._scores(drawn, real=False).mean()) * share

    def _scores(self, faces: Tensor, real: bool) -> Tensor:
        with self._precision.autocast():
            centre, full = self.network(faces)
        return bce(centre.float(), real) + bce(full.float(), real)

    def _drawn(self, out: Reconstruction, src: FaceBatch, dst: FaceBatch) -> Tensor:
        if not self._both_sides:
            return self._cut(out.src_src, src.mask)
        return self._cut(torch.cat((out.src_src, out.dst_dst)), torch.cat((src.mask, dst.mask)))

    def _cut(self, faces: Tensor, masks: Tensor) -> Tensor:
        return faces * soft_mask(masks) if self._settings.masked_training else faces


class TrueFace(Adversary):
    """Judges codes of df networks, so that those of src come to look like those of dst."""

    name = "true_face"

    def __init__(self, model: FaceSwapModel, settings: TrainSettings, precision: Precision, ranks: Ranks) -> None:
        if not isinstance(model, SaehdDf):
            raise BadInputError("True face needs a df architecture; others have no code of its own for each face.")
        inter = model.inter
        side = inter.side if inter.upscale1 is None else inter.side * 2
        super().__init__(CodeDiscriminator(inter.channels, side), settings, precision, ranks)

    def fool(self, out: Reconstruction, src: FaceBatch, dst: FaceBatch) -> Tensor:
        """power * BCE of the src codes against "dst"."""
        require_gradients(self.network, False)
        return self._scores(self._code(out.src_code), real=True).mean() * self.power

    def judge(self, out: Reconstruction, src: FaceBatch, dst: FaceBatch) -> Tensor:
        """Half the BCE of dst codes against "dst" and src codes against "src"."""
        dst_codes, src_codes = self._code(out.dst_code).detach(), self._code(out.src_code).detach()
        return (self._scores(dst_codes, real=True).mean() + self._scores(src_codes, real=False).mean()) * 0.5

    def _scores(self, codes: Tensor, real: bool) -> Tensor:
        with self._precision.autocast():
            logits = self.network(codes)
        return bce(logits.float(), real)

    @staticmethod
    def _code(code: Tensor | None) -> Tensor:
        if code is None:
            raise ValueError("true face needs a network with one code per face")
        return code
