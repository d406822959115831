"""Loading a stored model and swapping with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

from backend.core.faces import FaceType
from backend.core.settings import Quick96Settings
from backend.models.registry import build_model
from backend.pipeline.predictor import choose_precision, load_model
from backend.storage.workspace import Project, Workspace
from tests.pipeline.stored_model import store_model, tiny_amp
from tests.pipeline.training_project import tiny_settings


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Workspace(tmp_path).create("stored", "Nobody is shown.", "")


def crops(count: int, side: int) -> list[Any]:
    return list(np.random.default_rng(0).random((count, side, side, 3), np.float32))


@pytest.mark.parametrize("channels", [1, 3])
def test_amp_swaps_as_far_as_asked(project: Project, channels: Literal[1, 3]) -> None:
    store_model(project, tiny_amp(channels=channels))
    predictor = load_model(project, "tiny", "cpu")
    assert (predictor.iteration, predictor.resolution, predictor.face_type) == (9, 64, FaceType.WHOLE)
    crop = crops(1, 64)[0]
    made = [predictor.predict(crop, morph) for morph in (0.0, 0.5, 1.0)]
    assert all(one.face.shape == (64, 64, channels) and one.mask.shape == (64, 64) for one in made)
    np.testing.assert_allclose(made[0].mask, made[0].dst_mask, atol=1e-5)
    np.testing.assert_allclose(predictor.predict(crop).face, made[2].face, atol=1e-6)
    away = [float(np.abs(one.face - made[0].face).mean()) for one in made]
    assert 0 < away[1] < away[2]
    both = predictor.predict_batch([crop, crop], 0.5)
    np.testing.assert_allclose(both[1].face, made[1].face, atol=1e-5)


def test_quick96_swaps(project: Project) -> None:
    store_model(project, Quick96Settings(model="quick"))
    predictor = load_model(project, "quick", "cpu")
    assert (predictor.resolution, predictor.face_type) == (96, FaceType.FULL)
    made = predictor.predict(crops(1, 96)[0])
    assert made.face.shape == (96, 96, 3)
    assert made.mask.shape == made.dst_mask.shape == (96, 96)


def test_the_average_of_the_weights_swaps_where_there_is_one(project: Project) -> None:
    settings = tiny_settings(model="averaged")
    weights = store_model(project, settings, lambda found: {name: value * 0.5 for name, value in found.items()})
    store_model(project, tiny_settings(model="plain"))
    crop = crops(1, 64)[0]
    model = build_model(settings).eval()
    for name, share in (("averaged", 0.5), ("plain", 1.0)):
        model.load_state_dict({key: value * share for key, value in weights.items()})
        with torch.inference_mode():
            wanted = model.swap(torch.from_numpy(crop).permute(2, 0, 1)[None]).face[0].permute(1, 2, 0).numpy()
        np.testing.assert_allclose(load_model(project, name, "cpu").predict(crop).face, wanted, atol=1e-5)
    assert not np.allclose(
        load_model(project, "averaged", "cpu").predict(crop).face,
        load_model(project, "plain", "cpu").predict(crop).face,
    )


def test_short_numbers_change_little(project: Project) -> None:
    store_model(project, tiny_settings(model="plain"))
    some = crops(2, 64)
    exact, half = (load_model(project, "plain", "cpu", precision) for precision in ("auto", "fp16"))
    assert (exact.precision, half.precision) == ("fp32", "fp16")
    for one, other in zip(exact.predict_batch(some), half.predict_batch(some), strict=True):
        assert 0 < np.abs(one.face - other.face).max() < 1 / 255
        assert other.face.dtype == other.mask.dtype == np.float32
    assert choose_precision("auto", torch.device("cuda")) == "fp16"
    assert choose_precision("auto", torch.device("mps")) == "fp32"
    assert choose_precision("bf16", torch.device("cpu")) == "bf16"


def test_its_size_and_state_are_known(project: Project) -> None:
    settings = tiny_settings(model="plain")
    weights = store_model(project, settings)
    predictor = load_model(project, "plain", "cpu")
    assert predictor.weight_bytes == sum(tensor.nbytes for tensor in weights.values())
    iteration, _, checksum = predictor.stamp.partition("-")
    assert iteration == "9"
    assert len(checksum) == 16
    store_model(project, settings, lambda found: {name: value * 0.5 for name, value in found.items()})
    assert load_model(project, "plain", "cpu").stamp.partition("-")[2] != checksum
