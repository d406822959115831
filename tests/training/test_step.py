"""The training step: DeepFaceLab's first losses and gradients, learning, freezing, skipping."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from backend.core.errors import BadInputError, DamagedFileError
from backend.core.settings import AmpSettings, SaehdSettings, TrainSettings
from backend.models.base import FaceSwapModel
from backend.models.dfl_names import dfl_name, to_dfl_layout
from backend.models.registry import build_model
from backend.models.saehd import SaehdShape, build_saehd
from backend.training.batch import FaceBatch
from backend.training.precision import LEAST_SCALE, LossScale
from backend.training.step import TrainStep
from tests.models.dfl_files import bchw, stored_model

CPU = torch.device("cpu")
CASES = ("df_ud_basic", "df_rmsprop_unmasked", "liae_ud_basic", "liae_udt_nowarp_clip_blurout", "df_ud_all")
PLAIN = CASES[:3]
FIRST = "encoder.down1.downs.0.conv1.weight"


class Case:
    """One recorded training of DeepFaceLab: 64 px, batch of 2, five iterations on one batch."""

    def __init__(self, golden: Path, name: str) -> None:
        folder = golden / "dfl_networks"
        self.facts = json.loads((folder / "train_steps" / f"{name}.json").read_text())
        self.arrays = dict(np.load(folder / "train_steps" / f"{name}.npz"))
        self.model = stored_model(folder / self.facts["options"]["archi"])

    def settings(self, **changes: Any) -> SaehdSettings:
        options = self.facts["options"]
        facts = {
            "resolution": 64,
            "archi": options["archi"],
            "precision": "fp32",
            "optimizer": "adabelief" if options.get("adabelief", True) else "rmsprop",
            "learning_rate": options["lr"],
            "masked_training": options.get("masked_training", True),
            "eyes_mouth_priority": options.get("eyes_mouth_prio", False),
            "blur_out_mask": options.get("blur_out_mask", False),
            "random_warp": options.get("random_warp", True),
            "clip_gradients": options.get("clipgrad", False),
            "face_style_power": options.get("face_style_power", 0.0),
            "bg_style_power": options.get("bg_style_power", 0.0),
        }
        return SaehdSettings(**{**facts, **changes})

    def side(self, name: str) -> FaceBatch:
        return FaceBatch(*(bchw(self.arrays[f"{kind}_{name}"]) for kind in ("warped", "target", "mask", "em")))


@pytest.fixture(params=PLAIN)
def case(golden: Path, request: pytest.FixtureRequest) -> Case:
    return Case(golden, request.param)


@pytest.mark.parametrize("name", CASES)
def test_first_losses(golden: Path, name: str) -> None:
    """Of the case with everything on, only the background style differs, on purpose: it has the right mask."""
    case = Case(golden, name)
    step = TrainStep(case.model, case.settings(bg_style_power=0.0) if name == "df_ud_all" else case.settings(), CPU)
    found = step(case.side("src"), case.side("dst"))
    assert not found.skipped
    if name != "df_ud_all":
        assert float(found.src) == pytest.approx(case.arrays["src_loss"][0].mean(), rel=1e-5)
    assert float(found.dst) == pytest.approx(case.arrays["dst_loss"][0].mean(), rel=1e-5)


def test_five_clipped_steps(golden: Path) -> None:
    """DeepFaceLab sums over the batch before it clips; twice the gradient of our mean over two is that sum."""
    case = Case(golden, "liae_udt_nowarp_clip_blurout")
    step = TrainStep(case.model, case.settings().model_copy(update={"accumulate": 0.5}), CPU)
    for src_loss, dst_loss in zip(case.arrays["src_loss"], case.arrays["dst_loss"], strict=True):
        found = step(case.side("src"), case.side("dst"))
        assert float(found.src) == pytest.approx(src_loss.mean(), rel=1e-4)
        assert float(found.dst) == pytest.approx(dst_loss.mean(), rel=1e-4)
    with torch.no_grad():
        swapped = case.model.eval().swap(case.side("dst").target).face
    expected = bchw(case.arrays["view_after5_swap_face"])
    assert float((swapped - expected).abs().max()) < 1e-4


def test_first_gradients(case: Case) -> None:
    """Ours are those of the mean over the batch, DeepFaceLab's those of the sum."""
    step = TrainStep(case.model, case.settings(), CPU)
    losses = step.losses(case.side("src"), case.side("dst"))
    (losses.src + losses.dst).sum().backward()
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
    assert again.load(*step.state()) == []
    again(faces(1), faces(2))
    assert not any(torch.equal(p, before[name]) for name, p in model.named_parameters())


def broken() -> FaceBatch:
    side = faces(1)
    side.target[0, 0, 30, 30] = float("nan")
    return side


@pytest.mark.parametrize("optimizer", ["adabelief", "rmsprop", "adamw", "lion"])
@pytest.mark.parametrize("waits", [True, False])
def test_a_step_that_is_not_finite_changes_nothing(optimizer: Any, waits: bool) -> None:
    """Neither where the host looks at each step nor where it does not."""
    model = small("df-ud")
    step = TrainStep(model, TrainSettings(precision="fp32", optimizer=optimizer), CPU)
    step._learner.waits = waits
    step(faces(1), faces(2))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    averages = {name: value.clone() for name, value in step.state()[0]["optimizer"].items()}
    found = step(broken(), faces(2))
    assert found.skipped
    assert not bool(found.src.isfinite())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(torch.equal(value, averages[name]) for name, value in step.state()[0]["optimizer"].items())
    assert not step(faces(1), faces(2)).skipped
    assert not torch.equal(model.state_dict()[FIRST], before[FIRST])


def test_overflows_count_once_the_loss_scale_cannot_fall() -> None:
    """The loss is finite, the gradients are not: the scale may cure that until it is at its least."""
    model = small("df-ud")
    step = TrainStep(model, TrainSettings(precision="fp32"), CPU)
    step._learner.scale = LossScale(CPU, enabled=True)
    step._learner.scale.load_state_dict({"scale": 2 * LEAST_SCALE, "good_steps": 0})
    before = model.state_dict()[FIRST].clone()
    hook = model.get_parameter(FIRST).register_hook(lambda gradient: gradient * float("inf"))
    found = [step(faces(1), faces(2)) for _ in range(3)]
    assert all(bool(losses.src.isfinite()) for losses in found)
    assert [bool(losses.skipped) for losses in found] == [False, True, True]
    assert torch.equal(model.state_dict()[FIRST], before)
    hook.remove()
    assert not step(faces(1), faces(2)).skipped


def test_nothing_waits_for_an_accelerator() -> None:
    """Tensors without values can be computed with, but not looked at: so the step does not look."""
    settings = SaehdSettings(
        precision="bf16",
        resolution=64,
        archi="df-ud",
        clip_gradients=True,
        lr_dropout=True,
        average_weights=True,
        gan_power=0.1,
        true_face_power=0.01,
        face_style_power=0.1,
        bg_style_power=1.0,
        blur_out_mask=True,
        eyes_mouth_priority=True,
    )
    step = TrainStep(small("df-ud"), settings, CPU)
    step._learner.waits = False
    for adversary in step._adversaries.values():
        adversary.learner.waits = False
    with FakeTensorMode(allow_non_fake_inputs=True):
        picture, mask = torch.zeros(2, 3, 64, 64), torch.zeros(2, 1, 64, 64)
        batch = FaceBatch(picture, picture, mask, mask)
        for _ in range(2):
            found = step(batch, batch)
    assert set(found.terms) >= {"structure_src", "mask_dst", "style", "gan", "gan_d", "true_face", "true_face_d"}


def test_resuming_gives_the_same_next_step() -> None:
    settings = SaehdSettings(precision="fp32", gan_power=0.1, average_weights=True, resolution=64)
    step = TrainStep(small("liae-ud"), settings, CPU)
    step(faces(1), faces(2))
    tensors, rest = copy.deepcopy(step.state())
    other = TrainStep(small("liae-ud"), settings.model_copy(update={"learning_rate": 1e-5}), CPU)
    assert other.load(tensors, json.loads(json.dumps(rest))) == []
    assert other.optimizer.param_groups[0]["lr"] == 1e-5
    for optimizer in other.optimizers():
        optimizer.param_groups[0]["lr"] = settings.learning_rate
    for seed in (3, 5):
        a, b = other(faces(seed), faces(seed + 1)), step(faces(seed), faces(seed + 1))
        assert float(a.src) == float(b.src)
        assert float(a.terms["gan_d"]) == float(b.terms["gan_d"])
    shown, expected = other.shown_model.state_dict(), step.shown_model.state_dict()
    assert all(torch.equal(shown[name], expected[name]) for name in expected)
    with pytest.raises((DamagedFileError, RuntimeError)):
        TrainStep(small("df-ud"), settings, CPU).load(tensors, rest)


def test_another_optimiser_begins_anew_and_says_so() -> None:
    step = TrainStep(small("df"), TrainSettings(optimizer="adabelief"), CPU)
    step(faces(1), faces(2))
    other = TrainStep(small("df"), TrainSettings(optimizer="lion"), CPU)
    (note,) = other.load(*step.state())
    assert "lion" in note
    other(faces(1), faces(2))


def test_a_discriminator_that_is_switched_off_is_kept() -> None:
    on = SaehdSettings(resolution=64, archi="df", gan_power=0.1, gan_patch_size=16, gan_dims=4)
    step = TrainStep(small("df"), on, CPU)
    step(faces(1), faces(2))
    off = TrainStep(small("df"), on.model_copy(update={"gan_power": 0.0}), CPU)
    off.load(*copy.deepcopy(step.state()))
    assert "gan" not in off(faces(1), faces(2)).terms
    assert {"gan", "gan_optimizer"} <= set(off.state()[0])
    off.configure(on)
    kept = step.state()[0]["gan"]
    assert all(torch.equal(value, kept[name]) for name, value in off.state()[0]["gan"].items())
    assert "gan" in off(faces(1), faces(2)).terms
    wider = TrainStep(small("df"), on.model_copy(update={"gan_dims": 8}), CPU)
    (note,) = wider.load(*step.state())
    assert "gan" in note


def test_a_discriminator_follows_from_the_seed_alone() -> None:
    """Whenever it is switched on, wherever torch's generator stands; the next random numbers are as without it."""
    on = SaehdSettings(resolution=64, archi="df", gan_power=0.1, gan_dims=4, true_face_power=0.1, seed=7)
    found = []
    for torch_seed in (1, 2):
        step = TrainStep(small("df"), on.model_copy(update={"gan_power": 0.0, "true_face_power": 0.0}), CPU)
        torch.manual_seed(torch_seed)
        step.configure(on)
        number = torch.rand(1)
        torch.manual_seed(torch_seed)
        assert torch.equal(torch.rand(1), number)
        found.append(step.state()[0])
    for name in ("gan", "true_face"):
        assert all(torch.equal(value, found[1][name][key]) for key, value in found[0][name].items())
    other = TrainStep(small("df"), on.model_copy(update={"seed": 8}), CPU).state()[0]["gan"]
    assert not all(torch.equal(value, other[key]) for key, value in found[0]["gan"].items())


def test_only_what_is_for_later_is_carried() -> None:
    on = SaehdSettings(resolution=64, archi="df", gan_power=0.1, gan_dims=4, true_face_power=0.1)
    tensors, rest = copy.deepcopy(TrainStep(small("df"), on, CPU).state())
    step = TrainStep(small("df"), on.model_copy(update={"true_face_power": 0.0}), CPU)
    step.load(tensors, rest)
    assert [sorted(held) for held in step._carried] == [["true_face", "true_face_optimizer"], ["true_face_optimizer"]]
    step.configure(on)
    assert [dict(held) for held in step._carried] == [{}, {}]
    assert step.state()[0].keys() == tensors.keys()


def test_gathered_batches_make_one_step() -> None:
    """Two batches of one pair give the step that one batch of two pairs gives."""
    settings = TrainSettings(precision="fp32", clip_gradients=True)
    whole = TrainStep(small("df"), settings, CPU)
    parts = TrainStep(small("df"), settings.model_copy(update={"accumulate": 2}), CPU)
    before = whole.model.state_dict()[FIRST].clone()
    src, dst = faces(1), faces(2)
    whole(src, dst)
    for i in range(2):
        assert torch.equal(parts.model.state_dict()[FIRST], before)
        assert parts.gathered == i
        parts(one(src, i), one(dst, i))
    assert parts.gathered == whole.gathered == 0
    for name, value in whole.model.state_dict().items():
        assert float((parts.model.state_dict()[name] - value).abs().mean()) < 3e-6, name


def one(batch: FaceBatch, index: int) -> FaceBatch:
    part = slice(index, index + 1)
    return FaceBatch(batch.warped[part], batch.target[part], batch.mask[part], batch.eyes_mouth[part])


def test_the_average_of_the_weights_follows_slowly() -> None:
    step = TrainStep(small("df"), TrainSettings(average_weights=True, learning_rate=1e-3), CPU)
    for _ in range(20):
        step(faces(1), faces(2))
    weights, average = step.model.state_dict(), step.shown_model.state_dict()
    assert step.shown_model is not step.model
    assert not any(torch.equal(weights[name], average[name]) for name in weights if "weight" in name)
    assert not step.shown_model.training


@pytest.mark.slow
def test_bf16_learns_as_fp32_does() -> None:
    """The same seed, 200 steps: the losses at the end are within 2 %."""
    ends = {}
    for precision in ("fp32", "bf16"):
        step = TrainStep(small("df-ud"), TrainSettings(precision=precision, learning_rate=2e-4), CPU)
        found = [step(faces(2 * i % 40), faces(2 * i % 40 + 1)) for i in range(200)]
        ends[precision] = sum(float(f.src + f.dst) for f in found[-20:]) / 20
    assert ends["bf16"] == pytest.approx(ends["fp32"], rel=0.02)


def test_amp_learns() -> None:
    settings = AmpSettings(
        resolution=64, ae_dims=32, inter_dims=32, e_dims=16, d_dims=16, d_mask_dims=8, learning_rate=3e-4, gan_power=0.1
    )
    step = TrainStep(build_model(settings, 3), settings, CPU)
    losses = [step(faces(1), faces(2)) for _ in range(12)]
    assert float(losses[-1].src + losses[-1].dst) < 0.9 * float(losses[0].src + losses[0].dst)
    moved = {name.split(".")[0] for name, p in step.model.named_parameters() if p.grad is None}
    assert {"inter_src", "inter_dst"} <= moved


def test_eyes_and_mouth_need_their_mask() -> None:
    side = faces(1)
    bare = FaceBatch(side.warped, side.target, side.mask)
    with pytest.raises(BadInputError):
        TrainStep(small("df"), TrainSettings(eyes_mouth_priority=True), CPU)(bare, bare)


def test_batch_norms_of_parts_that_hold_still_do_not_move() -> None:
    """Their running means stay, also after a look in evaluation mode; those of learning parts follow."""
    moved = {}
    for held in ("encoder", "inter"):
        model = small("df")
        norm = torch.nn.BatchNorm2d(3)
        model.encoder = torch.nn.Sequential(norm, model.parts()["encoder"])
        step = TrainStep(model, SaehdSettings(precision="fp32", freeze_weights=True, freeze_layers=(held,)), CPU)
        step.model.eval()
        step.model.train()
        step(faces(1), faces(2))
        assert norm.weight.requires_grad == norm.training == (held == "inter")
        assert ("0/m" in step.state()[0]["optimizer"]) == (held == "inter")
        assert norm.running_mean is not None
        moved[held] = float(norm.running_mean.abs().max())
    assert moved["encoder"] == 0.0
    assert moved["inter"] > 0.01
