from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from backend.core.errors import BadInputError, StopRequested
from backend.core.faces import Face, FaceType
from backend.core.provenance import Provenance
from backend.core.settings import MergeSettings
from backend.ops.align import face_matrix, transform_points, warp_face
from backend.ops.composite import SwapPrediction
from backend.pipeline import merge
from backend.pipeline.context import StageContext
from backend.storage.face_file import write_face_image
from backend.storage.workspace import Project, Workspace
from tests.drawn_faces import draw_face
from tests.pipeline.stored_model import store_model, tiny_amp

RESOLUTION = 64
FRAMES = 6


class RedModel:
    """Predicts a red face, and remembers with which morph it was asked."""

    resolution = RESOLUTION
    face_type = FaceType.FULL
    iteration = 7
    provenance = Provenance(model_class="saehd")

    def __init__(self, channels: int = 3) -> None:
        self.morphs: list[float] = []
        self._channels = channels

    @property
    def asked(self) -> int:
        return len(self.morphs)

    def predict(self, crop, morph: float):
        self.morphs.append(morph)
        assert crop.shape == (RESOLUTION, RESOLUTION, 3)
        face = np.zeros((RESOLUTION, RESOLUTION, self._channels), np.float32)
        face[..., -1] = 1.0
        mask = np.zeros((RESOLUTION, RESOLUTION), np.float32)
        mask[8:-8, 8:-8] = 1.0
        return SwapPrediction(face, mask, mask)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> RedModel:
    red = RedModel()
    monkeypatch.setattr(merge, "load_model", lambda project, name, device: red)
    return red


def add_face(folder: Path, name: str, frame: str, image, landmarks) -> None:
    matrix = face_matrix(landmarks, 128, FaceType.WHOLE)
    face = Face(
        source_filename=frame,
        source_rect=np.array([*landmarks.min(axis=0), *landmarks.max(axis=0)]).astype(np.int64),
        source_landmarks=landmarks,
        landmarks=transform_points(landmarks, matrix),
        image_to_face_mat=matrix,
        face_type=FaceType.WHOLE,
    )
    write_face_image(folder / name, warp_face(image, matrix, 128), face, 90)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Six frames: two faces in the first, none in the third, one in the others."""
    (tmp_path / "workspace").mkdir()
    made = Workspace(tmp_path / "workspace").create("film", "Drawn people agreed.", "")
    side, rng = made.side("dst"), np.random.default_rng(3)
    side.frames_dir.mkdir(parents=True, exist_ok=True)
    side.aligned_dir.mkdir(parents=True, exist_ok=True)
    for index in range(FRAMES):
        image, landmarks = draw_face(160, rng)
        wide = np.concatenate([image, image[:, ::-1]], axis=1)
        name = f"{index + 1:05d}.png"
        if index != 2:
            add_face(side.aligned_dir, f"{index + 1:05d}_0.jpg", name, wide, landmarks)
        if index == 0:
            second, others = draw_face(160, rng)
            wide[:, 160:] = second
            add_face(side.aligned_dir, "00001_1.jpg", name, wide, others + np.array([160, 0]))
        cv2.imwrite(str(side.frames_dir / name), wide)
    return made


def run(project: Project, said: list | None = None, **settings):
    ctx = StageContext(project=project, job_dir=project.path, emit=lambda kind, data: (said or []).append(data))
    return merge.run(MergeSettings(**settings), ctx)


def merged(project: Project, number: int):
    return cv2.imread(str(project.merged_dir / f"{number:05d}.png"))


def frame(project: Project, number: int):
    return cv2.imread(str(project.side("dst").frames_dir / f"{number:05d}.png"))


def mask_of(project: Project, number: int):
    return cv2.imread(str(project.merged_mask_dir / f"{number:05d}.png"), cv2.IMREAD_UNCHANGED)


def test_all_frames_are_merged(project: Project, model: RedModel) -> None:
    result = run(project, color_transfer="none")
    assert (result["frames"], result["merged"], result["passed_through"], result["faces"]) == (6, 5, 1, 6)
    assert (result["seamless_failed"], result["iteration"], result["model"]) == (0, 7, "model")
    assert model.asked == 6
    assert np.array_equal(merged(project, 3), frame(project, 3))
    assert mask_of(project, 3).max() == 0
    for number in (1, 2, 4, 5, 6):
        inside = mask_of(project, number) == 255
        assert inside.sum() > 500
        assert merged(project, number)[inside][:, 2].mean() > 240
        untouched = mask_of(project, number) == 0
        assert np.array_equal(merged(project, number)[untouched], frame(project, number)[untouched])


def test_both_faces_of_a_frame_are_merged(project: Project, model: RedModel) -> None:
    run(project, color_transfer="none", last_frame=1)
    mask = mask_of(project, 1)
    assert (mask[:, :160] == 255).any()
    assert (mask[:, 160:] == 255).any()


def test_a_range_leaves_the_others_and_strangers_go(project: Project, model: RedModel) -> None:
    run(project, color_transfer="none")
    before = (project.merged_dir / "00006.png").stat().st_mtime_ns
    cv2.imwrite(str(project.merged_dir / "00099.png"), np.zeros((4, 4, 3), np.uint8))
    result = run(project, first_frame=2, last_frame=3, color_transfer="none")
    assert result["frames"] == 2
    assert (project.merged_dir / "00006.png").stat().st_mtime_ns == before
    assert not (project.merged_dir / "00099.png").exists()
    assert len(list(project.merged_dir.glob("*.png"))) == 6


def test_what_was_merged_is_written_down(project: Project, model: RedModel) -> None:
    run(project, model="anna", blur_mask=10)
    facts = json.loads((project.merged_dir / "merge.json").read_text())
    assert (facts["model"], facts["model_class"], facts["iteration"], facts["complete"]) == ("anna", "saehd", 7, True)
    assert facts["settings"]["blur_mask"] == 10
    assert not list(project.merged_dir.glob(".*part"))


def test_the_preview_of_a_frame_is_the_merged_frame(project: Project, model: RedModel) -> None:
    settings = MergeSettings(color_transfer="lct", erode_mask=10)
    run(project, **settings.model_dump())
    preview = merge.MergeSession(project, "model", "cpu").render(0, settings)
    assert np.array_equal(preview.after, merged(project, 1))
    assert np.array_equal(preview.mask, mask_of(project, 1))
    assert np.array_equal(preview.before, frame(project, 1))


def test_other_options_do_not_ask_the_model_again(project: Project, model: RedModel) -> None:
    session = merge.MergeSession(project, "model", "cpu")
    first = session.render(1, MergeSettings(color_transfer="none"))
    second = session.render(1, MergeSettings(color_transfer="none", erode_mask=60, face_scale=-20))
    assert model.asked == 1
    assert second.mask.sum() < first.mask.sum()
    session.render(3, MergeSettings())
    assert model.asked == 2
    with pytest.raises(BadInputError):
        session.render(FRAMES, MergeSettings())


def test_the_morph_reaches_the_model(project: Project, model: RedModel) -> None:
    run(project, color_transfer="none", morph_factor=0.4)
    assert model.morphs == [0.4] * 6
    assert json.loads((project.merged_dir / "merge.json").read_text())["settings"]["morph_factor"] == 0.4
    session = merge.MergeSession(project, "model", "cpu")
    for morph in (1.0, 0.25, 0.25):
        session.render(1, MergeSettings(morph_factor=morph))
    assert model.morphs[6:] == [1.0, 0.25]


@pytest.mark.parametrize("mode", ["overlay", "seamless"])
@pytest.mark.parametrize("mask_mode", ["full", "dst", "learned-prd", "learned-dst", "learned-prd*learned-dst"])
def test_every_mode_and_mask(project: Project, model: RedModel, mode: str, mask_mode: str) -> None:
    preview = merge.MergeSession(project, "model", "cpu").render(1, MergeSettings(mode=mode, mask_mode=mask_mode))
    assert preview.mask.max() == 255
    assert not np.array_equal(preview.after, preview.before)


def test_a_one_channel_model_merges(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge, "load_model", lambda project, name, device: RedModel(channels=1))
    assert run(project)["merged"] == 5


def test_a_stored_amp_model_merges_between_the_faces(project: Project) -> None:
    pytest.importorskip("torch")
    store_model(project, tiny_amp())
    session = merge.MergeSession(project, "tiny", "cpu")
    options: dict[str, Any] = {"model": "tiny", "mask_mode": "dst", "color_transfer": "none"}
    dst, half, src = (session.render(1, MergeSettings(**options, morph_factor=v)).after for v in (0.0, 0.5, 1.0))
    run(project, **options, morph_factor=0.5)
    assert np.array_equal(merged(project, 2), half)
    assert not np.array_equal(dst, half)
    assert not np.array_equal(half, src)


def test_what_is_missing_is_said(project: Project, model: RedModel) -> None:
    with pytest.raises(BadInputError, match="no frames from 7"):
        run(project, first_frame=7)
    for face in project.side("dst").aligned_dir.glob("*.jpg"):
        face.unlink()
    with pytest.raises(BadInputError, match="no destination faces"):
        run(project)
    for picture in project.side("dst").frames_dir.glob("*.png"):
        picture.unlink()
    with pytest.raises(BadInputError, match="no destination frames"):
        run(project)


def test_a_missing_model_is_said_before_anything_is_touched(project: Project) -> None:
    pytest.importorskip("torch")
    with pytest.raises(BadInputError, match="no trained model"):
        run(project, model="nobody", device="cpu")
    assert not list(project.merged_dir.glob("*")) if project.merged_dir.exists() else True


def test_a_stop_ends_between_frames(project: Project, model: RedModel) -> None:
    asked = SimpleNamespace(times=0)

    def stop() -> bool:
        asked.times += 1
        return asked.times > 3

    ctx = StageContext(project=project, job_dir=project.path, emit=lambda kind, data: None, stop_requested=stop)
    with pytest.raises(StopRequested):
        merge.run(MergeSettings(), ctx)
    assert json.loads((project.merged_dir / "merge.json").read_text())["complete"] is False
    assert len(list(project.merged_dir.glob("*.png"))) < FRAMES
