from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backend.core.settings import SaehdSettings
from backend.models.registry import build_model
from backend.pipeline.train_data import TrainingData, load_data
from tests.pipeline.training_project import Watched, drawn_project, tiny_settings


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(drawn_project(tmp_path))


def loaded(watched: Watched, settings: SaehdSettings) -> TrainingData:
    return load_data(build_model(settings, 1), settings, watched.folder(), watched.context)


def test_source_faces_come_larger_wherever_they_are_looked_at(watched: Watched) -> None:
    plain, scaled = (loaded(watched, tiny_settings(src_scale=percent)) for percent in (0, 25))
    np.testing.assert_allclose(scaled.src.points - 0.5, (plain.src.points - 0.5) * 1.25, atol=1e-5)
    grown = (scaled.src.masks[..., 0] > 127).sum() / (plain.src.masks[..., 0] > 127).sum()
    assert grown == pytest.approx(1.25**2, rel=0.1)
    assert np.array_equal(scaled.src.landmarks, plain.src.landmarks)
    for name in ("images", "masks", "points"):
        assert np.array_equal(getattr(scaled.dst, name), getattr(plain.dst, name))


def test_pretraining_scales_nothing(watched: Watched) -> None:
    folder = str(watched.project.side("src").aligned_dir)
    plain, scaled = (
        loaded(watched, tiny_settings(src_scale=percent, pretrain=True, pretrain_faces=folder)) for percent in (0, 25)
    )
    assert np.array_equal(scaled.src.images, plain.src.images)
    assert scaled.src is scaled.dst
