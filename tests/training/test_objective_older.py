"""What the older models make small, against plain formulas; one step of each option; resuming."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from backend.core.errors import BadInputError
from backend.core.settings import TRAIN_SETTINGS, SaehdSettings, SaeSettings
from backend.core.settings.older import OlderSettings
from backend.models.base import Reconstruction
from backend.models.losses.blur import gaussian_blur
from backend.models.losses.dssim import dssim
from backend.models.losses.style import style_loss
from backend.models.registry import build_model
from backend.training.batch import FaceBatch
from backend.training.objective import build_objective
from backend.training.objective_older import OlderObjective
from backend.training.step import TrainStep
from tests.models.test_older import EVERY, reached, settings_of, thin

CPU = torch.device("cpu")
PLAIN = ("h64", "h128", "df", "liaef128")
ONE_EACH = (*PLAIN, "sae df", "sae liae", "sae vg")


def faces(seed: int, side: int = 64, count: int = 2, channels: int = 3) -> FaceBatch:
    """Random pictures with a round soft mask in their middle."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.rand(count, channels, side, side, generator=generator)
    line = torch.linspace(-1, 1, side)
    mask = (1.5 - 2 * (line[:, None].square() + line.square())).clamp(0, 1).expand(count, 1, side, side)
    return FaceBatch(target, target, mask)


def answers(side: int = 64, count: int = 2, smaller: bool = False) -> Reconstruction:
    """Random answers of a network."""
    generator = torch.Generator().manual_seed(9)

    def draw(channels: int, height: int, pictures: int = count) -> Tensor:
        return torch.rand(pictures, channels, height, height, generator=generator)

    half, quarter = (draw(3, side // n, 2 * count) for n in (2, 4))
    pictures = [draw(channels, side) for channels in (3, 1, 3, 1, 3, 1)]
    extra = {"half": half, "quarter": quarter} if smaller else {}
    return Reconstruction(*pictures, **extra)


def mean(x: Tensor) -> Tensor:
    return x.flatten(1).mean(dim=1)


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("pixel_loss", [False, True])
def test_plain_models(name: str, pixel_loss: bool) -> None:
    """10 DSSIM inside the mask, or 50 times the squared difference inside the blurred one; masks by MAE or MSE."""
    settings = TRAIN_SETTINGS[name].model_validate({"pixel_loss": pixel_loss})
    side = 64 if name == "h64" else 128
    out, src, dst = answers(side), faces(1, side), faces(2, side)
    found = build_objective(settings)(out, src, dst)
    sides = ((found.src, src, out.src_src, out.src_src_mask), (found.dst, dst, out.dst_dst, out.dst_dst_mask))
    for loss, wanted, face, mask in sides:
        if pixel_loss:
            cut = gaussian_blur(wanted.mask, side // 64)
            expected = 50 * mean((wanted.target * cut - face * cut).square())
        else:
            cut = wanted.mask
            expected = 10 * dssim(wanted.target * cut, face * cut, int(side / 11.6)).mean(dim=1)
        apart = mask - wanted.mask
        expected = expected + mean(apart.abs() if name in ("h64", "h128") else apart.square())
        assert torch.allclose(loss, expected, rtol=1e-5)
    shown = "pixel" if pixel_loss else "structure"
    assert set(found.terms) == {f"{term}_{end}" for term in (shown, "mask") for end in ("src", "dst")}


@pytest.mark.parametrize("pixel_loss", [False, True])
@pytest.mark.parametrize("side", [64, 128])
def test_sae_at_every_size(pixel_loss: bool, side: int) -> None:
    """Summed over three sizes, each inside the mask blurred by a 32nd of its side; the window is one."""
    settings = SaeSettings(resolution=side, multiscale_decoder=True, pixel_loss=pixel_loss, learn_mask=False)
    out, src, dst = answers(side, smaller=True), faces(1, side), faces(2, side)
    assert out.half is not None
    assert out.quarter is not None
    found = build_objective(settings)(out, src, dst)
    for loss, wanted, at in (
        (found.src, src, (out.src_src, out.half[:2], out.quarter[:2])),
        (found.dst, dst, (out.dst_dst, out.half[2:], out.quarter[2:])),
    ):
        expected = torch.zeros(2)
        for factor, face in zip((1, 2, 4), at, strict=True):
            mask, target = (F.avg_pool2d(x, factor) for x in (wanted.mask, wanted.target))
            cut = gaussian_blur(mask, max(1, side // factor // 32))
            if pixel_loss:
                expected += 50 * mean((target * cut - face * cut).square())
            else:
                expected += 10 * dssim(target * cut, face * cut, int(side / 11.6)).mean(dim=1)
        assert torch.allclose(loss, expected, rtol=1e-5)
    assert not any(name.startswith("mask") for name in found.terms)


@pytest.mark.parametrize("pixel_loss", [False, True])
def test_styles_of_sae(pixel_loss: bool) -> None:
    given, src, dst = answers(), faces(1), faces(2)
    assert given.swap is not None
    out = replace(given, swap=given.swap * 0.2)
    assert out.swap is not None
    base = {"resolution": 64, "pixel_loss": pixel_loss}
    plain = build_objective(SaeSettings.model_validate(base))
    assert not plain.wants_swap
    without = plain(out, src, dst)
    inside = gaussian_blur(dst.mask, 2)
    face = style_loss(dst.target * inside, out.swap * inside, 4) * 0.2
    outside = 1 - inside
    there, here = dst.target * outside, out.swap * outside
    around = 50 * mean((there - here).square()) if pixel_loss else 10 * dssim(there, here, 5).mean(dim=1)
    for powers, expected in (
        ({"face_style_power": 20}, face),
        ({"bg_style_power": 30}, around * 0.3),
        ({"face_style_power": 20, "bg_style_power": 30}, face + around * 0.3),
    ):
        objective = build_objective(SaeSettings.model_validate({**base, **powers}))
        assert objective.wants_swap
        found = objective(out, src, dst)
        assert torch.allclose(found.src - without.src, expected, rtol=1e-3)
        assert torch.equal(found.dst, without.dst)
        assert float(found.terms["style"]) == pytest.approx(float(expected.mean()), rel=1e-5)


def test_a_style_needs_the_swap() -> None:
    objective = build_objective(SaeSettings(face_style_power=1))
    with pytest.raises(BadInputError, match="swapped"):
        objective(replace(answers(128), swap=None), faces(1, 128), faces(2, 128))


def test_unmasked_training_compares_whole_pictures() -> None:
    out, src, dst = answers(), faces(1), faces(2)
    found = build_objective(TRAIN_SETTINGS["h64"](masked_training=False, mask_weight=0.0))(out, src, dst)
    assert torch.allclose(found.src, 10 * dssim(src.target, out.src_src, 5).mean(dim=1), rtol=1e-5)


def test_chosen_losses_join_at_every_size() -> None:
    """A second loss is added beside the family's own, a first one takes its place; both at three sizes."""
    out, src, dst = answers(smaller=True), faces(1), faces(2)
    base: dict[str, Any] = {"resolution": 64, "multiscale_decoder": True}
    own = build_objective(SaeSettings.model_validate(base))(out, src, dst)
    both = build_objective(SaeSettings.model_validate({**base, "loss_function_2": "mae"}))(out, src, dst)
    alone = build_objective(SaeSettings.model_validate({**base, "loss_function": "mae"}))(out, src, dst)
    assert set(both.terms) - set(own.terms) == set(alone.terms) - set(own.terms) != set()
    masks = own.terms["mask_src"]
    assert float(both.src.mean()) == pytest.approx(float((own.src + alone.src).mean() - masks), rel=1e-4)
    full = build_objective(SaeSettings.model_validate({"resolution": 64, "loss_function": "mae"}))
    once = full(replace(out, half=None, quarter=None), src, dst)
    assert float((alone.src - once.src).min()) > 0


def test_settings_of_another_family_are_refused() -> None:
    with pytest.raises(BadInputError):
        OlderObjective(SaehdSettings())


OPTIONS: dict[str, dict[str, Any]] = {
    "h64": {"pixel_loss": True},
    "sae df rich": {"face_style_power": 10.0, "bg_style_power": 10.0},
    "sae liae rich": {"face_style_power": 10.0, "pixel_loss": True},
    "sae vg": {"bg_style_power": 10.0, "optimizer_mode": 2},
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", EVERY)
def test_a_step_and_a_swap(name: str, channels: int) -> None:
    """A thin network of each option learns in every part and swaps."""
    torch.manual_seed(3)
    model = thin(name, channels)
    settings = settings_of(name, channels=channels, learning_rate=1e-3, seed=1, **OPTIONS.get(name, {})).effective()
    step = TrainStep(model, settings, CPU)
    before = {part: [p.detach().clone() for p in module.parameters()] for part, module in model.parts().items()}
    src, dst = faces(1, channels=channels), faces(2, channels=channels)
    first = step(src, dst)
    assert not first.skipped
    assert float(first.src) > 0 < float(first.dst)
    for part, module in model.parts().items():
        assert any(not torch.equal(a, b) for a, b in zip(before[part], module.parameters(), strict=True)), part
    for _ in range(4):
        last = step(src, dst)
    assert float(last.src + last.dst) < float(first.src + first.dst)
    with torch.no_grad():
        merged = model.eval().swap(dst.target)
    assert merged.face.shape == dst.target.shape
    assert bool(merged.face.isfinite().all())


def test_a_learned_mask_teaches_the_encoder() -> None:
    model = thin("sae df")
    settings = settings_of("sae df", structure_weight=0.0)
    losses = TrainStep(model, settings, CPU).losses(faces(1), faces(2))
    (losses.src + losses.dst).sum().backward()
    assert reached(model.parts()["encoder"])
    assert reached(model.parts()["decoder_src"].get_submodule("mask_ladder"))
    assert not reached(model.parts()["decoder_src"].get_submodule("face_ladder"))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", ["h64", "sae liae rich", "sae vg"])
def test_resuming_goes_on_alike(name: str, precision: str) -> None:
    settings: OlderSettings = settings_of(name, precision=precision, learning_rate=1e-3)
    src, dst = faces(1), faces(2)
    torch.manual_seed(3)
    step = TrainStep(thin(name), settings, CPU)
    step(src, dst)
    tensors, rest = step.state()
    kept = {part: {key: value.clone() for key, value in values.items()} for part, values in tensors.items()}
    expected = [float(step(src, dst).src) for _ in range(2)]
    torch.manual_seed(4)
    other = TrainStep(thin(name), settings, CPU)
    assert other.load(kept, rest) == []
    assert [float(other(src, dst).src) for _ in range(2)] == expected


@pytest.mark.slow
@pytest.mark.parametrize(("name", "channels"), [*((name, 3) for name in EVERY), *((name, 1) for name in ONE_EACH)])
def test_a_step_and_a_swap_of_the_whole_network(name: str, channels: int) -> None:
    """At full size, in colour with every option, in gray once of each network."""
    settings = settings_of(name, channels=channels, batch_size=1)
    model = build_model(settings, seed=1)
    batch = [faces(seed, model.resolution, count=1, channels=channels) for seed in (1, 2)]
    found = TrainStep(model, settings.effective(), CPU)(*batch)
    assert not found.skipped
    with torch.no_grad():
        assert model.eval().swap(batch[1].target).face.shape == batch[1].target.shape
