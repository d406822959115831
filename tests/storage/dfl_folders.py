"""Model folders as DeepFaceLab writes them, with Python's own pickler."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_dfl(
    folder: Path,
    stem: str,
    networks: Mapping[str, Mapping[str, Any]],
    options: Mapping[str, Any],
    protocol: int = 4,
    **facts: Any,
) -> Path:
    """A model's folder.

    Args:
        folder: made when it is not there.
        stem: such as "anna_SAEHD".
        networks: file -> tensors by DeepFaceLab's names.
        options: of the model.
        protocol: of the pickles.
        facts: of the data file: iter, loss_history, ...

    Returns:
        the data file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for part, tensors in networks.items():
        (folder / f"{stem}_{part}.npy").write_bytes(pickle.dumps(dict(tensors), protocol))
    data = {"iter": 7, "options": dict(options), "loss_history": [], "sample_for_preview": None, **facts}
    path = folder / f"{stem}_data.dat"
    path.write_bytes(pickle.dumps(data, protocol))
    return path
