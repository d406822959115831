"""Networks in DFM files: what is taken, what is refused, and what a swap gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from backend.core.errors import BadInputError, DamagedFileError
from backend.core.faces import FaceType
from backend.models.amp import AmpShape, build_amp
from backend.models.dfm import dfm_model
from backend.models.dfm_network import DfmNetwork, check_dfm
from backend.models.saehd import SaehdShape, build_saehd
from tests.models.onnx_files import FLOAT, write_graph

SMALL = SaehdShape(32, "df-ud", ae_dims=8, e_dims=4, d_dims=2, d_mask_dims=2)
SMALL_AMP = AmpShape(32, ae_dims=8, inter_dims=10, e_dims=4, d_dims=2, d_mask_dims=2)
PICTURE = {"in_face:0": (FLOAT, [None, 32, 32, 3])}


def faces(count: int) -> torch.Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def dfm_of(path: Path, amp: bool = False, **facts: str) -> Any:
    """A file of a small network, and the network."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        model = (build_amp(SMALL_AMP) if amp else build_saehd(SMALL)).eval()
    path.write_bytes(dfm_model(model, False, facts).SerializeToString())
    return model


def flat(path: Path, inputs: Any = None, outputs: tuple[int, ...] = (1, 3, 1), batch: int | None = None) -> Path:
    """A file whose outputs are means over some channels of its input, in gray."""
    nodes = []
    for number, channels in enumerate(outputs):
        nodes.append(helper.make_node("ReduceMean", ["in_face:0"], [f"m{number}"], axes=[3], keepdims=1))
        nodes.append(helper.make_node("Concat", [f"m{number}"] * channels, [f"out{number}"], axis=3))
    wanted = inputs or {"in_face:0": (FLOAT, [batch, 32, 32, 3])}
    return write_graph(path, nodes, wanted, {f"out{n}": [batch, 32, 32, c] for n, c in enumerate(outputs)}, {})


@pytest.mark.parametrize("amp", [False, True])
def test_it_swaps_as_its_model(tmp_path: Path, amp: bool) -> None:
    model = dfm_of(tmp_path / "a.dfm", amp, face_type="head")
    assert check_dfm(tmp_path / "a.dfm") == {"face_type": "head"}
    network = DfmNetwork(tmp_path / "a.dfm", "cpu", FaceType.HEAD)
    network.try_out()
    assert (network.resolution, network.channels, network.face_type, network.morphs) == (32, 3, FaceType.HEAD, amp)
    for morph in (0.0, 0.6, 1.0):
        with torch.inference_mode():
            wanted, made = model.swap(faces(3), morph), network.swap(faces(3), morph)
        for name in ("face", "mask", "dst_mask"):
            one, other = getattr(wanted, name), getattr(made, name)
            assert one.std() > 1e-3
            torch.testing.assert_close(other, one, atol=1e-5, rtol=0)
    assert network.parts() == {}
    with pytest.raises(BadInputError, match="only swaps"):
        network.autoencode(faces(1), faces(1))


def test_a_file_for_one_face_at_a_time(tmp_path: Path) -> None:
    network = DfmNetwork(flat(tmp_path / "one.dfm", batch=1), "cpu", FaceType.WHOLE)
    network.try_out()
    made = network.swap(faces(3))
    torch.testing.assert_close(made.mask, faces(3).mean(dim=1, keepdim=True))
    assert made.face.shape == (3, 3, 32, 32)


@pytest.mark.parametrize(
    ("inputs", "outputs", "words"),
    [
        ({"in_face:0": (FLOAT, [None, 3, 32, 32])}, (1, 3, 1), "first input is no picture"),
        ({"in_face:0": (FLOAT, [None, None, None, 3])}, (1, 3, 1), "first input is no picture"),
        ({"in_face:0": (FLOAT, [None, 8192, 8192, 3])}, (1, 3, 1), "first input is no picture"),
        ({**PICTURE, "other:0": (FLOAT, [1])}, (1, 3, 1), "an input that is not known"),
        ({**PICTURE, "morph_value:0": (TensorProto.INT64, [1])}, (1, 3, 1), "an input that is not known"),
        (PICTURE, (1, 3), "does not give a face and two masks"),
        (PICTURE, (3, 1, 1), "face and two masks of its size"),
    ],
)
def test_other_networks_are_refused(tmp_path: Path, inputs: Any, outputs: tuple[int, ...], words: str) -> None:
    path = flat(tmp_path / "x.dfm", inputs, outputs)
    check_dfm(path)
    with pytest.raises(DamagedFileError, match=words):
        DfmNetwork(path, "cpu", FaceType.WHOLE).try_out()


def test_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    nodes = [helper.make_node("ReduceMean", ["in_face:0"], ["mean"], axes=[3], keepdims=1)]
    nodes += [helper.make_node("Log", ["mean"], ["log"]), helper.make_node("Sub", ["log", "log"], ["zero"])]
    nodes += [helper.make_node("Div", ["zero", "zero"], ["out0"]), helper.make_node("Identity", ["out0"], ["out2"])]
    nodes += [helper.make_node("Concat", ["out0"] * 3, ["out1"], axis=3)]
    outputs = {f"out{n}": [None, 32, 32, c] for n, c in enumerate((1, 3, 1))}
    path = write_graph(tmp_path / "nan.dfm", nodes, PICTURE, outputs, {})
    with pytest.raises(DamagedFileError, match="no numbers"):
        DfmNetwork(path, "cpu", FaceType.WHOLE).try_out()


def test_what_asks_for_more_than_itself_is_refused(tmp_path: Path) -> None:
    path = flat(tmp_path / "x.dfm")
    proto = onnx.load(path)
    foreign = onnx.ModelProto()
    foreign.CopyFrom(proto)
    foreign.graph.node[0].domain = "com.example"
    path.write_bytes(foreign.SerializeToString())
    with pytest.raises(DamagedFileError, match=r"needs the operation ReduceMean of com\.example"):
        check_dfm(path)
    outside = numpy_helper.from_array(np.zeros(4, np.float32), "w")
    outside.ClearField("raw_data")
    outside.data_location = TensorProto.EXTERNAL
    outside.external_data.add(key="location", value="/etc/passwd")
    stored = onnx.ModelProto()
    stored.CopyFrom(proto)
    stored.graph.initializer.append(outside)
    path.write_bytes(stored.SerializeToString())
    with pytest.raises(DamagedFileError, match="keeps weights in another file"):
        check_dfm(path)
    inner = helper.make_graph([helper.make_node("Constant", [], ["y"], value=outside)], "inner", [], [])
    branch = onnx.ModelProto()
    branch.CopyFrom(proto)
    branch.graph.node.append(helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner))
    path.write_bytes(branch.SerializeToString())
    with pytest.raises(DamagedFileError, match="keeps weights in another file"):
        check_dfm(path)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / "x.dfm"
    dfm_of(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(DamagedFileError, match=r"x\.dfm"):
        check_dfm(path)
        DfmNetwork(path, "cpu", FaceType.WHOLE)
