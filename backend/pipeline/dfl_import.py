"""Bringing in a model that DeepFaceLab trained: weights, settings, losses, and what its optimisers remember.

The network is built from the stored options and filled; a fresh training of it then takes over the optimiser's state
and is saved as if it had just been interrupted, so that it goes on, merges and exports like one that began here.
"""

from __future__ import annotations

import shutil
import time
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import nn

from backend.core.errors import DamagedFileError, MemoryShortError
from backend.core.names import is_folder_name
from backend.core.provenance import SOFTWARE, Provenance
from backend.core.settings import TrainSettings
from backend.models.base import FaceSwapModel
from backend.models.dfl_names import load_dfl_weights
from backend.models.registry import build_model
from backend.models.saehd import SaehdDf
from backend.pipeline.context import StageContext
from backend.pipeline.dfl_moments import missing_words, take_moments
from backend.pipeline.dfl_options import settings_of
from backend.storage.atomic import require_free_disk
from backend.storage.checkpoint import CheckpointState, save_generation
from backend.storage.dfl_archive import name_in, unpack_model
from backend.storage.dfl_model import DflModel, Tensor, find_data, read_model, read_tensors
from backend.storage.linking import Progress
from backend.storage.model_folder import ModelFolder, ModelInfo
from backend.storage.model_operations import RESERVE_BYTES, free_model_name, new_model
from backend.training.adversaries import Adversary, Gan, TrueFace
from backend.training.callbacks.checkpoint import random_state
from backend.training.loop import Training
from backend.training.memory import free_bytes
from backend.training.precision import choose_precision
from backend.training.ranks import Ranks
from backend.training.step import TrainStep

OPTIMIZER = "src_dst_opt"
"""File of the network's optimiser."""


@dataclass(frozen=True)
class Judge:
    """A discriminator as DeepFaceLab stores it.

    Attributes:
        part, optimizer: its files.
        network: its name inside its optimiser's file.
        build: our twin of it.
    """

    part: str
    optimizer: str
    network: str
    build: type[Gan] | type[TrueFace]


JUDGES: Mapping[str, Judge] = MappingProxyType(
    {
        "gan": Judge("GAN", "GAN_opt", "D_src", Gan),
        "true_face": Judge("code_discriminator", "D_code_opt", "dis", TrueFace),
    }
)
"""Our name of a discriminator -> DeepFaceLab's."""

_SHOWN_LOSSES = 100
_CHUNK = 50_000
_SOURCE = "source"


def import_dfl(path: Path, ctx: StageContext, name: str, progress: Progress) -> ModelFolder:
    """Make a model of one that DeepFaceLab trained.

    Args:
        path: its folder, its data file, or a ZIP archive of it.
        ctx: of the project that gets the model; told what could not be taken over.
        name: of the new model; empty takes the one it had, with -2, -3, ... behind it when that is taken.
        progress: told the bytes as they are read; what it raises leaves nothing.

    Raises:
        BadInputError: there is no such model, several to choose from, or a network that cannot be built here.
        DamagedFileError: a file is damaged, hostile, or of another size than the options say.
        DiskFullError: the model does not fit.
        MemoryShortError: its files do not fit into memory.
    """
    archived = path.is_file() and path.suffix.lower() == ".zip"
    data = None if archived else find_data(path)
    theirs = name_in(path) if data is None else read_model(data).name
    theirs = unicodedata.normalize("NFC", theirs)  # some systems store accents apart from their letters
    name = name or free_model_name(ctx.project, theirs if is_folder_name(theirs) else "imported")
    with new_model(ctx.project, name) as target:
        if data is None:
            (target / _SOURCE).mkdir()
            data = unpack_model(path, target / _SOURCE, progress)
        _convert(read_model(data), ModelFolder(target), name, ctx, progress)
        shutil.rmtree(target / _SOURCE, ignore_errors=True)
    return ModelFolder(ctx.project.model_dir(name))


def import_bytes(path: Path) -> int:
    """About how many bytes import_dfl() reports. Errors as of that."""
    if path.is_file() and path.suffix.lower() == ".zip":
        return 2 * path.stat().st_size
    return read_model(find_data(path)).bytes


def _convert(source: DflModel, folder: ModelFolder, name: str, ctx: StageContext, progress: Progress) -> None:
    _require_memory(source)
    settings, notes = settings_of(source.kind, source.options, name, _told_by_files(source))
    settings = settings.resolved()
    _require_sizes(source, settings)
    require_free_disk(folder.path, source.bytes + RESERVE_BYTES)
    model = build_model(settings)
    for part, network in model.parts().items():
        load_dfl_weights(network, _all_of(source.files[part], progress))
    step = TrainStep(model, settings.effective().model_copy(update=_quiet(settings)), torch.device("cpu"))
    if OPTIMIZER in source.files:
        moments = take_moments(step.optimizer, dict(model.parts()), _told(source.files[OPTIMIZER], progress))
        notes += missing_words("the network", moments)
    else:
        notes.append("There is no file of the network's optimiser; it begins anew.")
    tensors, rest = step.state()
    for judge in _judges(source, model, settings, notes, progress):
        sets, facts = judge.state()
        tensors.update(sets)
        rest.update(facts)
    training = Training(step, settings, torch.Generator().manual_seed(settings.seed or 1))
    training.iteration = source.iteration
    info = _info(source, settings)
    state = CheckpointState(
        iteration=source.iteration,
        info=info,
        rng=random_state(training),
        rest=rest,
        provenance=_provenance(source, settings, ctx),
    )
    save_generation(folder.generations_dir, state, tensors)
    _write_losses(source, folder)
    folder.write_info(info)
    for note in notes:
        ctx.log(note, "warning")


def _quiet(settings: TrainSettings) -> dict[str, Any]:
    """Changes that leave the discriminators out: they are filled on their own."""
    return {power: 0.0 for power in ("gan_power", "true_face_power") if power in type(settings).model_fields}


def _told_by_files(source: DflModel) -> dict[str, Any]:
    """What the first tensors of two files say: channels of the picture, and the optimiser where no option names it."""
    if "encoder" not in source.files:
        raise _lacks(source, "encoder")
    told: dict[str, Any] = {}
    shape = next((array.shape for _, array in read_tensors(source.files["encoder"]) if array.ndim == 4), None)
    if shape is None or shape[2] not in (1, 3):
        raise DamagedFileError(f"{source.files['encoder'].name} is no encoder of pictures with one or three channels.")
    told["channels"] = int(shape[2])
    if "adabelief" not in source.options and OPTIMIZER in source.files:
        names = (key for key, array in read_tensors(source.files[OPTIMIZER]) if array.ndim)
        told["optimizer"] = "rmsprop" if next(names, "").startswith("acc_") else "adabelief"
    return told


def _require_sizes(source: DflModel, settings: TrainSettings) -> None:
    """Refuse options that promise more than the files hold, before anything is allocated."""
    with torch.device("meta"):
        planned = build_model(settings)
    for part, network in planned.parts().items():
        if part not in source.files:
            raise _lacks(source, part)
        needed = sum(weight.numel() * 2 for weight in network.parameters())
        if source.files[part].stat().st_size < needed:
            raise DamagedFileError(
                f"{source.files[part].name} is too small for a network of the size that {source.data.name} names.",
                "Copy both again from where the model was trained.",
            )


def _require_memory(source: DflModel) -> None:
    """Refuse files that do not fit into memory, where a network, its optimiser, and one file twice meet."""
    largest = max((file.stat().st_size for file in source.files.values()), default=0)
    need, free = source.bytes + 2 * largest, free_bytes(torch.device("cpu"))
    if need > free:
        raise MemoryShortError(
            f"Reading the files beside {source.data.name} takes about {need >> 20:,} MiB of memory; "
            f"{free >> 20:,} MiB are free.",
            "Close other programs, or do it on a machine with more memory.",
        )


def _lacks(source: DflModel, part: str) -> DamagedFileError:
    wanted = f"{source.data.name.removesuffix('_data.dat')}_{part}.npy"
    return DamagedFileError(f"The file {wanted} is missing beside {source.data.name}.", "Copy the whole model.")


def _told(file: Path, progress: Progress) -> Any:
    """The tensors of a file, and the progress with them."""
    for name, array in read_tensors(file):
        progress(array.nbytes)
        yield name, array


def _all_of(file: Path, progress: Progress) -> dict[str, Tensor]:
    return dict(_told(file, progress))


def _judges(
    source: DflModel, model: FaceSwapModel, settings: TrainSettings, notes: list[str], progress: Progress
) -> list[Adversary]:
    """The discriminators that have a file and fit the options; the others begin anew, which is noted."""
    made: list[Adversary] = []
    for name, judge in JUDGES.items():
        if judge.part not in source.files or (name == "true_face" and not isinstance(model, SaehdDf)):
            continue
        arrays = _all_of(source.files[judge.part], progress)
        adversary = judge.build(model, settings, choose_precision("fp32", torch.device("cpu")), Ranks())
        try:
            load_dfl_weights(adversary.network, arrays)
        except DamagedFileError as error:
            notes.append(f"The discriminator in {source.files[judge.part].name} begins anew: {error.what}")
            continue
        if judge.optimizer in source.files:
            networks: dict[str, nn.Module] = {judge.network: adversary.network}
            told = _told(source.files[judge.optimizer], progress)
            notes += missing_words("a discriminator", take_moments(adversary.learner.optimizer, networks, told))
        made.append(adversary)
    return made


def _info(source: DflModel, settings: TrainSettings) -> ModelInfo:
    newest = source.losses[-_SHOWN_LOSSES:]
    means = [float(mean) for mean in newest.mean(axis=0)] if len(newest) else [None, None]
    return ModelInfo(
        model_class=settings.model_class,
        settings=settings.model_dump(mode="json"),
        iteration=source.iteration,
        src_loss=means[0] if means[0] is None or np.isfinite(means[0]) else None,
        dst_loss=means[1] if means[1] is None or np.isfinite(means[1]) else None,
        origin=_origin(source),
    )


def _origin(source: DflModel) -> str:
    return f"DeepFaceLab {source.kind} '{source.name}', brought in at iteration {source.iteration}."


def _provenance(source: DflModel, settings: TrainSettings, ctx: StageContext) -> Provenance:
    return Provenance(
        software=f"{SOFTWARE}; the model: {_origin(source)}",
        project=ctx.project.name,
        consent=ctx.project.consent,
        model=settings.model,
        model_class=settings.model_class,
        iteration=source.iteration,
        settings=settings.model_dump(mode="json"),
        created=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    )


def _write_losses(source: DflModel, folder: ModelFolder) -> None:
    """Losses under the numbers of the newest iterations; their times are not stored, so all get that of the file."""
    when, count = source.data.stat().st_mtime, len(source.losses)
    first = source.iteration - count + 1
    for start in range(0, count, _CHUNK):
        rows = enumerate(source.losses[start : start + _CHUNK], first + start)
        folder.losses.append([(number, float(src), float(dst), when) for number, (src, dst) in rows])
    folder.losses.sync()
