"""Parts that begin with other weights, parts that hold still, and snapshots, through the stage."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from backend.core.errors import BadInputError
from backend.models.registry import build_model
from backend.pipeline import first_weights as module
from backend.pipeline import train as stage
from backend.pipeline.first_weights import check_frozen, load_parts
from backend.storage.checkpoint import Generation, load_latest
from backend.storage.model_backups import list_backups, prune_backups, restore_backup
from backend.training.ranks import Ranks
from tests.pipeline.training_project import Watched, briskly, drawn_project, tiny_settings

SHORT: dict[str, Any] = {"batch_size": 1, "preview_interval": 100}
ENCODER = {"freeze_weights": True, "freeze_layers": ("encoder",)}


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    briskly(monkeypatch)
    return Watched(drawn_project(tmp_path))


def newest(watched: Watched, name: str = "tiny") -> Generation:
    found = load_latest(watched.folder(name).generations_dir)
    assert found is not None
    return found


def part(weights: dict[str, Tensor], name: str) -> list[Tensor]:
    return [value for key, value in sorted(weights.items()) if key.startswith(f"{name}.")]


def same(one: list[Tensor], two: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def warnings(watched: Watched) -> str:
    return "\n".join(data["message"] for kind, data in watched.events if kind == "log" and data["level"] == "warning")


def test_a_new_model_begins_with_parts_of_another(watched: Watched) -> None:
    stage.run(tiny_settings(model="other", seed=9, target_iterations=2, **SHORT), watched.context)
    chosen = {"load_weights": "other", "load_layers": ("encoder", "keras_encoder"), "average_weights": True}
    held = {"freeze_weights": True, "freeze_layers": ("encoder",)}
    stage.run(tiny_settings(target_iterations=1, **SHORT, **chosen, **held), watched.context)
    other, made = newest(watched, "other").weights, newest(watched)
    assert same(part(made.weights, "encoder"), part(other, "encoder"))
    assert same(part(made.tensors["average"], "encoder"), part(other, "encoder"))
    assert not same(part(made.weights, "inter"), part(other, "inter"))
    assert "Began with the weights of 'other', iteration 2: encoder." in watched.text
    assert "no part 'keras_encoder'; it has encoder, inter, decoder_src, decoder_dst" in warnings(watched)
    assert "into new models only" not in warnings(watched)
    stage.run(tiny_settings(target_iterations=2, **SHORT, **chosen), watched.context)
    assert "into new models only" in warnings(watched)
    assert newest(watched).state.iteration == 2


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"load_weights": "nobody"}, "no model 'nobody'"),
        ({"load_weights": "other", "load_layers": ("fc_a",)}, "Nothing of the chosen"),
        ({"load_weights": "other", "load_layers": ("inter",), "e_dims": 24, "ae_dims": 48}, "Nothing of the chosen"),
        ({"freeze_weights": True, "freeze_layers": "encoder inter decoder_src decoder_dst"}, "nothing would learn"),
    ],
)
def test_what_cannot_be_is_refused(watched: Watched, changes: dict[str, Any], sentence: str) -> None:
    stage.run(tiny_settings(model="other", target_iterations=1, **SHORT), watched.context)
    with pytest.raises(BadInputError, match=sentence):
        stage.run(tiny_settings(**SHORT, **changes), watched.context)
    assert watched.project.models() == ["other"]


def test_layers_of_another_shape_stay_as_they_are() -> None:
    wide, narrow = (build_model(tiny_settings(d_dims=dims), seed) for dims, seed in ((16, 1), (24, 2)))
    before = {name: value.clone() for name, value in narrow.state_dict().items()}
    said: list[str] = []
    stored = wide.state_dict()
    del stored["encoder.down1.downs.0.conv1.bias"]
    loaded = load_parts(narrow, ("encoder", "decoder_src"), stored, lambda sentence, level: said.append(sentence))
    assert loaded == ("encoder", "decoder_src")
    after = narrow.state_dict()
    assert torch.equal(after["encoder.down1.downs.1.conv1.weight"], stored["encoder.down1.downs.1.conv1.weight"])
    assert torch.equal(after["encoder.down1.downs.0.conv1.weight"], before["encoder.down1.downs.0.conv1.weight"])
    assert same(part(after, "decoder_dst"), part(before, "decoder_dst"))
    assert said[0].startswith("encoder: 1 of ")
    assert "encoder.down1.downs.0.conv1" in said[0]
    assert "more." in said[1]


def test_a_backbone_begins_pretrained_unless_its_part_was_loaded(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Path] = []
    fake = SimpleNamespace(begin_with_pretrained=lambda model, settings, folder, log: begun.append(folder))
    monkeypatch.setitem(sys.modules, "backend.pipeline.backbone_weights", fake)  # type: ignore[arg-type]
    stage.run(tiny_settings(model="other", target_iterations=1, **SHORT), watched.context)
    model, loaded = nn.Module(), iter([("encoder",), ("inter",)])
    monkeypatch.setattr(module, "load_parts", lambda *given: next(loaded))
    for name in ("", "other", "other"):
        chosen: Any = SimpleNamespace(load_weights=name, load_layers=("encoder",), enc_load_weights=True)
        module.first_weights(model, chosen, watched.context)  # type: ignore[arg-type]
    assert len(begun) == 2
    module.first_weights(model, tiny_settings(), watched.context)  # type: ignore[arg-type]
    assert len(begun) == 2


def optimiser_state(found: Generation) -> dict[int, set[str]]:
    """Iterations of each group -> parts whose parameters it holds."""
    names = list(build_model(tiny_settings(), 1).state_dict())
    groups = found.state.rest["optimizer"]["optimizer"]["param_groups"]
    return {group["iterations"]: {names[number].partition(".")[0] for number in group["params"]} for group in groups}


def test_of_several_processes_the_first_one_looks_for_weights(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    ranks = Ranks()

    def leave(*_: Any) -> None:
        raise InterruptedError

    monkeypatch.setattr(stage, "first_weights", lambda *_: asked.append(ranks.rank))
    monkeypatch.setattr(stage, "load_data", leave)
    for number in range(2):
        ranks.rank = number
        with pytest.raises(InterruptedError):
            stage.train_model(tiny_settings(), torch.device("cpu"), ranks, watched.context)
    assert asked == [0]


def test_parts_are_frozen_and_thawed_while_a_model_exists(watched: Watched) -> None:
    rest = {"inter", "decoder_src", "decoder_dst"}
    chosen = {**SHORT, "optimizer": "adam"}
    stage.run(tiny_settings(target_iterations=2, **chosen, **ENCODER), watched.context)
    begun = build_model(tiny_settings(), tiny_settings().seed).state_dict()
    first = newest(watched)
    assert same(part(first.weights, "encoder"), part(begun, "encoder"))
    assert not same(part(first.weights, "inter"), part(begun, "inter"))
    assert optimiser_state(first) == {2: rest, 0: {"encoder"}}
    stage.run(tiny_settings(target_iterations=3, **chosen), watched.context)
    second = newest(watched)
    assert not same(part(second.weights, "encoder"), part(begun, "encoder"))
    assert optimiser_state(second) == {3: rest, 1: {"encoder"}}
    moved = max(float((value - first.weights[name]).abs().max()) for name, value in second.weights.items())
    assert moved < 3 * tiny_settings().learning_rate
    stage.run(tiny_settings(target_iterations=4, **chosen, **ENCODER), watched.context)
    third = newest(watched)
    assert same(part(third.weights, "encoder"), part(second.weights, "encoder"))
    assert optimiser_state(third) == {4: rest, 0: {"encoder"}}
    held = {int(name.partition("/")[0]) for name in third.tensors["optimizer"]}
    assert len(held) == len(third.weights) - len(part(third.weights, "encoder"))


def test_a_thawed_training_goes_on_as_if_it_had_never_stopped(watched: Watched) -> None:
    for model in ("tiny", "whole"):
        stage.run(tiny_settings(model=model, target_iterations=2, **SHORT, **ENCODER), watched.context)
    stage.run(tiny_settings(model="whole", target_iterations=4, **SHORT), watched.context)
    for target in (3, 4):
        stage.run(tiny_settings(target_iterations=target, **SHORT), watched.context)
    one, two = newest(watched), newest(watched, "whole")
    assert same(list(one.weights.values()), list(two.weights.values()))
    assert one.state.rest == two.state.rest


def test_names_that_match_nothing_are_told(watched: Watched) -> None:
    chosen = {"freeze_weights": True, "freeze_layers": ("keras_encoder", "encoder")}
    stage.run(tiny_settings(target_iterations=1, **SHORT, **chosen), watched.context)
    assert "no part 'keras_encoder'" in warnings(watched)


def test_only_what_is_switched_on_is_told() -> None:
    said: list[str] = []
    settings = tiny_settings(freeze_layers=("nothing",))
    check_frozen(build_model(settings, 1), settings, lambda sentence, level: said.append(sentence))
    assert said == []


def test_snapshots_stay_and_can_be_gone_back_to(watched: Watched) -> None:
    stage.run(tiny_settings(target_iterations=5, snapshot_every=2, **SHORT), watched.context)
    folder = watched.folder()
    kept = list_backups(folder)
    assert [(backup.iteration, backup.pinned) for backup in kept] == [(4, "snapshot-4"), (2, "snapshot-2")]
    told = [data for kind, data in watched.events if kind == "milestone" and data["what"] == "snapshot"]
    assert [data["iteration"] for data in told] == [2, 4]
    assert prune_backups(folder, 1, 1e-9) == []
    restore_backup(folder, kept[1].name, "the test")
    assert newest(watched).state.iteration == 2
    assert folder.history().iteration.tolist() == [1, 2]


def test_a_snapshot_waits_for_a_whole_step(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.training.loop.READ_INTERVAL_S", 1000.0)
    stage.run(tiny_settings(target_iterations=6, snapshot_every=3, accumulate=2, **SHORT), watched.context)
    assert [backup.pinned for backup in list_backups(watched.folder())] == ["snapshot-6", "snapshot-4"]


def test_a_snapshot_that_fails_is_told(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: Any, **named: Any) -> None:
        raise OSError("The disk is full.")

    monkeypatch.setattr("backend.training.callbacks.snapshot.create_backup", full)
    assert stage.run(tiny_settings(target_iterations=2, snapshot_every=1, **SHORT), watched.context)["iteration"] == 2
    assert "No snapshot was made: The disk is full." in watched.text
