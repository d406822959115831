"""Looking for a new model's learning rate before its first iteration, and what a job says about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backend.core.errors import StopRequested
from backend.core.settings import TrainSettings
from backend.pipeline.context import StageContext
from backend.pipeline.train_data import TrainingData
from backend.storage.lr_curve import LR_CURVE, LrCurve, drop_lr_curve, write_lr_curve
from backend.storage.model_folder import ModelFolder
from backend.training.loop import Training
from backend.training.lr_finder import DIVISORS, adopt_rate, search_rate

OFF, SET, PLOT = "off", "set", "plot"
PLOTTED = "learning rate plotted"
"""Why a job ends that only draws the curve."""


def find_rate(training: Training, data: TrainingData, folder: ModelFolder, ctx: StageContext) -> None:
    """Look for a rate and do with it what the settings say. Afterwards the training stands where it stood.

    "set" makes it the model's learning rate; "plot" keeps the curve in the model's folder and gives the training a
    reason to end; "plot_and_set" keeps the curve and makes the rate the model's.

    Args:
        training: of a new model; other processes run the same.
        data: its faces.
        folder: the model's folder, locked by the caller.
        ctx: told how far it is, and asked whether to stop.

    Raises:
        StopRequested: the user asked to stop; nothing was saved.
        LookalikeError: no rate was found.
    """
    mode, steps = training.chosen.lr_finder, training.chosen.lr_finder_iterations
    with data.loader(training) as loader:
        curve = search_rate(training, loader, data.augmenter(training), _Watch(steps, ctx).goes_on)
    if curve is None:
        ctx.log("Stopped while looking for a learning rate; nothing was saved.")
        raise StopRequested
    if training.ranks.rank == 0:
        write_lr_curve(folder.path, curve) if mode != SET else drop_lr_curve(folder.path)
    if mode == PLOT:
        training.stop_reason = PLOTTED
    else:
        adopt_rate(training, curve.chosen)
    settings = {} if mode == PLOT else {"settings": training.chosen.model_dump(mode="json")}
    ctx.milestone("lr found", _sentence(curve, mode), 0, learning_rate=curve.chosen, best=curve.best, **settings)


def without_search(stored: Mapping[str, Any], settings: TrainSettings, ctx: StageContext) -> TrainSettings:
    """Settings with which a model that exists goes on: nothing is looked for, and a rate that was found stays.

    Args:
        stored: the model's own, as they were saved.
        settings: as given.
    """
    if settings.lr_finder == OFF:
        return settings
    given = settings.learning_rate
    kept = given if settings.lr_finder == PLOT else float(stored.get("learning_rate", given))
    ctx.log(
        f"A learning rate is looked for with new models only; going on with {kept:.3g}. Switch the finder off to set "
        "another one."
    )
    return settings.model_copy(update={"learning_rate": kept, "lr_finder": OFF})


class _Watch:
    """Progress and the wish to stop, before each step."""

    def __init__(self, steps: int, ctx: StageContext) -> None:
        self._steps = steps
        self._ctx = ctx

    def goes_on(self, done: int) -> bool:
        """Report, and tell whether to go on."""
        self._ctx.progress(done, self._steps, "steps", message="Looking for a learning rate")
        return not self._ctx.stop_requested()


def _sentence(curve: LrCurve, mode: str) -> str:
    divisor = DIVISORS[curve.strength]
    said = (
        f"The loss was lowest at a learning rate of {curve.best:.3g}; divided by {divisor:g} that is {curve.chosen:.3g}"
    )
    if abs(curve.chosen - curve.best / divisor) > 1e-3 * curve.chosen:
        said += ", brought into the range of the setting"
    if mode == PLOT:
        return f"{said}. The curve is kept as {LR_CURVE}; nothing was trained."
    return f"{said}. The model trains with it."
