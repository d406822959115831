"""The hard check of a written file: frames, times, size, codec and sound are as they have to be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from av.container import InputContainer

from backend.core.errors import DamagedFileError
from backend.core.frames import VideoInfo
from backend.storage.frame_clock import FrameClock
from backend.storage.video import frame_times, open_clip, probe, video_stream

AUDIO_SLACK_S = 0.025
"""How far a container's own statement of the sound's length may be off, beside two packets."""

MILLISECONDS_S = 0.0011
"""Rounding of containers that count in milliseconds."""


@dataclass(frozen=True)
class Expectation:
    """What a written file has to hold.

    Attributes:
        clock: times of its frames.
        audio_end_s: end of the first sound track, None means no sound.
        audio_tolerance_s: how far the end of a sound track may be off.
        further_ends_s: ends of the other sound tracks.
        size: width and height; (0, 0) when that does not matter.
        codec: FFmpeg's name of the codec; "" when that does not matter.
    """

    clock: FrameClock
    audio_end_s: float | None
    audio_tolerance_s: float
    further_ends_s: tuple[float, ...] = ()
    size: tuple[int, int] = (0, 0)
    codec: str = ""


def check(path: Path, expected: Expectation) -> VideoInfo:
    """Probe a written file; DamagedFileError naming the first thing that is not as expected.

    Frame count and times must agree to half a frame, the end of the sound to the tolerance.
    """
    info, times = probe(path), frame_times(path)
    clock = expected.clock
    if len(times) != len(clock.ticks):
        raise DamagedFileError(f"{path.name} holds {len(times)} frames instead of {len(clock.ticks)}.")
    half = max(clock.shortest_s / 2, MILLISECONDS_S)
    late = float(np.abs(times - np.array(clock.ticks, np.float64) * float(clock.time_base)).max())
    if late > half:
        raise DamagedFileError(f"A frame of {path.name} is shown {late:.3f} s away from its time.")
    length, codec = _length_and_codec(path)
    if abs(length - clock.length_s) > half:
        raise DamagedFileError(f"{path.name} lasts {length:.3f} s instead of {clock.length_s:.3f} s.")
    if expected.size not in ((0, 0), (info.width, info.height)):
        raise DamagedFileError(
            f"{path.name} is {info.width} x {info.height} instead of {expected.size[0]} x {expected.size[1]}."
        )
    if expected.codec and codec != expected.codec:
        raise DamagedFileError(f"{path.name} is stored as {codec} instead of {expected.codec}.")
    _check_sound(path, expected)
    return info


def audio_end_s(path: Path) -> float:
    """When the first sound track of a file ends, in seconds after its first video frame; 0 without sound."""
    return next(iter(audio_ends_s(path)), 0.0)


def audio_ends_s(path: Path) -> tuple[float, ...]:
    """When each sound track of a file ends, in seconds after its first video frame; 0 for an empty one."""
    with open_clip(path) as container:
        picture = video_stream(container, path)
        begin = (picture.start_time or 0) * (picture.time_base or 0)
        tracks = container.streams.audio
        if all(track.duration and track.time_base for track in tracks):
            return tuple(
                float(((track.start_time or 0) + (track.duration or 0)) * (track.time_base or 0) - begin)
                for track in tracks
            )
        spans = _spans(container)
        first = spans.get(picture.index, (0.0, 0.0))[0] if _keeps_one_length(container) else float(begin)
        return tuple(spans[track.index][1] - first if track.index in spans else 0.0 for track in tracks)


def _check_sound(path: Path, expected: Expectation) -> None:
    ends = audio_ends_s(path)
    wanted = () if expected.audio_end_s is None else (expected.audio_end_s, *expected.further_ends_s)
    if bool(ends) != bool(wanted):
        raise DamagedFileError(f"{path.name} has {'a' if ends else 'no'} sound track against the order.")
    if len(ends) != len(wanted):
        raise DamagedFileError(f"{path.name} has {len(ends)} sound tracks instead of {len(wanted)}.")
    for end, right in zip(ends, wanted, strict=True):
        if abs(end - right) > expected.audio_tolerance_s:
            raise DamagedFileError(f"The sound of {path.name} ends at {end:.3f} s instead of {right:.3f} s.")


def _length_and_codec(path: Path) -> tuple[float, str]:
    """Length of the pictures alone in seconds, and their codec."""
    with open_clip(path) as container:
        stream = video_stream(container, path)
        codec = stream.codec_context.codec.canonical_name
        if stream.duration and stream.time_base and not _keeps_one_length(container):
            return float(stream.duration * stream.time_base), codec
        begin, end = _spans(container).get(stream.index, (0.0, 0.0))
        return end - begin, codec


def _keeps_one_length(container: InputContainer) -> bool:
    """Matroska states one length for everything; that of a track is known from its packets only."""
    return "matroska" in container.format.name


def _spans(container: InputContainer) -> dict[int, tuple[float, float]]:
    """Number of a track -> when its first packet begins and its last one ends, in seconds of the file."""
    spans: dict[int, tuple[float, float]] = {}
    for packet in container.demux():
        if packet.pts is None or packet.time_base is None:
            continue
        begin = float(packet.pts * packet.time_base)
        end = begin + float((packet.duration or 0) * packet.time_base)
        first, last = spans.get(packet.stream_index, (begin, end))
        spans[packet.stream_index] = min(first, begin), max(last, end)
    return spans
