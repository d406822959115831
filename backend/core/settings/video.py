"""Settings of the stages that read and write video: create, extract-frames, export."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import model_validator

from backend.core.settings.base import Settings, setting

Side = Literal["src", "dst"]


class CreateSettings(Settings):
    """Start a project: two clips and the statement that the people shown agreed."""

    src: Path | None = setting(None, "Source video: the person whose face is used.")
    dst: Path | None = setting(None, "Destination video: the person whose face is replaced.")
    consent: str = setting("", "Who agreed to this use of their face, and on what basis.")
    notes: str = setting("", "Free notes kept with the project.")


class SampleSettings(Settings):
    """Make the two clips of the sample project on the spot."""

    seconds: float = setting(4.0, "Length of each sample clip.", ge=2, le=20, unit="s")


class ExtractFramesSettings(Settings):
    """Write the frames of one clip as images."""

    side: Side = setting("src", "Which clip to read.")
    fps: float = setting(0.0, "Frames to keep per second; 0 keeps every frame.", ge=0, le=240, unit="fps")
    image_format: Literal["png", "jpg"] = setting("png", "PNG is lossless, JPG takes a tenth of the disk.")
    jpeg_quality: int = setting(95, "Quality of JPG frames.", ge=50, le=100)
    start_s: float = setting(0.0, "Where to begin.", ge=0, le=1_000_000, unit="s")
    end_s: float = setting(0.0, "Where to end; 0 is the end of the clip.", ge=0, le=1_000_000, unit="s")

    @model_validator(mode="after")
    def _range_in_order(self) -> ExtractFramesSettings:
        if self.end_s and self.end_s <= self.start_s:
            raise ValueError("the end of the range has to lie after its start")
        return self


class ExportSettings(Settings):
    """Encode the merged frames with the timing and the sound of the destination clip."""

    name: str = setting("result", "File name of the result without extension.")
    crf: int = setting(17, "Constant rate factor of H.264: lower is better and larger.", ge=0, le=51)
    speed: Literal["ultrafast", "veryfast", "fast", "medium", "slow"] = setting(
        "medium", "Encoder preset: slower makes smaller files of the same quality."
    )
    include_audio: bool = setting(True, "Take the sound of the destination clip along.")
    mark: bool = setting(True, "Mark the file as AI-manipulated in its metadata and in a sidecar file.")

    @model_validator(mode="after")
    def _plain_name(self) -> ExportSettings:
        if not self.name or any(c in self.name for c in '/\\:*?"<>|') or self.name.startswith("."):
            raise ValueError("the name must be a plain file name without folder")
        return self
