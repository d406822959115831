from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from backend.core.errors import MemoryShortError
from backend.core.settings import AmpSettings, Quick96Settings, SaehdSettings
from backend.environment import worker_environment
from backend.models.registry import build_model
from backend.training import memory
from backend.training.batch import FaceBatch
from backend.training.dry_run import dry_run
from backend.training.memory import MemoryNeed, estimate_need, require_memory, short_of_memory
from backend.training.step import TrainStep

CPU, CARD = torch.device("cpu"), torch.device("cuda")
ROOT = Path(__file__).resolve().parents[2]
PEAK = r"""
import json, re, sys
from pathlib import Path
import psutil, torch
from backend.core.settings import SaehdSettings
from backend.models.registry import build_model
from backend.training.batch import FaceBatch
from backend.training.step import TrainStep
settings = SaehdSettings(**json.loads(sys.argv[1]))
before = psutil.Process().memory_info().rss
step = TrainStep(build_model(settings, 1), settings, torch.device("cpu"))
face, mask = torch.rand(settings.batch_size, 3, 64, 64), torch.ones(settings.batch_size, 1, 64, 64)
for _ in range(3):
    step(FaceBatch(face, face, mask, mask), FaceBatch(face, face, mask, mask))
peak = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]  # ru_maxrss also knows the parent's
print(int(peak) * 1024 - before)
"""


def small(**changes: Any) -> SaehdSettings:
    values = {"resolution": 64, "archi": "df", "ae_dims": 32, "e_dims": 16, "d_dims": 16, "d_mask_dims": 8}
    return SaehdSettings(**{**values, "batch_size": 4, "precision": "fp32", **changes})


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the allocator of the measured process is glibc's")
def test_the_estimate_is_near_the_real_peak(tmp_path: Path) -> None:
    values = {"resolution": 64, "archi": "df-ud", "ae_dims": 64, "e_dims": 32, "d_dims": 32, "d_mask_dims": 16}
    values |= {"batch_size": 32, "precision": "fp32"}
    command = [sys.executable, "-c", PEAK, json.dumps(values)]
    ended = subprocess.run(
        command, cwd=ROOT, env=worker_environment(tmp_path), capture_output=True, text=True, check=True
    )
    real = int(ended.stdout)
    assert estimate_need(SaehdSettings(**values), CPU).total(32) == pytest.approx(real, rel=0.35)


def test_weights_and_what_the_optimiser_keeps_are_counted() -> None:
    weights = sum(p.nbytes for p in build_model(small()).parameters())
    fixed = {
        name: estimate_need(small(optimizer=name), CPU).fixed for name in ("adabelief", "rmsprop", "adamw", "lion")
    }
    assert fixed["adabelief"] - fixed["rmsprop"] == weights
    assert fixed["adamw"] == fixed["adabelief"]
    assert fixed["lion"] == fixed["rmsprop"]
    assert estimate_need(small(average_weights=True), CPU).fixed == fixed["adabelief"] + weights


def test_an_optimiser_in_main_memory_leaves_the_card() -> None:
    weights = sum(p.nbytes for p in build_model(small()).parameters())
    on_card, beside = (estimate_need(small(optimizer_on_cpu=wanted), CARD) for wanted in (False, True))
    assert on_card.fixed - beside.fixed == 2 * weights
    assert (on_card.host, beside.host) == (0, 4 * weights)
    assert estimate_need(small(optimizer_on_cpu=True), CPU).host == 0


def test_discriminators_styles_and_number_formats_count() -> None:
    plain = dry_run(small(), "fp32")
    assert dry_run(small(gan_power=0.1), "fp32").weights > plain.weights
    judged = dry_run(small(true_face_power=0.1), "fp32")
    assert judged.network == plain.weights < judged.weights
    assert most(dry_run(small(face_style_power=1.0), "fp32"), 16) > 1.2 * most(plain, 16)
    assert most(dry_run(small(), "bf16"), 16) < 0.85 * most(plain, 16)


def most(run: Any, batch: int) -> int:
    return max(start + batch * each for start, each in run.moments)


@pytest.mark.parametrize(
    "settings",
    [Quick96Settings(), AmpSettings(resolution=64, ae_dims=32, inter_dims=32, e_dims=16, d_dims=16), small(channels=1)],
)
def test_every_model_class_can_be_estimated(settings: Any) -> None:
    run = dry_run(settings, "fp32")
    assert run.network == sum(p.nbytes for p in build_model(settings).parameters())
    assert run.flop > 1e6
    assert most(run, 8) > most(run, 1) > run.trained * 0.5


def test_parts_that_stand_still_are_not_optimised() -> None:
    moving, still = (dry_run(small(archi="liae", random_warp=warp), "fp32") for warp in (True, False))
    assert still.trained < moving.trained == still.weights


def test_a_dry_run_leaves_nothing_behind() -> None:
    settings = small(blur_out_mask=True, face_style_power=0.1, bg_style_power=0.1, gan_power=0.1)
    dry_run(settings, "bf16")
    face, mask = torch.rand(2, 3, 64, 64), torch.ones(2, 1, 64, 64)
    step = TrainStep(build_model(settings, 1), settings, CPU)
    assert float(step(FaceBatch(face, face, mask, mask), FaceBatch(face, face, mask, mask)).src) > 0


def test_the_need_is_the_largest_moment_and_is_shared_by_ranks() -> None:
    need = MemoryNeed(fixed=100, moments=((0, 20), (50, 5)))
    assert [need.total(batch) for batch in (1, 3, 4, 10)] == [155, 165, 180, 300]
    assert need.largest_batch(320) == 10
    assert need.largest_batch(100) == 0
    pair = MemoryNeed(fixed=100, moments=((0, 20),), ranks=2)
    assert pair.total(5) == 100 + 3 * 20
    assert pair.largest_batch(320) == 20


def test_what_does_not_fit_is_refused_with_a_batch_that_does(monkeypatch: pytest.MonkeyPatch) -> None:
    need = estimate_need(small(), CPU)
    monkeypatch.setattr(memory, "free_bytes", lambda device: int(need.total(20) / 0.95) + 1)
    assert require_memory(small(batch_size=20), CPU) == small(batch_size=20)
    with pytest.raises(MemoryShortError, match=r"batch of 64 does not fit.*Try a batch size of 20\."):
        require_memory(small(batch_size=64), CPU)
    assert require_memory(small(batch_size=64, shrink_batch=True), CPU).batch_size == 20
    assert "Try a batch size of 8." in str(short_of_memory(small(batch_size=16), CPU))
    assert "although only about" in str(short_of_memory(small(batch_size=16), CPU))
    monkeypatch.setattr(memory, "free_bytes", lambda device: need.fixed)
    with pytest.raises(MemoryShortError, match="smaller resolution"):
        require_memory(small(shrink_batch=True), CPU)
    monkeypatch.setattr(memory, "free_bytes", lambda device: 10**6 if device.type == "cpu" else 10**12)
    with pytest.raises(MemoryShortError, match="main memory"):
        require_memory(small(optimizer_on_cpu=True), CARD)


def test_what_a_training_holds_itself_is_free_for_its_next_try(monkeypatch: pytest.MonkeyPatch) -> None:
    need = estimate_need(small(), CARD)
    monkeypatch.setattr(memory, "free_bytes", lambda device: 1 << 20)
    monkeypatch.setattr(memory, "held_bytes", lambda device: int(need.total(9) / 0.95))
    assert "Try a batch size of 9." in str(short_of_memory(small(batch_size=64), CARD))
    with pytest.raises(MemoryShortError, match="smaller resolution"):
        require_memory(small(batch_size=64), CARD)


def cannot_say(device: torch.device) -> tuple[int, int]:
    raise RuntimeError("The device doesn't support querying the available free memory.")


def asks_nothing() -> int:
    """What an Apple GPU's functions take."""
    return 300


ACCELERATORS = {
    "cuda": (
        SimpleNamespace(
            max_memory_allocated=lambda d: 7, memory_reserved=lambda d: 9, mem_get_info=lambda d: (40, 100)
        ),
        (7, 9, 40),
    ),
    "xpu": (
        SimpleNamespace(
            max_memory_allocated=lambda d: 7,
            memory_reserved=lambda d: 9,
            mem_get_info=cannot_say,
            get_device_properties=lambda d: SimpleNamespace(total_memory=100),
        ),
        (7, 9, 91),
    ),
    "mps": (
        SimpleNamespace(driver_allocated_memory=asks_nothing, recommended_max_memory=lambda: 1000),
        (300, 300, 700),
    ),
}


@pytest.mark.parametrize("kind", ACCELERATORS)
def test_every_kind_of_accelerator_is_asked_for_its_own_memory(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, figures = ACCELERATORS[kind]
    monkeypatch.setattr(memory.torch, "get_device_module", lambda device: module)
    device = torch.device(kind)
    assert (memory.used_bytes(device), memory.held_bytes(device), memory.free_bytes(device)) == figures


def test_without_an_answer_main_memory_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.torch, "get_device_module", lambda device: SimpleNamespace())
    assert memory.used_bytes(CARD) > 10**7
    assert memory.held_bytes(CPU) > 10**7
