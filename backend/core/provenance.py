"""Where a result came from: travels from face to model to frame to file."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from backend import __version__

SOFTWARE = f"Lookalike {__version__}"

SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
"""Where the IPTC lists its digital source types."""

DIGITAL_SOURCE_TYPE = f"{SOURCE_TYPES}compositeWithTrainedAlgorithmicMedia"
"""IPTC digital source type of a picture partly made by a trained model."""

SYNTHETIC_SOURCE_TYPES = (
    "compositeWithTrainedAlgorithmicMedia",
    "trainedAlgorithmicMedia",
    "compositeSynthetic",
    "algorithmicMedia",
)
"""Names of the digital source types that say: made by a program, in whole or in part."""


def statement(what: Literal["video", "picture"]) -> str:
    """The sentence people read in the metadata of a file; ASCII."""
    return f"AI-manipulated: faces in this {what} were replaced by a trained model. Made with {SOFTWARE}."


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
