"""Every preset of the model builder and every older family: it is described, learns a step, and merges a frame."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch

from backend.core.provenance import Provenance
from backend.core.settings import TRAIN_SETTINGS, MergeSettings, PhazeASettings, TrainSettings
from backend.core.settings.older import OlderSettings
from backend.models.registry import build_model
from backend.pipeline import model_shelf
from backend.pipeline.merge_session import MergeSession
from backend.pipeline.predictor import Predictor
from backend.storage.workspace import Project
from backend.training.batch import FaceBatch
from backend.training.step import TrainStep
from backend.training.summary import summarize
from tests.pipeline.merge_project import make_destination

CPU = torch.device("cpu")

OLDER: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "h64": MappingProxyType({"model_class": "h64"}),
        "h64 light": MappingProxyType({"model_class": "h64", "lightweight": True}),
        "h128 light": MappingProxyType({"model_class": "h128", "lightweight": True}),
        "h128": MappingProxyType({"model_class": "h128"}),
        "df": MappingProxyType({"model_class": "df"}),
        "liaef128": MappingProxyType({"model_class": "liaef128"}),
        "sae df": MappingProxyType({"model_class": "sae", "resolution": 64, "archi": "df"}),
        "sae liae": MappingProxyType({"model_class": "sae", "resolution": 64, "archi": "liae"}),
        "sae vg": MappingProxyType({"model_class": "sae", "resolution": 64, "archi": "vg"}),
        "sae": MappingProxyType({"model_class": "sae"}),
    }
)
QUICK = ("lightweight", "original", "dfl-saehd-df", "h64", "h64 light", "sae df", "sae liae", "sae vg")
"""Those that take a few seconds."""


def settings_of(name: str, channels: int) -> TrainSettings:
    """Settings of a preset or an older model, as small a training as there is."""
    values = {**PhazeASettings.PRESETS, **OLDER}[name]
    kind = TRAIN_SETTINGS[str(values.get("model_class", "phaze_a"))]
    given = {**values, "channels": channels, "batch_size": 1, "precision": "fp32", "enc_load_weights": False}
    return kind.model_validate({name: value for name, value in given.items() if name in kind.model_fields})


def cases() -> list[Any]:
    """(name, channels); the large ones are slow."""
    found = [(name, channels) for name in (*PhazeASettings.PRESETS, *OLDER) for channels in (3, 1)]
    return [pytest.param(*case, marks=[] if case[0] in QUICK else [pytest.mark.slow]) for case in found]


def batch(settings: TrainSettings, seed: int) -> FaceBatch:
    """One face of noise."""
    assert isinstance(settings, PhazeASettings | OlderSettings)
    side, channels = settings.resolution, settings.channels
    generator = torch.Generator().manual_seed(seed)
    face = torch.rand(1, channels, side, side, generator=generator)
    mask = torch.ones(1, 1, side, side)
    return FaceBatch(face, face, mask, mask * 0.5, eyes=mask * 0.5, mouth=mask * 0.5)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Two drawn people in a frame."""
    return make_destination(Path(tmp_path_factory.mktemp("shelf")), frames=1)


@pytest.mark.parametrize(("name", "channels"), cases())
def test_it_is_described_learns_and_merges(
    name: str, channels: int, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(name, channels).resolved()
    described = summarize(settings).parts
    assert all(part.output and part.parameters for part in described)

    model = build_model(settings, seed=3)
    assert sum(p.numel() for p in model.parameters()) == sum(part.parameters for part in described)
    before = {key: part.detach().clone() for key, part in _samples(model).items()}
    step = TrainStep(model, settings, CPU)
    losses = step(batch(settings, 1), batch(settings, 2))
    assert torch.isfinite(losses.src) and torch.isfinite(losses.dst) and not losses.skipped
    still = [key for key, old in before.items() if torch.equal(old, _samples(model)[key])]
    assert not still, f"nothing was learned by {still}"

    load = partial(_predictor, step.shown_model.eval())
    monkeypatch.setattr(model_shelf, "load_model", load)
    shown = MergeSession(project).render(0, MergeSettings(erode_mask=0, blur_mask=0))
    assert np.isfinite(shown.after).all()
    assert shown.after.shape == shown.before.shape
    assert (shown.after != shown.before).any()


def _samples(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The last parameter of each part of the network."""
    return {name: list(part.parameters())[-1] for name, part in model.parts().items()}  # type: ignore[operator]


def _predictor(model: Any, project: Project, name: str, device: str) -> Predictor:
    return Predictor(model, CPU, 1, Provenance(model_class="any"))
