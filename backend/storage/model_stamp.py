"""What tells one state of a model from another, read without its weights. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from backend.core.errors import DamagedFileError
from backend.storage.atomic import read_json
from backend.storage.model_folder import DFM_FILE, ModelFolder


def stamp_of(iteration: int, checksums: Mapping[str, str]) -> str:
    """The stamp of a checkpoint: its iteration and the beginning of the checksum of the weights that swap.

    Args:
        iteration: of the checkpoint.
        checksums: name of a set of tensors -> sha256 in hex; the average of the weights swaps where there is one.
    """
    return f"{iteration}-{(checksums.get('average') or checksums.get('weights') or '')[:16]}"


def _dfm_stamp(model: Path) -> str:
    """The stamp of a model that is a DFM file, "" for others."""
    if not (model / DFM_FILE).exists():
        return ""
    info = ModelFolder(model).info()
    return stamp_of(info.iteration, {"weights": str(info.settings.get("sha256", ""))}) if info else ""


def model_stamp(model: Path) -> str:
    """Stamp of the newest checkpoint of a model's folder, or of its DFM file; "" when it has none that can be read.

    It is that of the model that merging loads, unless the newest checkpoint turns out damaged.
    """
    dfm = _dfm_stamp(model)
    if dfm:
        return dfm
    for path in sorted(model.glob("generations/[0-9]*-[0-9]*"), reverse=True):
        try:
            stored = read_json(path / "state.json")
            return stamp_of(int(stored["iteration"]), dict(stored["checksums"]))
        except (OSError, DamagedFileError, ValueError, TypeError, KeyError):
            continue
    return ""
