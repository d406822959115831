"""Mask networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backend.core.errors import BadInputError
from backend.models.segmentation import find_segmentation
from tests.models.onnx_files import write_enhancer, write_graph, write_segmentation
from tests.models.xseg_file import write_xseg


def faces() -> list[np.ndarray]:
    """Three faces whose logits of write_segmentation() are 3, -1 and -5 on the left, 0 on the right."""
    made = [np.zeros((256, 256, 3), np.float32) for _ in range(3)]
    for face, (blue, red) in zip(made, [(0.3, 0), (0, 0.1), (0.1, 0.6)], strict=True):
        face[:, :128, 0], face[:, :128, 2] = blue, red
    return made


@pytest.mark.parametrize("sigmoid", [True, False])
@pytest.mark.parametrize(("nhwc", "batch", "side"), [(True, "n", 256), (False, 1, 256), (True, 2, 128)])
def test_masks_of_any_layout(tmp_path: Path, nhwc: bool, batch: int | str, side: int, sigmoid: bool) -> None:
    write_segmentation(tmp_path / "XSeg_model.onnx", nhwc, sigmoid, batch, side)
    network = find_segmentation([tmp_path / "none", tmp_path], threads=1)
    assert network is not None
    assert network.name == "XSeg_model.onnx"
    masks = network.masks(faces())
    assert [(mask.shape, mask.dtype) for mask in masks] == [((256, 256), np.float32)] * 3
    for mask, wanted in zip(masks, (1 / (1 + np.exp(-3)), 1 / (1 + np.e), 0), strict=True):
        np.testing.assert_allclose(mask[:, 100], wanted, atol=1e-5)
        np.testing.assert_allclose(mask[:, 200], 0.5, atol=1e-5)
    assert network.masks([]) == []


def test_without_a_file_there_is_none_and_others_are_refused(tmp_path: Path) -> None:
    assert find_segmentation([tmp_path, tmp_path / "none"]) is None
    two = tmp_path / "two"
    write_enhancer(two / "a.onnx", 8, 1, further=("w", 1))
    with pytest.raises(BadInputError, match="no mask network"):
        find_segmentation([two])
    colours = tmp_path / "colours"
    write_enhancer(colours / "a.onnx", 16, 1)
    with pytest.raises(BadInputError, match="no mask network"):
        find_segmentation([colours])
    flat = tmp_path / "flat"
    write_graph(flat / "a.onnx", [], {"x": (1, [4])}, {"x": [4]}, {})
    with pytest.raises(BadInputError, match="no mask network"):
        find_segmentation([flat])


@pytest.mark.parametrize("sigmoid", [True, False])
def test_the_masks_of_deepfacelabs_xseg(tmp_path: Path, golden: Path, sigmoid: bool) -> None:
    folder = golden / "dfl_networks" / "xseg"
    write_xseg(tmp_path / "XSeg_model.onnx", folder / "recipe_base4.json", sigmoid)
    network = find_segmentation([tmp_path], threads=1)
    assert network is not None
    with np.load(folder / "io_base4.npz") as stored:
        [mask] = network.masks([stored["input"][0]])
        wanted = 1 / (1 + np.exp(-stored["logits"][0, ..., 0]))
    assert (mask == 0).any()
    np.testing.assert_allclose(mask[wanted > 0.101], wanted[wanted > 0.101], atol=2e-4)
    assert not mask[wanted < 0.099].any()
