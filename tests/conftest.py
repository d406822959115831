"""Shared fixtures: optional assets, a fresh workspace, repeatable random numbers."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # Tests run side by side, one core each; threads that wait for each other would slow all of them down.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def assets() -> Path:
    """Folder of the optional real clips, golden data and weights; skips when it is not named."""
    folder = os.environ.get("LOOKALIKE_TEST_ASSETS", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("LOOKALIKE_TEST_ASSETS names no folder with the optional test data")
    return Path(folder)


@pytest.fixture(scope="session")
def golden(assets: Path) -> Path:
    """Folder of the golden data made by DeepFaceLab."""
    return assets / "data" / "golden"


@pytest.fixture
def rng() -> np.random.Generator:
    """A random generator with a fixed seed."""
    return np.random.default_rng(7)
