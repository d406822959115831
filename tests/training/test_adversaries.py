"""Discriminators in training: DeepFaceLab's gradients, who learns from what, and that they do their work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from backend.core.errors import BadInputError
from backend.core.settings import SaehdSettings
from backend.models.dfl_names import dfl_name, load_dfl_weights, to_dfl_layout
from backend.training.callbacks.learning_rate import correction
from backend.training.step import TrainStep
from tests.models.dfl_files import read_weights
from tests.training.test_step import CPU, Case, faces, small

FILES = {"gan": "GAN", "true_face": "code_discriminator"}
KEYS = {"gan": ("GAN", "D_src"), "true_face": ("D_code", "dis")}


@pytest.mark.parametrize("name", FILES)
def test_first_gradients_of_the_discriminators(golden: Path, name: str) -> None:
    """Ours are those of the mean over the batch of two, DeepFaceLab's those of the sum."""
    case = Case(golden, "df_ud_all")
    options = {"gan_power": 0.1, "gan_patch_size": 16, "gan_dims": 4, "true_face_power": 0.01}
    step = TrainStep(case.model, case.settings(**options), CPU)
    adversary = step._adversaries[name]
    file = golden / "dfl_networks" / "train_steps" / f"df_ud_all_{FILES[name]}.weights.npz"
    load_dfl_weights(adversary.network, read_weights(file))
    src, dst = case.side("src"), case.side("dst")
    adversary.learn(case.model.autoencode(src.warped, dst.warped), src, dst, share=2.0)
    key, prefix = KEYS[name]
    expected = case.facts["gradients_step1_unclipped"][key]
    for parameter, value in adversary.network.named_parameters():
        facts = expected[f"{prefix}/{dfl_name(parameter)}"]
        gradient = to_dfl_layout(value.grad).astype(np.float64)
        assert np.linalg.norm(gradient) == pytest.approx(facts["norm"], rel=5e-4), parameter
        assert np.allclose(gradient.flatten()[:8], facts["first8"], rtol=2e-3, atol=2e-4 * facts["norm"]), parameter


def adversarial(**changes: float) -> TrainStep:
    settings = SaehdSettings(resolution=64, archi="df-ud", gan_power=0.1, true_face_power=0.05, gan_dims=4, **changes)
    return TrainStep(small("df-ud"), settings, CPU)


def test_each_learns_only_from_its_own_loss() -> None:
    step = adversarial()
    src, dst = faces(1), faces(2)
    out = step.model.autoencode(src.warped, dst.warped)
    for adversary in step._adversaries.values():
        adversary.fool(out, src, dst).backward(retain_graph=True)
        assert all(p.grad is None for p in adversary.network.parameters())
    assert any(p.grad is not None for p in step.model.encoder.parameters())
    step.forget()
    for adversary in step._adversaries.values():
        adversary.learn(out, src, dst, share=1.0)
        assert all(p.grad is not None for p in adversary.network.parameters())
    assert all(p.grad is None for p in step.model.parameters())


def test_a_discriminator_learns_to_tell_real_from_drawn() -> None:
    """At chance its loss is 2 ln 2 = 1.386."""
    torch.manual_seed(0)
    step = adversarial()
    adversary = step._adversaries["gan"]
    src, dst = faces(1), faces(2)
    with torch.no_grad():
        out = step.model.autoencode(src.warped, dst.warped)
    found = []
    for i in range(120):
        adversary.learner.optimizer.param_groups[0]["lr"] = 3e-3 * correction("adabelief", i + 1)
        found.append(float(adversary.learn(out, src, dst, share=1.0)))
        adversary.learner.step()
    assert min(found) < 1.25


def test_powers_change_while_training() -> None:
    step = adversarial()
    settings = SaehdSettings(resolution=64, archi="df-ud", gan_dims=4)
    assert {"gan", "true_face"} <= set(step(faces(1), faces(2)).terms)
    step.configure(settings)
    assert not {"gan", "true_face"} & set(step(faces(1), faces(2)).terms)
    step.configure(settings.model_copy(update={"gan_power": 0.2}))
    strong = step(faces(1), faces(2)).terms
    assert "gan" in strong
    assert "true_face" not in strong


def test_their_convolutions_lie_as_those_of_the_network_do() -> None:
    for adversary in adversarial()._adversaries.values():
        weights = [p for p in adversary.network.parameters() if p.ndim == 4 and p.shape[1] > 1 < p.shape[2]]
        assert weights
        assert all(p.is_contiguous(memory_format=torch.channels_last) for p in weights)


def test_true_face_needs_df() -> None:
    settings = SaehdSettings(resolution=64, archi="df-ud", true_face_power=0.1)
    with pytest.raises(BadInputError, match="df"):
        TrainStep(small("liae-ud"), settings, CPU)
