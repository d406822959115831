"""Writing video: every kind of file with a presentation time per frame and the sound of a clip."""

from __future__ import annotations

import errno
import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
import numpy.typing as npt
from av.container import OutputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from av.video.stream import VideoStream

from backend.core.errors import BadInputError, DamagedFileError
from backend.storage.audio import AudioFeed, AudioRange, Samples, SamplesFeed
from backend.storage.frame_clock import FrameClock, frame_clock, timing_for
from backend.storage.frame_conversion import FrameConversion, PaletteConversion
from backend.storage.video import probe
from backend.storage.video_check import AUDIO_SLACK_S, Expectation, audio_end_s, check
from backend.storage.video_formats import CODECS, MUXERS, VideoFormat, encoder_options

__all__ = [
    "Expectation",
    "FrameClock",
    "Picture",
    "VideoWriter",
    "audio_end_s",
    "check",
    "frame_clock",
]

SHORT_CLIP = 16
"""Frames of a clip that is encoded without B-frames whatever its clock is."""

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)
"""Errors of the place a file is written to, not of the encoder."""

RGB_MATRIX = 0
"""H.273 number of "no matrix: the planes are green, blue and red"."""

Sound = AudioRange | Samples | Sequence[AudioRange] | None


@dataclass(frozen=True)
class Picture:
    """How the frames are encoded.

    Attributes:
        width, height: of the frames given; an odd side is padded by one repeated line or column where the codec
            knows only even ones.
        pixel_aspect: width of a pixel divided by its height.
        crf, speed: rate factor (0..51, lower is better) and preset, on x264's scales.
        bitrate: mean bits per second instead of a rate factor; 0 leaves it to the rate factor.
        kind: container and codec.
    """

    width: int
    height: int
    pixel_aspect: Fraction = Fraction(1)
    crf: int = 17
    speed: str = "medium"
    bitrate: int = 0
    kind: VideoFormat = field(default_factory=VideoFormat)

    @property
    def padding(self) -> tuple[int, int]:
        """Columns added at the right and lines added at the bottom."""
        return (self.width % 2, self.height % 2) if self.kind.needs_even_sides else (0, 0)

    @property
    def channels(self) -> int:
        """3 for BGR pictures, 4 for BGRA ones."""
        return 4 if self.kind.alpha else 3


class VideoWriter:
    """Encodes frames in order into a file. A context manager: leaving it by an exception removes the file.

    Args:
        path: file to write.
        picture: size, kind of file and quality.
        clock: times of all the frames that will be written.
        audio: sound to take along, of tracks of a clip or made by the program; ignored when the clip has none.
        tags: container metadata, keys as mp4 knows them (title, comment, description, ...).
    """

    def __init__(
        self,
        path: Path,
        picture: Picture,
        clock: FrameClock,
        audio: Sound = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        _require_size(picture)
        self.path = path
        self.picture = picture
        self.timing = timing_for(clock, picture.kind.container)
        self.clock = self.timing.clock
        self.sounds: tuple[AudioFeed | SamplesFeed, ...] = ()
        self._given = self._written = 0
        self._finished = False
        self._container = _opened(path, picture.kind, self.clock, tags or {})
        try:
            self._stream = _video_stream(self._container, picture, self.clock)
            self._conversion = _conversion(picture, self.clock)
            self._take_sound(audio)
        except BaseException:
            self._abandon()
            raise
        self._packets: Iterator[tuple[float, Packet]] = heapq.merge(
            *(sound.packets() for sound in self.sounds), key=lambda timed: timed[0]
        )
        self._waiting: tuple[float, Packet] | None = None
        self._length_of = {a: b - a for a, b in pairwise([*self.clock.ticks, self.clock.end])}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.finish()
        else:
            self._abandon()

    @property
    def audio(self) -> AudioFeed | SamplesFeed | None:
        """The first sound track of the file, None without sound."""
        return self.sounds[0] if self.sounds else None

    def write(self, frame: npt.NDArray[np.uint8]) -> None:
        """Encode the next frame, (height, width, 3) uint8 BGR or, with alpha, (height, width, 4) straight BGRA.

        BadInputError for another size.
        """
        height, width = frame.shape[:2]
        if (width, height) != (self.picture.width, self.picture.height) or frame.shape[2] != self.picture.channels:
            raise BadInputError(
                f"Frame {self._given + 1} is {width} x {height}, the first one {self.picture.width} x "
                f"{self.picture.height}.",
                "All frames of a video must have one size.",
            )
        times = self.timing.times[self._given]
        self._given += 1
        with self._encoder_errors():
            for _ in range(times):
                number, self._written = self._written, self._written + 1
                self._encode(self._conversion.frames(frame, number))
                self._mux_sound_until(float(self.clock.ticks[number] * self.clock.time_base))

    def finish(self) -> None:
        """Write what is left and close the file. DamagedFileError when frames are missing."""
        if self._finished:
            return
        self._finished = True
        try:
            with self._encoder_errors():
                self._encode(self._conversion.rest())
                self._mux_video(self._stream.encode(None))
                self._mux_sound_until(float("inf"))
                self._container.close()
        except BaseException:
            self._abandon()
            raise
        if self._given != len(self.timing.times):
            self.path.unlink(missing_ok=True)
            raise DamagedFileError(f"{self._given} of {len(self.timing.times)} frames were given to {self.path.name}.")

    def expectation(self) -> Expectation:
        """What the finished file has to hold."""
        right, below = self.picture.padding
        ends = tuple((sound.expected_end_s or sound.end_s) for sound in self.sounds)
        slack = max((AUDIO_SLACK_S + 2 * sound.packet_s for sound in self.sounds), default=0.0)
        return Expectation(
            self.clock,
            ends[0] if ends else None,
            slack,
            ends[1:],
            (self.picture.width + right, self.picture.height + below),
            CODECS[self.picture.kind.codec].name,
        )

    @contextmanager
    def _encoder_errors(self) -> Iterator[None]:
        """A sentence for what an encoder refuses; errors of the disk pass."""
        try:
            yield
        except av.FFmpegError as error:
            if error.errno in DISK_ERRORS:
                raise
            kind = self.picture.kind
            raise BadInputError(
                f"{kind.encoder} failed at frame {self._given} of {self.picture.width} x {self.picture.height}: "
                f"{error.strerror}.",
                "Choose another codec, encoder or size.",
            ) from error

    def _take_sound(self, audio: Sound) -> None:
        if isinstance(audio, Samples):
            self.sounds = (SamplesFeed(self._container, audio),)
            return
        wanted = (audio,) if isinstance(audio, AudioRange) else tuple(audio or ())
        for one in wanted:
            if probe(one.path).has_audio:
                self.sounds = (*self.sounds, AudioFeed(self._container, one, self.picture.kind.container))

    def _abandon(self) -> None:
        with suppress(av.FFmpegError):
            self._container.close()
        for sound in self.sounds:
            sound.close()
        self.path.unlink(missing_ok=True)

    def _encode(self, frames: Iterable[VideoFrame]) -> None:
        for frame in frames:
            self._mux_video(self._stream.encode(frame))

    def _mux_video(self, packets: Iterable[Packet]) -> None:
        for packet in packets:
            if packet.pts is not None:
                packet.duration = self._length_of[packet.pts]
            self._container.mux(packet)

    def _mux_sound_until(self, time_s: float) -> None:
        while True:
            self._waiting = self._waiting or next(self._packets, None)
            if self._waiting is None or self._waiting[0] > time_s:
                return
            self._container.mux(self._waiting[1])
            self._waiting = None


def _require_size(picture: Picture) -> None:
    """BadInputError for pictures an encoder cannot take; libx265 writes beyond its memory for some tiny ones."""
    smallest = CODECS[picture.kind.codec].smallest
    if min(picture.width, picture.height) < smallest:
        raise BadInputError(
            f"{picture.kind.codec} needs pictures of at least {smallest} x {smallest}; these are {picture.width} x "
            f"{picture.height}.",
            "Choose another codec or a larger height.",
        )


def _opened(path: Path, kind: VideoFormat, clock: FrameClock, tags: Mapping[str, str]) -> OutputContainer:
    options: dict[str, str] = {}
    if kind.container in ("mp4", "mov"):
        options = {"movflags": "faststart", "movie_timescale": str(clock.timescale)}
    elif kind.container == "gif":
        options = {"loop": "0", "final_delay": str(clock.end - clock.ticks[-1])}
    container = av.open(str(path), "w", format=MUXERS[kind.container], options=options)
    container.metadata.update(tags)
    return container


def _video_stream(container: OutputContainer, picture: Picture, clock: FrameClock) -> VideoStream:
    kind = picture.kind
    # mp4 stores lengths in decoding order, and avi no times at all: without B-frames they are the frames' own;
    # x265 makes up decoding times for clips that end before its B-frames begin
    reordered = clock.constant and kind.container != "avi" and len(clock.ticks) > SHORT_CLIP
    steered = replace(kind, rate="bitrate") if picture.bitrate else kind
    options = encoder_options(steered, picture.crf, picture.speed, reordered)
    try:
        stream = container.add_stream(kind.encoder, rate=clock.rate.limit_denominator(100_000), options=options)
    except ValueError as error:
        raise BadInputError(f"This build of FFmpeg has no {kind.encoder}.", "Choose another codec.") from error
    assert isinstance(stream, VideoStream)
    stream.thread_type = "AUTO"
    right, below = picture.padding
    stream.width, stream.height = picture.width + right, picture.height + below
    stream.pix_fmt = kind.pixel_format
    if picture.bitrate:
        stream.bit_rate = picture.bitrate
    stream.time_base = clock.time_base
    context = stream.codec_context
    context.time_base = clock.time_base
    context.sample_aspect_ratio = picture.pixel_aspect
    if not kind.is_rgb:
        context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
    elif kind.pixel_format == "gbrp":
        # planes of RGB look like YUV to a reader that is not told
        context.colorspace, context.color_range = RGB_MATRIX, ColorRange.JPEG
    context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
    if kind.tag:
        context.codec_tag = kind.tag
    if kind.alpha and kind.codec == "vp9":
        stream.metadata["alpha_mode"] = "1"
    return stream


def _conversion(picture: Picture, clock: FrameClock) -> FrameConversion:
    if picture.kind.codec == "gif":
        return PaletteConversion(picture.kind, (picture.width, picture.height), clock)
    return FrameConversion(picture.kind, picture.padding, clock)
