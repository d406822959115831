"""What goes wrong while training: too little memory, losses that are not finite, a full disk, faces that vanish."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor

from backend.core.errors import BadInputError, DiskFullError, LookalikeError, MemoryShortError
from backend.core.faces import FaceType
from backend.models.registry import build_model
from backend.pipeline import train as stage
from backend.storage import atomic
from backend.storage.checkpoint import generations, load_latest
from backend.training.callbacks import nan_guard
from backend.training.callbacks.checkpoint import CheckpointCallback
from backend.training.loop import Training
from backend.training.objective import Losses, Objective
from backend.training.ranks import Ranks
from backend.training.step import TrainStep
from tests.drawn_faces import write_faceset
from tests.pipeline.training_project import Watched, briskly, drawn_project, tiny_settings

PATIENCE = 3
"""Skipped steps in a row before these trainings are rolled back."""


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    briskly(monkeypatch)
    monkeypatch.setattr(nan_guard, "PATIENCE", PATIENCE)
    return Watched(drawn_project(tmp_path))


def milestones(watched: Watched, what: str) -> list[dict[str, Any]]:
    return [data for kind, data in watched.events if kind == "milestone" and data["what"] == what]


def metrics(watched: Watched) -> list[dict[str, Any]]:
    return [data for kind, data in watched.events if kind == "metric"]


def on_objective(monkeypatch: pytest.MonkeyPatch, change: Callable[[Losses, int], Losses]) -> list[int]:
    """Let the losses of every step pass through ``change(losses, number of the step)``; returns the batch sizes.

    The trial that only estimates memory stays as it is.
    """
    real = Objective.__call__
    sizes: list[int] = []

    def call(objective: Objective, out: Any, src: Any, dst: Any) -> Losses:
        if isinstance(src.target, FakeTensor):
            return real(objective, out, src, dst)
        sizes.append(len(src.target))
        return change(real(objective, out, src, dst), len(sizes))

    monkeypatch.setattr(Objective, "__call__", call)
    return sizes


def holds_at_most(monkeypatch: pytest.MonkeyPatch, faces: int) -> list[int]:
    """Let memory run out for larger batches, when half of the step is done."""

    def change(losses: Losses, number: int) -> Losses:
        if len(losses.src) > faces:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nAdvice follows.")
        return losses

    return on_objective(monkeypatch, change)


def test_the_batch_shrinks_until_it_fits(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = holds_at_most(monkeypatch, 4)
    result = stage.run(tiny_settings(batch_size=8, shrink_batch=True, gan_power=0.1, gan_dims=4), watched.context)
    assert sizes == [8, 6, 4, 4, 4]
    assert result["iteration"] == 3
    assert [data["message"].partition(" (")[0] for data in milestones(watched, "batch")] == [
        "Memory ran out with a batch of 8",
        "Memory ran out with a batch of 6",
    ]
    assert "2.00 GiB.); going on with 4." in watched.text
    assert "Advice" not in watched.text
    info = watched.folder().info()
    assert info is not None
    assert info.settings["batch_size"] == 4
    assert watched.folder().history().iteration.tolist() == [1, 2, 3]


def test_memory_that_runs_out_later_leaves_no_gradient_behind(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second half of a gathered batch fails: its first half is forgotten, and the next two count alike."""
    gradients: list[bool] = []
    real = TrainStep.__call__

    def step(training_step: TrainStep, *batch: Any) -> Any:
        gradients.append(any(p.grad is not None for p in training_step.model.parameters()))
        return real(training_step, *batch)

    def change(losses: Losses, number: int) -> Losses:
        if number == 2:
            raise torch.OutOfMemoryError("out of memory")
        return losses

    on_objective(monkeypatch, change)
    monkeypatch.setattr(TrainStep, "__call__", step)
    settings = tiny_settings(batch_size=4, accumulate=2, shrink_batch=True, target_iterations=3)
    assert stage.run(settings, watched.context)["iteration"] == 3
    assert gradients == [False, True, False, True]


@pytest.mark.parametrize("at", [0, 3])
def test_memory_that_runs_out_in_a_preview_costs_no_checkpoint(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """Before the first and after the last iteration."""
    real = stage.PreviewCallback._draw
    fails = [True]

    def draw(callback: Any, training: Any) -> None:
        if training.iteration == at and fails.pop():
            fails.append(False)
            raise torch.OutOfMemoryError("out of memory")
        real(callback, training)

    monkeypatch.setattr(stage.PreviewCallback, "_draw", draw)
    stage.run(tiny_settings(shrink_batch=True, preview_interval=100), watched.context)
    assert [data["message"][:32] for data in milestones(watched, "batch")] == ["Memory ran out with a batch of 2"]
    assert [path.name for path in generations(watched.folder().generations_dir)] == ["000000000-0", "000000003-0"]


@pytest.mark.parametrize(("shrinks", "batch", "advice"), [(False, 8, "Try a batch size of 4"), (True, 1, "smaller")])
def test_where_nothing_smaller_is_wanted_or_fits(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, shrinks: bool, batch: int, advice: str
) -> None:
    sizes = holds_at_most(monkeypatch, 0)
    with pytest.raises(MemoryShortError, match=f"batch of {batch} does not fit.*{advice}"):
        stage.run(tiny_settings(batch_size=batch, shrink_batch=shrinks), watched.context)
    assert sizes == [batch]
    assert watched.folder().owner() is None


def test_another_error_is_no_lack_of_memory(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    def change(losses: Losses, number: int) -> Losses:
        raise RuntimeError("something else")

    on_objective(monkeypatch, change)
    with pytest.raises(RuntimeError, match="something else"):
        stage.run(tiny_settings(shrink_batch=True), watched.context)


def breaks(monkeypatch: pytest.MonkeyPatch, calls: range) -> list[int]:
    """Let losses be no numbers in some calls."""

    def change(losses: Losses, number: int) -> Losses:
        return replace(losses, src=losses.src * float("nan")) if number in calls else losses

    return on_objective(monkeypatch, change)


def test_losses_that_stay_infinite_lead_back_at_half_the_rate(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = breaks(monkeypatch, range(5, 5 + PATIENCE))
    watched.requests.append("save")
    settings = tiny_settings(target_iterations=9, preview_interval=100, optimizer="lion", learning_rate=1e-4)
    result = stage.run(settings, watched.context)
    assert (result["iteration"], result["reason"], result["skipped"]) == (9, "target", PATIENCE)
    assert len(calls) == 4 + PATIENCE + 8
    [told] = milestones(watched, "rolled back")
    assert told["iteration"] == 1
    assert "at iteration 7; back to iteration 1" in told["message"]
    assert "5e-05" in told["message"]
    rates = [data["learning_rate"] for data in metrics(watched)]
    assert rates == pytest.approx([1e-4] * 7 + [5e-5] * 8)
    folder = watched.folder()
    assert folder.history().iteration.tolist() == list(range(1, 10))
    assert folder.terms.records()["iteration"].tolist() == list(range(1, 10))
    info = folder.info()
    assert info is not None
    assert info.settings["learning_rate"] == 1e-4


def test_a_lowered_rate_stays_until_another_is_chosen(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the halvings of all runs are counted together."""
    changes = {"preview_interval": 100, "optimizer": "lion", "learning_rate": 1e-4}
    with monkeypatch.context() as patched:
        breaks(patched, range(2, 2 + PATIENCE))
        stage.run(tiny_settings(target_iterations=4, **changes), watched.context)
    for target, rate in ((5, 1e-4), (6, 2e-4), (7, 2e-4)):
        stage.run(tiny_settings(**{**changes, "target_iterations": target, "learning_rate": rate}), watched.context)
    rates = [data["learning_rate"] for data in metrics(watched)]
    assert rates[-4:] == pytest.approx([5e-5, 5e-5, 2e-4, 2e-4])
    assert watched.text.count("Earlier roll-backs have left 5e-05 of the learning rate 0.0001") == 1
    with monkeypatch.context() as patched:
        breaks(patched, range(2, 2 + PATIENCE))
        stage.run(tiny_settings(**{**changes, "target_iterations": 9, "learning_rate": 2e-4}), watched.context)
    breaks(monkeypatch, range(1, 1000))
    with pytest.raises(LookalikeError, match="halved 6 times"):
        stage.run(tiny_settings(**{**changes, "target_iterations": 99, "learning_rate": 2e-4}), watched.context)
    assert len(milestones(watched, "rolled back")) == 1 + 1 + 5


def test_on_the_way_back_other_processes_keep_their_own_random_numbers(watched: Watched) -> None:
    class Second(Ranks):
        rank, count = 1, 2

    stage.run(tiny_settings(target_iterations=1), watched.context)
    saved = load_latest(watched.folder().generations_dir)
    assert saved is not None
    numbers = []
    for ranks in (Ranks(), Second()):
        step = TrainStep(build_model(tiny_settings(), 1), tiny_settings(), torch.device("cpu"))
        training = Training(step, tiny_settings(), torch.Generator(), ranks=ranks)
        run = stage._Run(watched.folder(), watched.context, cast(Any, None))
        run.restore(training, saved)
        numbers.append((torch.rand(1).item(), torch.rand(1, generator=training.generator).item()))
    (one, shared), (other, also_shared) = numbers
    assert one != other
    assert shared == also_shared


def test_a_loaded_checkpoint_is_let_go(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.run(tiny_settings(target_iterations=1, gan_power=0.1, gan_dims=4), watched.context)
    held: list[weakref.ref[torch.Tensor]] = []
    alive: list[int] = []
    real = stage.load_latest

    def load(folder: Path) -> Any:
        found = real(folder)
        assert found is not None
        held.extend(weakref.ref(tensor) for name in ("weights", "gan") for tensor in found.tensors[name].values())
        return found

    def change(losses: Losses, number: int) -> Losses:
        gc.collect()
        alive.append(sum(tensor() is not None for tensor in held))
        return losses

    monkeypatch.setattr(stage, "load_latest", load)
    on_objective(monkeypatch, change)
    stage.run(tiny_settings(target_iterations=2, gan_power=0.1, gan_dims=4), watched.context)
    assert held
    assert alive == [0]


def test_the_way_back_gives_exactly_what_was_saved(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that goes wrong at once from its checkpoint ends with the weights of that checkpoint."""
    stage.run(tiny_settings(target_iterations=2, average_weights=True, gan_power=0.1, gan_dims=4), watched.context)
    saved = load_latest(watched.folder().generations_dir)
    assert saved is not None
    breaks(monkeypatch, range(3, 3 + PATIENCE))
    seen: list[dict[str, Any]] = []
    real = stage._Run.roll_back

    def roll_back(run: Any, training: Any) -> None:
        real(run, training)
        seen.append({name: {k: v.clone() for k, v in t.items()} for name, t in training.step.state()[0].items()})

    monkeypatch.setattr(stage._Run, "roll_back", roll_back)
    stage.run(tiny_settings(target_iterations=8, average_weights=True, gan_power=0.1, gan_dims=4), watched.context)
    [found] = seen
    assert found.keys() == saved.tensors.keys()
    for name, values in saved.tensors.items():
        assert all(torch.equal(value, found[name][key]) for key, value in values.items()), name


def test_nothing_is_saved_while_losses_are_infinite(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is saved then is what the way back would lead to."""
    breaks(monkeypatch, range(3, 3 + PATIENCE))
    real = TrainStep.__call__

    def step(*arguments: Any) -> Any:
        watched.requests[:] = ["save"]
        return real(*arguments)

    monkeypatch.setattr(TrainStep, "__call__", step)
    stage.run(tiny_settings(target_iterations=6, preview_interval=100), watched.context)
    assert "at iteration 5; back to iteration 2" in watched.text
    assert [data["iteration"] for data in milestones(watched, "saved")] == list(range(7))


def test_a_model_that_never_recovers_ends_the_training(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.run(tiny_settings(target_iterations=1, preview_interval=100), watched.context)
    monkeypatch.setattr(nan_guard, "PATIENCE", 1)
    calls = breaks(monkeypatch, range(1, 1000))
    with pytest.raises(LookalikeError, match="halved 6 times; the model is kept as it was last saved") as error:
        stage.run(tiny_settings(target_iterations=100, preview_interval=100), watched.context)
    assert "lower learning rate" in error.value.fix
    assert len(calls) == 7
    assert len(milestones(watched, "rolled back")) == 6
    info = watched.folder().info()
    assert info is not None
    assert info.iteration == 1


def test_the_way_back_forgets_what_was_gathered(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two batches that make a step the first is lost: the two after it make the next one."""
    breaks(monkeypatch, range(3, 3 + PATIENCE))
    settings = tiny_settings(target_iterations=6, accumulate=2, preview_interval=100)
    result = stage.run(settings, watched.context)
    assert "at iteration 5; back to iteration 0" in watched.text
    assert result["skipped"] == PATIENCE
    saved = load_latest(watched.folder().generations_dir)
    assert saved is not None
    assert saved.state.rest["optimizer"]["optimizer"]["param_groups"][0]["iterations"] == 3


def test_a_few_bad_steps_are_passed_over(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    breaks(monkeypatch, range(2, 2 + PATIENCE - 1))
    result = stage.run(tiny_settings(target_iterations=PATIENCE + 2, preview_interval=100), watched.context)
    assert result["skipped"] == PATIENCE - 1
    assert not milestones(watched, "rolled back")
    assert watched.text.count("the step was skipped") == 1


def test_one_face_is_not_enough(watched: Watched) -> None:
    for path in sorted(watched.project.side("dst").aligned_dir.glob("*.jpg"))[1:]:
        path.unlink()
    with pytest.raises(BadInputError, match=r"There is only 1 dst face; training needs at least 4\. Extract more dst"):
        stage.run(tiny_settings(), watched.context)


def test_faces_of_several_types_lose_the_narrow_ones(watched: Watched) -> None:
    aligned = watched.project.side("src").aligned_dir
    wide = sorted(aligned.glob("*.jpg"))
    narrow = write_faceset(watched.project.path / "narrow", 2, size=64, face_type=FaceType.FULL)
    for path, target in zip(narrow, wide[4:], strict=True):
        target.write_bytes(path.read_bytes())
    stage.run(tiny_settings(target_iterations=1), watched.context)
    assert "4 src faces to train on, 0 held out, 2 left out" in watched.text
    assert f"{wide[4].name} was left out: it shows less" in watched.text


def test_faces_deleted_while_training_goes_on_are_not_missed(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    def change(losses: Losses, number: int) -> Losses:
        for side in ("src", "dst"):
            for path in watched.project.side(side).aligned_dir.glob("*.jpg"):
                path.unlink()
        return losses

    on_objective(monkeypatch, change)
    settings = tiny_settings(target_iterations=6, color_transfer="rct", uniform_yaw=True, holdout_every=6)
    result = stage.run(settings, watched.context)
    assert result["iteration"] == 6
    assert 0 < result["ssim_dst"] < 1
    assert not list(watched.project.side("src").aligned_dir.glob("*.jpg"))
    assert watched.text.count("changed meanwhile; that counts at the next start") == 2


def test_a_save_that_fails_in_the_middle_is_said_and_training_goes_on(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = CheckpointCallback.save
    saves: list[int] = []

    def save(callback: CheckpointCallback, training: Any) -> None:
        saves.append(training.iteration)
        if len(saves) == 2:
            raise DiskFullError("The disk is full.")
        real(callback, training)

    monkeypatch.setattr(CheckpointCallback, "save", save)
    monkeypatch.setattr(watched, "requests", ["save"])
    assert stage.run(tiny_settings(target_iterations=3), watched.context)["iteration"] == 3
    assert "could not be saved: The disk is full. Trying again in a minute." in watched.text
    assert [path.name[:9] for path in generations(watched.folder().generations_dir)] == ["000000000", "000000003"]


def test_a_full_disk_ends_the_training_and_spoils_nothing(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.run(tiny_settings(target_iterations=2), watched.context)
    folder = watched.folder()
    before = [path.name for path in generations(folder.generations_dir)]

    def change(losses: Losses, number: int) -> Losses:
        usage = SimpleNamespace(total=1 << 40, used=0, free=1 << 20)
        monkeypatch.setattr(atomic.shutil, "disk_usage", lambda path: usage)
        return losses

    with monkeypatch.context() as patched:
        on_objective(patched, change)
        with pytest.raises(DiskFullError, match=r"disk of .*generations has 1 MiB left") as error:
            stage.run(tiny_settings(target_iterations=4), watched.context)
    assert "another disk" in error.value.fix
    assert [path.name for path in generations(folder.generations_dir)] == before
    saved = load_latest(folder.generations_dir)
    assert saved is not None
    assert (saved.state.iteration, saved.skipped) == (2, ())
    monkeypatch.undo()
    assert stage.run(tiny_settings(target_iterations=4), watched.context)["iterations_done"] == 2
    assert folder.history().iteration.tolist() == [1, 2, 3, 4]
