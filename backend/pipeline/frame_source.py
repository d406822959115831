"""Frames straight from the clip, in the order in which they are asked for: for frames without a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from backend.core.errors import BadInputError
from backend.core.frames import VideoInfo
from backend.storage.frame_colour import BgrImage
from backend.storage.video import DecodedFrame, decode, probe

SAME_FRAME_S = 5e-4
"""Presentation times closer than this are of one frame."""

SEEK_AHEAD_S = 5.0
"""A frame further ahead than this is sought instead of decoding all before it."""


class ClipReader:
    """A clip that is decoded forwards. Use it from one thread at a time.

    Frames are known by their time: after a damaged packet counting would go wrong. They are rotated and tone-mapped as
    extracted frames are.

    Args:
        clip: the video; None when there is none.
    """

    def __init__(self, clip: Path | None) -> None:
        self._clip = clip
        self._frames: Iterator[DecodedFrame] = iter(())
        self._at_s = float("inf")

    def read(self, time_s: float, name: str) -> BgrImage:
        """The frame shown at a time, (h, w, 3) uint8 BGR.

        Args:
            time_s: presentation time from the first frame of the clip.
            name: what errors call the frame.

        Raises:
            BadInputError: there is no clip, it has no such frame, or it cannot be read.
        """
        if self._clip is None:
            raise BadInputError(
                f"The picture of frame {name} is gone, and there is no clip to take it from.",
                "Extract the frames of dst again.",
            )
        if not -SAME_FRAME_S < time_s - self._at_s <= SEEK_AHEAD_S:
            self._frames = decode(self._clip, max(0.0, time_s - SAME_FRAME_S))
        for frame in self._frames:
            self._at_s = frame.time_s + SAME_FRAME_S
            if abs(frame.time_s - time_s) <= SAME_FRAME_S:
                return frame.frame_bgr
            if frame.time_s > time_s:
                break
        self._at_s = float("inf")
        raise BadInputError(
            f"{self._clip.name} has no frame at {time_s:.3f} s, and the picture of frame {name} is gone.",
            "Extract the frames of dst again.",
        )


def require_same_clip(clip: Path, known: VideoInfo) -> None:
    """Check that frames may be taken from a clip.

    Args:
        clip: as it is now.
        known: the probe of the clip the frames came from.

    Raises:
        BadInputError: it is another one, or cannot be read.
    """
    now = probe(clip)
    same = (now.width, now.height, now.frame_count) == (known.width, known.height, known.frame_count)
    if not same or abs(now.duration_s - known.duration_s) > SAME_FRAME_S:
        raise BadInputError(
            f"{clip.name} is not the clip the frames came from, and some of their pictures are gone.",
            "Bring the earlier clip back, or extract the frames and faces again.",
        )
