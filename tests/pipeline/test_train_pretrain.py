"""Pretraining on other people's faces, and the first run on one's own afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from backend.core.errors import BadInputError
from backend.core.settings import SaehdSettings
from backend.models.registry import build_model
from backend.pipeline import train as stage
from backend.storage.checkpoint import KEEP, generations, load_latest
from backend.storage.model_backups import list_backups, prune_backups, restore_backup
from backend.training.callbacks import checkpoint
from backend.training.dataset import FaceCache
from backend.training.loader import BatchLoader
from tests.drawn_faces import Person, write_faceset
from tests.pipeline.training_project import Watched, briskly, drawn_project, tiny_settings

STRANGER = Person(skin=(60, 90, 120), hair=(90, 90, 200), eyes=(200, 120, 60), lips=(40, 40, 90))

Weights = dict[str, torch.Tensor]


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    briskly(monkeypatch)
    write_faceset(tmp_path / "strangers", 5, STRANGER, size=64, seed=7)
    return Watched(drawn_project(tmp_path))


def pretraining(watched: Watched, **changes: Any) -> SaehdSettings:
    strangers = str(watched.project.path.parent / "strangers")
    return tiny_settings(**{"pretrain": True, "pretrain_faces": strangers, "average_weights": True, **changes})


def afterwards(**changes: Any) -> SaehdSettings:
    return tiny_settings(average_weights=True, **changes)


def newest(watched: Watched) -> dict[str, Weights]:
    found = load_latest(watched.folder().generations_dir)
    assert found is not None
    return found.tensors


def part(weights: Weights, name: str) -> Weights:
    return {key: value for key, value in weights.items() if key.startswith(f"{name}.")}


def same(one: Weights, two: Weights) -> bool:
    return one.keys() == two.keys() and all(torch.equal(value, two[key]) for key, value in one.items())


class Loaders:
    """Remembers what every run's batches are drawn from."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sides: list[tuple[FaceCache, FaceCache]] = []
        self.samplers: list[set[str]] = []
        real = BatchLoader.__init__

        def init(loader: BatchLoader, src: Any, dst: Any, *others: Any, **named: Any) -> None:
            self.sides.append((src[0], dst[0]))
            self.samplers.append({type(side[1]).__name__ for side in (src, dst)})
            real(loader, src, dst, *others, **named)

        monkeypatch.setattr(BatchLoader, "__init__", init)


def test_pretraining_learns_from_the_strangers_alone(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    loaders = Loaders(monkeypatch)
    stage.run(pretraining(watched, gan_power=0.1, true_face_power=0.01), watched.context)
    [(src, dst)] = loaders.sides
    assert src is dst
    assert len(src.usable) == 5
    assert loaders.samplers == [{"YawSampler"}]
    assert "5 pretraining faces to train on" in watched.text
    assert not {"gan", "true_face"} & newest(watched).keys()
    info = watched.folder().info()
    assert info is not None
    assert (info.iteration, info.settings["pretrain"], info.settings["random_warp"]) == (3, True, True)


def test_the_own_faces_begin_at_zero_with_a_new_identity(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.run(pretraining(watched), watched.context)
    before = newest(watched)["weights"]
    loaders = Loaders(monkeypatch)
    stage.run(afterwards(target_iterations=2, learning_rate=1e-7), watched.context)
    [(src, dst)] = loaders.sides
    assert src is not dst
    assert (len(src.usable), loaders.samplers) == (6, [{"EpochSampler"}])
    folder = watched.folder()
    assert folder.history().iteration.tolist() == [1, 2]
    assert folder.terms.records()["iteration"].tolist() == [1, 2]
    assert [path.name[:9] for path in generations(folder.generations_dir)[-2:]] == ["000000000", "000000002"]
    assert max(path.name for path in generations(folder.generations_dir)).startswith("000000002")
    told = [data for kind, data in watched.events if kind == "milestone" and data["what"] == "pretrained"]
    assert [(data["iteration"], "inter begin anew" in data["message"]) for data in told] == [(0, True)]
    info = folder.info()
    assert info is not None
    assert (info.iteration, info.settings["pretrain"]) == (2, False)
    assert info.sessions[0].first_iteration == 0
    assert {int(path.name[:7]) for path in folder.previews()} <= {0, 2}
    after = newest(watched)["weights"]
    assert not same(part(after, "inter"), part(before, "inter"))
    for key, value in after.items():
        if not key.startswith("inter."):
            torch.testing.assert_close(value, before[key], atol=1e-5, rtol=0)


def test_the_pretrained_state_stays_as_a_backup(watched: Watched) -> None:
    stage.run(pretraining(watched), watched.context)
    before = newest(watched)["weights"]
    stage.run(afterwards(target_iterations=1), watched.context)
    folder = watched.folder()
    [kept] = list_backups(folder)
    assert (kept.iteration, kept.pinned) == (3, "pretrained")
    assert prune_backups(folder, 1, 1e-9) == []
    restore_backup(folder, kept.name, "test")
    assert same(newest(watched)["weights"], before)


def test_what_is_kept_is_kept_exactly(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkpoint before the first step of its own faces."""
    stage.run(pretraining(watched), watched.context)
    before = newest(watched)["weights"]
    monkeypatch.setattr(watched, "stop", True)
    leave_the_loading_alone(monkeypatch)
    with pytest.raises(stage.StopRequested):
        stage.run(afterwards(), watched.context)
    sets = newest(watched)
    fresh = build_model(afterwards(), afterwards().seed + 1).state_dict()
    for name in ("encoder", "decoder_src", "decoder_dst"):
        assert part(sets["weights"], name)
        assert same(part(sets["weights"], name), part(before, name))
    assert same(part(sets["weights"], "inter"), part(fresh, "inter"))
    assert same(sets["average"], sets["weights"])


def leave_the_loading_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a stop be noticed by the training, not by the loading of faces."""
    monkeypatch.setattr("backend.pipeline.context.StageContext.check_stop", lambda ctx: None)


def test_a_long_pretraining_leaves_the_new_beginning(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many checkpoints as are ever kept are all newer by their numbers than the one that replaces them."""
    for target in range(1, KEEP + 2):
        stage.run(pretraining(watched, target_iterations=target), watched.context)
    folder = watched.folder().generations_dir
    assert [int(path.name[:9]) for path in generations(folder)] == [2, 3, 4]
    monkeypatch.setattr(watched, "stop", True)
    leave_the_loading_alone(monkeypatch)
    with pytest.raises(stage.StopRequested):
        stage.run(afterwards(), watched.context)
    assert [int(path.name[:9]) for path in generations(folder)] == [0]
    found = load_latest(folder)
    assert found is not None
    assert found.state.info.settings["pretrain"] is False


def test_a_crash_before_the_first_save_repeats_the_new_beginning(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*anything: Any) -> None:
        raise KeyboardInterrupt

    stage.run(pretraining(watched), watched.context)
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "save_generation", crash)
        with pytest.raises(KeyboardInterrupt):
            stage.run(afterwards(), watched.context)
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "drop_newer", crash)
        with pytest.raises(KeyboardInterrupt):
            stage.run(afterwards(), watched.context)
    assert stage.run(afterwards(target_iterations=2), watched.context)["iteration"] == 2
    assert watched.text.count("Pretraining is over") == 3
    assert stage.run(afterwards(target_iterations=3), watched.context)["iteration"] == 3
    assert watched.text.count("Pretraining is over") == 3
    assert watched.folder().history().iteration.tolist() == [1, 2, 3]


def test_pretraining_goes_on_like_any_training(watched: Watched) -> None:
    stage.run(pretraining(watched, target_iterations=1), watched.context)
    assert stage.run(pretraining(watched, target_iterations=2), watched.context)["iteration"] == 2
    assert "Pretraining is over" not in watched.text


@pytest.mark.parametrize(("folder", "sentence"), [("nowhere", "nowhere is not there"), ("empty", "no pretraining")])
def test_a_folder_without_faces_is_told(watched: Watched, folder: str, sentence: str) -> None:
    (watched.project.path.parent / "empty").mkdir()
    with pytest.raises(BadInputError, match=sentence) as error:
        stage.run(pretraining(watched, pretrain_faces=folder), watched.context)
    assert "aligned faces" in error.value.fix


def test_a_folder_may_be_named_from_the_workspace(watched: Watched) -> None:
    assert stage.run(pretraining(watched, pretrain_faces="strangers", target_iterations=1), watched.context)
