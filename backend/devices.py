"""What can compute here. The page asks a short-lived child, so that a hanging driver cannot hang the page."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

from backend.core.errors import DeviceError

BEST = "best"
ALL = "all"
"""Every accelerator together; the CPU where there is none."""


class Device(BaseModel):
    """One device that can compute.

    Attributes:
        name: what settings call it and torch understands: "cpu", "cuda:0", "mps", "xpu:0".
        label: its name for people.
        kind: "cpu", "cuda", "rocm", "mps", "xpu" or "npu".
        total_bytes, free_bytes: memory; 0 when unknown.
        bf16: whether bfloat16 runs at speed on it.
        unverified: true for kinds this program was never run on, and for devices named by hand.
        note: a sentence for the user, for example why no accelerator could be listed.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    label: str
    kind: str
    total_bytes: int = 0
    free_bytes: int = 0
    bf16: bool = False
    unverified: bool = False
    note: str = ""


def list_devices(timeout_s: float = 20.0, command: Sequence[str] = ()) -> list[Device]:
    """The CPU and every accelerator, asked from a child process.

    Args:
        timeout_s: how long the child may take; after it only the CPU is listed, with the reason in its note.
        command: what to run instead of ``python -m backend.devices``.
    """
    command = list(command) or [sys.executable, "-m", "backend.devices"]
    try:
        done = subprocess.run(
            command,
            cwd=Path(__file__).resolve().parents[1],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=True,
        )
        devices = [Device.model_validate(item) for item in json.loads(done.stdout.decode().splitlines()[-1])]
    except subprocess.TimeoutExpired:
        return [cpu_device(f"Listing the accelerators took longer than {timeout_s:g} s; name one by hand to use it.")]
    except (OSError, subprocess.CalledProcessError, ValueError, IndexError, ValidationError) as error:
        return [cpu_device(f"The accelerators could not be listed ({_reason(error)}); name one by hand to use it.")]
    return devices or [cpu_device()]


def cpu_device(note: str = "") -> Device:
    """The CPU with the memory of this computer; needs no torch."""
    memory = psutil.virtual_memory()
    cores = psutil.cpu_count(logical=True) or 1
    return Device(
        name="cpu",
        label=f"CPU, {cores} {'core' if cores == 1 else 'cores'}",
        kind="cpu",
        total_bytes=memory.total,
        free_bytes=memory.available,
        bf16=_cpu_has_bf16(),
        note=note,
    )


def resolve_device(name: str, devices: Sequence[Device]) -> Device:
    """The device a setting means.

    Args:
        name: "best" (the first accelerator, else the CPU), "all", a listed name, several with commas between them, or
            any other name torch may know, which is taken as named by hand.
        devices: what list_devices returned.

    Returns:
        the device; several as one, with their memory added up.
    """
    accelerators = [device for device in devices if device.kind != "cpu"]
    if name == BEST:
        return next(iter(accelerators), None) or cpu_device()
    names = [device.name for device in accelerators] or ["cpu"] if name == ALL else split_names(name)
    if len(names) > 1:
        return _together(name, [resolve_device(each, devices) for each in names])
    name = names[0] if names else name
    for device in devices:
        if device.name == name:
            return device
    return Device(
        name=name, label=name, kind=name.partition(":")[0], unverified=True, note="Named by hand; it was not listed."
    )


def split_names(name: str) -> list[str]:
    """The names in a list with commas between them."""
    return [each.strip() for each in name.split(",") if each.strip()]


def torch_device(name: str) -> Any:
    """The torch.device of a setting, tried with a small tensor. Imports torch: for worker processes only.

    Args:
        name: "best", or any device name torch understands.

    Raises:
        DeviceError: when it is not there or does not answer.
    """
    import torch

    try:
        found = next((device.name for device in _accelerators()), "cpu") if name == BEST else name
        device = torch.device(found)
        torch.zeros(1, device=device).add_(1).cpu()
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        raise _no_device(name, error) from error
    return device


def torch_devices(name: str) -> list[Any]:
    """The torch.device of each process that trains. Imports torch: for worker processes only.

    A single device is tried, see torch_device(). Of several only the names are checked: each process tries its own, so
    that this one takes no memory on any of them.

    Args:
        name: "best"; a device; "all", which is every accelerator, or the CPU where there is none; or several of one
            kind with commas between them. "cpu,cpu" is two processes on the CPU.

    Raises:
        DeviceError: one is not there or does not answer, they are of different kinds, or one is named twice.
    """
    import torch

    names = _accelerator_names(torch) or ["cpu"] if name == ALL else split_names(name)
    if len(names) < 2:
        return [torch_device(names[0] if names else name)]
    try:
        devices = [torch.device(each) for each in names]
    except RuntimeError as error:
        raise _no_device(name, error) from error
    kinds = list(dict.fromkeys(device.type for device in devices))
    if len(kinds) > 1:
        raise DeviceError(
            f"{' and '.join(kinds)} cannot train together: all devices would wait for the slowest kind.",
            "Name several devices of one kind, or a single one.",
        )
    if kinds[0] != "cpu":
        _check_places(torch, devices)
    return devices


def main() -> None:
    """Print all devices as one line of JSON."""
    devices = [cpu_device(), *_accelerators()]
    sys.stdout.write(json.dumps([device.model_dump() for device in devices]) + "\n")


def _accelerators() -> Iterator[Device]:
    import torch

    if torch.cuda.is_available():
        yield from _cuda_devices(torch)
    for kind in ("xpu", "npu"):
        module = _plugin(torch, kind)
        if module is not None and module.is_available():
            yield from _plugin_devices(module, kind)
    if torch.backends.mps.is_available():
        total = psutil.virtual_memory().total
        yield Device(name="mps", label="Apple GPU", kind="mps", total_bytes=total, free_bytes=0, unverified=True)


def _cuda_devices(torch: Any) -> Iterator[Device]:
    kind = "rocm" if torch.version.hip else "cuda"
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        yield Device(
            name=f"cuda:{index}",
            label=torch.cuda.get_device_name(index),
            kind=kind,
            total_bytes=total,
            free_bytes=free,
            bf16=torch.cuda.get_device_capability(index) >= (8, 0) or kind == "rocm",
            unverified=True,
        )


def _plugin(torch: Any, kind: str) -> Any:
    if kind == "npu":
        try:
            import torch_npu  # noqa: F401 - registers torch.npu
        except ImportError:
            return None
    return getattr(torch, kind, None)


def _plugin_devices(module: Any, kind: str) -> Iterator[Device]:
    for index in range(module.device_count()):
        total = int(getattr(module.get_device_properties(index), "total_memory", 0))
        label = str(module.get_device_name(index))
        yield Device(name=f"{kind}:{index}", label=label, kind=kind, total_bytes=total, bf16=True, unverified=True)


def _together(name: str, devices: Sequence[Device]) -> Device:
    """Several devices as one."""
    return Device(
        name=name,
        label=" + ".join(device.label for device in devices),
        kind=devices[0].kind,
        total_bytes=sum(device.total_bytes for device in devices),
        free_bytes=sum(device.free_bytes for device in devices),
        bf16=all(device.bf16 for device in devices),
        unverified=any(device.unverified for device in devices),
        note=next((device.note for device in devices if device.note), ""),
    )


def _accelerator_names(torch: Any) -> list[str]:
    """Names of all accelerators, without touching any."""
    _plugin(torch, "npu")
    found = torch.accelerator.current_accelerator()
    count = torch.accelerator.device_count()
    return [f"{found.type}:{index}" if count > 1 else found.type for index in range(count)] if found else []


def _check_places(torch: Any, devices: Sequence[Any]) -> None:
    """DeviceError when an accelerator is not there or has to be two at once."""
    known = {torch.device(name) for name in _accelerator_names(torch)}
    count = torch.accelerator.device_count()
    places = [device.index or 0 for device in devices]
    for device, place in zip(devices, places, strict=True):
        if device.type not in {each.type for each in known} or place >= count:
            raise _no_device(str(device), f"{count} {'is' if count == 1 else 'are'} there")
        if places.count(place) > 1:
            raise DeviceError(
                f"The device '{device}' is named twice, and one accelerator cannot be two.", "Name each device once."
            )


def _no_device(name: str, reason: BaseException | str) -> DeviceError:
    because = reason if isinstance(reason, str) else _reason(reason)
    return DeviceError(
        f"The device '{name}' is not there or does not answer ({because}).",
        "Choose 'best', 'cpu', or a device that 'python -m backend devices' lists.",
    )


def _cpu_has_bf16() -> bool:
    if platform.system() != "Linux":
        return False
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags or " bf16" in flags


def _reason(error: BaseException) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        last = error.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        return f"the child ended with {error.returncode}{': ' + last[0] if last else ''}"
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


if __name__ == "__main__":
    main()
