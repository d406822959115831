"""What the search for a learning rate found, ``lr_finder.json`` in a model's folder. No torch here."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError, model_validator

from backend.core.errors import DamagedFileError
from backend.storage.atomic import read_json, write_json

LR_CURVE = "lr_finder.json"


class LrCurve(BaseModel):
    """A rising learning rate and the losses under it, one entry per step of the optimiser.

    Attributes:
        rates: learning rates, rising.
        losses: of both sides together.
        smoothed: their running mean.
        best: the rate at the lowest running mean.
        strength: "default", "aggressive" or "extreme".
        chosen: ``best`` divided by what the strength says, within the setting's range.
        iteration: steps that were tried.
    """

    model_config = ConfigDict(frozen=True)

    rates: tuple[FiniteFloat, ...]
    losses: tuple[FiniteFloat, ...]
    smoothed: tuple[FiniteFloat, ...]
    best: FiniteFloat
    strength: str
    chosen: FiniteFloat
    iteration: int

    @model_validator(mode="after")
    def _lengths_agree(self) -> Self:
        if not len(self.rates) == len(self.losses) == len(self.smoothed) > 0:
            raise ValueError("the curve's lists differ in length")
        return self


def read_lr_curve(model: Path) -> LrCurve | None:
    """The curve in a model's folder; None when there is none, or it cannot be read."""
    try:
        return LrCurve.model_validate(read_json(model / LR_CURVE))
    except (OSError, DamagedFileError, ValidationError):
        return None


def write_lr_curve(model: Path, curve: LrCurve) -> None:
    """Replace the curve in a model's folder."""
    write_json(model / LR_CURVE, curve.model_dump(mode="json"))


def drop_lr_curve(model: Path) -> None:
    """Remove the curve from a model's folder, where there is one."""
    (model / LR_CURVE).unlink(missing_ok=True)
