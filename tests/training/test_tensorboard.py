from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from backend.core.errors import BadInputError
from backend.core.settings import TrainSettings
from backend.storage.model_folder import ModelFolder
from backend.training.callbacks.tensorboard import TensorBoardCallback
from backend.training.loop import LossRow, Training


def training(settings: TrainSettings, iteration: int = 0) -> Training:
    step = SimpleNamespace(optimizer=SimpleNamespace(param_groups=[{"lr": 2e-5}]))
    return cast(Any, SimpleNamespace(step=step, settings=settings, iteration=iteration))


def row(iteration: int, src: float, dst: float, time: float, **more: Any) -> LossRow:
    return LossRow(iteration, src, dst, more.pop("skipped", False), time, **more)


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Tag -> (step, value) of all event files, read record by record."""
    from tensorboardX.proto.event_pb2 import Event

    found: dict[str, list[tuple[int, float]]] = {}
    for path in sorted(folder.glob("events.out.tfevents.*")):
        data, at = path.read_bytes(), 0
        while at < len(data):
            length = int.from_bytes(data[at : at + 8], "little")
            event = Event.FromString(data[at + 12 : at + 12 + length])
            at += 16 + length
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


def test_means_of_each_report_are_written(tmp_path: Path) -> None:
    settings = TrainSettings(tensorboard=True, batch_size=4)
    folder, running = ModelFolder(tmp_path / "anna"), training(settings, 100)
    callback = TensorBoardCallback(folder, settings)
    callback.on_start(running)
    callback.on_losses(running, [])
    callback.on_losses(running, [row(101, 1.0, 2.0, 10.0, terms={"gan": 0.5}), row(102, 3.0, 4.0, 10.5)])
    callback.on_losses(running, [row(103, math.nan, 9.0, 10.75, skipped=True), row(104, 5.0, 6.0, 11.0)])
    callback.on_end(running)
    found = scalars(folder.path / "tensorboard")
    assert found["loss/src"] == [(102, 2.0), (104, 5.0)]
    assert found["loss/dst"] == [(102, 3.0), (104, 6.0)]
    assert found["terms/gan"] == [(102, 0.5)]
    assert [value for _, value in found["training/learning_rate"]] == pytest.approx([2e-5, 2e-5])
    assert found["training/images_per_s"] == [(102, 16.0), (104, 32.0)]


def test_the_next_run_adds_a_file(tmp_path: Path) -> None:
    settings = TrainSettings(tensorboard=True)
    folder = ModelFolder(tmp_path / "anna")
    for iteration in (5, 6):
        callback = TensorBoardCallback(folder, settings)
        running = training(settings, iteration - 1)
        callback.on_start(running)
        callback.on_losses(running, [row(iteration, 1.0, 1.0, 10.0)])
        callback.on_end(running)
    assert [step for step, _ in scalars(folder.path / "tensorboard")["loss/src"]] == [5, 6]


def test_nothing_happens_where_the_option_is_off(tmp_path: Path) -> None:
    settings = TrainSettings()
    folder, running = ModelFolder(tmp_path / "anna"), training(settings)
    callback = TensorBoardCallback(folder, settings)
    callback.on_start(running)
    callback.on_losses(running, [row(1, 1.0, 1.0, 10.0)])
    callback.on_end(running)
    assert list(tmp_path.iterdir()) == []
    code = "import sys, backend.training.callbacks.tensorboard; assert 'tensorboardX' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).resolve().parents[2], timeout=60)


def test_a_missing_package_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = TrainSettings(tensorboard=True)
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(BadInputError, match="tensorboardX"):
        TensorBoardCallback(ModelFolder(tmp_path / "anna"), settings).on_start(training(settings))
