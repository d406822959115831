from __future__ import annotations

import subprocess
import sys
import time

import pytest

from backend.core.errors import DeviceError
from backend.devices import Device, cpu_device, list_devices, resolve_device, torch_device

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
