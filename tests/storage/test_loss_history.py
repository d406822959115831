from __future__ import annotations

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
