"""Objectives: DeepFaceLab's totals, its first losses and gradients, and what each model class adds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from backend.core.errors import BadInputError
from backend.core.settings import AmpSettings, Quick96Settings, SaehdSettings, TrainSettings
from backend.models.base import Reconstruction
from backend.models.dfl_names import dfl_name, load_dfl_weights, to_dfl_layout
from backend.models.discriminators import CodeDiscriminator, UNetDiscriminator
from backend.models.losses.adversarial import bce, total_variation
from backend.models.losses.blur import gaussian_blur
from backend.models.losses.dssim import dssim
from backend.models.losses.mask import blur_out, soft_mask
from backend.models.losses.pixel import pixel_loss
from backend.models.losses.style import background_style, style_loss, surroundings
from backend.models.saehd import SaehdDf
from backend.training.batch import FaceBatch
from backend.training.objective import build_objective, gan_extras
from tests.models.dfl_files import bchw, read_weights, stored_model
from tests.models.test_losses_golden import ROUNDING, Golden, close

CASES = ("df_ud_basic", "df_rmsprop_unmasked", "liae_ud_basic", "liae_udt_nowarp_clip_blurout")


def pair(numbers: Golden) -> tuple[FaceBatch, Reconstruction]:
    """The golden pictures as both sides."""
    target, mask = numbers["target"], numbers["mask"]
    face, predicted = numbers["pred"], numbers["pred_mask"]
    batch = FaceBatch(target, target, mask, numbers["em_mask"])
    return batch, Reconstruction(face, predicted, face, predicted, face, predicted)


@pytest.mark.parametrize("side", [64, 128, 256])
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("eyes_mouth", [True, False])
@pytest.mark.parametrize("blurred", [True, False])
def test_saehd_totals(golden: Path, side: int, masked: bool, eyes_mouth: bool, blurred: bool) -> None:
    numbers = Golden(golden, side)
    batch, out = pair(numbers)
    options = {"masked_training": masked, "eyes_mouth_priority": eyes_mouth, "blur_out_mask": blurred}
    objective = build_objective(SaehdSettings(**options))
    assert not objective.wants_swap
    ready = objective.prepare(batch)
    found = objective(out, ready, ready)
    name = f"saehd_total{'_em' * eyes_mouth}_{'masked' if masked else 'unmasked'}{'_blurout' * blurred}"
    assert close(found.src, numbers[name], ROUNDING)
    assert torch.equal(found.src, found.dst)


def test_saehd_gradients(golden: Path) -> None:
    numbers = Golden(golden, 64)
    batch, out = pair(numbers)
    face, mask = out.src_src.requires_grad_(), out.src_src_mask.requires_grad_()
    fixed = Reconstruction(face, mask, face.detach(), mask.detach())
    build_objective(SaehdSettings(eyes_mouth_priority=True))(fixed, batch, batch).src.sum().backward()
    assert face.grad is not None
    assert mask.grad is not None
    assert close(face.grad, numbers["grad_pred_of_sum_saehd_total_em_masked"], 1e-4)
    assert close(mask.grad, numbers["grad_predmask_of_sum"], 1e-4)


@pytest.mark.parametrize("side", [64, 128, 256])
def test_amp_and_gan_extras(golden: Path, side: int) -> None:
    """Pixel, mask, and eyes and mouth are the same as SAEHD's, so their golden numbers serve AMP too."""
    numbers = Golden(golden, side)
    batch, out = pair(numbers)
    found = build_objective(AmpSettings())(out, batch, batch)
    parts = ("amp_structure_masked", "saehd_pixel_masked", "saehd_eyes_mouth", "saehd_mask")
    expected = torch.stack([numbers[part] for part in parts]).sum(dim=0)
    assert close(found.src, expected, ROUNDING)
    assert close(found.dst, expected + numbers["amp_bg_weak"], ROUNDING)
    assert float(found.terms["background_dst"]) == pytest.approx(float(numbers["amp_bg_weak"].mean()), rel=1e-4)
    assert "background_src" not in found.terms
    assert close(gan_extras(numbers["pred"], numbers["target"], numbers["mask"]), numbers["gan_bg"], ROUNDING, 1e-8)


class Case:
    """One recorded training of DeepFaceLab."""

    def __init__(self, golden: Path, name: str) -> None:
        self.folder, self.name = golden / "dfl_networks" / "train_steps", name
        self.facts = json.loads((self.folder / f"{name}.json").read_text())
        self.arrays = dict(np.load(self.folder / f"{name}.npz"))
        self.model = stored_model(golden / "dfl_networks" / self.facts["options"]["archi"])
        self.model.train()

    def settings(self, **changes: Any) -> SaehdSettings:
        options = self.facts["options"]
        wanted = {
            "masked_training": options.get("masked_training", True),
            "eyes_mouth_priority": options.get("eyes_mouth_prio", False),
            "blur_out_mask": options.get("blur_out_mask", False),
            "face_style_power": options.get("face_style_power", 0.0),
            "bg_style_power": options.get("bg_style_power", 0.0),
        }
        return SaehdSettings(**{**wanted, **changes})

    def side(self, name: str) -> FaceBatch:
        return FaceBatch(*(bchw(self.arrays[f"{kind}_{name}"]) for kind in ("warped", "target", "mask", "em")))

    def extra(self, module: nn.Module, name: str) -> nn.Module:
        load_dfl_weights(module, read_weights(self.folder / f"{self.name}_{name}.weights.npz"))
        return module

    def check_gradients(self, module: nn.Module, kind: str, prefix: str) -> None:
        """Compare norms, sums and first values with those of DeepFaceLab's summed loss."""
        expected = self.facts["gradients_step1_unclipped"][kind]
        for name, parameter in module.named_parameters():
            key = f"{prefix}/{dfl_name(name)}"
            facts, found = expected[key], parameter.grad
            if not parameter.requires_grad:
                assert facts["norm"] == 0
                continue
            assert found is not None, key
            gradient = to_dfl_layout(found).astype(np.float64)
            assert np.linalg.norm(gradient) == pytest.approx(facts["norm"], rel=1e-4), key
            assert np.abs(gradient).sum() == pytest.approx(facts["abs_sum"], rel=1e-4), key
            assert np.allclose(gradient.flatten()[:8], facts["first8"], rtol=1e-3, atol=1e-4 * facts["norm"]), key


@pytest.mark.parametrize("name", CASES)
def test_first_losses_and_gradients(golden: Path, name: str) -> None:
    """DeepFaceLab's gradients are those of the sum over the batch."""
    case = Case(golden, name)
    for part in case.model.frozen_parts(case.facts["options"].get("random_warp", True)):
        case.model.get_submodule(part).requires_grad_(False)
    objective = build_objective(case.settings())
    src, dst = objective.prepare(case.side("src")), objective.prepare(case.side("dst"))
    found = objective(case.model(src.warped, dst.warped), src, dst)
    assert np.allclose(found.src.detach(), case.arrays["src_loss"][0], rtol=2e-5)
    assert np.allclose(found.dst.detach(), case.arrays["dst_loss"][0], rtol=2e-5)
    (found.src.sum() + found.dst.sum()).backward()
    for part_name, part in case.model.parts().items():
        case.check_gradients(part, "src_dst", part_name)


def test_first_step_with_every_extra(golden: Path) -> None:
    """GAN, true face and both styles.

    Of the background style two things are put in by hand as DeepFaceLab has them, because ours differ on purpose: the
    area is the mask of the src target, and the gradient runs on through the code of dst.
    """
    case = Case(golden, "df_ud_all")
    options, model = case.facts["options"], case.model
    assert isinstance(model, SaehdDf)
    judge = case.extra(UNetDiscriminator(3, options["gan_patch_size"], options["gan_dims"]), "GAN")
    code_judge = case.extra(CodeDiscriminator(options["ae_dims"], 4), "code_discriminator")
    objective = build_objective(case.settings(bg_style_power=0.0))
    src, dst = case.side("src"), case.side("dst")
    out = model(src.warped, dst.warped, objective.wants_swap)
    found, soft = objective(out, src, dst), soft_mask(src.mask)
    through = model.decoder_src.face(out.dst_code)
    background = background_style(dst.target, through, 1 - soft) * (10 * options["bg_style_power"] / 100)
    assert np.allclose((found.src + background).detach(), case.arrays["src_loss"][0], rtol=2e-5)
    assert np.allclose(found.dst.detach(), case.arrays["dst_loss"][0], rtol=2e-5)

    drawn, real = out.src_src * soft, src.target * soft
    fooled = sum(bce(logits, real=True) for logits in judge(drawn))
    loss = found.src + background + found.dst + options["gan_power"] * fooled
    loss = loss + options["true_face_power"] * bce(code_judge(out.src_code), real=True)
    loss = loss + gan_extras(out.src_src, src.target, src.mask)
    loss.sum().backward()
    for part_name, part in model.parts().items():
        case.check_gradients(part, "src_dst", part_name)

    apart = [bce(logits, real=True) for logits in judge(real)] + [bce(x, real=False) for x in judge(drawn.detach())]
    judge.zero_grad()
    (0.5 * sum(apart)).sum().backward()
    case.check_gradients(judge, "GAN", "D_src")
    scores = bce(code_judge(out.dst_code.detach()), real=True) + bce(code_judge(out.src_code.detach()), real=False)
    code_judge.zero_grad()
    (0.5 * scores).sum().backward()
    case.check_gradients(code_judge, "D_code", "dis")


def random_batch(seed: int, channels: int = 3, side: int = 64) -> FaceBatch:
    draw = torch.Generator().manual_seed(seed)
    mask = torch.zeros(2, 1, side, side)
    mask[:, :, 12:52, 8 + seed : 40 + seed] = 1
    pictures = torch.rand(2, 2, channels, side, side, generator=draw)
    return FaceBatch(pictures[0], pictures[1], mask, mask * 0.5)


def random_output(channels: int = 3, side: int = 64) -> Reconstruction:
    draw = torch.Generator().manual_seed(9)
    faces = [torch.rand(2, channels, side, side, generator=draw, requires_grad=True) for _ in range(3)]
    masks = [torch.rand(2, 1, side, side, generator=draw, requires_grad=True) for _ in range(3)]
    return Reconstruction(faces[0], masks[0], faces[1], masks[1], faces[2], masks[2])


ALL = (
    SaehdSettings(eyes_mouth_priority=True, blur_out_mask=True, face_style_power=5, bg_style_power=2),
    SaehdSettings(masked_training=False),
    AmpSettings(blur_out_mask=True),
    Quick96Settings(),
)


@pytest.mark.parametrize("settings", ALL, ids=lambda s: s.model_class)
@pytest.mark.parametrize("channels", [3, 1])
def test_terms_add_up(settings: TrainSettings, channels: int) -> None:
    objective, out = build_objective(settings), random_output(channels)
    src, dst = (objective.prepare(random_batch(seed, channels)) for seed in (1, 2))
    found = objective(out, src, dst)
    assert found.src.shape == found.dst.shape == (2,)
    sides = {"src": 0.0, "dst": 0.0}
    for name, value in found.terms.items():
        assert value.dim() == 0
        assert not value.requires_grad
        sides["dst" if name.endswith("_dst") else "src"] += float(value)
    assert sides["src"] == pytest.approx(float(found.src.detach().mean()), rel=1e-5)
    assert sides["dst"] == pytest.approx(float(found.dst.detach().mean()), rel=1e-5)


def test_term_names() -> None:
    found = build_objective(ALL[0])(random_output(), random_batch(1), random_batch(2))
    pairs = {f"{name}_{side}" for name in ("structure", "pixel", "mask", "eyes_mouth") for side in ("src", "dst")}
    assert set(found.terms) == pairs | {"style"}


def test_weights_come_from_the_settings() -> None:
    src, dst, out = random_batch(1), random_batch(2), random_output()
    settings = SaehdSettings(eyes_mouth_priority=True)
    plain = build_objective(settings)(out, src, dst).terms
    for name in ("structure", "pixel", "mask", "eyes_mouth"):
        weight = f"{name}_weight"
        changed = settings.model_copy(update={weight: getattr(settings, weight) * 3})
        for term, value in build_objective(changed)(out, src, dst).terms.items():
            factor = 3 if term.startswith(name) else 1
            assert float(value) == pytest.approx(factor * float(plain[term]), rel=1e-5), term


def test_the_swap_is_decoded_only_for_a_style() -> None:
    wanting = ({"face_style_power": 0.001}, {"bg_style_power": 2.0})
    assert all(build_objective(SaehdSettings(**powers)).wants_swap for powers in wanting)
    plain = (SaehdSettings(), Quick96Settings(), AmpSettings(), TrainSettings())
    assert not any(build_objective(settings).wants_swap for settings in plain)
    out = random_output()
    bare = Reconstruction(out.src_src, out.src_src_mask, out.dst_dst, out.dst_dst_mask)
    with pytest.raises(BadInputError):
        build_objective(SaehdSettings(bg_style_power=2.0))(bare, random_batch(1), random_batch(2))


def test_styles_pull_at_the_swap_alone() -> None:
    out, dst = random_output(), random_batch(2)
    found = build_objective(SaehdSettings(face_style_power=3, bg_style_power=2))(out, random_batch(1), dst)
    plain = build_objective(SaehdSettings())(out, random_batch(1), dst)
    assert out.swap is not None
    assert out.swap_mask is not None
    look = out.dst_dst * out.dst_dst_mask
    face = style_loss(look, out.swap * out.swap_mask, 8)
    around = surroundings(out.swap_mask, out.dst_dst_mask)
    expected = 10_000 * 0.03 * face + 10 * 0.02 * background_style(dst.target, out.swap, around)
    assert torch.allclose(found.src - plain.src, expected, rtol=1e-4)
    assert torch.equal(found.dst, plain.dst)
    assert float(found.terms["style"]) == pytest.approx(float(expected.detach().mean()), rel=1e-5)
    routes = (out.swap, out.swap_mask, out.dst_dst, out.dst_dst_mask)
    pulls = torch.autograd.grad(found.src.sum(), routes, allow_unused=True)
    assert [pull is not None for pull in pulls] == [True, False, True, True]
    assert not bool(pulls[2].any() or pulls[3].any())


def test_quick96_cuts_with_the_plain_blur() -> None:
    src, out = random_batch(1, side=96), random_output(side=96)
    found = build_objective(Quick96Settings())(out, src, src)
    rim = gaussian_blur(src.mask, 3)
    target, seen = src.target * rim, out.src_src * rim
    expected = 10 * (dssim(target, seen, 8).mean(dim=1) + pixel_loss(target, seen))
    expected = expected + 10 * (out.src_src_mask - src.mask).square().mean(dim=(1, 2, 3))
    assert torch.allclose(found.src, expected, rtol=1e-5)


def test_amp_holds_the_surroundings_of_dst() -> None:
    src, dst, out = random_batch(1), random_batch(2), random_output()
    outside = 1 - soft_mask(dst.mask)
    expected = 0.1 * pixel_loss(dst.target * outside, out.dst_dst * outside)
    expected = expected + 1e-6 * total_variation(out.dst_dst * outside)
    found = build_objective(AmpSettings())(out, src, dst).terms["background_dst"]
    assert float(found) == pytest.approx(float(expected.detach().mean()), rel=1e-5)


def test_prepare_blurs_the_surroundings_only_when_asked() -> None:
    batch = random_batch(1)
    assert build_objective(SaehdSettings()).prepare(batch) is batch
    for settings in (SaehdSettings(blur_out_mask=True), AmpSettings(blur_out_mask=True)):
        ready = build_objective(settings).prepare(batch)
        assert torch.equal(ready.target, blur_out(batch.target, batch.mask))
        assert ready.warped is batch.warped
        assert ready.eyes_mouth is batch.eyes_mouth


def test_what_cannot_be_compared_is_refused() -> None:
    side = random_batch(1)
    bare = FaceBatch(side.warped, side.target, side.mask)
    for settings in (SaehdSettings(eyes_mouth_priority=True), AmpSettings()):
        with pytest.raises(BadInputError):
            build_objective(settings)(random_output(), side, bare)
    with pytest.raises(BadInputError, match="nobody"):
        build_objective(TrainSettings(model_class="nobody"))


class NoWaiting(TorchDispatchMode):
    """Refuses what makes the host wait for the device: reading a value, or a shape that depends on values."""

    FORBIDDEN = ("_local_scalar_dense", "nonzero", "masked_select", "equal")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        assert name not in self.FORBIDDEN, f"{name} waits for the device"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("settings", ALL, ids=lambda s: s.model_class)
def test_nothing_waits_for_the_device(settings: TrainSettings) -> None:
    src, dst, out = random_batch(1), random_batch(2), random_output()
    net = UNetDiscriminator(3, 16, 4)
    with NoWaiting():
        objective = build_objective(settings)
        found = objective(out, objective.prepare(src), objective.prepare(dst))
        loss = found.src.mean() + found.dst.mean() + gan_extras(out.src_src, src.target, src.mask).mean()
        (loss + sum(bce(logits, real=True).mean() for logits in net(out.src_src))).backward()
    with pytest.raises(AssertionError), NoWaiting():
        bool(src.target.sum() > 0)
