"""Enhancers."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from onnx import TensorProto

from backend.core.errors import BadInputError, DamagedFileError
from backend.models.enhance import Enhancer, find_enhancer
from tests.models.onnx_files import write_enhancer, write_segmentation


@pytest.fixture
def face(rng: np.random.Generator) -> np.ndarray:
    """A soft picture of 32 px, BGR."""
    return np.clip(cv2.resize(rng.random((4, 4, 3), np.float32), (32, 32), interpolation=cv2.INTER_CUBIC), 0, 1)


def found(folder: Path) -> Enhancer:
    enhancer = find_enhancer(folder, threads=1)
    assert enhancer is not None
    return enhancer


def halved(picture: np.ndarray, channel: int) -> np.ndarray:
    """What write_enhancer() does in the range 0..1, ``channel`` of BGR being the network's first colour."""
    made = picture.copy()
    made[..., channel] *= 0.5
    return made


@pytest.mark.parametrize("nhwc", [True, False])
@pytest.mark.parametrize("side", [None, 16, 32, 48])
def test_an_upscaler_of_any_side_and_layout(tmp_path: Path, face: np.ndarray, side: int | None, nhwc: bool) -> None:
    write_enhancer(tmp_path / "x4.onnx", side, 4, nhwc=nhwc)
    enhancer = found(tmp_path)
    assert enhancer.name == "x4.onnx"
    made = enhancer.enhance(face)
    assert made.shape == (128, 128, 3)
    assert made.dtype == np.float32
    wanted = halved(np.repeat(np.repeat(face, 4, axis=0), 4, axis=1), 2)
    np.testing.assert_allclose(made, wanted, atol=1e-5)


def test_a_restorer_sees_the_whole_face_at_its_side(tmp_path: Path, face: np.ndarray) -> None:
    write_enhancer(tmp_path / "GFPGANv1.4.onnx", 64, 1, low=-1)
    made = found(tmp_path).enhance(face)
    at_64 = np.clip(cv2.resize(face, (64, 64), interpolation=cv2.INTER_CUBIC), 0, 1)
    at_64[..., 2] = ((2 * at_64[..., 2] - 1) * 0.5 + 1) / 2
    wanted = np.clip(cv2.resize(at_64, (128, 128), interpolation=cv2.INTER_CUBIC), 0, 1)
    np.testing.assert_allclose(made, wanted, atol=1e-5)


def test_a_restorer_larger_than_four_times_is_made_smaller(tmp_path: Path) -> None:
    write_enhancer(tmp_path / "gpen.onnx", 256, 1, low=-1)
    assert found(tmp_path).enhance(np.full((32, 32, 3), 0.5, np.float32)).shape == (128, 128, 3)


def test_codeformer_gets_its_weight(tmp_path: Path) -> None:
    write_enhancer(tmp_path / "codeformer.onnx", 16, 1, low=-1, further=("w", TensorProto.DOUBLE))
    made = found(tmp_path).enhance(np.full((16, 16, 3), 0.25, np.float32))
    np.testing.assert_allclose(made[0, 0], [0.5, 0.5, 0.625], atol=1e-5)


def test_a_file_beside_says_what_the_numbers_mean(tmp_path: Path, face: np.ndarray) -> None:
    write_enhancer(tmp_path / "own.onnx", 32, 4, low=-1, further=("amount", TensorProto.INT64))
    with pytest.raises(BadInputError, match=r"'amount'.*own\.json"):
        find_enhancer(tmp_path)
    beside = tmp_path / "own.json"
    beside.write_text(json.dumps({"order": "bgr", "range": [-1, 1], "inputs": {"amount": 0}}))
    wanted = np.repeat(np.repeat(face, 4, axis=0), 4, axis=1)
    wanted[..., 0] = ((2 * wanted[..., 0] - 1) * 0.5 + 1) / 2
    np.testing.assert_allclose(found(tmp_path).enhance(face), wanted, atol=1e-5)
    for wrong in ("{", '{"order": "hsv"}', '{"range": [1, 1]}', '{"colour": "rgb"}'):
        beside.write_text(wrong)
        with pytest.raises(DamagedFileError, match=r"own\.json"):
            find_enhancer(tmp_path)


def test_without_a_file_there_is_none_and_others_are_refused(tmp_path: Path) -> None:
    assert find_enhancer(tmp_path) is None
    write_segmentation(tmp_path / "XSeg_model.onnx")
    with pytest.raises(BadInputError, match="no enhancer"):
        find_enhancer(tmp_path)
