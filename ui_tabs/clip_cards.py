"""A clip on a card: thumbnail, length, frame rate, size, sound."""

from __future__ import annotations

import hashlib
import html
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backend.core.errors import LookalikeError
from backend.core.frames import VideoInfo
from backend.storage.tone_map import KINDS
from backend.storage.workspace import Project
from ui_tabs.context import PageContext
from ui_tabs.form import error_html
from ui_tabs.header import size
from ui_tabs.job_panel import duration, empty_html
from ui_tabs.labels import SIDES

KEPT = 64
FRAME_PX = 240


@dataclass
class ClipCards:
    """Draws cards; remembers what was probed, by path and modification time."""

    page: PageContext
    _known: dict[tuple[str, int], VideoInfo | str] = field(default_factory=dict)
    _frames: dict[str, tuple[Path, float]] = field(default_factory=dict)

    def card(self, project: Project, side: str) -> str:
        """The card of one side's clip."""
        video = project.side(side).video
        if video is None:
            word = SIDES[side].lower()
            return empty_html(f"No {word} clip yet. Upload one or name a file on the server; its facts appear here.")
        info = self.info(video)
        if isinstance(info, str):
            return error_html(f"{video.name}: {info}")
        picture = self._picture(project, video)
        image = f'<img src="{self.page.file_url(picture)}" alt="First frame of the clip">' if picture else ""
        rows = "".join(f"<dt>{name}</dt><dd>{html.escape(text)}</dd>" for name, text in facts(video, info))
        return f'<div class="lk-clip">{image}<dl>{rows}</dl></div>'

    def info(self, video: Path) -> VideoInfo | str:
        """What a clip is, or why it cannot be used."""
        key = (str(video), video.stat().st_mtime_ns)
        if key not in self._known:
            from backend.storage.video import probe

            try:
                found: VideoInfo | str = probe(video)
            except LookalikeError as error:
                found = str(error)
            if len(self._known) > KEPT:
                self._known.clear()
            self._known[key] = found
        return self._known[key]

    def _picture(self, project: Project, video: Path) -> Path | None:
        stamp = f"{video}|{video.stat().st_mtime_ns}"
        folder = project.jobs_dir / ".cache" / "clips"
        target = folder / f"{hashlib.sha1(stamp.encode(), usedforsecurity=False).hexdigest()}.jpg"
        if target.exists():
            return target
        from backend.storage.video import thumbnail

        try:
            picture: Any = thumbnail(video, longest_px=416)
        except LookalikeError:
            return None
        return _written(target, picture)

    def frame_at(self, project: Project, video: Path, time_s: float) -> tuple[Path, float] | None:
        """A small picture of the clip at about a time and the time it is shown; None when none can be decoded."""
        stamp = f"{video}|{video.stat().st_mtime_ns}|{time_s:.3f}"
        known = self._frames.get(stamp)
        if known is None or not known[0].exists():
            from backend.storage.video import frame_near

            try:
                at_s, picture = frame_near(video, time_s, FRAME_PX)
            except LookalikeError:
                return None
            name = f"{hashlib.sha1(stamp.encode(), usedforsecurity=False).hexdigest()}.jpg"
            if len(self._frames) > KEPT:
                self._frames.clear()
            known = _written(project.jobs_dir / ".cache" / "clips" / name, picture), at_s
            self._frames[stamp] = known
        return known


def _written(target: Path, picture: Any) -> Path:
    from backend.storage.image import write_image

    target.parent.mkdir(parents=True, exist_ok=True)
    write_image(target, picture, quality=85)
    return target


def facts(video: Path, info: VideoInfo) -> list[tuple[str, str]]:
    """(name, text) of what a clip is, for people."""
    rate = float(info.fps)
    frames = f", {info.frame_count:,} frames" if info.frame_count else ""
    turned = f", rotated by {info.rotation_deg} degrees" if info.rotation_deg else ""
    sound = _length(info.audio_duration_s) if info.has_audio else "none"
    kind = KINDS.get(info.color_transfer)
    tones = [("Tones", f"HDR, tone-mapped: {kind} becomes BT.709")] if kind else []
    return [
        ("File", video.name),
        ("Length", f"{_length(info.duration_s)}{frames}"),
        ("Rate", f"{rate:.3f}".rstrip("0").rstrip(".") + " fps"),
        ("Picture", f"{info.width} x {info.height} px, {info.codec or 'unknown codec'}{turned}"),
        *tones,
        ("Sound", sound),
        ("Size", size(video.stat().st_size)),
    ]


def _length(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else duration(seconds)
