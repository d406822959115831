"""Writing one of our models as DeepFaceLab lays its own out, so that it trains on and merges there."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from backend.core.errors import BadInputError
from backend.core.provenance import SOFTWARE
from backend.core.settings import TrainSettings
from backend.models.base import FaceSwapModel
from backend.models.dfl_names import MOMENTS, dfl_name, to_dfl_layout
from backend.models.discriminators import CodeDiscriminator, UNetDiscriminator
from backend.models.registry import build_model
from backend.models.saehd import SaehdDf
from backend.pipeline.context import StageContext
from backend.pipeline.dfl_import import JUDGES, OPTIMIZER
from backend.pipeline.dfl_moments import moments_of
from backend.pipeline.dfl_options import options_of
from backend.storage.atomic import require_free_disk
from backend.storage.checkpoint import Generation, load_latest
from backend.storage.dfl_archive import TensorFile, write_archive
from backend.storage.linking import Progress
from backend.storage.model_folder import ModelFolder

_KINDS: Mapping[tuple[str, int], str] = MappingProxyType(
    {("saehd", 3): "SAEHD", ("saehd", 1): "SAEHDBW", ("amp", 3): "AMP", ("quick96", 3): "Quick96"}
)
_SETS = ("optimizer", "average", *(name + end for name in JUDGES for end in ("", "_optimizer")))
_RESERVE_BYTES = 64 << 20


def dfl_stem(folder: ModelFolder) -> str:
    """What DeepFaceLab would name a model's files, such as "anna_SAEHD"; it cannot list names with underscores.

    Raises:
        BadInputError: there is no such model, or DeepFaceLab has none of its kind.
    """
    info = folder.info()
    if info is None:
        raise BadInputError(f"The model '{folder.name}' was not saved yet.", "Train it first.")
    folder.require_trainable()
    kind = _KINDS.get((info.model_class, int(info.settings.get("channels", 3))))
    if kind is None:
        gray = " with one channel" if info.settings.get("channels") == 1 else ""
        raise BadInputError(
            f"DeepFaceLab has no model like '{folder.name}' ({info.model_class}{gray}).",
            "SAEHD in colour and gray, AMP and Quick96 can be written for it; a DFM file merges in live programs.",
        )
    return f"{folder.name.replace('_', '-')}_{kind}"


def write_dfl(folder: ModelFolder, path: Path, ctx: StageContext, progress: Progress) -> dict[str, Any]:
    """Write a model's newest checkpoint in DeepFaceLab's layout, as a ZIP archive.

    Written are the weights as they are trained, float32; the running average that merging uses here has no place
    there.

    Args:
        folder: the model's folder.
        path: the archive, which must not exist; a partial one stays when something fails.
        ctx: told what DeepFaceLab cannot take over.
        progress: told the bytes as they are written.

    Returns:
        {"bytes", "iteration"}.

    Raises:
        BadInputError: there is no such model, it was never trained, or DeepFaceLab has none of its kind.
        DamagedFileError: none of its checkpoints is whole.
        DiskFullError: the archive does not fit.
    """
    stem = dfl_stem(folder)
    generation = load_latest(folder.generations_dir, names=_SETS)
    if generation is None or not generation.state.iteration:
        raise BadInputError(
            f"The model '{folder.name}' has learned nothing yet; DeepFaceLab would take it for a new one.",
            "Train it first.",
        )
    settings = generation.state.info.train_settings().resolved()
    options, notes = options_of(settings)
    with torch.device("meta"):
        planned = build_model(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    size = sum(tensor.nbytes for tensors in generation.tensors.values() for tensor in tensors.values())
    require_free_disk(path.parent, size + _RESERVE_BYTES)
    if "average" in generation.tensors:
        notes.append("The average of the weights stays behind; written are the weights as they are trained.")
    files = [*_networks(planned, generation), *_optimizer(planned, generation, notes)]
    files += _judges(planned, settings, generation, notes)
    facts = {
        "iter": generation.state.iteration,
        "options": options,
        "loss_history": _losses(folder, generation.state.iteration),
        "sample_for_preview": None,
        "choosed_gpu_indexes": None,
    }
    written = write_archive(path, stem, facts, _summary(stem, facts), (_told(file, progress) for file in files))
    for note in notes:
        ctx.log(note, "warning")
    return {"bytes": written, "iteration": generation.state.iteration}


def _networks(planned: FaceSwapModel, generation: Generation) -> Iterator[TensorFile]:
    for part, network in planned.parts().items():
        named = [name for name, _ in network.named_parameters()]
        weights = {name: generation.weights[f"{part}.{name}"] for name in named}
        yield TensorFile(part, len(named), _tensors(weights))


def _tensors(weights: Mapping[str, Tensor]) -> Iterator[tuple[str, Any]]:
    return ((dfl_name(name), to_dfl_layout(weight)) for name, weight in weights.items())


def _optimizer(planned: FaceSwapModel, generation: Generation, notes: list[str]) -> list[TensorFile]:
    """The file of the network's optimiser; none of a kind that DeepFaceLab does not have."""
    return _memory(OPTIMIZER, "optimizer", dict(planned.parts()), generation, notes)


def _memory(
    part: str, stored: str, networks: Mapping[str, nn.Module], generation: Generation, notes: list[str]
) -> list[TensorFile]:
    """One optimiser's file, from the set of tensors that is stored for it."""
    tensors, rest = generation.tensors.get(stored), generation.state.rest.get(stored)
    if tensors is None or rest is None:
        return []
    names = [f"{network}/{name}" for network, module in networks.items() for name, _ in module.named_parameters()]
    averages: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        number, _, moment = key.partition("/")
        averages.setdefault(names[int(number)], {})[moment] = tensor
    kinds = tuple(kind for kind in MOMENTS if any(kind in each for each in averages.values()))
    if not kinds:
        if averages:
            notes.append(f"What the optimiser {rest.get('kind')} remembers stays behind.")
        return []
    steps = int(rest["optimizer"]["param_groups"][0].get("iterations", 0))
    count = 1 + sum(kind in each for each in averages.values() for kind in kinds)
    return [TensorFile(part, count, moments_of(networks, averages, kinds, steps))]


def _judges(
    planned: FaceSwapModel, settings: TrainSettings, generation: Generation, notes: list[str]
) -> Iterator[TensorFile]:
    """The discriminators that are stored, with their optimisers."""
    for name, judge in JUDGES.items():
        stored = generation.tensors.get(name)
        network = _judge(name, planned, settings) if stored is not None else None
        if stored is None or network is None:
            continue
        weights = dict(network.named_parameters())
        if {n: w.shape for n, w in weights.items()} != {n: w.shape for n, w in stored.items()}:
            notes.append(f"The discriminator '{name}' stays behind: its size was changed since it learned.")
            continue
        yield TensorFile(judge.part, len(weights), _tensors({n: stored[n] for n in weights}))
        yield from _memory(judge.optimizer, f"{name}_optimizer", {judge.network: network}, generation, notes)


def _judge(name: str, planned: FaceSwapModel, settings: TrainSettings) -> nn.Module | None:
    """A discriminator of these settings, without memory; see backend.training.adversaries."""
    with torch.device("meta"):
        if name == "gan":
            patch = settings.gan_patch_size or planned.resolution // 8
            return UNetDiscriminator(planned.channels, patch, settings.gan_dims)
        if not isinstance(planned, SaehdDf):
            return None
        inter = planned.inter
        return CodeDiscriminator(inter.channels, inter.side if inter.upscale1 is None else inter.side * 2)


def _losses(folder: ModelFolder, iteration: int) -> list[list[float]]:
    """[src, dst] of every iteration up to the checkpoint; those that are no numbers take the value before them."""
    rows: list[list[float]] = []
    last = [0.0, 0.0]
    for record in folder.losses.records():
        if int(record["iteration"]) > iteration:
            break
        new = [float(record["src"]), float(record["dst"])]
        last = [value if math.isfinite(value) else before for value, before in zip(new, last, strict=True)]
        rows.append(last)
    return rows


def _summary(stem: str, facts: Mapping[str, Any]) -> str:
    rows = [("Model name", stem), ("Current iteration", facts["iter"]), *facts["options"].items()]
    wide = max(len(str(name)) for name, _ in rows)
    lines = [f"{name!s:>{wide}}: {value}" for name, value in rows]
    return "\n".join(["Model summary", "", *lines, "", f"Written by {SOFTWARE}.", ""])


def _told(file: TensorFile, progress: Progress) -> TensorFile:
    """The same file; the progress hears of its tensors as they are taken."""

    def passed(tensors: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
        """Tensors as they come."""
        for name, array in tensors:
            progress(array.nbytes)
            yield name, array

    return TensorFile(file.part, file.count, passed(file.tensors))
