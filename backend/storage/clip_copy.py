"""A part of a clip whose pictures are taken over as they are stored, without decoding them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.packet import Packet

from backend.core.errors import BadInputError, DamagedFileError
from backend.storage.audio import AudioFeed, AudioRange, track_count
from backend.storage.video import SAME_TIME_S, frame_times, open_clip, probe, video_stream

_MP4_CODECS = ("h264", "hevc", "av1", "vp9", "mpeg4")
_TOLERANCE_S = 0.002
_SOUND_TOLERANCE_S = 0.1


@dataclass(frozen=True)
class CopyPlan:
    """Which stored pictures make up a part; times in seconds since the clip's first frame.

    Attributes:
        first, last: places in storage order, both taken.
        start: time stamp of the key frame it begins with; pictures before it that follow it in storage are left out.
        start_s, end_s: what is really taken.
        times_s: when each frame is shown, counted from the start.
    """

    first: int
    last: int
    start: int
    start_s: float
    end_s: float
    times_s: tuple[float, ...]


class _Stored(NamedTuple):
    pts: int | None
    is_key: bool
    hidden: bool
    duration: int

    @property
    def tick(self) -> int:
        return self.pts or 0


def plan_copy(path: Path, start_s: float, end_s: float) -> CopyPlan:
    """The smallest part that can be taken over and holds start_s to end_s; end_s 0 is the end of the clip.

    Errors:
        BadInputError: nothing lies in the range, or the file stores no times.
    """
    with open_clip(path) as container:
        stream = video_stream(container, path)
        base = stream.time_base
        untimed = base is None or container.format.name == "avi"
        read = [_Stored(p.pts, p.is_keyframe, p.is_discard, p.duration or 0) for p in container.demux(stream) if p.size]
    if base is None or untimed or any(stored.pts is None for stored in read):
        raise BadInputError(
            f"{path.name} stores no time for each picture, so that they cannot be taken over as they are.",
            "Choose to encode instead.",
        )
    origin = min((stored.tick for stored in read if not stored.hidden), default=0)
    times = [float((stored.tick - origin) * base) for stored in read]
    inside = [
        at
        for at, time_s in enumerate(times)
        if time_s >= start_s - SAME_TIME_S and (not end_s or time_s < end_s - SAME_TIME_S)
    ]
    keys = [at for at, stored in enumerate(read) if stored.is_key]
    if not inside or not keys:
        raise BadInputError(f"No frame of {path.name} lies in that range.", "Choose a range inside the clip.")
    first = max((at for at in keys if times[at] <= start_s + SAME_TIME_S), default=keys[0])
    start, last = read[first].tick, max(inside)
    taken = [at for at in range(first, last + 1) if read[at].tick >= start]
    end_s = max(times[at] + float(read[at].duration * base) for at in taken)
    shown = tuple(sorted(times[at] - times[first] for at in taken))
    return CopyPlan(first, last, start, times[first], end_s, shown)


def copy_suffix(path: Path) -> str:
    """Suffix of the file that can hold the pictures of a clip."""
    with open_clip(path) as container:
        name, codec = container.format.name, video_stream(container, path).codec_context.name
    if "mp4" in name and path.suffix.lower() == ".mov":
        return ".mov"
    return ".mp4" if "matroska" not in name and codec in _MP4_CODECS else ".mkv"


def copy_part(
    path: Path, target: Path, plan: CopyPlan, audio_track: int, each: Callable[[int], None] = lambda done: None
) -> str:
    """Write the part to a file with the suffix of copy_suffix().

    Args:
        audio_track: number of the sound track; -1 takes none.
        each: called with the number of pictures written so far; may raise to stop.

    Returns:
        what became of the sound: "copied", "aac" or "none".
    """
    kind = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}[target.suffix]
    with open_clip(path) as source, av.open(str(target), "w", format=kind) as output:
        picture = video_stream(source, path)
        made = output.add_stream_from_template(picture)
        made.time_base = picture.time_base
        feed = None
        if 0 <= audio_track < track_count(path):
            feed = AudioFeed(output, AudioRange(path, plan.start_s, plan.end_s - plan.start_s, audio_track))
        with closing(feed) if feed else nullcontext():
            heard = feed.packets() if feed else iter(())
            waiting = next(heard, None)
            for done, packet in enumerate(_taken(source.demux(picture), plan), start=1):
                each(done)
                while waiting is not None and waiting[0] <= float((packet.pts or 0) * (packet.time_base or 0)):
                    output.mux(waiting[1])
                    waiting = next(heard, None)
                packet.stream = made
                output.mux(packet)
            while waiting is not None:
                output.mux(waiting[1])
                waiting = next(heard, None)
    return feed.mode if feed else "none"


def _taken(packets: Iterator[Packet], plan: CopyPlan) -> Iterator[Packet]:
    """The packets of the part, their times counted from its start."""
    for at, packet in enumerate(packet for packet in packets if packet.size):
        if at > plan.last:
            return
        if at >= plan.first and packet.pts is not None and packet.pts >= plan.start:
            packet.pts -= plan.start
            packet.dts = None if packet.dts is None else packet.dts - plan.start
            yield packet


def check_copy(target: Path, plan: CopyPlan, sound: bool) -> None:
    """DamagedFileError when the written file does not show every frame at its time, or its sound is not right."""
    info, times = probe(target), frame_times(target)
    if len(times) != len(plan.times_s):
        raise DamagedFileError(f"{target.name} holds {len(times)} frames instead of {len(plan.times_s)}.")
    late = float(np.abs(times - np.array(plan.times_s)).max())
    if late > _TOLERANCE_S:
        raise DamagedFileError(f"A frame of {target.name} is shown {late:.3f} s away from its time.")
    if info.has_audio != sound:
        raise DamagedFileError(f"{target.name} has {'a' if info.has_audio else 'no'} sound track against the order.")
    if info.audio_duration_s > plan.end_s - plan.start_s + _SOUND_TOLERANCE_S and target.suffix != ".mkv":
        raise DamagedFileError(f"The sound of {target.name} lasts {info.audio_duration_s:.2f} s, longer than the clip.")
