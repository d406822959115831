from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from backend.core.errors import BadInputError, MemoryShortError, ModelBusyError, StopRequested
from backend.core.faces import FaceType
from backend.pipeline import train as stage
from backend.pipeline.predictor import load_model
from backend.storage.checkpoint import generations, load_latest
from backend.storage.face_pack import pack_faceset
from backend.training.objective import Losses, SaehdObjective
from backend.training.step import TrainStep
from tests.drawn_faces import write_faceset
from tests.pipeline.training_project import Watched, drawn_project, tiny_settings


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(drawn_project(tmp_path))


def newest_weights(watched: Watched, name: str = "tiny") -> dict[str, torch.Tensor]:
    found = load_latest(watched.folder(name).generations_dir)
    assert found is not None
    return found.weights


def test_a_run_leaves_checkpoint_curve_previews_and_figures(watched: Watched) -> None:
    result = stage.run(tiny_settings(holdout_every=6, d_mask_dims=0), watched.context)
    folder = watched.folder()
    assert result["iteration"] == 3
    assert result["reason"] == "target"
    assert 0 < result["ssim_src"] < 1
    assert 0 < result["ssim_dst"] < 1
    assert result["src_loss"] > 0
    assert {"images_per_s", "step_s", "peak_memory_mb", "took_s", "dst_loss"} <= result.keys()
    info = folder.info()
    assert info is not None
    assert (info.iteration, len(info.sessions)) == (3, 1)
    assert (info.settings["d_dims"], info.settings["d_mask_dims"]) == (16, 6)
    assert folder.history().iteration.tolist() == [1, 2, 3]
    assert [p.name for p in generations(folder.generations_dir)] == ["000000000-0", "000000003-0"]
    assert [p.name for p in folder.previews()] == ["0000000_faces.jpg", "0000002_faces.jpg", "0000003_faces.jpg"]
    assert watched.kinds["preview"] == 6
    assert watched.kinds["metric"] >= 1
    last = [data for kind, data in watched.events if kind == "preview"][-1]
    image = cv2.imread(str(watched.context.job_dir / last["path"]))
    assert image.shape == (20 + 4 * 64, 5 * 64, 3)
    assert folder.owner() is None


def test_resuming_is_the_same_as_never_stopping(watched: Watched) -> None:
    stage.run(tiny_settings(model="whole", target_iterations=5), watched.context)
    stage.run(tiny_settings(target_iterations=2), watched.context)
    stage.run(tiny_settings(target_iterations=5, seed=0), watched.context)
    assert "Going on from iteration 2." in watched.text
    whole, parts = newest_weights(watched, "whole"), newest_weights(watched)
    assert all(torch.allclose(parts[name], value, atol=1e-6) for name, value in whole.items())
    one, two = watched.folder("whole").history(), watched.folder().history()
    assert two.iteration.tolist() == [1, 2, 3, 4, 5]
    np.testing.assert_allclose(two.src, one.src, rtol=1e-4)
    info = watched.folder().info()
    assert info is not None
    assert [(s.first_iteration, s.last_iteration) for s in info.sessions] == [(0, 2), (2, 5)]


def test_losses_beyond_the_checkpoint_are_forgotten(watched: Watched) -> None:
    stage.run(tiny_settings(target_iterations=2), watched.context)
    watched.folder().losses.append([(3, 9.0, 9.0, 0.0), (4, 9.0, 9.0, 0.0)])
    stage.run(tiny_settings(target_iterations=4), watched.context)
    curve = watched.folder().history()
    assert curve.iteration.tolist() == [1, 2, 3, 4]
    assert curve.src[-1] < 9.0


def test_stop_saves_first(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    real = TrainStep.__call__

    def step(self: TrainStep, *batch: Any) -> Any:
        watched.stop = True
        return real(self, *batch)

    monkeypatch.setattr(TrainStep, "__call__", step)
    with pytest.raises(StopRequested):
        stage.run(tiny_settings(target_iterations=0), watched.context)
    info = watched.folder().info()
    assert info is not None
    assert info.iteration == 1


def test_save_now_and_time_limit(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.training.loop.READ_INTERVAL_S", 0.0)
    watched.requests.append("save")
    result = stage.run(tiny_settings(target_iterations=0, time_limit_min=0.005), watched.context)
    assert result["reason"] == "time limit"
    assert "Saved iteration 1," in watched.text


def test_second_training_is_refused_with_the_owner(watched: Watched) -> None:
    with watched.folder().lock("job 0001"), pytest.raises(ModelBusyError, match="job 0001"):
        stage.run(tiny_settings(), watched.context)


def test_one_channel_from_loader_to_prediction(watched: Watched) -> None:
    stage.run(tiny_settings(channels=1, random_warp=False, eyes_mouth_priority=True), watched.context)
    predictor = load_model(watched.project, "tiny", "cpu")
    made = predictor.predict(np.random.default_rng(0).random((64, 64, 3), np.float32))
    assert made.face.shape == (64, 64, 1)
    assert made.mask.shape == made.dst_mask.shape == (64, 64)


def test_predictor_swaps_and_knows_where_it_came_from(watched: Watched) -> None:
    stage.run(tiny_settings(target_iterations=1), watched.context)
    predictor = load_model(watched.project, "tiny", "cpu")
    crops = list(np.random.default_rng(0).random((2, 64, 64, 3), np.float32))
    both = predictor.predict_batch(crops)
    assert both[0].face.shape == (64, 64, 3)
    assert both[0].face.dtype == np.float32
    np.testing.assert_allclose(predictor.predict(crops[1]).face, both[1].face, atol=1e-5)
    assert (predictor.iteration, predictor.resolution) == (1, 64)
    assert predictor.provenance.model == "tiny"
    assert predictor.provenance.iteration == 1
    assert predictor.provenance.consent.startswith("Nobody")
    with pytest.raises(ValueError, match="takes"):
        predictor.predict(np.zeros((32, 32, 3), np.float32))
    with pytest.raises(BadInputError, match="no trained model 'other'"):
        load_model(watched.project, "other", "cpu")


@pytest.mark.parametrize("change", [{"resolution": 96}, {"channels": 1}, {"archi": "liae"}])
def test_another_network_under_the_same_name_is_refused(watched: Watched, change: dict[str, Any]) -> None:
    stage.run(tiny_settings(target_iterations=1), watched.context)
    with pytest.raises(BadInputError, match=f"{next(iter(change))}.*another model name"):
        stage.run(tiny_settings(**change), watched.context)


def test_another_optimizer_begins_with_a_fresh_state(watched: Watched) -> None:
    stage.run(tiny_settings(target_iterations=1), watched.context)
    assert stage.run(tiny_settings(target_iterations=2, optimizer="rmsprop"), watched.context)["iteration"] == 2


@pytest.mark.parametrize(("faces", "sentence"), [(0, "no src faces"), (3, "only 3 src faces")])
def test_too_few_faces_are_refused(tmp_path: Path, faces: int, sentence: str) -> None:
    watched = Watched(drawn_project(tmp_path, faces))
    with pytest.raises(BadInputError, match=f"{sentence}.*Extract tab"):
        stage.run(tiny_settings(), watched.context)


def test_packed_faces_have_to_be_unpacked_first(tmp_path: Path) -> None:
    project = drawn_project(tmp_path)
    faceset = project.side("dst").faceset()
    pack_faceset(faceset, faceset.folder / "faceset.pak")
    faceset.trash(faceset.names())
    with pytest.raises(BadInputError, match=r"All dst faces are in faceset\.pak\. Unpack it"):
        stage.run(tiny_settings(), Watched(project).context)


def test_a_corrupt_face_is_skipped_and_listed(watched: Watched) -> None:
    path = watched.project.side("src").aligned_dir / "00002_0.jpg"
    path.write_bytes(path.read_bytes()[:900])
    assert stage.run(tiny_settings(target_iterations=1), watched.context)["iteration"] == 1
    assert "00002_0.jpg was left out" in watched.text
    assert "5 src faces to train on, 0 held out, 1 left out" in watched.text


def test_a_target_that_was_reached_before_is_told(watched: Watched) -> None:
    stage.run(tiny_settings(target_iterations=2), watched.context)
    assert "nothing was trained" not in watched.text
    stage.run(tiny_settings(target_iterations=1), watched.context)
    assert "at iteration 2 and its target is 1; nothing was trained" in watched.text


def test_a_flipped_byte_resumes_from_the_checkpoint_before(watched: Watched) -> None:
    stage.run(tiny_settings(target_iterations=2), watched.context)
    newest = generations(watched.folder().generations_dir)[-1] / "weights.safetensors"
    data = bytearray(newest.read_bytes())
    data[-1] ^= 1
    newest.write_bytes(bytes(data))
    result = stage.run(tiny_settings(target_iterations=2), watched.context)
    assert result["iterations_done"] == 2
    assert "000000002-0 was passed over: weights.safetensors fails its checksum" in watched.text
    assert watched.folder().history().iteration.tolist() == [1, 2]


def test_a_batch_that_cannot_fit_is_refused_before_it_starts(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.training.memory.free_bytes", lambda device: 300 << 20)
    with pytest.raises(MemoryShortError, match=r"batch of 512 does not fit.*Try a batch size of \d+"):
        stage.run(tiny_settings(batch_size=512), watched.context)


def test_running_out_of_memory_proposes_a_smaller_batch(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: TrainStep, *batch: Any) -> Any:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")

    monkeypatch.setattr(TrainStep, "__call__", fail)
    with pytest.raises(MemoryShortError, match="Try a batch size of 1"):
        stage.run(tiny_settings(), watched.context)
    assert watched.folder().owner() is None


def test_losses_that_stay_infinite_roll_the_model_back(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    real = SaehdObjective.__call__
    steps: list[int] = []

    def losses(self: SaehdObjective, *given: Any) -> Losses:
        steps.append(1)
        found = real(self, *given)
        broken = len(steps) > 2 and "back to iteration" not in watched.text
        return replace(found, src=found.src * float("nan")) if broken else found

    monkeypatch.setattr(SaehdObjective, "__call__", losses)
    monkeypatch.setattr("backend.training.loop.READ_INTERVAL_S", 0.0)
    result = stage.run(tiny_settings(target_iterations=14, preview_interval=100), watched.context)
    assert "back to iteration 0, and on with the learning rate halved to 2.5e-05" in watched.text
    assert result["iteration"] == 14
    assert result["skipped"] == 10
    assert len(steps) == 2 + 10 + 14
    assert watched.folder().history().iteration.tolist() == list(range(1, 15))


def test_narrow_faces_are_refused_for_a_wide_model(watched: Watched) -> None:
    aligned = watched.project.side("dst").aligned_dir
    for path in write_faceset(aligned, 6, size=64, face_type=FaceType.FULL):
        assert path.exists()
    with pytest.raises(BadInputError, match="dst faces show less than the model needs"):
        stage.run(tiny_settings(), watched.context)
