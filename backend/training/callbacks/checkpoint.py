"""Saves the model: at the start of a new one, at intervals, on request, and at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch

from backend.core.errors import LookalikeError
from backend.core.provenance import Provenance
from backend.core.settings import TrainSettings
from backend.storage.checkpoint import (
    CheckpointState,
    drop_newer,
    rng_from_text,
    rng_to_text,
    save_generation,
    state_from_text,
    state_to_text,
)
from backend.storage.model_folder import ModelFolder, ModelInfo, Session
from backend.training.callbacks.base import Callback, Emit
from backend.training.loop import LossRow, Training
from backend.training.loss_log import LossLog

RETRY_S = 60.0
"""Time from a save that failed to the next try."""


class CheckpointCallback(Callback):
    """Writes generations and model.json, never between two batches of one optimiser step: gradients are not saved.

    Args:
        folder: the model's folder, locked by the caller.
        info: what is known of the model so far.
        losses: written to disk before each generation, so that a curve is never shorter than its checkpoint.
        emit: the events' way out.
        provenance: stored with each generation; model and iteration are filled in here.
        save_requested: True once for each time the user asked to save.
    """

    def __init__(
        self,
        folder: ModelFolder,
        info: ModelInfo,
        losses: LossLog,
        emit: Emit,
        provenance: Provenance,
        save_requested: Callable[[], bool],
    ) -> None:
        self._folder = folder
        self._losses = losses
        self._emit = emit
        self._provenance = provenance
        self._save_requested = save_requested
        self._saved_at = 0.0
        self._failed_at = -RETRY_S
        self._saved_iteration = -1
        self._begins_anew = False
        self._before = info.sessions
        self._started = time.time()
        self._first_iteration = info.iteration
        self.info = info

    def on_start(self, training: Training) -> None:
        """A new model is saved before it has learned anything: a full or read-only disk shows itself at once."""
        self._saved_at = time.monotonic()
        self._first_iteration = training.iteration
        if training.iteration == 0 and self._saved_iteration != 0:
            self._begins_anew = True
            self.save(training)
        self._saved_iteration = training.iteration

    def on_losses(self, training: Training, rows: Sequence[LossRow]) -> None:
        """Save when it is time or the user asked, but no state whose losses are not finite: a way back leads here."""
        if rows[-1].skipped or training.step.gathered:
            return
        due = time.monotonic() - self._saved_at >= training.settings.save_interval_min * 60
        if self._save_requested() or (due and time.monotonic() - self._failed_at >= RETRY_S):
            self._save_or_warn(training)

    def on_end(self, training: Training) -> None:
        """Save what the last interval brought."""
        if training.iteration != self._saved_iteration:
            self.save(training)

    def _save_or_warn(self, training: Training) -> None:
        """A save in the middle that fails, for example on a full disk, is tried again later: training goes on."""
        try:
            self.save(training)
        except (LookalikeError, OSError) as error:
            self._failed_at = time.monotonic()
            message = f"Iteration {training.iteration} could not be saved: {error} Trying again in a minute."
            self._emit("log", {"level": "warning", "message": message})

    def save(self, training: Training) -> None:
        """Write a generation, then model.json."""
        means = self._losses.mark()
        now = time.time()
        session = Session(
            started=self._started,
            ended=now,
            first_iteration=self._first_iteration,
            last_iteration=training.iteration,
            holdout_every=_held_out(training.settings),
        )
        self.info = self.info.model_copy(
            update={
                "settings": training.chosen.model_dump(mode="json"),
                "iteration": training.iteration,
                "src_loss": means[0] if means else self.info.src_loss,
                "dst_loss": means[1] if means else self.info.dst_loss,
                "updated": now,
                "sessions": (*self._before, session),
            }
        )
        tensors, rest = training.step.state()
        state = CheckpointState(
            iteration=training.iteration,
            info=self.info,
            rng=random_state(training),
            rest=rest,
            provenance=self._provenance.model_copy(update={"iteration": training.iteration}),
        )
        save_generation(self._folder.generations_dir, state, tensors)
        if self._begins_anew:
            self._begins_anew = False
            drop_newer(self._folder.generations_dir, training.iteration)
        self._folder.write_info(self.info)
        self._saved_at, self._saved_iteration = time.monotonic(), training.iteration
        losses = f", losses {means[0]:.4f} and {means[1]:.4f}" if means else ""
        message = f"Saved iteration {training.iteration}{losses}."
        self._emit("milestone", {"what": "saved", "message": message, "iteration": training.iteration})


def _held_out(settings: TrainSettings) -> int | None:
    """holdout_every, None for a run that sees none of the project's own faces."""
    return None if settings.pretraining or settings.synthetic else settings.holdout_every


def random_state(training: Training) -> dict[str, Any]:
    """What the next iterations depend on besides tensors, as JSON.

    augment, drawn: augmentation and samplers, from where the next iteration can be repeated; torch, cuda: torch's own
    generators; annealing, rate_factor: where the learning rate stands.
    """
    device = training.step.device
    drawn, at = training.random_point()
    state: dict[str, Any] = {"augment": state_to_text(at), "drawn": list(drawn)}
    training.anneal_from()
    state["annealing"] = list(training.annealing)
    state["rate_factor"] = training.rate_factor
    state["torch"] = rng_to_text(torch.default_generator)
    if device.type != "cpu":
        state[device.type] = state_to_text(_of_device(device, "get_rng_state")())
    return state


def restore_random_state(training: Training, state: Mapping[str, Any]) -> None:
    """Inverse of random_state(); generators of a device that is not there any more begin anew.

    The rate factor stays as it is: a way back must not undo what it lowers.
    """
    device = training.step.device
    rng_from_text(training.generator, state["augment"])
    training.drawn, training.before = tuple(state["drawn"]), None
    training.annealing = tuple(state.get("annealing", (0, 0)))
    if "torch" in state:
        rng_from_text(torch.default_generator, state["torch"])
    if device.type != "cpu" and device.type in state:
        _of_device(device, "set_rng_state")(state_from_text(state[device.type]))


def _of_device(device: torch.device, name: str) -> Callable[..., Any]:
    """torch's function of this name for the generator of an accelerator; an Apple GPU is always the only one."""
    function = getattr(torch.get_device_module(device), name)
    return function if device.type == "mps" else partial(function, device=device)
