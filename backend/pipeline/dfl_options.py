"""DeepFaceLab's options and our settings, in both directions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from backend.core.errors import BadInputError
from backend.core.faces import FaceType
from backend.core.settings import TRAIN_SETTINGS, SaehdSettings, TrainSettings, bounds_of, is_fixed
from backend.core.settings.train import GRAY_TRANSFERS

OUR_CLASS: Mapping[str, str] = MappingProxyType(
    {"SAEHD": "saehd", "SAEHDBW": "saehd", "AMP": "amp", "Quick96": "quick96"}
)
"""DeepFaceLab's kind of a model -> our model class."""

FACES_TO_NAME = "(name the folder of pretraining faces)"
"""In place of a folder that DeepFaceLab does not store with its models."""

_SAME: Mapping[str, str] = MappingProxyType(
    {
        "resolution": "resolution",
        "face_type": "face_type",
        "archi": "archi",
        "ae_dims": "ae_dims",
        "inter_dims": "inter_dims",
        "e_dims": "e_dims",
        "d_dims": "d_dims",
        "d_mask_dims": "d_mask_dims",
        "morph_factor": "morph_factor",
        "batch_size": "batch_size",
        "target_iter": "target_iterations",
        "autobackup_hour": "backup_every_h",
        "random_src_flip": "random_src_flip",
        "random_dst_flip": "random_dst_flip",
        "masked_training": "masked_training",
        "eyes_mouth_prio": "eyes_mouth_priority",
        "uniform_yaw": "uniform_yaw",
        "blur_out_mask": "blur_out_mask",
        "random_warp": "random_warp",
        "random_hsv_power": "random_hsv_power",
        "gan_power": "gan_power",
        "gan_patch_size": "gan_patch_size",
        "gan_dims": "gan_dims",
        "true_face_power": "true_face_power",
        "face_style_power": "face_style_power",
        "bg_style_power": "bg_style_power",
        "ct_mode": "color_transfer",
        "clipgrad": "clip_gradients",
        "lr_dropout": "lr_dropout",
        "pretrain": "pretrain",
        "lr": "learning_rate",
    }
)
"""DeepFaceLab's option -> our setting."""

_SHAPES = ("resolution", "ae_dims", "inter_dims", "e_dims", "d_dims", "d_mask_dims", "archi", "face_type")
"""Options that the weights follow from: never fitted."""

_HANDLED = frozenset(
    (*_SAME, "adabelief", "models_opt_on_gpu", "optimizer_mode", "random_flip", "eyes_prio", "mouth_prio")
)
_WITHOUT_MEANING = frozenset(
    ("write_preview_history", "learn_mask", "use_fp16", "cpu_cap", "preview_samples", "force_full_preview")
)
"""Options that are nothing to set here: previews are always kept, masks always learned."""

_OLD_TRANSFERS = MappingProxyType({"sot-m": "sot", "mkl-m": "mkl", "idt-m": "idt"})


def settings_of(
    kind: str, options: Mapping[str, Any], name: str, known: Mapping[str, Any]
) -> tuple[TrainSettings, list[str]]:
    """Our settings for a model of DeepFaceLab.

    Args:
        kind: "SAEHD", "SAEHDBW", "AMP" or "Quick96".
        options: as stored with it, in the spelling of any version.
        name: of the new model.
        known: settings that its files tell, by our names: channels, optimizer.

    Returns:
        the settings, and sentences about what was fitted to our ranges or left out.

    Raises:
        BadInputError: a network like this cannot be built here; the sentence names the option.
    """
    settings = TRAIN_SETTINGS[OUR_CLASS[kind]]
    fields = settings.model_fields
    notes: list[str] = []
    values: dict[str, Any] = {"model": name}
    given = {**_modern(options), **known}
    for field, value in given.items():
        if field in fields and not is_fixed(fields[field]):
            values[field] = _fitted(field, fields[field], value, notes)
    _agree(values, settings, notes)
    left_out = sorted(set(options) - _HANDLED - _WITHOUT_MEANING)
    if left_out:
        notes.append(f"Left out, because nothing here is like them: {', '.join(left_out)[:400]}.")
    try:
        return settings.model_validate(values), notes
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(step) for step in first["loc"])
        said = f"{where}: {first['msg']}" if where else first["msg"]
        raise BadInputError(
            f"A network like this cannot be built here ({said}).", "Its options, or its data file, are not the usual."
        ) from error


def _modern(options: Mapping[str, Any]) -> dict[str, Any]:
    """Our names and words for the options, in whatever spelling they come."""
    given = {ours: options[theirs] for theirs, ours in _SAME.items() if theirs in options}
    if "adabelief" in options:
        given["optimizer"] = "adabelief" if options["adabelief"] else "rmsprop"
    for side in ("random_src_flip", "random_dst_flip"):
        if side not in given and "random_flip" in options:
            given[side] = options["random_flip"]
    if "eyes_mouth_priority" not in given and ("eyes_prio" in options or "mouth_prio" in options):
        given["eyes_mouth_priority"] = bool(options.get("eyes_prio") or options.get("mouth_prio"))
    if "models_opt_on_gpu" in options:
        given["optimizer_on_cpu"] = not options["models_opt_on_gpu"]
    elif "optimizer_mode" in options:
        given["optimizer_on_cpu"] = options["optimizer_mode"] in (2, 3)
    if isinstance(given.get("lr_dropout"), str):
        given["lr_dropout"] = given["lr_dropout"] in ("y", "cpu")
    if "archi" in given:
        given["archi"] = _archi(given["archi"])
    if "face_type" in given:
        given["face_type"] = _face_type(given["face_type"])
    transfer = given.get("color_transfer")
    if isinstance(transfer, str):
        given["color_transfer"] = _OLD_TRANSFERS.get(transfer, transfer)
    return given


def _archi(archi: object) -> object:
    """DeepFaceLab takes a repeated letter, and letters of either case."""
    if not isinstance(archi, str):
        return archi
    kind, dash, flags = archi.lower().partition("-")
    return kind + dash + "".join(dict.fromkeys(flags))


def _face_type(face_type: object) -> object:
    """A letter, or the whole name that some versions stored."""
    whole = {kind.value: kind.letter for kind in FaceType}
    return whole.get(face_type, face_type) if isinstance(face_type, str) else face_type


def _fitted(name: str, field: FieldInfo, value: Any, notes: list[str]) -> Any:
    """The value as the setting takes it; what had to change is noted."""
    if name in _SHAPES or value is None:
        return field.default if value is None else value
    kind = field.annotation
    if get_origin(kind) is Literal:
        if value in get_args(kind):
            return value
        notes.append(f"{name} was {str(value)[:40]}, which is not known here: {field.default} now.")
        return field.default
    if kind is bool or not isinstance(value, bool | int | float):
        return bool(value) if kind is bool and isinstance(value, bool | int | float) else value
    if not math.isfinite(value):
        notes.append(f"{name} was {value}, which is no number; {field.default} now.")
        return field.default
    low, high, _ = bounds_of(field)
    fitting = min(max(value, value if low is None else low), value if high is None else high)
    if fitting != value:
        notes.append(f"{name} was {value}; {fitting:g} is what fits here.")
    return int(fitting) if kind is int else float(fitting)


def _agree(values: dict[str, Any], settings: type[TrainSettings], notes: list[str]) -> None:
    """What cannot be together here is put right as DeepFaceLab does it, or noted."""
    if settings is SaehdSettings and not str(values.get("archi", "df")).startswith("df"):
        values["true_face_power"] = 0.0
    if settings is SaehdSettings and values.get("pretrain"):
        values["pretrain_faces"] = FACES_TO_NAME
        notes.append(
            "The model was in pretraining. Name its folder of faces among the settings to go on with that; switched "
            "off, the inter begins anew and iterations count from 0."
        )
    patch, side = values.get("gan_patch_size", 0), values.get("resolution", 0)
    if isinstance(patch, int) and isinstance(side, int) and side and not (patch == 0 or 3 <= patch <= side):
        values["gan_patch_size"] = 0
        notes.append(f"gan_patch_size was {patch}; an eighth of the resolution is taken.")
    if values.get("channels") == 1:
        if values.get("random_hsv_power"):
            values["random_hsv_power"] = 0.0
            notes.append("random_hsv_power is off: a grayscale model has no hue.")
        if values.get("color_transfer", "none") not in GRAY_TRANSFERS:
            notes.append(f"color_transfer was {values['color_transfer']}; a grayscale model matches brightness only.")
            values["color_transfer"] = "none"


def options_of(settings: TrainSettings) -> tuple[dict[str, Any], list[str]]:
    """DeepFaceLab's options for one of our models, and sentences about what it cannot say."""
    values = settings.resolved().model_dump(mode="json")
    options = {theirs: values[ours] for theirs, ours in _SAME.items() if ours in values and theirs != "lr"}
    options["autobackup_hour"] = int(options["autobackup_hour"])
    options["write_preview_history"] = False
    options["models_opt_on_gpu"] = not settings.optimizer_on_cpu
    options["adabelief"] = settings.optimizer != "rmsprop"
    options["lr_dropout"] = "y" if settings.lr_dropout else "n"
    if not settings.gan_patch_size:
        options["gan_patch_size"] = int(values["resolution"]) // 8
    if settings.model_class == "quick96":
        options = {"batch_size": settings.batch_size}
    notes = []
    if settings.optimizer not in ("adabelief", "rmsprop"):
        notes.append(f"DeepFaceLab has no {settings.optimizer}; there the model goes on with a fresh AdaBelief.")
    usual = type(settings).model_fields["learning_rate"].default
    if settings.learning_rate != usual:
        notes.append(f"The learning rate {settings.learning_rate:g} stays behind; DeepFaceLab always takes {usual:g}.")
    return options, notes
