"""Video and frames: what a file holds, and the table that maps frame files to presentation time."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from pydantic import BaseModel, ConfigDict


class VideoInfo(BaseModel):
    """What was probed from a video file.

    Attributes:
        width, height: pixels as displayed, after rotation.
        pixel_aspect: width of a displayed pixel divided by its height; 1 for square pixels.
        fps: average rate of the first video stream.
        frame_count: frames in the container when known without decoding, else 0.
        duration_s: seconds of the video stream.
        rotation_deg: clockwise rotation a player applies: 0, 90, 180, 270.
        has_audio: whether there is at least one audio stream; audio_duration_s is the first one's length.
        color_transfer: transfer characteristics by name, for example "bt709", "smpte2084", "" when untagged.
    """

    model_config = ConfigDict(frozen=True)

    path: Path
    width: int
    height: int
    pixel_aspect: Fraction = Fraction(1)
    fps: Fraction
    frame_count: int
    duration_s: float
    rotation_deg: int = 0
    has_audio: bool = False
    audio_duration_s: float = 0.0
    color_transfer: str = ""
    codec: str = ""


class FrameRef(BaseModel):
    """One frame on disk and its presentation time.

    Attributes:
        file: file name without folder, for example "00001.png".
        index: index of the frame in the source clip, from 0.
        time_s: presentation time in seconds from the first frame of the clip.
    """

    model_config = ConfigDict(frozen=True)

    file: str
    index: int
    time_s: float


class FrameTable(BaseModel):
    """Every extracted frame in order. Extract, merge and export read time from here and nowhere else.

    Attributes:
        video: the probe of the clip the frames came from.
        frames: in presentation order.
        end_s: presentation time at which the last frame ends.
    """

    model_config = ConfigDict(frozen=True)

    version: int = 1
    video: VideoInfo
    frames: tuple[FrameRef, ...]
    end_s: float
