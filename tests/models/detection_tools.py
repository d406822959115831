from __future__ import annotations

import cv2
import numpy as np
import torch

PORTRAIT_BOX = (176.0, 62.0, 271.0, 177.0)
EYES = ((203.0, 101.0), (247.0, 104.0))


def portrait() -> np.ndarray:
    """scikit-image's bundled public-domain portrait, (512, 512, 3) uint8 BGR."""
    data = __import__("pytest").importorskip("skimage.data")
    return np.ascontiguousarray(data.astronaut()[..., ::-1])


def shifted(image: np.ndarray, x: int, y: int, size_wh: tuple[int, int]) -> np.ndarray:
    """The image on a larger gray canvas with its corner at x, y."""
    canvas = np.full((size_wh[1], size_wh[0], 3), 127, np.uint8)
    canvas[y : y + image.shape[0], x : x + image.shape[1]] = image
    return canvas


def smaller(image: np.ndarray, factor: float) -> np.ndarray:
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


def random_weights(net: torch.nn.Module, path) -> None:
    """Save a network with random but lively weights, as its real file would be."""
    torch.manual_seed(3)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.weight, 1.0, 0.3)
            torch.nn.init.normal_(module.bias, 0.0, 0.3)
    torch.save(net.state_dict(), path)
