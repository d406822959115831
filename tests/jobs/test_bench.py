from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from backend.core.errors import BadInputError
from backend.core.settings import TRAIN_SETTINGS
from backend.jobs import bench
from backend.jobs.bench import (
    CARDS,
    FACES_SECTION,
    STEPS,
    TRAINING_CHILD,
    TRAINING_SECTION,
    BenchFlags,
    card_table,
    run_bench,
    step_table,
    tables,
)
from backend.jobs.bench_tables import measure_in_child, write_section

ROOT = Path(__file__).resolve().parents[2]


def found(request: Mapping[str, Any]) -> dict[str, Any]:
    """What a child would find: fast where it is compiled or short."""
    if request["kind"] == "samples":
        return {"per_cpu_s": 1234.4}
    short, compiled = request["settings"]["precision"] == "bf16", request["settings"].get("compile", False)
    wall = 2.0 / (2 if short else 1) / (2 if compiled else 1)
    more = {"gflop": 100.0, "conv_gflops": 200.0} if request.get("arithmetic") else {}
    figures = {"walls_s": [wall, wall, 99.0], "cpus_s": [wall * 2] * 3, "peak_mb": 1500, "notes": []}
    return {**figures, "precision": request["settings"]["precision"], "device": "cpu", **more}


def test_settings_of_all_configurations_are_valid() -> None:
    for settings in (*STEPS.values(), *CARDS.values()):
        made = TRAIN_SETTINGS[settings.get("model_class", "saehd")].model_validate(dict(settings))
        assert made.batch_size in (4, 8, 64)


def test_the_gray_twin_differs_in_the_channels_only() -> None:
    (colour, gray), *_ = [
        (STEPS[name.removesuffix(", one channel")], STEPS[name]) for name in STEPS if "one ch" in name
    ]
    assert {**colour, "channels": 1} == gray


def test_steps_take_turns_and_medians_are_shown() -> None:
    order: list[str] = []

    def measure(request: Mapping[str, Any]) -> dict[str, Any]:
        order.append(f"{request['settings'].get('archi', '')} {request['settings']['precision']}")
        return found(request)

    text = step_table(False, measure)
    assert order[: len(STEPS) * 2] * 3 == order
    row = next(line for line in text.splitlines() if line.startswith("| liae-ud") and "fp32" in line)
    assert [cell.strip() for cell in row.split("|")[3:-1]] == [
        "2.000", "4.000", "4.0", "1,500", "100", "200", "25 %",
    ]  # fmt: skip
    assert len(text.splitlines()) == 2 + 2 * len(STEPS)


def test_cards_are_compared_with_fp32_and_failures_are_said() -> None:
    text = card_table("cuda:0", True, found)
    assert "| bf16, compiled | 256.0 | 4.00 | 1,500 |" in text
    assert "| fp32 | 64.0 | 1.00 |" in text
    broken = card_table("cuda:0", True, lambda request: {"failed": "out of memory"})
    assert broken.count("failed: out of memory") == 4


def test_only_what_is_wanted_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "list_devices", list)
    assert list(tables(BenchFlags(only="gpu"), found)) == [bench.NO_ACCELERATOR]
    (samples,) = tables(BenchFlags(only="samples", quick=True), found)
    assert samples.count("1234") == len(bench.SAMPLES)
    assert len(list(tables(BenchFlags(quick=True), found))) == 3


def test_the_section_of_a_document_is_replaced_and_no_other(tmp_path: Path) -> None:
    document = tmp_path / "docs" / "benchmarks.md"
    begin, end = TRAINING_SECTION.begin, TRAINING_SECTION.end
    write_section(document, "one", TRAINING_SECTION)
    assert document.read_text() == f"## python -m backend bench\n\n{begin}\none\n{end}\n"
    document.write_text(f"# Title\n\n{begin}\nold\n{end}\n\nafter\n")
    write_section(document, "two", TRAINING_SECTION)
    assert document.read_text() == f"# Title\n\n{begin}\ntwo\n{end}\n\nafter\n"
    write_section(document, "three", FACES_SECTION)
    write_section(document, "four", FACES_SECTION)
    begun, ended = FACES_SECTION.begin, FACES_SECTION.end
    added = f"## python -m backend bench --faces\n\n{begun}\nfour\n{ended}\n"
    assert document.read_text() == f"# Title\n\n{begin}\ntwo\n{end}\n\nafter\n\n{added}"


def test_the_command_prints_and_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(bench, "measure_in_child", lambda module, request, folder: found(request))
    document = tmp_path / "benchmarks.md"
    assert run_bench(["--only", "samples", "--quick", "--write"], document) == 0
    said = capsys.readouterr()
    assert "| decoded, 128 px | 1234 |" in said.out
    assert "samples: decoded, 256 px" in said.err
    assert said.out.strip() in document.read_text()
    with pytest.raises(BadInputError):
        run_bench(["--only", "nothing"], document)
    with pytest.raises(BadInputError, match="negative"):
        run_bench(["--threads", "-1"], document)


def test_a_child_that_fails_says_why(tmp_path: Path) -> None:
    failed = measure_in_child(
        TRAINING_CHILD, {"kind": "step", "settings": {"model_class": "none"}, "device": "cpu"}, tmp_path
    )
    assert "none" in failed["failed"]


def test_a_child_measures_a_small_step_and_samples(tmp_path: Path) -> None:
    small = {"resolution": 64, "archi": "df", "ae_dims": 32, "e_dims": 16, "d_dims": 16, "d_mask_dims": 4}
    request = {"kind": "step", "settings": {**small, "batch_size": 1, "precision": "fp32"}, "device": "cpu"}
    step = measure_in_child(TRAINING_CHILD, {**request, "seconds": 0.01, "arithmetic": True, "threads": 1}, tmp_path)
    assert len(step["walls_s"]) >= 3
    assert min(step["walls_s"]) > 0
    assert step["peak_mb"] > 100
    assert step["gflop"] > 0
    assert step["conv_gflops"] > 0
    options = {"color_transfer": "rct", "warp_to_landmarks": True, "color_ab": 8}
    request = {"kind": "samples", "side": 64, "settings": options, "decode": True, "seconds": 0.1, "threads": 1}
    assert measure_in_child(TRAINING_CHILD, request, tmp_path)["per_cpu_s"] > 1


def test_the_command_line_imports_no_torch() -> None:
    code = "import sys, json, backend.cli, backend.jobs.bench; print(json.dumps('torch' in sys.modules))"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(ended.stdout) is False
