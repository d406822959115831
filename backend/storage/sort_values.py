"""What the last sorting measured of every face, beside the faces, for captions."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path

from backend.core.errors import DamagedFileError
from backend.storage.atomic import read_json, write_json
from backend.storage.faceset import ORDER_NAME

VALUES_NAME = ".sort.json"

_DIGITS = 6


def write_values(folder: Path, by: str, values: Mapping[str, float]) -> None:
    """Store the values of the order that is stored now, after the files got their final names.

    Args:
        folder: the aligned faces.
        by: the method that measured them.
        values: file name -> value; values that are no finite numbers are left out.
    """
    finite = {name: float(f"{value:.{_DIGITS}g}") for name, value in values.items() if math.isfinite(value)}
    mark = _order_mark(folder)
    if finite and mark:
        stored = {"version": 1, "by": by, "order": mark, "values": finite}
        write_json(folder / VALUES_NAME, stored, durable=False)
    else:
        (folder / VALUES_NAME).unlink(missing_ok=True)


def read_values(folder: Path) -> tuple[str, dict[str, float]]:
    """The method and file name -> value; ("", {}) when there are none or the order or the names changed since."""
    try:
        stored = read_json(folder / VALUES_NAME)
        if stored["order"] != _order_mark(folder):
            return "", {}
        return str(stored["by"]), {str(name): float(value) for name, value in stored["values"].items()}
    except (OSError, DamagedFileError, KeyError, TypeError, ValueError, AttributeError):
        return "", {}


def _order_mark(folder: Path) -> str:
    """Changes with the stored order and the names in it; "" when none is stored."""
    try:
        return hashlib.sha256((folder / ORDER_NAME).read_bytes()).hexdigest()[:16]
    except OSError:
        return ""
