"""Chosen losses: their sum, masks and multipliers, beside every family's own composition or instead of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from backend.core.errors import BadInputError
from backend.core.settings import TRAIN_SETTINGS, AmpSettings, PhazeASettings, SaehdSettings, TrainSettings
from backend.core.settings.train import LossName
from backend.models.base import Reconstruction
from backend.models.losses import pointwise
from backend.models.losses.frequency import focal_frequency
from backend.models.losses.lpips import Lpips
from backend.models.losses.mask import soft_mask
from backend.models.losses.ssim import ms_ssim, ssim
from backend.models.registry import build_model
from backend.training.batch import FaceBatch
from backend.training.dry_run import dry_run
from backend.training.loss_shelf import SCALE, SHELF, LossShelf
from backend.training.objective import OBJECTIVES, build_objective
from tests.training.test_objective import NoWaiting, random_batch, random_output

LOSSES = LossName.__args__


def side(seed: int, channels: int = 3, px: int = 64) -> FaceBatch:
    """A random batch with masks of eyes and mouth."""
    batch = random_batch(seed, channels, px)
    eyes, mouth = torch.zeros_like(batch.mask), torch.zeros_like(batch.mask)
    eyes[:, :, 20:28, 14:36] = 0.75
    mouth[:, :, 40:48, 18:30] = 1
    return replace(batch, eyes=eyes, mouth=mouth)


def chosen(**values: Any) -> SaehdSettings:
    return SaehdSettings(**{"loss_function": "mse", **values})


def mean(values: Tensor) -> Tensor:
    return values.flatten(1).mean(dim=1)


def test_every_name_of_the_settings_is_there() -> None:
    assert set(LOSSES) == {*SHELF, "lpips_alex", "lpips_squeeze", "lpips_vgg16"}


@pytest.mark.parametrize("name", SHELF)
def test_maps_and_values_are_told_apart(name: str) -> None:
    found = SHELF[name].compare(torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64))
    assert (found.dim() == 4) == SHELF[name].is_map
    assert found.shape == ((2, found.shape[1], 64, 64) if SHELF[name].is_map else (2,))


def test_slots_add_up_with_their_weights() -> None:
    batch, seen = side(1), torch.rand(2, 3, 64, 64)
    settings = chosen(loss_function_2="mae", loss_weight_2=50, loss_function_3="ffl", loss_weight_3=200)
    found = LossShelf(settings)(batch, seen, None)
    assert list(found) == ["mse", "mae", "ffl"]
    assert torch.allclose(found["mse"], SCALE * mean(pointwise.mse(batch.target, seen)))
    assert torch.allclose(found["mae"], SCALE * 0.5 * mean(pointwise.mae(batch.target, seen)))
    assert torch.allclose(found["ffl"], SCALE * 2 * focal_frequency(batch.target, seen))


def test_a_loss_chosen_twice_counts_once_with_the_later_weight() -> None:
    batch, seen = side(1), torch.rand(2, 3, 64, 64)
    found = LossShelf(chosen(loss_function_2="mse", loss_weight_2=30))(batch, seen, None)
    assert list(found) == ["mse"]
    assert torch.allclose(found["mse"], SCALE * 0.3 * mean(pointwise.mse(batch.target, seen)))
    assert LossShelf(SaehdSettings(loss_function_3="mae"))(batch, seen, None) == {}


def test_maps_are_weighed_inside_face_eyes_and_mouth() -> None:
    batch, seen = side(1), torch.rand(2, 3, 64, 64)
    assert batch.eyes is not None
    assert batch.mouth is not None
    cut = soft_mask(batch.mask)
    for eye, mouth in ((3, 2), (1, 2), (5, 1), (1, 1)):
        settings = chosen(loss_function="ssim", eye_multiplier=eye, mouth_multiplier=mouth)
        weights = cut + (batch.eyes * eye if eye > 1 else 0) + (batch.mouth * mouth if mouth > 1 else 0)
        expected = SCALE * mean(ssim(batch.target, seen) * weights)
        assert torch.allclose(LossShelf(settings)(batch, seen, cut)["ssim"], expected, rtol=1e-5)


def test_values_are_added_over_masked_pictures() -> None:
    batch, seen = side(1), torch.rand(2, 3, 64, 64)
    cut = soft_mask(batch.mask)
    settings = chosen(loss_function="ms_ssim", eye_multiplier=3, mouth_multiplier=2)
    expected = torch.zeros(2)
    for mask, weight in ((cut, 1), (batch.eyes, 3), (batch.mouth, 2)):
        assert mask is not None
        expected += SCALE * weight * ms_ssim(batch.target * mask, seen * mask)
    assert torch.allclose(LossShelf(settings)(batch, seen, cut)["ms_ssim"], expected, rtol=1e-5)


def test_multipliers_need_masks_and_masked_training() -> None:
    batch, seen = side(1), torch.rand(2, 3, 64, 64)
    bare = replace(batch, eyes=None, mouth=None)
    weighed = chosen(eye_multiplier=3)
    assert weighed.parts_apart
    with pytest.raises(BadInputError, match="multiplier"):
        LossShelf(weighed)(bare, seen, soft_mask(batch.mask))
    whole = chosen(eye_multiplier=3, masked_training=False)
    assert not whole.parts_apart
    assert torch.allclose(LossShelf(whole)(bare, seen, None)["mse"], SCALE * mean(pointwise.mse(batch.target, seen)))


def test_pictures_too_small_for_a_loss_are_compared_by_ssim() -> None:
    settings = chosen(loss_function="ms_ssim", masked_training=False)
    batch, seen = side(1, px=64), torch.rand(2, 3, 64, 64)
    small = FaceBatch(batch.target[..., :32, :32], batch.target[..., :32, :32], batch.mask[..., :32, :32])
    found = LossShelf(settings)(small, seen[..., :32, :32], None)["ms_ssim"]
    assert torch.allclose(found, SCALE * mean(ssim(small.target, seen[..., :32, :32])))


def test_lpips_is_made_by_its_source_and_refused_without_one() -> None:
    torch.manual_seed(4)
    network = Lpips("lpips_squeeze")
    asked: list[str] = []

    def source(name: str) -> Lpips:
        asked.append(name)
        return network

    settings = chosen(loss_function_2="lpips_squeeze", loss_weight_2=20, masked_training=False)
    batch, seen = side(1), torch.rand(2, 3, 64, 64)
    found = LossShelf(settings, source)(batch, seen, None)["lpips_squeeze"]
    assert asked == ["lpips_squeeze"]
    assert torch.allclose(found, SCALE * 0.2 * mean(network(batch.target, seen)))
    with pytest.raises(BadInputError, match="lpips_squeeze"):
        build_objective(settings)


FAMILIES = [name for name in ("saehd", "amp", "phaze_a", "h64", "sae") if name in TRAIN_SETTINGS]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("channels", [3, 1])
def test_another_first_loss_replaces_the_pictures_of_any_family(family: str, channels: int) -> None:
    values: dict[str, Any] = {"loss_function": "ssim", "loss_function_2": "mae", "loss_weight_2": 40}
    values.update(channels=channels, eye_multiplier=4)
    settings = TRAIN_SETTINGS[family](**values)
    src, dst, out = side(1, channels), side(2, channels), random_output(channels)
    found = build_objective(settings)(out, src, dst)
    assert not [name for name in found.terms if name.startswith(("structure", "pixel"))]
    assert {"ssim_src", "ssim_dst", "mae_src", "mae_dst", "mask_src", "mask_dst"} <= set(found.terms)
    total = sum(float(value) for name, value in found.terms.items() if not name.endswith("_dst"))
    assert total == pytest.approx(float(found.src.detach().mean()), rel=1e-5)
    (found.src.sum() + found.dst.sum()).backward()
    assert out.src_src.grad is not None
    assert bool(out.src_src.grad.isfinite().all())


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "phaze_a"])
def test_further_losses_join_the_own_composition(family: str) -> None:
    kind = TRAIN_SETTINGS[family]
    src, dst, out = side(1), side(2), random_output()
    plain = build_objective(kind())(out, src, dst)
    more = build_objective(kind(loss_function_2="ffl", loss_weight_2=100))(out, src, dst)
    assert set(more.terms) - set(plain.terms) == {"ffl_src", "ffl_dst"}
    for name, value in plain.terms.items():
        assert torch.equal(more.terms[name], value)
    assert float((more.src - plain.src).detach().mean()) == pytest.approx(float(more.terms["ffl_src"]), rel=1e-3)


def test_phaze_a_is_faceswaps_sum_with_its_mask() -> None:
    """SSIM and squared difference inside the mask and its parts, and the mask's squared difference, all by ten."""
    settings = PhazeASettings()
    src, dst, out = side(1), side(2), random_output()
    found = build_objective(settings)(out, src, dst)
    assert src.eyes is not None
    assert src.mouth is not None
    weights = soft_mask(src.mask) + 3 * src.eyes + 2 * src.mouth
    maps = ssim(src.target, out.src_src) + pointwise.mse(src.target, out.src_src)
    expected = 10 * (mean(maps * weights) + mean(pointwise.mse(src.mask, out.src_src_mask)))
    assert torch.allclose(found.src, expected, rtol=1e-5)


def test_a_network_without_masks_has_no_mask_term() -> None:
    src, dst, out = side(1), side(2), random_output()
    terms = build_objective(PhazeASettings(learn_mask=False))(out, src, dst).terms
    assert set(terms) == {"ssim_src", "ssim_dst", "mse_src", "mse_dst"}


def test_masks_are_compared_as_chosen() -> None:
    src, dst, out = side(1), side(2), random_output()
    kinds: tuple[tuple[Literal["mse", "mae"], int], ...] = (("mse", 2), ("mae", 1))
    for kind, power in kinds:
        terms = build_objective(SaehdSettings(mask_loss_function=kind))(out, src, dst).terms
        expected = 10 * (out.src_src_mask - src.mask).detach().abs().pow(power).mean()
        assert float(terms["mask_src"]) == pytest.approx(float(expected), rel=1e-5)


def test_smaller_pictures_of_a_network_are_compared_too() -> None:
    src, dst, out = side(1), side(2), random_output()
    half = torch.rand(4, 3, 32, 32, requires_grad=True)
    settings = TRAIN_SETTINGS["sae"](loss_function="mae", eye_multiplier=2)
    found = build_objective(settings)(replace(out, half=half), src, dst)
    found.src.sum().backward()
    assert half.grad is not None
    assert bool(half.grad[:2].any())
    assert not bool(half.grad[2:].any())


@pytest.mark.parametrize("name", LOSSES)
def test_nothing_waits_for_the_device(name: LossName) -> None:
    settings = AmpSettings(loss_function=name, eye_multiplier=3, mouth_multiplier=2)
    if name == "lpips_vgg16":
        pytest.skip("the same code as the other two, and slow")
    objective = build_objective(settings, Lpips)
    src, dst, out = side(1), side(2), random_output()
    with NoWaiting():
        found = objective(out, src, dst)
        (found.src.mean() + found.dst.mean()).backward()


@pytest.mark.parametrize("names", [LOSSES[:4], LOSSES[4:8], LOSSES[8:12], LOSSES[11:]], ids=lambda n: n[0])
def test_memory_is_counted_with_every_loss(names: tuple[str, ...]) -> None:
    small: dict[str, Any] = {"resolution": 64, "archi": "df", "ae_dims": 32, "e_dims": 16, "d_dims": 16}
    slots: dict[str, Any] = {f"loss_function{n}": name for n, name in zip(("", "_2", "_3", "_4"), names, strict=True)}
    slots.update({f"loss_weight_{number}": 20 for number in (2, 3, 4)})
    run = dry_run(SaehdSettings(**small, **slots, eye_multiplier=2), "fp32")
    networks = [build_model(SaehdSettings(**small)), *(Lpips(name) for name in names if name.startswith("lpips"))]
    assert run.weights == sum(p.nbytes for network in networks for p in network.parameters())
    pictures = 4 * 3 * 64 * 64 * 4
    assert max(each for _, each in run.moments) > 10 * pictures


def test_every_family_has_an_objective() -> None:
    assert set(OBJECTIVES) == set(TRAIN_SETTINGS)


def test_objectives_without_a_shelf_keep_their_numbers() -> None:
    """What the golden tests rely on: "own" alone adds nothing."""
    src, dst, out = side(1), side(2), random_output()
    objective = build_objective(SaehdSettings(eye_multiplier=3))
    found = objective(out, src, dst)
    objective.shelf = None
    assert torch.equal(objective(out, src, dst).src, found.src)


def test_settings_of_a_base_class_choose_losses_too() -> None:
    settings: TrainSettings = SaehdSettings(loss_function="mae")
    out = random_output()
    same = Reconstruction(out.src_src, out.src_src_mask, out.src_src, out.src_src_mask)
    batch = side(1)
    found = build_objective(settings)(same, batch, batch)
    assert torch.equal(found.src, found.dst)
