"""Stage sample: make the two clips of the sample project on the spot, without a download."""

from __future__ import annotations

import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from backend.core.settings import SampleSettings
from backend.pipeline.context import StageContext
from backend.pipeline.sample_motion import Shot, pose_at, render
from backend.pipeline.sample_people import first_person, portrait, room, second_person, studio
from backend.storage.atomic import require_free_disk
from backend.storage.audio import Samples
from backend.storage.video_writer import Picture, VideoWriter, check, frame_clock

CONSENT = (
    "Sample clips. The source is the NASA portrait of Eileen Collins, in the public domain and bundled with "
    "scikit-image; the destination is a face derived from it that shows no real person."
)
FPS = Fraction(25)
TONE_RATE = 48000
TONE_HZ = (220.0, 277.18, 329.63)
PHASES = (0.0, 0.37)
"""Where in its motion each clip begins: the two people do not move alike."""


def run(settings: SampleSettings, ctx: StageContext) -> dict[str, Any]:
    """Write data_src.mp4 and data_dst.mp4 with two people who move their heads; dst has a soft chord as sound.

    Returns:
        {"frames": of each clip, "seconds", "took_s"}.

    Raises:
        DiskFullError: too little disk. StopRequested: nothing of the clip being made stays.
    """
    project, began = ctx.project, time.monotonic()
    require_free_disk(project.path)
    ctx.job_dir.mkdir(parents=True, exist_ok=True)
    count = round(settings.seconds * FPS)
    for part, (side, shot) in enumerate(_shots().items()):
        path = ctx.job_dir / f"sample_{side}.mp4"
        sound = chord(float(count / FPS)) if side == "dst" else None
        try:
            _write_clip(path, shot, sound, PHASES[part], (part * count, count), ctx)
            project.import_video(side, path)
        finally:
            path.unlink(missing_ok=True)
    if not project.consent:
        project.set_consent(CONSENT)
    return {"frames": count, "seconds": float(count / FPS), "took_s": round(time.monotonic() - began, 2)}


def _shots() -> dict[str, Shot]:
    first = first_person(portrait())
    return {
        "src": Shot(first, studio(448, 448), (81.0, -8.0), 1.55, mirrored=False, light=0.0),
        "dst": Shot(second_person(first), room(640, 448), (92.0, -16.0), 1.55, mirrored=True, light=0.10),
    }


def _write_clip(
    path: Path, shot: Shot, sound: Samples | None, phase: float, span: tuple[int, int], ctx: StageContext
) -> None:
    """Render one clip; span is (frames done before it, frames of it)."""
    before, count = span
    height, width = shot.wall_bgr.shape[:2]
    times = [float(number / FPS) for number in range(count)]
    clock = frame_clock(times, float(count / FPS), FPS)
    began = time.monotonic()
    with VideoWriter(path, Picture(width, height, crf=16), clock, sound) as writer:
        for number, time_s in enumerate(times, start=1):
            ctx.check_stop()
            writer.write(render(shot, pose_at(time_s, phase)))
            ctx.progress(before + number, 2 * count, "frames", number / (time.monotonic() - began))
    check(path, writer.expectation())


def chord(seconds: float) -> Samples:
    """A soft chord that swells and fades, one channel."""
    time_s = np.arange(round(seconds * TONE_RATE)) / TONE_RATE
    notes = [np.sin(2 * np.pi * hertz * time_s) for hertz in TONE_HZ]
    swell = 0.6 + 0.4 * np.sin(2 * np.pi * time_s / 2.0)
    edge = np.clip(np.minimum(time_s, seconds - time_s) / 0.15, 0, 1)
    return Samples((0.15 * np.mean(notes, axis=0) * swell * edge)[None].astype(np.float32), TONE_RATE)
