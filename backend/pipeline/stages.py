"""Stage name -> module. A worker imports only the module of its own stage."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from backend.core.errors import BadInputError
from backend.core.settings import Settings
from backend.pipeline.context import StageContext

Run = Callable[[Settings, StageContext], dict[str, Any]]

STAGES: Mapping[str, str] = MappingProxyType(
    {
        "create": "backend.pipeline.create",
        "sample": "backend.pipeline.sample",
        "edit-clip": "backend.pipeline.edit_clip",
        "extract-frames": "backend.pipeline.extract_frames",
        "denoise-frames": "backend.pipeline.denoise_frames",
        "extract-faces": "backend.pipeline.extract_faces",
        "persons": "backend.pipeline.persons",
        "sort": "backend.pipeline.sort",
        "faceset": "backend.pipeline.faceset_tools",
        "resize-faces": "backend.pipeline.resize_faces",
        "gray-faces": "backend.pipeline.gray_faces",
        "add-faces": "backend.pipeline.add_faces",
        "train": "backend.pipeline.train",
        "summary": "backend.pipeline.summary",
        "evaluate": "backend.pipeline.evaluate",
        "merge": "backend.pipeline.merge",
        "export": "backend.pipeline.export",
        "render": "backend.pipeline.render",
        "verify": "backend.pipeline.verify",
        "timelapse": "backend.pipeline.timelapse",
        "model": "backend.pipeline.model_file",
    }
)
"""A new stage adds one line here and one in backend.core.settings.STAGE_SETTINGS."""


def load_stage(name: str, stages: Mapping[str, str] = STAGES) -> Run:
    """Import the module of a stage and return its ``run``. BadInputError for an unknown stage."""
    if name not in stages:
        raise BadInputError(f"There is no stage '{name}'.", f"Stages are {', '.join(stages)}.")
    return importlib.import_module(stages[name]).run
