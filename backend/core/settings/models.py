"""Settings of the stages that look at a model or carry it: summary, evaluation, time-lapse, one-file export."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from backend.core.settings.base import Settings, setting


class SummarySettings(Settings):
    """What a model would be: parts, parameters, memory. Nothing is trained and nothing is kept."""

    model: str = setting("", "Name of an existing model; empty describes the settings below.")
    train: dict[str, bool | int | float | str | list[str]] = setting(
        {}, "Training settings by name: of a model that need not exist yet, or in place of those stored with the model."
    )


class EvaluateSettings(Settings):
    """How good a trained model is, on faces it was not trained on where there are any."""

    model: str = setting("model", "Name of the trained model.")
    faces: int = setting(200, "Faces of each side at most, evenly picked.", ge=4, le=10_000)
    jitter_frames: int = setting(60, "Consecutive destination faces for the jitter of the swap.", ge=0, le=10_000)
    rows: int = setting(8, "Faces in the picture grid.", ge=1, le=32)
    device: str = setting("best", "Where to compute: best, cpu, or a device by name.")


class TimelapseSettings(Settings):
    """The series of previews as a video."""

    model: str = setting("model", "Name of the model.")
    page: str = setting("faces", "Which preview page: faces, masked, or morph of an AMP model.")
    fps: int = setting(12, "Previews per second.", ge=1, le=60, unit="fps")


class ModelFileSettings(Settings):
    """Copying, packing and unpacking whole models."""

    action: Literal["copy", "export", "import", "backup", "restore", "dfm", "dfl"] = setting(
        "copy",
        "Copy a model, write it as one file, read one, make a backup, go back to one, write a DFM file, or write it "
        "for DeepFaceLab.",
    )
    model: str = setting("", "Name of the model to copy, export, back up or restore.")
    name: str = setting("", "Name of the new model, or of the backup to restore; empty takes a fitting one.")
    file: str = setting(
        "",
        "What to import: a model file, a DeepFaceLab model (its folder, its _data.dat or a ZIP of it), or a DFM file.",
    )
    face_type: Literal["auto", "h", "mf", "f", "wf", "head"] = setting(
        "auto", "Import of a DFM file: how much of the head it takes; auto is what the file says, else whole face."
    )
    fp16: bool = setting(False, "DFM: convolve in half precision; smaller, and faster on a GPU.")

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> ModelFileSettings:
        if self.action == "import" and not self.file:
            raise ValueError("an import needs a file")
        if self.action != "import" and not self.model:
            raise ValueError("choose a model")
        if self.action == "restore" and not self.name:
            raise ValueError("choose a backup")
        return self
