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
        channels: of its last map, or the vector's length; of a MobileNet at its usual width, of fs_original 0, whose
            settings say it.
    """

    default_px: int
    source: Source
    min_px: int = 32
    pretrained: bool = True
    vector: bool = False
    channels: int = 0


def _table() -> dict[str, EncoderFacts]:
    found = {"fs_original": EncoderFacts(1024, "own", pretrained=False)}
    for size, width in (("tiny", 768), ("small", 768), ("base", 1024), ("large", 1536), ("extra_large", 2048)):
        found[f"convnext_{size}"] = EncoderFacts(224, "transformers", channels=width)
    for depth, width in ((121, 1024), (169, 1664), (201, 1920)):
        found[f"densenet{depth}"] = EncoderFacts(224, "timm", channels=width)
    widths = (1280, 1280, 1408, 1536, 1792, 2048, 2304, 2560)
    for number, (side, width) in enumerate(zip((224, 240, 260, 300, 380, 456, 528, 600), widths, strict=True)):
        found[f"efficientnet_b{number}"] = EncoderFacts(side, "transformers", channels=width)
    for number, (side, width) in enumerate(((224, 1280), (240, 1280), (260, 1408), (300, 1536))):
        found[f"efficientnet_v2_b{number}"] = EncoderFacts(side, "own", channels=width)
    for size, side in (("s", 384), ("m", 480), ("l", 480)):
        found[f"efficientnet_v2_{size}"] = EncoderFacts(side, "own", channels=1280)
    found["inception_v3"] = EncoderFacts(299, "timm", min_px=75, channels=2048)
    found["inception_resnet_v2"] = EncoderFacts(299, "timm", min_px=75, channels=1536)
    found["mobilenet"] = EncoderFacts(224, "transformers", channels=1024)
    found["mobilenet_v2"] = EncoderFacts(224, "transformers", channels=1280)
    found["mobilenet_v3_large"] = EncoderFacts(224, "own", channels=960)
    found["mobilenet_v3_small"] = EncoderFacts(224, "own", channels=576)
    found["nasnet_large"] = EncoderFacts(331, "timm", channels=4032)
    found["nasnet_mobile"] = EncoderFacts(224, "own", pretrained=False, channels=1056)
    for depth in (50, 101, 152):
        found[f"resnet{depth}"] = EncoderFacts(224, "transformers", channels=2048)
    for depth in (50, 101, 152):
        found[f"resnet{depth}_v2"] = EncoderFacts(224, "timm", pretrained=depth != 152, channels=2048)
    found["vgg16"] = EncoderFacts(224, "timm", channels=512)
    found["vgg19"] = EncoderFacts(224, "timm", channels=512)
    found["xception"] = EncoderFacts(299, "timm", min_px=71, channels=2048)
    return found | _clip_table()


def _clip_table() -> dict[str, EncoderFacts]:
    found = {f"clipv_vit-b-{patch}": EncoderFacts(224, "transformers", vector=True, channels=512) for patch in (16, 32)}
    for name, side in (("l-14", 224), ("l-14-336px", 336)):
        found[f"clipv_vit-{name}"] = EncoderFacts(side, "transformers", vector=True, channels=768)
    for epochs in (16, 64):
        found[f"clipv_farl-b-16-{epochs}"] = EncoderFacts(224, "transformers", vector=True, channels=512)
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


def map_side(name: str, px: int) -> int | None:
    """Side of the last map that a backbone makes of pictures of this side.

    Args:
        name: of an encoder, any but fs_original, that gives a map.
        px: side of its pictures.

    Returns:
        None for the library timm's, which differ in what they do with odd sides.
    """
    if ENCODERS[name].source == "timm":
        return None
    return px // 32 if name.startswith("convnext") else -(-px // 32)


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
