"""Where a result came from: travels from face to model to frame to file."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from backend import __version__

SOFTWARE = f"Lookalike {__version__}"

DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
"""IPTC digital source type of a picture partly made by a trained model."""


class Provenance(BaseModel):
    """What a reader of an exported file should be able to learn about it."""

    model_config = ConfigDict(frozen=True)

    version: int = 1
    software: str = SOFTWARE
    digital_source_type: str = DIGITAL_SOURCE_TYPE
    project: str = ""
    consent: str = ""
    model: str = ""
    model_class: str = ""
    iteration: int = 0
    settings: dict[str, object] = Field(default_factory=dict)
    created: str = ""
