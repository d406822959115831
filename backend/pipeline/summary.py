"""The summary stage: what a model is made of, what training it would need and how much it would calculate."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pydantic import ValidationError

from backend.core.errors import BadInputError
from backend.core.settings import TRAIN_SETTINGS, SummarySettings, TrainSettings
from backend.devices import torch_devices
from backend.pipeline.context import StageContext
from backend.pipeline.summary_text import summary_text
from backend.storage.atomic import write_bytes, write_json
from backend.storage.model_folder import ModelFolder
from backend.training.memory import estimate_need, free_bytes
from backend.training.precision import choose_precision
from backend.training.summary import NetworkSummary, summarize

LAYERS_FILE, TEXT_FILE = "layers.json", "summary.txt"
"""Files in the job's folder: the layers of each part, and everything as text."""


def run(settings: SummarySettings, ctx: StageContext) -> dict[str, Any]:
    """Describe a model, existing or not. Nothing is trained, and of the network nothing is allocated.

    Returns:
        parts (name, output, parameters, trained, megabytes, source), parameters, trained, megabytes; facts (label ->
        words of the network) and cautions (field, sentence of the settings) where there are any; for a training with
        its settings: batch_size, precision, need_mb and free_mb of each device, host_mb (main memory for the optimiser,
        0 when it stays on the device), largest_batch, gflop of one iteration over all devices, device. Megabytes are
        millions. ``layers`` and ``text`` are paths in the project: JSON part -> rows (name, kind, output, parameters,
        source), and the whole description as text.

    Raises:
        BadInputError: there is no such model, or the settings contradict each other.
        DamagedFileError: the stored settings do not fit this version.
        DeviceError: the device is not there.
    """
    train = _train_settings(settings, ctx)
    devices = torch_devices(train.device)
    network = summarize(train.effective())
    ctx.check_stop()
    need, free = estimate_need(train, devices[0], len(devices)), free_bytes(devices[0])
    found = {
        **_network(network, train),
        "batch_size": train.batch_size,
        "precision": choose_precision(train.precision, devices[0]).name,
        "need_mb": _mb(need.total(train.batch_size)),
        "free_mb": _mb(free),
        "host_mb": _mb(need.host),
        "largest_batch": need.largest_batch(free),
        "gflop": round(need.flop * train.batch_size / 1e9, 1),
        "device": ", ".join(str(device) for device in devices),
    }
    return {**found, **_write(network, train, found, ctx)}


def _network(network: NetworkSummary, train: TrainSettings) -> dict[str, Any]:
    parts = network.parts
    return {
        "parts": [
            {
                "name": p.name,
                "output": p.output,
                "parameters": p.parameters,
                "trained": p.trained,
                "megabytes": _mb(p.weight_bytes),
                "source": p.source,
            }
            for p in parts
        ],
        "parameters": sum(p.parameters for p in parts),
        "trained": sum(p.trained for p in parts),
        "megabytes": _mb(sum(p.weight_bytes for p in parts)),
        "facts": dict(network.facts),
        "cautions": [{"field": field, "sentence": sentence} for field, sentence in train.cautions()],
    }


def _write(network: NetworkSummary, train: TrainSettings, found: dict[str, Any], ctx: StageContext) -> dict[str, str]:
    """Put the layers and the text into the job's folder; their paths in the project."""
    layers, text = ctx.job_dir / LAYERS_FILE, ctx.job_dir / TEXT_FILE
    write_json(layers, {p.name: [asdict(layer) for layer in p.layers] for p in network.parts})
    write_bytes(text, summary_text(network, train, found).encode())
    root = ctx.project.path
    return {"layers": layers.relative_to(root).as_posix(), "text": text.relative_to(root).as_posix()}


def _train_settings(settings: SummarySettings, ctx: StageContext) -> TrainSettings:
    """Settings of the model, with those given laid over them."""
    stored: dict[str, Any] = {}
    if settings.model:
        info = ModelFolder(ctx.project.model_dir(settings.model)).info()
        if info is None:
            known = ", ".join(ctx.project.models()) or "none yet"
            raise BadInputError(f"There is no model '{settings.model}' (models: {known}).", "Train it first.")
        stored = info.train_settings().model_dump()
    values = {**stored, **settings.train}
    kind = TRAIN_SETTINGS.get(str(values.get("model_class", "saehd")))
    if kind is None:
        raise BadInputError(
            f"There is no model class '{values['model_class']}'.", f"There are: {', '.join(TRAIN_SETTINGS)}."
        )
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise BadInputError(f"The training settings cannot be used: {_sentences(error)}.") from error


def _sentences(error: ValidationError) -> str:
    wrong = [(".".join(str(step) for step in item["loc"]), item["msg"]) for item in error.errors(include_url=False)]
    return "; ".join(f"{name}: {words}" if name else words for name, words in wrong)


def _mb(size: int) -> float:
    return round(size / 1e6, 1)
