from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from backend.storage.model_folder import ModelFolder
from backend.storage.term_history import RECORD, TERMS, TermHistory


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
    assert RECORD.itemsize == 4 + 4 * len(TERMS)


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


def test_table_without_losses_has_a_heading(tmp_path: Path) -> None:
    assert ModelFolder(tmp_path).write_csv(tmp_path / "loss.csv") == 0
    assert (tmp_path / "loss.csv").read_text() == "iteration,time,src,dst\n"
