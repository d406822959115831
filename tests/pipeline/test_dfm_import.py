"""A DFM file that was brought in: it merges, and everything else refuses it with a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from backend.core.errors import BadInputError, DamagedFileError, StopRequested
from backend.core.faces import FaceType
from backend.core.settings import (
    EvaluateSettings,
    MergeSettings,
    ModelFileSettings,
    SaehdSettings,
    SummarySettings,
    TimelapseSettings,
)
from backend.models.registry import build_model
from backend.pipeline import merge
from backend.pipeline.first_weights import first_weights
from backend.pipeline.predictor import load_model
from backend.pipeline.stages import load_stage
from backend.storage.merge_ledger import stale_frames
from backend.storage.model_folder import DFM_FILE, ModelFolder
from backend.storage.model_operations import delete_model, rename_model, restore_deleted
from backend.storage.model_stamp import model_stamp
from backend.storage.workspace import Project
from tests.models.test_dfm_network import flat
from tests.pipeline.merge_project import make_destination
from tests.pipeline.stage_bench import bench, stop_after
from tests.pipeline.stored_model import store_model, tiny_amp
from tests.pipeline.training_project import tiny_settings
from tests.storage.models import content


def stage(ctx: Any, action: str, **given: Any) -> dict[str, Any]:
    return load_stage("model")(ModelFileSettings(action=action, **given), ctx)


@pytest.fixture
def made(tmp_path: Path) -> tuple[Project, Any, Any, Path]:
    """A project with an AMP model of head type, its context and reports, and the model's DFM file."""
    project, ctx, reports = bench(tmp_path)
    store_model(project, tiny_amp(face_type="head"))
    path = project.path / stage(ctx, "dfm", model="tiny")["path"]
    return project, ctx, reports, path


def test_it_swaps_like_the_model_it_was_made_of(made: tuple[Project, Any, Any, Path]) -> None:
    project, ctx, reports, path = made
    result = stage(ctx, "import", file=str(path))
    assert (result["model"], result["kind"], result["iteration"]) == ("tiny-2", "dfm", 9)
    assert result["bytes"] == path.stat().st_size
    assert not [each for each in reports.of("log") if each.get("level") == "warning"]
    info = ModelFolder(project.model_dir("tiny-2")).info()
    assert info is not None
    assert info.merges_only
    assert {name: info.settings[name] for name in ("resolution", "face_type", "channels", "morph")} == {
        "resolution": 64,
        "face_type": "head",
        "channels": 3,
        "morph": True,
    }
    one, two = (load_model(project, name, "cpu") for name in ("tiny", "tiny-2"))
    assert (two.face_type, two.resolution, two.iteration, two.precision) == (FaceType.HEAD, 64, 9, "fp32")
    assert (two.provenance.model, two.provenance.model_class) == ("tiny-2", "dfm")
    assert two.weight_bytes == path.stat().st_size
    assert two.stamp == model_stamp(project.model_dir("tiny-2"))
    assert two.stamp.startswith("9-")
    crops = list(np.random.default_rng(0).random((3, 64, 64, 3), np.float32))
    for morph in (0.25, 1.0):
        for wanted, found in zip(one.predict_batch(crops, morph), two.predict_batch(crops, morph), strict=True):
            for name in ("face", "mask", "dst_mask"):
                np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), atol=1e-5)


def test_the_face_type_is_chosen_or_taken_for_whole_face(tmp_path: Path) -> None:
    project, ctx, reports = bench(tmp_path)
    path = flat(tmp_path / "somebody_SAEHD_model.dfm")
    assert stage(ctx, "import", file=str(path))["model"] == "somebody"
    assert "does not say its face type" in reports.words()
    assert stage(ctx, "import", file=str(path), face_type="f", name="full")["model"] == "full"
    kinds = [load_model(project, name, "cpu").face_type for name in ("somebody", "full")]
    assert kinds == [FaceType.WHOLE, FaceType.FULL]


def test_an_iteration_of_any_length_is_taken(tmp_path: Path) -> None:
    project, ctx, _ = bench(tmp_path)
    path = flat(tmp_path / "x.dfm")
    proto = onnx.load(path)
    helper.set_model_props(proto, {"iteration": "9" * 5000, "face_type": "nose", "software": "x" * 5000})
    path.write_bytes(proto.SerializeToString())
    assert stage(ctx, "import", file=str(path))["iteration"] == 999_999_999
    info = ModelFolder(project.model_dir("x")).info()
    assert info is not None
    assert (info.settings["face_type"], len(info.settings["software"])) == ("wf", 200)


def test_it_merges(tmp_path: Path) -> None:
    project = make_destination(tmp_path / "workspace", frames=2)
    _, ctx, _ = bench(tmp_path)
    stage(ctx, "import", file=str(flat(tmp_path / "x.dfm")), name="gray")
    settings = MergeSettings(model="gray", device="cpu", color_transfer="none")
    assert merge.run(settings, ctx)["faces"] == 4
    stale = stale_frames(project, settings)
    assert (stale.merged, stale.trained, stale.changed) == (2, 0, 0)
    info = ModelFolder(project.model_dir("gray")).info()
    assert info is not None
    other = info.model_copy(update={"settings": {**info.settings, "sha256": "another"}})
    ModelFolder(project.model_dir("gray")).write_info(other)
    assert stale_frames(project, settings).trained == 2


def test_everything_else_refuses_it(made: tuple[Project, Any, Any, Path]) -> None:
    project, ctx, _, path = made
    stage(ctx, "import", file=str(path), name="only")
    before = content(project.path)
    assert project.models() == ["only", "tiny"]
    assert project.trainable_models() == ["tiny"]
    assert [(model.name, model.iteration) for model in project.status().models] == [("only", 9), ("tiny", 9)]
    for run in (
        lambda: load_stage("train")(SaehdSettings(model="only"), ctx),
        lambda: first_weights(build_model(tiny_settings()), tiny_settings(load_weights="only"), ctx),
        lambda: load_stage("evaluate")(EvaluateSettings(model="only", device="cpu"), ctx),
        lambda: load_stage("summary")(SummarySettings(model="only"), ctx),
        lambda: stage(ctx, "export", model="only"),
        lambda: stage(ctx, "dfm", model="only"),
        lambda: stage(ctx, "dfl", model="only"),
        lambda: stage(ctx, "backup", model="only"),
    ):
        with pytest.raises(BadInputError, match=r"'only' is a DFM file \(64 px, face type head\): it merges"):
            run()
    for other in (
        lambda: load_stage("timelapse")(TimelapseSettings(model="only"), ctx),
        lambda: stage(ctx, "restore", model="only", name="nothing"),
    ):
        with pytest.raises(BadInputError):
            other()
    assert content(project.path) == before


def test_copying_renaming_and_deleting(made: tuple[Project, Any, Any, Path]) -> None:
    project, ctx, _, path = made
    stage(ctx, "import", file=str(path), name="only")
    copied = stage(ctx, "copy", model="only", name="twin")
    assert copied["bytes"] >= path.stat().st_size
    rename_model(project, "only", "new")
    crop = np.full((64, 64, 3), 0.5, np.float32)
    faces = [load_model(project, name, "cpu").predict(crop).face for name in ("twin", "new")]
    np.testing.assert_array_equal(*faces)
    assert load_model(project, "new", "cpu").provenance.model == "new"
    deleted = delete_model(project, "new", "new")
    assert project.models() == ["tiny", "twin"]
    assert restore_deleted(project, deleted.id) == "new"
    assert load_model(project, "new", "cpu").predict(crop).face.any()


def test_a_file_that_was_changed_later_is_refused(made: tuple[Project, Any, Any, Path]) -> None:
    project, ctx, _, path = made
    stage(ctx, "import", file=str(path), name="only")
    file = project.model_dir("only") / DFM_FILE
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(DamagedFileError, match="not as it was brought in"):
        load_model(project, "only", "cpu")
    file.unlink()
    with pytest.raises(DamagedFileError, match="not as it was brought in"):
        load_model(project, "only", "cpu")


def test_what_is_no_dfm_leaves_nothing(tmp_path: Path) -> None:
    project, ctx, _ = bench(tmp_path)
    (tmp_path / "x.dfm").write_bytes(b"nothing of that kind")
    with pytest.raises(DamagedFileError, match=r"^x\.dfm is cut off, or no DFM file"):
        stage(ctx, "import", file=str(tmp_path / "x.dfm"))
    with pytest.raises(DamagedFileError, match="first input is no picture"):
        stage(ctx, "import", file=str(flat(tmp_path / "y.dfm", {"in_face:0": (1, [None, 3, 32, 32])})))
    (tmp_path / "empty.dfm").write_bytes(b"")
    with pytest.raises(DamagedFileError, match=r"The network empty\.dfm cannot be used") as failure:
        stage(ctx, "import", file=str(tmp_path / "empty.dfm"))
    assert ".unfinished" not in str(failure.value)
    with pytest.raises(BadInputError, match="There is no file"):
        stage(ctx, "import", file=str(tmp_path / "none.dfm"))
    _, stopping, _ = bench(tmp_path, stop_after(0))
    with pytest.raises(StopRequested):
        stage(stopping, "import", file=str(flat(tmp_path / "z.dfm")))
    assert not project.models()
    assert not list(project.model_root.glob(".unfinished-*"))


def test_a_model_file_named_zip_is_still_ours(tmp_path: Path) -> None:
    project, ctx, _ = bench(tmp_path)
    store_model(project, tiny_settings())
    path = project.path / stage(ctx, "export", model="tiny")["path"]
    result = stage(ctx, "import", file=str(path.rename(tmp_path / "tiny.zip")), name="again")
    assert (result["kind"], result["model"]) == ("model", "again")
