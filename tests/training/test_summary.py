from __future__ import annotations

from backend.core.settings import AmpSettings, Quick96Settings, SaehdSettings
from backend.models.registry import build_model
from backend.training.summary import summarize


def test_known_parameter_counts_and_output_shapes() -> None:
    parts = {p.name: p for p in summarize(SaehdSettings(archi="liae-ud", ae_dims=128)).parts}
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
    names = [part.name for part in summarize(settings).parts]
    assert names == ["encoder", "inter", "decoder_src", "decoder_dst", "gan", "true_face"]
    assert all(part.output and part.parameters for part in summarize(settings).parts)


def test_every_model_class_has_a_summary() -> None:
    for settings in (Quick96Settings(), AmpSettings(resolution=64, inter_dims=32, ae_dims=32)):
        total = sum(p.numel() for p in build_model(settings).parameters())
        assert sum(part.parameters for part in summarize(settings).parts) == total


def test_layers_add_up_and_know_where_they_come_from() -> None:
    settings = SaehdSettings(archi="liae-udt", resolution=64, e_dims=16, d_dims=16, ae_dims=32, gan_power=0.1)
    parts = {p.name: p for p in summarize(settings).parts}
    for part in parts.values():
        assert sum(layer.parameters for layer in part.layers) == part.parameters == part.trained
    assert parts["encoder"].source == "src, dst"
    assert parts["inter_AB"].source == parts["inter_B"].source == "encoder"
    assert parts["decoder"].source == "inter_AB, inter_B"
    assert parts["gan"].source == "decoder"
    encoder = {layer.name: layer for layer in parts["encoder"].layers}
    assert encoder["down1.conv1"].kind == "Conv 5x5 / 2"
    assert encoder["down1.conv1"].output == "16 x 32 x 32"
    assert (encoder["res1.conv1"].source, encoder["res1.conv2"].source) == ("down1.conv1", "res1.conv1")
    assert set(encoder["down2.conv1"].source.split(", ")) == {"res1.conv2", "down1.conv1"}
    first = next(layer for layer in parts["inter_B"].layers if layer.name == "dense1")
    assert (first.source, first.output) == ("encoder", "32")


def test_what_holds_still_is_told_apart() -> None:
    still = SaehdSettings(
        archi="liae", resolution=64, random_warp=False, freeze_weights=True, freeze_layers=("decoder",)
    )
    trained = {p.name: p.trained for p in summarize(still).parts}
    assert trained["inter_AB"] == trained["decoder"] == 0 < trained["encoder"]


def test_a_network_larger_than_any_memory_is_described() -> None:
    huge = SaehdSettings(archi="df", resolution=640, ae_dims=1024, e_dims=256, d_dims=256)
    assert sum(part.weight_bytes for part in summarize(huge).parts) > 10 << 30
