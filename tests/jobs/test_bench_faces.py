from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.core.errors import BadInputError
from backend.jobs import bench
from backend.jobs.bench import FACES_CHILD, FACES_SECTION, run_bench
from backend.jobs.bench_faces import QUICK, SORTS, Amounts, face_tables, sorting_table
from backend.jobs.bench_tables import measure_in_child
from backend.ops.pose import estimate_pose
from backend.pipeline.benchmark_faces import main
from backend.storage.workspace import Workspace

TINY = {"small": 6, "large": 5, "frames": 4}


def found(request: Mapping[str, Any]) -> dict[str, Any]:
    """What a child would find."""
    figures = {"wall_s": 2.0, "cpu_s": 3.0, "faces": 400, "frames": 30, "tools": "one, other"}
    jitter = {"jitter_true": 0.0001, "jitter_before": 0.002, "jitter": 0.0005}
    return {**figures, **jitter, "error_before_px": 1.07, "error_px": 0.48}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("bench")
    main({"kind": "make", "folder": str(made), **TINY})
    return made


def measured(folder: Path, kind: str, **more: Any) -> dict[str, Any]:
    return main({"kind": kind, "folder": str(folder), "rounds": 2, **more})


def test_all_is_measured_and_shown_in_plain_rates() -> None:
    asked: list[Mapping[str, Any]] = []

    def measure(request: Mapping[str, Any]) -> dict[str, Any]:
        asked.append(request)
        return found(request)

    text = "\n".join(face_tables(True, "cpu", measure))
    assert asked[0] == {"kind": "make", "small": 400, "large": 100, "frames": 30}
    assert all(request["rounds"] == QUICK.rounds for request in asked[1:])
    assert asked[1]["device"] == "cpu"
    assert "| one, other | 30 | 400 | 15.0 | 100 | 0.0020 | 0.0005 |" in text
    assert "| pack into one file | 400 | 2.00 | 3.00 | 200 |" in text
    assert "| 0.5 | 0.0001 | 0.0020 | 0.0005 | 1.07 | 0.48 | 3000.0 |" in text


def test_deepfacelab_is_named_only_for_the_amount_it_was_measured_with() -> None:
    full, quick = sorting_table(Amounts(), found), sorting_table(QUICK, found)
    assert "| 4,000 of 256 px | 2.00 | 3.00 | 22 |" in full
    assert "| 1,000 of 512 px | 2.00 | 3.00 | 85 |" in full
    assert full.count("not measured") == len(SORTS) - 2
    assert quick.count("not measured") == len(SORTS)


def test_what_fails_is_said_and_the_rest_goes_on() -> None:
    def measure(request: Mapping[str, Any]) -> dict[str, Any]:
        return {} if request["kind"] == "make" else {"failed": "out of disk"}

    text = "\n".join(face_tables(True, "cpu", measure))
    assert text.count("failed: out of disk") == 1 + len(SORTS) + 2 + 2 + 2
    (sentence,) = face_tables(True, "cpu", lambda request: {"failed": "out of disk"})
    assert "out of disk" in sentence


def test_the_command_measures_facesets_and_writes_their_section(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: set[str] = set()

    def measure(module: str, request: Mapping[str, Any], weights_dir: Path) -> dict[str, Any]:
        assert module == FACES_CHILD
        seen.add(request["folder"])
        return found(request)

    monkeypatch.setattr(bench, "measure_in_child", measure)
    document = tmp_path / "benchmarks.md"
    assert run_bench(["--faces", "--quick", "--write"], document) == 0
    assert len(seen) == 1
    assert not Path(seen.pop()).exists()
    text = document.read_text()
    assert FACES_SECTION.begin in text
    assert capsys.readouterr().out.strip() in text
    for others in (["--only", "step"], ["--threads", "1"]):
        with pytest.raises(BadInputError, match="for training"):
            run_bench(["--faces", *others], document)


def test_made_faces_are_whole_distinct_and_look_about(folder: Path) -> None:
    project = Workspace(folder / "workspace").open("faces")
    for side, count, size in (("src", TINY["small"], 256), ("dst", TINY["large"], 512)):
        faceset = project.side(side).faceset()
        records = faceset.records()
        assert len({record.path.read_bytes() for record in records}) == len(records) == count
        assert set(faceset.sizes().values()) == {(size, size)}
        turns = [estimate_pose(record.face.landmarks, size)[1] for record in records]
        assert np.ptp(np.degrees(turns)) > 10
        # Seen from the front or nearly so, the left of the picture comes first.
        assert all(record.face.landmarks[36, 0] < record.face.landmarks[45, 0] for record in records)


def test_faces_are_found_sorted_and_packed(folder: Path) -> None:
    clip = measured(folder, "extract", device="cpu")
    assert clip["frames"] == clip["faces"] == TINY["frames"]
    assert clip["tools"].count(", ") == 1
    for _, side, by in SORTS:
        done = measured(folder, "sort", side=side, by=by)
        assert done["faces"] == TINY["small" if side == "src" else "large"]
        assert done["cpu_s"] > 0
    assert Workspace(folder / "workspace").open("faces").side("src").faceset().trashed() == []
    for action in ("pack", "save-metadata"):
        assert measured(folder, "tool", action=action)["faces"] == TINY["small"]


def test_a_single_frame_is_timed(folder: Path) -> None:
    assert measured(folder, "tone-map")["wall_s"] > 0
    assert measured(folder, "denoise")["wall_s"] > 0


def test_smoothing_is_judged_by_noise_that_is_known(folder: Path) -> None:
    weak = measured(folder, "smooth", frames=40, strength=0.5)
    assert weak["error_before_px"] == pytest.approx(np.sqrt(2 * (0.7**2 + 0.4**2)), rel=0.2)
    assert weak["error_px"] < 0.6 * weak["error_before_px"]
    assert weak["jitter_true"] < weak["jitter"] < 0.3 * weak["jitter_before"]
    off = measured(folder, "smooth", frames=40, strength=0.0)
    assert off["error_px"] == off["error_before_px"]


def test_a_child_measures(folder: Path, tmp_path: Path) -> None:
    request = {"kind": "sort", "side": "src", "by": "hist", "folder": str(folder), "rounds": 1}
    assert measure_in_child(FACES_CHILD, request, tmp_path)["faces"] == TINY["small"]
    assert "nothing" in measure_in_child(FACES_CHILD, {"kind": "nothing"}, tmp_path)["failed"]
