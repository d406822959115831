"""Published weights into a backbone: names as its network has them, classifiers left out, positions resampled."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from backend.core.errors import DamagedFileError
from backend.models.backbones.base import Backbone

_MODEL_NAMES = ("efficientnet.", "mobilenet_v1.", "mobilenet_v2.", "convnext.", "resnet.")
"""What transformers puts before the names of a network that has a classifier."""

_CLASSIFIERS = (
    "classifier.",
    "conv_head.",
    "fc.",
    "head.",
    "last_linear.",
    "classif.",
    "pre_logits.",
    "AuxLogits.",
)
"""Beginnings of the names behind the last map, in the libraries' networks; conv_head is one in MobileNetV3 alone."""

_OF_CLIP = ("vision_model.", "visual_projection.")
_POSITIONS = "vision_model.embeddings.position_embedding.weight"
_POSITION_IDS = "vision_model.embeddings.position_ids"

_OPENAI_NAMES = (
    (r"^class_embedding$", "vision_model.embeddings.class_embedding"),
    (r"^positional_embedding$", _POSITIONS),
    (r"^conv1\.", "vision_model.embeddings.patch_embedding."),
    (r"^ln_pre\.", "vision_model.pre_layrnorm."),
    (r"^ln_post\.", "vision_model.post_layernorm."),
    (r"^transformer\.resblocks\.", "vision_model.encoder.layers."),
    (r"\.attn\.out_proj\.", ".self_attn.out_proj."),
    (r"\.ln_1\.", ".layer_norm1."),
    (r"\.ln_2\.", ".layer_norm2."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
)
"""Names in OpenAI's and FaRL's files -> names in transformers."""


def load_checkpoint(backbone: Backbone, state: Mapping[str, Tensor], origin: str) -> None:
    """Give a backbone published weights. All of its weights must be among them, in the right shapes.

    Args:
        backbone: gets them; unchanged when they do not fit.
        state: names -> tensors, as the file has them.
        origin: the file, for the message.

    Raises:
        DamagedFileError: weights are missing, have another shape, or belong to another network.
    """
    wanted = backbone.net.state_dict()
    given = _named(backbone, state, wanted)
    for name, tensor in wanted.items():
        if name.endswith("num_batches_tracked"):
            given.setdefault(name, tensor)
    missing = [name for name in wanted if name not in given]
    spare = [name for name in given if name not in wanted]
    odd = [name for name in wanted if name in given and given[name].shape != wanted[name].shape]
    for names, what in ((missing, "are missing"), (spare, "are unknown"), (odd, "have another shape")):
        if names:
            raise DamagedFileError(
                f"{origin} does not hold the weights of {backbone.name}: {len(names)} of its weights {what}, "
                f"first {names[0]}.",
                "Remove the file; it is downloaded again when it is wanted.",
            )
    backbone.net.load_state_dict(given)


def _named(backbone: Backbone, state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights under the backbone's names, without classifiers."""
    if _POSITIONS in wanted:
        return _clip(state, wanted)
    body = "body." if all(name.startswith("body.") for name in wanted) else ""
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        start = next((start for start in _MODEL_NAMES if name.startswith(start)), "")
        own = body + name.removeprefix(start)
        if own in wanted or not name.startswith(_CLASSIFIERS):
            found[own] = tensor
    return found


def _clip(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of both towers the one that sees, its positions for the backbone's size."""
    visual = {name.removeprefix("visual."): t for name, t in state.items() if name.startswith("visual.")}
    found = _from_openai(visual) if visual else {n: t for n, t in state.items() if n.startswith(_OF_CLIP)}
    found.pop(_POSITION_IDS, None)
    if _POSITIONS in found:
        found[_POSITIONS] = resampled_positions(found[_POSITIONS], wanted[_POSITIONS].shape[0])
    return found


def _from_openai(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        new = name
        for pattern, replacement in _OPENAI_NAMES:
            new = re.sub(pattern, replacement, new)
        if name == "proj":
            found["visual_projection.weight"] = tensor.T
        elif ".attn.in_proj_" in new:
            start, kind = new.split(".attn.in_proj_")
            for which, part in zip("qkv", tensor.chunk(3), strict=True):
                found[f"{start}.self_attn.{which}_proj.{kind}"] = part
        else:
            found[new] = tensor
    return found


def resampled_positions(positions: Tensor, count: int) -> Tensor:
    """Position embeddings for another size of picture, bicubic with smoothing where it shrinks.

    Args:
        positions: (1 + side^2, d), the class token's first.
        count: 1 + the new side^2.

    Returns:
        (count, d) float32; as given when the size is the same or is no square.
    """
    old, new = round((positions.shape[0] - 1) ** 0.5), round((count - 1) ** 0.5)
    if old == new or old * old + 1 != positions.shape[0]:
        return positions
    grid = positions[1:].float().T.reshape(1, -1, old, old)
    grid = F.interpolate(grid, size=(new, new), mode="bicubic", align_corners=False, antialias=True)
    return torch.cat((positions[:1].float(), grid.flatten(2)[0].T))
