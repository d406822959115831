"""Which files the LPIPS losses need, where they can be had and where they belong."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

FOLDER = "lpips"
"""Inside the weights folder."""

_TORCHVISION = "https://download.pytorch.org/models/"
_LPIPS = "https://github.com/richzhang/PerceptualSimilarity/raw/master/lpips/weights/v0.1/"

LPIPS_FILES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "lpips_alex": (_TORCHVISION + "alexnet-owt-7be5be79.pth", _LPIPS + "alex.pth"),
        "lpips_squeeze": (_TORCHVISION + "squeezenet1_1-b8a52dc0.pth", _LPIPS + "squeeze.pth"),
        "lpips_vgg16": (_TORCHVISION + "vgg16-397923af.pth", _LPIPS + "vgg.pth"),
    }
)
"""Loss -> addresses of the network's weights (torchvision's, trained on ImageNet) and of LPIPS's own."""


def lpips_paths(name: str, weights_dir: Path) -> tuple[Path, Path]:
    """Where the network's weights and LPIPS's own lie; a .safetensors file beside or instead of a .pth is taken first.

    Args:
        name: key of LPIPS_FILES.
        weights_dir: folder of downloaded weights.
    """
    network, own = (_place(weights_dir / FOLDER / address.rsplit("/", 1)[1]) for address in LPIPS_FILES[name])
    return network, own


def why_missing(name: str, weights_dir: Path) -> str:
    """Why a loss cannot be used, with addresses, file names and folder; "" when it can. Looks at file names only.

    Args:
        name: of any loss; only those of LPIPS need files.
        weights_dir: folder of downloaded weights.
    """
    if name not in LPIPS_FILES:
        return ""
    places = zip(LPIPS_FILES[name], lpips_paths(name, weights_dir), strict=True)
    ways = [f"Download {address} and save it as {path.name}." for address, path in places if not path.is_file()]
    if not ways:
        return ""
    return " ".join([f"{name} needs weights in the folder {weights_dir / FOLDER}.", *ways])


def _place(path: Path) -> Path:
    other = path.with_suffix(".safetensors")
    return other if other.is_file() else path
