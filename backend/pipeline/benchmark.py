"""One measurement of the benchmark, in a process of its own: ``python -m backend.pipeline.benchmark JSON``.

The last line of the output is the result as JSON. What is measured says ``kind``: "step" or "samples".
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn

from backend.core.faces import Face, FaceType
from backend.core.settings import TRAIN_SETTINGS, SaehdSettings, TrainSettings
from backend.devices import torch_device
from backend.models.registry import build_model
from backend.ops.pose import LANDMARKS_3D
from backend.storage.face_file import write_face_image
from backend.storage.faceset import FaceRecord
from backend.training.augment import AugmentOptions, SideOptions, augment_side
from backend.training.batch import FaceBatch
from backend.training.dataset import CacheBudget, FaceCache, FaceShape, load_faces
from backend.training.dry_run import dry_run
from backend.training.loader import BatchLoader, take
from backend.training.memory import limit_threads, used_bytes
from backend.training.sampler import EpochSampler
from backend.training.step import TrainStep
from backend.training.synthetic import synthetic_faces

_WARM_UP = 2
_FEWEST_STEPS = 3
_BATCH = 16
_JPEG_SIDE = 512
_CONV_CHANNELS, _CONV_SIDE, _CONV_BATCH, _CONV_BATCH_ACCELERATOR = 128, 64, 4, 64
_DTYPES = MappingProxyType({"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16})


def main(request: Mapping[str, Any]) -> dict[str, Any]:
    """Measure what is asked for.

    Args:
        request: ``kind``, ``seconds`` (how long to measure, about), ``threads`` (0: as many as there are cores), and
            what measure_step() or measure_samples() read.
    """
    threads = int(request.get("threads", 0))
    if threads:
        torch.set_num_threads(threads)
    limit_threads()
    return measure_step(request) if request["kind"] == "step" else measure_samples(request)


def measure_step(request: Mapping[str, Any]) -> dict[str, Any]:
    """Time training steps on random pictures.

    Args:
        request: ``settings`` of the training, ``device``, ``arithmetic`` (also count operations and time a plain
            convolution).

    Returns:
        walls_s and cpus_s of each step, peak_mb, precision, device, notes; with arithmetic gflop of a step and
        conv_gflops, what a plain 3x3 convolution reaches per second, forward and backward in the same format.
    """
    settings = TRAIN_SETTINGS[request["settings"].get("model_class", "saehd")].model_validate(request["settings"])
    device = torch_device(str(request["device"]))
    step = TrainStep(build_model(settings, 1), settings, device)
    src, dst = (_batch(step, settings, seed) for seed in (1, 2))
    for _ in range(_WARM_UP):
        step(src, dst)
    _finish(device)
    walls, cpus = _timed(lambda: step(src, dst), float(request["seconds"]), device)
    found = {
        "walls_s": walls,
        "cpus_s": cpus,
        "peak_mb": round(_peak(device) / 1e6),
        "precision": step.precision.name,
        "device": str(device),
        "notes": step.notes,
    }
    if request.get("arithmetic"):
        found["gflop"] = dry_run(settings, step.precision.name).flop * settings.batch_size / 1e9
        found["conv_gflops"] = conv_rate(step.precision.name, device)
    return found


def conv_rate(precision: str, device: torch.device) -> float:
    """GFLOP per second of a plain 3x3 convolution, forward and backward; the best of several."""
    dtype, channels, side = _DTYPES[precision], _CONV_CHANNELS, _CONV_SIDE
    count = _CONV_BATCH if device.type == "cpu" else _CONV_BATCH_ACCELERATOR
    form = torch.channels_last
    conv = nn.Conv2d(channels, channels, 3, padding=1, device=device, dtype=dtype)
    conv.to(memory_format=form)  # pyright: ignore[reportCallIssue] - torch's stub lacks it
    x = torch.randn(count, channels, side, side, device=device, dtype=dtype).to(memory_format=form).requires_grad_()
    upstream = torch.randn(count, channels, side, side, device=device, dtype=dtype).to(memory_format=form)
    walls, _ = _timed(lambda: torch.autograd.grad(conv(x), [x, conv.weight], upstream), 0.5, device)
    return 3 * 2 * count * side**2 * channels**2 * 9 / min(walls) / 1e9


def measure_samples(request: Mapping[str, Any]) -> dict[str, Any]:
    """Training samples per CPU second: whole face, distorted input, target and both masks.

    Args:
        request: ``side`` of the network's picture, ``settings`` of training that change samples, ``decode`` (the first
            epoch, from JPEG files of 512 px, instead of decoded faces).

    Returns:
        per_cpu_s.
    """
    cv2.setNumThreads(1)
    shape = FaceShape(int(request["side"]), 3, FaceType.WHOLE)
    seconds = float(request["seconds"])
    settings = SaehdSettings(batch_size=_BATCH, seed=1, random_dst_flip=False, **request.get("settings", {}))
    if request.get("decode"):
        with tempfile.TemporaryDirectory() as folder:
            files = _jpeg_faces(Path(folder), max(64, round(100 * seconds)))
            began = time.process_time()
            cache, _ = load_faces(files, files, shape, CacheBudget(1 << 32, Path(folder)))
            spent = (time.process_time() - began) / len(files)
        return {"per_cpu_s": 1 / (spent + 1 / _samples_per_s(cache, settings, seconds / 2))}
    return {"per_cpu_s": _samples_per_s(synthetic_faces(shape, 256, 1), settings, seconds)}


def _samples_per_s(cache: FaceCache, settings: TrainSettings, seconds: float) -> float:
    """Of the source, whose faces have every option; both sides are the same faces."""
    options, generator, device = AugmentOptions.of(settings).src, torch.Generator().manual_seed(1), torch.device("cpu")
    src, dst = ((cache, EpochSampler(cache.usable, seed)) for seed in range(2))
    loader = BatchLoader(src, dst, settings)

    def batch() -> None:
        """Make one batch of one side."""
        augment_side(loader.gather(0), options, generator, device)

    batch()
    _, cpus = _timed(batch, seconds, device)
    return _BATCH / statistics.median(cpus)


def _timed(work: Callable[[], Any], seconds: float, device: torch.device) -> tuple[list[float], list[float]]:
    """Wall and CPU seconds of each repetition; as many as fit into the time, three at least."""
    walls: list[float] = []
    cpus: list[float] = []
    while sum(walls) < seconds or len(walls) < _FEWEST_STEPS:
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        _finish(device)
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return walls, cpus


def _finish(device: torch.device) -> None:
    """Wait until an accelerator has done what it was told."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def _peak(device: torch.device) -> int:
    """Most bytes that were in use: of the allocator on an accelerator, of the whole process on a CPU."""
    if device.type != "cpu" or sys.platform == "win32":
        return used_bytes(device)
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _batch(step: TrainStep, settings: TrainSettings, seed: int) -> FaceBatch:
    model = step.model
    shape = FaceShape(model.resolution, model.channels, model.face_type, parts_apart=settings.parts_apart)
    faces = synthetic_faces(shape, settings.batch_size, seed)
    options, generator = SideOptions(), torch.Generator().manual_seed(seed)
    return augment_side(take(faces, faces.usable), options, generator, step.device)


def _jpeg_faces(folder: Path, count: int) -> list[FaceRecord]:
    """A photograph as so many face files of 512 px, with the landmarks of a generic face."""
    from skimage.data import astronaut

    picture = np.ascontiguousarray(cv2.resize(astronaut()[..., ::-1], (_JPEG_SIDE, _JPEG_SIDE)))
    landmarks = np.asarray(LANDMARKS_3D)[:, :2] * (_JPEG_SIDE / 220) + _JPEG_SIDE / 2
    matrix = np.array([[1.0, 0, 0], [0, 1, 0]])
    rect = np.array([0, 0, _JPEG_SIDE, _JPEG_SIDE])
    face = Face("00001.png", rect, landmarks, landmarks, matrix, FaceType.WHOLE)
    first = folder / "00000.jpg"
    write_face_image(first, picture, face, 90)
    records = [FaceRecord(first, face)]
    for number in range(1, count):
        path = folder / f"{number:05d}.jpg"
        path.write_bytes(first.read_bytes())
        records.append(FaceRecord(path, face))
    return records


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(json.loads(sys.argv[1]))) + "\n")
