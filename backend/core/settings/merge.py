"""Settings of merging: how the predicted face is put into the frame, where that changes, and who gets which model."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from backend.core.settings.base import Settings, setting

MergeMode = Literal[
    "overlay",
    "hist-match",
    "hist-match-gray",
    "seamless",
    "seamless-hist-match",
    "raw-rgb",
    "raw-predict",
    "original",
]
MaskMode = Literal[
    "full",
    "dst",
    "learned-prd",
    "learned-dst",
    "learned-prd*learned-dst",
    "learned-prd+learned-dst",
    "xseg-prd",
    "xseg-dst",
    "xseg-prd*xseg-dst",
    "learned*xseg",
]
MergeColorTransfer = Literal["none", "rct", "lct", "mkl", "mkl-m", "idt", "idt-m", "sot-m", "mix-m"]


class MergeLook(Settings):
    """How a face is put into a frame. The part of the merge settings that may differ from key frame to key frame."""

    mode: MergeMode = setting(
        "overlay", "overlay pastes with a soft edge; seamless adapts light and colour at the edge."
    )
    morph_factor: float = setting(1.0, "How far the swap goes from dst to src; only AMP models.", ge=0, le=1)
    mask_mode: MaskMode = setting(
        "learned-prd*learned-dst",
        "Which area is replaced: dst is the landmarks' hull, learned is the model's own, XSeg a mask network's.",
    )
    erode_mask: int = setting(0, "Shrink the mask; negative grows it.", ge=-400, le=400)
    blur_mask: int = setting(40, "Soften the edge of the mask.", ge=0, le=400)
    color_transfer: MergeColorTransfer = setting(
        "rct", "Bring the face to the frame's colours; names with -m only look at what lies inside the mask."
    )
    hist_match_threshold: int = setting(
        238, "Brightest level that histogram matching maps fully; lower keeps highlights back.", ge=0, le=255
    )
    masked_hist_match: bool = setting(True, "Histogram matching looks only at what lies inside the mask.")
    gray_face: Literal["colour", "gray"] = setting(
        "colour", "Models in gray: colour keeps the frame's own colours and replaces the luma; gray pastes it gray."
    )
    steady_seamless: bool = setting(
        False, "Seamless modes: clone against softened surroundings, so that pixels at the edge cannot make it flicker."
    )
    face_scale: int = setting(
        0, "Size of the swapped face: positive values shrink it, negative ones enlarge it.", ge=-50, le=50, unit="%"
    )
    motion_blur: int = setting(0, "Blur along the face's own motion.", ge=0, le=100, unit="%")
    super_resolution: int = setting(
        0, "How much of the enhancer's picture to take; needs an installed enhancer.", ge=0, le=100, unit="%"
    )
    sharpen_mode: Literal["none", "box", "gaussian"] = setting("none", "Kernel that sharpens; blurring needs none.")
    sharpen_amount: int = setting(0, "Positive sharpens the face, negative blurs it.", ge=-100, le=100)
    denoise: int = setting(0, "Take noise out of the face.", ge=0, le=500)
    bicubic_degrade: int = setting(0, "Make the face as soft as a small picture made larger.", ge=0, le=100, unit="%")
    color_degrade: int = setting(0, "Reduce the face to few colours.", ge=0, le=100, unit="%")


class MergeKey(Settings):
    """From this frame on another look holds, until the next key frame."""

    frame: int = setting(1, "First frame of this look, counted from 1.", ge=1, le=10_000_000)
    look: MergeLook = setting(MergeLook(), "How faces are put into frames from here on.")


class FaceRule(Settings):
    """What happens to one person or one track. The first rule that fits a face decides."""

    person: str = setting("", "Name of a person of the destination's faceset; empty when the rule is for a track.")
    track: int = setting(
        -1, "Number of a track; -1 when the rule is for a person, or for everyone.", ge=-1, le=10_000_000
    )
    action: Literal["swap", "leave"] = setting("swap", "Swap the face, or leave it as it is.")
    model: str = setting("", "Model for these faces; empty takes the one of the merge.")


class MergeSettings(MergeLook):
    """How faces are swapped in the destination frames. One frame's preview uses exactly these."""

    model: str = setting("model", "Name of the trained model.")
    smooth_mask: int = setting(
        0,
        "Smooth the masks along each track against flicker; 0 works frame by frame.",
        ge=0,
        le=100,
        unit="%",
    )
    smooth_color: int = setting(
        0, "Smooth the colour statistics along each track; 0 works frame by frame.", ge=0, le=100, unit="%"
    )
    first_frame: int = setting(1, "First frame to merge, counted from 1.", ge=1, le=10_000_000)
    last_frame: int = setting(0, "Last frame to merge; 0 is the last of the clip.", ge=0, le=10_000_000)
    redo: bool = setting(False, "Merge frames again that are up to date already.")
    alpha_png: bool = setting(False, "Write the merged frames as PNG with the mask as alpha channel.")
    device: str = setting("best", "Where the model runs: best, cpu, or a device by name.")
    batch_size: int = setting(0, "Faces predicted at once; 0 chooses by the device.", ge=0, le=256)
    workers: int = setting(0, "Processes that put faces into frames; 0 chooses by the cores.", ge=0, le=64)
    keys: tuple[MergeKey, ...] = setting((), "Key frames: other looks from a frame on.", hidden=True)
    faces: tuple[FaceRule, ...] = setting((), "What happens to which face.", hidden=True)

    @model_validator(mode="after")
    def _range_and_keys_in_order(self) -> MergeSettings:
        if self.last_frame and self.last_frame < self.first_frame:
            raise ValueError("the last frame lies before the first")
        frames = [key.frame for key in self.keys]
        if frames != sorted(set(frames)):
            raise ValueError("key frames have to be in order, each only once")
        return self

    @property
    def look(self) -> MergeLook:
        """The look that holds up to the first key frame."""
        return MergeLook.model_validate({name: getattr(self, name) for name in MergeLook.model_fields})

    def look_at(self, frame: int) -> MergeLook:
        """The look that holds at a frame, counted from 1."""
        held = [key.look for key in self.keys if key.frame <= frame]
        return held[-1] if held else self.look

    def model_names(self) -> tuple[str, ...]:
        """Every model that faces of this merge may get, the main one first."""
        named = (rule.model for rule in self.faces if rule.action == "swap" and rule.model)
        return tuple(dict.fromkeys((self.model, *named)))
