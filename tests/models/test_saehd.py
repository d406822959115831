"""SAEHD: sizes, routes, channels, seeds, and the registry."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch

from backend.core.errors import BadInputError
from backend.core.faces import FaceType
from backend.core.settings import TRAIN_SETTINGS, AmpSettings, Quick96Settings, SaehdSettings, TrainSettings
from backend.models.base import FaceSwapModel
from backend.models.blocks import depth_to_space
from backend.models.registry import MODELS, build_model
from backend.models.saehd import SaehdShape, build_saehd

# archi, resolution, ae, e, d, mask dims -> encoder, inter, decoder, total
COUNTS = [
    ("df", 128, 256, 64, 64, 22, 4_306_560, 14_959_872, 19_136_000, 57_538_432),
    ("df-ud", 128, 256, 64, 64, 22, 4_306_560, 11_801_856, 19_181_291, 54_470_998),
    ("df", 256, 256, 64, 64, 22, 4_306_560, 52_757_760, 19_136_000, 95_336_320),
    ("df-ud", 256, 256, 64, 64, 22, 4_306_560, 40_125_696, 19_181_291, 82_794_838),
    ("df-udt", 256, 256, 64, 64, 22, 15_654_144, 12_599_552, 34_455_979, 97_165_654),
    ("liae", 128, 128, 64, 64, 22, 4_306_560, 8_668_288, 25_476_608, 47_119_744),
    ("liae-ud", 128, 128, 64, 64, 32, 4_306_560, 7_083_136, 27_813_549, 46_286_381),
    ("liae-ud", 128, 256, 64, 64, 22, 4_306_560, 19_933_440, 38_203_115, 82_376_555),
    ("liae-ud", 256, 128, 64, 64, 32, 4_306_560, 21_251_200, 27_813_549, 74_622_509),
    ("liae-udt", 256, 256, 64, 64, 22, 15_654_144, 16_810_240, 53_477_803, 102_752_427),
    ("liae-ud", 512, 256, 128, 128, 32, 17_214_720, 311_560_448, 97_133_997, 737_469_613),
    ("df-udt", 192, 128, 48, 32, 16, 8_806_848, 2_364_032, 9_319_261, 29_809_402),
    ("df-ud", 96, 128, 64, 64, 16, 4_306_560, 3_098_368, 15_444_701, 38_294_330),
    ("liae-ud", 128, 128, 64, 64, 22, 4_306_560, 7_083_136, 25_521_899, 43_994_731),
    ("df", 128, 128, 64, 64, 22, 4_306_560, 5_841_536, 15_965_696, 42_079_488),
    ("df-d", 128, 128, 64, 64, 22, 4_306_560, 5_048_960, 16_010_987, 41_377_494),
]
ALL_ARCHIS = ("df", "df-u", "df-d", "df-c", "df-t", "df-udtc", "liae", "liae-ud", "liae-t", "liae-udtc")


def tiny(archi: str, channels: int = 3, resolution: int = 64) -> FaceSwapModel:
    shape = SaehdShape(resolution, archi, ae_dims=8, e_dims=4, d_dims=4, d_mask_dims=2, channels=channels)
    return build_saehd(shape)


def count(part: torch.nn.Module) -> int:
    return sum(p.numel() for p in part.parameters())


@pytest.mark.parametrize("row", COUNTS, ids=lambda row: f"{row[0]}-{row[1]}-{row[2]}-{row[5]}")
def test_parameter_counts(row: tuple) -> None:
    archi, resolution, ae, e, d, mask, encoder, inter, decoder, total = row
    with torch.device("meta"):
        model = build_saehd(SaehdShape(resolution, archi, ae, e, d, mask))
    parts = model.parts()
    assert count(parts.pop("encoder")) == encoder
    for name, part in parts.items():
        assert count(part) == (inter if name.startswith("inter") else decoder), name
    assert count(model) == total


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("archi", ALL_ARCHIS)
def test_routes_and_shapes(archi: str, channels: int) -> None:
    torch.manual_seed(3)
    model = tiny(archi, channels)
    src, dst = torch.rand(3, channels, 64, 64), torch.rand(2, channels, 64, 64)
    out = model.autoencode(src, dst, with_swap=True)
    assert out.src_src.shape == src.shape
    assert out.dst_dst.shape == dst.shape
    assert out.swap is not None
    assert out.swap.shape == dst.shape
    assert out.src_src_mask.shape == (3, 1, 64, 64)
    assert out.dst_dst_mask.shape == (2, 1, 64, 64)
    merged = model.swap(dst)
    assert torch.allclose(merged.face, out.swap, atol=1e-5)
    assert torch.allclose(merged.mask, out.swap_mask, atol=1e-5)
    assert torch.allclose(merged.dst_mask, out.dst_dst_mask, atol=1e-5)
    assert merged.face.dtype == torch.float32
    assert 0 <= float(merged.face.min().detach()) <= float(merged.face.max().detach()) <= 1


@pytest.mark.parametrize("archi", ALL_ARCHIS)
def test_every_weight_learns(archi: str) -> None:
    torch.manual_seed(3)
    model = tiny(archi)
    out = model.autoencode(torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64))
    (out.src_src.sum() + out.dst_dst.sum() + out.src_src_mask.sum() + out.dst_dst_mask.sum()).backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())


def test_parts_hold_every_parameter_once() -> None:
    for archi in ("df-ud", "liae-udt"):
        model = tiny(archi)
        of_parts = [p for part in model.parts().values() for p in part.parameters()]
        assert {id(p) for p in of_parts} == {id(p) for p in model.parameters()}
        assert len(of_parts) == len(list(model.parameters()))


def test_frozen_parts() -> None:
    assert tiny("liae-ud").frozen_parts(random_warp=False) == ("inter_AB",)
    assert tiny("liae-ud").frozen_parts(random_warp=True) == ()
    assert tiny("df-ud").frozen_parts(random_warp=False) == ()


def test_depth_to_space_takes_rows_then_columns() -> None:
    x = torch.arange(8.0).view(1, 8, 1, 1)
    out = depth_to_space(x)
    assert out.shape == (1, 2, 2, 2)
    assert out[0, 0].tolist() == [[0, 2], [4, 6]]
    assert out[0, 1].tolist() == [[1, 3], [5, 7]]


def test_short_format_comes_close() -> None:
    torch.manual_seed(3)
    model = tiny("liae-ud")
    src, dst = torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64)
    exact = model.autoencode(src, dst)
    with torch.autocast("cpu", torch.bfloat16):
        short = model.autoencode(src, dst)
    assert short.src_src.dtype == torch.float32
    assert torch.allclose(short.src_src, exact.src_src, atol=0.02)


def test_weights_are_glorot_and_follow_the_seed() -> None:
    settings = SaehdSettings(resolution=64, archi="df-ud", ae_dims=32, e_dims=16, d_dims=16, d_mask_dims=8)
    before = torch.get_rng_state()
    first, second, third = build_model(settings, 5), build_model(settings, 5), build_model(settings, 6)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not torch.equal(next(first.parameters()), next(third.parameters()))
    weight = first.get_submodule("decoder_src.upscale0.conv1").weight
    limit = (6 / ((weight.shape[0] + weight.shape[1]) * 9)) ** 0.5
    assert limit * 0.99 < float(weight.detach().abs().max()) <= limit
    assert all(not p.any() for name, p in first.named_parameters() if name.endswith("bias"))


def test_registry_builds_from_settings() -> None:
    settings = SaehdSettings(
        resolution=64, archi="liae", ae_dims=32, e_dims=16, d_dims=16, d_mask_dims=8, channels=1, face_type="wf"
    )
    model = build_model(settings)
    assert (model.resolution, model.channels, model.face_type) == (64, 1, FaceType.WHOLE)
    assert set(MODELS) == set(TRAIN_SETTINGS)
    assert all(spec.name == name and spec.settings is TRAIN_SETTINGS[name] for name, spec in MODELS.items())


@pytest.mark.parametrize("channels", [1, 3])
def test_quick96_is_a_saehd_of_fixed_size(channels: Literal[1, 3]) -> None:
    model = build_model(Quick96Settings(channels=channels), seed=1).eval()
    assert (model.resolution, model.channels, model.face_type) == (96, channels, FaceType.FULL)
    fewer = (3 - channels) * (25 * 64 + 2 * (128 + 3 * 9 * 128)) + 2 * 4 * (3 - channels)
    assert count(model) == 38_294_330 - fewer
    with torch.no_grad():
        merged = model.swap(torch.rand(1, channels, 96, 96))
    assert merged.face.shape == (1, channels, 96, 96)


def test_registry_refuses_what_it_does_not_know() -> None:
    with pytest.raises(BadInputError, match="saehd"):
        build_model(TrainSettings(model_class="unknown"))
    for name in MODELS:
        with pytest.raises(BadInputError, match="not those of"):
            build_model(TrainSettings(model_class=name))


@pytest.mark.parametrize(("d_dims", "third"), [(16, 6), (32, 10), (64, 22), (120, 40), (256, 86)])
@pytest.mark.parametrize("kind", [SaehdSettings, AmpSettings])
def test_the_mask_decoder_is_a_third_as_wide_where_nothing_else_is_asked(kind: Any, d_dims: int, third: int) -> None:
    assert kind(d_dims=d_dims).resolved() == kind(d_dims=d_dims, d_mask_dims=third)
    assert kind(d_dims=d_dims, d_mask_dims=4).resolved().d_mask_dims == 4
    assert Quick96Settings().resolved() == Quick96Settings()


def test_a_network_is_built_with_the_resolved_width() -> None:
    small = SaehdSettings(resolution=64, archi="df", ae_dims=32, e_dims=16, d_dims=16)
    left, chosen = (build_model(s) for s in (small, small.model_copy(update={"d_mask_dims": 6})))
    assert [p.shape for p in left.parameters()] == [p.shape for p in chosen.parameters()]
