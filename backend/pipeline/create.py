"""Stage create: bring the two clips of a project in, with the statement that the people shown agreed."""

from __future__ import annotations

from typing import Any

from backend.core.errors import BadInputError
from backend.core.frames import VideoInfo
from backend.core.settings import CreateSettings
from backend.pipeline.context import StageContext
from backend.storage.video import hdr_kind, probe


def run(settings: CreateSettings, ctx: StageContext) -> dict[str, Any]:
    """Import the named clips; nothing changes unless all of them can be used.

    Returns:
        {"src", "dst": facts of each imported clip}.

    Raises:
        BadInputError: a file is no usable video, or there is no consent statement yet.
        DiskFullError: a copy does not fit.
    """
    project = ctx.project
    if not settings.consent.strip() and not project.consent:
        raise BadInputError(
            "There is no consent statement.", "Write who agreed to this use of their face, and on what basis."
        )
    clips = {side: path for side, path in (("src", settings.src), ("dst", settings.dst)) if path is not None}
    infos = {side: probe(path) for side, path in clips.items()}
    if settings.consent.strip():
        project.set_consent(settings.consent.strip())
    if settings.notes.strip():
        project.set_notes(settings.notes.strip())
    for done, (side, path) in enumerate(clips.items(), start=1):
        ctx.check_stop()
        imported = project.import_video(side, path)
        ctx.log(f"{side}: {_sentence(infos[side])}")
        ctx.progress(done, len(clips), "clips", message=imported.name)
    return {side: _facts(info) for side, info in infos.items()}


def _facts(info: VideoInfo) -> dict[str, Any]:
    return {
        "width": info.width,
        "height": info.height,
        "fps": round(float(info.fps), 3),
        "frames": info.frame_count,
        "seconds": round(info.duration_s, 3),
        "has_audio": info.has_audio,
        "hdr": hdr_kind(info) or "no",
    }


def _sentence(info: VideoInfo) -> str:
    sound = "with sound" if info.has_audio else "without sound"
    kind = hdr_kind(info)
    mapped = f" It is high dynamic range, {kind}; its tones are mapped to BT.709 wherever it is read." if kind else ""
    return f"{info.width} x {info.height}, {float(info.fps):.3f} fps, {info.duration_s:.2f} s, {sound}.{mapped}"
