"""The train stage: from two facesets to a model folder, again and again."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import Any

import torch

from backend.core.errors import StopRequested
from backend.core.provenance import Provenance
from backend.core.settings import TrainSettings
from backend.devices import torch_device
from backend.models.base import FaceSwapModel
from backend.models.registry import build_model
from backend.pipeline.context import StageContext
from backend.storage.checkpoint import Generation, join_optimizer, load_latest, remove_unfinished, rng_from_text
from backend.storage.model_folder import ModelFolder, ModelInfo, resume_settings
from backend.training.callbacks.checkpoint import CheckpointCallback
from backend.training.callbacks.learning_rate import LearningRateCallback
from backend.training.callbacks.metrics import MetricsCallback
from backend.training.callbacks.nan_guard import NanGuardCallback
from backend.training.callbacks.preview import ROWS, PreviewCallback
from backend.training.callbacks.target import STOPPED, TARGET, TargetCallback
from backend.training.dataset import CacheBudget, FaceCache, FaceShape, LoadReport, load_faces
from backend.training.evaluate import evenly, held_out_ssim
from backend.training.loader import BatchLoader, EpochSampler, take
from backend.training.loop import Training, train
from backend.training.loss_log import LossLog
from backend.training.memory import (
    free_bytes,
    is_out_of_memory,
    limit_threads,
    require_memory,
    short_of_memory,
)
from backend.training.step import TrainStep

_LISTED = 20


@dataclass(frozen=True)
class _Data:
    """Both sides' faces, and which of them train and which are held out."""

    src: FaceCache
    dst: FaceCache
    holdout_every: int

    def loader(self, training: Training) -> BatchLoader:
        """Batches from where the training stands."""
        seed, drawn = training.settings.seed, training.drawn
        src = EpochSampler(self.src.split(self.holdout_every)[0], 2 * seed, drawn[0])
        dst = EpochSampler(self.dst.split(self.holdout_every)[0], 2 * seed + 1, drawn[1])
        pin = training.step.device.type == "cuda"
        return BatchLoader((self.src, src), (self.dst, dst), training.settings.batch_size, pin)


def run(settings: TrainSettings, ctx: StageContext) -> dict[str, Any]:
    """Create a model, or go on with it, until a target, a limit or the user ends it.

    Returns:
        iteration, src_loss, dst_loss, the SSIM of held_out_ssim() (None without held-out faces), images_per_s, step_s,
        peak_memory_mb, took_s, reason (why it ended).

    Raises:
        BadInputError: too few faces; or the model exists with other frozen settings.
        ModelBusyError: somebody else trains this model.
        MemoryShortError: the batch does not fit; the sentence proposes one that does.
        DamagedFileError: the model has checkpoints, but none is whole.
        StopRequested: the user asked to stop; everything is saved.
    """
    folder = ModelFolder(ctx.project.model_dir(settings.model))
    with folder.lock(f"job {ctx.job_dir.name}") as vanished:
        if vanished is not None:
            ctx.log(f"{vanished.name} ended without letting the model go; taken over.", "warning")
        saved = _load(folder, ctx)
        settings = _settings_of(saved, settings)
        device = torch_device(settings.device)
        limit_threads()
        model = build_model(settings, settings.seed)
        need = require_memory(model, settings, device)
        try:
            step = TrainStep(model, settings, device)
            return _train(step, settings, folder, saved, ctx)
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                raise short_of_memory(settings, need, free_bytes(device)) from error
            raise


def _load(folder: ModelFolder, ctx: StageContext) -> Generation | None:
    """The newest whole checkpoint; what was wrong with newer ones is told."""
    for name in remove_unfinished(folder.generations_dir):
        ctx.log(f"Checkpoint {name} was never finished and was removed.", "warning")
    saved = load_latest(folder.generations_dir)
    for bad in saved.skipped if saved else ():
        ctx.log(f"Checkpoint {bad.name} was passed over: {bad.reason}", "warning")
    if saved is not None:
        message = f"Going on from iteration {saved.state.iteration}."
        ctx.milestone("resumed", message, saved.state.iteration)
    return saved


def _settings_of(saved: Generation | None, given: TrainSettings) -> TrainSettings:
    """Settings of this run: frozen ones from the checkpoint, and a seed where none was chosen."""
    stored = saved.state.info.settings if saved else {}
    settings = resume_settings(stored, given)
    seed = settings.seed or int(stored.get("seed") or 0) or 1 + secrets.randbelow(2**31 - 1)
    return settings.model_copy(update={"seed": seed})


def _train(
    step: TrainStep, settings: TrainSettings, folder: ModelFolder, saved: Generation | None, ctx: StageContext
) -> dict[str, Any]:
    data = _load_data(step.model, settings, folder, ctx)
    training = Training(step, settings, torch.Generator().manual_seed(settings.seed))
    if saved is not None:
        _restore(training, saved)
    if training.step.precision.note:
        ctx.log(training.step.precision.note, "warning")
    losses = LossLog(folder.losses)
    losses.drop_after(training.iteration)
    metrics = MetricsCallback(losses, ctx.emit)
    checkpoint = CheckpointCallback(
        folder, _info(settings, saved), losses, ctx.emit, _provenance(settings, ctx), lambda: ctx.take_request("save")
    )

    def roll_back(running: Training) -> int:
        """Back to the newest whole checkpoint."""
        good = load_latest(folder.generations_dir)
        if good is not None:
            _restore(running, good)
            losses.drop_after(running.iteration)
        return running.iteration

    previews = [take(side, evenly(side.usable, ROWS)) for side in (data.src, data.dst)]
    callbacks = (
        TargetCallback(ctx.stop_requested),
        metrics,
        NanGuardCallback(roll_back, ctx.emit),
        PreviewCallback(previews[0], previews[1], ctx.job_dir, folder, ctx.emit),
        checkpoint,
        LearningRateCallback(),
    )
    with data.loader(training) as loader:
        train(training, loader, callbacks)
    figures = {**metrics.summary(training), "reason": training.stop_reason}
    _tell_end(training, figures["iterations_done"], ctx)
    return {**_result(training, checkpoint.info), **_evaluate(training, data), **figures}


def _tell_end(training: Training, done: int, ctx: StageContext) -> None:
    """Say what ended the training where that needs a word; StopRequested after a stop."""
    if training.stop_reason == STOPPED:
        ctx.log(f"Stopped at iteration {training.iteration}; saved.")
        raise StopRequested
    if training.stop_reason == TARGET and not done:
        target = training.settings.target_iterations
        message = f"The model is at iteration {training.iteration} and its target is {target}; nothing was trained."
        ctx.log(f"{message} Set a higher target, or 0 for none.", "warning")


def _load_data(model: FaceSwapModel, settings: TrainSettings, folder: ModelFolder, ctx: StageContext) -> _Data:
    shape = FaceShape(model.resolution, model.channels, model.face_type)
    files = []
    damaged = {}
    for side in ("src", "dst"):
        faceset = ctx.project.side(side).faceset()
        files.append(faceset.records())
        damaged[side] = faceset.damaged()
        for name, reason in damaged[side][:_LISTED]:
            ctx.log(f"{side} face {name} was left out: {reason}", "warning")
    report = LoadReport(lambda done, total: ctx.progress(done, total, "faces", message="Loading faces"), ctx.check_stop)
    budget = CacheBudget(settings.cache_mb << 20, folder.cache_dir)
    src, dst = load_faces(files[0], files[1], shape, budget, report)
    for name, cache in (("src", src), ("dst", dst)):
        for file, reason in cache.skipped[:_LISTED]:
            ctx.log(f"{name} face {file} was left out: {reason}", "warning")
        trained, held = cache.split(settings.holdout_every)
        left_out = len(cache.skipped) + len(damaged[name])
        ctx.log(f"{len(trained)} {name} faces to train on, {len(held)} held out, {left_out} left out.")
    return _Data(src, dst, settings.holdout_every)


def _restore(training: Training, saved: Generation) -> None:
    """Put everything where the checkpoint has it; another kind of optimiser starts anew."""
    training.step.model.load_state_dict(saved.weights)
    if saved.state.info.settings.get("optimizer") == training.settings.optimizer:
        training.step.load_optimizer_state(join_optimizer(saved.optimizer, saved.state.optimizer))
    rng_from_text(training.generator, saved.state.rng["augment"])
    training.drawn = tuple(saved.state.rng["drawn"])
    training.iteration = saved.state.iteration


def _info(settings: TrainSettings, saved: Generation | None) -> ModelInfo:
    if saved is not None:
        return saved.state.info
    return ModelInfo(model_class=settings.model_class, settings=settings.model_dump(mode="json"))


def _provenance(settings: TrainSettings, ctx: StageContext) -> Provenance:
    return Provenance(
        project=ctx.project.name,
        consent=ctx.project.consent,
        model=settings.model,
        model_class=settings.model_class,
        settings=settings.model_dump(mode="json"),
        created=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    )


def _evaluate(training: Training, data: _Data) -> dict[str, Any]:
    """Masked SSIM on what was held out; None without."""
    held_src, held_dst = (side.split(data.holdout_every)[1] for side in (data.src, data.dst))
    return held_out_ssim(training.step.model, (data.src, held_src), (data.dst, held_dst), training.step.device)


def _result(training: Training, info: ModelInfo) -> dict[str, Any]:
    return {"iteration": training.iteration, "src_loss": info.src_loss, "dst_loss": info.dst_loss}
