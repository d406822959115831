"""The only place that reads or sets environment variables."""

from __future__ import annotations

import os
import sys
from pathlib import Path

WEIGHTS_VARIABLE = "LOOKALIKE_WEIGHTS"

_SVT_ERRORS = "1"
"""SVT-AV1 writes to the error stream, past every logger; this leaves its errors and drops its greetings."""


def weights_folder() -> Path | None:
    """Folder named for downloaded weights, None when nobody named one."""
    value = os.environ.get(WEIGHTS_VARIABLE, "").strip()
    return Path(value) if value else None


def set_weights_folder(folder: Path) -> None:
    """Name the weights folder for this process and every child it starts."""
    os.environ[WEIGHTS_VARIABLE] = str(folder)


def worker_environment(weights_dir: Path) -> dict[str, str]:
    """Environment of a child process that computes.

    On Linux glibc returns big blocks to the kernel at every free, and a training step on the CPU then faults all its
    activations in again. Keeping blocks in the heap makes such steps several times faster; it has to be set before
    the process starts.

    Args:
        weights_dir: folder of downloaded weights, used unless the user named another one.
    """
    environment = dict(os.environ)
    environment["PYTHONUNBUFFERED"] = "1"
    environment["PYTHONUTF8"] = "1"
    environment.setdefault(WEIGHTS_VARIABLE, str(weights_dir))
    environment.setdefault("SVT_LOG", _SVT_ERRORS)
    if sys.platform.startswith("linux"):
        environment.setdefault("MALLOC_MMAP_MAX_", "0")
        environment.setdefault("MALLOC_TRIM_THRESHOLD_", str(1 << 40))
        environment.setdefault("MALLOC_TOP_PAD_", str(64 << 20))
    return environment


def rank_environment(ranks: int) -> dict[str, str]:
    """Environment of one of several processes that train one model together on this computer.

    They share the cores, and they talk through the loopback interface: the name of the computer need not be known to
    any network. What the user has set already stays.

    Args:
        ranks: how many processes there are.
    """
    environment = dict(os.environ)
    environment.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // ranks)))
    loopback = {"linux": "lo", "darwin": "lo0"}.get(sys.platform)
    if loopback:
        environment.setdefault("GLOO_SOCKET_IFNAME", loopback)
    return environment


def rank_number() -> int:
    """Which of several processes that train together this one is; 0 when it was started alone."""
    return int(os.environ.get("RANK", "0"))


def usable_cores() -> int:
    """Cores this process may run on."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def prepare_page_environment(cache_dir: Path) -> None:
    """Keep the page offline and its copies inside the workspace. Call before gradio is imported.

    Args:
        cache_dir: where uploads and copies of shown images go.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["GRADIO_TEMP_DIR"] = str(cache_dir)
