"""Merging with a network of the model builder that learns no mask: faces are cut along their landmarks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backend.core.settings import MergeSettings, PhazeASettings
from backend.ops.merge_mask import hull_in_crop
from backend.pipeline.merge_models import MergeModels
from backend.pipeline.merge_scene import MergeScene
from tests.pipeline.merge_project import make_destination
from tests.pipeline.stored_model import store_model


@pytest.mark.parametrize("learn_mask", [False, True])
def test_masks_come_from_the_landmarks_where_none_are_learned(tmp_path: Path, learn_mask: bool) -> None:
    project = make_destination(tmp_path / "workspace", frames=1)
    settings = PhazeASettings(
        output_size=64,
        enc_scaling=3,
        bottleneck_size=128,
        fc_min_filters=128,
        fc_max_filters=128,
        fc_gblock_min_nodes=128,
        fc_gblock_max_nodes=128,
        dec_max_filters=256,
        dec_min_filters=16,
        fs_original_max_filters=256,
        learn_mask=learn_mask,
    )
    store_model(project, settings)
    models = MergeModels(project, ["model"], "cpu")
    scene = MergeScene(project)
    cut = models.cut(scene.picture(0), scene.plan(0, MergeSettings()))
    (done,) = models.predict([cut])
    for made, target in zip(done.predictions, done.targets, strict=True):
        assert made is not None
        assert target is not None
        assert made.face.shape == (64, 64, 3)
        assert made.learned is learn_mask
        hull = hull_in_crop(target)
        same = [np.array_equal(mask, hull) for mask in (made.mask, made.dst_mask)]
        assert same == [not learn_mask] * 2
        assert 0.05 < hull.mean() < 0.9
