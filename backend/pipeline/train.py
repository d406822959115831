"""The train stage: from two facesets to a model folder, again and again."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from backend.core.errors import LookalikeError, StopRequested
from backend.core.provenance import Provenance
from backend.core.settings import TrainSettings
from backend.devices import torch_devices
from backend.models.registry import build_model
from backend.pipeline.context import StageContext
from backend.pipeline.find_rate import OFF, find_rate, without_search
from backend.pipeline.first_weights import check_frozen, first_weights
from backend.pipeline.lpips_weights import lpips_source
from backend.pipeline.train_data import TrainingData, load_data
from backend.pipeline.train_ranks import train_on_several
from backend.storage.checkpoint import Generation, load_latest, remove_unfinished
from backend.storage.model_backups import create_backup
from backend.storage.model_folder import ModelFolder, ModelInfo, resume_settings
from backend.training.augment import Augmenter
from backend.training.callbacks.backup import BackupCallback
from backend.training.callbacks.base import Callback
from backend.training.callbacks.checkpoint import CheckpointCallback, restore_random_state
from backend.training.callbacks.learning_rate import LearningRateCallback
from backend.training.callbacks.live import LiveSettingsCallback
from backend.training.callbacks.metrics import MetricsCallback
from backend.training.callbacks.nan_guard import NanGuardCallback
from backend.training.callbacks.preview import ROWS, PreviewCallback
from backend.training.callbacks.snapshot import SnapshotCallback
from backend.training.callbacks.target import STOPPED, TARGET, TargetCallback
from backend.training.callbacks.tensorboard import TensorBoardCallback
from backend.training.evaluate import evenly, held_out_ssim
from backend.training.loader import take
from backend.training.loop import Training, train
from backend.training.loss_log import LossLog
from backend.training.memory import (
    is_out_of_memory,
    limit_threads,
    release_memory,
    require_memory,
    short_of_memory,
)
from backend.training.ranks import Ranks
from backend.training.step import TrainStep

_MOST_ROLLBACKS = 6


def run(settings: TrainSettings, ctx: StageContext) -> dict[str, Any]:
    """Create a model, or go on with it, until a target, a limit or the user ends it.

    Returns:
        iteration, src_loss, dst_loss, the SSIM of held_out_ssim() (None without held-out faces), images_per_s, step_s,
        peak_memory_mb, skipped, took_s, reason (why it ended). A run that only draws the curve of a learning rate has
        neither losses nor SSIM.

    Raises:
        BadInputError: too few faces; the model exists with other frozen settings; nothing of the weights to begin with
            fits; nothing would learn; or a chosen loss has no weights.
        ModelBusyError: somebody else trains this model.
        MemoryShortError: the batch does not fit; the sentence proposes one that does.
        DamagedFileError: the model has checkpoints, but none is whole.
        LookalikeError: the losses did not stay finite, however often the model was rolled back; or no learning rate was
            found.
        StopRequested: the user asked to stop; everything is saved.
    """
    folder = ModelFolder(ctx.project.model_dir(settings.model))
    folder.require_trainable()
    with folder.lock(f"job {ctx.job_dir.name}") as vanished:
        if vanished is not None:
            ctx.log(f"{vanished.name} ended without letting the model go; taken over.", "warning")
        for name in remove_unfinished(folder.generations_dir):
            ctx.log(f"Checkpoint {name} was never finished and was removed.", "warning")
        devices = torch_devices(settings.device)
        if len(devices) > 1:
            return train_on_several(settings, devices, ctx)
        return train_model(settings, devices[0], Ranks(), ctx)


def train_model(settings: TrainSettings, device: torch.device, ranks: Ranks, ctx: StageContext) -> dict[str, Any]:
    """One process's part of run(), in a model folder that is locked."""
    folder = ModelFolder(ctx.project.model_dir(settings.model))
    saved = _load(folder, ctx)
    chosen = _settings_of(saved, settings, ranks, ctx)
    lpips = lpips_source(chosen.effective(), ctx)
    limit_threads(ranks.count if device.type == "cpu" else 1)
    fitting = ranks.least(require_memory(chosen, device, ranks.count).batch_size)
    if fitting != chosen.batch_size:
        ctx.milestone("batch", f"A batch of {chosen.batch_size} does not fit into memory; training with {fitting}.")
        chosen = chosen.model_copy(update={"batch_size": fitting})
    torch.manual_seed(chosen.seed)
    model = build_model(chosen, chosen.seed)
    check_frozen(model, chosen.effective(), ctx.log)
    if saved is None and ranks.rank == 0:  # the others get its weights, and nothing is downloaded twice at once
        first_weights(model, chosen, ctx)
    own_share = {"cache_mb": max(1, chosen.cache_mb // ranks.count)}
    data = load_data(model, chosen.model_copy(update=own_share), folder, ctx)
    step = TrainStep(model, chosen.effective(), device, ranks, lpips)
    run_of = _Run(folder, ctx, data)
    training = Training(step, chosen, torch.Generator().manual_seed(chosen.seed), run_of.roll_back, ranks)
    run_of.begin(training, saved)
    for note in step.notes:
        ctx.log(note, "warning")
    info = saved.state.info if saved is not None else None
    del saved  # its tensors are not to lie in memory for the whole run
    return run_of.train(training, info)


class _Run:
    """One run of training in a model's folder."""

    def __init__(self, folder: ModelFolder, ctx: StageContext, data: TrainingData) -> None:
        self._folder = folder
        self._ctx = ctx
        self._data = data
        self._losses = LossLog(folder.losses, folder.terms)

    def begin(self, training: Training, saved: Generation | None) -> None:
        """Go on from a checkpoint, or from nothing.

        A learning rate that roll-backs have lowered stays so, until another one is chosen or pretraining ends.
        """
        if saved is None:
            _part_generators(training)
            return
        self.restore(training, saved)
        rate = training.settings.learning_rate
        if training.iteration and saved.state.info.settings.get("learning_rate") == rate:
            training.rate_factor = float(saved.state.rng.get("rate_factor", 1.0))
        if training.rate_factor < 1:
            message = (
                f"Earlier roll-backs have left {rate * training.rate_factor:.3g} of the learning rate {rate:.3g}; "
            )
            self._ctx.log(f"{message}choose another one to train without that.", "warning")

    def restore(self, training: Training, saved: Generation) -> None:
        """Put everything where the checkpoint has it, and say what begins anew."""
        for note in training.step.load(saved.tensors, saved.state.rest):
            self._ctx.log(note, "warning")
        restore_random_state(training, saved.state.rng)
        training.iteration = saved.state.iteration
        if saved.state.info.settings.get("pretrain") and not training.settings.pretraining:
            self._end_pretraining(training)
            training.annealing = (0, 0)
        _part_generators(training)

    def roll_back(self, training: Training) -> None:
        """Back to the newest whole checkpoint; LookalikeError when that was tried too often."""
        if training.rate_factor <= 0.5**_MOST_ROLLBACKS:
            raise LookalikeError(
                f"The losses did not stay finite at iteration {training.iteration}, though the learning rate was "
                f"halved {_MOST_ROLLBACKS} times; the model is kept as it was last saved.",
                "Go on with a backup, clipped gradients, a lower learning rate or without the adversarial losses.",
            )
        good = load_latest(self._folder.generations_dir)
        if good is None:
            return
        at = training.iteration
        self.restore(training, good)
        if training.ranks.rank:
            return
        self._losses.drop_after(training.iteration)
        rate = training.settings.learning_rate * training.rate_factor / 2
        message = (
            f"Too many steps in a row had no finite losses at iteration {at}; back to iteration {training.iteration}, "
            f"and on with the learning rate halved to {rate:.3g}."
        )
        self._ctx.milestone("rolled back", message, training.iteration)

    def train(self, training: Training, info: ModelInfo | None) -> dict[str, Any]:
        """Train to the end and report."""
        metrics = MetricsCallback(self._losses, self._ctx.emit)
        if info is None and training.chosen.lr_finder != OFF:
            metrics.on_start(training)
            self._find_rate(training)
        if training.stop_reason:
            return {"iteration": 0, **metrics.summary(training), "reason": training.stop_reason}
        checkpoint = self._checkpoint(training, info)
        callbacks = self._callbacks(training, metrics, checkpoint)
        if training.ranks.rank == 0:
            self._losses.drop_after(training.iteration)
        work = partial(_train, training, self._data, self._data.augmenter(training), callbacks)
        while failure := _out_of_memory(work):
            self._shrink(training, failure, checkpoint.save)
        figures = {**metrics.summary(training), "reason": training.stop_reason}
        for changed in self._data.changed() if training.ranks.rank == 0 else ():
            self._ctx.log(f"The faces in {changed} changed meanwhile; that counts at the next start.", "warning")
        self._tell_end(training, figures["iterations_done"])
        losses = {"src_loss": checkpoint.info.src_loss, "dst_loss": checkpoint.info.dst_loss}
        return {"iteration": training.iteration, **losses, **self._evaluate(training), **figures}

    def _find_rate(self, training: Training) -> None:
        while failure := _out_of_memory(partial(find_rate, training, self._data, self._folder, self._ctx)):
            self._shrink(training, failure)

    def _callbacks(
        self, training: Training, metrics: MetricsCallback, checkpoint: CheckpointCallback
    ) -> tuple[Callback, ...]:
        if training.ranks.rank:
            return (LearningRateCallback(),)
        ctx, data = self._ctx, self._data
        previews = [take(side, evenly(side.usable, ROWS)) for side in (data.src, data.dst)]
        board = (TensorBoardCallback(self._folder, training.settings),) if training.settings.tensorboard else ()
        return (
            TargetCallback(ctx.stop_requested),
            metrics,
            NanGuardCallback(ctx.emit),
            checkpoint,
            BackupCallback(self._folder, ctx.emit, lambda: ctx.take_request("backup"), checkpoint.save),
            SnapshotCallback(self._folder, ctx.emit, checkpoint.save),
            PreviewCallback(previews[0], previews[1], ctx.job_dir, self._folder, ctx.emit),
            LiveSettingsCallback(ctx.take_changes, ctx.emit),
            *board,
            LearningRateCallback(),
        )

    def _checkpoint(self, training: Training, info: ModelInfo | None) -> CheckpointCallback:
        chosen = training.chosen
        if info is None:
            info = ModelInfo(model_class=chosen.model_class, settings=chosen.model_dump(mode="json"))
        if training.iteration == 0:
            info = info.model_copy(update={"sessions": ()})
        ctx = self._ctx
        return CheckpointCallback(
            self._folder, info, self._losses, ctx.emit, _provenance(chosen, ctx), lambda: ctx.take_request("save")
        )

    def _end_pretraining(self, training: Training) -> None:
        """Keep what was learned of faces in general, forget whose they were; iterations count anew.

        The pretrained state stays as a backup that no limit removes, with its losses and previews.
        """
        if training.ranks.rank == 0:
            create_backup(self._folder, pinned="pretrained")
            shutil.rmtree(self._folder.history_dir, ignore_errors=True)
        model = training.step.model
        fresh = build_model(training.chosen, training.chosen.seed + 1)
        for name in model.identity_parts():
            model.parts()[name].load_state_dict(fresh.parts()[name].state_dict())
        training.step.restart_average()
        training.iteration, training.drawn = 0, (0, 0)
        anew = ", ".join(model.identity_parts())
        message = f"Pretraining is over and kept as a backup: {anew} begin anew, iterations count from 0."
        self._ctx.milestone("pretrained", message, 0)

    def _shrink(
        self, training: Training, failure: str, save: Callable[[Training], object] = lambda training: None
    ) -> None:
        """Go on with a smaller batch after memory ran out; save and MemoryShortError when that cannot be."""
        batch, device = training.chosen.batch_size, training.step.device
        smaller = batch * 3 // 4
        training.step.forget()
        release_memory(device)
        if not training.chosen.shrink_batch or smaller < 1 or training.ranks.count > 1:
            if training.started and training.ranks.rank == 0:
                save(training)
            raise short_of_memory(training.chosen, device, training.ranks.count)
        training.chosen = training.chosen.model_copy(update={"batch_size": smaller})
        message = f"Memory ran out with a batch of {batch} ({failure}); going on with {smaller}."
        self._ctx.milestone("batch", message, training.iteration)

    def _tell_end(self, training: Training, done: int) -> None:
        """Say what ended the training where that needs a word; StopRequested after a stop."""
        if training.stop_reason == STOPPED:
            self._ctx.log(f"Stopped at iteration {training.iteration}; saved.")
            raise StopRequested
        if training.stop_reason == TARGET and not done:
            target = training.settings.target_iterations
            message = f"The model is at iteration {training.iteration} and its target is {target}; nothing was trained."
            self._ctx.log(f"{message} Set a higher target, or 0 for none.", "warning")

    def _evaluate(self, training: Training) -> dict[str, Any]:
        """Masked SSIM on what was held out; None without. Only the first process measures."""
        if training.ranks.rank:
            return {}
        src, dst = ((side, side.split(self._data.holdout_every)[1]) for side in (self._data.src, self._data.dst))
        return held_out_ssim(training.step.shown_model, src, dst, training.step.device)


def _part_generators(training: Training) -> None:
    """Let every process but the first draw other numbers than that one from torch's own generators."""
    ranks = training.ranks
    if ranks.rank:
        torch.manual_seed(training.chosen.seed + ranks.rank + training.iteration * ranks.count)


def _train(training: Training, data: TrainingData, augmenter: Augmenter, callbacks: tuple[Callback, ...]) -> None:
    with data.loader(training) as loader:
        train(training, loader, augmenter, callbacks)


def _out_of_memory(work: Callable[[], None]) -> str:
    """Work until the end, or until memory runs out; then the error's first line."""
    try:
        work()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return (str(error).strip().splitlines() or ["memory"])[0][:200]
    return ""


def _load(folder: ModelFolder, ctx: StageContext) -> Generation | None:
    """The newest whole checkpoint; what was wrong with newer ones is told."""
    saved = load_latest(folder.generations_dir)
    for bad in saved.skipped if saved else ():
        ctx.log(f"Checkpoint {bad.name} was passed over: {bad.reason}", "warning")
    if saved is not None:
        message = f"Going on from iteration {saved.state.iteration}."
        ctx.milestone("resumed", message, saved.state.iteration)
    return saved


def _settings_of(saved: Generation | None, given: TrainSettings, ranks: Ranks, ctx: StageContext) -> TrainSettings:
    """Settings of this run: frozen ones from the checkpoint, and a seed where none was chosen."""
    stored = saved.state.info.settings if saved else {}
    settings = resume_settings(stored, given).resolved()
    if saved is not None:
        settings = without_search(stored, settings, ctx)
        if settings.load_weights:
            ctx.log("Weights are loaded into new models only; this one exists and goes on with its own.", "warning")
    seed = settings.seed or int(stored.get("seed") or 0) or 1 + secrets.randbelow(2**31 - 1)
    return settings.model_copy(update={"seed": ranks.agree(seed)})


def _provenance(settings: TrainSettings, ctx: StageContext) -> Provenance:
    return Provenance(
        project=ctx.project.name,
        consent=ctx.project.consent,
        model=settings.model,
        model_class=settings.model_class,
        settings=settings.model_dump(mode="json"),
        created=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    )
