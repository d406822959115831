"""The training step: DeepFaceLab's first losses and gradients, learning, freezing, skipping."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from backend.core.errors import BadInputError, DamagedFileError
from backend.core.settings.train import TrainSettings
from backend.models.base import FaceSwapModel
from backend.models.dfl_names import dfl_name, to_dfl_layout
from backend.models.saehd import SaehdShape, build_saehd
from backend.training.batch import FaceBatch
from backend.training.precision import choose_precision, has_bf16
from backend.training.step import TrainStep
from tests.models.dfl_files import bchw, stored_model

CPU = torch.device("cpu")
CASES = ("df_ud_basic", "df_rmsprop_unmasked", "liae_ud_basic")


class Case:
    """One recorded training of DeepFaceLab."""

    def __init__(self, golden: Path, name: str) -> None:
        folder = golden / "dfl_networks"
        self.facts = json.loads((folder / "train_steps" / f"{name}.json").read_text())
        self.arrays = dict(np.load(folder / "train_steps" / f"{name}.npz"))
        self.model = stored_model(folder / self.facts["options"]["archi"])

    def settings(self) -> TrainSettings:
        options = self.facts["options"]
        return TrainSettings(
            precision="fp32",
            optimizer="adabelief" if options.get("adabelief", True) else "rmsprop",
            learning_rate=options["lr"],
            masked_training=options.get("masked_training", True),
            eyes_mouth_priority=options.get("eyes_mouth_prio", False),
        )

    def side(self, name: str) -> FaceBatch:
        return FaceBatch(*(bchw(self.arrays[f"{kind}_{name}"]) for kind in ("warped", "target", "mask", "em")))


@pytest.fixture(params=CASES)
def case(golden: Path, request: pytest.FixtureRequest) -> Case:
    return Case(golden, request.param)


def test_first_losses(case: Case) -> None:
    step = TrainStep(case.model, case.settings(), CPU)
    found = step(case.side("src"), case.side("dst"))
    assert not found.skipped
    assert float(found.src) == pytest.approx(case.arrays["src_loss"][0].mean(), rel=1e-5)
    assert float(found.dst) == pytest.approx(case.arrays["dst_loss"][0].mean(), rel=1e-5)


def test_first_gradients(case: Case) -> None:
    """Ours are those of the mean over the batch, DeepFaceLab's those of the sum."""
    step = TrainStep(case.model, case.settings(), CPU)
    src, dst = step.losses(case.side("src"), case.side("dst"))
    ((src + dst) * len(case.arrays["target_src"])).backward()
    expected = case.facts["gradients_step1_unclipped"]["src_dst"]
    for part_name, part in case.model.parts().items():
        for name, parameter in part.named_parameters():
            facts = expected[f"{part_name}/{dfl_name(name)}"]
            gradient = to_dfl_layout(parameter.grad).astype(np.float64)
            assert np.linalg.norm(gradient) == pytest.approx(facts["norm"], rel=1e-4)
            assert np.abs(gradient).sum() == pytest.approx(facts["abs_sum"], rel=1e-4)
            first = gradient.flatten()[:8]
            assert np.allclose(first, facts["first8"], rtol=1e-3, atol=1e-4 * facts["norm"]), name


def test_first_movement(case: Case) -> None:
    before = {name: p.detach().clone() for name, p in case.model.named_parameters()}
    TrainStep(case.model, case.settings(), CPU)(case.side("src"), case.side("dst"))
    for part_name, part in case.model.parts().items():
        for name, parameter in part.named_parameters():
            facts = case.facts["tensors"][f"{part_name}|{dfl_name(name)}"]
            moved = float((parameter.detach() - before[f"{part_name}.{name}"]).norm())
            assert moved == pytest.approx(facts["delta_norm_1"], rel=0.05), name


def small(archi: str, channels: int = 3) -> FaceSwapModel:
    torch.manual_seed(4)
    return build_saehd(SaehdShape(64, archi, ae_dims=16, e_dims=8, d_dims=8, d_mask_dims=4, channels=channels))


def faces(seed: int, channels: int = 3) -> FaceBatch:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(2, channels, 8, 8, generator=generator)
    picture = torch.nn.functional.interpolate(coarse, size=64, mode="bilinear")
    mask = torch.zeros(2, 1, 64, 64)
    mask[:, :, 12:52, 12:52] = 1
    return FaceBatch(picture, picture, mask, mask)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(("archi", "channels"), [("df-ud", 3), ("liae-ud", 1), ("liae-udt", 3), ("df-c", 1)])
def test_it_learns(archi: str, channels: int, precision: str) -> None:
    settings = TrainSettings(precision=precision, learning_rate=3e-4, eyes_mouth_priority=True)
    step = TrainStep(small(archi, channels), settings, CPU)
    src, dst = faces(1, channels), faces(2, channels)
    losses = [step(src, dst) for _ in range(30)]
    assert not any(found.skipped for found in losses)
    assert float(losses[-1].src) < 0.8 * float(losses[0].src)
    assert float(losses[-1].dst) < 0.8 * float(losses[0].dst)
    assert all(p.dtype == torch.float32 for p in step.model.parameters())


def test_inter_ab_stands_still_without_warp() -> None:
    model = small("liae-ud")
    step = TrainStep(model, TrainSettings(random_warp=False), CPU)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    step(faces(1), faces(2))
    still = {name for name, p in model.named_parameters() if torch.equal(p, before[name])}
    assert still == {name for name in before if name.startswith("inter_AB.")}
    again = TrainStep(model, TrainSettings(random_warp=True), CPU)
    again.load_optimizer_state(step.optimizer_state())
    again(faces(1), faces(2))
    assert not any(torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_a_step_that_is_not_finite_changes_nothing() -> None:
    model = small("df-ud")
    step = TrainStep(model, TrainSettings(precision="fp32"), CPU)
    step(faces(1), faces(2))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    broken = faces(1)
    broken.target[0, 0, 30, 30] = float("nan")
    found = step(broken, faces(2))
    assert found.skipped
    assert not bool(found.src.isfinite())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert step.optimizer.param_groups[0]["iterations"] == 1
    assert not step(faces(1), faces(2)).skipped


def test_resuming_gives_the_same_next_step() -> None:
    settings = TrainSettings(precision="fp32")
    step = TrainStep(small("liae-ud"), settings, CPU)
    step(faces(1), faces(2))
    weights = {name: value.clone() for name, value in step.model.state_dict().items()}
    other = TrainStep(small("liae-ud"), settings.model_copy(update={"learning_rate": 1e-5}), CPU)
    other.model.load_state_dict(weights)
    other.load_optimizer_state(step.optimizer_state())
    assert other.optimizer.param_groups[0]["lr"] == 1e-5
    assert float(other(faces(3), faces(4)).src) == float(step(faces(3), faces(4)).src)
    with pytest.raises(DamagedFileError):
        TrainStep(small("df-ud"), settings, CPU).load_optimizer_state(step.optimizer_state())


def test_eyes_and_mouth_need_their_mask() -> None:
    side = faces(1)
    bare = FaceBatch(side.warped, side.target, side.mask)
    with pytest.raises(BadInputError):
        TrainStep(small("df"), TrainSettings(eyes_mouth_priority=True), CPU)(bare, bare)


def test_precision_follows_the_device() -> None:
    assert choose_precision("fp32", CPU).name == "fp32"
    assert choose_precision("auto", CPU).name == ("bf16" if has_bf16(CPU) else "fp32")
    half = choose_precision("fp16", CPU)
    assert half.name == "fp32"
    assert "fp16" in half.note
    short = choose_precision("bf16", CPU)
    assert (short.name == "bf16") == has_bf16(CPU) == (short.note == "")
