"""What is said beside the fields of a training: why one has no effect, what a value comes to, and cautions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from backend.core.encoders import ENCODERS, encoder_input_px, why_missing
from backend.core.settings import Settings, TrainSettings
from backend.core.settings.losses import OWN
from ui_tabs.form_faults import Remark
from ui_tabs.labels import label_of

FS_ORIGINAL = "fs_original"
Check = Callable[[Any], Any]
Rule = tuple[Check, str]
"""Whether a setting acts, by all settings, and why it does not otherwise."""

ONLY_NEW = frozenset({"load_weights", "load_layers", "enc_load_weights", "ca_weights", "lr_finder"})
"""What counts for a new model only."""


def remarks_of(settings: TrainSettings, exists: bool) -> list[Remark]:
    """Everything that is said beside fields, faults apart.

    Args:
        settings: as the form shows them, maybe contradicting each other; not checked.
        exists: whether they are those of a model that exists.
    """
    moot = moot_fields(settings, exists)
    said = [Remark("moot", name, reason) for name, reason in moot.items()]
    try:
        cautions = [Remark("caution", *found) for found in settings.cautions()]
        facts = list(_facts(settings))
        parts = list(_other_parts(settings))
    except (TypeError, ValueError, ArithmeticError, KeyError):
        return said  # a field is empty, or out of range, which is said there
    return [*said, *(remark for remark in [*cautions, *facts, *parts] if remark.field not in moot)]


def moot_fields(settings: TrainSettings, exists: bool = False) -> dict[str, str]:
    """Field -> why it has no effect now."""
    found = {}
    for name in type(settings).model_fields:
        if exists and name in ONLY_NEW:
            found[name] = "Only for a new model."
            continue
        for acts, reason in (*_RULES.get(name, ()), *_group_rules(name)):
            if not _holds(acts, settings):
                found[name] = reason
                break
    return found


def encoder_missing(settings: Settings) -> str:
    """Why the chosen encoder cannot be had here, and how to change that; "" when it can, or there is none to choose."""
    name = getattr(settings, "enc_architecture", FS_ORIGINAL)
    missing = why_missing(name)
    return f"{name} cannot be had here. {missing}" if missing else ""


def network_parts(settings: TrainSettings) -> tuple[str, ...]:
    """Names of the parts of a network, as they can be held still or begin with other weights."""
    family = settings.model_class
    if family == "phaze_a":
        return tuple(_builder_parts(settings))
    if family == "amp":
        return ("encoder", "inter_src", "inter_dst", "decoder")
    liae = family == "liaef128" or str(getattr(settings, "archi", "")).startswith("liae")
    if liae:
        return ("encoder", "inter_AB", "inter_B", "decoder")
    return ("encoder", "inter", "decoder_src", "decoder_dst")


def part_choices(settings: TrainSettings, name: str) -> list[str]:
    """The parts of a network to choose from in a field, and those that are chosen there although it has none such."""
    return list(dict.fromkeys((*network_parts(settings), *getattr(settings, name))))


def _builder_parts(s: Any) -> Iterable[str]:
    yield "encoder"
    if s.enc_architecture != FS_ORIGINAL:
        yield "keras_encoder"
    yield from ("fc_a", "fc_b") if s.split_fc else ("fc_both",)
    if s.shared_fc == "full":
        yield "fc_shared"
    if s.enable_gblock:
        yield "fc_gblock"
        yield from ("g_block_a", "g_block_b") if s.split_gblock else ("g_block_both",)
    yield from ("decoder_a", "decoder_b") if s.split_decoders else ("decoder_both",)


def _holds(acts: Check, settings: TrainSettings) -> bool:
    """Whether a setting acts; one that cannot be judged, for want of a value, does."""
    try:
        return bool(acts(settings))
    except (AttributeError, TypeError):
        return True


def _facts(s: Any) -> Iterable[Remark]:
    """What values come to."""
    if s.model_class != "phaze_a" or s.enc_architecture not in ENCODERS:
        return
    made_for = ENCODERS[s.enc_architecture].default_px
    px = encoder_input_px(s.enc_architecture, s.enc_scaling)
    yield Remark("fact", "enc_scaling", f"The encoder sees {px} x {px} px; it was made for {made_for}.")
    missing = encoder_missing(s)
    if missing:
        yield Remark("fault", "enc_architecture", missing)


def _other_parts(s: TrainSettings) -> Iterable[Remark]:
    """Parts that are named and that this network does not have."""
    have = network_parts(s)
    for name in ("freeze_layers", "load_layers"):
        absent = [part for part in getattr(s, name) if part not in have]
        if absent and name == "freeze_layers":
            yield Remark("caution", name, f"This network has no {' and no '.join(absent)}.")


def _group_rules(name: str) -> tuple[Rule, ...]:
    """Rules of a whole group of options of the model builder."""
    if name.startswith("fs_original_"):
        return ((lambda s: s.enc_architecture == FS_ORIGINAL, f"Only with the encoder {FS_ORIGINAL}."),)
    if name.startswith("fc_gblock_"):
        return ((lambda s: s.enable_gblock, _only("enable_gblock")),)
    return ()


def _only(name: str) -> str:
    return f"Only with {label_of('train', name)}."


def _when(name: str) -> Rule:
    return (lambda s: getattr(s, name), _only(name))


def _encoder(reason: str, *names: str) -> Rule:
    return (lambda s: s.enc_architecture in names, reason)


def _rules() -> dict[str, tuple[Rule, ...]]:
    """Field -> (whether it acts, why not otherwise), of what all families share."""
    own = (lambda s: s.loss_function == OWN, "Belongs to the loss 'own'; another one is chosen.")
    decay = (lambda s: s.lr_schedule == "decay", "Only with a rate that decays at intervals.")
    finder = (lambda s: s.lr_finder != "off", _only("lr_finder"))
    mask = (lambda s: getattr(s, "learn_mask", True), _only("learn_mask"))
    return {
        **{f"loss_weight_{n}": ((_chosen(n), "No loss is chosen for it."),) for n in (2, 3, 4)},
        "structure_weight": (own, (lambda s: not getattr(s, "pixel_loss", False), "The pixel loss counts instead.")),
        "pixel_weight": (own, (lambda s: getattr(s, "pixel_loss", True), _only("pixel_loss"))),
        "mask_weight": (mask,),
        "mask_loss_function": (mask,),
        "eye_multiplier": (_when("masked_training"),),
        "mouth_multiplier": (_when("masked_training"),),
        "eyes_mouth_weight": (_when("eyes_mouth_priority"),),
        "gan_patch_size": (_when("gan_power"),),
        "gan_dims": (_when("gan_power"),),
        "lr_decay": (decay,),
        "lr_decay_every": (decay,),
        "lr_finder_iterations": (finder,),
        "lr_finder_strength": (finder,),
        "beta_1": ((lambda s: s.optimizer in ("adam", "adamw"), "Only with Adam and AdamW."),),
        "weight_decay": ((lambda s: s.optimizer in ("adamw", "lion"), "Only with AdamW and Lion."),),
        "autoclip_percentile": (_when("autoclip"),),
        "autoclip_history": (_when("autoclip"),),
        "color_clahe_max_size": (_when("color_clahe_chance"),),
        "pretrain_faces": (_when("pretrain"),),
        "freeze_layers": (_when("freeze_weights"),),
        "load_layers": (_when("load_weights"),),
    }


def _builder_rules() -> dict[str, tuple[Rule, ...]]:
    """The same of the model builder's options."""
    v1, v2, v3 = "mobilenet", "mobilenet_v2", ("mobilenet_v3_large", "mobilenet_v3_small")
    curve = "Two layers or fewer have no curve."
    still = (lambda s: s.fc_upsamples > 0, "Nothing is doubled: Upsamples is 0.")
    return {
        "split_gblock": (_when("enable_gblock"),),
        "enc_load_weights": (
            (lambda s: ENCODERS[s.enc_architecture].pretrained, "There are no pretrained weights for this encoder."),
        ),
        "bottleneck_size": ((lambda s: s.bottleneck_type == "dense", "Only with a dense bottleneck."),),
        "fc_min_filters": ((lambda s: s.fc_depth > 1, "With one layer or none only the max filters count."),),
        "fc_filter_slope": ((lambda s: s.fc_depth > 2, curve),),
        "fc_dropout": ((lambda s: s.fc_depth > 0, "There are no dense layers."),),
        "fc_upsampler": (still,),
        "fc_upsample_filters": (still, (lambda s: s.fc_upsampler != "upsample2d", "upsample2d keeps the max filters.")),
        "fc_gblock_min_nodes": (
            _when("enable_gblock"),
            (lambda s: s.fc_gblock_depth > 1, "With one layer only the max nodes count."),
        ),
        "fc_gblock_filter_slope": (_when("enable_gblock"), (lambda s: s.fc_gblock_depth > 2, curve)),
        "dec_skip_last_residual": ((lambda s: s.dec_res_blocks > 0, "There are no residual blocks."),),
        "mobilenet_width": (_encoder("Only with a MobileNet encoder.", v1, v2, *v3),),
        "mobilenet_depth": (_encoder("Only with the encoder mobilenet, the first version.", v1),),
        "mobilenet_dropout": (_encoder("Only with the encoder mobilenet, the first version.", v1),),
        "mobilenet_minimalistic": (_encoder("Only with a MobileNet v3 encoder.", *v3),),
    }


def _chosen(slot: int) -> Check:
    return lambda s: getattr(s, f"loss_function_{slot}") != "none"


_RULES: Mapping[str, tuple[Rule, ...]] = MappingProxyType({**_rules(), **_builder_rules()})
