"""What a network begins with: random weights, those of another model of the project, or those of a backbone."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from backend.core.errors import BadInputError
from backend.core.settings import TrainSettings
from backend.environment import weights_folder
from backend.models.base import FaceSwapModel
from backend.pipeline.context import StageContext
from backend.storage.checkpoint import load_latest
from backend.storage.model_operations import existing_model
from backend.storage.weights import default_folder
from backend.training.freezing import frozen_names

ENCODER = "encoder"
"""The part that holds the backbone."""

Log = Callable[[str, str], None]
"""log(sentence, level)"""

_LISTED = 5


def first_weights(model: FaceSwapModel, settings: TrainSettings, ctx: StageContext) -> None:
    """Give a new model the weights that its settings name; those of a backbone unless its part was loaded already.

    Args:
        model: freshly built, on the CPU; changed in place.
        settings: of the training.
        ctx: names what was left out.

    Raises:
        BadInputError: there is no such model, it only merges, or nothing of it fits.
        DamagedFileError: none of its checkpoints is whole.
    """
    loaded: tuple[str, ...] = ()
    if settings.load_weights:
        folder = existing_model(ctx.project, settings.load_weights)
        folder.require_trainable()
        saved = load_latest(folder.generations_dir, names=())
        if saved is None:
            raise BadInputError(f"The model '{folder.name}' was not saved yet.", "Train it first.")
        loaded = load_parts(model, settings.load_layers, saved.weights, ctx.log)
        ctx.log(f"Began with the weights of '{folder.name}', iteration {saved.state.iteration}: {', '.join(loaded)}.")
    if getattr(settings, "enc_load_weights", False) and ENCODER not in loaded:
        from backend.pipeline.backbone_weights import begin_with_pretrained

        weights_dir = weights_folder() or default_folder(ctx.project.path.parent)
        begin_with_pretrained(model, settings, weights_dir, ctx.log)


@torch.no_grad()
def load_parts(model: FaceSwapModel, names: tuple[str, ...], stored: Mapping[str, Tensor], log: Log) -> tuple[str, ...]:
    """Copy stored weights into parts of a model, layer by layer; a layer of another shape stays as it is.

    Args:
        model: changed in place.
        names: of what it calls freezable().
        stored: a network's ``state_dict``.
        log: told what was left out.

    Returns:
        the parts of which at least one layer was loaded.

    Raises:
        BadInputError: that is none.
    """
    known = model.freezable()
    for name in names:
        if name not in known:
            log(_unknown(name, model), "warning")
    loaded = []
    for name in (name for name in names if name in known):
        layers = _layers_of(model, known[name])
        left = [layer for layer, own in layers.items() if not _load_layer(own, stored)]
        if left:
            log(
                f"{name}: {len(left)} of {len(layers)} layers are missing or of another shape: {_listed(left)}.",
                "warning",
            )
        if len(left) < len(layers):
            loaded.append(name)
    if not loaded:
        raise BadInputError(
            "Nothing of the chosen model's weights fits this network.",
            "Choose a model of the same family and sizes, or other parts to load.",
        )
    return tuple(loaded)


def check_frozen(model: FaceSwapModel, settings: TrainSettings, log: Log) -> None:
    """Say which names of parts to hold still match nothing. BadInputError when no part is left to learn."""
    known = model.freezable()
    for name in settings.freeze_layers if settings.freeze_weights else ():
        if name not in known:
            log(_unknown(name, model), "warning")
    still = frozen_names(model, settings)
    held = {id(weight) for name, part in known.items() if name in still for weight in part.parameters()}
    if all(id(weight) in held for weight in model.parameters()):
        raise BadInputError("All parts are held still: nothing would learn.", "Take one of the Frozen parts away.")


def _layers_of(model: FaceSwapModel, part: torch.nn.Module) -> dict[str, dict[str, Tensor]]:
    """Name of each layer of a part -> its tensors, under their names in the model's ``state_dict``."""
    prefix = next(f"{name}." for name, module in model.named_modules() if module is part)
    layers: dict[str, dict[str, Tensor]] = {}
    for name, tensor in model.state_dict().items():
        if name.startswith(prefix):
            layers.setdefault(name.rpartition(".")[0], {})[name] = tensor
    return layers


def _load_layer(own: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> bool:
    """Copy all tensors of a layer, or none; False for none."""
    if any(name not in stored or stored[name].shape != tensor.shape for name, tensor in own.items()):
        return False
    for name, tensor in own.items():
        tensor.copy_(stored[name])
    return True


def _unknown(name: str, model: FaceSwapModel) -> str:
    return f"The network has no part '{name}'; it has {', '.join(model.freezable())}."


def _listed(names: list[str]) -> str:
    more = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {more} more" if more > 0 else "")
