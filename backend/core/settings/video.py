"""Settings of the stages that bring video in: create, sample, extract-frames, edit-clip, denoise-frames."""

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


class EditClipSettings(Settings):
    """Cut or rescale one side's clip. The clip as it was is kept and can be brought back."""

    side: Side = setting("src", "Which clip.")
    restore: bool = setting(False, "Only bring the clip back as it was before the last change.")
    start_s: float = setting(0.0, "Where the part to keep begins.", ge=0, le=1_000_000, unit="s")
    end_s: float = setting(0.0, "Where it ends; 0 is the end of the clip.", ge=0, le=1_000_000, unit="s")
    audio_track: int = setting(0, "Which sound track to keep, from 0; -1 keeps none.", ge=-1, le=31)
    method: Literal["encode", "copy"] = setting(
        "encode",
        "encode cuts exactly; copy keeps the picture data untouched and begins at the key frame before the start.",
    )
    bitrate_mbit: float = setting(25.0, "Bit rate of encoded video.", ge=0.1, le=400, unit="Mbit/s")
    height: int = setting(
        0, "New height; the width follows. 0 keeps the size. Needs encoding.", ge=0, le=8640, step=2, unit="px"
    )

    @model_validator(mode="after")
    def _can_be_done(self) -> EditClipSettings:
        if self.end_s and self.end_s <= self.start_s:
            raise ValueError("the end of the range has to lie after its start")
        if self.height and self.method == "copy":
            raise ValueError("another size needs encoding")
        return self


class DenoiseFramesSettings(Settings):
    """Take noise out of one side's frames, in place. The frames as they were are kept until that is given up."""

    side: Side = setting("dst", "Which side's frames.")
    factor: int = setting(7, "How strongly: 1 hardly at all, 7 for usual noise, 20 for very grainy film.", ge=1, le=20)
    undo: bool = setting(False, "Only bring the frames back as they were.")
    keep_originals: bool = setting(True, "Keep the frames as they were, so that this can be undone; takes their disk.")
