"""Sound of a clip for a range of its time: copied as it is where that is exact, encoded as AAC otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet

from backend.storage.video import first_time_s, open_clip

COPIED_CODECS = ("aac", "mp3")
"""Codecs that mp4 carries and every browser plays."""

AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 96000)
AAC_LAYOUTS = ("mono", "stereo", "5.1")
AAC_FRAME = 1024
AAC_BITS_PER_CHANNEL = 96_000
COPY_SLACK_S = Fraction(5, 100)
"""Sound that begins this little before the range is still copied whole: it is the codec's run-in."""

JITTER_S = 0.02
"""Timestamps that miss the sample count by less than this are rounding of the container."""


@dataclass(frozen=True)
class AudioRange:
    """A part of a clip's sound.

    Attributes:
        path: the clip.
        start_s: where to begin, in seconds since the clip's first video frame.
        length_s: how much to take at most.
        track: number of the sound track, from 0; the clip has that many.
    """

    path: Path
    start_s: float
    length_s: float
    track: int = 0


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
        self._layout = AAC_LAYOUTS[samples.data.shape[0] - 1]
        self._output = _aac_stream(output, samples.rate, self._layout)
        self.rate = samples.rate
        self.end_s = self.expected_end_s = samples.data.shape[1] / samples.rate

    def packets(self) -> Iterator[tuple[float, Packet]]:
        """(time in seconds, packet) in order."""
        data = self._samples.data
        blocks = (data[:, at : at + AAC_FRAME] for at in range(0, data.shape[1], AAC_FRAME))
        return _encoded(self._output, blocks, self._layout)

    def close(self) -> None:
        """Nothing is open."""


class AudioFeed:
    """Packets of one sound track for a file being written.

    Attributes:
        mode: "copied" or "aac".
        end_s: where the sound given so far ends, in seconds of the new file.
        expected_end_s: where it has to end, by what the clip says about itself; 0 when it does not say.
        rate: samples per second.
    """

    def __init__(self, output: OutputContainer, wanted: AudioRange) -> None:
        self._source = open_clip(wanted.path)
        self._input: AudioStream = self._source.streams.audio[wanted.track]
        self._start = first_time_s(wanted.path) + Fraction(wanted.start_s).limit_denominator(1_000_000)
        self._length = Fraction(wanted.length_s).limit_denominator(1_000_000)
        self.end_s = 0.0
        self.expected_end_s = _expected_end_s(self._input, self._start, self._length)
        self.mode = "copied" if self._can_be_copied() else "aac"
        if self.mode == "copied":
            self.rate = self._input.codec_context.sample_rate or 48000
            self._output = output.add_stream_from_template(self._input)
        else:
            rate = self._input.codec_context.sample_rate
            layout = self._input.codec_context.layout.name
            self.rate = rate if rate in AAC_RATES else 48000
            self._layout = layout if layout in AAC_LAYOUTS else "stereo"
            self._output = _aac_stream(output, self.rate, self._layout)

    def packets(self) -> Iterator[tuple[float, Packet]]:
        """(time in seconds of the new file, packet) in order; the source is closed at the end."""
        with self._source:
            yield from self._copied() if self.mode == "copied" else _encoded(self._output, self._blocks(), self._layout)

    def close(self) -> None:
        """Close the clip, for when not all packets were taken."""
        self._source.close()

    def _can_be_copied(self) -> bool:
        context = self._input.codec_context
        name = context.codec.canonical_name
        if name not in COPIED_CODECS or (name == "aac" and not context.extradata):
            return False
        if self._input.start_time is None or self._input.time_base is None:
            return False
        begin = self._input.start_time * self._input.time_base
        return begin >= self._start - COPY_SLACK_S

    def _copied(self) -> Iterator[tuple[float, Packet]]:
        for packet in _readable_packets(self._source, self._input):
            if packet.pts is None or packet.time_base is None:
                continue
            time = packet.pts * packet.time_base - self._start
            if time >= self._length:
                return
            shift = round(self._start / packet.time_base)
            packet.pts -= shift
            packet.dts = packet.pts
            packet.stream = self._output
            self.end_s = float(time + (packet.duration or 0) * packet.time_base)
            yield float(time), packet

    def _blocks(self) -> Iterator[npt.NDArray[np.float32]]:
        """(channels, up to AAC_FRAME) float32 in order, without gaps, beginning exactly at the range."""
        pending: npt.NDArray[np.float32] | None = None
        for piece in self._pieces():
            pending = piece if pending is None else np.concatenate([pending, piece], axis=1)
            while pending.shape[1] >= AAC_FRAME:
                self.end_s += AAC_FRAME / self.rate
                yield pending[:, :AAC_FRAME]
                pending = pending[:, AAC_FRAME:]
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


def _aac_stream(output: OutputContainer, rate: int, layout: str) -> AudioStream:
    stream = output.add_stream("aac", rate=rate, layout=layout)
    stream.codec_context.bit_rate = AAC_BITS_PER_CHANNEL * stream.codec_context.layout.nb_channels
    return stream


def _encoded(
    stream: AudioStream, blocks: Iterator[npt.NDArray[np.float32]], layout: str
) -> Iterator[tuple[float, Packet]]:
    """Encode blocks of (channels, up to AAC_FRAME) float32 that follow each other from time 0."""
    position, rate = 0, stream.codec_context.sample_rate
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
