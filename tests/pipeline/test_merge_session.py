"""Previews of single frames: the same as the job's, and quick when only compositing changed."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from backend.core.errors import BadInputError
from backend.core.settings import FaceRule, MergeKey, MergeLook, MergeSettings
from backend.pipeline import merge, merge_session, model_shelf
from backend.pipeline.context import StageContext
from backend.pipeline.merge_session import MergeSession, over_checkerboard
from backend.storage.workspace import Project
from tests.pipeline.merge_project import FRAMES, FlatModel, make_destination
from tests.pipeline.stored_model import store_model, tiny_amp


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_destination(tmp_path / "workspace")


@pytest.fixture
def flat(monkeypatch: pytest.MonkeyPatch) -> dict[str, FlatModel]:
    """Models by name; they are made when they are loaded."""
    made: dict[str, FlatModel] = {}

    def load(project: Project, name: str, device: str) -> FlatModel:
        made[name] = FlatModel((1, 0, 0) if name == "other" else (0, 0, 1), stamp="")
        return made[name]

    monkeypatch.setattr(model_shelf, "load_model", load)
    return made


KEYS = (MergeKey(frame=4, look=MergeLook(mode="seamless", mask_mode="dst", erode_mask=5, morph_factor=0.5)),)
RULES = (FaceRule(person="person 2", model="second"), FaceRule(track=0, model="tiny"))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"faces": RULES, "keys": KEYS, "motion_blur": 60},
        {"faces": RULES, "keys": KEYS, "smooth_mask": 80, "smooth_color": 60, "first_frame": 2, "last_frame": 5},
        {"color_transfer": "sot-m", "smooth_mask": 30},
        {"mode": "raw-predict"},
    ],
    ids=["plain", "two-models-and-keys", "smoothed", "random", "raw"],
)
def test_the_preview_of_a_frame_is_the_merged_frame(project: Project, settings: dict) -> None:
    store_model(project, tiny_amp())
    store_model(project, tiny_amp(model="second"), lambda w: {name: value * 0.9 for name, value in w.items()})
    wanted = MergeSettings(model="tiny", device="cpu", batch_size=1, **settings)
    ctx = StageContext(project=project, job_dir=project.path, emit=lambda kind, data: None)
    merge.run(wanted, ctx)
    session = MergeSession(project)
    for index in (4, 1, 2, 0, 5, 3)[: 3 if wanted.last_frame else None]:
        preview = session.render(index, wanted)
        name = f"{index + 1:05d}.png"
        np.testing.assert_array_equal(preview.after, cv2.imread(str(project.merged_dir / name)))
        np.testing.assert_array_equal(preview.mask, cv2.imread(str(project.merged_mask_dir / name), -1))
        np.testing.assert_array_equal(preview.before, cv2.imread(str(project.side("dst").frames_dir / name)))
        assert preview.look == wanted.look_at(index + 1)


def test_faces_predicted_together_differ_by_a_rounding_at_most(project: Project) -> None:
    store_model(project, tiny_amp())
    one, four = (MergeSettings(model="tiny", device="cpu", batch_size=size) for size in (1, 0))
    pictures = [MergeSession(project).render(1, settings).after.astype(int) for settings in (one, four)]
    assert np.abs(pictures[0] - pictures[1]).max() <= 1


def test_other_options_do_not_ask_the_model_again(project: Project, flat: dict[str, FlatModel]) -> None:
    session = MergeSession(project)
    first = session.render(1, MergeSettings(color_transfer="none"))
    second = session.render(1, MergeSettings(color_transfer="none", erode_mask=60, face_scale=-20))
    assert flat["model"].batches == [(2, 1.0)]
    assert 0 < second.mask.sum() < first.mask.sum()
    assert second.before is first.before
    for morph in (0.25, 0.25, 1.0):
        session.render(1, MergeSettings(morph_factor=morph))
    assert flat["model"].batches == [(2, 1.0), (2, 0.25)]
    session.render(3, MergeSettings())
    session.render(1, MergeSettings())
    assert len(flat["model"].batches) == 3
    for index in (FRAMES, -1):
        with pytest.raises(BadInputError, match="no frame"):
            session.render(index, MergeSettings())


def test_smoothing_predicts_the_frames_around_once(project: Project, flat: dict[str, FlatModel]) -> None:
    session = MergeSession(project)
    smooth = MergeSettings(smooth_mask=50)
    session.render(0, smooth)
    asked = sum(count for count, _ in flat["model"].batches)
    assert asked == 2 * (min(FRAMES, merge_session.RADIUS + 1) - 1)
    session.render(0, smooth.model_copy(update={"smooth_mask": 90, "smooth_color": 10, "blur_mask": 3}))
    assert sum(count for count, _ in flat["model"].batches) == asked
    session.render(FRAMES - 1, smooth)
    assert sum(count for count, _ in flat["model"].batches) == 2 * (FRAMES - 1)


def test_only_so_much_is_kept(project: Project, flat: dict[str, FlatModel], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge_session, "KEPT_PREDICTION_BYTES", 600_000)
    session = MergeSession(project)
    for index in (0, 1, 0, 3, 4, 0, 0):
        session.render(index, MergeSettings())
    assert len(flat["model"].batches) == 5
    session.render(1, MergeSettings(smooth_mask=20))
    assert len(session.render(1, MergeSettings(smooth_mask=20)).faces) == 2


def test_every_face_is_told_of(project: Project, flat: dict[str, FlatModel]) -> None:
    session = MergeSession(project)
    rules = (FaceRule(track=0, action="leave"), FaceRule(model="other"))
    preview = session.render(1, MergeSettings(color_transfer="none", faces=rules))
    left, swapped = preview.faces
    assert (left.name, left.track, left.person, left.model, left.outcome) == ("00002_0.jpg", 0, "anna", "", "left")
    assert left.corners is None
    assert (swapped.person, swapped.model, swapped.outcome) == ("person 2", "other", "merged")
    assert swapped.corners is not None
    width = preview.before.shape[1]
    assert preview.mask[:, : width // 2].max() == 0
    assert preview.mask[:, width // 2 :].max() == 255
    inside = preview.mask == 255
    assert preview.after[inside][:, 0].mean() > 200
    low, high = swapped.corners.min(axis=0), swapped.corners.max(axis=0)
    columns = np.nonzero(preview.mask)[1]
    assert low[0] - 2 <= columns.min() < columns.max() <= high[0] + 2
    assert low[0] < swapped.box_xyxy[0] < swapped.box_xyxy[2] < high[0]
    empty = session.render(1, MergeSettings(erode_mask=400, faces=rules))
    assert [face.outcome for face in empty.faces] == ["left", "empty_mask"]
    assert session.render(2, MergeSettings()).faces == ()


def test_changed_faces_are_seen(project: Project, flat: dict[str, FlatModel]) -> None:
    session = MergeSession(project)
    assert len(session.render(1, MergeSettings()).faces) == 2
    (project.side("dst").aligned_dir / "00002_1.jpg").unlink()
    assert len(session.render(1, MergeSettings()).faces) == 1
    assert flat["model"].batches == [(2, 1.0), (1, 1.0)]


def test_a_model_that_was_trained_on_is_loaded_again(project: Project) -> None:
    store_model(project, tiny_amp())
    session = MergeSession(project)
    settings = MergeSettings(model="tiny", device="cpu", mask_mode="dst", color_transfer="none")
    first = session.render(1, settings).after
    assert np.array_equal(session.render(1, settings).after, first)
    store_model(project, tiny_amp(), lambda weights: {name: value * 0.5 for name, value in weights.items()})
    assert not np.array_equal(session.render(1, settings).after, first)


def test_a_missing_model_is_said(project: Project) -> None:
    with pytest.raises(BadInputError, match="no trained model 'nobody'"):
        MergeSession(project).render(1, MergeSettings(model="nobody", device="cpu"))


def test_the_checkerboard_shows_where_nothing_was_merged() -> None:
    after = np.full((40, 60, 3), 250, np.uint8)
    mask = np.zeros((40, 60), np.uint8)
    mask[10:20, 10:30] = 255
    mask[20:30, 10:30] = 128
    shown = over_checkerboard(after, mask)
    assert (shown[10:20, 10:30] == 250).all()
    assert set(np.unique(shown[:10])) == {102, 153}
    assert shown[0, 0, 0] != shown[0, 16, 0] != shown[0, 32, 0]
    np.testing.assert_allclose(shown[24, 17, 0], (250 * 128 + 102 * 127) / 255, atol=1)
    assert over_checkerboard(after[:8, :8], mask).shape == (8, 8, 3)
    assert set(np.unique(over_checkerboard(after, np.zeros_like(mask)))) == {102, 153}
