from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from backend.core.errors import BadInputError, StopRequested
from backend.core.faces import Detection, Face, FaceType
from backend.core.settings import AmpSettings, EvaluateSettings, Quick96Settings, TrainSettings
from backend.pipeline import evaluate as stage
from backend.pipeline import evaluate_swap
from backend.pipeline import train as train_stage
from backend.pipeline.evaluate_swap import PointFinder, PointPair, consecutive, in_frames, swap_figures
from backend.storage.evaluation import read_evaluation
from tests.drawn_faces import ANNA, BRUNO, draw_face, write_faceset
from tests.pipeline.training_project import Watched, drawn_project, tiny_settings


class OneFace:
    """Sees a face wherever a picture is not flat, at a place that depends on its brightness."""

    name = "one-face"

    def detect(self, frame_bgr: np.ndarray) -> list[Detection]:
        if frame_bgr.std() < 8:
            return []
        return [Detection(np.array([0, 0, 64, 64], np.float32), 1.0)]

    def landmarks(self, frame_bgr: np.ndarray, detection: Detection) -> np.ndarray:
        _, points = draw_face(len(frame_bgr), np.random.default_rng(4))
        return (points + frame_bgr.mean() / 50).astype(np.float32)


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    monkeypatch.setattr(stage, "build_finder", lambda device, ctx: PointFinder(OneFace(), OneFace()))
    return Watched(drawn_project(tmp_path, faces=8))


def trained(watched: Watched, settings: TrainSettings) -> None:
    train_stage.run(settings, watched.context)
    watched.events.clear()


def by_name(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in found["rows"]}


def test_a_table_and_a_picture_of_held_out_faces(watched: Watched) -> None:
    trained(watched, tiny_settings(holdout_every=3))
    found = stage.run(EvaluateSettings(model="tiny", rows=2, device="cpu"), watched.context)
    json.dumps(found, allow_nan=False)
    assert (found["faces_src"], found["faces_dst"], found["held_out"], found["note"]) == (3, 3, True, "")
    assert (found["model"], found["iteration"]) == ("tiny", 3)
    rows = by_name(found)
    for name in ("SSIM, cut by the mask", "SSIM inside the mask", "PSNR inside the mask", "mask overlap (IoU)"):
        assert rows[name]["src"] is not None
        assert rows[name]["dst"] is not None
        assert rows[name]["swap"] is None
    for name in ("pose error", "expression error", "swaps without a face", "jitter", "jitter against dst"):
        assert rows[name]["swap"] is not None
    assert rows["jitter"]["dst"] > 0
    shown = [data for kind, data in watched.events if kind == "preview"]
    assert [data["name"] for data in shown] == ["evaluation"]
    image = cv2.imread(str(watched.context.job_dir / shown[0]["path"]))
    assert image.shape == (20 + 2 * 64, 5 * 64, 3)
    kept = read_evaluation(watched.folder().path)
    assert kept is not None
    assert kept[0] == found
    assert kept[1] is not None


def test_without_held_out_faces_it_says_so(watched: Watched) -> None:
    trained(watched, tiny_settings(channels=1))
    found = stage.run(EvaluateSettings(model="tiny", faces=5, jitter_frames=0, device="cpu"), watched.context)
    assert not found["held_out"]
    assert "has seen these faces" in found["note"]
    assert "has seen these faces" in watched.text
    assert found["faces_src"] == 5
    assert by_name(found)["jitter"]["swap"] is None


def test_faces_that_an_earlier_run_may_have_trained_on_are_doubted(watched: Watched) -> None:
    trained(watched, tiny_settings())
    trained(watched, tiny_settings(holdout_every=4, target_iterations=4))
    found = stage.run(EvaluateSettings(model="tiny", jitter_frames=0, device="cpu"), watched.context)
    assert found["held_out"]
    assert found["note"] == stage.MAY_HAVE_SEEN
    assert stage.MAY_HAVE_SEEN in watched.text


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(
            Quick96Settings(model="tiny", batch_size=1, target_iterations=1, precision="fp32", device="cpu", seed=1),
            marks=pytest.mark.slow,
        ),
        AmpSettings(
            model="tiny", resolution=64, ae_dims=32, inter_dims=32, e_dims=16, d_dims=16, d_mask_dims=4, batch_size=2,
            target_iterations=1, precision="fp32", device="cpu", seed=1,
        ),
    ],
    ids=lambda settings: settings.model_class,
)  # fmt: skip
def test_the_other_model_classes(watched: Watched, settings: TrainSettings) -> None:
    for side, person in (("src", ANNA), ("dst", BRUNO)):
        write_faceset(watched.project.side(side).aligned_dir, 8, person, size=64)
    trained(watched, settings)
    found = stage.run(EvaluateSettings(model="tiny", rows=1, device="cpu"), watched.context)
    assert by_name(found)["SSIM inside the mask"]["src"] is not None


def test_it_can_be_stopped_and_keeps_the_last_evaluation(watched: Watched) -> None:
    trained(watched, tiny_settings(target_iterations=1))
    first = stage.run(EvaluateSettings(model="tiny", device="cpu"), watched.context)
    watched.stop = True
    with pytest.raises(StopRequested):
        stage.run(EvaluateSettings(model="tiny", device="cpu"), watched.context)
    kept = read_evaluation(watched.folder().path)
    assert kept is not None
    assert kept[0] == first


def test_an_unknown_model_is_named(watched: Watched) -> None:
    with pytest.raises(BadInputError, match="no trained model 'other'"):
        stage.run(EvaluateSettings(model="other", device="cpu"), watched.context)


def face_in(frame: str, points: np.ndarray) -> Face:
    return Face(frame, np.zeros(4, np.int64), points, points, None, FaceType.WHOLE)


def test_the_longest_run_of_frames_is_taken_from_its_middle() -> None:
    points = np.zeros((68, 2))
    names = ["00009.png", "00001.png", "00002.png", "00004.png", "00005.png", "00006.png", "00005.png", "x.png"]
    listed = [(i, face_in(name, points)) for i, name in enumerate(names)]
    assert [entry for entry, _ in consecutive(listed, 9)] == [3, 4, 5]
    assert [entry for entry, _ in consecutive(listed, 1)] == [4]
    assert consecutive(listed[-1:], 9) == []


def test_points_go_back_to_the_frame_they_came_from() -> None:
    _, points = draw_face(256, np.random.default_rng(1))
    matrix = evaluate_swap.face_matrix(points, 64, FaceType.WHOLE)
    crop = evaluate_swap.transform_points(points, matrix)
    pairs = [PointPair(crop, crop + 1), PointPair(crop, None)]
    dst, swap = in_frames(pairs, [face_in("1.png", points)] * 2, 64, FaceType.WHOLE)
    assert dst[0] == pytest.approx(points, abs=1e-6)
    assert swap[0] is not None
    assert dst[1] is swap[1] is None


def test_misses_are_counted_and_a_blind_landmarker_says_nothing_of_expressions() -> None:
    _, points = draw_face(64, np.random.default_rng(1))
    pairs = [PointPair(points, points), PointPair(points, None), PointPair(None, None)]
    figures = swap_figures(pairs, ([], []), 64, blind=False)
    assert (figures.missed, figures.expression, figures.pose_deg) == (0.5, 0, pytest.approx(0, abs=1e-3))
    assert swap_figures(pairs, ([], []), 64, blind=True).expression is None
    assert swap_figures(pairs[2:], ([], []), 64, blind=False).missed is None


def test_the_finder_gives_points_in_pixels_of_the_crop() -> None:
    class Centre(OneFace):
        def landmarks(self, frame_bgr: np.ndarray, detection: Detection) -> np.ndarray:
            return np.full((68, 2), (len(frame_bgr) - 1) / 2, np.float32)

    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    points = PointFinder(Centre(), Centre())(noise)
    assert points is not None
    assert points[0] == pytest.approx([47.5, 47.5], abs=0.1)
    assert PointFinder(Centre(), Centre())(np.full((96, 96, 3), 90, np.uint8)) is None
