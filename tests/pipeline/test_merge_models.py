"""Cutting and predicting faces of several frames by several models."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from backend.core.errors import BadInputError
from backend.core.faces import FaceType
from backend.core.settings import FaceRule, MergeSettings
from backend.ops.composite import face_target
from backend.pipeline import merge_networks, model_shelf
from backend.pipeline.merge_cut import cut_faces
from backend.pipeline.merge_models import MergeModels
from backend.pipeline.merge_scene import MergeScene
from backend.pipeline.model_shelf import ModelShelf
from backend.storage.model_stamp import model_stamp
from backend.storage.workspace import Project
from tests.pipeline.merge_project import FlatModel, make_destination
from tests.pipeline.stored_model import store_model, tiny_amp

SHAPES = {"model": (FaceType.FULL, 64), "other": (FaceType.WHOLE, 96)}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_destination(tmp_path / "workspace", frames=4)


@pytest.fixture
def flat(monkeypatch: pytest.MonkeyPatch) -> dict[str, FlatModel]:
    """Models by name; they are made when they are loaded."""
    made: dict[str, FlatModel] = {}

    def load(project: Project, name: str, device: str) -> FlatModel:
        blue = name == "other"
        made[name] = FlatModel((1, 0, 0) if blue else (0, 0, 1), resolution=96 if blue else 64)
        return made[name]

    monkeypatch.setattr(model_shelf, "load_model", load)
    return made


def plans(project: Project, **settings):
    scene = MergeScene(project)
    return [(scene.picture(index), scene.plan(index, MergeSettings(**settings))) for index in range(4)]


def test_faces_are_cut_as_their_models_see_them(project: Project) -> None:
    frame, plan = plans(project, faces=(FaceRule(track=1, model="other"),))[0]
    cut = cut_faces(frame, plan, SHAPES)
    for face, target, name in zip(plan.faces, cut.targets, ("model", "other"), strict=True):
        wanted = face_target(frame, face.landmarks, *SHAPES[name])
        np.testing.assert_array_equal(target.crop, wanted.crop)
        np.testing.assert_array_equal(target.mat, wanted.mat)
    assert cut.xseg_crops == ()
    seen = cut_faces(frame, plans(project, mask_mode="xseg-dst")[0][1], SHAPES).xseg_crops
    assert [crop.shape for crop in seen] == [(256, 256, 3)] * 2
    assert 0.1 < seen[0].mean() < 0.9


def test_landmarks_that_give_no_crop_are_left_out(project: Project, flat: dict[str, FlatModel]) -> None:
    frame, plan = plans(project)[0]
    broken = plan.faces[0].__class__("x.jpg", np.zeros((68, 2)), "model")
    models = MergeModels(project, ["model"], "cpu")
    cut = models.cut(frame, plan.__class__(0, "00001", plan.look, (broken, plan.faces[1])))
    assert cut.targets[0] is None
    (done,) = models.predict([cut])
    assert done.predictions[0] is None
    assert done.predictions[1] is not None


def test_faces_of_one_model_are_predicted_together(project: Project, flat: dict[str, FlatModel]) -> None:
    models = MergeModels(project, ["model", "other"], "cpu", batch_size=2)
    assert models.shapes == {"model": (FaceType.FULL, 64), "other": (FaceType.FULL, 96)}
    found = plans(project, faces=(FaceRule(track=1, model="other"),))
    done = models.predict([models.cut(*each) for each in found])
    assert [batch for batch, _ in flat["model"].batches] == [2, 1]
    assert [batch for batch, _ in flat["other"].batches] == [2, 1]
    assert [len(frame.predictions) for frame in done] == [2, 2, 0, 2]
    for frame in (done[0], done[1], done[3]):
        red, blue = frame.predictions
        assert red.face.shape == (64, 64, 3)
        assert red.face[..., 2].mean() > 0.8 > red.face[..., 0].mean()
        assert blue.face.shape == (96, 96, 3)
        assert blue.face[..., 0].mean() > 0.8
        np.testing.assert_allclose(red.face[..., 0], frame.targets[0].crop[..., 0] * 0.1, atol=1e-6)


def test_each_morph_factor_goes_by_itself(project: Project, flat: dict[str, FlatModel]) -> None:
    models = MergeModels(project, ["model"], "cpu")
    (frame, half), (other, whole) = plans(project, morph_factor=0.5)[0], plans(project)[1]
    models.predict([models.cut(frame, half), models.cut(other, whole)])
    assert sorted(flat["model"].batches) == [(2, 0.5), (2, 1.0)]


class Halves:
    """A mask network that is sure of the brighter faces, and an enhancer that paints green."""

    name = "fake.onnx"

    def __init__(self) -> None:
        self.asked = 0

    def masks(self, faces):
        self.asked += 1
        assert all(face.shape == (256, 256, 3) and face.min() >= 0 and face.max() <= 1 for face in faces)
        return [np.full((256, 256), face.mean(), np.float32) for face in faces]

    def enhance(self, face):
        assert face.shape[2] == 3
        made = np.zeros((4 * len(face), 4 * len(face), 3), np.float32)
        made[..., 1] = 1
        return made


@pytest.fixture
def networks(monkeypatch: pytest.MonkeyPatch) -> Halves:
    made = Halves()
    monkeypatch.setattr("backend.models.enhance.find_enhancer", lambda folder, device: made)
    monkeypatch.setattr("backend.models.segmentation.find_segmentation", lambda folders, device: made)
    return made


@pytest.mark.parametrize("mode", ["xseg-prd", "xseg-dst", "xseg-prd*xseg-dst", "learned*xseg", "learned-prd"])
def test_masks_of_a_network_come_along(
    project: Project, flat: dict[str, FlatModel], networks: Halves, mode: str
) -> None:
    models = MergeModels(project, ["model"], "cpu")
    done = models.predict([models.cut(*each) for each in plans(project, mask_mode=mode)])
    assert networks.asked == (1 if "xseg" in mode else 0)
    for frame in (done[0], done[3]):
        for made, crop in zip(frame.predictions, frame.xseg_crops or (None, None), strict=True):
            assert (made.xseg_mask is not None) == (mode in merge_networks.XSEG_PREDICTED)
            assert (made.xseg_dst_mask is not None) == (mode in merge_networks.XSEG_FRAME)
            if made.xseg_mask is not None:
                assert made.xseg_mask[0, 0] == pytest.approx(made.face.mean(), abs=1e-3)
            if made.xseg_dst_mask is not None:
                assert made.xseg_dst_mask[0, 0] == pytest.approx(crop.mean(), abs=1e-6)


def test_the_enhancer_is_asked_when_it_is_wanted(
    project: Project, flat: dict[str, FlatModel], networks: Halves
) -> None:
    models = MergeModels(project, ["model"], "cpu")
    (plain,) = models.predict([models.cut(*plans(project)[0])])
    assert plain.enhanced == (None, None)
    assert "enhancer" not in models.facts()
    (better,) = models.predict([models.cut(*plans(project, super_resolution=30)[0])])
    assert [face.shape for face in better.enhanced] == [(256, 256, 3)] * 2
    assert models.facts()["enhancer"] == "fake.onnx"


def test_without_networks(project: Project, flat: dict[str, FlatModel]) -> None:
    models = MergeModels(project, ["model"], "cpu")
    (plain,) = models.predict([models.cut(*plans(project, super_resolution=30)[0])])
    assert plain.enhanced == (None, None)
    with pytest.raises(BadInputError, match=r"XSeg.*none is installed.*another mask mode"):
        models.predict([models.cut(*plans(project, mask_mode="xseg-prd")[0])])


def test_facts_name_the_state_of_each_model(project: Project) -> None:
    store_model(project, tiny_amp())
    models = MergeModels(project, ["tiny"], "cpu")
    folder = project.model_dir("tiny")
    assert models.stamp("tiny") == model_stamp(folder) != ""
    facts = models.facts()
    assert facts["models"]["tiny"]["iteration"] == 9
    assert facts["models"]["tiny"]["precision"] == "fp32"
    assert facts["batch_size"] == 4
    before = model_stamp(folder)
    store_model(project, tiny_amp(), lambda weights: {name: value * 0.5 for name, value in weights.items()})
    assert model_stamp(folder) != before
    assert model_stamp(project.model_dir("nobody")) == ""
    with pytest.raises(BadInputError, match="no trained model 'nobody'"):
        MergeModels(project, ["tiny", "nobody"], "cpu")
    (project.model_dir("begun") / "generations").mkdir(parents=True)
    with pytest.raises(BadInputError, match="'begun' has no checkpoint yet"):
        MergeModels(project, ["begun"], "cpu")


def test_models_stay_loaded_as_far_as_they_fit(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []

    def load(project: Project, name: str, device: str) -> FlatModel:
        loaded.append(name)
        return FlatModel(stamp=model_stamp(project.model_dir(name)))

    monkeypatch.setattr(model_shelf, "load_model", load)
    shelf = ModelShelf(kept_bytes=2500)
    for names in (["a"], ["a", "b"], ["b"], ["a"]):
        shelf.models(project, names, "cpu")
    assert loaded == ["a", "b"]
    shelf.models(project, ["c"], "cpu")
    shelf.models(project, ["a"], "cpu")
    assert loaded == ["a", "b", "c"]
    shelf.models(project, ["b"], "cpu")
    assert loaded == ["a", "b", "c", "b"]
    shelf.models(project, ["a", "b", "c"], "cpu")
    assert loaded.count("c") == 2
    store_model(project, tiny_amp(model="a"))
    shelf.models(project, ["a", "b", "c"], "cpu")
    assert loaded.count("a") == 2
    (project.model_dir("a") / "model.json").touch()
    shelf.models(project, ["a"], "cpu")
    assert loaded.count("a") == 2


def test_cutting_needs_no_torch() -> None:
    code = (
        "import sys\n"
        "import backend.pipeline.merge_cut, backend.pipeline.merge_options, backend.pipeline.merge_scene\n"
        "import backend.storage.model_stamp, backend.storage.merge_plan, backend.core.merge_keys\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
