from __future__ import annotations

from backend.core.settings import AmpSettings, Quick96Settings, SaehdSettings
from backend.models.registry import build_model
from backend.training.summary import summarize


def test_known_parameter_counts_and_output_shapes() -> None:
    parts = {p.name: p for p in summarize(SaehdSettings(archi="liae-ud", ae_dims=128))}
    assert {name: part.parameters for name, part in parts.items()} == {
        "encoder": 4_306_560,
        "inter_AB": 7_083_136,
        "inter_B": 7_083_136,
        "decoder": 25_521_899,
    }
    assert parts["decoder"].output == "3 x 128 x 128, 1 x 128 x 128"
    assert parts["inter_B"].output == "256 x 8 x 8"
    assert parts["encoder"].output == "32768"
    assert parts["encoder"].weight_bytes == 4 * 4_306_560


def test_discriminators_are_parts_when_they_are_on() -> None:
    settings = SaehdSettings(archi="df", ae_dims=32, gan_power=0.1, true_face_power=0.01, channels=1)
    names = [part.name for part in summarize(settings)]
    assert names == ["encoder", "inter", "decoder_src", "decoder_dst", "gan", "true_face"]
    assert all(part.output and part.parameters for part in summarize(settings))


def test_every_model_class_has_a_summary() -> None:
    for settings in (Quick96Settings(), AmpSettings(resolution=64, inter_dims=32, ae_dims=32)):
        total = sum(p.numel() for p in build_model(settings).parameters())
        assert sum(part.parameters for part in summarize(settings)) == total
