"""Reading video: what a file holds, its exact frames, and their presentation times.

Frames are counted and timed by the packets' and frames' own timestamps, never by a frame rate.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from time import monotonic
from typing import NamedTuple

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from backend.core.errors import BadInputError
from backend.core.frames import VideoInfo
from backend.storage.frame_colour import BgrImage, FrameColours, require_mappable, transfer_of
from backend.storage.tone_map import KINDS

CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,flv,asf,ogg,mxf,nut,ivf,dv,"
    "h264,hevc,rm,wtv,gif,yuv4mpegpipe"
)
"""Containers that are opened. Playlists and pictures are not among them: a playlist could name other files."""

SAME_TIME_S = 1e-6
"""Presentation times closer than this are the same."""

SEEK_MARGIN_S = 2.0
"""A range is entered this much earlier, so that frames which depend on an earlier key frame are complete."""

PATIENCE_S = 0.4
"""A frame that is only looked at is not waited for longer than this after the first one that was decoded."""

UNREADABLE_IN_A_ROW = 20
"""After so many failures to read on, the rest of a file is given up."""


class DecodedFrame(NamedTuple):
    """One frame: its index in the clip from 0, seconds since the first frame, (h, w, 3) uint8 BGR as displayed."""

    index: int
    time_s: float
    frame_bgr: BgrImage


@dataclass
class DecodeReport:
    """What a decoder saw besides frames.

    Attributes:
        broken_packets: packets that could not be decoded and were left out.
        damaged_frames: frames that were decoded with visible damage and kept.
        end_s: presentation time at which the last delivered frame ends.
    """

    broken_packets: int = 0
    damaged_frames: int = 0
    end_s: float = 0.0


def probe(path: Path) -> VideoInfo:
    """What the file holds. One frame is decoded, so a file that probes well can be read.

    Errors:
        BadInputError: absent, empty, cut off, not a video, a video that cannot be decoded here, or high dynamic range
            of a kind that cannot be mapped.
    """
    with open_clip(path) as container:
        stream = video_stream(container, path)
        _require_complete(container, stream, path)
        first = next(_raw_frames(container, stream, DecodeReport()), None)
        if first is None:
            raise BadInputError(
                f"No frame of {path.name} could be decoded (codec {stream.codec_context.name}).",
                "The file is damaged; make or download it again.",
            )
        require_mappable(path.name, first, stream)
        rotation = -first.rotation % 360
        width, height = (first.width, first.height) if rotation % 180 == 0 else (first.height, first.width)
        aspect = Fraction(stream.sample_aspect_ratio or 1)
        audio = next(iter(container.streams.audio), None)
        return VideoInfo(
            path=path,
            width=width,
            height=height,
            pixel_aspect=aspect if rotation % 180 == 0 else 1 / aspect,
            fps=_rate(stream),
            frame_count=stream.frames,
            duration_s=_duration_s(container, stream),
            rotation_deg=rotation,
            has_audio=audio is not None,
            audio_duration_s=_duration_s(container, audio) if audio is not None else 0.0,
            color_transfer=transfer_of(first, stream),
            codec=stream.codec_context.name,
        )


def hdr_kind(info: VideoInfo) -> str:
    """What kind of high dynamic range a clip is, "" for ordinary video. Its frames are delivered tone-mapped."""
    return KINDS.get(info.color_transfer, "")


def decode(
    path: Path, start_s: float = 0.0, end_s: float = 0.0, report: DecodeReport | None = None
) -> Iterator[DecodedFrame]:
    """Frames of the clip with start_s <= time < end_s in presentation order, rotated as displayed; HDR tone-mapped.

    Args:
        path: the clip.
        start_s, end_s: range in seconds since the first frame; end_s 0 is the end of the clip.
        report: filled while reading, see DecodeReport.

    Errors:
        BadInputError: as probe.
    """
    report = report or DecodeReport()
    colours = FrameColours()
    last_s, length_s = 0.0, 0.04
    for index, time_s, frame in _timed_frames(path, start_s, report):
        if end_s and time_s >= end_s - SAME_TIME_S:
            return
        if time_s < start_s - SAME_TIME_S:
            continue
        if frame.duration and frame.time_base:
            length_s = float(frame.duration * frame.time_base)
        elif time_s > last_s:
            length_s = time_s - last_s
        last_s = time_s
        report.end_s = time_s + length_s
        yield DecodedFrame(index, time_s, colours.to_bgr(frame))


def frame_times(path: Path) -> npt.NDArray[np.float64]:
    """(n,) float64 seconds since the first frame, ascending. Reads packets; decodes only when they carry no times."""
    with open_clip(path) as container:
        stream = video_stream(container, path)
        packets = [p for p in container.demux(stream) if p.size and not p.is_discard]
        if _has_no_times(container):
            return np.arange(len(packets)) / float(_rate(stream))
        times = [p.pts for p in packets if p.pts is not None]
        if times and len(times) == len(packets):
            seconds = np.array(sorted(times), np.float64) - min(times)
            return seconds * float(stream.time_base or 1)
    return np.array([time_s for _, time_s, _ in _timed_frames(path, 0.0, DecodeReport())], np.float64)


def first_time_s(path: Path) -> Fraction:
    """Time of the first displayed frame on the clock that the clip's sound also uses, in seconds."""
    with open_clip(path) as container:
        stream = video_stream(container, path)
        first = next(_raw_frames(container, stream, DecodeReport()), None)
        if first is None or first.pts is None or first.time_base is None or _has_no_times(container):
            return Fraction(0)
        return first.pts * first.time_base


def thumbnail(path: Path, time_s: float = 0.0, longest_px: int = 320) -> BgrImage:
    """The frame shown at a time as a small (h, w, 3) uint8 BGR image; BadInputError when the clip is shorter."""
    for _, at_s, frame in _timed_frames(path, time_s, DecodeReport()):
        if at_s < time_s - SAME_TIME_S:
            continue
        return FrameColours().to_bgr(frame, _small(frame, longest_px))
    raise BadInputError(f"{path.name} has no frame at {time_s:.2f} s.", "Choose an earlier time.")


def frame_near(path: Path, time_s: float, longest_px: int = 320) -> tuple[float, BgrImage]:
    """A frame shown at about a time as a small picture, quickly even in a long clip: it may be an earlier one.

    Returns:
        seconds since the first frame of the clip, (h, w, 3) uint8 BGR.

    Errors:
        BadInputError: as probe, or nothing can be decoded there.
    """
    with open_clip(path) as container:
        stream = video_stream(container, path)
        origin = _seek(container, stream, time_s) or Fraction(0)
        best: tuple[float, VideoFrame] | None = None
        began = monotonic()
        for frame in _raw_frames(container, stream, DecodeReport()):
            at_s = float(frame.pts * frame.time_base - origin) if frame.pts is not None and frame.time_base else 0.0
            if best is None or at_s <= time_s + SAME_TIME_S:
                best = at_s, frame
            if at_s >= time_s - SAME_TIME_S or monotonic() - began > PATIENCE_S:
                break
    if best is None:
        raise BadInputError(f"No frame of {path.name} could be decoded at {time_s:.2f} s.", "Choose another time.")
    return best[0], FrameColours().to_bgr(best[1], _small(best[1], longest_px))


def open_clip(path: Path) -> InputContainer:
    """Open a file for reading; BadInputError with a sentence when it is absent, empty, cut off or not a video."""
    if not path.exists():
        raise BadInputError(f"There is no file {path}.", "Check the path.")
    if not path.is_file():
        raise BadInputError(f"{path} is a folder, not a video file.", "Name the file itself.")
    if path.stat().st_size == 0:
        raise BadInputError(f"{path.name} is empty (zero bytes).", "Copy or download it again.")
    try:
        return av.open(str(path.absolute()), options={"format_whitelist": CONTAINERS, "protocol_whitelist": "file"})
    except PermissionError as error:
        raise BadInputError(f"{path} may not be read: {error.strerror}.", "Change its permissions.") from error
    except (av.FFmpegError, UnicodeError) as error:
        if _starts_like_mp4(path):
            raise BadInputError(
                f"{path.name} is cut off: the index of the video is missing.", "Copy or download it again in full."
            ) from error
        raise BadInputError(
            f"{path.name} is not a video, or its format is not known.", "Use mp4, mov, mkv, webm or avi."
        ) from error


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """First real video stream, with decoding threads on; BadInputError when the file has only sound or a cover."""
    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic:
            stream.thread_type = "AUTO"
            return stream
    raise BadInputError(f"{path.name} has no video stream.", "Choose a file with moving pictures.")


def _small(frame: VideoFrame, longest_px: int) -> tuple[int, int]:
    scale = min(1.0, longest_px / max(frame.width, frame.height))
    return max(2, round(frame.width * scale)), max(2, round(frame.height * scale))


def _starts_like_mp4(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(12)[4:8] in (b"ftyp", b"mdat", b"wide", b"free")


def _require_complete(container: InputContainer, stream: VideoStream, path: Path) -> None:
    """An mp4 or mov with its index in front opens even when the end of the file is missing."""
    if "mp4" not in container.format.name:
        return
    size = path.stat().st_size
    entries = list(stream.index_entries)
    missing = sum(entry.pos + entry.size > size for entry in entries)
    if missing:
        raise BadInputError(
            f"{path.name} is cut off: {missing} of {len(entries)} frames are missing.",
            "Copy or download it again in full.",
        )


def _rate(stream: VideoStream) -> Fraction:
    rate = stream.average_rate or stream.guessed_rate or stream.base_rate
    return Fraction(rate) if rate else Fraction(25)


def _duration_s(container: InputContainer, stream: av.stream.Stream) -> float:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else 0.0


def _raw_frames(container: InputContainer, stream: VideoStream, report: DecodeReport) -> Iterator[VideoFrame]:
    """Decoded frames as stored; packets that fail are counted and left out."""
    packets, failures = container.demux(stream), 0
    while failures < UNREADABLE_IN_A_ROW:
        try:
            packet = next(packets, None)
        except av.FFmpegError:
            report.broken_packets += 1
            packets, failures = container.demux(stream), failures + 1
            continue
        if packet is None:
            return
        failures = 0
        try:
            frames = packet.decode()
        except av.FFmpegError:
            report.broken_packets += 1
            continue
        for frame in frames:
            report.damaged_frames += bool(frame.is_corrupt)
            yield frame


def _timed_frames(path: Path, start_s: float, report: DecodeReport) -> Iterator[tuple[int, float, VideoFrame]]:
    """(index, seconds since the first frame, frame as stored), beginning at or before start_s."""
    if start_s > SEEK_MARGIN_S:
        known = frame_times(path)
        with open_clip(path) as container:
            stream = video_stream(container, path)
            origin = _seek(container, stream, start_s - SEEK_MARGIN_S)
            found = _numbered(_raw_frames(container, stream, report), known, origin)
            head = next(found, None) if origin is not None else None
            if head is not None and head[1] <= start_s + SAME_TIME_S:
                yield head
                yield from found
                return
    with open_clip(path) as container:
        stream = video_stream(container, path)
        yield from _counted(_raw_frames(container, stream, report), _rate(stream), _has_no_times(container))


def _seek(container: InputContainer, stream: VideoStream, time_s: float) -> Fraction | None:
    """Go to the key frame before a time; the clock time of the first frame, None when the file does not say."""
    if stream.start_time is None or stream.time_base is None or _has_no_times(container):
        return None
    origin = stream.start_time * stream.time_base
    try:
        container.seek(round((float(origin) + time_s) / stream.time_base), stream=stream)
    except av.FFmpegError:
        return None
    return origin


def _numbered(
    frames: Iterator[VideoFrame], known: npt.NDArray[np.float64], origin: Fraction | None
) -> Iterator[tuple[int, float, VideoFrame]]:
    for frame in frames:
        if frame.pts is None or frame.time_base is None or origin is None:
            continue
        time_s = float(frame.pts * frame.time_base - origin)
        index = int(np.argmin(np.abs(known - time_s)))
        yield index, float(known[index]), frame


def _has_no_times(container: InputContainer) -> bool:
    """AVI stores frames at an even rate and no presentation times; what the demuxer makes up is not in order."""
    return container.format.name == "avi"


def _counted(frames: Iterator[VideoFrame], rate: Fraction, evenly: bool) -> Iterator[tuple[int, float, VideoFrame]]:
    """Frames from the first one on. A frame without a time, or not after the last one, comes one period later."""
    origin: Fraction | None = None
    last = Fraction(-1)
    for index, frame in enumerate(frames):
        clock = None
        if frame.pts is not None and frame.time_base is not None and not evenly:
            clock = frame.pts * frame.time_base
        if origin is None:
            origin = clock if clock is not None else Fraction(0)
        time = clock - origin if clock is not None else last + 1 / rate
        if index and time <= last:
            time = last + 1 / rate
        last = max(time, Fraction(0))
        yield index, float(last), frame
