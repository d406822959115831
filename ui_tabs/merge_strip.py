"""The strip below the frame: small pictures spread over the clip, key frames, and how far the frames are merged."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.core.settings import MergeSettings
from backend.storage.image import list_images
from backend.storage.merge_ledger import StaleFrames, stale_frames
from backend.storage.project import Project
from ui_tabs.fix_data import FramePictures
from ui_tabs.gallery import modified
from ui_tabs.merge_clip import MergeClip

TILES = 12
PATIENCE_S = 0.1
"""So long the page waits for a look at the merged frames, seconds."""
REST = 10.0
"""A look that took a while is followed by a pause of so many times that."""
MERGED, STALE = "merged", "stale"


@dataclass(frozen=True)
class Standing:
    """How the merged frames stand.

    Attributes:
        runs: [first, last, MERGED or STALE] of frames in a row, counted from 1; frames not merged are left out.
        facts: see backend.storage.merge_ledger.
    """

    runs: tuple[tuple[int, int, str], ...]
    facts: StaleFrames


class MergedFrames:
    """How merged frames stand, by project. Shared by all browser tabs; looked at beside the page when things change."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="merged-frames")
        self._known: dict[Path, _Look] = {}
        self._under_way: dict[Path, Future[_Look]] = {}

    def standing(self, project: Project, clip: MergeClip, plan: MergeSettings) -> Standing:
        """As it is now, or as it was, while a long look is taken; that is not taken again right after."""
        models = tuple(modified(project.model_root / name / "model.json") for name in plan.model_names())
        stamp = (modified(project.merged_dir), clip.stamp, plan, models)
        with self._lock:
            known = self._known.get(project.path)
            if known is not None and (known.stamp == stamp or time.monotonic() < known.rests_until):
                return known.standing
            look = self._under_way.get(project.path)
            if look is None:
                look = self._under_way[project.path] = self._pool.submit(_look, project, clip, plan, stamp)
        try:
            known = look.result(PATIENCE_S)
        except TimeoutError:
            return known.standing if known is not None else Standing((), StaleFrames(clip.count, 0, clip.count, 0, 0))
        finally:
            if look.done():
                self._under_way.pop(project.path, None)
        self._known[project.path] = known
        return known.standing


@dataclass(frozen=True)
class _Look:
    """What was seen, of what, and when the next look may be taken (s, monotonic)."""

    stamp: Any
    standing: Standing
    rests_until: float


def _look(project: Project, clip: MergeClip, plan: MergeSettings, stamp: Any) -> _Look:
    began = time.monotonic()
    found = look(project, clip, plan)
    now = time.monotonic()
    return _Look(stamp, found, now + (now - began) * REST)


def look(project: Project, clip: MergeClip, plan: MergeSettings) -> Standing:
    """How the merged frames of a project stand against its plan."""
    facts = stale_frames(project, plan)
    merged = {path.stem for path in list_images(project.merged_dir)}
    old = {clip.stems[n - 1] for first, last in facts.ranges for n in range(first, last + 1) if n <= clip.count}
    return Standing(tuple(runs(clip.stems, merged, old)), facts)


def tiles(count: int) -> list[int]:
    """Frames of the small pictures, counted from 1, spread over the clip with both ends."""
    shown = min(TILES, count)
    return [1 + round(i * (count - 1) / max(1, shown - 1)) for i in range(shown)]


def strip(pictures: FramePictures, project: Project, clip: MergeClip, plan: MergeSettings) -> list[dict[str, Any]]:
    """frame, url ("" while the picture is made, or gone), key (whether a look begins between it and the next one)."""
    frames = tiles(clip.count)
    files = [clip.files[frame - 1] for frame in frames]
    there = [file for file in files if file is not None]
    urls = dict(zip(there, pictures.small(project, there), strict=True))
    ends = [*frames[1:], clip.count + 1]
    keys = [key.frame for key in plan.keys]
    return [
        {"frame": frame, "url": urls.get(file, "") if file else "", "key": any(frame <= key < end for key in keys)}
        for frame, end, file in zip(frames, ends, files, strict=True)
    ]


def runs(stems: Sequence[str], merged: Collection[str], stale: Collection[str]) -> list[tuple[int, int, str]]:
    """Frames in a row that stand alike, see Standing.

    Args:
        stems: of all frames, in order.
        merged: of those with a merged picture.
        stale: of those that merging again would make anew.
    """
    found: list[tuple[int, int, str]] = []
    for number, stem in enumerate(stems, start=1):
        if stem not in merged:
            continue
        state = STALE if stem in stale else MERGED
        if found and found[-1][1:] == (number - 1, state):
            found[-1] = (found[-1][0], number, state)
        else:
            found.append((number, number, state))
    return found


def standing_words(facts: StaleFrames) -> str:
    """How many frames are merged and why some should be merged again, for the user; "" before the first one."""
    if not facts.merged:
        return ""
    words = f"{facts.merged:,} of {facts.total:,} frames are merged."
    if facts.trained:
        words += f" {facts.trained:,} of them with a model that has learned more since, or is gone."
    if facts.changed:
        words += f" {facts.changed:,} of them with other settings."
    return words
