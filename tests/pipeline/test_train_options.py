"""Every option of training, through the stage: it trains, it is saved, and a resumed training goes on with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pytest
import torch

from backend.core.settings import MergeSettings, Quick96Settings, TrainSettings
from backend.models.registry import build_model
from backend.pipeline import merge
from backend.pipeline import train as stage
from backend.pipeline.predictor import load_model
from backend.storage.checkpoint import Generation, load_latest
from backend.storage.model_backups import list_backups
from backend.training import compiled
from backend.training.callbacks.checkpoint import CheckpointCallback
from backend.training.step import TrainStep
from tests.drawn_faces import BRUNO, draw_face
from tests.pipeline.merge_project import add_face
from tests.pipeline.stored_model import tiny_amp
from tests.pipeline.training_project import Watched, briskly, drawn_project, tiny_settings

ADVERSARIES = {"gan_power": 0.1, "gan_dims": 4, "true_face_power": 0.01}
STYLES = {"face_style_power": 0.001, "bg_style_power": 2.0}
SHORT = {"precision": "fp32", "device": "cpu", "seed": 5, "batch_size": 2, "preview_interval": 100}


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    briskly(monkeypatch)
    return Watched(drawn_project(tmp_path))


def newest(watched: Watched, name: str = "tiny") -> Generation:
    found = load_latest(watched.folder(name).generations_dir)
    assert found is not None
    return found


def same_checkpoints(one: Generation, two: Generation) -> bool:
    """Whether two checkpoints hold the same numbers to the last bit."""
    assert one.tensors.keys() == two.tensors.keys()
    equal = [
        torch.equal(value, two.tensors[name][key])
        for name, values in one.tensors.items()
        for key, value in values.items()
    ]
    return all(equal) and one.state.rest == two.state.rest and one.state.rng == two.state.rng


def in_two_runs(watched: Watched, first: int = 2, end: int = 4, **changes: Any) -> tuple[Generation, Generation]:
    """All iterations at once, and in two runs."""
    changes = {"preview_interval": 100, "batch_size": 1, **changes}
    stage.run(tiny_settings(model="whole", target_iterations=end, **changes), watched.context)
    for target in (first, end):
        stage.run(tiny_settings(target_iterations=target, **changes), watched.context)
    return newest(watched, "whole"), newest(watched)


def all_finite(watched: Watched, name: str = "tiny") -> bool:
    sets = newest(watched, name).tensors.values()
    losses = watched.folder(name).history()
    finite = all(bool(value.isfinite().all()) for values in sets for value in values.values())
    return finite and bool(np.isfinite([*losses.src, *losses.dst]).all())


@pytest.mark.parametrize(
    "changes",
    [
        {"accumulate": 2},
        {"warmup_iterations": 10, "clip_gradients": True},
        {"optimizer": "rmsprop", "lr_dropout": True},
        {"optimizer": "adamw", "weight_decay": 0.1},
        {"optimizer": "adam", "beta_1": 0.5, "autoclip": True, "autoclip_history": 3},
        {"optimizer": "lion", "lr_schedule": "decay", "lr_decay_every": 1},
        {"channels": 1, "color_transfer": "sot"},
        {"random_hsv_power": 0.1, "random_src_flip": True, "blur_out_mask": True, "eyes_mouth_priority": True},
        {"masked_training": False, "random_warp": False, "archi": "liae-ud"},
        {"color_lightness": 30, "color_ab": 8, "color_clahe_chance": 50, "random_hsv_power": 0.05, "src_scale": -10},
        {"warp_to_landmarks": True, "sort_by_yaw": True, "uniform_yaw": True, "src_scale": 10},
        {"channels": 1, "color_lightness": 30, "color_clahe_chance": 50, "warp_to_landmarks": True},
        {"archi": "liae", **STYLES, "gan_power": 0.1, "gan_dims": 4, "gan_patch_size": 16, "masked_training": False},
    ],
    ids="-".join,
)
def test_a_resumed_training_goes_on_with(watched: Watched, changes: dict[str, Any]) -> None:
    whole, parts = in_two_runs(watched, **changes)
    assert same_checkpoints(whole, parts)
    assert all_finite(watched)
    begun = build_model(tiny_settings(**changes), tiny_settings().seed).state_dict()
    assert not all(torch.equal(value, begun[key]) for key, value in parts.weights.items())


def test_a_training_ends_with_a_whole_optimiser_step(watched: Watched) -> None:
    whole, parts = in_two_runs(watched, first=3, end=6, accumulate=2, gan_power=0.1, gan_dims=4)
    assert same_checkpoints(whole, parts)
    assert parts.state.rest["optimizer"]["optimizer"]["param_groups"][0]["iterations"] == 3
    info = watched.folder().info()
    assert info is not None
    assert [(run.first_iteration, run.last_iteration) for run in info.sessions] == [(0, 4), (4, 6)]


def test_nothing_is_saved_in_the_middle_of_an_optimiser_step(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wishes wait for its end: here they come before every batch."""
    real = TrainStep.__call__

    def step(*arguments: Any) -> Any:
        watched.requests[:] = ["save", "backup"]
        return real(*arguments)

    monkeypatch.setattr(TrainStep, "__call__", step)
    stage.run(tiny_settings(target_iterations=6, accumulate=3), watched.context)
    told = [(data["what"], data["iteration"]) for kind, data in watched.events if kind == "milestone"]
    assert {at for what, at in told if what in ("saved", "backup")} == {0, 3, 6}
    assert ("backup", 3) in told


@pytest.mark.parametrize("interval", [0.0, 1e9])
def test_a_wish_is_fulfilled_whenever_losses_are_told(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, interval: float
) -> None:
    """Losses that are told in the middle of an optimiser step are told again at its end."""
    watched.requests.append("save")
    clock = iter([0.0, 1e12])
    monkeypatch.setattr("backend.training.loop.READ_INTERVAL_S", interval)
    real = CheckpointCallback.on_losses
    seen: list[int] = []

    def on_losses(callback: CheckpointCallback, training: Any, rows: Any) -> None:
        seen.append(training.iteration)
        monkeypatch.setattr("backend.training.loop.READ_INTERVAL_S", next(clock, 1e12))
        real(callback, training, rows)

    monkeypatch.setattr(CheckpointCallback, "on_losses", on_losses)
    stage.run(tiny_settings(target_iterations=6, accumulate=3), watched.context)
    assert seen == ([1, 2, 3, 6] if interval == 0.0 else [6])


def test_annealing_goes_on_after_an_interruption(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {"target_iterations": 4, "lr_schedule": "anneal", "optimizer": "lion", "preview_interval": 100}
    stage.run(tiny_settings(model="whole", **changes), watched.context)
    with monkeypatch.context() as patched:
        stop_after(patched, watched, 2)
        with pytest.raises(stage.StopRequested):
            stage.run(tiny_settings(**changes), watched.context)
    watched.stop = False
    assert newest(watched).state.iteration == 2
    stage.run(tiny_settings(**changes), watched.context)
    assert same_checkpoints(newest(watched, "whole"), newest(watched))
    stage.run(tiny_settings(**{**changes, "target_iterations": 5}), watched.context)
    assert newest(watched).state.rng["annealing"] == [5, 4]


def stop_after(monkeypatch: pytest.MonkeyPatch, watched: Watched, steps: int) -> None:
    """Let the user ask to stop in the middle of a step."""
    real = TrainStep.__call__
    done: list[int] = []

    def step(*arguments: Any) -> Any:
        done.append(1)
        watched.stop = len(done) >= steps
        return real(*arguments)

    monkeypatch.setattr(TrainStep, "__call__", step)


def test_everything_at_once_is_the_same_in_two_runs(watched: Watched) -> None:
    changes = {"lr_dropout": True, "uniform_yaw": True, "color_transfer": "rct", "average_weights": True}
    whole, parts = in_two_runs(watched, **changes, **ADVERSARIES, **STYLES, random_hsv_power=0.05)
    assert {"weights", "optimizer", "average", "gan", "gan_optimizer", "true_face"} <= parts.tensors.keys()
    assert same_checkpoints(whole, parts)
    np.testing.assert_array_equal(watched.folder().history().src, watched.folder("whole").history().src)


@pytest.mark.parametrize(
    ("changes", "moves"), [({"warmup_iterations": 10_000}, 1e-4), ({"lr_dropout": True}, 0.3), ({"accumulate": 3}, 1.0)]
)
def test_how_much_moves_in_the_first_step(watched: Watched, changes: dict[str, Any], moves: float) -> None:
    """Lion moves every weight by the rate, so that the mean step tells what else has a say in it."""
    settings = tiny_settings(target_iterations=1, optimizer="lion", learning_rate=1e-3, **changes)
    stage.run(settings, watched.context)
    begun = build_model(settings, settings.seed).state_dict()
    steps = [(value - begun[key]).abs().flatten() for key, value in part_of(newest(watched), "encoder").items()]
    assert float(torch.cat(steps).mean()) / 1e-3 == pytest.approx(moves, rel=0.1)


def part_of(checkpoint: Generation, name: str) -> dict[str, torch.Tensor]:
    return {key: value for key, value in checkpoint.weights.items() if key.startswith(f"{name}.")}


def test_discriminators_are_kept_while_they_are_off(watched: Watched) -> None:
    stage.run(tiny_settings(target_iterations=2, **ADVERSARIES, **STYLES), watched.context)
    begun = newest(watched)
    terms = watched.folder().terms.records()
    for name in ("gan", "gan_d", "true_face", "true_face_d", "style"):
        assert np.isfinite(terms[name]).all(), name
    assert begun.state.rest["gan_optimizer"]["optimizer"]["param_groups"][0]["iterations"] == 2
    stage.run(tiny_settings(target_iterations=3), watched.context)
    assert np.isnan(watched.folder().terms.records()["gan"][-1])
    for name in ("gan", "gan_optimizer", "true_face"):
        kept = newest(watched).tensors[name]
        assert all(torch.equal(value, kept[key]) for key, value in begun.tensors[name].items())
    stage.run(tiny_settings(target_iterations=4, **ADVERSARIES), watched.context)
    after = newest(watched)
    assert after.state.rest["gan_optimizer"]["optimizer"]["param_groups"][0]["iterations"] == 3
    assert not all(torch.equal(value, after.tensors["gan"][key]) for key, value in begun.tensors["gan"].items())


def test_another_optimiser_begins_at_its_first_step(watched: Watched) -> None:
    stage.run(tiny_settings(target_iterations=2), watched.context)
    stage.run(tiny_settings(target_iterations=3, optimizer="lion"), watched.context)
    assert "optimiser changed from adabelief to lion" in watched.text
    found = newest(watched)
    assert {name.partition("/")[2] for name in found.tensors["optimizer"]} == {"momentum"}
    assert found.state.rest["optimizer"]["optimizer"]["param_groups"][0]["iterations"] == 1


def test_a_discriminator_of_another_size_begins_anew(watched: Watched) -> None:
    stage.run(tiny_settings(target_iterations=1, gan_power=0.1, gan_dims=4), watched.context)
    stage.run(tiny_settings(target_iterations=2, gan_power=0.1, gan_dims=6), watched.context)
    assert "size of the discriminator 'gan' changed" in watched.text


def test_the_average_is_saved_shown_and_swapped_with(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    real = stage.PreviewCallback._draw

    def draw(callback: Any, training: Any) -> None:
        shown.append((training.step.shown_model, training.step.model))
        real(callback, training)

    monkeypatch.setattr(stage.PreviewCallback, "_draw", draw)
    stage.run(tiny_settings(average_weights=True, learning_rate=1e-3), watched.context)
    assert all(average is not model for average, model in shown)
    found = newest(watched)
    predictor = load_model(watched.project, "tiny", "cpu")
    used = predictor.model.state_dict()
    assert all(torch.equal(value, used[key]) for key, value in found.tensors["average"].items())
    assert not all(torch.equal(value, used[key]) for key, value in found.weights.items())
    assert found.state.rest["average"] == 3
    stage.run(tiny_settings(target_iterations=4), watched.context)
    assert "average" not in newest(watched).tensors


def test_noise_needs_no_faces(tmp_path: Path) -> None:
    watched = Watched(drawn_project(tmp_path, faces=0))
    result = stage.run(tiny_settings(synthetic=True, holdout_every=2), watched.context)
    assert (result["iteration"], result.get("ssim_src")) == (3, None)
    warnings = [data["message"] for kind, data in watched.events if kind == "log" and data["level"] == "warning"]
    assert any("noise instead of faces" in message for message in warnings)


def test_backups_by_the_clock_and_on_request(watched: Watched) -> None:
    watched.requests.append("backup")
    stage.run(tiny_settings(target_iterations=2), watched.context)
    assert [backup.iteration for backup in list_backups(watched.folder())] == [1]
    stage.run(tiny_settings(target_iterations=5, backup_every_h=1e-9, backups_kept=2), watched.context)
    assert [backup.iteration for backup in list_backups(watched.folder())] == [5, 4]
    told = [data["iteration"] for kind, data in watched.events if kind == "milestone" and data["what"] == "backup"]
    assert told == [1, 3, 4, 5]


def test_event_files_for_tensorboard(watched: Watched) -> None:
    pytest.importorskip("tensorboardX")
    stage.run(tiny_settings(target_iterations=2), watched.context)
    folder = watched.folder().path / "tensorboard"
    assert not folder.exists()
    stage.run(tiny_settings(target_iterations=3, tensorboard=True), watched.context)
    [file] = folder.iterdir()
    assert b"loss/src" in file.read_bytes()


@pytest.mark.parametrize("channels", [1, 3])
def test_amp(watched: Watched, channels: int) -> None:
    settings = tiny_amp(**SHORT, channels=channels, target_iterations=2, gan_power=0.1 if channels == 3 else 0.0)
    stage.run(settings, watched.context)
    stage.run(settings.model_copy(update={"target_iterations": 3}), watched.context)
    assert all_finite(watched)
    assert np.isfinite(watched.folder().terms.records()["background_dst"]).all()
    assert {data["name"] for kind, data in watched.events if kind == "preview"} == {"faces", "masked", "morph"}
    merge_a_frame(watched, "tiny")


@pytest.mark.parametrize("channels", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_quick96(watched: Watched, channels: Literal[1, 3]) -> None:
    settings = Quick96Settings(
        **{**SHORT, "model": "quick", "batch_size": 1, "channels": channels, "target_iterations": 2}
    )
    stage.run(settings, watched.context)
    assert all_finite(watched, "quick")
    merge_a_frame(watched, "quick")


@pytest.mark.slow
@pytest.mark.parametrize("first", [2, 3])
def test_quick96_goes_on_with_the_batch_it_takes_again(watched: Watched, first: int) -> None:
    """The fourth iteration takes the third one's batch; so does one that begins a run."""
    settings = Quick96Settings(**{**SHORT, "batch_size": 1, "channels": 1})
    for model, target in (("whole", 4), ("parts", first), ("parts", 4)):
        stage.run(settings.model_copy(update={"model": model, "target_iterations": target}), watched.context)
    assert same_checkpoints(newest(watched, "whole"), newest(watched, "parts"))
    assert newest(watched, "parts").state.rng["drawn"] == [3, 3]


def test_a_grayscale_model_merges(watched: Watched) -> None:
    stage.run(tiny_settings(channels=1, target_iterations=1), watched.context)
    merge_a_frame(watched, "tiny")


def merge_a_frame(watched: Watched, model: str) -> None:
    """Draw a frame of the destination, and let the trained model replace its face."""
    side = watched.project.side("dst")
    for path in side.aligned_dir.glob("*.jpg"):
        path.unlink()
    image, landmarks = draw_face(160, np.random.default_rng(3), BRUNO)
    side.frames_dir.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(side.frames_dir / "00001.png"), image)
    add_face(side.aligned_dir, "00001_0.jpg", "00001.png", image, landmarks, None)
    result = merge.run(MergeSettings(model=model, mask_mode="dst", color_transfer="none"), watched.context)
    assert (result["merged"], result["faces"]) == (1, 1)
    merged = cv2.imread(str(watched.project.merged_dir / "00001.png"))
    mask = cv2.imread(str(watched.project.merged_mask_dir / "00001.png"), cv2.IMREAD_UNCHANGED)
    assert not np.array_equal(merged[mask == 255], image[mask == 255])
    assert np.array_equal(merged[mask == 0], image[mask == 0])


def test_without_a_compiler_the_plain_network_trains(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "_missing", lambda device: "there is no compiler")
    assert stage.run(tiny_settings(compile=True), watched.context)["iteration"] == 3
    assert watched.text.count("The network was not compiled: there is no compiler.") == 1


@pytest.mark.slow
def test_a_compiled_network_learns_the_same_and_shares_checkpoints(watched: Watched) -> None:
    def settings(model: str, target: int, compiles: bool) -> TrainSettings:
        return tiny_settings(model=model, target_iterations=target, compile=compiles, average_weights=True)

    if compiled._missing(torch.device("cpu")):
        pytest.skip("there is no C++ compiler")
    stage.run(settings("plain", 4, False), watched.context)
    for target, compiles in ((2, True), (3, False), (4, True)):
        stage.run(settings("tiny", target, compiles), watched.context)
    plain, mixed = newest(watched, "plain"), newest(watched)
    assert plain.tensors.keys() == mixed.tensors.keys()
    assert plain.weights.keys() == mixed.weights.keys()
    np.testing.assert_allclose(watched.folder().history().src, watched.folder("plain").history().src, rtol=1e-3)
    assert "not compiled" not in watched.text
