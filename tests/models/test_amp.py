"""AMP: sizes, selectors, routes, channels, what learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from backend.core.faces import FaceType
from backend.core.settings import AmpSettings
from backend.models.amp import Amp, AmpShape, build_amp, channel_count
from backend.models.registry import build_model


def tiny(channels: int = 3, morph_factor: float = 0.5) -> Amp:
    torch.manual_seed(3)
    model = build_amp(AmpShape(64, 8, 10, 4, 4, 2, morph_factor=morph_factor, channels=channels))
    assert isinstance(model, Amp)
    return model


def faces(channels: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(4)
    return torch.rand(3, channels, 64, 64), torch.rand(2, channels, 64, 64)


def count(part: torch.nn.Module) -> int:
    return sum(p.numel() for p in part.parameters())


def test_parameter_counts_at_the_defaults() -> None:
    with torch.device("meta"):
        model = build_model(AmpSettings())
    found = {name: count(part) for name, part in model.parts().items()}
    assert found == {
        "encoder": 22_076_928,
        "inter_src": 12_895_232,
        "inter_dst": 12_895_232,
        "decoder": 53_477_803,
    }
    assert count(model) == 101_345_195
    assert (model.resolution, model.channels, model.face_type) == (224, 3, FaceType.WHOLE)


def test_settings_reach_the_network() -> None:
    small = {"resolution": 64, "ae_dims": 32, "inter_dims": 40, "e_dims": 16, "d_dims": 16, "d_mask_dims": 4}
    model = build_model(AmpSettings(**small, channels=1, face_type="head", morph_factor=0.3))
    assert isinstance(model, Amp)
    assert (model.channels, model.face_type, model.own_channels) == (1, FaceType.HEAD, 12)
    assert count(model.inter_src) == (32 + 1) * 40 * 4


@pytest.mark.parametrize(
    ("dims", "morph", "wanted"), [(20, 0.66, 13), (1024, 0.65, 665), (100, 0.29, 29), (10, 0.0, 0), (10, 1.0, 10)]
)
def test_the_share_of_channels_is_cut_off(dims: int, morph: float, wanted: int) -> None:
    assert channel_count(dims, morph) == wanted


def test_selectors_hold_exactly_the_share_and_differ() -> None:
    model = tiny(morph_factor=0.3)
    drawn = model.random_selector(400, torch.device("cpu"))
    assert drawn.dtype == torch.bool
    assert (drawn.sum(dim=1) == 3).all()
    assert not torch.equal(drawn[0], drawn[1])
    assert ((drawn.float().mean(dim=0) - 0.3).abs() < 0.1).all()
    assert model.first_channels(torch.device("cpu")).tolist() == [[True] * 3 + [False] * 7]


@pytest.mark.parametrize("channels", [1, 3])
def test_routes_and_shapes(channels: int) -> None:
    model = tiny(channels).eval()
    src, dst = faces(channels)
    with torch.no_grad():
        out = model.autoencode(src, dst, with_swap=True)
        merged = model.swap(dst)
    assert out.swap is not None
    assert out.src_src.shape == src.shape
    assert out.dst_dst.shape == out.swap.shape == dst.shape
    assert out.src_src_mask.shape == (3, 1, 64, 64)
    assert out.dst_dst_mask.shape == (2, 1, 64, 64)
    assert torch.allclose(merged.face, out.swap, atol=1e-5)
    assert torch.allclose(merged.mask, out.swap_mask, atol=1e-5)
    assert torch.allclose(merged.dst_mask, out.dst_dst_mask, atol=1e-5)
    assert merged.face.dtype == torch.float32
    assert 0 <= float(merged.face.min()) <= float(merged.face.max()) <= 1


def test_training_draws_and_evaluation_repeats() -> None:
    model = tiny()
    src, dst = faces()
    with torch.no_grad():
        first, second = model.autoencode(src, dst), model.autoencode(src, dst)
        assert not torch.equal(first.src_src, second.src_src)
        assert torch.allclose(first.dst_dst, second.dst_dst, atol=1e-6)
        torch.manual_seed(9)
        again = model.autoencode(src, dst)
        torch.manual_seed(9)
        assert torch.equal(again.src_src, model.autoencode(src, dst).src_src)
        model.eval()
        before = torch.get_rng_state()
        assert torch.equal(model.autoencode(src, dst).src_src, model.autoencode(src, dst).src_src)
        assert torch.equal(torch.get_rng_state(), before)


@torch.no_grad()
def test_morph_goes_from_dst_to_src() -> None:
    model = tiny().eval()
    _, dst = faces()
    flat = model.encoder(dst)
    ends = [model.decoder.face(inter(flat)) for inter in (model.inter_dst, model.inter_src)]
    swaps = [model.swap(dst, morph) for morph in (0.0, 0.3, 0.6, 1.0)]
    assert torch.allclose(swaps[0].face, ends[0], atol=1e-5)
    assert torch.allclose(swaps[0].mask, swaps[0].dst_mask, atol=1e-5)
    assert torch.allclose(swaps[-1].face, ends[1], atol=1e-5)
    away = [float((swap.face - ends[0]).square().mean()) for swap in swaps]
    left = [float((swap.face - ends[1]).square().mean()) for swap in swaps]
    assert away == sorted(away)
    assert left == sorted(left, reverse=True)
    assert away[-1] > away[1] > away[0]
    assert all(torch.allclose(swap.dst_mask, swaps[0].dst_mask, atol=1e-5) for swap in swaps)


def test_every_weight_learns_and_the_swap_passes_nothing_to_the_codes() -> None:
    model = tiny()
    src, dst = faces()
    out = model.autoencode(src, dst)
    (out.src_src.sum() + out.dst_dst.sum() + out.src_src_mask.sum() + out.dst_dst_mask.sum()).backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())
    assert all(bool(p.grad.any()) for part in (model.inter_src, model.inter_dst) for p in part.parameters())
    model.zero_grad()
    swap = model.autoencode(src, dst, with_swap=True).swap
    assert swap is not None
    swap.sum().backward()
    learned = {
        name for name, part in model.parts().items() for p in part.parameters() if p.grad is not None and p.grad.any()
    }
    assert learned == {"decoder"}


def test_parts() -> None:
    model = tiny()
    of_parts = [p for part in model.parts().values() for p in part.parameters()]
    assert {id(p) for p in of_parts} == {id(p) for p in model.parameters()}
    assert len(of_parts) == len(list(model.parameters()))
    assert model.identity_parts() == ("inter_src", "inter_dst")
    assert model.frozen_parts(random_warp=False) == ()


def test_weights_are_stored_and_loaded_by_name() -> None:
    one, other = tiny().eval(), build_amp(AmpShape(64, 8, 10, 4, 4, 2)).eval()
    other.load_state_dict(one.state_dict())
    _, dst = faces()
    with torch.no_grad():
        np.testing.assert_array_equal(one.swap(dst, 0.5).face.numpy(), other.swap(dst, 0.5).face.numpy())


def test_it_compiles_as_one_piece_and_still_draws() -> None:
    model = tiny()
    src, dst = faces()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    with torch.no_grad():
        first, second = compiled(src, dst), compiled(src, dst)
    assert first.src_src.shape == src.shape
    assert not torch.equal(first.src_src, second.src_src)
    assert torch.allclose(first.dst_dst, model(src, dst).dst_dst, atol=1e-5)
