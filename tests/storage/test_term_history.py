from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from backend.core.settings.train import LossName
from backend.storage.model_folder import ModelFolder
from backend.storage.term_history import LOSSES, PLAIN_RECORD, RECORD, TERMS, TermHistory


def filled(tmp_path: Path, count: int) -> TermHistory:
    history = TermHistory(tmp_path / "terms.bin")
    for i in range(1, count + 1):
        on = {"gan": 1.0} if i > count // 2 else {}
        history.append(10 * i, {"structure_src": float(i), "unknown": 7.0, **on})
    return history


def test_parts_that_were_on_have_a_curve(tmp_path: Path) -> None:
    curve = filled(tmp_path, 8).curve()
    assert curve.iteration.tolist() == [10, 20, 30, 40, 50, 60, 70, 80]
    assert set(curve.terms) == {"structure_src", "gan"}
    assert curve.terms["structure_src"].tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    np.testing.assert_array_equal(curve.terms["gan"], [math.nan] * 4 + [1.0] * 4)
    assert RECORD.itemsize == 4 + 4 * len(TERMS) + 4 + 4 * 8


def test_decimation_takes_means_of_what_was_on(tmp_path: Path) -> None:
    curve = filled(tmp_path, 9).curve(points=3)
    assert curve.iteration.tolist() == [30, 60, 90]
    assert curve.terms["structure_src"].tolist() == [2, 5, 8]
    np.testing.assert_array_equal(curve.terms["gan"], [math.nan, 1.0, 1.0])
    assert curve.count == 9


def test_ranges_are_iterations(tmp_path: Path) -> None:
    history = filled(tmp_path, 8)
    assert history.curve(since=60).iteration.tolist() == [70, 80]
    assert history.curve(last=30).iteration.tolist() == [60, 70, 80]
    assert history.curve(since=70, last=30).iteration.tolist() == [80]
    assert history.curve(since=80).count == 0
    empty = TermHistory(tmp_path / "none.bin").curve(last=5)
    assert (empty.count, dict(empty.terms), len(empty.iteration)) == (0, {}, 0)


def test_torn_record_and_truncate(tmp_path: Path) -> None:
    history = filled(tmp_path, 3)
    with history.path.open("ab") as file:
        file.write(b"\x01" * (RECORD.itemsize - 1))
    assert history.records()["iteration"].tolist() == [10, 20, 30]
    history.append(40, {})
    assert history.records()["iteration"].tolist() == [10, 20, 30, 40]
    history.truncate(25)
    assert history.records()["iteration"].tolist() == [10, 20]


def test_chosen_losses_have_curves_too(tmp_path: Path) -> None:
    history = filled(tmp_path, 2)
    history.append(30, {"ssim_src": 1.0, "ssim_dst": 2.0, "mask_src": 0.5})
    history.append(40, {"lpips_alex_src": 4.0, "lpips_alex_dst": 5.0, "ssim_src": 0.5, "ssim_dst": 1.0})
    history.append(50, {"ssim_src": math.nan, "ssim_dst": 3.0})
    terms = history.curve().terms
    assert list(terms) == [
        *("structure_src", "mask_src", "gan"),
        *("ssim_src", "ssim_dst", "lpips_alex_src", "lpips_alex_dst"),
    ]
    nan = math.nan
    np.testing.assert_array_equal(terms["ssim_src"], [nan, nan, 1, 0.5, nan])
    np.testing.assert_array_equal(terms["ssim_dst"], [nan, nan, 2, 1, 3])
    np.testing.assert_array_equal(terms["lpips_alex_dst"], [nan, nan, nan, 5, nan])
    assert "ssim_src" not in (history.curve(since=50).terms)
    assert history.curve(last=10).terms["ssim_dst"].tolist() == [3]
    history.truncate(35)
    assert history.records()["ssim_src"][-1] == 1
    assert len(history.records()) == 3


def test_all_losses_of_the_settings_are_known() -> None:
    assert set(LOSSES) == set(LossName.__args__)
    assert list(LOSSES).index("ssim") == 5


def test_files_of_the_first_version_are_read_and_go_on(tmp_path: Path) -> None:
    rows = np.array([(0, *[math.nan] * len(TERMS))] * 3, PLAIN_RECORD)
    rows["iteration"], rows["pixel_dst"] = [10, 20, 30], [1, 2, 3]
    for count in (1, 3):
        path = tmp_path / f"{count}.bin"
        path.write_bytes(rows[:count].tobytes())
        history = TermHistory(path)
        assert history.curve().terms["pixel_dst"].tolist() == [1, 2, 3][:count]
        assert history.curve(since=10).count == count - 1
        before = path.read_bytes()
        history.sync()
        assert path.read_bytes() == before
        history.append(40, {"pixel_dst": 4.0, "mae_src": 1.0, "mae_dst": 2.0})
        assert history.curve().iteration.tolist() == [*[10, 20, 30][:count], 40]
        assert history.curve().terms["pixel_dst"].tolist() == [*[1, 2, 3][:count], 4]
        assert history.curve().terms["mae_dst"][-1] == 2
        assert not np.isfinite(history.records()["gan"]).any()
    history.truncate(20)
    assert history.records()["iteration"].tolist() == [10, 20]


def test_table_of_the_whole_life(tmp_path: Path) -> None:
    folder = ModelFolder(tmp_path / "first")
    count = 100_007
    folder.losses.append([(i, 1 / i, math.nan if i == 2 else 2 / i, 1e9 + i / 2) for i in range(1, count + 1)])
    folder.terms.append(3, {"gan": 0.25})
    folder.terms.append(100_003, {"gan": 0.5, "mask_src": 1e-7})
    assert folder.write_csv(tmp_path / "loss.csv") == count
    with (tmp_path / "loss.csv").open(newline="") as file:
        lines = list(csv.reader(file))
    assert lines[0] == ["iteration", "time", "src", "dst", "mask_src", "gan"]
    assert len(lines) == count + 1
    assert lines[1] == ["1", "1000000000.500", "1", "2", "", ""]
    assert lines[2][3] == "nan"
    assert lines[3][4:] == ["", "0.25"]
    assert lines[100_003][4:] == ["1e-07", "0.5"]
    assert float(lines[count][2]) == pytest.approx(1 / count, rel=1e-6)
    folder.terms.append(100_005, {"flip_src": 0.25, "flip_dst": 0.5})
    folder.write_csv(tmp_path / "loss.csv")
    with (tmp_path / "loss.csv").open(newline="") as file:
        lines = list(csv.reader(file))
    assert lines[0][4:] == ["mask_src", "gan", "flip_src", "flip_dst"]
    assert lines[100_005][4:] == ["", "", "0.25", "0.5"]


def test_table_without_losses_has_a_heading(tmp_path: Path) -> None:
    assert ModelFolder(tmp_path).write_csv(tmp_path / "loss.csv") == 0
    assert (tmp_path / "loss.csv").read_text() == "iteration,time,src,dst\n"
