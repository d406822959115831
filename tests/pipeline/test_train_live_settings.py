"""Settings that are changed while the stage trains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backend.core.settings import TrainSettings
from backend.pipeline import train as stage
from backend.storage.checkpoint import Generation, load_latest
from backend.training.callbacks import live
from backend.training.step import TrainStep
from tests.pipeline.training_project import Watched, briskly, drawn_project, tiny_settings

Plan = Mapping[int, dict[str, Any]]
"""After which iteration of the run -> what the user changes then."""


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    briskly(monkeypatch)
    monkeypatch.setattr(live, "INTERVAL_S", 0.0)
    return Watched(drawn_project(tmp_path))


def run(watched: Watched, settings: TrainSettings, plan: Plan) -> dict[str, Any]:
    asked = iter(range(1, 1000))
    return stage.run(settings, replace(watched.context, take_changes=lambda: plan.get(next(asked), {})))


def told(watched: Watched) -> list[dict[str, Any]]:
    return [data for kind, data in watched.events if kind == "milestone" and data["what"] == "settings"]


def warnings(watched: Watched) -> str:
    found = [data for kind, data in watched.events if kind == "log" and data["level"] == "warning"]
    return "\n".join(data["message"] for data in found)


def rates(watched: Watched) -> list[float]:
    return [data["learning_rate"] for kind, data in watched.events if kind == "metric"]


def newest(watched: Watched) -> Generation:
    found = load_latest(watched.folder().generations_dir)
    assert found is not None
    return found


def test_rate_and_gan_take_effect_at_once_and_are_kept(watched: Watched) -> None:
    plan = {2: {"learning_rate": 1e-3, "gan_power": 0.2, "true_face_power": 0.01}, 3: {"pixel_weight": 0.0}}
    run(watched, tiny_settings(optimizer="lion", target_iterations=5, gan_dims=4), plan)
    assert rates(watched) == pytest.approx([5e-5, 5e-5, 1e-3, 1e-3, 1e-3])
    first, second = told(watched)
    assert first["iteration"] == 2
    assert "learning_rate 5e-05 -> 0.001" in first["message"]
    assert "gan_power 0.0 -> 0.2" in first["message"]
    assert (first["settings"]["gan_power"], second["settings"]["pixel_weight"]) == (0.2, 0.0)
    terms = watched.folder().terms.records()
    assert [value > 0 for value in terms["gan"]] == [False, False, True, True, True]
    assert [value > 0 for value in terms["true_face_d"]] == [False, False, True, True, True]
    assert [value > 0 for value in terms["pixel_src"]] == [True, True, True, False, False]
    info = watched.folder().info()
    assert info is not None
    assert (info.settings["learning_rate"], info.settings["gan_power"]) == (1e-3, 0.2)
    found = newest(watched)
    assert found.state.rest["gan_optimizer"]["optimizer"]["param_groups"][0]["iterations"] == 3
    assert found.state.info.settings["gan_power"] == 0.2


def test_a_discriminator_that_comes_back_goes_on_where_it_was(watched: Watched) -> None:
    settings = tiny_settings(target_iterations=6, gan_power=0.2, gan_dims=4)
    run(watched, settings, {2: {"gan_power": 0.0}, 4: {"gan_power": 0.1}})
    terms = watched.folder().terms.records()
    assert [value > 0 for value in terms["gan"]] == [True, True, False, False, True, True]
    assert newest(watched).state.rest["gan_optimizer"]["optimizer"]["param_groups"][0]["iterations"] == 4
    quiet = settings.model_copy(update={"target_iterations": 9, "gan_power": 0.0})
    run(watched, quiet, {2: {"gan_power": 0.1}})
    assert newest(watched).state.rest["gan_optimizer"]["optimizer"]["param_groups"][0]["iterations"] == 5


def test_styles_and_target_change(watched: Watched) -> None:
    plan = {1: {"bg_style_power": 2.0}, 2: {"bg_style_power": 0.0, "target_iterations": 3}}
    assert run(watched, tiny_settings(target_iterations=0), plan)["reason"] == "target"
    assert [value > 0 for value in watched.folder().terms.records()["style"]] == [False, True, False]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"batch_size": 4}, "batch_size cannot change while the training runs"),
        ({"learning_rate": 1e-6, "resolution": 96}, "resolution cannot change"),
        ({"nonsense": 1}, "nonsense cannot change"),
        ({"learning_rate": -1}, "learning_rate: "),
        ({"gan_power": "much"}, "gan_power: "),
    ],
)
def test_what_cannot_be_changed_is_refused_whole(watched: Watched, change: dict[str, Any], sentence: str) -> None:
    run(watched, tiny_settings(optimizer="lion"), {1: change})
    assert "The changed settings were not applied" in warnings(watched)
    assert sentence in warnings(watched)
    assert not told(watched)
    assert rates(watched) == pytest.approx([5e-5] * 3)
    info = watched.folder().info()
    assert info is not None
    assert info.settings == tiny_settings(optimizer="lion").model_dump(mode="json")


def test_true_face_is_refused_where_there_is_no_code_to_judge(watched: Watched) -> None:
    run(watched, tiny_settings(archi="liae"), {1: {"true_face_power": 0.01}})
    assert "needs a df architecture" in warnings(watched)


def test_the_same_again_says_nothing(watched: Watched) -> None:
    run(watched, tiny_settings(), {1: {"learning_rate": 5e-5}})
    assert not told(watched)
    assert not warnings(watched)


def test_a_note_of_a_late_discriminator_is_told(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its stored state does not fit any more, which shows when it is switched on."""
    run(watched, tiny_settings(target_iterations=1, gan_power=0.1, gan_dims=4), {})
    run(watched, tiny_settings(target_iterations=4, gan_dims=6), {1: {"gan_power": 0.1}})
    assert "size of the discriminator 'gan' changed" in warnings(watched)


def test_nothing_adversarial_joins_a_pretraining(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    monkeypatch.setattr(TrainStep, "_adversary", lambda step, name, settings: made.append(name))
    settings = tiny_settings(pretrain=True, pretrain_faces="drawn/data_dst/aligned")
    run(watched, settings, {1: {"gan_power": 0.1}})
    assert made == []
    info = watched.folder().info()
    assert info is not None
    assert info.settings["gan_power"] == 0.1
