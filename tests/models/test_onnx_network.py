"""Networks in ONNX files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backend.core.errors import DamagedFileError
from backend.core.network_files import first_network
from backend.models import onnx_network
from backend.models.onnx_network import OnnxNetwork, providers
from tests.models.onnx_files import write_segmentation


def test_a_network_tells_its_slots_and_runs(tmp_path: Path) -> None:
    network = OnnxNetwork(write_segmentation(tmp_path / "a.onnx", side=4), threads=1)
    [taken], [given] = network.inputs, network.outputs
    assert (taken.name, taken.shape, taken.dtype) == ("in_face", (None, 4, 4, 3), np.dtype(np.float32))
    assert (given.name, given.shape) == ("out_mask", (None, 4, 4, 1))
    face = np.zeros((2, 4, 4, 3))
    face[1, ..., 0] = 0.3
    [mask] = network.run({"in_face": face})
    np.testing.assert_allclose(mask[:, 0, 0, 0], [0.5, 1 / (1 + np.exp(-3))], rtol=1e-5)
    assert network.provider == "CPUExecutionProvider"


@pytest.mark.parametrize("content", [b"", b"no network", None])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "gone.onnx"
    whole = write_segmentation(tmp_path / "a.onnx").read_bytes()
    if content is not None:
        file.write_bytes(content or whole[: len(whole) // 2])
    with pytest.raises(DamagedFileError, match=r"gone\.onnx"):
        OnnxNetwork(file)


def test_what_does_not_fit_the_network_is_an_error(tmp_path: Path) -> None:
    network = OnnxNetwork(write_segmentation(tmp_path / "a.onnx", side=4))
    with pytest.raises(DamagedFileError, match="cannot be used"):
        network.run({"in_face": np.zeros((1, 5, 5, 3))})


def test_a_device_is_used_where_this_onnxruntime_knows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, cuda = "CPUExecutionProvider", "CUDAExecutionProvider"
    monkeypatch.setattr(onnx_network.onnxruntime, "get_available_providers", lambda: [cuda, cpu])
    assert providers("cpu") == [cpu]
    assert providers("mps") == [cpu]
    assert providers("best") == [cuda, cpu]
    assert providers("cuda:1") == [(cuda, {"device_id": "1"}), cpu]
    monkeypatch.setattr(onnx_network.onnxruntime, "get_available_providers", lambda: [cpu])
    assert providers("cuda:1") == [cpu]


def test_the_first_file_by_name_in_the_first_folder_that_has_one(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("none", "empty", "some")]
    for folder in folders[1:]:
        folder.mkdir()
    assert first_network(folders) is None
    for name in ("b.onnx", "A.ONNX", "0.txt"):
        (folders[2] / name).touch()
    (folders[2] / "0.onnx").mkdir()
    assert first_network(folders) == folders[2] / "A.ONNX"
