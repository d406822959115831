"""A trained model that swaps faces: what merging needs of a model folder, and nothing of training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

from backend.core.errors import BadInputError
from backend.core.faces import FaceType
from backend.core.provenance import Provenance
from backend.devices import torch_device
from backend.models.base import FaceSwapModel
from backend.models.registry import build_model
from backend.ops.face_swap import SwapPrediction
from backend.storage.checkpoint import Generation, SkippedGeneration, load_latest
from backend.storage.model_folder import ModelFolder, ModelInfo
from backend.storage.model_stamp import model_stamp, stamp_of
from backend.storage.workspace import Project
from backend.training.precision import Precision

Float32 = npt.NDArray[np.float32]

_HALF_DEVICES = ("cuda", "xpu")
_AVERAGE = "average"
"""The set of tensors of a checkpoint that holds the running average of the weights."""


@dataclass(frozen=True)
class Predictor:
    """A loaded model in evaluation mode; its weights are float32.

    Attributes:
        model: the network, on ``device``.
        iteration: of the checkpoint it came from.
        provenance: stored with that checkpoint.
        skipped: newer checkpoints that failed their checks.
        stamp: tells this state of the model from others, see backend.storage.model_stamp.
        precision: number format of the convolutions and dense layers, "fp32", "fp16" or "bf16".
        file_bytes: of a DFM file, whose weights torch does not hold.
    """

    model: FaceSwapModel
    device: torch.device
    iteration: int
    provenance: Provenance
    skipped: tuple[SkippedGeneration, ...] = ()
    stamp: str = ""
    precision: str = "fp32"
    file_bytes: int = 0

    @property
    def resolution(self) -> int:
        """Side in px of the crops it takes and the faces it gives."""
        return self.model.resolution

    @property
    def face_type(self) -> FaceType:
        """How much of the head its crops show."""
        return self.model.face_type

    @property
    def weight_bytes(self) -> int:
        """Memory its weights take on the device."""
        return self.file_bytes + sum(tensor.nbytes for tensor in self.model.state_dict().values())

    def predict(self, crop_bgr: Float32, morph: float = 1.0) -> SwapPrediction:
        """Swap one aligned crop, (r, r, 3) float32 0..1 BGR; see predict_batch()."""
        return self.predict_batch([crop_bgr], morph)[0]

    @torch.inference_mode()
    def predict_batch(self, crops_bgr: Sequence[Float32], morph: float = 1.0) -> list[SwapPrediction]:
        """Swap aligned crops of the model's resolution.

        Args:
            crops_bgr: each (r, r, 3) float32 0..1 BGR; gray is made of them for a one-channel model.
            morph: how far the swap goes from dst to src, 0..1; only AMP models, others give the whole swap.

        Returns:
            one prediction per crop; its face is (r, r, 3) BGR, or (r, r, 1) of a one-channel model.

        Raises:
            ValueError: a crop has another shape.
        """
        side, gray = self.resolution, self.model.channels == 1
        for crop in crops_bgr:
            if crop.shape != (side, side, 3):
                raise ValueError(f"The crop is {crop.shape}; the model takes ({side}, {side}, 3).")
        clipped = [np.clip(crop, 0.0, 1.0).astype(np.float32) for crop in crops_bgr]
        faces = [cv2.cvtColor(c, cv2.COLOR_BGR2GRAY)[..., None] if gray else c for c in clipped]
        batch = torch.from_numpy(np.stack(faces)).permute(0, 3, 1, 2).contiguous().to(self.device)
        with Precision(self.precision, self.device).autocast():
            out = self.model.swap(batch, morph)
        face, mask, dst_mask = (_to_bhwc(t) for t in (out.face, out.mask, out.dst_mask))
        return [
            SwapPrediction(face[i], mask[i, ..., 0], dst_mask[i, ..., 0], learned=self.model.learns_mask)
            for i in range(len(crops_bgr))
        ]


def load_model(project: Project, name: str, device: str = "best", precision: str = "auto") -> Predictor:
    """Load the newest whole checkpoint of a project's model.

    Args:
        project: where the model lies.
        name: of the model.
        device: "best", "cpu", or a device by name.
        precision: see choose_precision().

    Raises:
        BadInputError: there is no such model, or it was never saved.
        DamagedFileError: none of its checkpoints is whole, or its settings do not fit this version.
        DeviceError: the device is not there.
    """
    folder = ModelFolder(project.model_dir(name))
    info = folder.info()
    if info is not None and info.merges_only:
        return _dfm_predictor(folder, info, device)
    generation = load_latest(folder.generations_dir, names=(_AVERAGE,))
    if generation is None:
        raise _untrained(project, name)
    place: Any = torch_device(device)
    model = build_model(generation.state.info.train_settings())
    model.load_state_dict(_weights(generation))
    model.to(place).eval()
    state = generation.state
    stamp = stamp_of(state.iteration, state.checksums)
    precision = choose_precision(precision, place)
    return Predictor(model, place, state.iteration, state.provenance, generation.skipped, stamp, precision)


def _dfm_predictor(folder: ModelFolder, info: ModelInfo, device: str) -> Predictor:
    from backend.pipeline.dfm_import import load_dfm

    network, place, provenance = load_dfm(folder, info, device)
    size = int(info.settings.get("bytes", 0))
    return Predictor(network, place, info.iteration, provenance, stamp=model_stamp(folder.path), file_bytes=size)


def _untrained(project: Project, name: str) -> BadInputError:
    known = project.models()
    if name in known:
        return BadInputError(f"The model '{name}' has no checkpoint yet.", "Train it in the Train tab first.")
    return BadInputError(
        f"There is no trained model '{name}' (models: {', '.join(known) or 'none yet'}).",
        "Train it in the Train tab first.",
    )


def choose_precision(wanted: str, device: torch.device) -> str:
    """Number format for predicting on a device.

    "auto" is fp16 on accelerators that compute it at speed: it keeps three bits more than bf16, so that faces stay
    within a fifth of a level of fp32, where bf16 moves them by up to one. The CPU computes in fp32.

    Args:
        wanted: "auto", "fp32", "fp16" or "bf16".
        device: where the model runs.
    """
    if wanted != "auto":
        return wanted
    return "fp16" if device.type in _HALF_DEVICES else "fp32"


def _weights(generation: Generation) -> dict[str, torch.Tensor]:
    """The running average of the weights where training kept one, else the weights themselves."""
    return generation.tensors.get(_AVERAGE, generation.weights)


def _to_bhwc(tensor: torch.Tensor) -> Float32:
    return np.ascontiguousarray(tensor.float().clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy())
