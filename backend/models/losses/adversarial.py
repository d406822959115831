"""The loss of a discriminator and of what tries to pass it, and what keeps the latter smooth."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def bce(logits: Tensor, real: bool) -> Tensor:
    """Binary cross-entropy against "real" or "not real" everywhere, averaged over the map of each sample.

    Args:
        logits: (B, 1, H, W) float32.
        real: what the answer should be.

    Returns:
        (B,) float32.
    """
    return F.softplus(-logits if real else logits).flatten(1).mean(dim=1)


def total_variation(picture: Tensor) -> Tensor:
    """Sum of the squared differences of neighbours, above each other and beside each other.

    DeepFaceLab's axes are right only for pictures with channels last; on a GPU it compares channels instead of
    columns. Here they are always the rows and the columns.

    Args:
        picture: (B, C, H, W) float32.

    Returns:
        (B,) float32, a sum, so it grows with the picture.
    """
    return picture.diff(dim=2).square().sum(dim=(1, 2, 3)) + picture.diff(dim=3).square().sum(dim=(1, 2, 3))
