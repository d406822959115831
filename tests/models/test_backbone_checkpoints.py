"""Published weights: every name finds its place, classifiers stay out, nothing else is let through."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from torch import Tensor, nn

from backend.core.errors import DamagedFileError
from backend.models.backbones import Backbone, BackboneOptions, build_backbone
from backend.models.backbones.base import CLIP, HALF
from backend.models.backbones.checkpoints import load_checkpoint, resampled_positions
from tests.models import timm_names


def drawn(shapes: timm_names.Shapes, seed: int = 5) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.rand(shape, generator=generator) if shape else torch.tensor(9) for name, shape in shapes.items()
    }


@pytest.mark.parametrize(
    ("name", "width", "shapes"),
    [
        ("mobilenet_v3_small", 1.0, timm_names.mobilenet_v3(timm_names.V3_SMALL, 1.0, 1024)),
        ("mobilenet_v3_small", 0.75, timm_names.mobilenet_v3(timm_names.V3_SMALL, 0.75, 1024)),
        ("mobilenet_v3_large", 1.0, timm_names.mobilenet_v3(timm_names.V3_LARGE, 1.0, 1280)),
        ("mobilenet_v3_large", 0.75, timm_names.mobilenet_v3(timm_names.V3_LARGE, 0.75, 1280)),
        ("efficientnet_v2_s", 1.0, timm_names.efficientnet_v2_s()),
    ],
)
def test_checkpoints_of_timm_fit_by_name_and_shape(name: str, width: float, shapes: timm_names.Shapes) -> None:
    state = drawn(shapes)
    backbone = build_backbone(name, 32, 3, BackboneOptions(width))
    load_checkpoint(backbone, state, "a file")
    found = backbone.net.state_dict()
    assert all(torch.equal(found[key], state[key]) for key in found)
    behind = {"classifier.weight", "classifier.bias"}
    behind |= {"conv_head.weight", "conv_head.bias"} if "v3" in name else set()
    assert set(state) - set(found) == behind


@pytest.mark.parametrize(
    ("name", "start", "behind"),
    [
        ("mobilenet_v2", "mobilenet_v2.", "classifier.weight"),
        ("mobilenet", "mobilenet_v1.", "classifier.bias"),
    ],
)
def test_checkpoints_of_transformers_lose_their_first_name_and_classifier(name: str, start: str, behind: str) -> None:
    backbone = build_backbone(name, 32, 3, BackboneOptions(0.25))
    shapes = {key: tuple(value.shape) for key, value in backbone.net.state_dict().items()}
    state = drawn(shapes)
    given = {f"{start}{key}": value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    load_checkpoint(backbone, {**given, behind: torch.rand(4)}, "a file")
    found = backbone.net.state_dict()
    assert all(torch.equal(found[key], state[key]) for key in found if not key.endswith("num_batches_tracked"))


def test_checkpoints_for_timm_go_into_its_body_without_what_lies_behind() -> None:
    holder = nn.Module()
    holder.body = nn.Sequential(nn.Conv2d(3, 2, 1))
    backbone = Backbone("vgg16", holder, HALF, 3, (2, 1, 1))
    load_checkpoint(
        backbone, {"0.weight": torch.ones(2, 3, 1, 1), "0.bias": torch.ones(2), "head.fc.bias": torch.ones(9)}, "x"
    )
    assert torch.equal(backbone.net.state_dict()["body.0.bias"], torch.ones(2))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda state: state.pop("conv_stem.weight"), r"1 of its weights are missing, first conv_stem\.weight"),
        (lambda state: state.update(extra=torch.ones(1)), "1 of its weights are unknown, first extra"),
        (lambda state: state.update({"bn1.bias": torch.ones(3)}), r"have another shape, first bn1\.bias"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(change, complaint: str) -> None:
    state = drawn(timm_names.mobilenet_v3(timm_names.V3_SMALL, 1.0, 1024))
    backbone = build_backbone("mobilenet_v3_small", 32, 3, BackboneOptions())
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    change(state)
    with pytest.raises(
        DamagedFileError, match=rf"the file does not hold the weights of mobilenet_v3_small: .*{complaint}"
    ):
        load_checkpoint(backbone, state, "the file")
    assert all(torch.equal(before[key], value) for key, value in backbone.state_dict().items())


def tiny_clip(px: int) -> Backbone:
    from transformers.models.clip.configuration_clip import CLIPVisionConfig

    from backend.models.backbones.from_transformers import _ClipVision

    config = CLIPVisionConfig(
        hidden_size=8,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        projection_dim=6,
        image_size=px,
        patch_size=8,
    )
    return Backbone("clipv_vit-b-16", _ClipVision(config), CLIP, 3, (6,))


def openai_state(backbone: Backbone) -> dict[str, Tensor]:
    """The same weights as OpenAI's and FaRL's files have them, with what else such a file holds."""
    own = {name: value for name, value in backbone.net.state_dict().items() if "position_ids" not in name}
    start = "vision_model."
    found = {
        "visual.class_embedding": own[f"{start}embeddings.class_embedding"],
        "visual.positional_embedding": own[f"{start}embeddings.position_embedding.weight"],
        "visual.conv1.weight": own[f"{start}embeddings.patch_embedding.weight"],
        "visual.proj": own["visual_projection.weight"].T,
        "logit_scale": torch.ones(()),
        "transformer.resblocks.0.ln_1.weight": torch.ones(4),
    }
    for kind in ("weight", "bias"):
        found[f"visual.ln_pre.{kind}"] = own[f"{start}pre_layrnorm.{kind}"]
        found[f"visual.ln_post.{kind}"] = own[f"{start}post_layernorm.{kind}"]
        for i in range(2):
            layer, block = f"{start}encoder.layers.{i}", f"visual.transformer.resblocks.{i}"
            qkv = [own[f"{layer}.self_attn.{which}_proj.{kind}"] for which in "qkv"]
            found[f"{block}.attn.in_proj_{kind}"] = torch.cat(qkv)
            found[f"{block}.attn.out_proj.{kind}"] = own[f"{layer}.self_attn.out_proj.{kind}"]
            found[f"{block}.ln_1.{kind}"] = own[f"{layer}.layer_norm1.{kind}"]
            found[f"{block}.ln_2.{kind}"] = own[f"{layer}.layer_norm2.{kind}"]
            found[f"{block}.mlp.c_fc.{kind}"] = own[f"{layer}.mlp.fc1.{kind}"]
            found[f"{block}.mlp.c_proj.{kind}"] = own[f"{layer}.mlp.fc2.{kind}"]
    return found


def test_clip_is_found_under_both_families_of_names_and_without_its_text_tower() -> None:
    torch.manual_seed(6)
    source = tiny_clip(32)
    picture = torch.rand(2, 3, 32, 32)
    hub = {**source.net.state_dict(), "text_model.final.weight": torch.ones(3), "text_projection.weight": torch.ones(2)}
    hub |= {"logit_scale": torch.ones(()), "vision_model.embeddings.position_ids": torch.arange(17)}
    for state in (hub, openai_state(source)):
        backbone = tiny_clip(32)
        assert not torch.allclose(backbone(picture), source(picture), atol=1e-3)
        load_checkpoint(backbone, state, "a file")
        assert torch.equal(backbone(picture), source(picture))


def test_the_vector_is_clips_embedding() -> None:
    from transformers.models.clip.modeling_clip import CLIPVisionModelWithProjection

    net = cast(CLIPVisionModelWithProjection, tiny_clip(32).net)
    x = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(net(x), CLIPVisionModelWithProjection.forward(net, x).image_embeds)


def test_positions_are_resampled_for_other_sizes() -> None:
    """A plane of positions stays that plane; the class token's position is kept."""
    rows = torch.arange(14.0).repeat_interleave(14)
    positions = torch.cat((torch.tensor([[7.0, 7.0]]), torch.stack((rows, torch.full((196,), 3.0)), dim=1)))
    small = resampled_positions(positions, 50)
    assert small.shape == (50, 2)
    assert small[0].tolist() == [7.0, 7.0]
    torch.testing.assert_close(small[1:, 1], torch.full((49,), 3.0))
    inner = small[1:, 0].reshape(7, 7)
    torch.testing.assert_close(inner[3], torch.full((7,), 6.5))
    assert (inner[1:] > inner[:-1]).all()
    torch.testing.assert_close(inner[:, 0], inner[:, 6])
    large = tiny_clip(32)
    load_checkpoint(large, tiny_clip(64).net.state_dict(), "a file")
    assert large(torch.rand(1, 3, 32, 32)).shape == (1, 6)
    assert resampled_positions(positions, 197) is positions
