"""Difference of two pictures in the features of a network that recognises objects.

LPIPS after Zhang et al., "The unreasonable effectiveness of deep features as a perceptual metric", 2018, version 0.1:
the features of AlexNet, SqueezeNet 1.1 or VGG16 under torchvision's names, and a weight per feature.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from backend.core.errors import BadInputError, DamagedFileError
from backend.core.lpips_files import lpips_paths, why_missing
from backend.models.losses.blur import constant

SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
"""Of ImageNet's pictures in -1..1, red first."""

_TRIFLE = 1e-8
_RIM = 1  # px at the edge of a map of features, where a network sees the zeros around the picture
_SMALLEST_CROPPED = 4


class Fire(nn.Module):
    """SqueezeNet's module: few channels, then 1x1 and 3x3 convolutions side by side."""

    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) -> (B, 2 * expanded, h, w)."""
        x = F.relu(self.squeeze(x))
        return torch.cat((F.relu(self.expand1x1(x)), F.relu(self.expand3x3(x))), dim=1)


def _alex() -> tuple[nn.Sequential, tuple[int, ...]]:
    features = nn.Sequential(
        *(nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()),
    )
    return features, (1, 4, 7, 9, 11)


def _squeeze() -> tuple[nn.Sequential, tuple[int, ...]]:
    pool = nn.MaxPool2d(3, 2, ceil_mode=True)
    features = nn.Sequential(
        *(nn.Conv2d(3, 64, 3, 2), nn.ReLU(), pool, Fire(64, 16, 64), Fire(128, 16, 64)),
        *(pool, Fire(128, 32, 128), Fire(256, 32, 128)),
        *(pool, Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256)),
    )
    return features, (1, 4, 7, 9, 10, 11, 12)


def _vgg16() -> tuple[nn.Sequential, tuple[int, ...]]:
    layers: list[nn.Module] = []
    taps: list[int] = []
    inputs = 3
    for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        layers += [nn.MaxPool2d(2)] if layers else []
        for _ in range(count):
            layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU()]
            inputs = width
        taps.append(len(layers) - 1)
    return nn.Sequential(*layers), tuple(taps)


_NETWORKS = MappingProxyType({"lpips_alex": _alex, "lpips_squeeze": _squeeze, "lpips_vgg16": _vgg16})
_WIDTHS = MappingProxyType(
    {
        "lpips_alex": (64, 192, 384, 256, 256),
        "lpips_squeeze": (64, 128, 256, 384, 384, 512, 512),
        "lpips_vgg16": (64, 128, 256, 512, 512),
    }
)


class Lpips(nn.Module):
    """LPIPS with one of three networks, nothing of which learns.

    Args:
        name: key of LPIPS_FILES.

    Attributes:
        features: the network's layers, under torchvision's names.
        weights: one (1, n, 1, 1) per map of features that is compared.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.features, self._taps = _NETWORKS[name]()
        self.weights = nn.ParameterList(torch.rand(1, width, 1, 1) for width in _WIDTHS[name])
        self.requires_grad_(False).eval()

    def forward(self, target: Tensor, predicted: Tensor) -> Tensor:
        """Differences brought to full size and summed.

        The outermost ring of every map of features, where a network sees the picture's edge, repeats what lies inside.

        Args:
            target: (B, 3, H, W) float32 0..1, BGR, or (B, 1, H, W) gray; from 64 px; gets no gradient.
            predicted: same shape.

        Returns:
            (B, 1, H, W), 0 for equal pictures.
        """
        with torch.no_grad():
            wanted = self._look(target)
        total = torch.zeros((), device=target.device)
        for one, other, weight in zip(wanted, self._look(predicted), self.weights, strict=True):
            found = ((other - one).square() * weight).sum(dim=1, keepdim=True)
            if min(found.shape[2:]) >= _SMALLEST_CROPPED:
                inner = found[:, :, _RIM:-_RIM, _RIM:-_RIM]
                found = F.pad(inner, (_RIM, _RIM, _RIM, _RIM), mode="replicate")
            total = total + F.interpolate(found, size=target.shape[2:], mode="bilinear", align_corners=False)
        return total

    def _look(self, picture: Tensor) -> list[Tensor]:
        """Features of unit length."""
        rgb = picture.expand(-1, 3, -1, -1) if picture.shape[1] == 1 else picture.flip(1)
        shift, scale = (constant(values, picture.device).view(3, 1, 1) for values in (SHIFT, SCALE))
        x = (rgb * 2 - 1 - shift) / scale
        found: list[Tensor] = []
        for place, layer in enumerate(self.features):
            x = layer(x)
            if place in self._taps:
                found.append(x * torch.rsqrt(x.square().sum(dim=1, keepdim=True) + _TRIFLE))
        return found


def load_lpips(name: str, weights_dir: Path) -> Lpips:
    """The loss with its weights.

    Args:
        name: key of LPIPS_FILES.
        weights_dir: folder of downloaded weights.

    Raises:
        BadInputError: a file is not there; the sentence says what to download and where it belongs.
        DamagedFileError: a file holds something else.
    """
    missing = why_missing(name, weights_dir)
    if missing:
        what, _, fix = missing.partition(". ")
        raise BadInputError(f"{what}.", fix)
    loss = Lpips(name)
    network, own = lpips_paths(name, weights_dir)
    numbers, weights = _read(network), _read(own)
    features = {key: numbers.get(f"features.{key}", torch.empty(0)) for key in loss.features.state_dict()}
    _fill(loss.features, features, network)
    named = {key: weights.get(f"lin{key}.model.1.weight", torch.empty(0)) for key in loss.weights.state_dict()}
    _fill(loss.weights, named, own)
    return loss


def _fill(module: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    try:
        module.load_state_dict(dict(state))
    except RuntimeError as error:
        raise _damaged(path) from error


def _read(path: Path) -> Mapping[str, Tensor]:
    """A state dict from a file that runs nothing."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError, SafetensorError) as error:
        raise _damaged(path) from error
    if not isinstance(state, Mapping):
        raise _damaged(path)
    return {str(key): value for key, value in state.items() if isinstance(value, Tensor)}


def _damaged(path: Path) -> DamagedFileError:
    return DamagedFileError(f"{path} does not hold the weights it should.", "Delete it and download it again.")
