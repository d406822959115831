from __future__ import annotations

import subprocess
import sys
import time

import pytest
import torch

from backend.core.errors import DeviceError
from backend.devices import Device, cpu_device, list_devices, resolve_device, torch_device, torch_devices

GPU = Device(name="cuda:0", label="A card", kind="cuda", total_bytes=8 << 30, free_bytes=7 << 30)


def test_the_cpu_is_always_listed() -> None:
    devices = list_devices(timeout_s=120)
    assert devices[0].name == "cpu"
    assert devices[0].total_bytes >= devices[0].free_bytes > 0


def test_a_child_that_hangs_leaves_the_cpu_and_a_reason() -> None:
    begun = time.monotonic()
    devices = list_devices(0.5, [sys.executable, "-c", "import time; time.sleep(60)"])
    assert time.monotonic() - begun < 10
    assert [device.name for device in devices] == ["cpu"]
    assert "longer than 0.5 s" in devices[0].note


@pytest.mark.parametrize(
    "program",
    ["import os; os.abort()", "raise SystemExit('driver broke')", "print('noise')", "print('[{}]')", "", "print('[]')"],
)
def test_a_child_that_breaks_leaves_the_cpu(program: str) -> None:
    devices = list_devices(60, [sys.executable, "-c", program])
    assert [device.kind for device in devices] == ["cpu"]
    assert devices[0].note or program == "print('[]')"


def test_what_a_setting_means() -> None:
    assert resolve_device("best", [cpu_device(), GPU]) == GPU
    assert resolve_device("best", [cpu_device()]).name == "cpu"
    assert resolve_device("best", []).name == "cpu"
    assert resolve_device("cpu", [cpu_device(), GPU]).kind == "cpu"
    by_hand = resolve_device("xpu:3", [cpu_device()])
    assert (by_hand.name, by_hand.kind, by_hand.unverified) == ("xpu:3", "xpu", True)


def test_a_worker_gets_a_torch_device() -> None:
    assert str(torch_device("cpu")) == "cpu"
    assert torch_device("best").type in ("cpu", "cuda", "mps", "xpu", "npu")


@pytest.mark.parametrize("name", ["cuda:99", "nonsense", "", "xpu:5"])
def test_an_absent_device_is_one_sentence(name: str) -> None:
    with pytest.raises(DeviceError) as caught:
        torch_device(name)
    assert "is not there" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_parent_imports_no_torch() -> None:
    program = (
        "import sys; import backend.devices, backend.jobs.manager, backend.jobs.warm, backend.cli;"
        "assert not {'torch', 'cv2', 'gradio'} & set(sys.modules), 'heavy'"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def names_of(name: str) -> list[str]:
    return [str(device) for device in torch_devices(name)]


def test_several_processes_on_the_cpu() -> None:
    assert names_of("cpu") == ["cpu"]
    assert names_of("cpu, cpu,") == ["cpu", "cpu"]
    assert len(torch_devices("best")) == 1


def accelerators(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """A computer with so many graphics cards, none of which can be touched."""
    kind = torch.device("cuda") if count else None
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: kind)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: count)


@pytest.mark.parametrize(("count", "found"), [(0, ["cpu"]), (3, ["cuda:0", "cuda:1", "cuda:2"])])
def test_all_is_every_accelerator(monkeypatch: pytest.MonkeyPatch, count: int, found: list[str]) -> None:
    accelerators(monkeypatch, count)
    assert names_of("all") == found


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cuda:0,cpu", "cuda and cpu cannot train together"),
        ("cuda:0,cuda:2", "'cuda:2' is not there.*2 are there"),
        ("xpu:0,xpu:1", "'xpu:0' is not there"),
        ("cuda:1,cuda:1", "'cuda:1' is named twice"),
        ("cuda,cuda:0", "is named twice"),
        ("cuda:0,nonsense", "is not there"),
        (",", "is not there"),
    ],
)
def test_several_that_cannot_train_together(monkeypatch: pytest.MonkeyPatch, name: str, words: str) -> None:
    accelerators(monkeypatch, 2)
    assert names_of("cuda:0,cuda:1") == ["cuda:0", "cuda:1"]
    with pytest.raises(DeviceError, match=words):
        torch_devices(name)


def test_several_devices_are_shown_as_one() -> None:
    second = Device(name="cuda:1", label="Another", kind="cuda", total_bytes=4 << 30, free_bytes=1 << 30, note="Hot.")
    devices = [cpu_device(), GPU, second]
    together = resolve_device("all", devices)
    assert (together.name, together.label, together.kind) == ("all", "A card + Another", "cuda")
    assert (together.total_bytes, together.free_bytes, together.note) == (12 << 30, 8 << 30, "Hot.")
    assert resolve_device("cuda:0, cuda:1", devices).total_bytes == 12 << 30
    assert resolve_device("all", devices[:2]) == GPU
    assert resolve_device("all", devices[:1]).name == "cpu"
    assert resolve_device("cuda:0,cuda:9", devices).unverified
