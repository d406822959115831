"""The benchmark of the faceset workbench: what is measured, and the tables of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from backend.jobs.bench_tables import Measure, Row, failed, table, tell

SMALL_PX, LARGE_PX = 256, 512


@dataclass(frozen=True)
class Amounts:
    """How much is measured: faces of 256 px, faces of 512 px, frames, and rounds of each measurement."""

    small: int = 4000
    large: int = 1000
    frames: int = 250
    rounds: int = 3


QUICK = Amounts(small=400, large=100, frames=30, rounds=1)

SORTS = (
    ("colours alike (hist)", "src", "hist"),
    ("pictures alike (absdiff)", "src", "absdiff"),
    ("near-duplicates (duplicates)", "src", "duplicates"),
    ("best faces (best)", "dst", "best"),
    ("sharpness (blur)", "dst", "blur"),
)
"""What is sorted: words, side of the benchmark's project, method."""

DEEPFACELAB_CPU_S: Mapping[tuple[str, int], int] = MappingProxyType({("hist", 4000): 22, ("best", 1000): 85})
"""(method, faces) -> CPU seconds that DeepFaceLab takes for it."""

TOOLS = (("pack into one file", "pack"), ("save the metadata", "save-metadata"))
PICTURES = (
    ("take the noise out, four neighbours looked at", "denoise"),
    ("map HDR10 to an ordinary picture", "tone-map"),
)
STRENGTHS = (0.5, 1.0)


def face_tables(quick: bool, device: str, measure: Measure) -> Iterator[str]:
    """All tables, one after the other, as markdown. The data is made first; one sentence when that fails.

    Args:
        quick: a tenth of the faces and fewer frames, one round.
        device: where the networks that find faces run.
        measure: one measurement in a process of its own.
    """
    amounts = QUICK if quick else Amounts()
    tell("drawing the clip and the faces")
    made = measure({"kind": "make", "small": amounts.small, "large": amounts.large, "frames": amounts.frames})
    if failed(made):
        yield f"The pictures to measure with could not be made; {failed(made)}."
        return

    def repeated(request: Mapping[str, Any]) -> dict[str, Any]:
        """One measurement, repeated."""
        return measure({**request, "rounds": amounts.rounds})

    runs = "One run of each" if amounts.rounds == 1 else f"Medians of {amounts.rounds} runs of each"
    yield f"{runs}, on a drawn person; CPU seconds count all threads."
    yield extraction_table(device, repeated)
    yield sorting_table(amounts, repeated)
    yield tool_table(repeated)
    yield picture_table(repeated)
    yield smoothing_table(amounts.frames, repeated)


def extraction_table(device: str, measure: Measure) -> str:
    """From frames on the disk to faces on the disk."""
    tell("finding faces")
    found = measure({"kind": "extract", "device": device})
    head = (
        "finding faces: frames 1280x720 (JPEG), smallest face 40 px, whole faces of 512 px", "frames", "faces",
        "frames/s", "CPU ms per frame", "jitter found", "jitter smoothed",
    )  # fmt: skip
    if failed(found):
        return table(head, [(failed(found),)])
    frames = found["frames"]
    rates = (f"{frames / found['wall_s']:.1f}", f"{1000 * found['cpu_s'] / frames:.0f}")
    jitter = (_share(found["jitter_before"]), _share(found["jitter"]))
    return table(head, [(found["tools"], f"{frames:,}", f"{found['faces']:,}", *rates, *jitter)])


def sorting_table(amounts: Amounts, measure: Measure) -> str:
    """The sort stage, decoding included."""
    rows: list[Row] = []
    for words, side, by in SORTS:
        tell(f"sorting by {by}")
        found = measure({"kind": "sort", "side": side, "by": by})
        count, size = (amounts.small, SMALL_PX) if side == "src" else (amounts.large, LARGE_PX)
        theirs = DEEPFACELAB_CPU_S.get((by, count))
        figures = (failed(found), "") if failed(found) else (f"{found['wall_s']:.2f}", f"{found['cpu_s']:.2f}")
        rows.append((words, f"{count:,} of {size} px", *figures, str(theirs) if theirs else "not measured"))
    return table(("sorting, pictures decoded", "faces", "wall s", "CPU s", "DeepFaceLab, CPU s"), rows)


def tool_table(measure: Measure) -> str:
    """Tools that touch every file."""
    rows: list[Row] = []
    for words, action in TOOLS:
        tell(action)
        found = measure({"kind": "tool", "action": action})
        if failed(found):
            rows.append((words, failed(found)))
            continue
        rate = f"{found['faces'] / found['wall_s']:,.0f}"
        rows.append((words, f"{found['faces']:,}", f"{found['wall_s']:.2f}", f"{found['cpu_s']:.2f}", rate))
    return table(("tool, faces of 256 px", "faces", "wall s", "CPU s", "faces/s"), rows)


def picture_table(measure: Measure) -> str:
    """Work on one frame."""
    rows: list[Row] = []
    for words, kind in PICTURES:
        tell(kind)
        found = measure({"kind": kind})
        milliseconds = [f"{1000 * found[key]:.0f}" for key in ("wall_s", "cpu_s")] if not failed(found) else []
        rows.append((words, *(milliseconds or [failed(found)])))
    return table(("one frame of 1280x720, one thread", "wall ms", "CPU ms"), rows)


def smoothing_table(frames: int, measure: Measure) -> str:
    """Smoothing of landmarks whose true places are known."""
    rows: list[Row] = []
    for strength in STRENGTHS:
        tell(f"smoothing at strength {strength}")
        found = measure({"kind": "smooth", "frames": frames, "strength": strength})
        if failed(found):
            rows.append((f"{strength}", failed(found)))
            continue
        jitter = [_share(found[key]) for key in ("jitter_true", "jitter_before", "jitter")]
        apart = [f"{found[key]:.2f}" for key in ("error_before_px", "error_px")]
        rows.append((f"{strength}", *jitter, *apart, f"{1000 * found['cpu_s']:.1f}"))
    head = (
        "smoothing, strength", "jitter of the movement itself", "with noise", "smoothed", "px off with noise",
        "px off smoothed", "CPU ms per face",
    )  # fmt: skip
    return table(head, rows)


def _share(jitter: float | None) -> str:
    return "none" if jitter is None else f"{jitter:.4f}"
