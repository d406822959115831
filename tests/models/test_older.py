"""H64, H128, DF, LIAEF128 and SAE: sizes by their layers' formulas, routes, options, what learns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from backend.core.errors import BadInputError
from backend.core.faces import FaceType
from backend.core.settings import TRAIN_SETTINGS, PhazeASettings, SaehdSettings, SaeSettings, TrainSettings
from backend.core.settings.older import OlderSettings
from backend.core.settings.phaze_a_presets import PHAZE_A_PRESETS
from backend.models.base import FaceSwapModel, Reconstruction
from backend.models.older import build_older
from backend.models.older_parts import OlderDecoder, ScaledResidualBlock
from backend.models.older_shapes import older_shape
from backend.models.registry import MODELS, build_model

FAMILIES = ("h64", "h128", "df", "liaef128", "sae")
EVERY: dict[str, tuple[str, dict[str, Any]]] = {
    "h64": ("h64", {}),
    "h64 light": ("h64", {"lightweight": True}),
    "h128": ("h128", {}),
    "h128 light": ("h128", {"lightweight": True}),
    "df": ("df", {}),
    "liaef128": ("liaef128", {}),
    "sae df": ("sae", {}),
    "sae df rich": ("sae", {"residual_blocks": True, "multiscale_decoder": True, "remove_gray_border": True}),
    "sae df light": ("sae", {"lightweight_encoder": True, "learn_mask": False, "ca_weights": True}),
    "sae liae": ("sae", {"archi": "liae", "face_type": "h"}),
    "sae liae rich": ("sae", {"archi": "liae", "residual_blocks": True, "multiscale_decoder": True}),
    "sae liae light": ("sae", {"archi": "liae", "lightweight_encoder": True, "learn_mask": False}),
    "sae vg": ("sae", {"archi": "vg"}),
    "sae vg light": ("sae", {"archi": "vg", "lightweight_encoder": True, "remove_gray_border": True}),
}


def settings_of(name: str, **changes: Any) -> OlderSettings:
    family, options = EVERY[name]
    settings = TRAIN_SETTINGS[family].model_validate({**options, **changes}).resolved()
    assert isinstance(settings, OlderSettings)
    return settings


def thin(name: str, channels: int = 3, resolution: int = 64) -> FaceSwapModel:
    """The network of these settings with all widths at a few channels."""
    shape = older_shape(settings_of(name, channels=channels))
    narrow: dict[str, Any] = {"widths": (4, 8, 8, 8), "bottleneck": 6, "code_channels": 8, "up_channels": 8}
    narrow |= {"faces": (8, 6, 4), "masks": (4, 4, 4) if shape.masks else (), "deep": min(shape.deep, 2)}
    return build_older(replace(shape, resolution=resolution, **narrow))


def meta(settings: TrainSettings) -> FaceSwapModel:
    with torch.device("meta"):
        return build_model(settings)


def count(part: nn.Module) -> int:
    return sum(p.numel() for p in part.parameters())


def conv(i: int, o: int, kernel: int) -> int:
    return kernel * kernel * i * o + o


def dense(i: int, o: int) -> int:
    return i * o + o


def encoder(channels: int, *widths: int) -> int:
    return sum(conv(i, o, 5) for i, o in zip((channels, *widths[:-1]), widths, strict=True))


def inter(flat: int, bottleneck: int, side: int, code: int, up: int) -> int:
    return dense(flat, bottleneck) + dense(bottleneck, side * side * code) + conv(code, 4 * up, 3)


def chain(code: int, widths: tuple[int, ...], out: int, residuals: int = 0) -> int:
    """Doublings, residual blocks of two convolutions after each, and the head."""
    ups = sum(conv(i, 4 * o, 3) for i, o in zip((code, *widths[:-1]), widths, strict=True))
    return ups + sum(2 * residuals * conv(w, w, 3) for w in widths) + conv(widths[-1], out, 5)


# name: encoder widths, (bottleneck, side, unfolded, after the doubling), face and mask decoder widths
ONE_INTER = {
    "h64": ((128, 256, 512, 1024), (1024, 4, 1024, 512), (512, 256, 128), (256, 128, 64)),
    "h64 light": ((128, 256, 512, 768), (512, 4, 512, 256), (256, 128, 64), (256, 128, 64)),
    "h128": ((128, 256, 512, 1024), (512, 8, 512, 512), (512, 256, 128), (512, 256, 128)),
    "h128 light": ((128, 256, 512, 1024), (256, 8, 256, 256), (256, 128, 64), (256, 128, 64)),
    "df": ((128, 256, 512, 1024), (512, 8, 512, 512), (512, 256, 128), (512, 256, 128)),
    "sae df": ((126, 252, 504, 1008), (512, 8, 512, 512), (504, 252, 126), (168, 84, 42)),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ONE_INTER)
def test_sizes_of_one_inter(name: str, channels: int) -> None:
    widths, (bottleneck, side, unfolded, up), faces, masks = ONE_INTER[name]
    model = meta(settings_of(name, channels=channels))
    parts = {part: count(module) for part, module in model.parts().items()}
    decoder = chain(up, faces, channels) + chain(up, masks, 1)
    assert parts == {
        "encoder": encoder(channels, *widths),
        "inter": inter(widths[-1] * side * side, bottleneck, side, unfolded, up),
        "decoder_src": decoder,
        "decoder_dst": decoder,
    }
    assert count(model) == sum(parts.values())


@pytest.mark.parametrize(
    ("name", "widths", "faces", "masks"),
    [
        ("liaef128", (128, 256, 512, 1024), (512, 256, 128), (512, 256, 128)),
        ("sae liae", (126, 252, 504, 1008), (504, 252, 126), (168, 84, 42)),
    ],
)
def test_sizes_of_two_inters(
    name: str, widths: tuple[int, ...], faces: tuple[int, ...], masks: tuple[int, ...]
) -> None:
    model = meta(settings_of(name))
    each = inter(widths[-1] * 64, 256, 8, 512, 512)
    parts = {part: count(module) for part, module in model.parts().items()}
    decoder = chain(1024, faces, 3) + chain(1024, masks, 1)
    assert parts == {"encoder": encoder(3, *widths), "inter_AB": each, "inter_B": each, "decoder": decoder}
    assert count(model) == sum(parts.values())


def test_sizes_of_vg() -> None:
    """42 per colour are 126, lowered to 124, whose pixels fold out of 31 channels; it ends at 4 px of 128."""
    for light, blocks in ((False, 16), (True, 8)):
        model = meta(SaeSettings(archi="vg", lightweight_encoder=light))
        deep = conv(3, 124, 5) + blocks * (2 * conv(124, 124, 3) + 1)
        folds = conv(124, 124, 5) + conv(31, 124, 5)
        assert count(model.parts()["encoder"]) == deep + folds + encoder(31, 124, 248, 496, 992)
        assert count(model.parts()["inter"]) == inter(992 * 16, 512, 8, 512, 512)
        decoder = chain(512, (504, 252, 126), 3, residuals=1) + chain(512, (168, 84, 42), 1)
        assert count(model.parts()["decoder_src"]) == decoder
    wide = meta(SaeSettings(archi="vg", resolution=80))
    assert count(wide.parts()["inter"]) == inter(992 * 9, 512, 5, 512, 512)


def test_sizes_of_options_of_sae() -> None:
    plain = meta(SaeSettings())
    decoder = count(plain.parts()["decoder_src"])
    for archi in ("df", "liae"):
        light = meta(SaeSettings(archi=archi, lightweight_encoder=True)).parts()["encoder"]
        separable = sum(25 * i + i * o + o for i, o in ((126, 252), (504, 1008)))
        assert count(light) == conv(3, 126, 5) + conv(252, 504, 5) + separable
    heads = conv(504, 3, 5) + conv(252, 3, 5)
    assert count(meta(SaeSettings(multiscale_decoder=True)).parts()["decoder_src"]) == decoder + heads
    blocks = 2 * sum(2 * conv(w, w, 3) for w in (504, 252, 126))
    assert count(meta(SaeSettings(residual_blocks=True)).parts()["decoder_dst"]) == decoder + blocks
    unmasked = meta(SaeSettings(learn_mask=False))
    assert count(unmasked.parts()["decoder_src"]) == chain(512, (504, 252, 126), 3)
    assert not unmasked.learns_mask
    assert plain.learns_mask
    wide = meta(SaeSettings(resolution=64, ae_dims=32, e_ch_dims=21, d_ch_dims=10))
    assert count(wide.parts()["encoder"]) == encoder(3, 63, 126, 252, 504)
    assert count(wide.parts()["inter"]) == inter(504 * 16, 32, 4, 32, 32)
    assert count(wide.parts()["decoder_src"]) == chain(32, (240, 120, 60), 3) + chain(32, (80, 40, 20), 1)


def preset(name: str) -> dict[str, int]:
    """Parameters of the parts of the model builder's network of a preset, without a mask."""
    settings = PhazeASettings.model_validate({**PHAZE_A_PRESETS[name], "learn_mask": False})
    return {part: count(module) for part, module in meta(settings).parts().items()}


def faces_of(model: FaceSwapModel, decoder: str) -> int:
    """Parameters of a decoder without its mask, which the builder's presets do not learn."""
    whole = model.parts()[decoder]
    return count(whole) - count(whole.get_submodule("mask_ladder")) - count(whole.get_submodule("mask_head"))


def test_as_large_as_the_builders_presets() -> None:
    """Squeezing belongs to the encoder there and to the inter here, so these two are compared together.

    H64 is "original" up to its decoder, which is wider, except for the mask's; DF and H128 are "dfl-h128".
    """
    h64, original = meta(settings_of("h64")), preset("original")
    assert count(h64.parts()["encoder"]) + count(h64.parts()["inter"]) == 69_662_976
    assert original["encoder"] + original["fc_both"] == 69_662_976
    decoder = h64.parts()["decoder_src"]
    masks = count(decoder.get_submodule("mask_ladder")) + conv(64, 3, 5)
    assert masks == original["decoder_a"] == 6_199_747
    built = preset("dfl-h128")
    for name in ("h128", "df"):
        model = meta(settings_of(name))
        assert count(model.parts()["encoder"]) + count(model.parts()["inter"]) == built["encoder"] + built["fc_both"]
        assert faces_of(model, "decoder_src") == built["decoder_a"] == 15_348_611


def test_as_large_as_the_builders_presets_of_sae() -> None:
    """Decoders differ a little: the builder's curve gives 504, 248, 128 where SAE has 504, 252, 126."""
    sae, built = meta(settings_of("sae df", residual_blocks=True)), preset("dfl-sae-df")
    assert count(sae.parts()["encoder"]) + count(sae.parts()["inter"]) == built["encoder"] + built["fc_both"]
    assert built["decoder_a"] == chain(512, (504, 248, 128), 3, residuals=2)
    assert faces_of(sae, "decoder_src") == chain(512, (504, 252, 126), 3, residuals=2)
    sae, built = meta(settings_of("sae liae", residual_blocks=True)), preset("dfl-sae-liae")
    assert count(sae.parts()["encoder"]) == built["encoder"] == 16_681_140
    inters = {count(sae.parts()[name]) for name in ("inter_AB", "inter_B")}
    assert inters == {built["fc_a"]} == {built["fc_b"]} == {34_375_936}
    assert built["decoder_both"] == chain(1024, (504, 248, 128), 3, residuals=2)
    assert faces_of(sae, "decoder") == chain(1024, (504, 252, 126), 3, residuals=2)


def test_facts_name_the_sizes() -> None:
    facts = meta(settings_of("sae liae")).facts()
    assert facts["Encoder gives"] == "64,512 values"
    assert facts["Decoder begins at"] == "16 x 16 x 1,024"
    assert facts["Decoder filters"] == "504, 252, 126"
    assert facts["Mask decoder filters"] == "168, 84, 42"
    assert "Mask decoder filters" not in meta(settings_of("sae liae light")).facts()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", EVERY)
def test_routes_and_shapes(name: str, channels: int) -> None:
    torch.manual_seed(3)
    model = thin(name, channels)
    src, dst = torch.rand(3, channels, 64, 64), torch.rand(2, channels, 64, 64)
    out = model.autoencode(src, dst, with_swap=True)
    assert out.swap is not None
    assert out.swap_mask is not None
    assert (out.src_src.shape, out.dst_dst.shape, out.swap.shape) == (src.shape, dst.shape, dst.shape)
    assert out.src_src_mask.shape == (3, 1, 64, 64)
    assert out.dst_dst_mask.shape == (2, 1, 64, 64)
    merged = model.swap(dst)
    assert torch.allclose(merged.face, out.swap, atol=1e-5)
    assert torch.allclose(merged.mask, out.swap_mask, atol=1e-5)
    assert torch.allclose(merged.dst_mask, out.dst_dst_mask, atol=1e-5)
    assert merged.face.dtype == merged.mask.dtype == torch.float32
    assert 0 < float(merged.face.min().detach()) <= float(merged.face.max().detach()) < 1
    plain = model.autoencode(src, dst)
    assert plain.swap is None
    assert torch.allclose(plain.dst_dst, out.dst_dst, atol=1e-5)
    if not model.learns_mask:
        assert bool((merged.mask == 1).all())
        assert not out.src_src_mask.requires_grad
    assert_sizes(out, src, dst, several="rich" in name)


def assert_sizes(out: Reconstruction, src: Tensor, dst: Tensor, several: bool) -> None:
    """Both sides at a half and a quarter of the size, src first, or not at all."""
    if not several:
        assert out.half is None
        assert out.quarter is None
        return
    assert out.half is not None
    assert out.quarter is not None
    assert out.half.shape == (5, src.shape[1], 32, 32)
    assert out.quarter.shape == (5, src.shape[1], 16, 16)
    (out.half[:3].sum() + out.quarter[:3].sum()).backward()


def test_smaller_sizes_belong_to_their_sides() -> None:
    """Faces of one side at every size change when that side's input does, and those of the other side do not."""
    for name in ("sae df rich", "sae liae rich"):
        torch.manual_seed(3)
        model = thin(name)
        src, dst = torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64)
        for swapped in (False, True):
            first = model.autoencode(src, dst, swapped)
            second = model.autoencode(src, 1 - dst, swapped)
            for a, b in ((first.half, second.half), (first.quarter, second.quarter)):
                assert a is not None
                assert b is not None
                assert torch.allclose(a[0], b[0], atol=1e-6)
                assert not torch.allclose(a[1], b[1], atol=1e-6)


@pytest.mark.parametrize("name", EVERY)
def test_every_weight_learns(name: str) -> None:
    torch.manual_seed(3)
    model = thin(name)
    out = model.autoencode(torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64))
    faces = out.src_src, out.dst_dst, out.src_src_mask, out.dst_dst_mask, out.half, out.quarter
    torch.stack([face.sum() for face in faces if face is not None]).sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())
    of_parts = [p for part in model.parts().values() for p in part.parameters()]
    assert {id(p) for p in of_parts} == {id(p) for p in model.parameters()}
    assert len(of_parts) == len(list(model.parameters()))
    assert set(model.identity_parts()) < set(model.parts())


def reached(part: nn.Module) -> bool:
    """Whether a gradient other than zero arrived."""
    return any(p.grad is not None and bool(p.grad.any()) for p in part.parameters())


def test_the_swap_reaches_the_decoder_alone() -> None:
    for name, decoder in (("df", "decoder_src"), ("liaef128", "decoder")):
        model = thin(name)
        out = model.autoencode(torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64), with_swap=True)
        assert out.swap is not None
        out.swap.sum().backward()
        assert {n for n, part in model.parts().items() if reached(part)} == {decoder}


def test_liae_of_src_passes_one_inter_alone() -> None:
    model = thin("liaef128")
    model.autoencode(torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64)).src_src.sum().backward()
    assert not reached(model.parts()["inter_B"])
    assert reached(model.parts()["inter_AB"])


@pytest.mark.parametrize("name", ["h64", "sae df rich", "sae liae light", "sae vg"])
def test_short_format_comes_close(name: str) -> None:
    torch.manual_seed(3)
    model = thin(name)
    src, dst = torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64)
    exact = model.autoencode(src, dst)
    with torch.autocast("cpu", torch.bfloat16):
        short = model.autoencode(src, dst)
    assert short.src_src.dtype == torch.float32
    assert torch.allclose(short.src_src, exact.src_src, atol=0.02)


def test_mirrored_edges() -> None:
    """A flat picture is doubled alike at its rim and in its middle only where edges are mirrored."""
    for name, flat in (("sae df rich", True), ("sae vg light", True), ("sae df", False)):
        model = thin(name)
        decoder = model.parts()["decoder_src"]
        assert isinstance(decoder, OlderDecoder)
        doubled = decoder.face_ladder.upscales[0](torch.full((1, 8, 8, 8), 0.5))
        assert torch.allclose(doubled[..., :2, :2], doubled[..., 6:8, 6:8], atol=1e-6) is flat
        padded = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.kernel_size != (1, 1)]
        assert {m.padding_mode for m in padded} == {"reflect" if flat else "zeros"}


def test_residual_block_of_vg_begins_with_a_tenth() -> None:
    """leaky(x + s * conv(leaky(conv(leaky(x))))), slopes 0.2, s = 0.1."""
    torch.manual_seed(3)
    block = ScaledResidualBlock(3)
    x = torch.randn(1, 3, 5, 5)
    leaky = nn.LeakyReLU(0.2)
    expected = leaky(x + 0.1 * block.conv2(leaky(block.conv1(leaky(x)))))
    assert torch.allclose(block(x), expected, atol=1e-6)


def test_registry_builds_from_settings() -> None:
    letters = {"h64": "h", "h128": "h", "df": "f", "liaef128": "f", "sae": "f"}
    for name in FAMILIES:
        model = meta(TRAIN_SETTINGS[name].model_validate({"channels": 1}))
        assert model.face_type is FaceType.from_letter(letters[name])
        assert (model.resolution, model.channels) == (64 if name == "h64" else 128, 1)
        assert MODELS[name].settings is TRAIN_SETTINGS[name]
    with pytest.raises(BadInputError):
        MODELS["h64"].build(SaehdSettings())


def test_weights_follow_the_seed() -> None:
    settings = SaeSettings(resolution=64, ae_dims=32, e_ch_dims=21, d_ch_dims=10)
    first, second, third = (build_model(settings, seed) for seed in (5, 5, 6))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    name = "decoder_src.face_ladder.upscales.0.conv1.weight"
    weight = first.get_parameter(name).detach()
    assert not torch.equal(weight, third.get_parameter(name))
    limit = (6 / ((weight.shape[0] + weight.shape[1]) * 9)) ** 0.5
    assert limit * 0.99 < float(weight.abs().max()) <= limit
    aware = build_model(settings.model_copy(update={"ca_weights": True}), 5).get_parameter(name).detach()
    assert float(aware.var()) == pytest.approx(2 / (weight.shape[1] * 9), rel=1e-3)
