"""Where trained weights of the encoders are published. Facts only; nothing is fetched here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from backend.core.encoders import ENCODERS, TIMM_NAMES

_HUB = "https://huggingface.co/{}/resolve/main/{}"
_HUB_FILES = ("model.safetensors", "pytorch_model.bin")
_FARL = (
    "https://github.com/FacePerceiver/FaRL/releases/download/pretrained_weights/FaRL-Base-Patch16-LAIONFace20M-ep{}.pth"
)


@dataclass(frozen=True)
class Variant:
    """Which of the MobileNets is meant; other encoders come in one form.

    Attributes:
        width: factor of its channels.
        depth: filters per channel of v1.
        minimalistic: the plain form of v3.
    """

    width: float = 1.0
    depth: int = 1
    minimalistic: bool = False


@dataclass(frozen=True)
class EncoderWeights:
    """Published weights.

    Attributes:
        stem: name of the file in the folder of encoder weights, without its ending.
        urls: addresses of the same weights, best first; the endings of the files are theirs.
    """

    stem: str
    urls: tuple[str, ...]


AS_DESIGNED = Variant()
"""Every encoder as its paper has it."""


def _repositories() -> dict[str, str]:
    """Name of an encoder -> repository on the Hugging Face hub, of those that come in one form."""
    found = {f"convnext_{size}": f"facebook/convnext-{size}-224" for size in ("tiny", "small", "base", "large")}
    found["convnext_extra_large"] = "facebook/convnext-xlarge-224-22k-1k"
    found |= {f"efficientnet_b{number}": f"google/efficientnet-b{number}" for number in range(8)}
    found |= {f"efficientnet_v2_b{number}": f"timm/tf_efficientnetv2_b{number}.in1k" for number in range(4)}
    found |= {f"efficientnet_v2_{size}": f"timm/tf_efficientnetv2_{size}.in21k_ft_in1k" for size in "sml"}
    found |= {f"resnet{depth}": f"microsoft/resnet-{depth}" for depth in (50, 101, 152)}
    found |= {name: f"timm/{network}" for name, network in TIMM_NAMES.items() if ENCODERS[name].pretrained}
    found["clipv_vit-b-16"] = "openai/clip-vit-base-patch16"
    found["clipv_vit-b-32"] = "openai/clip-vit-base-patch32"
    found["clipv_vit-l-14"] = "openai/clip-vit-large-patch14"
    found["clipv_vit-l-14-336px"] = "openai/clip-vit-large-patch14-336"
    return found


_REPOSITORIES: Mapping[str, str] = MappingProxyType(_repositories())

_WIDTHS: Mapping[str, Mapping[float, str]] = MappingProxyType(
    {
        "mobilenet": {0.75: "google/mobilenet_v1_0.75_192", 1.0: "google/mobilenet_v1_1.0_224"},
        "mobilenet_v2": {
            0.35: "google/mobilenet_v2_0.35_96",
            0.75: "google/mobilenet_v2_0.75_160",
            1.0: "google/mobilenet_v2_1.0_224",
            1.4: "google/mobilenet_v2_1.4_224",
        },
        "mobilenet_v3_large": {
            0.75: "timm/tf_mobilenetv3_large_075.in1k",
            1.0: "timm/tf_mobilenetv3_large_100.in1k",
        },
        "mobilenet_v3_small": {
            0.75: "timm/tf_mobilenetv3_small_075.in1k",
            1.0: "timm/tf_mobilenetv3_small_100.in1k",
        },
    }
)
"""Name of a MobileNet -> width -> repository."""


def pretrained_source(name: str, variant: Variant = AS_DESIGNED) -> EncoderWeights | None:
    """Where the trained weights of an encoder are published, None when there are none.

    Args:
        name: key of ENCODERS.
        variant: counts for the MobileNets.
    """
    if name.startswith("clipv_farl"):
        return EncoderWeights(name, (_FARL.format(name.rsplit("-", 1)[1]),))
    if name not in _WIDTHS:
        return _on_hub(name, _REPOSITORIES.get(name, ""))
    if variant.depth != 1 and name == "mobilenet":
        return None
    if variant.minimalistic and name.startswith("mobilenet_v3"):
        size = name.rsplit("_", 1)[1]
        repository = f"timm/tf_mobilenetv3_{size}_minimal_100.in1k" if variant.width == 1 else ""
        return _on_hub(f"{name}_minimalistic", repository)
    stem = name if variant.width == 1 else f"{name}_{variant.width:.2f}"
    return _on_hub(stem, _WIDTHS[name].get(round(variant.width, 2), ""))


def why_untrained(name: str, variant: Variant = AS_DESIGNED) -> str:
    """Why an encoder has no trained weights, a sentence; "" when it has some."""
    if pretrained_source(name, variant) is not None:
        return ""
    if name not in _WIDTHS:
        return f"No trained weights of {name} are published in a form that fits."
    if variant.depth != 1 and name == "mobilenet":
        return f"Trained weights of {name} have a depth of 1."
    if variant.minimalistic and name.startswith("mobilenet_v3"):
        return f"Trained weights of the minimalistic {name} have a width of 1."
    widths = [f"{width:g}" for width in _WIDTHS[name]]
    return f"Trained weights of {name} have a width of {', '.join(widths[:-1])} or {widths[-1]}."


def _on_hub(stem: str, repository: str) -> EncoderWeights | None:
    if not repository:
        return None
    return EncoderWeights(stem, tuple(_HUB.format(repository, file) for file in _HUB_FILES))
