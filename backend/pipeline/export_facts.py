"""What is said about a finished file: in the job's result, and in the sidecar beside it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from backend.core.provenance import Provenance
from backend.core.settings import ExportSettings
from backend.pipeline.export_picture import ExportPicture
from backend.storage.atomic import write_json
from backend.storage.frame_clock import FrameClock
from backend.storage.results import file_facts, told_settings
from backend.storage.video_formats import VideoFormat
from backend.storage.workspace import Project


@dataclass(frozen=True)
class ExportFacts:
    """A finished file or folder.

    Attributes:
        path: where it lies.
        size: width and height of its pictures, padding included.
        kind: None for pictures in a folder.
        clock: of the frames in it; gif and avi may have left some out or shown some again.
        look: what was made of them.
        first_index: place in the table of the first frame.
        tracks: what became of each sound track.
        signer: "subject", "issuer", ... of the certificate it was signed with, empty when it was not.
        bytes: size on the disk.
    """

    path: Path
    size: tuple[int, int]
    kind: VideoFormat | None
    clock: FrameClock
    look: ExportPicture
    first_index: int
    tracks: tuple[str, ...]
    signer: dict[str, Any]
    bytes: int

    def result(self, settings: ExportSettings) -> dict[str, Any]:
        """What the job's result and the sidecar both say."""
        return {
            "frames": len(self.clock.ticks),
            "seconds": round(self.clock.length_s, 3),
            "fps": round(float(self.clock.rate), 3),
            "width": self.size[0],
            "height": self.size[1],
            "container": settings.container,
            "codec": self.kind.codec if self.kind else "png",
            "encoder": self.kind.encoder if self.kind else "png",
            "content": settings.content,
            "lossless": self.kind is None or self.kind.is_lossless,
            "audio": self.tracks[0] if self.tracks else "none",
            "tracks": list(self.tracks),
            "bytes": self.bytes,
            "mark": settings.mark,
            "label": self.look.label,
            "signed": bool(self.signer),
        }


def write_sidecar(
    path: Path, facts: ExportFacts, settings: ExportSettings, project: Project, merge_facts: dict[str, Any]
) -> None:
    """Write the sidecar of a finished file. Whose certificate signed is told, its path is not."""
    provenance = Provenance(
        project=project.name,
        consent=project.consent,
        model=str(merge_facts.get("model", "")),
        model_class=str(merge_facts.get("model_class", "")),
        iteration=int(merge_facts.get("iteration") or 0),
        settings={
            "merge": merge_facts.get("settings", {}),
            "export": told_settings(settings.model_dump(mode="json")),
        },
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    clock, wanted = facts.clock, facts.look.size
    told = {
        **provenance.model_dump(mode="json"),
        "ai_manipulated": True,
        **facts.result(settings),
        **file_facts(facts.path),
        "seconds": clock.length_s,
        "fps": str(clock.rate),
        "padded_right_px": facts.size[0] - wanted[0],
        "padded_below_px": facts.size[1] - wanted[1],
        "first_frame": facts.first_index + 1,
        "constant_rate": clock.constant,
        "certificate_subject": str(facts.signer.get("subject", "")),
        **({"models": merge_facts["models"]} if "models" in merge_facts else {}),
        **_times(facts),
    }
    write_json(path, told)


def _times(facts: ExportFacts) -> dict[str, Any]:
    """When each picture of a folder is shown, where they are not evenly spaced: nothing else holds that."""
    if facts.kind is not None or facts.clock.constant:
        return {}
    base = facts.clock.time_base
    return {"times_s": [round(float(tick * base), 6) for tick in facts.clock.ticks]}
