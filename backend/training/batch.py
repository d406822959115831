"""One side of a training batch: what the network sees and what it should answer."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class FaceBatch:
    """Faces of one side on the training device, float 0..1, colours BGR.

    Attributes:
        warped: network input (B, C, R, R).
        target: the same faces un-warped (B, C, R, R).
        mask: full face masks (B, 1, R, R).
        eyes_mouth: masks of eyes and mouth (B, 1, R, R); None when nothing needs them.
        eyes, mouth: masks of either, (B, 1, R, R), where the losses weigh them apart; else None.
    """

    warped: Tensor
    target: Tensor
    mask: Tensor
    eyes_mouth: Tensor | None = None
    eyes: Tensor | None = None
    mouth: Tensor | None = None
