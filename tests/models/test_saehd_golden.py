"""Forward passes against networks that DeepFaceLab ran."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from backend.core.errors import DamagedFileError
from backend.models.dfl_names import dfl_weights, load_dfl_weights
from backend.models.saehd import SaehdDf, SaehdLiae
from tests.models.dfl_files import ARCHIS, bchw, read_weights, recipe_model, stored_model

TOLERANCE = {"rtol": 0, "atol": 1e-4}


@pytest.fixture
def networks(golden: Path) -> Path:
    return golden / "dfl_networks"


def inputs(networks: Path, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    with np.load(networks / "inputs_64.npz") as file:
        return bchw(file["input_src"])[:count], bchw(file["input_dst"])[:count]


def compare(model: SaehdDf | SaehdLiae, expected: dict[str, np.ndarray], src: torch.Tensor, dst: torch.Tensor) -> None:
    with torch.no_grad():
        out = model.autoencode(src, dst, with_swap=True)
        plain = model.autoencode(src, dst)
        merged = model.swap(dst)
        found = {**codes(model, src, dst), **pictures(out)}
    for name, value in found.items():
        assert np.allclose(value, expected[name], **TOLERANCE), name
    assert plain.swap is None
    for again, name in (
        (plain.src_src, "src_src_face"),
        (plain.dst_dst_mask, "dst_dst_mask"),
        (merged.face, "swap_face"),
        (merged.mask, "swap_mask"),
        (merged.dst_mask, "dst_dst_mask"),
    ):
        assert np.allclose(bhwc(again), expected[name], **TOLERANCE), name


def codes(model: SaehdDf | SaehdLiae, src: torch.Tensor, dst: torch.Tensor) -> dict[str, np.ndarray]:
    enc_src, enc_dst = model.encoder(src), model.encoder(dst)
    found = {"enc_src": enc_src.numpy(), "enc_dst": enc_dst.numpy()}
    if isinstance(model, SaehdDf):
        return {**found, "code_src": bhwc(model.inter(enc_src)), "code_dst": bhwc(model.inter(enc_dst))}
    return {
        **found,
        "inter_AB_src": bhwc(model.inter_AB(enc_src)),
        "inter_AB_dst": bhwc(model.inter_AB(enc_dst)),
        "inter_B_dst": bhwc(model.inter_B(enc_dst)),
    }


def pictures(out) -> dict[str, np.ndarray]:
    return {
        "src_src_face": bhwc(out.src_src),
        "src_src_mask": bhwc(out.src_src_mask),
        "dst_dst_face": bhwc(out.dst_dst),
        "dst_dst_mask": bhwc(out.dst_dst_mask),
        "swap_face": bhwc(out.swap),
        "swap_mask": bhwc(out.swap_mask),
    }


def bhwc(tensor: torch.Tensor) -> np.ndarray:
    return tensor.permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("archi", ARCHIS)
def test_stored_weights_give_the_same_pictures(networks: Path, archi: str) -> None:
    expected = dict(np.load(networks / archi / "io.npz"))
    compare(stored_model(networks / archi), expected, *inputs(networks, 2))


@pytest.mark.parametrize("archi", ARCHIS)
def test_recipe_weights_give_the_same_pictures(networks: Path, archi: str) -> None:
    expected = dict(np.load(networks / archi / "io_16.npz"))
    compare(recipe_model(networks / archi), expected, *inputs(networks, 1))


@pytest.mark.parametrize("archi", ARCHIS)
def test_weights_go_out_as_they_came_in(networks: Path, archi: str) -> None:
    model = stored_model(networks / archi)
    for name, part in model.parts().items():
        stored = read_weights(networks / archi / f"{name}.weights.npz")
        written = dfl_weights(part)
        assert list(written) == list(stored)
        assert all(np.array_equal(written[key], stored[key]) for key in stored)


def test_damaged_weights_are_refused_and_change_nothing(networks: Path) -> None:
    model = stored_model(networks / "df-ud")
    good = read_weights(networks / "df-ud" / "inter.weights.npz")
    before = dfl_weights(model.inter)
    broken = [
        {key: value for key, value in good.items() if key != "dense1/bias:0"},
        {**good, "dense3/bias:0": good["dense1/bias:0"]},
        {**good, "dense2/weight:0": good["dense2/weight:0"].T},
        {**good, "dense1/bias:0": good["dense1/bias:0"].astype(np.int32)},
    ]
    for arrays in broken:
        with pytest.raises(DamagedFileError):
            load_dfl_weights(model.inter, arrays)
    assert all(np.array_equal(before[key], value) for key, value in dfl_weights(model.inter).items())
