"""Settings of merging: how the predicted face is put into the frame."""

from __future__ import annotations

from typing import Literal

from backend.core.settings.base import Settings, setting

MergeMode = Literal["overlay", "seamless"]
MaskMode = Literal["full", "dst", "learned-prd", "learned-dst", "learned-prd*learned-dst"]
ColorTransfer = Literal["none", "rct", "lct"]


class MergeSettings(Settings):
    """How faces are swapped in the destination frames. One frame's preview uses exactly these."""

    model: str = setting("model", "Name of the trained model.")
    mode: MergeMode = setting(
        "overlay", "overlay pastes with a soft edge; seamless adapts light and colour at the edge."
    )
    morph_factor: float = setting(1.0, "How far the swap goes from dst to src; only AMP models.", ge=0, le=1)
    mask_mode: MaskMode = setting(
        "learned-prd*learned-dst",
        "Which area is replaced: dst is the landmarks' hull, learned ones come from the model.",
    )
    erode_mask: int = setting(0, "Shrink the mask; negative grows it.", ge=-400, le=400)
    blur_mask: int = setting(40, "Soften the edge of the mask.", ge=0, le=400)
    color_transfer: ColorTransfer = setting(
        "rct", "Bring the face to the frame's colours: rct in Lab, lct by covariance."
    )
    face_scale: int = setting(
        0, "Size of the swapped face: positive values shrink it, negative ones enlarge it.", ge=-50, le=50, unit="%"
    )
    first_frame: int = setting(1, "First frame to merge, counted from 1.", ge=1, le=10_000_000)
    last_frame: int = setting(0, "Last frame to merge; 0 is the last of the clip.", ge=0, le=10_000_000)
    device: str = setting("best", "Where the model runs: best, cpu, or a device by name.")
