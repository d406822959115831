"""Settings of the older models: defaults, what has no widget, what is refused, rules for zero."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from backend.core.settings import TRAIN_SETTINGS, SaeSettings, is_fixed, is_frozen

FAMILIES = ("h64", "h128", "df", "liaef128", "sae")


@pytest.mark.parametrize(
    ("name", "resolution", "face_type", "batch", "mask_loss"),
    [
        ("h64", 64, "h", 16, "mae"),
        ("h128", 128, "h", 8, "mae"),
        ("df", 128, "f", 8, "mse"),
        ("liaef128", 128, "f", 8, "mse"),
        ("sae", 128, "f", 4, "mse"),
    ],
)
def test_defaults(name: str, resolution: int, face_type: str, batch: int, mask_loss: str) -> None:
    found = TRAIN_SETTINGS[name]().model_dump()
    assert (found["model_class"], found["resolution"], found["face_type"]) == (name, resolution, face_type)
    assert (found["batch_size"], found["mask_loss_function"]) == (batch, mask_loss)
    assert (found["optimizer"], found["learning_rate"], found["beta_1"]) == ("adam", 5e-5, 0.5)
    assert (found["structure_weight"], found["pixel_weight"], found["mask_weight"]) == (10, 50, 1)
    assert found["random_src_flip"] is found["random_dst_flip"] is True


@pytest.mark.parametrize("name", FAMILIES)
def test_what_a_family_lacks_has_no_widget(name: str) -> None:
    fields = TRAIN_SETTINGS[name].model_fields
    fixed = {field for field, info in fields.items() if is_fixed(info)}
    lacking = {"gan_power", "gan_patch_size", "gan_dims", "eyes_mouth_priority", "eyes_mouth_weight", "blur_out_mask"}
    plain = {"resolution", "face_type"} if name != "sae" else {"optimizer_on_cpu"}
    one_size = {"lightweight"} if name in ("df", "liaef128") else set()
    assert fixed == {"model_class"} | lacking | plain | one_size
    shaping = {"channels", "resolution", "face_type", "lightweight", "archi", "ae_dims", "e_ch_dims", "d_ch_dims"}
    shaping |= {"learn_mask", "residual_blocks", "multiscale_decoder", "lightweight_encoder", "remove_gray_border"}
    assert all(is_frozen(info) for field, info in fields.items() if field in shaping)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"archi": "vg", "multiscale_decoder": True}, "multiscale decoder"),
        ({"archi": "vg", "residual_blocks": True}, "residual blocks"),
        ({"ae_dims": 16}, "at least 32"),
        ({"resolution": 100}, "multiple of 16"),
        ({"resolution": 272}, "less than or equal to 256"),
        ({"e_ch_dims": 20}, "greater than or equal to 21"),
        ({"d_ch_dims": 86}, "less than or equal to 85"),
        ({"channels": 1, "color_transfer": "rct"}, "brightness"),
    ],
)
def test_impossible_sae(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        SaeSettings.model_validate(values)


@pytest.mark.parametrize(("archi", "width"), [("df", 512), ("liae", 256), ("vg", 512)])
def test_width_of_the_bottleneck(archi: str, width: int) -> None:
    assert SaeSettings.model_validate({"archi": archi}).resolved().ae_dims == width
    assert SaeSettings.model_validate({"archi": archi, "ae_dims": 96}).resolved().ae_dims == 96


@pytest.mark.parametrize(("mode", "in_memory"), [(1, False), (2, True), (3, True)])
def test_optimizer_mode_says_where_the_state_lies(mode: int, in_memory: bool) -> None:
    chosen = SaeSettings.model_validate({"optimizer_mode": mode})
    assert chosen.effective().optimizer_on_cpu is in_memory
    assert chosen.model_dump()["optimizer_on_cpu"] is False
