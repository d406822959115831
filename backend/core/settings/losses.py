"""Which losses a training adds up, and what about them is probably not meant. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backend.core.settings.train import TrainSettings

OWN = "own"
NONE = "none"
FURTHER = (2, 3, 4)
"""Numbers of the slots after the first."""

LPIPS_MOST = 0.25
"""Share above which LPIPS begins to draw patterns."""

_WHOLE_MS_SSIM_PX = 176
_WINDOW = 11
_HALVINGS = 4
_ONLY_BESIDE = ("flip", "lpips_alex", "lpips_squeeze", "lpips_vgg16")
_ORDINALS = ("second", "third", "fourth")

Caution = tuple[str, str]


def chosen_losses(settings: TrainSettings) -> dict[str, float]:
    """Loss -> its share, 1 for 100 %, in the order of the slots; what weighs nothing is left out.

    The first slot weighs 100 %. A loss that is chosen twice counts once, with the weight of the later slot, as in
    faceswap. "own" stands for the family's own composition, which is no loss of the shelf and left out.
    """
    found: dict[str, float] = {}
    for _, name, share in _slots(settings):
        found[name] = share
    return {name: share for name, share in found.items() if name != OWN and share}


def refuse_no_loss(settings: TrainSettings) -> None:
    """ValueError when nothing would be compared: the only loss is chosen again, with a weight of 0."""
    if settings.loss_function != OWN and not chosen_losses(settings):
        raise ValueError(f"no loss is left: {settings.loss_function} is chosen again with a weight of 0 %")


def loss_cautions(settings: TrainSettings) -> tuple[Caution, ...]:
    """(field, sentence) of what is allowed and probably not meant."""
    return (*_of_slots(settings), *_of_single(settings), *_of_multipliers(settings), *_of_weights(settings))


def _slots(settings: TrainSettings) -> list[tuple[str, str, float]]:
    """(field, loss, share) of every slot that holds one."""
    further = [
        (f"loss_function_{n}", getattr(settings, f"loss_function_{n}"), getattr(settings, f"loss_weight_{n}") / 100)
        for n in FURTHER
    ]
    return [("loss_function", settings.loss_function, 1.0), *(slot for slot in further if slot[1] != NONE)]


def _of_slots(settings: TrainSettings) -> Iterator[Caution]:
    seen: set[str] = set()
    for field, name, share in _slots(settings):
        if name in seen:
            yield field, f"{name} is chosen twice; it counts once, with the weight given here."
        seen.add(name)
        if not share:
            ordinal = _ORDINALS[int(field[-1]) - FURTHER[0]]
            yield field, f"The {ordinal} weight is 0 %, so that {name} has no effect."
        if name.startswith("lpips") and share > LPIPS_MOST and field != "loss_function":
            yield field, f"More than {LPIPS_MOST:.0%} of LPIPS draws patterns into faces."


def _of_single(settings: TrainSettings) -> Iterator[Caution]:
    chosen, side = chosen_losses(settings), int(getattr(settings, "resolution", _WHOLE_MS_SSIM_PX))
    if settings.loss_function in _ONLY_BESIDE:
        yield "loss_function", f"{settings.loss_function} alone does not hold the picture; use it as a further loss."
    if "ms_ssim" in chosen and side < _WHOLE_MS_SSIM_PX:
        field = next(field for field, name, _ in _slots(settings) if name == "ms_ssim")
        window = min(_WINDOW, side // 2**_HALVINGS - 1 + side // 2**_HALVINGS % 2)
        yield (
            field,
            f"Below {_WHOLE_MS_SSIM_PX} px MS-SSIM takes a smaller window ({window} px here); SSIM fits better.",
        )


def _of_multipliers(settings: TrainSettings) -> Iterator[Caution]:
    for part in ("eye", "mouth"):
        field = f"{part}_multiplier"
        if getattr(settings, field) <= 1:
            continue
        if not settings.masked_training:
            yield field, "Has no effect while Masked training is off."
        elif not chosen_losses(settings):
            yield field, 'Weighs only chosen losses, and there is none; Eyes and mouth first weighs in the "own" loss.'


def _of_weights(settings: TrainSettings) -> Iterator[Caution]:
    if settings.loss_function == OWN:
        return
    for field in ("structure_weight", "pixel_weight"):
        if getattr(settings, field) != type(settings).model_fields[field].default:
            yield field, 'Belongs to the loss "own" and has no effect beside another one.'
