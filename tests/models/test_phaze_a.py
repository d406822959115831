"""The model builder's network: parameter counts, parts, routes, sizes, noise, norms, and what can be held still."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backend.core.errors import BadInputError
from backend.core.settings import PhazeASettings
from backend.core.settings.phaze_a_presets import PHAZE_A_PRESETS
from backend.models import phaze_a_encoder
from backend.models.phaze_a import PhazeA, build_phaze_a
from backend.models.phaze_a_blocks import build_norm, build_upscale
from backend.models.phaze_a_encoder import FsOriginal
from backend.models.phaze_a_parts import GBlock, adain
from backend.models.registry import MODELS, build_model

# preset -> parameters of encoder, one hidden part, one decoder, all; of networks that learn no mask
COUNTS = {
    "original": (33_992_960, 35_670_016, 6_199_747, 82_062_470),
    "lightweight": (20_884_224, 8_922_112, 10_630_019, 51_066_374),
    "dfaker": (33_992_960, 35_670_016, 21_833_923, 113_330_822),
    "iae": (17_214_720, 25_175_040, 25_076_163, 117_816_003),
    "dfl-h128": (50_769_664, 26_249_216, 15_348_611, 107_716_102),
    "dfl-sae-df": (49_711_796, 26_249_216, 26_897_411, 129_755_834),
    "dfl-sae-liae": (16_681_140, 34_375_936, 36_187_139, 121_620_151),
    "dfl-saehd-df": (4_306_560, 14_959_872, 16_815_747, 52_897_926),
    "dfl-saehd-liae": (4_306_560, 26_249_472, 30_971_523, 87_777_027),
    "dny256": (13_895_440, 11_274_240, 2_358_035, 29_885_750),
    "dny512": (18_615_056, 15_993_856, 2_358_035, 39_324_982),
    "dny1024": (23_334_672, 15_993_856, 7_077_651, 53_483_830),
}
# the summary printed in faceswap's guide
GUIDE = {
    "encoder": 25_603_840,
    "fc_a": 71_360_964,
    "fc_b": 71_360_964,
    "fc_gblock": 787_968,
    "g_block_both": 36_081_216,
    "decoder_both": 56_617_012,
}
GUIDE_OPTIONS: Mapping[str, Any] = {
    "output_size": 192,
    "bottleneck_size": 512,
    "fc_dimensions": 8,
    "fc_min_filters": 1280,
    "fc_max_filters": 1280,
    "fc_upsampler": "resize_images",
    "fc_upsample_filters": 1280,
    "dec_upscale_method": "resize_images",
    "dec_min_filters": 128,
    "dec_filter_slope": -0.5,
    "dec_skip_last_residual": False,
    "dec_output_kernel": 3,
}
# name -> options, parts in order
LAYOUTS: Mapping[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "two decoders": (
        {"enable_gblock": False, "split_fc": False, "split_decoders": True},
        ("encoder", "fc_both", "decoder_a", "decoder_b"),
    ),
    "iae": (
        {"enable_gblock": False, "shared_fc": "full"},
        ("encoder", "fc_a", "fc_b", "fc_shared", "decoder_both"),
    ),
    "liae": ({"enable_gblock": False, "shared_fc": "half"}, ("encoder", "fc_a", "fc_b", "decoder_both")),
    "all split": (
        {"split_gblock": True, "split_decoders": True},
        ("encoder", "fc_a", "fc_b", "fc_gblock", "g_block_a", "g_block_b", "decoder_a", "decoder_b"),
    ),
    "steered": ({}, ("encoder", "fc_a", "fc_b", "fc_gblock", "g_block_both", "decoder_both")),
    "steered apart": (
        {"split_fc": False, "split_gblock": True},
        ("encoder", "fc_both", "fc_gblock", "g_block_a", "g_block_b", "decoder_both"),
    ),
    "twins": (
        {"split_fc": False, "shared_fc": "half", "split_decoders": True},
        ("encoder", "fc_both", "fc_gblock", "g_block_both", "decoder_a", "decoder_b"),
    ),
    "upscales in the hidden part": (
        {"shared_fc": "full", "dec_upscales_in_fc": 2, "dec_upscale_method": "upscale_dny", "split_decoders": True},
        ("encoder", "fc_a", "fc_b", "fc_shared", "fc_gblock", "g_block_both", "decoder_a", "decoder_b"),
    ),
}
TINY: Mapping[str, Any] = {
    "output_size": 64,
    "enc_scaling": 3,
    "bottleneck_size": 128,
    "fc_min_filters": 128,
    "fc_max_filters": 128,
    "fc_upsample_filters": 128,
    "fc_gblock_min_nodes": 128,
    "fc_gblock_max_nodes": 128,
    "dec_min_filters": 16,
    "dec_max_filters": 256,
    "dec_filter_slope": -0.9,
    "dec_output_kernel": 3,
    "fs_original_min_filters": 16,
    "fs_original_max_filters": 256,
}


def tiny(**options: Any) -> PhazeA:
    torch.manual_seed(3)
    return build_phaze_a(PhazeASettings(**{**TINY, **options}))


def on_meta(options: Mapping[str, Any]) -> PhazeA:
    with torch.device("meta"):
        return build_phaze_a(PhazeASettings(**options))


def count(part: nn.Module) -> int:
    return sum(p.numel() for p in part.parameters())


def faces(channels: int, *batches: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.rand(n, channels, 64, 64, generator=generator) for n in batches]


@pytest.mark.parametrize("preset", COUNTS)
def test_parameters_of_the_presets(preset: str) -> None:
    model = on_meta({**PHAZE_A_PRESETS[preset], "learn_mask": False})
    encoder, hidden, decoder, total = COUNTS[preset]
    parts = model.parts()
    assert count(parts["encoder"]) == encoder
    for name, part in parts.items():
        assert count(part) == {"encoder": encoder, "decoder": decoder}.get(name.partition("_")[0], hidden), name
    assert count(model) == total


def test_parameters_of_the_guides_summary() -> None:
    model = on_meta(GUIDE_OPTIONS)
    assert {name: count(part) for name, part in model.parts().items()} == GUIDE
    assert count(model) == 261_811_964
    facts = model.facts()
    assert facts["Hidden nodes"] == "81,792"
    assert facts["Decoder begins at"] == "12 x 12 x 2,272"
    assert facts["Decoder filters"] == "512, 280, 176, 128"
    assert facts["Encoder gives"] == "4 x 4 x 1,024"
    assert facts["Bottleneck"] == "dense to 512 values, in the encoder"
    assert "sees 64 px" in facts["Encoder"]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(name: str, channels: int) -> None:
    """Parts and their names, what autoencode and swap give, and that both ways to the swap agree."""
    options, parts = LAYOUTS[name]
    model = tiny(**options, channels=channels).eval()
    assert tuple(model.parts()) == parts
    of_parts = [p for part in model.parts().values() for p in part.parameters()]
    assert {id(p) for p in of_parts} == {id(p) for p in model.parameters()}
    assert len(of_parts) == len(list(model.parameters()))
    src, dst = faces(channels, 3, 2)
    with torch.no_grad():
        out, merged = model.autoencode(src, dst, with_swap=True), model.swap(dst)
    assert out.src_src.shape == src.shape
    assert out.dst_dst.shape == merged.face.shape == dst.shape
    assert out.src_src_mask.shape == (3, 1, 64, 64)
    assert merged.mask.shape == merged.dst_mask.shape == (2, 1, 64, 64)
    assert out.swap is not None
    assert merged.face.dtype == torch.float32
    torch.testing.assert_close(merged.face, out.swap, atol=1e-5, rtol=0)
    torch.testing.assert_close(merged.mask, out.swap_mask, atol=1e-5, rtol=0)
    torch.testing.assert_close(merged.dst_mask, out.dst_dst_mask, atol=1e-5, rtol=0)
    assert 0 <= float(merged.face.min()) <= float(merged.face.max()) <= 1
    assert float((out.swap - out.dst_dst).abs().mean()) > 1e-4


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_weight_learns(name: str) -> None:
    model = tiny(**LAYOUTS[name][0])
    src, dst = faces(3, 2, 2)
    out = model.autoencode(src, dst)
    (out.src_src.sum() + out.dst_dst.sum() + out.src_src_mask.sum() + out.dst_dst_mask.sum()).backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())


def test_a_network_that_splits_nothing_cannot_swap() -> None:
    model = tiny(split_fc=False).eval()
    src, dst = faces(3, 1, 1)
    with torch.no_grad():
        out = model.autoencode(src, dst, with_swap=True)
    assert out.swap is not None
    assert torch.equal(out.swap, out.dst_dst)


@pytest.mark.parametrize("name", ["two decoders", "liae", "all split"])
def test_the_swap_teaches_the_decoder_alone(name: str) -> None:
    model = tiny(**LAYOUTS[name][0])
    src, dst = faces(3, 1, 1)
    out = model.autoencode(src, dst, with_swap=True)
    assert out.swap is not None
    out.swap.sum().backward()
    taught = {name for name, part in model.parts().items() if any(_moves(p) for p in part.parameters())}
    assert taught <= {"decoder_a", "decoder_both"}
    assert taught


def _moves(parameter: nn.Parameter) -> bool:
    return parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)


@pytest.mark.parametrize("name", ["two decoders", "iae", "all split", "upscales in the hidden part"])
def test_without_a_mask_masks_are_ones(name: str) -> None:
    model = tiny(**LAYOUTS[name][0], learn_mask=False)
    assert not model.learns_mask
    assert not any("mask" in key for key in model.state_dict())
    src, dst = faces(3, 1, 2)
    out = model.autoencode(src, dst, with_swap=True)
    masks = [out.src_src_mask, out.dst_dst_mask, out.swap_mask, model.swap(dst).dst_mask]
    assert [len(mask) for mask in masks if mask is not None] == [1, 2, 2, 2]
    assert all(mask is not None and bool((mask == 1).all()) and not mask.requires_grad for mask in masks)
    assert out.src_src.requires_grad


def test_the_source_is_what_is_shared_by_halves() -> None:
    """As in LIAE: src goes [a, a], dst [b, a] and the swap [a, a]."""
    model = tiny(**LAYOUTS["liae"][0]).eval()
    hidden = {name: model.get_submodule(name) for name in ("fc_a", "fc_b")}
    nn.init.zeros_(hidden["fc_b"].get_parameter("dense.layers.0.weight"))
    src, dst = faces(3, 1, 1)
    with torch.no_grad():
        first, second = model.autoencode(src, dst, with_swap=True), model.autoencode(dst, dst, with_swap=True)
    assert first.swap is not None
    assert second.swap is not None
    assert torch.equal(first.swap, second.swap)
    torch.testing.assert_close(second.src_src, second.swap)


@pytest.mark.parametrize(
    "options",
    [
        {"dec_upscale_method": "subpixel", "dec_norm": "instance", "bottleneck_norm": "instance"},
        {"dec_upscale_method": "resize_images", "dec_norm": "layer", "fc_upsampler": "resize_images"},
        {"dec_upscale_method": "upscale_fast", "dec_norm": "rms", "fc_upsampler": "upscale_fast"},
        {"dec_upscale_method": "upscale_hybrid", "dec_norm": "batch", "fc_upsampler": "upscale_hybrid"},
        {"dec_upscale_method": "upscale_dny", "dec_norm": "group", "dec_min_filters": 128, "dec_filter_slope": 0.0},
        {"fs_original_use_alt": True, "bottleneck_in_encoder": False, "fc_upsampler": "subpixel", "fc_upsamples": 2},
        {"bottleneck_type": "average_pooling", "bottleneck_norm": "rms", "fc_depth": 0, "fc_dimensions": 1},
        {"bottleneck_type": "max_pooling", "bottleneck_norm": "layer", "bottleneck_in_encoder": False, "fc_depth": 3},
        {"bottleneck_type": "flatten", "fc_upsampler": "subpixel", "fc_upsamples": 0, "dec_upscales_in_fc": 4},
        {"output_size": 96, "dec_upscales_in_fc": 1, "fc_min_filters": 192, "fc_max_filters": 200, "fc_dropout": 0.3},
        {"fc_gblock_depth": 2, "fc_gblock_dropout": 0.2, "dec_res_blocks": 2, "dec_skip_last_residual": False},
        {"dec_res_blocks": 0, "dec_gaussian": False, "dec_slope_mode": "cap_max", "fc_upsamples": 4},
    ],
    ids=lambda options: ",".join(f"{key}={value}" for key, value in options.items())[:60],
)
def test_every_choice_learns_and_swaps(options: dict[str, Any]) -> None:
    model = tiny(**{"fc_upsamples": 1, "split_decoders": True, **options})
    side = model.resolution
    src, dst = (torch.rand(2, 3, side, side) for _ in range(2))
    with torch.autocast("cpu", torch.bfloat16):
        out = model.autoencode(src, dst, with_swap=True)
    assert out.src_src.shape == src.shape
    assert out.src_src.dtype == out.src_src_mask.dtype == torch.float32
    (out.src_src.mean() + out.dst_dst.mean() + out.src_src_mask.mean() + out.dst_dst_mask.mean()).backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())
    with torch.no_grad():
        assert bool(model.eval().swap(dst).face.isfinite().all())


def test_the_decoder_begins_where_doublings_reach_the_output() -> None:
    """Of 16 px come 12 for 192: the values are laid out anew, in the order row, column, channel."""
    model = tiny(output_size=192, fc_dimensions=8, enable_gblock=False).eval()
    seen: list[Tensor] = []
    model.get_submodule("decoder_both.upscales.face.0").register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model.get_submodule("fc_a").register_forward_hook(lambda _, args, out: seen.append(out[0]))
    with torch.no_grad():
        assert model.swap(torch.rand(1, 3, 192, 192)).face.shape == (1, 3, 192, 192)
    hidden, begun = seen[:2]
    assert hidden.shape == (1, 126, 16, 16)
    assert begun.shape == (1, 224, 12, 12)
    assert torch.equal(begun.permute(0, 2, 3, 1).flatten(), hidden.permute(0, 2, 3, 1).flatten())


@pytest.mark.parametrize(("scaling", "px"), [(3, 32), (7, 64), (13, 128)])
def test_the_network_resizes_what_its_encoder_sees(scaling: int, px: int) -> None:
    model = tiny(enc_scaling=scaling).eval()
    seen: list[Tensor] = []
    model.encoder.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    picture = torch.full((1, 3, 64, 64), 0.25)
    with torch.no_grad():
        model.swap(picture)
    assert seen[0].shape[-1] == px == model.input_px
    torch.testing.assert_close(seen[0], torch.full_like(seen[0], 0.25))


def test_fs_original_pads_as_faceswap() -> None:
    """On an even side one pixel before and two behind; on an odd side two on each."""
    model = FsOriginal(1, (1,), 64)
    with torch.no_grad():
        conv = model.get_submodule("convs.0")
        conv.get_parameter("weight").copy_(torch.arange(25.0).view(1, 1, 5, 5) + 1)
        conv.get_parameter("bias").zero_()
        for side, before in ((6, 1), (5, 2)):
            dot = torch.zeros(1, 1, side, side)
            dot[0, 0, 0, 0] = 1.0
            assert float(model(dot)[0, 0, 0, 0]) == 1 + before * 6
            assert model(dot).shape[-1] == 3


def test_noise_only_while_training() -> None:
    model = tiny(**LAYOUTS["steered"][0], dec_gaussian=True)
    src, dst = faces(3, 1, 1)
    with torch.no_grad():
        assert not torch.equal(model.autoencode(src, dst).src_src, model.autoencode(src, dst).src_src)
        model.eval()
        assert torch.equal(model.autoencode(src, dst).src_src, model.autoencode(src, dst).src_src)


def test_a_dropout_can_change_while_the_weights_stay() -> None:
    before, after = tiny(), tiny(fc_dropout=0.5, fc_gblock_dropout=0.25)
    after.load_state_dict(before.state_dict())
    rates = {name: module.dropout for name, module in after.named_modules() if hasattr(module, "dropout")}
    assert rates == {"fc_a.dense": 0.5, "fc_b.dense": 0.5, "fc_gblock": 0.25}
    dst = faces(3, 1)[0]
    with torch.no_grad():
        assert torch.equal(before.eval().swap(dst).face, after.eval().swap(dst).face)
        code = after.train().encoder(dst[:, :, ::2, ::2])
        assert not torch.equal(*(after.get_submodule("fc_gblock")(code) for _ in range(2)))


def test_adain_counts_in_float32() -> None:
    x = torch.randn(2, 4, 8, 8) * 100 + 1000
    shift, scale = torch.randn(2, 4), torch.rand(2, 4)
    with torch.autocast("cpu", torch.bfloat16):
        found = adain(x.bfloat16(), shift.bfloat16(), scale.bfloat16())
    assert found.dtype == torch.float32
    exact = adain(x, shift, scale)
    torch.testing.assert_close(exact.mean(dim=(2, 3)), shift, atol=1e-4, rtol=0)
    torch.testing.assert_close(exact.std(dim=(2, 3), correction=0), scale, atol=1e-3, rtol=0)


def test_an_even_map_gives_finite_gradients() -> None:
    x = torch.ones(1, 2, 1, 1, requires_grad=True)
    adain(x, torch.zeros(1, 2), torch.ones(1, 2)).sum().backward()
    assert x.grad is not None
    assert bool(x.grad.isfinite().all())


def test_parameters_of_a_g_block() -> None:
    with torch.device("meta"):
        block = GBlock(1278, 512)
    assert count(block) == 36_081_216


@pytest.mark.parametrize(
    ("method", "of"),
    [
        ("subpixel", lambda i, f: 9 * i * 4 * f + 4 * f),
        ("upscale_fast", lambda i, f: 45 * i * f + 5 * f),
        ("upscale_hybrid", lambda i, f: 45 * i * (f // 2) + 5 * (f // 2)),
        ("resize_images", lambda i, f: 18 * i * f + 2 * f),
        ("upscale_dny", lambda i, f: 9 * i * f + 9 * f * f + 2 * f),
    ],
)
def test_upscales(method: str, of: Any) -> None:
    """Parameters and sizes; and that a further activation is the same as one behind it."""
    torch.manual_seed(1)
    upscale = build_upscale(method, 12, 8)
    assert count(upscale) == of(12, 8)
    x = torch.randn(1, 12, 5, 5)
    with torch.no_grad():
        found = upscale(x)
        assert found.shape == (1, 8, 10, 10)
        torch.testing.assert_close(upscale(x, 0.1), F.leaky_relu(found, 0.1))
    assert build_upscale(method, 4, 7).width == (8 if method == "upscale_hybrid" else 7)


def test_norms() -> None:
    torch.manual_seed(1)
    x = torch.randn(2, 64, 3, 3) * 3 + 1
    found = {kind: build_norm(kind, 64) for kind in ("instance", "layer", "rms", "group", "batch")}
    assert {kind: count(norm) for kind, norm in found.items() if norm is not None} == {
        "instance": 2, "layer": 128, "rms": 64, "group": 128, "batch": 128
    }  # fmt: skip
    made = {kind: norm(x).detach() for kind, norm in found.items() if norm is not None}
    flat = x.flatten(1)
    whole = (flat - flat.mean(1, keepdim=True)) / (flat.std(1, correction=0, keepdim=True) + 1e-3)
    torch.testing.assert_close(made["instance"].flatten(1), whole)
    centred = x - x.mean(1, keepdim=True)
    torch.testing.assert_close(made["layer"], centred / (centred.square().mean(1, keepdim=True) + 1e-3).sqrt())
    torch.testing.assert_close(made["rms"], x / (x.square().mean(1, keepdim=True) + 1e-8).sqrt())
    assert build_norm("none", 64) is None


class FakeBackbone(nn.Module):
    """Stands for a network of others, with a batch norm; gives a map or a vector."""

    def __init__(self, channels: int, vector: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 6, 1)
        self.norm = nn.BatchNorm2d(6)
        self.out_shape = (6,) if vector else (6, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        found = F.adaptive_avg_pool2d(self.norm(self.conv(x)), 2)
        return found.mean(dim=(2, 3)) if len(self.out_shape) == 1 else found


@pytest.fixture
def backbone(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    asked: list[tuple[Any, ...]] = []

    def build(name: str, px: int, channels: int, options: Any) -> nn.Module:
        asked.append((name, px, channels, options.mobilenet_width))
        return FakeBackbone(channels, name.startswith("clip"))

    monkeypatch.setattr(phaze_a_encoder, "build_backbone", build)
    return asked


def test_what_can_be_held_still(backbone: list[tuple[Any, ...]]) -> None:
    model = tiny(enc_architecture="mobilenet_v2", enc_scaling=30, mobilenet_width=0.5)
    assert backbone == [("mobilenet_v2", 64, 3, 0.5)]
    assert set(model.freezable()) == {*model.parts(), "keras_encoder"}
    model.freeze(["keras_encoder", "fc_b"])
    still = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert all(name.startswith(("encoder.network.", "fc_b.")) for name in still)
    assert model.encoder.get_parameter("bottleneck.dense.weight").requires_grad
    assert not model.train().encoder.get_submodule("network.norm").training
    model.freeze([])
    assert model.encoder.get_submodule("network.norm").training
    assert "keras_encoder" not in tiny().freezable()
    assert tiny().identity_parts() == ("fc_a", "fc_b", "fc_gblock")


@pytest.mark.parametrize("kind", ["dense", "flatten"])
def test_encoders_that_give_vectors(backbone: list[tuple[Any, ...]], kind: str) -> None:
    model = tiny(enc_architecture="clipv_farl-b-16-64", enc_scaling=29, bottleneck_type=kind, channels=1)
    assert backbone == [("clipv_farl-b-16-64", 64, 1, 1.0)]
    assert model.facts()["Encoder gives"] == "6"
    assert model.swap(faces(1, 2)[0]).face.shape == (2, 1, 64, 64)


def test_a_backbone_that_does_not_fit_without_dense_layers_is_refused(backbone: list[tuple[Any, ...]]) -> None:
    with pytest.raises(BadInputError, match="has to give 2,048 values, and with vgg16 it gives 24"):
        tiny(enc_architecture="vgg16", bottleneck_type="flatten", fc_depth=0)


def test_the_registry_builds_it() -> None:
    assert MODELS["phaze_a"].settings is PhazeASettings
    settings = PhazeASettings(**TINY)
    one, two = build_model(settings, seed=4), build_model(settings, seed=4)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert one.get_parameter("decoder_both.face_out.weight").is_contiguous(memory_format=torch.channels_last)
