"""From finished pictures to a finished, checked and marked file: what the stages export and render share."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from backend.core.errors import BadInputError, DiskFullError
from backend.core.frames import FrameTable, VideoInfo
from backend.core.settings import ExportSettings
from backend.core.settings.export import WITHOUT_SOUND
from backend.pipeline.context import StageContext
from backend.pipeline.export_facts import ExportFacts, write_sidecar
from backend.pipeline.export_picture import ExportPicture
from backend.storage.atomic import MIN_FREE_BYTES, free_bytes
from backend.storage.audio import AudioRange, require_copyable, track_count
from backend.storage.content_credentials import MOST_AVI_BYTES, check_certificate, several_parts, sign
from backend.storage.frame_clock import FrameClock, frame_clock
from backend.storage.hardware_encoders import first_working, working
from backend.storage.image_sequence import BYTES_PER_PIXEL, SequenceWriter
from backend.storage.png_mark import marked_png
from backend.storage.results import remove_abandoned, remove_result, sidecar_path
from backend.storage.sound_formats import NAMES, encoded_as
from backend.storage.taken_names import take_name
from backend.storage.video import probe
from backend.storage.video_formats import HARDWARE_CODECS, VideoFormat
from backend.storage.video_mark import mark_file, tags
from backend.storage.video_writer import Picture, VideoWriter, check

UInt8 = npt.NDArray[np.uint8]

SOUND_BYTES_PER_S = 200_000
"""Upper estimate of one sound track, for the disk check."""

FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
"""No space left, for everybody or for this user."""

RATE_MARGIN = 1.1
"""An encoder steered by bit rate may overshoot by this much."""


def export_range(settings: ExportSettings, table: FrameTable) -> range:
    """Places in the table of the frames to export: the chosen range, of which a preview takes the first seconds.

    BadInputError when there are none.
    """
    count = len(table.frames)
    chosen = range(settings.first_frame - 1, min(settings.last_frame or count, count))
    if not chosen:
        raise BadInputError(
            f"There are no frames from {settings.first_frame} to {settings.last_frame or count}; the clip has {count}.",
            "Choose a range inside the clip.",
        )
    return preview_range(settings, table, chosen)


def preview_range(settings: ExportSettings, table: FrameTable, chosen: range) -> range:
    """The first seconds of a range when only a preview is wanted, else the range itself."""
    if not settings.preview_s:
        return chosen
    end_s = table.frames[chosen.start].time_s + settings.preview_s
    inside = sum(table.frames[index].time_s < end_s - 1e-6 for index in chosen)
    return range(chosen.start, chosen.start + max(1, inside))


def require_same_clip(clip: Path, table: FrameTable) -> None:
    """BadInputError when a clip is not the one that the frames of a table came from."""
    if _looks(probe(clip)) != _looks(table.video):
        raise BadInputError(
            f"{clip.name} is not the clip the frames came from.",
            "Extract and merge again, or bring the earlier clip back, or export without its sound and pictures.",
        )


class ExportJob:
    """One file being made. A context manager: left by an exception, or unfinished, no part of the file stays.

    Args:
        settings: what to make.
        ctx: of the stage; progress is reported to it and a stop noticed for every frame.
        size_wh: width and height of the merged frames.
        first_index: place in the table of the first frame that will be given.
        table: of the destination's frames.
        count: how many frames will be given; 0 up to the end of the range that the settings choose.

    Attributes:
        needs_mask, needs_original: what write() has to be given beside the merged frame.

    Raises:
        BadInputError: the settings cannot be carried out here, or the clip was replaced; nothing was written then.
        DiskFullError: the file would not fit.
    """

    def __init__(
        self,
        settings: ExportSettings,
        ctx: StageContext,
        size_wh: tuple[int, int],
        first_index: int,
        table: FrameTable,
        count: int = 0,
    ) -> None:
        self._settings, self._ctx, self._table = settings, ctx, table
        stop = first_index + count if count else export_range(settings, table).stop
        self._indices = range(first_index, min(stop, len(table.frames)))
        self._clock, self._start_s = _clock_of(table, self._indices)
        self.needs_mask = settings.content in ("alpha", "mask")
        self.needs_original = settings.content == "compare"
        self._kind = _kind_of(settings, ctx)
        even = self._kind is not None and self._kind.needs_even_sides
        self._look = ExportPicture(settings, size_wh, (table.video.width, table.video.height), even)
        self._aspect = _pixel_aspect(table.video, size_wh)
        self._sound = self._sound_wanted()
        if settings.sign:
            assert settings.certificate is not None and settings.private_key is not None
            check_certificate(settings.certificate, settings.private_key)
        self._folder = ctx.project.results_dir
        self._folder.mkdir(parents=True, exist_ok=True)
        remove_abandoned(self._folder)
        self._require_room()
        suffix = "" if self._kind is None else f".{settings.container}"
        self._partial = self._folder / f".{settings.name}.{ctx.job_dir.name}.partial{suffix}"
        self._writer: VideoWriter | SequenceWriter | None = None
        self._began = time.monotonic()
        self._done = 0

    def __enter__(self) -> Self:
        remove_result(self._partial)
        with self._full_disk_named():
            self._writer = self._opened()
        for note in (self._look.note, self._writer.timing.note if isinstance(self._writer, VideoWriter) else ""):
            if note:
                self._ctx.log(note, "warning")
        if not self._settings.mark:
            self._ctx.log("The mark as AI-manipulated is off for this file; its sidecar says so.", "warning")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            with suppress(OSError):
                self._writer.__exit__(kind or GeneratorExit, error, trace)
        remove_result(self._partial)

    @property
    def frames(self) -> range:
        """Places in the table of the frames that write() takes, in order."""
        return self._indices

    def write(self, merged_bgr: UInt8, mask: UInt8 | None = None, original_bgr: UInt8 | None = None) -> None:
        """Take the next frame.

        Args:
            merged_bgr: (h, w, 3) uint8 BGR.
            mask: (h, w) uint8, 255 where the face was replaced, when needs_mask.
            original_bgr: (h, w, 3) uint8 BGR when needs_original.

        Raises:
            StopRequested: the user asked to stop. DiskFullError: it says how far the file got.
        """
        self._ctx.check_stop()
        assert self._writer is not None
        picture = self._look.make(merged_bgr, mask, original_bgr)
        with self._full_disk_named():
            self._writer.write(picture)
            self._done += 1
            if self._settings.sign and self._settings.container == "avi" and _bytes(self._partial) > MOST_AVI_BYTES:
                raise several_parts(f"{self._settings.name}.avi")
            rate = self._done / max(1e-6, time.monotonic() - self._began)
            self._ctx.progress(self._done, len(self._indices), "frames", rate, f"{_written(self._writer)} written")

    def finish(self, merge_facts: dict[str, Any]) -> dict[str, Any]:
        """Close, mark, sign, check and name the file and write its sidecar.

        Args:
            merge_facts: what is known of the merge: "model", "model_class", "iteration", "settings".

        Returns:
            {"video", "sidecar": paths in the project, "frames", "seconds", "fps", "width", "height", "container",
            "codec", "encoder", "lossless", "audio", "tracks", "bytes", "mark", "label", "signed", "took_s"}.
        """
        settings, writer = self._settings, self._writer
        assert writer is not None
        with self._full_disk_named():
            writer.finish()
            if settings.mark:
                mark_file(self._partial, settings.container)
            signer = self._signed(merge_facts)
            size = self._checked(writer)
            suffix = "" if self._kind is None else f".{settings.container}"
            target = take_name(self._folder, settings.name, suffix, self._partial, sidecar=True)
            sidecar = sidecar_path(target)
            try:
                clock = writer.clock if isinstance(writer, VideoWriter) else self._clock
                modes, first = _modes(writer), self._indices.start
                facts = ExportFacts(target, size, self._kind, clock, self._look, first, modes, signer, _bytes(target))
                write_sidecar(sidecar, facts, settings, self._ctx.project, merge_facts)
            except BaseException:
                remove_result(target)
                remove_result(sidecar)
                raise
        self._writer = None
        project = self._ctx.project
        place = target.relative_to(project.path).as_posix()
        self._ctx.emit("artifact", {"what": "video", "path": place})
        return {
            "video": place,
            "sidecar": sidecar.relative_to(project.path).as_posix(),
            **facts.result(settings),
            "took_s": round(time.monotonic() - self._began, 2),
        }

    def _opened(self) -> VideoWriter | SequenceWriter:
        settings = self._settings
        if self._kind is None:
            finished = marked_png if settings.mark else bytes
            return SequenceWriter(self._partial, self._look.size, len(self._indices), finished)
        picture = Picture(
            *self._look.size,
            self._aspect,
            settings.crf,
            settings.speed,
            round(settings.bitrate_mbit * 1e6) if settings.rate == "bitrate" else 0,
            self._kind,
        )
        return VideoWriter(
            self._partial, picture, self._clock, self._sound, tags(settings.container) if settings.mark else None
        )

    def _checked(self, writer: VideoWriter | SequenceWriter) -> tuple[int, int]:
        """Size of the pictures of the finished file, which is as it has to be."""
        if isinstance(writer, SequenceWriter):
            writer.check()
            return writer.size
        info = check(self._partial, writer.expectation())
        return info.width, info.height

    def _signed(self, merge_facts: dict[str, Any]) -> dict[str, Any]:
        """Whose certificate signed the file; empty when it is not to be signed."""
        settings = self._settings
        if not settings.sign or settings.certificate is None or settings.private_key is None:
            return {}
        told = {
            "title": settings.name,
            "model_class": str(merge_facts.get("model_class", "")),
            "iteration": int(merge_facts.get("iteration") or 0),
            "frames": len(self._indices),
            "label_text": self._look.label,
        }
        files = sorted(self._partial.iterdir()) if self._partial.is_dir() else [self._partial]
        signer: dict[str, Any] = {}
        for number, path in enumerate(files, start=1):
            self._ctx.check_stop()
            signer = sign(path, settings.certificate, settings.private_key, told)
            self._ctx.progress(number, len(files), "files", message="signing")
        return signer

    def _sound_wanted(self) -> tuple[AudioRange, ...]:
        """The parts of the clip's sound tracks that belong to the frames; empty without a clip or sound."""
        settings, clip = self._settings, self._ctx.project.side("dst").video
        if settings.audio == "none" or clip is None:
            return ()
        if settings.container in WITHOUT_SOUND:
            if probe(clip).has_audio:
                self._ctx.log(f"{settings.container} holds no sound; it is left out.")
            return ()
        require_same_clip(clip, self._table)
        tracks = tuple(range(track_count(clip)))[: 1 if settings.audio_tracks == "first" else None]
        if settings.audio == "copy":
            require_copyable(clip, tracks, settings.container)
        encoded = NAMES[encoded_as(settings.container).encoder]
        if tracks and settings.audio == "aac" and encoded != "aac":
            self._ctx.log(f"{settings.container} gets {encoded} sound in place of aac.")
        how = {"auto": "auto", "copy": "copy"}.get(settings.audio, "encode")
        return tuple(
            AudioRange(clip, self._start_s, self._clock.length_s, track, how)  # pyright: ignore[reportArgumentType]
            for track in tracks
        )

    def _require_room(self) -> None:
        settings, count = self._settings, len(self._indices)
        width, height = self._look.size
        length = self._clock.length_s
        if settings.rate == "bitrate":
            need = int(settings.bitrate_mbit * 1e6 / 8 * length * RATE_MARGIN)
        elif self._kind is None:
            need = int(width * height * count * BYTES_PER_PIXEL)
        else:
            need = self._kind.bytes_needed(width * height * count, settings.crf)
        need += int(SOUND_BYTES_PER_S * length * len(self._sound))
        need *= 2 if settings.sign and self._kind is not None else 1
        free = free_bytes(self._folder)
        if free < need + MIN_FREE_BYTES:
            what = self._kind.title if self._kind else "PNG pictures"
            raise DiskFullError(
                f"{count} frames of {width} x {height} as {what} take up to {_size(need)}, and {_size(MIN_FREE_BYTES)} "
                f"stay in reserve; the disk of {self._folder} has {_size(free)} left.",
                "Free some space, choose a smaller format or a shorter range, or use a workspace on another disk.",
            )

    @contextmanager
    def _full_disk_named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in FULL_DISK:
                raise
            size = _written(self._writer) if self._writer else _size(0)
            raise DiskFullError(
                f"The disk became full after {self._done} of {len(self._indices)} frames, {size}; the unfinished file "
                "was removed.",
                "Free some space, or choose a smaller format or a shorter range.",
            ) from error


def _kind_of(settings: ExportSettings, ctx: StageContext) -> VideoFormat | None:
    """The kind of file; None for pictures in a folder. BadInputError when the wanted encoder does not work here."""
    if settings.container == "png":
        return None
    codec = settings.chosen_codec or settings.container
    alpha = settings.content == "alpha"
    hardware = ""
    if settings.encoder not in ("software", "auto"):
        hardware = settings.encoder
        reason = working(hardware, codec)
        if reason:
            raise BadInputError(reason, "Choose the encoder software, or auto.")
    elif settings.encoder == "auto":
        hardware = first_working(codec) if codec in HARDWARE_CODECS and settings.rate != "lossless" else ""
        who = f"by {hardware}" if hardware else "by software: no hardware encoder works here for it"
        ctx.log(f"{codec} is encoded {who}.")
    return VideoFormat(settings.container, codec, settings.rate, alpha, hardware)


def _clock_of(table: FrameTable, indices: range) -> tuple[FrameClock, float]:
    """Clock of the frames, and when the first one is shown in the clip."""
    times = [table.frames[index].time_s for index in indices]
    end_s = table.frames[indices.stop].time_s if indices.stop < len(table.frames) else table.end_s
    return frame_clock(times, end_s, table.video.fps), times[0]


def _pixel_aspect(video: VideoInfo, size_wh: tuple[int, int]) -> Fraction:
    """That of the clip for frames of its shape; other pictures, like a predicted square, have square pixels."""
    same = abs(size_wh[0] * video.height - size_wh[1] * video.width) <= max(video.height, video.width)
    return video.pixel_aspect if same else Fraction(1)


def _looks(info: VideoInfo) -> tuple[int, int, int, Fraction, float]:
    return info.width, info.height, info.frame_count, info.fps, round(info.duration_s, 3)


def _modes(writer: VideoWriter | SequenceWriter) -> tuple[str, ...]:
    return tuple(sound.mode for sound in writer.sounds) if isinstance(writer, VideoWriter) else ()


def _bytes(path: Path) -> int:
    """Size of a file, or of all files of a folder; 0 when there is none."""
    files = path.iterdir() if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.exists())


def _written(writer: VideoWriter | SequenceWriter) -> str:
    return _size(writer.bytes_written if isinstance(writer, SequenceWriter) else _bytes(writer.path))


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
