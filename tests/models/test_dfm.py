"""Networks as DFM files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from backend.core.errors import BadInputError
from backend.models import dfm
from backend.models.amp import AmpShape, build_amp
from backend.models.base import FaceSwapModel, Reconstruction, SwapOutput
from backend.models.dfl_names import load_dfl_weights
from backend.models.dfm import OUTPUTS, dfm_model, most_bytes
from backend.models.saehd import SaehdShape, build_saehd
from tests.models.dfl_files import ARCHIS, read_weights, stored_model

SMALL = SaehdShape(32, "df-ud", ae_dims=8, e_dims=4, d_dims=2, d_mask_dims=2)
SMALL_AMP = AmpShape(32, ae_dims=8, inter_dims=10, e_dims=4, d_dims=2, d_mask_dims=2)


def ran(proto: onnx.ModelProto, faces: np.ndarray, morph: float | None = None) -> list[np.ndarray]:
    onnx.checker.check_model(proto, full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feeds = {"in_face:0": faces} | ({} if morph is None else {"morph_value:0": np.array([morph], np.float32)})
    return [np.asarray(out) for out in session.run(list(OUTPUTS), feeds)]


def seed_drawn(build, shape) -> FaceSwapModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = build(shape).eval()
        for parameter in model.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
    return model


def agrees(out: SwapOutput, made: list[np.ndarray], atol: float) -> None:
    for wanted, found in zip((out.dst_mask, out.face, out.mask), made, strict=True):
        picture = wanted.permute(0, 2, 3, 1).numpy()
        assert found.dtype == np.float32
        assert found.std() > 1e-3, "a flat picture compares nothing"
        np.testing.assert_allclose(found, np.broadcast_to(picture, found.shape), atol=atol)


@pytest.mark.parametrize("archi", ARCHIS)
def test_what_deepfacelab_computed(golden: Path, archi: str) -> None:
    networks = golden / "dfl_networks"
    with np.load(networks / "inputs_64.npz") as inputs, np.load(networks / archi / "io.npz") as expected:
        made = ran(
            dfm_model(stored_model(networks / archi), False, {}), inputs["input_dst"][: len(expected["swap_face"])]
        )
        for name, found in zip(("dst_dst_mask", "swap_face", "swap_mask"), made, strict=True):
            np.testing.assert_allclose(found, expected[name], atol=1e-4)


def test_what_deepfacelab_computed_of_amp(golden: Path) -> None:
    folder = golden / "dfl_networks" / "amp"
    model = build_amp(AmpShape(64, ae_dims=10, inter_dims=20, e_dims=4, d_dims=2, d_mask_dims=3))
    for name, part in model.parts().items():
        load_dfl_weights(part, read_weights(folder / f"{name}.weights.npz"))
    proto = dfm_model(model, False, {})
    with np.load(folder.parent / "inputs_64.npz") as inputs, np.load(folder / "io.npz") as expected:
        faces = inputs["input_dst"][: len(expected["swap_100_face"])]
        for morph in ("025", "050", "066", "100"):
            made = ran(proto, faces, int(morph) / 100)
            for name, found in zip(("dst_dst_mask", f"swap_{morph}_face", f"swap_{morph}_mask"), made, strict=True):
                np.testing.assert_allclose(found, expected[name], atol=1e-4)


@pytest.mark.parametrize("fp16", [False, True])
@pytest.mark.parametrize("archi", ["df", "df-udtc", "liae", "liae-udt"])
def test_any_number_of_faces(archi: str, fp16: bool, rng: np.random.Generator) -> None:
    model = seed_drawn(build_saehd, replace(SMALL, archi=archi))
    proto = dfm_model(model, fp16, {})
    for count in (1, 3):
        faces = rng.random((count, 32, 32, 3), np.float32)
        with torch.inference_mode():
            out = model.swap(torch.from_numpy(faces).permute(0, 3, 1, 2))
        agrees(out, ran(proto, faces), 2e-2 if fp16 else 1e-5)


@pytest.mark.parametrize("amp", [False, True])
def test_a_gray_network_takes_colour_and_gives_three_equal_channels(amp: bool, rng: np.random.Generator) -> None:
    model = (
        seed_drawn(build_amp, replace(SMALL_AMP, channels=1))
        if amp
        else seed_drawn(build_saehd, replace(SMALL, channels=1))
    )
    faces = rng.random((2, 32, 32, 3), np.float32)
    gray = torch.from_numpy(faces @ np.array([[0.114], [0.587], [0.299]], np.float32)).permute(0, 3, 1, 2)
    with torch.inference_mode():
        out = model.swap(gray, 0.5)
    made = ran(dfm_model(model, False, {}), faces, 0.5 if amp else None)
    assert made[1].shape == (2, 32, 32, 3)
    agrees(out, made, 1e-5)


@pytest.mark.parametrize("morph", [0.0, 0.05, 0.3, 0.7, 1.0])
def test_the_morph_cuts_the_channel_count_as_the_model_does(morph: float, rng: np.random.Generator) -> None:
    model = seed_drawn(build_amp, SMALL_AMP)
    faces = rng.random((1, 32, 32, 3), np.float32)
    with torch.inference_mode():
        out = model.swap(torch.from_numpy(faces).permute(0, 3, 1, 2), morph)
    agrees(out, ran(dfm_model(model, False, {}), faces, morph), 1e-5)


def test_layout_is_that_of_deepfacelab() -> None:
    proto = dfm_model(seed_drawn(build_amp, SMALL_AMP), False, {"model": "anna"})
    assert [(each.domain, each.version) for each in proto.opset_import] == [("", 12)]
    found = [
        (v.name, v.type.tensor_type.elem_type, [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim])
        for v in (*proto.graph.input, *proto.graph.output)
    ]
    square = ["batch", 32, 32]
    assert found == [
        ("in_face:0", 1, [*square, 3]),
        ("morph_value:0", 1, [1]),
        ("out_face_mask:0", 1, [*square, 1]),
        ("out_celeb_face:0", 1, [*square, 3]),
        ("out_celeb_face_mask:0", 1, [*square, 1]),
    ]
    assert [(p.key, p.value) for p in proto.metadata_props] == [("model", "anna")]
    plain = dfm_model(seed_drawn(build_saehd, SMALL), False, {})
    assert [v.name for v in plain.graph.input] == ["in_face:0"]


def test_half_precision_is_in_the_convolutions_alone() -> None:
    model = seed_drawn(build_saehd, SMALL)
    weights = {each.name: each.data_type for each in dfm_model(model, True, {}).graph.initializer}
    halves = {name for name, kind in weights.items() if kind == onnx.TensorProto.FLOAT16}
    assert halves == {name for name in weights if "conv" in name}
    assert {"inter.dense1.weight", "inter.dense2.bias"} <= set(weights) - halves


def test_what_a_swap_does_without_is_left_out() -> None:
    for archi, unused in (
        ("df-ud", ("decoder_dst.res", "decoder_dst.upscale0", "decoder_dst.out_conv.")),
        ("liae", ()),
    ):
        model = seed_drawn(build_saehd, replace(SMALL, archi=archi))
        stored = {each.name for each in dfm_model(model, False, {}).graph.initializer}
        left_out = {name for name, _ in model.named_parameters()} - stored
        assert all(any(name.startswith(part) for name in left_out) for part in unused)
        assert all(name.startswith("decoder_dst.") and "upscalem" not in name for name in left_out)
        for fp16 in (False, True):
            size = len(dfm_model(model, fp16, {}).SerializeToString())
            assert size < most_bytes(model, fp16) + 30_000


def test_what_cannot_be_written_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(FaceSwapModel):
        resolution, channels = 32, 3

        def autoencode(self, src, dst, with_swap=False) -> Reconstruction: ...

        def swap(self, dst, morph=1.0) -> SwapOutput:
            raise NotImplementedError

        def parts(self) -> dict: ...

    with pytest.raises(BadInputError, match="Other network with these parts"):
        dfm_model(Other(), False, {})
    monkeypatch.setattr(dfm, "_MAX_BYTES", 10_000)
    with pytest.raises(BadInputError, match="too large"):
        dfm_model(seed_drawn(build_saehd, SMALL), False, {})
