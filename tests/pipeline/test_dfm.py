"""Writing a stored model as DFM."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from backend.core.errors import BadInputError, StopRequested
from backend.core.settings import ModelFileSettings, Quick96Settings
from backend.core.settings.older import SaeSettings
from backend.models.onnx_network import OnnxNetwork
from backend.pipeline import dfm
from backend.pipeline.dfm import DfmDiffersError, write_dfm
from backend.pipeline.predictor import load_model
from backend.pipeline.stages import load_stage
from backend.storage.workspace import Project
from tests.pipeline.stage_bench import bench, stop_after
from tests.pipeline.stored_model import store_model, tiny_amp
from tests.pipeline.training_project import tiny_settings


def written(project: Project) -> list[str]:
    return sorted(path.name for path in project.results_dir.iterdir()) if project.results_dir.is_dir() else []


def export(ctx: Any, **given: Any) -> dict[str, Any]:
    return load_stage("model")(ModelFileSettings(action="dfm", **given), ctx)


@pytest.mark.parametrize("fp16", [False, True])
def test_the_stage_writes_a_file_that_agrees_with_the_model(tmp_path: Path, fp16: bool) -> None:
    project, ctx, reports = bench(tmp_path)
    store_model(project, tiny_settings())
    result = export(ctx, model="tiny", fp16=fp16)
    path = project.results_dir / "tiny_SAEHD_model.dfm"
    assert (result["path"], result["bytes"]) == ("results/tiny_SAEHD_model.dfm", path.stat().st_size)
    assert (result["iteration"], result["opset"], result["fp16"]) == (9, 12, fp16)
    assert 0 < result["max_difference"] <= (dfm.MOST_FP16 if fp16 else dfm.MOST_FP32)
    assert reports.of("artifact") == [{"what": "model", "path": result["path"]}]
    assert export(ctx, model="tiny")["path"] == "results/tiny_SAEHD_model-2.dfm"
    assert written(project) == ["tiny_SAEHD_model-2.dfm", "tiny_SAEHD_model.dfm"]


def test_the_average_of_the_weights_is_written(tmp_path: Path) -> None:
    project, ctx, _ = bench(tmp_path)
    weights = store_model(project, tiny_amp(), lambda found: {name: value * 0.5 for name, value in found.items()})
    assert export(ctx, model="tiny")["path"] == "results/tiny_AMP_model.dfm"
    proto = onnx.load(project.results_dir / "tiny_AMP_model.dfm")
    stored = {each.name: onnx.numpy_helper.to_array(each) for each in proto.graph.initializer}
    name = "encoder.dense1.weight"
    np.testing.assert_allclose(stored[name], weights[name].numpy() * 0.5)
    crop = np.random.default_rng(0).random((64, 64, 3), np.float32)
    network = OnnxNetwork(project.results_dir / "tiny_AMP_model.dfm", threads=1)
    wanted = load_model(project, "tiny", "cpu").predict(crop, 0.5)
    mask, face, swap_mask = network.run({"in_face:0": crop[None], "morph_value:0": [0.5]})
    np.testing.assert_allclose(face[0], wanted.face, atol=1e-5)
    np.testing.assert_allclose(mask[0, ..., 0], wanted.dst_mask, atol=1e-5)
    np.testing.assert_allclose(swap_mask[0, ..., 0], wanted.mask, atol=1e-5)


def test_quick96_has_one_too(tmp_path: Path) -> None:
    project, ctx, _ = bench(tmp_path)
    store_model(project, Quick96Settings(model="quick", channels=1))
    assert export(ctx, model="quick")["path"] == "results/quick_Quick96_model.dfm"


def test_the_file_says_where_it_comes_from_and_names_no_path(tmp_path: Path) -> None:
    project, ctx, _ = bench(tmp_path)
    store_model(project, tiny_settings())
    write_dfm(project, "tiny", tmp_path / "a.dfm", False, ctx)
    data = (tmp_path / "a.dfm").read_bytes()
    facts = {each.key: each.value for each in onnx.load_from_string(data).metadata_props}
    assert facts["software"].startswith("Lookalike")
    assert (facts["model"], facts["iteration"], facts["face_type"]) == ("tiny", "9", "whole")
    assert "AI-manipulated" in facts["disclosure"]
    assert facts["digital_source_type"].startswith("http")
    here = Path(__file__).resolve().parents[2]
    for place in (b"/home", b"/tmp", b".py", b"site-packages", str(here).encode(), str(tmp_path).encode()):
        assert place not in data


def test_a_file_that_differs_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project, ctx, _ = bench(tmp_path)
    store_model(project, tiny_settings())
    real = dfm.dfm_model

    def wrong(model, fp16, facts):
        proto = real(model, fp16, facts)
        for each in proto.graph.initializer:
            if each.name == "decoder_src.out_conv.bias":
                each.CopyFrom(
                    onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(each) + np.float32(0.01), each.name)
                )
        return proto

    monkeypatch.setattr(dfm, "dfm_model", wrong)
    with pytest.raises(DfmDiffersError, match=r"differs from the model by up to 2\.\de-03"):
        export(ctx, model="tiny")
    assert written(project) == []


@pytest.mark.parametrize("calls", [0, 1, 2, 3])
def test_a_stop_leaves_nothing(tmp_path: Path, calls: int) -> None:
    project, _, _ = bench(tmp_path)
    store_model(project, tiny_settings())
    _, ctx, _ = bench(tmp_path, stop_after(calls))
    with pytest.raises(StopRequested):
        export(ctx, model="tiny")
    assert written(project) == []


def test_a_model_that_is_not_there_or_not_trained_is_said(tmp_path: Path) -> None:
    project, ctx, _ = bench(tmp_path)
    with pytest.raises(BadInputError, match="nobody"):
        export(ctx, model="nobody")
    assert written(project) == []


def test_an_older_model_has_one_too(tmp_path: Path) -> None:
    project, ctx, _ = bench(tmp_path)
    store_model(project, SaeSettings(model="old", resolution=64, ae_dims=32, e_ch_dims=21, d_ch_dims=10))
    result = export(ctx, model="old")
    assert (result["path"], result["opset"]) == ("results/old_SAE_model.dfm", 12)
    load_stage("model")(ModelFileSettings(action="import", file=str(project.path / result["path"])), ctx)
    crops = list(np.random.default_rng(0).random((2, 64, 64, 3), np.float32))
    one, two = (load_model(project, name, "cpu") for name in ("old", "old-2"))
    assert two.face_type == one.face_type
    for wanted, found in zip(one.predict_batch(crops), two.predict_batch(crops), strict=True):
        np.testing.assert_allclose(found.face, wanted.face, atol=1e-5)
    for given, words in (
        ({"action": "dfm", "fp16": True}, "half precision"),
        ({"action": "dfl"}, "no model like 'old'"),
    ):
        with pytest.raises(BadInputError, match=words):
            load_stage("model")(ModelFileSettings(model="old", **given), ctx)
    assert written(project) == ["old_SAE_model.dfm"]
