"""Reads the golden networks that DeepFaceLab made."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from backend.models.base import FaceSwapModel
from backend.models.dfl_names import load_dfl_weights
from backend.models.saehd import SaehdShape, build_saehd

ARCHIS = ("df", "df-u", "df-d", "df-ud", "df-t", "df-udt", "df-udc", "liae", "liae-ud", "liae-udt")


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """Tensors of one part, by DeepFaceLab's names, in its order."""
    with np.load(path) as file:
        names = json.loads(bytes(file["names_json"]))
        return {name: file[f"w{i:03d}"] for i, name in enumerate(names)}


def stored_model(folder: Path) -> FaceSwapModel:
    """The small network whose weights lie in a folder named after its architecture."""
    model = build_saehd(SaehdShape(64, folder.name, ae_dims=10, e_dims=4, d_dims=2, d_mask_dims=3))
    for name, part in model.parts().items():
        load_dfl_weights(part, read_weights(folder / f"{name}.weights.npz"))
    return model


def recipe_model(folder: Path) -> FaceSwapModel:
    """The bigger network whose weights follow from a recipe."""
    recipe = json.loads((folder / "recipe_16.json").read_text())
    sizes = {key: recipe[key] for key in ("resolution", "archi", "ae_dims", "e_dims", "d_dims", "d_mask_dims")}
    model = build_saehd(SaehdShape(**sizes))
    for name, part in model.parts().items():
        load_dfl_weights(part, drawn_weights(recipe["networks"][name]))
    return model


def drawn_weights(network: dict) -> dict[str, np.ndarray]:
    """Draw the tensors of one part as its recipe says, and check their sums."""
    rng = np.random.RandomState(network["seed"])
    drawn = {}
    for tensor in network["tensors"]:
        name, shape = tensor["name"], tensor["shape"]
        u = rng.uniform(-1, 1, size=shape)
        if name.endswith("weight:0"):
            scale = network["gain"] * np.sqrt(3 / np.prod(shape[:-1]))
            value = u * scale * (0.35 if name.startswith("out_conv") else 1)
        else:
            value = 0.1 * u
        drawn[name] = value.astype(np.float32)
        assert np.isclose(drawn[name].sum(dtype=np.float64), tensor["sum"], rtol=1e-5, atol=1e-4)
    return drawn


def bchw(array: np.ndarray) -> torch.Tensor:
    """Channels-last array of DeepFaceLab -> our tensor."""
    return torch.from_numpy(np.ascontiguousarray(array.transpose(0, 3, 1, 2)))
