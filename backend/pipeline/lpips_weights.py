"""The networks of LPIPS losses, from the weights folder."""

from __future__ import annotations

from functools import cache, partial

from backend.core.lpips_files import LPIPS_FILES
from backend.core.settings import TrainSettings
from backend.core.settings.losses import chosen_losses
from backend.environment import weights_folder
from backend.models.losses.lpips import load_lpips
from backend.pipeline.context import StageContext
from backend.storage.weights import default_folder
from backend.training.loss_shelf import LpipsSource


def lpips_source(settings: TrainSettings, ctx: StageContext) -> LpipsSource:
    """What gives a training the networks of LPIPS losses; each is read once. Those that are chosen are read now.

    Raises:
        BadInputError: the weights of a chosen loss are not there; the sentence says what to download and where it goes.
        DamagedFileError: they are something else.
    """
    folder = weights_folder() or default_folder(ctx.project.path.parent)
    source = cache(partial(load_lpips, weights_dir=folder))
    for name in chosen_losses(settings):
        if name in LPIPS_FILES:
            source(name)
    return source
