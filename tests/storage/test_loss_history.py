from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from backend.storage.loss_history import RECORD, LossHistory


def filled(tmp_path: Path, count: int) -> LossHistory:
    history = LossHistory(tmp_path / "loss.bin")
    history.append([(i, 1.0 / i, 2.0 / i, 1000.0 + i) for i in range(1, count + 1)])
    return history


def test_curve_is_decimated_and_keeps_its_ends(tmp_path: Path) -> None:
    curve = filled(tmp_path, 10_000).curve(points=500)
    assert curve.count == 10_000
    assert len(curve.iteration) == len(curve.src) == len(curve.dst_smooth) == 500
    assert curve.iteration[-1] == 10_000
    assert curve.src_high[0] == 1.0
    assert np.all(curve.src_low <= curve.src)
    assert np.all(curve.src <= curve.src_high)
    assert np.all(np.diff(curve.src_smooth) < 0)


def test_few_points_stay_as_they_are(tmp_path: Path) -> None:
    history = filled(tmp_path, 5)
    assert history.curve().iteration.tolist() == [1, 2, 3, 4, 5]
    assert history.curve(since=3).iteration.tolist() == [4, 5]
    assert history.curve(last=2).iteration.tolist() == [4, 5]
    assert history.curve(since=9).count == 0
    assert history.curve().src_smooth[0] == 1.0


def test_a_range_is_the_same_as_the_end_of_the_whole(tmp_path: Path) -> None:
    history = filled(tmp_path, 5000)
    whole = history.records()
    for since, last in ((1234, None), (0, 777), (4000, 2000), (4000, 300), (5000, None), (0, 0), (0, 9000)):
        part = history.curve(since, last, points=10_000)
        first = max(since, 5000 - last if last is not None else 0)
        np.testing.assert_array_equal(part.iteration, whole["iteration"][first:])
        np.testing.assert_allclose(part.src, whole["src"][first:])


def test_a_million_iterations_are_read_in_parts(tmp_path: Path) -> None:
    rows = np.zeros(1_000_000, RECORD)
    rows["iteration"] = np.arange(1, 1_000_001)
    rows["src"] = rows["dst"] = 0.5
    history = LossHistory(tmp_path / "loss.bin")
    history.path.write_bytes(rows.tobytes())
    took = []
    for _ in range(5):
        began = time.process_time()
        curve = history.curve(last=1000)
        took.append(time.process_time() - began)
    assert curve.iteration[[0, -1]].tolist() == [999_002, 1_000_000]
    assert min(took) < 0.01, "the newest thousand cost as much as the whole file"
    assert history.curve().count == 1_000_000


def test_truncate_and_append_leave_no_jump(tmp_path: Path) -> None:
    history = filled(tmp_path, 10)
    history.truncate(6)
    history.append([(7, 0.1, 0.2, 2000.0)])
    assert history.records()["iteration"].tolist() == [1, 2, 3, 4, 5, 6, 7]


def test_a_half_written_record_is_ignored_then_replaced(tmp_path: Path) -> None:
    history = filled(tmp_path, 3)
    with history.path.open("ab") as file:
        file.write(b"\x01" * (RECORD.itemsize // 2))
    assert len(history.records()) == 3
    history.append([(4, 0.1, 0.2, 2000.0)])
    assert history.records()["iteration"].tolist() == [1, 2, 3, 4]


def test_losses_that_are_not_finite_do_not_spoil_the_curve(tmp_path: Path) -> None:
    history = LossHistory(tmp_path / "loss.bin")
    history.append([(1, float("nan"), 1.0, 0.0), (2, 0.5, float("inf"), 0.0), (3, 0.4, 0.9, 0.0)])
    curve = history.curve()
    assert np.isfinite(curve.src).all()
    assert np.isfinite(curve.dst_smooth).all()


def test_an_empty_history_has_an_empty_curve(tmp_path: Path) -> None:
    curve = LossHistory(tmp_path / "none.bin").curve()
    assert curve.count == 0
    assert len(curve.src) == 0
