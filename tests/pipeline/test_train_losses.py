"""Chosen losses through the stage: their parts are kept, they change live, and missing weights are said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from backend.core.errors import BadInputError
from backend.core.lpips_files import lpips_paths
from backend.environment import WEIGHTS_VARIABLE
from backend.pipeline import train as stage
from backend.pipeline.train_data import load_data
from backend.training.callbacks import live
from tests.models.test_lpips import store
from tests.pipeline.training_project import Watched, briskly, drawn_project, tiny_settings


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    briskly(monkeypatch)
    monkeypatch.setattr(live, "INTERVAL_S", 0.0)
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path / "weights"))
    return Watched(drawn_project(tmp_path))


def run(watched: Watched, changes: dict[int, dict[str, Any]], **values: Any) -> dict[str, Any]:
    asked = iter(range(1, 1000))
    context = replace(watched.context, take_changes=lambda: changes.get(next(asked), {}))
    return stage.run(tiny_settings(**values), context)


def said(watched: Watched) -> str:
    return "\n".join(str(data.get("message")) for kind, data in watched.events if kind == "log")


def test_parts_of_chosen_losses_are_kept_while_they_change(watched: Watched) -> None:
    first = {"loss_function": "ssim", "loss_function_2": "mse", "eye_multiplier": 3, "mouth_multiplier": 2}
    done = run(watched, {2: {"loss_function_3": "ffl", "loss_weight_3": 50}}, **first, target_iterations=4)
    assert np.isfinite(done["src_loss"])
    terms = watched.folder("tiny").terms.curve().terms
    assert {"ssim_src", "ssim_dst", "mse_src", "mask_dst", "ffl_src"} <= set(terms)
    assert "structure_src" not in terms
    assert np.isfinite(terms["ssim_src"]).all()
    assert np.isnan(terms["ffl_src"]).tolist() == [True, True, False, False]


def test_four_masks_are_cached_only_for_multipliers(watched: Watched) -> None:
    from backend.models.registry import build_model

    for values, masks in (({}, 2), ({"eye_multiplier": 2}, 4), ({"eye_multiplier": 2, "masked_training": False}, 2)):
        settings = tiny_settings(**values)
        data = load_data(build_model(settings, 1), settings, watched.folder("tiny"), watched.context)
        assert data.src.masks.shape[-1] == data.dst.masks.shape[-1] == masks


def test_missing_weights_refuse_a_start(watched: Watched, tmp_path: Path) -> None:
    chosen = {"loss_function_2": "lpips_alex", "loss_weight_2": 20}
    with pytest.raises(BadInputError) as refused:
        run(watched, {}, **chosen)
    for words in ("alexnet-owt-7be5be79.pth", "alex.pth", "https://", str(tmp_path / "weights" / "lpips")):
        assert words in str(refused.value)
    assert not watched.folder("tiny").generations_dir.exists()


def test_missing_weights_leave_a_running_training_as_it_is(watched: Watched) -> None:
    change = {"loss_function_2": "lpips_alex", "loss_weight_2": 20}
    done = run(watched, {1: change}, loss_function="mae", target_iterations=3)
    assert done["iteration"] == 3
    assert "The losses stay as they were. lpips_alex needs weights" in said(watched)
    assert set(watched.folder("tiny").terms.curve().terms) == {"mae_src", "mae_dst", "mask_src", "mask_dst"}


def test_weights_that_are_there_are_used(watched: Watched, tmp_path: Path) -> None:
    store("lpips_squeeze", tmp_path / "weights")
    assert all(path.is_file() for path in lpips_paths("lpips_squeeze", tmp_path / "weights"))
    torch.manual_seed(0)
    run(watched, {}, loss_function_2="lpips_squeeze", loss_weight_2=20, target_iterations=2)
    terms = watched.folder("tiny").terms.curve().terms
    assert {"structure_src", "pixel_dst", "lpips_squeeze_src"} <= set(terms)
    assert bool((terms["lpips_squeeze_src"] > 0).all())
