"""Forward passes of AMP against networks that DeepFaceLab ran."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from backend.models.amp import Amp, AmpShape, build_amp
from backend.models.dfl_names import dfl_weights, load_dfl_weights
from tests.models.dfl_files import bchw, drawn_weights, read_weights

TOLERANCE = {"rtol": 0, "atol": 2e-5}
STORED = AmpShape(64, ae_dims=10, inter_dims=20, e_dims=4, d_dims=2, d_mask_dims=3)
MORPHS = {"025": 0.25, "050": 0.5, "066": 0.66, "100": 1.0}


@pytest.fixture
def amp(golden: Path) -> Path:
    return golden / "dfl_networks" / "amp"


def stored_model(folder: Path) -> Amp:
    model = build_amp(STORED)
    for name, part in model.parts().items():
        load_dfl_weights(part, read_weights(folder / f"{name}.weights.npz"))
    assert isinstance(model, Amp)
    return model.eval()


def recipe_model(folder: Path) -> Amp:
    recipe = json.loads((folder / "recipe_16.json").read_text())
    sizes = ("resolution", "ae_dims", "inter_dims", "e_dims", "d_dims", "d_mask_dims")
    model = build_amp(AmpShape(**{key: recipe[key] for key in sizes}))
    for name, part in model.parts().items():
        load_dfl_weights(part, drawn_weights(recipe["networks"][name]))
    assert isinstance(model, Amp)
    return model.eval()


def inputs(folder: Path, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    with np.load(folder.parent / "inputs_64.npz") as file:
        return bchw(file["input_src"])[:count], bchw(file["input_dst"])[:count]


def bhwc(tensor: torch.Tensor) -> np.ndarray:
    return tensor.permute(0, 2, 3, 1).numpy()


@torch.no_grad()
def compare(model: Amp, expected: dict[str, np.ndarray], src: torch.Tensor, dst: torch.Tensor) -> None:
    enc_src, enc_dst = model.encoder(src), model.encoder(dst)
    out = model.mix(src, dst, torch.from_numpy(expected["src_selector"] > 0.5), with_swap=True)
    plain = model.mix(src, dst, torch.from_numpy(expected["src_selector"] > 0.5))
    assert out.swap is not None
    assert out.swap_mask is not None
    found = {
        "enc_src": enc_src.numpy(),
        "enc_dst": enc_dst.numpy(),
        "src_inter_src": bhwc(model.inter_src(enc_src)),
        "src_inter_dst": bhwc(model.inter_dst(enc_src)),
        "dst_inter_src": bhwc(model.inter_src(enc_dst)),
        "dst_inter_dst": bhwc(model.inter_dst(enc_dst)),
        "src_src_face": bhwc(out.src_src),
        "src_src_mask": bhwc(out.src_src_mask),
        "dst_dst_face": bhwc(out.dst_dst),
        "dst_dst_mask": bhwc(out.dst_dst_mask),
        "swap_100_face": bhwc(out.swap),
        "swap_100_mask": bhwc(out.swap_mask),
    }
    for name, value in found.items():
        assert np.allclose(value, expected[name], **TOLERANCE), name
    assert plain.swap is None
    assert np.allclose(bhwc(plain.src_src), expected["src_src_face"], **TOLERANCE)
    assert np.allclose(bhwc(plain.dst_dst_mask), expected["dst_dst_mask"], **TOLERANCE)


@torch.no_grad()
def compare_swaps(model: Amp, expected: dict[str, np.ndarray], dst: torch.Tensor) -> None:
    kinds = [kind for kind in MORPHS if f"swap_{kind}_face" in expected]
    assert len(kinds) >= 3
    for kind in kinds:
        merged = model.swap(dst, MORPHS[kind])
        assert np.allclose(bhwc(merged.face), expected[f"swap_{kind}_face"], **TOLERANCE), kind
        assert np.allclose(bhwc(merged.mask), expected[f"swap_{kind}_mask"], **TOLERANCE), kind
        assert np.allclose(bhwc(merged.dst_mask), expected["dst_dst_mask"], **TOLERANCE), kind


def test_stored_weights_give_the_same_pictures(amp: Path) -> None:
    model, (src, dst), expected = stored_model(amp), inputs(amp, 2), dict(np.load(amp / "io.npz"))
    compare(model, expected, src, dst)
    compare_swaps(model, expected, dst)


def test_recipe_weights_give_the_same_pictures(amp: Path) -> None:
    model, (src, dst), expected = recipe_model(amp), inputs(amp, 1), dict(np.load(amp / "io_16.npz"))
    compare(model, expected, src, dst)
    compare_swaps(model, expected, dst)


def test_weights_go_out_as_they_came_in(amp: Path) -> None:
    model = stored_model(amp)
    for name, part in model.parts().items():
        stored = read_weights(amp / f"{name}.weights.npz")
        written = dfl_weights(part)
        assert list(written) == list(stored)
        assert all(np.array_equal(written[key], stored[key]) for key in stored)
