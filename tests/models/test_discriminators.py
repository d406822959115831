"""Discriminators: DeepFaceLab's layouts, weights, logits and gradients."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from backend.models.dfl_names import dfl_weights, load_dfl_weights
from backend.models.discriminators import CodeDiscriminator, UNetDiscriminator, unet_strides
from tests.models.dfl_files import bchw, drawn_weights, read_weights

UNETS = ((16, 8), (32, 4), (40, 2), (64, 2))
UNET_RECIPES = (16, 32, 40, 64)
CODES = {"code_a10_r4": (10, 4, 256), "code_a32_r8_c8": (32, 8, 8)}
CODE_RECIPES = {"code_a32_r8": (32, 8), "code_a32_r16": (32, 16)}


@pytest.fixture
def folder(golden: Path) -> Path:
    return golden / "dfl_networks" / "gan"


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def same(found: torch.Tensor, expected: np.ndarray) -> bool:
    wanted = bchw(expected)
    return found.shape == wanted.shape and torch.allclose(found, wanted, rtol=1e-4, atol=1e-5)


def recipe(folder: Path, name: str) -> dict[str, np.ndarray]:
    return drawn_weights(json.loads((folder / "recipe.json").read_text())[name])


def test_strides_of_every_patch_size(folder: Path) -> None:
    expected = json.loads((folder / "unet_strides_by_patch_size.json").read_text())
    assert {size: list(unet_strides(int(size))) for size in expected} == expected


def test_strides() -> None:
    expected = {
        16: (2, 2, 2),
        24: (2, 2, 1, 2),
        28: (2, 1, 2, 1, 2),
        48: (2, 2, 2, 1, 2),
        56: (2, 2, 1, 2, 1, 2),
        80: (2, 2, 2, 1, 2, 2),
        96: (2, 2, 2, 2, 1, 2),
        640: (2, 2, 2, 2, 2, 2, 1, 2, 2),
    }
    assert {size: unet_strides(size) for size in expected} == expected


@pytest.mark.parametrize(
    ("patch", "parameters"), [(16, 233_650), (32, 946_994), (40, 3_799_090), (64, 3_799_090), (80, 9_698_354)]
)
def test_parameters(patch: int, parameters: int) -> None:
    with torch.device("meta"):
        assert count(UNetDiscriminator(3, patch, 16)) == parameters


@pytest.mark.parametrize(("patch", "base"), UNETS)
def test_stored_unet(folder: Path, patch: int, base: int) -> None:
    net = UNetDiscriminator(3, patch, base)
    stored = read_weights(folder / f"D_src_p{patch}_b{base}.weights.npz")
    load_dfl_weights(net, stored)
    written = dfl_weights(net)
    assert list(written) == list(stored)
    assert all(np.array_equal(written[name], stored[name]) for name in stored)
    expected, key = np.load(folder / "io.npz"), f"p{patch}_stored_b{base}"
    facts = json.loads((folder / "meta.json").read_text())[key]
    assert count(net) == facts["params"]
    picture = bchw(expected["input"]).requires_grad_()
    centre, full = net(picture)
    assert same(centre, expected[f"{key}_center"])
    assert same(full, expected[f"{key}_out"])
    if f"{key}_grad_input_of_sum" in expected:
        (centre.sum() + full.sum()).backward()
        assert picture.grad is not None
        assert same(picture.grad, expected[f"{key}_grad_input_of_sum"])


@pytest.mark.parametrize("patch", UNET_RECIPES)
def test_drawn_unet(folder: Path, patch: int) -> None:
    net, key = UNetDiscriminator(3, patch, 8), f"p{patch}_recipe_b8"
    load_dfl_weights(net, recipe(folder, key))
    expected = np.load(folder / "io.npz")
    with torch.no_grad():
        centre, full = net(bchw(expected["input"]))
    assert same(centre, expected[f"{key}_center"])
    assert same(full, expected[f"{key}_out"])


@pytest.mark.parametrize("name", CODES)
def test_stored_code_discriminator(folder: Path, name: str) -> None:
    net = CodeDiscriminator(*CODES[name])
    stored = read_weights(folder / f"{name}.weights.npz")
    load_dfl_weights(net, stored)
    assert list(dfl_weights(net)) == list(stored)
    expected = np.load(folder / "io.npz")
    assert same(net(bchw(expected[f"{name}_input"])), expected[f"{name}_out"])


@pytest.mark.parametrize("name", CODE_RECIPES)
def test_drawn_code_discriminator(folder: Path, name: str) -> None:
    net = CodeDiscriminator(*CODE_RECIPES[name])
    load_dfl_weights(net, recipe(folder, name))
    expected = np.load(folder / "io.npz")
    with torch.no_grad():
        assert same(net(bchw(expected[f"{name}_input"])), expected[f"{name}_out"])


@pytest.mark.parametrize("side", [80, 112, 96])
def test_sides_that_do_not_halve_evenly(side: int) -> None:
    net = UNetDiscriminator(3, 64, 2)
    centre, full = net(torch.rand(2, 3, side, side))
    assert full.shape == (2, 1, side, side)
    assert centre.shape == (2, 1, -(-side // 32), -(-side // 32))
    (centre.mean() + full.mean()).backward()
    assert all(p.grad is not None and float(p.grad.abs().sum()) > 0 for p in net.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gray_pictures_and_short_numbers_give_float32(dtype: torch.dtype) -> None:
    net, judge = UNetDiscriminator(1, 16, 4).to(dtype), CodeDiscriminator(6, 8, base=4).to(dtype)
    centre, full = net(torch.rand(1, 1, 64, 64, dtype=dtype))
    logits = judge(torch.rand(1, 6, 8, 8, dtype=dtype))
    assert {centre.dtype, full.dtype, logits.dtype} == {torch.float32}


def test_fresh_weights_repeat_and_biases_are_zero() -> None:
    nets = []
    for _ in range(2):
        torch.manual_seed(3)
        nets.append(UNetDiscriminator(3, 16, 4))
    first, second = (net.state_dict() for net in nets)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all(bool((value == 0).all()) == name.endswith("bias") for name, value in first.items())
