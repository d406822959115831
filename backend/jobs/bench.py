"""The benchmark: training (steps, samples, an accelerator), with --faces the faceset tools, with --merge merging."""

from __future__ import annotations

import dataclasses
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

import tyro

from backend.core.errors import BadInputError
from backend.core.settings.phaze_a_presets import PHAZE_A_PRESETS
from backend.devices import cpu_device, list_devices, resolve_device
from backend.jobs.arguments import PROGRAM, parse_flags
from backend.jobs.bench_faces import face_tables
from backend.jobs.bench_merge import merge_tables
from backend.jobs.bench_tables import ROOT, Measure, Row, Section, failed, measure_in_child, table, tell, write_section

DOCUMENT = ROOT / "docs" / "benchmarks.md"

TRAINING_CHILD, FACES_CHILD = "backend.pipeline.benchmark", "backend.pipeline.benchmark_faces"
MERGE_CHILD = "backend.pipeline.benchmark_merge"
TRAINING_SECTION = Section("bench", "python -m backend bench")
FACES_SECTION = Section("bench --faces", "python -m backend bench --faces")
MERGE_SECTION = Section("bench --merge", "python -m backend bench --merge")

NO_ACCELERATOR = "There is no accelerator here; the table of graphics cards is left out."

_SAEHD = MappingProxyType(
    {"resolution": 128, "ae_dims": 128, "e_dims": 64, "d_dims": 64, "d_mask_dims": 22, "batch_size": 4}
)
_SMALL_AMP = MappingProxyType(
    {"resolution": 128, "ae_dims": 128, "inter_dims": 256, "e_dims": 32, "d_dims": 32, "d_mask_dims": 16}
)
_FACESWAP: Mapping[str, Any] = MappingProxyType({"model_class": "phaze_a", "learn_mask": False, "batch_size": 4})
STEPS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "liae-ud 128/128/64/64/22, batch 4": MappingProxyType({**_SAEHD, "archi": "liae-ud"}),
        "liae-ud 128/128/64/64/22, batch 4, one channel": MappingProxyType(
            {**_SAEHD, "archi": "liae-ud", "channels": 1}
        ),
        "df 128/128/64/64/22, batch 4": MappingProxyType({**_SAEHD, "archi": "df"}),
        "Quick96, batch 4": MappingProxyType({"model_class": "quick96", "batch_size": 4}),
        "AMP 128/128-256/32/32/16, batch 4": MappingProxyType({"model_class": "amp", "batch_size": 4, **_SMALL_AMP}),
        "Phaze-A original, no mask, batch 4": MappingProxyType({**PHAZE_A_PRESETS["original"], **_FACESWAP}),
        "Phaze-A dfl-saehd-df, no mask, batch 4": MappingProxyType({**PHAZE_A_PRESETS["dfl-saehd-df"], **_FACESWAP}),
        "H64, batch 4": MappingProxyType({"model_class": "h64", "batch_size": 4}),
    }
)
"""What is trained on the CPU, by name: training settings."""

QUICK = ("liae-ud 128/128/64/64/22, batch 4",)

_LAMBDA = MappingProxyType({**_SAEHD, "batch_size": 64})
_LAMBDA_416 = MappingProxyType(
    {"resolution": 416, "ae_dims": 288, "e_dims": 168, "d_dims": 120, "d_mask_dims": 40, "batch_size": 8}
)
CARDS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "liae_128_128_64_64, batch 64": MappingProxyType({**_LAMBDA, "archi": "liae"}),
        "liae_gan_128_128_64_64, batch 64": MappingProxyType({**_LAMBDA, "archi": "liae", "gan_power": 0.1}),
        "liae_ud_gan_128_128_64_64, batch 64": MappingProxyType({**_LAMBDA, "archi": "liae-ud", "gan_power": 0.1}),
        "liae_ud_416_288_168_120, batch 8": MappingProxyType({**_LAMBDA_416, "archi": "liae-ud"}),
    }
)
"""The configurations of the field's mixed-precision fork."""

FORMATS = (("fp32", False), ("fp32", True), ("bf16", False), ("bf16", True))
"""(precision, compiled) of the table of graphics cards."""

_LAB: Mapping[str, Any] = MappingProxyType({"color_lightness": 30, "color_ab": 8})
_CLAHE: Mapping[str, Any] = MappingProxyType({"color_clahe_chance": 50})
_TO_LANDMARKS: Mapping[str, Any] = MappingProxyType({"warp_to_landmarks": True})
SAMPLES = (
    ("decoded, 128 px", {"side": 128}),
    ("decoded, 256 px", {"side": 256}),
    ("first epoch from 512 px JPEG, 128 px", {"side": 128, "decode": True}),
    ("decoded, 128 px, rct", {"side": 128, "settings": {"color_transfer": "rct"}}),
    ("decoded, 128 px, sot", {"side": 128, "settings": {"color_transfer": "sot"}}),
    ("decoded, 128 px, lightness and colours", {"side": 128, "settings": {**_LAB}}),
    ("decoded, 128 px, CLAHE on half", {"side": 128, "settings": {**_CLAHE}}),
    ("decoded, 128 px, warp to landmarks", {"side": 128, "settings": {**_TO_LANDMARKS}}),
    ("decoded, 128 px, these three", {"side": 128, "settings": {**_LAB, **_CLAHE, **_TO_LANDMARKS}}),
)


@dataclasses.dataclass(frozen=True)
class BenchFlags:
    """What the command line says."""

    faces: Annotated[bool, tyro.conf.arg(help="Measure the tools for facesets instead of training.")] = False
    merge: Annotated[bool, tyro.conf.arg(help="Measure putting faces into frames instead of training.")] = False
    quick: Annotated[bool, tyro.conf.arg(help="Less of everything, in under a minute.")] = False
    only: Annotated[Literal["all", "step", "samples", "gpu"], tyro.conf.arg(help="Measure only this part.")] = "all"
    threads: Annotated[int, tyro.conf.arg(help="Threads of a step on the CPU; 0 takes all cores.")] = 0
    device: Annotated[
        str, tyro.conf.arg(help="Accelerator, or where the networks that find faces run: best, or a device by name.")
    ] = "best"
    write: Annotated[bool, tyro.conf.arg(help="Also write the tables into docs/benchmarks.md.")] = False


def run_bench(argv: Sequence[str], document: Path = DOCUMENT) -> int:
    """Measure, print the tables as markdown, and write them into the document when asked to.

    Args:
        argv: the words behind ``bench``.
        document: where ``--write`` puts the tables, between two marker lines.

    Raises:
        BadInputError: the flags cannot be used.
    """
    flags = parse_flags(BenchFlags, argv, f"{PROGRAM} bench", "Measure training, the tools for facesets, or merging.")
    if flags.threads < 0:
        raise BadInputError("A number of threads cannot be negative.", "Use 0 for all cores.")
    if flags.faces and flags.merge:
        raise BadInputError("--faces and --merge are two benchmarks.", "Run them one after the other.")
    if (flags.faces or flags.merge) and (flags.only != "all" or flags.threads):
        raise BadInputError("--only and --threads are for training.", "Leave them out, or measure training.")
    with tempfile.TemporaryDirectory(prefix="lookalike-bench-") as folder:
        if flags.faces:
            parts = list(face_tables(flags.quick, flags.device, _measures(FACES_CHILD, Path(folder), folder=folder)))
        elif flags.merge:
            parts = list(merge_tables(flags.quick, _measures(MERGE_CHILD, Path(folder))))
        else:
            parts = list(tables(flags, _measures(TRAINING_CHILD, Path(folder), threads=flags.threads)))
    command = " ".join([PROGRAM, "bench", *argv])
    text = "\n\n".join([f"`{command}`, {time.strftime('%Y-%m-%d')}, {cpu_device().label}", *parts])
    sys.stdout.write(f"{text}\n")
    if flags.write:
        write_section(document, text, _section(flags))
    return 0


def _section(flags: BenchFlags) -> Section:
    if flags.merge:
        return MERGE_SECTION
    return FACES_SECTION if flags.faces else TRAINING_SECTION


def tables(flags: BenchFlags, measure: Measure) -> Iterator[str]:
    """The tables that are wanted, one after the other, as markdown."""
    if flags.only in ("all", "step"):
        yield step_table(flags.quick, measure)
    if flags.only in ("all", "samples"):
        yield sample_table(flags.quick, measure)
    if flags.only in ("all", "gpu"):
        device = resolve_device(flags.device, list_devices())
        yield NO_ACCELERATOR if device.kind == "cpu" else card_table(device.name, flags.quick, measure)


def _measures(module: str, weights_dir: Path, **always: Any) -> Measure:
    """Each measurement in a child process of its own; ``always`` is added to every request."""
    return lambda request: measure_in_child(module, {**request, **always}, weights_dir)


def step_table(quick: bool, measure: Measure) -> str:
    """Train step on the CPU by architecture and number format; configurations take turns over several rounds."""
    names = [name for name in STEPS if not quick or name in QUICK]
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for round_ in range(1 if quick else 3):
        for name in names:
            for precision in ("fp32", "bf16"):
                tell(f"step: {name}, {precision}, round {round_ + 1}")
                settings = {**STEPS[name], "precision": precision}
                request = {"kind": "step", "settings": settings, "device": "cpu", "seconds": 3 if quick else 12}
                found.setdefault((name, precision), []).append(measure({**request, "arithmetic": round_ == 0}))
    head = (
        "train step on the CPU", "format", "wall s", "CPU s", "images/s", "peak MB", "GFLOP", "convolution GFLOP/s",
        "share reached",
    )  # fmt: skip
    return table(head, [_step_row(name, STEPS[name], rounds) for (name, _), rounds in found.items()])


def sample_table(quick: bool, measure: Measure) -> str:
    """Training samples per CPU second, one thread."""
    rows = []
    for name, what in SAMPLES:
        tell(f"samples: {name}")
        found = measure({"kind": "samples", "seconds": 1 if quick else 6, **what})
        rows.append((name, failed(found) or f"{found['per_cpu_s']:.0f}"))
    return table(("training samples: input, target and both masks", "per CPU second"), rows)


def card_table(device: str, quick: bool, measure: Measure) -> str:
    """Train step on an accelerator: images per second and memory by number format, compiled or not."""
    rows: list[Row] = []
    for name, settings in list(CARDS.items())[: 1 if quick else None]:
        eager = 0.0
        for precision, compiled in FORMATS:
            tell(f"{device}: {name}, {precision}{', compiled' if compiled else ''}")
            wanted = {**settings, "precision": precision, "compile": compiled}
            found = measure({"kind": "step", "settings": wanted, "device": device, "seconds": 2 if quick else 8})
            label = f"{precision}, compiled" if compiled else precision
            if failed(found):
                rows.append((name, label, failed(found), "", ""))
                continue
            rate = 2 * settings["batch_size"] / statistics.median(found["walls_s"])
            eager = eager or rate
            label += " (not compiled)" if compiled and found["notes"] else ""
            rows.append((name, label, f"{rate:.1f}", f"{rate / eager:.2f}", f"{found['peak_mb']:,}"))
    return table((f"train step on {device}", "format", "images/s", "times fp32", "peak MB"), rows)


def _step_row(name: str, settings: Mapping[str, Any], rounds: Sequence[Mapping[str, Any]]) -> Row:
    good = [found for found in rounds if not failed(found)]
    if not good:
        return (name, "", failed(rounds[0]))
    wall = statistics.median([second for found in good for second in found["walls_s"]])
    cpu = statistics.median([second for found in good for second in found["cpus_s"]])
    figures = (f"{wall:.3f}", f"{cpu:.3f}", f"{2 * settings['batch_size'] / wall:.1f}")
    row = (name, good[0]["precision"], *figures, f"{max(found['peak_mb'] for found in good):,}")
    if "gflop" not in good[0]:
        return row
    gflop, rate = good[0]["gflop"], good[0]["conv_gflops"]
    return (*row, f"{gflop:.0f}", f"{rate:.0f}", f"{100 * gflop / wall / rate:.0f} %")
