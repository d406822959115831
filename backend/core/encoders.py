"""The encoders of the model builder: their sizes and where they come from. Facts only; nothing is built here."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Source = Literal["own", "transformers", "timm"]


@dataclass(frozen=True)
class EncoderFacts:
    """One encoder.

    Attributes:
        default_px: side of the picture it was designed for.
        source: "own" is written here, "transformers" and "timm" are libraries.
        min_px: smallest side it takes.
        pretrained: whether weights trained on ImageNet or CLIP's pictures exist for it.
        vector: it gives a vector instead of a map.
    """

    default_px: int
    source: Source
    min_px: int = 32
    pretrained: bool = True
    vector: bool = False


def _table() -> dict[str, EncoderFacts]:
    found = {"fs_original": EncoderFacts(1024, "own", pretrained=False)}
    for size in ("tiny", "small", "base", "large", "extra_large"):
        found[f"convnext_{size}"] = EncoderFacts(224, "transformers")
    for depth in (121, 169, 201):
        found[f"densenet{depth}"] = EncoderFacts(224, "timm")
    for number, side in enumerate((224, 240, 260, 300, 380, 456, 528, 600)):
        found[f"efficientnet_b{number}"] = EncoderFacts(side, "transformers")
    for number, side in enumerate((224, 240, 260, 300)):
        found[f"efficientnet_v2_b{number}"] = EncoderFacts(side, "own")
    for size, side in (("s", 384), ("m", 480), ("l", 480)):
        found[f"efficientnet_v2_{size}"] = EncoderFacts(side, "own")
    found["inception_v3"] = EncoderFacts(299, "timm", min_px=75)
    found["inception_resnet_v2"] = EncoderFacts(299, "timm", min_px=75)
    found["mobilenet"] = EncoderFacts(224, "transformers")
    found["mobilenet_v2"] = EncoderFacts(224, "transformers")
    found["mobilenet_v3_large"] = EncoderFacts(224, "own")
    found["mobilenet_v3_small"] = EncoderFacts(224, "own")
    found["nasnet_large"] = EncoderFacts(331, "timm")
    found["nasnet_mobile"] = EncoderFacts(224, "own", pretrained=False)
    for depth in (50, 101, 152):
        found[f"resnet{depth}"] = EncoderFacts(224, "transformers")
    for depth in (50, 101, 152):
        found[f"resnet{depth}_v2"] = EncoderFacts(224, "timm", pretrained=depth != 152)
    found["vgg16"] = EncoderFacts(224, "timm")
    found["vgg19"] = EncoderFacts(224, "timm")
    found["xception"] = EncoderFacts(299, "timm", min_px=71)
    for name, side in (("vit-b-16", 224), ("vit-b-32", 224), ("vit-l-14", 224), ("vit-l-14-336px", 336)):
        found[f"clipv_{name}"] = EncoderFacts(side, "transformers", vector=True)
    for epochs in (16, 64):
        found[f"clipv_farl-b-16-{epochs}"] = EncoderFacts(224, "transformers", vector=True)
    return found


ENCODERS: Mapping[str, EncoderFacts] = MappingProxyType(_table())
"""Name, as in faceswap's presets -> facts."""

TIMM_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "densenet121": "densenet121.ra_in1k",
        "densenet169": "densenet169.tv_in1k",
        "densenet201": "densenet201.tv_in1k",
        "inception_v3": "inception_v3.tf_in1k",
        "inception_resnet_v2": "inception_resnet_v2.tf_in1k",
        "nasnet_large": "nasnetalarge.tf_in1k",
        "resnet50_v2": "resnetv2_50.a1h_in1k",
        "resnet101_v2": "resnetv2_101.a1h_in1k",
        "resnet152_v2": "resnetv2_152",
        "vgg16": "vgg16.tv_in1k",
        "vgg19": "vgg19.tv_in1k",
        "xception": "legacy_xception.tf_in1k",
    }
)
"""Name -> name of the network and of its weights in the library timm."""


def encoder_input_px(name: str, scaling: float) -> int:
    """Side of the picture an encoder sees: its default side at this scaling, rounded down to 16, at least its smallest.

    Args:
        name: of the encoder.
        scaling: percent of the default side.
    """
    facts = ENCODERS[name]
    return max(facts.min_px, int(facts.default_px * scaling / 100 // 16) * 16)


def why_missing(name: str) -> str:
    """Why an encoder cannot be had here and how to change that, "" when it can. Packages are looked for, not imported.

    Args:
        name: of the encoder.
    """
    source = ENCODERS[name].source
    if source == "transformers" and importlib.util.find_spec("transformers") is None:
        return "It needs the package transformers. Run 'pip install -r requirements.txt'."
    absent = [package for package in ("timm", "torchvision") if importlib.util.find_spec(package) is None]
    if source != "timm" or not absent:
        return ""
    return (
        f"It needs the package{'s' * (len(absent) - 1)} {' and '.join(absent)}. Run 'pip install timm torchvision "
        f"torch{_pin('torch')}' with the index that torch came from, so that torchvision fits it."
    )


def _pin(package: str) -> str:
    try:
        return f"=={importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return ""
