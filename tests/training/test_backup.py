from __future__ import annotations

from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from backend.core.settings import TrainSettings
from backend.storage import atomic
from backend.storage.model_backups import list_backups
from backend.storage.model_folder import ModelFolder
from backend.training.callbacks import backup as backup_module
from backend.training.callbacks.backup import RETRY_S, BackupCallback
from backend.training.loop import Training
from tests.storage.models import film, make_model, train_to

Usage = namedtuple("Usage", "total used free")


class Bench:
    """A training whose clock and wishes are ours; a save writes a checkpoint."""

    def __init__(self, folder: ModelFolder, monkeypatch: pytest.MonkeyPatch, now: float = 2e9, **settings: Any) -> None:
        self.folder, self.now, self.asked = folder, now, False
        self.events: list[tuple[str, dict[str, Any]]] = []
        info = folder.info()
        iteration = info.iteration if info else 0
        settled = SimpleNamespace(gathered=0)
        self.running = SimpleNamespace(settings=TrainSettings(**settings), iteration=iteration, step=settled)
        monkeypatch.setattr(backup_module.time, "time", lambda: self.now)
        self.saves = True
        self.callback = BackupCallback(
            folder, lambda kind, data: self.events.append((kind, data)), self._take, self._save
        )
        self.callback.on_start(self.training)

    @property
    def training(self) -> Training:
        return cast(Any, self.running)

    def step(self, seconds: float) -> list[int]:
        """One iteration that takes so long; the iterations of the backups now, newest first."""
        self.running.iteration += 1
        self.now += seconds
        self.callback.on_losses(self.training, [])
        return [backup.iteration for backup in list_backups(self.folder)]

    def _take(self) -> bool:
        asked, self.asked = self.asked, False
        return asked

    def _save(self, training: Training) -> None:
        if self.saves:
            train_to(self.folder, training.iteration)


def new_model(tmp_path: Path, now: float = 2e9) -> ModelFolder:
    folder = make_model(film(tmp_path), "anna", 1)
    info = folder.info()
    assert info is not None
    folder.write_info(info.model_copy(update={"created": now}))
    return folder


def test_every_so_many_hours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(new_model(tmp_path), monkeypatch, backup_every_h=2.0)
    assert bench.step(7000) == []
    assert bench.step(300) == [3]
    assert bench.step(7100) == [3]
    assert bench.step(200) == [5, 3]
    assert bench.events[-1] == (
        "milestone",
        {"what": "backup", "message": "Backup of iteration 5 kept.", "iteration": 5},
    )


def test_short_sessions_are_backed_up_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = new_model(tmp_path)
    bench = Bench(folder, monkeypatch, backup_every_h=2.0)
    assert bench.step(4000) == []
    bench = Bench(folder, monkeypatch, now=2e9 + 4000, backup_every_h=2.0)
    assert bench.step(4000) == [2]
    bench = Bench(folder, monkeypatch, now=2e9 + 9000, backup_every_h=2.0)
    assert bench.step(4000) == [2]


def test_off_but_made_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(new_model(tmp_path), monkeypatch)
    assert bench.step(1e6) == []
    bench.asked = True
    assert bench.step(1) == [3]
    assert bench.step(1) == [3]


def test_numbers_and_sizes_are_those_in_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(new_model(tmp_path), monkeypatch, backup_every_h=1.0, backups_kept=3)
    for _ in range(5):
        kept = bench.step(3601)
    assert kept == [6, 5, 4]
    assert "1 older ones removed" in bench.events[-1][1]["message"]
    bench.running.settings = TrainSettings(backup_every_h=1.0, backups_kept=1)
    assert bench.step(3601) == [7]


def test_a_full_disk_does_not_end_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(new_model(tmp_path), monkeypatch, backup_every_h=1.0)
    bench.saves = False
    with monkeypatch.context() as patched:
        patched.setattr(atomic.shutil, "disk_usage", lambda path: Usage(1 << 40, 0, 1 << 20))
        assert bench.step(3601) == []
    assert (bench.events[-1][0], bench.events[-1][1]["level"]) == ("log", "error")
    assert "needed" in bench.events[-1][1]["message"]
    assert bench.step(RETRY_S - 10) == []
    assert bench.step(20) == [1]


def test_a_checkpoint_that_is_kept_already_waits_for_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(new_model(tmp_path), monkeypatch, backup_every_h=1.0)
    bench.saves = False
    assert bench.step(3601) == [1]
    assert bench.step(3601) == [1]
    assert bench.step(1) == [1]
    assert len(bench.events) == 1
    train_to(bench.folder, 7)
    assert bench.step(1) == [7, 1]
    assert len(bench.events) == 2
