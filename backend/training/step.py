"""One training step: both faces through the network, losses, gradients, optimiser, then the discriminators."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from backend.core.errors import LookalikeError
from backend.core.settings import SaehdSettings, TrainSettings
from backend.models.base import FaceSwapModel, Reconstruction
from backend.training.adversaries import Adversary, Gan, TrueFace
from backend.training.average import WeightAverage
from backend.training.batch import FaceBatch
from backend.training.compiled import compiled
from backend.training.freezing import frozen_names
from backend.training.learner import Learner
from backend.training.loss_shelf import LpipsSource, without_lpips
from backend.training.objective import Losses, build_objective
from backend.training.optimizers import MovingAverageOptimizer
from backend.training.precision import choose_precision
from backend.training.ranks import Ranks
from backend.training.running_stats import RunningStats

_ADVERSARIES = ("gan", "true_face")
"""Their places give the seeds of their weights."""


@dataclass(frozen=True)
class StepLosses:
    """What a step found, on the device.

    Attributes:
        src, dst: mean loss of each side before the update, 0-dim float32 without gradient.
        skipped: losses or gradients were not finite, and the weights are as before; 0-dim bool. An fp16 overflow that
            a smaller loss scale may cure is not counted, although such a step changes nothing either; one at the
            smallest scale is.
        terms: the parts of the losses by name, 0-dim, weighted; and "gan", "gan_d", "true_face", "true_face_d".
    """

    src: Tensor
    dst: Tensor
    skipped: Tensor
    terms: Mapping[str, Tensor] = field(default_factory=dict)


class TrainStep:
    """Trains a model, one call per iteration. Minimised is the mean over the batch, src plus dst.

    Args:
        model: freshly built or loaded; it is moved to the device.
        settings: its training settings.
        device: where to train.
        ranks: the processes that train together; each sees its share of the batch.
        lpips: gives the networks of LPIPS losses.

    Attributes:
        model: on the device, in training mode, convolution weights in channels-last memory.
        device, precision: as chosen.
        notes: what could not be done as asked for, sentences.
    """

    def __init__(
        self,
        model: FaceSwapModel,
        settings: TrainSettings,
        device: torch.device,
        ranks: Ranks | None = None,
        lpips: LpipsSource = without_lpips,
    ) -> None:
        self.device = device
        self._lpips = lpips
        self._objective = build_objective(settings, lpips)
        self._ranks = ranks or Ranks()
        model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] - torch's stub lacks it
        self.model = model.to(device).train()
        model.freeze(frozen_names(model, settings))
        self.precision = choose_precision(settings.precision, device)
        self.notes = [self.precision.note] if self.precision.note else []
        network = self._ranks.wrap(model)
        self._stats = RunningStats(model)
        self._network = network
        if settings.compile:
            self._network, note = compiled(network, device)
            self.notes += [note] if note else []
        self._learner = Learner(self.model.parameters(), settings, self.precision)
        self._average = WeightAverage(self.model) if settings.average_weights else None
        self._adversaries: dict[str, Adversary] = {}
        self._carried: tuple[dict[str, Mapping[str, Tensor]], dict[str, Any]] = ({}, {})
        self._gathered = 0
        self.configure(settings)

    @property
    def shown_model(self) -> FaceSwapModel:
        """What previews and merging use: the average of the weights where one is kept, else the model."""
        return self._average.model if self._average is not None else self.model

    @property
    def gathered(self) -> int:
        """Batches whose gradients wait for the rest of an optimiser step; 0 right after one. state() lacks them."""
        return self._gathered

    @property
    def optimizer(self) -> MovingAverageOptimizer:
        """The network's optimiser."""
        return self._learner.optimizer

    def optimizers(self) -> Iterator[MovingAverageOptimizer]:
        """The network's optimiser and those of the discriminators."""
        yield self._learner.optimizer
        for adversary in self._adversaries.values():
            yield adversary.learner.optimizer

    def configure(self, settings: TrainSettings) -> None:
        """Take over settings that may change while training: losses, their weights and powers.

        Where a newly chosen loss has no weights the losses stay as they are, and a note says so.
        """
        self._settings = settings
        try:
            self._objective = build_objective(settings, self._lpips)
        except LookalikeError as error:
            self.notes.append(f"The losses stay as they were. {error}")
        powers = {"gan": settings.gan_power}
        if isinstance(settings, SaehdSettings):
            powers["true_face"] = settings.true_face_power
        for name, power in powers.items():
            if power and name not in self._adversaries:
                self._adversaries[name] = self._adversary(name, settings)
            if name in self._adversaries:
                self._adversaries[name].power = power

    def __call__(self, src: FaceBatch, dst: FaceBatch) -> StepLosses:
        """Learn from one batch of each side, float32 on the device."""
        src, dst = self._objective.prepare(src), self._objective.prepare(dst)
        share = 1.0 / self._settings.accumulate
        active = [adversary for adversary in self._adversaries.values() if adversary.power]
        with self._ranks.gathering(last=self._gathered + 1 >= self._settings.accumulate):
            out = self._predict(src, dst)
            losses = self._objective(out, src, dst)
            own = losses.src.mean() + losses.dst.mean()
            asked = {adversary.name: adversary.fool(out, src, dst) for adversary in active}
            total = own + sum(asked.values())
            self._learner.backward(total * share)
        self._stats.settle()
        terms = {**losses.terms, **{name: loss.detach() for name, loss in asked.items()}}
        for adversary in active:
            terms[f"{adversary.name}_d"] = adversary.learn(out, src, dst, share)
        self._gathered += 1
        seen = [losses.src.detach().mean(), losses.dst.detach().mean(), total.detach()]
        self._ranks.average_([*seen, *terms.values()])
        skipped = ~seen[2].isfinite()
        if self._gathered >= self._settings.accumulate:
            skipped = self._update(active, skipped)
        return StepLosses(seen[0], seen[1], skipped, terms)

    def losses(self, src: FaceBatch, dst: FaceBatch) -> Losses:
        """Losses of each sample, with gradients; nothing is updated and no discriminator asked."""
        src, dst = self._objective.prepare(src), self._objective.prepare(dst)
        return self._objective(self._predict(src, dst), src, dst)

    def restart_average(self) -> None:
        """Begin the average of the weights anew, at what they are now."""
        if self._average is not None:
            self._average = WeightAverage(self.model)

    def forget(self) -> None:
        """Drop what an interrupted step has gathered."""
        self._gathered = 0
        self._learner.forget()
        for adversary in self._adversaries.values():
            adversary.learner.forget()

    def state(self) -> tuple[dict[str, Mapping[str, Tensor]], dict[str, Any]]:
        """Everything that has to be saved: sets of tensors by name, and of each what is JSON."""
        tensors, rest = dict(self._carried[0]), dict(self._carried[1])
        tensors["weights"] = self.model.state_dict()
        tensors["optimizer"], rest["optimizer"] = self._learner.state()
        if self._average is not None:
            tensors["average"] = self._average.state_dict()
            rest["average"] = self._average.count
        for adversary in self._adversaries.values():
            sets, facts = adversary.state()
            tensors.update(sets)
            rest.update(facts)
        return tensors, rest

    def load(self, tensors: Mapping[str, Mapping[str, Tensor]], rest: Mapping[str, Any]) -> list[str]:
        """Take over what state() gave, on whatever device. Discriminators that are off are kept for later.

        Returns:
            sentences about what begins anew because the settings changed.

        Raises:
            DamagedFileError: it belongs to another model.
        """
        self.model.load_state_dict(dict(tensors["weights"]))
        self._stats.renew()
        notes = [self._learner.load(tensors["optimizer"], rest["optimizer"])]
        if self._average is not None:
            self._average.load_state_dict(dict(tensors.get("average", tensors["weights"])))
            self._average.count = int(rest.get("average", 0))
        self._carried = (
            {name: values for name, values in tensors.items() if name.startswith(("gan", "true_face"))},
            {name: facts for name, facts in rest.items() if name.startswith(("gan", "true_face"))},
        )
        notes += [self._resume(adversary) for adversary in self._adversaries.values()]
        self.forget()
        return [note for note in notes if note]

    def _predict(self, src: FaceBatch, dst: FaceBatch) -> Reconstruction:
        with self.precision.autocast():
            return self._network(src.warped, dst.warped, self._objective.wants_swap)

    def _update(self, active: list[Adversary], broken: Tensor) -> Tensor:
        """One step of every optimiser; returns whether the network's was skipped."""
        self._gathered = 0
        curable = self._learner.scale.can_fall()
        finite = self._learner.step()
        for adversary in active:
            adversary.learner.step()
        if self._average is not None:
            self._average.update()
        return broken | ~(finite | curable) if self._learner.scale.enabled else ~finite

    def _adversary(self, name: str, settings: TrainSettings) -> Adversary:
        """A new one, the same in every process; torch's generator stays as it was."""
        kind = TrueFace if name == "true_face" else Gan
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed + _ADVERSARIES.index(name))
            made = kind(self.model, settings, self.precision, self._ranks)
        note = self._resume(made)
        self.notes += [note] if note else []
        return made

    def _resume(self, adversary: Adversary) -> str:
        """Let it take over what was carried for it, which is then dropped here."""
        tensors, rest = self._carried
        note = adversary.load(tensors, rest) if adversary.name in tensors else ""
        for name in (adversary.name, f"{adversary.name}_optimizer"):
            tensors.pop(name, None)
            rest.pop(name, None)
        return note
