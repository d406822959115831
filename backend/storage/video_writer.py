"""Writing video: H.264 in mp4 with a presentation time per frame, the sound of a clip, and a check of the result."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
import numpy.typing as npt
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, VideoReformatter
from av.video.stream import VideoStream

from backend.core.errors import BadInputError, DamagedFileError
from backend.core.frames import VideoInfo
from backend.storage.audio import AAC_FRAME, AudioFeed, AudioRange, Samples, SamplesFeed
from backend.storage.frame_colour import SCALING
from backend.storage.video import frame_times, open_clip, probe, video_stream

AUDIO_SLACK_S = 0.025
"""How far a container's own statement of the sound's length may be off, beside two AAC frames."""

FINE_TICK = Fraction(1, 90_000)
"""Time base of clips with a variable frame rate."""

CONSTANT_WITHIN_S = 0.0006
"""Containers round times to milliseconds; a rate that fits this well is constant."""


@dataclass(frozen=True)
class FrameClock:
    """When each frame is shown.

    Attributes:
        time_base: seconds per tick.
        ticks: ascending start of each frame; the first is 0.
        end: tick at which the last frame ends.
        constant: whether every frame lasts equally long.
    """

    time_base: Fraction
    ticks: tuple[int, ...]
    end: int
    constant: bool

    @property
    def length_s(self) -> float:
        """Seconds from the first frame to the end of the last."""
        return float(self.end * self.time_base)

    @property
    def rate(self) -> Fraction:
        """Mean frames per second."""
        return len(self.ticks) / (self.end * self.time_base)

    @property
    def timescale(self) -> int:
        """Ticks per second for lengths in the file: fine, and exact for this clock."""
        denominator = self.time_base.denominator
        return denominator * -(-10_000 // denominator)

    @property
    def shortest_s(self) -> float:
        """Length of the shortest frame."""
        return float(min(b - a for a, b in pairwise([*self.ticks, self.end])) * self.time_base)


@dataclass(frozen=True)
class Picture:
    """How the frames are encoded.

    Attributes:
        width, height: of the frames given; an odd side is padded by one repeated line or column.
        pixel_aspect: width of a pixel divided by its height.
        crf, speed: x264's rate factor (0..51, lower is better) and preset.
        bitrate: mean bits per second instead of a rate factor; 0 leaves it to the rate factor.
    """

    width: int
    height: int
    pixel_aspect: Fraction = Fraction(1)
    crf: int = 17
    speed: str = "medium"
    bitrate: int = 0

    @property
    def padding(self) -> tuple[int, int]:
        """Columns added at the right and lines added at the bottom."""
        return self.width % 2, self.height % 2


@dataclass(frozen=True)
class Expectation:
    """What a written file has to hold; audio_end_s None means no sound, tolerances are in seconds."""

    clock: FrameClock
    audio_end_s: float | None
    audio_tolerance_s: float


def frame_clock(times_s: Sequence[float], end_s: float, fps: Fraction) -> FrameClock:
    """Clock of frames with the given times: exactly constant when they fit fps or a whole fraction of it.

    Args:
        times_s: ascending seconds of the frames, at least one.
        end_s: when the last one ends, on the same clock.
        fps: rate of the clip the frames came from.
    """
    start, count = times_s[0], len(times_s)
    mean = (times_s[-1] - start) / (count - 1) if count > 1 else float(1 / fps)
    step = Fraction(max(1, round(mean * fps))) / fps
    offsets = np.asarray(times_s, np.float64) - start
    if np.abs(offsets - np.arange(count) * float(step)).max() <= CONSTANT_WITHIN_S:
        return FrameClock(step, tuple(range(count)), count, True)
    ticks: list[int] = []
    for offset in offsets:
        tick = round(float(offset) / FINE_TICK)
        ticks.append(max(tick, ticks[-1] + 1) if ticks else tick)
    end = max(round((end_s - start) / FINE_TICK), ticks[-1] + 1)
    return FrameClock(FINE_TICK, tuple(ticks), end, False)


class VideoWriter:
    """Encodes frames in order into an mp4 file. A context manager: leaving it by an exception removes the file.

    Args:
        path: file to write; its name must end in .mp4.
        picture: size and quality.
        clock: times of all the frames that will be written.
        audio: sound to take along, of a clip or made by the program; ignored when the clip has none.
        tags: container metadata, keys as mp4 knows them (title, comment, description, ...).
    """

    def __init__(
        self,
        path: Path,
        picture: Picture,
        clock: FrameClock,
        audio: AudioRange | Samples | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        self.path = path
        self.picture = picture
        self.clock = clock
        self.audio: AudioFeed | SamplesFeed | None = None
        self._written = 0
        self._finished = False
        self._converter = VideoReformatter()
        options = {"movflags": "faststart", "movie_timescale": str(clock.timescale)}
        self._container = av.open(str(path), "w", format="mp4", options=options)
        self._container.metadata.update(tags or {})
        self._stream = self._add_stream()
        if isinstance(audio, Samples):
            self.audio = SamplesFeed(self._container, audio)
        elif audio is not None and probe(audio.path).has_audio:
            self.audio = AudioFeed(self._container, audio)
        self._sound: Iterator[tuple[float, Packet]] = self.audio.packets() if self.audio else iter(())
        self._waiting: tuple[float, Packet] | None = None
        self._length_of = {a: b - a for a, b in pairwise([*clock.ticks, clock.end])}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.finish()
            return
        with suppress(av.FFmpegError):
            self._container.close()
        if self.audio:
            self.audio.close()
        self.path.unlink(missing_ok=True)

    def write(self, frame_bgr: npt.NDArray[np.uint8]) -> None:
        """Encode the next frame, (height, width, 3) uint8 BGR; BadInputError for another size."""
        height, width = frame_bgr.shape[:2]
        if (width, height) != (self.picture.width, self.picture.height):
            raise BadInputError(
                f"Frame {self._written + 1} is {width} x {height}, the first one {self.picture.width} x "
                f"{self.picture.height}.",
                "All frames of a video must have one size.",
            )
        right, below = self.picture.padding
        if right or below:
            frame_bgr = np.pad(frame_bgr, ((0, below), (0, right), (0, 0)), mode="edge")
        frame = self._converter.reformat(
            VideoFrame.from_ndarray(np.ascontiguousarray(frame_bgr), "bgr24"),
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            interpolation=SCALING,
        )
        frame.pts = self.clock.ticks[self._written]
        frame.time_base = self.clock.time_base
        self._written += 1
        self._mux_video(self._stream.encode(frame))
        self._mux_sound_until(float(frame.pts * frame.time_base))

    def finish(self) -> None:
        """Write what is left and close the file. DamagedFileError when frames are missing."""
        if self._finished:
            return
        self._finished = True
        self._mux_video(self._stream.encode(None))
        self._mux_sound_until(float("inf"))
        self._container.close()
        if self._written != len(self.clock.ticks):
            self.path.unlink(missing_ok=True)
            raise DamagedFileError(f"{self._written} of {len(self.clock.ticks)} frames were given to {self.path.name}.")

    def expectation(self) -> Expectation:
        """What the finished file has to hold."""
        if self.audio is None:
            return Expectation(self.clock, None, 0.0)
        return Expectation(
            self.clock, self.audio.expected_end_s or self.audio.end_s, AUDIO_SLACK_S + 2 * AAC_FRAME / self.audio.rate
        )

    def _add_stream(self) -> VideoStream:
        options = {"preset": self.picture.speed}
        if not self.picture.bitrate:
            options["crf"] = str(self.picture.crf)
        if not self.clock.constant:
            options["bf"] = "0"  # mp4 stores lengths in decoding order: only without B-frames they are the frames' own
        stream = self._container.add_stream("libx264", rate=self.clock.rate.limit_denominator(100_000), options=options)
        right, below = self.picture.padding
        stream.width, stream.height = self.picture.width + right, self.picture.height + below
        stream.pix_fmt = "yuv420p"
        if self.picture.bitrate:
            stream.bit_rate = self.picture.bitrate
        stream.time_base = self.clock.time_base
        context = stream.codec_context
        context.time_base = self.clock.time_base
        context.sample_aspect_ratio = self.picture.pixel_aspect
        context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
        context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        return stream

    def _mux_video(self, packets: Iterable[Packet]) -> None:
        for packet in packets:
            if packet.pts is not None:
                packet.duration = self._length_of[packet.pts]
            self._container.mux(packet)

    def _mux_sound_until(self, time_s: float) -> None:
        while True:
            self._waiting = self._waiting or next(self._sound, None)
            if self._waiting is None or self._waiting[0] > time_s:
                return
            self._container.mux(self._waiting[1])
            self._waiting = None


def check(path: Path, expected: Expectation) -> VideoInfo:
    """Probe a written file; DamagedFileError naming the first thing that is not as expected.

    Frame count and times must agree to half a frame, the end of the sound to the tolerance.
    """
    info, times = probe(path), frame_times(path)
    clock = expected.clock
    if len(times) != len(clock.ticks):
        raise DamagedFileError(f"{path.name} holds {len(times)} frames instead of {len(clock.ticks)}.")
    half = clock.shortest_s / 2
    late = float(np.abs(times - np.array(clock.ticks, np.float64) * float(clock.time_base)).max())
    if late > half:
        raise DamagedFileError(f"A frame of {path.name} is shown {late:.3f} s away from its time.")
    if abs(info.duration_s - clock.length_s) > half:
        raise DamagedFileError(f"{path.name} lasts {info.duration_s:.3f} s instead of {clock.length_s:.3f} s.")
    if info.has_audio != (expected.audio_end_s is not None):
        raise DamagedFileError(f"{path.name} has {'a' if info.has_audio else 'no'} sound track against the order.")
    if expected.audio_end_s is not None:
        end, wanted = audio_end_s(path), expected.audio_end_s
        if abs(end - wanted) > expected.audio_tolerance_s:
            raise DamagedFileError(f"The sound of {path.name} ends at {end:.3f} s instead of {wanted:.3f} s.")
    return info


def audio_end_s(path: Path) -> float:
    """When the sound of a file ends, in seconds after its first video frame; 0 without sound."""
    with open_clip(path) as container:
        if not container.streams.audio:
            return 0.0
        stream, picture = container.streams.audio[0], video_stream(container, path)
        if not stream.duration or stream.time_base is None:
            return 0.0
        begin = (picture.start_time or 0) * (picture.time_base or 0)
        return float(((stream.start_time or 0) + stream.duration) * stream.time_base - begin)
