"""Shelves of made-up faces for the tests of the Sort tab: no file is written."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

from backend.storage.faceset import FaceRecord
from tests.storage.faces import make_face
from ui_tabs.sort_shelf import About, Shelf, make_shelf


def record(name: str, yaw: float | None = 0, pitch: float = 0, **facts: Any) -> FaceRecord:
    """A face; angles in degrees, yaw None for one whose pose was never measured."""
    pose = None if yaw is None else (math.radians(pitch), math.radians(yaw), 0.0)
    face = dataclasses.replace(make_face(facts.pop("frame", f"{name}.png")), pose_rad=pose, **facts)
    return FaceRecord(Path(f"/faces/{name}.jpg"), face)


def shelf_of(*records: FaceRecord, **about: Any) -> Shelf:
    """A shelf of these faces."""
    return make_shelf(records, About(**about))
