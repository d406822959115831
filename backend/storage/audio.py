"""Sound of a clip for a range of its time: copied as it is where that is exact, encoded otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet

from backend.core.errors import BadInputError
from backend.storage.sound_formats import AAC, COPIED, COPYABLE, NAMES, SoundCodec, encoded_as, language_in
from backend.storage.video import first_time_s, open_clip

LAYOUTS = ("mono", "stereo", "5.1")
BLOCK = 1024
"""Samples given to an encoder at once."""

COPY_SLACK_S = Fraction(5, 100)
"""Sound that begins this little before the range is still copied whole: it is the codec's run-in."""

PAST_END_S = Fraction(2, 1000)
"""Rounding of the times of packets."""

JITTER_S = 0.02
"""Timestamps that miss the sample count by less than this are rounding of the container."""

KEPT_TAGS = ("language", "title")
"""What a sound track says about itself that travels along."""


@dataclass(frozen=True)
class AudioRange:
    """A part of a clip's sound.

    Attributes:
        path: the clip.
        start_s: where to begin, in seconds since the clip's first video frame.
        length_s: how much to take at most.
        track: number of the sound track, from 0; the clip has that many.
        how: "auto" copies where that is exact; "copy" copies from the first packet inside the range on; "encode".
    """

    path: Path
    start_s: float
    length_s: float
    track: int = 0
    how: Literal["auto", "copy", "encode"] = "auto"


@dataclass(frozen=True)
class Samples:
    """Sound made by the program: (channels, n) float32 -1..1, one or two channels, with its rate in hertz."""

    data: npt.NDArray[np.float32]
    rate: int


class SamplesFeed:
    """AAC packets of given samples; attributes as AudioFeed."""

    mode = "aac"

    def __init__(self, output: OutputContainer, samples: Samples) -> None:
        self._samples = samples
        self._layout = LAYOUTS[samples.data.shape[0] - 1]
        self._output = _encoder_stream(output, AAC, samples.rate, self._layout)
        self.rate = samples.rate
        self.packet_s = AAC.packet / self.rate
        self.end_s = self.expected_end_s = samples.data.shape[1] / samples.rate

    def packets(self) -> Iterator[tuple[float, Packet]]:
        """(time in seconds, packet) in order."""
        data = self._samples.data
        blocks = (data[:, at : at + BLOCK] for at in range(0, data.shape[1], BLOCK))
        return _encoded(self._output, blocks, self.rate, self._layout)

    def close(self) -> None:
        """Nothing is open."""


class AudioFeed:
    """Packets of one sound track for a file being written.

    Args:
        output: the file.
        wanted: which sound.
        container: the kind of file.

    Attributes:
        mode: "copied", "aac", "opus" or "pcm".
        end_s: where the sound given so far ends, in seconds of the new file.
        expected_end_s: where it has to end, by what the clip says about itself; 0 when it does not say.
        rate: samples per second.
        packet_s: length of a packet.
    """

    def __init__(self, output: OutputContainer, wanted: AudioRange, container: str = "mp4") -> None:
        self._source = open_clip(wanted.path)
        self._input: AudioStream = self._source.streams.audio[wanted.track]
        self._start = first_time_s(wanted.path) + Fraction(wanted.start_s).limit_denominator(1_000_000)
        self._length = Fraction(wanted.length_s).limit_denominator(1_000_000)
        self.end_s = 0.0
        self.expected_end_s = _expected_end_s(self._input, self._start, self._length)
        copied = wanted.how == "copy" or (wanted.how == "auto" and self._is_exact_copy(COPIED[container]))
        self._from_first_inside = wanted.how == "copy"
        self._whole_packets = container not in ("mp4", "mov")
        codec = encoded_as(container)
        self.mode = "copied" if copied else NAMES[codec.encoder]
        rate = self._input.codec_context.sample_rate or 48000
        if copied:
            self.rate = rate
            self.packet_s = (self._input.codec_context.frame_size or AAC.packet) / rate
            self._output = output.add_stream_from_template(self._input)
        else:
            layout = self._input.codec_context.layout.name
            self.rate = rate if rate in codec.rates else codec.rates[-1]
            self.packet_s = codec.packet / self.rate
            self._layout = layout if layout in LAYOUTS else "stereo"
            self._output = _encoder_stream(output, codec, self.rate, self._layout)
        said = self._input.metadata
        self._output.metadata.update({name: said[name] for name in KEPT_TAGS if name in said})
        if "language" in said:
            self._output.metadata["language"] = language_in(container, said["language"])

    def packets(self) -> Iterator[tuple[float, Packet]]:
        """(time in seconds of the new file, packet) in order; the source is closed at the end."""
        with self._source:
            if self.mode == "copied":
                yield from self._copied()
            else:
                yield from _encoded(self._output, self._blocks(), self.rate, self._layout)

    def close(self) -> None:
        """Close the clip, for when not all packets were taken."""
        self._source.close()

    def _is_exact_copy(self, codecs: tuple[str, ...]) -> bool:
        context = self._input.codec_context
        name = context.codec.canonical_name
        if name not in codecs or (name == "aac" and not context.extradata):
            return False
        if self._input.start_time is None or self._input.time_base is None:
            return False
        begin = self._input.start_time * self._input.time_base
        return begin >= self._start - COPY_SLACK_S

    def _copied(self) -> Iterator[tuple[float, Packet]]:
        """Packets of the range. The last one's length is cut to its end, or it is left out where that is not stored."""
        if self._from_first_inside:
            self._seek()
        for packet in _readable_packets(self._source, self._input):
            if packet.pts is None or packet.time_base is None:
                continue
            time = packet.pts * packet.time_base - self._start
            if time >= self._length:
                return
            if self._from_first_inside and time < -COPY_SLACK_S:
                continue
            shift = round(self._start / packet.time_base)
            packet.pts -= shift
            packet.dts = packet.pts
            length = (packet.duration or 0) * packet.time_base
            if self._whole_packets and time + length > self._length + PAST_END_S:
                return
            if packet.duration:
                packet.duration = max(1, min(packet.duration, int((self._length - time) / packet.time_base)))
            packet.stream = self._output
            self.end_s = float(time + (packet.duration or 0) * packet.time_base)
            yield float(time), packet

    def _blocks(self) -> Iterator[npt.NDArray[np.float32]]:
        """(channels, up to BLOCK) float32 in order, without gaps, beginning exactly at the range."""
        pending: npt.NDArray[np.float32] | None = None
        for piece in self._pieces():
            pending = piece if pending is None else np.concatenate([pending, piece], axis=1)
            while pending.shape[1] >= BLOCK:
                self.end_s += BLOCK / self.rate
                yield pending[:, :BLOCK]
                pending = pending[:, BLOCK:]
        if pending is not None and pending.shape[1]:
            self.end_s += pending.shape[1] / self.rate
            yield pending

    def _pieces(self) -> Iterator[npt.NDArray[np.float32]]:
        """Decoded sound placed on the new file's clock: silence in gaps, what lies outside the range cut off."""
        total, position = round(self._length * self.rate), 0
        for stated, samples in self._decoded():
            start = position if position and abs(stated - position) < JITTER_S * self.rate else stated
            begin = max(0, position - start)
            end = min(samples.shape[1], total - start)
            if end <= begin:
                if start >= total:
                    return
                continue
            if start > position:
                yield np.zeros((samples.shape[0], start - position), np.float32)
            yield samples[:, begin:end]
            position = start + end

    def _decoded(self) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
        """(first sample on the new file's clock, (channels, n) float32)."""
        resampler = AudioResampler(format="fltp", layout=self._layout, rate=self.rate)
        self._seek()
        position: int | None = None
        for packet in _readable_packets(self._source, self._input):
            for frame in _decoded_frames(packet):
                for part in resampler.resample(frame):
                    if part.pts is not None and part.time_base is not None:
                        position = round((part.pts * part.time_base - self._start) * self.rate)
                    samples = part.to_ndarray().astype(np.float32, copy=False)
                    yield position or 0, samples
                    position = (position or 0) + samples.shape[1]

    def _seek(self) -> None:
        if self._start <= 1 or self._input.time_base is None:
            return
        try:
            self._source.seek(round((self._start - 1) / self._input.time_base), stream=self._input)
        except av.FFmpegError:
            self._source.seek(0)


def track_count(path: Path) -> int:
    """How many sound tracks a clip has."""
    with open_clip(path) as container:
        return len(container.streams.audio)


def track_codecs(path: Path) -> tuple[str, ...]:
    """FFmpeg's names of the codecs of a clip's sound tracks, in order."""
    with open_clip(path) as container:
        return tuple(stream.codec_context.codec.canonical_name for stream in container.streams.audio)


def require_copyable(path: Path, tracks: tuple[int, ...], container: str) -> None:
    """BadInputError when a sound track of a clip cannot be taken into a kind of file as it is.

    Args:
        path: the clip.
        tracks: numbers of the sound tracks, from 0.
        container: the kind of file.
    """
    codecs = track_codecs(path)
    for track in tracks:
        if codecs[track] not in COPYABLE[container]:
            raise BadInputError(
                f"Sound track {track + 1} of {path.name} is {codecs[track]}, which {container} cannot hold as it is.",
                "Choose auto, which encodes it, or another kind of file.",
            )


def _encoder_stream(output: OutputContainer, codec: SoundCodec, rate: int, layout: str) -> AudioStream:
    stream = output.add_stream(codec.encoder, rate=rate, layout=layout)
    assert isinstance(stream, AudioStream)
    if codec.bits_per_channel:
        stream.codec_context.bit_rate = codec.bits_per_channel * stream.codec_context.layout.nb_channels
    return stream


def _encoded(
    stream: AudioStream, blocks: Iterator[npt.NDArray[np.float32]], rate: int, layout: str
) -> Iterator[tuple[float, Packet]]:
    """Encode blocks of (channels, up to BLOCK) float32 that follow each other from time 0."""
    position = 0
    for block in blocks:
        frame = AudioFrame.from_ndarray(np.ascontiguousarray(block), format="fltp", layout=layout)
        frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), position
        position += block.shape[1]
        for packet in stream.encode(frame):
            yield float((packet.pts or 0) * packet.time_base), packet
    for packet in stream.encode(None):
        yield float((packet.pts or 0) * packet.time_base), packet


def _expected_end_s(stream: AudioStream, start: Fraction, length: Fraction) -> float:
    if not stream.duration or stream.time_base is None:
        return 0.0
    end = ((stream.start_time or 0) + stream.duration) * stream.time_base
    return float(max(Fraction(0), min(length, end - start)))


def _readable_packets(container: InputContainer, stream: AudioStream) -> Iterator[Packet]:
    """Packets up to the end of the file or to where it cannot be read any more."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError:
            return
        if packet is None:
            return
        yield packet


def _decoded_frames(packet: Packet) -> list[AudioFrame]:
    try:
        return list(packet.decode())
    except av.FFmpegError:
        return []
