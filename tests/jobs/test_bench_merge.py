from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import pytest

from backend.core.errors import BadInputError
from backend.core.settings.merge import MergeLook
from backend.jobs import bench
from backend.jobs.bench import MERGE_CHILD, MERGE_SECTION, run_bench
from backend.jobs.bench_merge import (
    DEEPFACELAB_FRAMES,
    LOOKS,
    QUICK,
    QUICK_LOOKS,
    QUICK_TRANSFERS,
    TRANSFERS,
    Extent,
    looks_table,
    merge_tables,
    transfer_table,
)
from backend.jobs.bench_tables import measure_in_child
from backend.pipeline.benchmark_merge import main


def found(request: Mapping[str, Any]) -> dict[str, Any]:
    """What a child would find: 5 ms, twice that at 256 px."""
    return {"wall_s": 1.0, "cpu_s": 0.005 * (2 if request.get("resolution") == 256 else 1)}


def test_every_look_is_one_of_the_settings_and_every_mode_is_measured() -> None:
    looks = [MergeLook.model_validate(dict(options)) for options in LOOKS.values()]
    assert {look.mode for look in looks} == set(get_args(MergeLook.model_fields["mode"].annotation))
    transfers = set(get_args(MergeLook.model_fields["color_transfer"].annotation))
    assert {look.color_transfer for look in looks} == transfers
    assert transfers <= {"none", *TRANSFERS}
    assert {name for name, _ in DEEPFACELAB_FRAMES} <= set(LOOKS)


def test_rates_stand_beside_those_of_deepfacelab() -> None:
    asked: list[Mapping[str, Any]] = []

    def measure(request: Mapping[str, Any]) -> dict[str, Any]:
        asked.append(request)
        return found(request)

    text = looks_table(Extent(), measure)
    assert "| overlay, no colour transfer | 200 | 5.0 | 30 | 100 | 10.0 | 21 |" in text
    assert "| raw-rgb | 200 | 5.0 | not measured | 100 | 10.0 | not measured |" in text
    assert len(asked) == 2 * len(LOOKS)
    assert "| sot, 10 steps of 30 directions | 200 | 5.0 | 0.67 |" in transfer_table(Extent(), found)


def test_quick_measures_less() -> None:
    asked: list[Mapping[str, Any]] = []
    text = "\n".join(merge_tables(True, lambda request: asked.append(request) or found(request)))
    assert len(asked) == len(QUICK_LOOKS) + len(QUICK_TRANSFERS)
    assert {request["seconds"] for request in asked} == {QUICK.seconds}
    assert "256 px: frames" not in text


def test_what_fails_is_said_and_the_rest_goes_on() -> None:
    text = "\n".join(merge_tables(True, lambda request: {"failed": "no memory"}))
    assert text.count("failed: no memory") == len(QUICK_LOOKS) + len(QUICK_TRANSFERS)


def test_the_command_measures_merging_and_writes_its_section(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    modules: set[str] = set()
    monkeypatch.setattr(bench, "measure_in_child", lambda module, request, _: modules.add(module) or found(request))
    document = tmp_path / "benchmarks.md"
    assert run_bench(["--merge", "--quick", "--write"], document) == 0
    assert modules == {MERGE_CHILD}
    text = document.read_text()
    assert MERGE_SECTION.begin in text
    assert capsys.readouterr().out.strip() in text
    with pytest.raises(BadInputError, match="two benchmarks"):
        run_bench(["--merge", "--faces"], document)
    with pytest.raises(BadInputError, match="for training"):
        run_bench(["--merge", "--only", "step"], document)


@pytest.mark.parametrize("options", [{}, {"super_resolution": 100, "mode": "seamless"}, {"mask_mode": "xseg-dst"}])
def test_merging_is_timed(options: dict[str, Any]) -> None:
    measured = main({"kind": "merge", "options": options, "resolution": 64, "seconds": 0.0})
    assert measured["cpu_s"] > 0
    assert measured["crop_px"] == pytest.approx(500, abs=15)


def test_a_child_measures(tmp_path: Path) -> None:
    request = {"kind": "transfer", "transfer": "sot", "side": 48, "seconds": 0.0}
    assert measure_in_child(MERGE_CHILD, request, tmp_path)["cpu_s"] > 0
    assert "nothing" in measure_in_child(MERGE_CHILD, {"kind": "nothing"}, tmp_path)["failed"]
