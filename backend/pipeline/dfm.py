"""Writing a trained model as DFM, the ONNX file that live programs run, and comparing it with the model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from onnx import checker

from backend.core.errors import LookalikeError
from backend.core.provenance import DIGITAL_SOURCE_TYPE, SOFTWARE
from backend.environment import usable_cores
from backend.models.amp import Amp
from backend.models.base import FaceSwapModel
from backend.models.dfm import IN_FACE, MORPH, dfm_model, most_bytes
from backend.models.onnx_network import OnnxNetwork
from backend.pipeline.context import StageContext
from backend.pipeline.predictor import Predictor, load_model
from backend.storage.atomic import replacing, require_free_disk
from backend.storage.model_folder import ModelFolder
from backend.storage.workspace import Project

Float32 = npt.NDArray[np.float32]

SUFFIX = ".dfm"

MOST_FP32 = 1e-4
"""Largest difference from the model, of values 0..1."""

MOST_FP16, MOST_MEAN_FP16 = 2e-2, 2e-3
"""The same in half precision, and the largest mean difference."""

DISCLOSURE = (
    "AI model: it replaces faces. Pictures and videos made with it are AI-manipulated; say so where they are shown."
)

_MODEL_CLASSES: Mapping[str, str] = MappingProxyType({"quick96": "Quick96", "phaze_a": "PhazeA"})
_BATCHES = (1, 3)
_MORPHS = (0.0, 0.5, 1.0)
_RESERVE_BYTES = 64 << 20


class DfmDiffersError(LookalikeError):
    """The written file does not compute what the model computes."""


def dfm_stem(project: Project, model: str) -> str:
    """Name of a model's DFM file without suffix, as DeepFaceLab forms it: <name>_SAEHD_model."""
    info = ModelFolder(project.model_dir(model)).info()
    model_class = info.model_class if info else ""
    return f"{model}_{_MODEL_CLASSES.get(model_class, model_class.upper())}_model"


def write_dfm(project: Project, model: str, path: Path, fp16: bool, ctx: StageContext) -> dict[str, Any]:
    """Write a model's newest checkpoint as DFM. The file appears only after it agreed with the model.

    Where training keeps an average of the weights, it is the average that is written, as merging uses it.

    Args:
        project: of the model.
        model: its name.
        path: the file; an existing one is replaced.
        fp16: convolve in half precision.
        ctx: told what is done; a stop takes effect between the steps.

    Returns:
        {"bytes", "iteration", "max_difference", "opset", "fp16"}.

    Raises:
        BadInputError: there is no such trained model, or it is too large for one file.
        DamagedFileError: none of its checkpoints is whole.
        DiskFullError: the file does not fit.
        DfmDiffersError: the file differs from the model by more than it may.
    """
    predictor = load_model(project, model, "cpu")
    ctx.check_stop()
    path.parent.mkdir(parents=True, exist_ok=True)
    require_free_disk(path.parent, most_bytes(predictor.model, fp16) + _RESERVE_BYTES)
    proto = dfm_model(predictor.model, fp16, _facts(predictor, model))
    data, opset = proto.SerializeToString(), max(each.version for each in proto.opset_import)
    del proto
    checker.check_model(data)
    ctx.check_stop()
    with replacing(path) as file:
        file.write(data)
        file.flush()
        difference = _checked(predictor.model, Path(file.name), fp16)
        ctx.check_stop()
    if not predictor.model.learns_mask:
        ctx.log("This model learned no mask: live programs show the whole square that the file gives.", "warning")
    ctx.log(f"The DFM file agrees with the model: the largest difference is {difference:.1e}.")
    return {
        "bytes": len(data),
        "iteration": predictor.iteration,
        "max_difference": difference,
        "opset": opset,
        "fp16": fp16,
    }


def _facts(predictor: Predictor, model: str) -> dict[str, str]:
    """What the file says about itself. Nothing in it comes from the paths of this computer."""
    return {
        "software": SOFTWARE,
        "model": model,
        "iteration": str(predictor.iteration),
        "face_type": predictor.face_type.name.lower(),
        "disclosure": DISCLOSURE,
        "digital_source_type": DIGITAL_SOURCE_TYPE,
    }


def _checked(model: FaceSwapModel, path: Path, fp16: bool) -> float:
    """Largest difference between file and model over random faces. DfmDiffersError when it is too large."""
    network = OnnxNetwork(path, "cpu", usable_cores())
    gaps = [
        np.abs(made.astype(np.float64) - wanted)
        for count in (_BATCHES if network.inputs[0].shape[0] is None else (1,))
        for morph in (_MORPHS if isinstance(model, Amp) else (1.0,))
        for made, wanted in _both(model, network, count, morph)
    ]
    largest = float(max(gap.max() for gap in gaps))
    mean = float(max(gap.mean() for gap in gaps))
    most, most_mean = (MOST_FP16, MOST_MEAN_FP16) if fp16 else (MOST_FP32, MOST_FP32)
    # Written so that a difference that is no number is too large as well.
    if not (largest <= most and mean <= most_mean):
        way = "Write it without half precision." if fp16 else "The model may be broken: look at its preview."
        raise DfmDiffersError(
            f"The DFM file was not kept: it differs from the model by up to {largest:.1e} (mean {mean:.1e}), "
            f"and {most:.0e} (mean {most_mean:.0e}) is the most.",
            way,
        )
    return largest


def _both(model: FaceSwapModel, network: OnnxNetwork, count: int, morph: float) -> list[tuple[Float32, Float32]]:
    """(of the file, of the model) for mask, face and mask, each (n, r, r, c), on the same random faces."""
    side = model.resolution
    faces = np.random.default_rng(count).random((count, side, side, 3), np.float32)
    feeds: dict[str, npt.ArrayLike] = {IN_FACE: faces}
    if isinstance(model, Amp):
        feeds[MORPH] = [morph]
    made = network.run(feeds)
    gray = model.channels == 1
    seen = np.stack([cv2.cvtColor(face, cv2.COLOR_BGR2GRAY)[..., None] if gray else face for face in faces])
    with torch.inference_mode():
        out = model.swap(torch.from_numpy(seen).permute(0, 3, 1, 2).contiguous(), morph)
    wanted = [t.permute(0, 2, 3, 1).numpy() for t in (out.dst_mask, out.face, out.mask)]
    shapes = [(count, side, side, channels) for channels in (1, 3, 1)]
    return [(one, np.broadcast_to(other, shape)) for one, other, shape in zip(made, wanted, shapes, strict=True)]
