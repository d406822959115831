"""Networks that say which part of a face is face, and not hair, hand or glasses: DeepFaceLab's XSeg and its like."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from backend.core.errors import BadInputError
from backend.core.network_files import first_network
from backend.models.onnx_network import OnnxNetwork, Slot

Float32 = npt.NDArray[np.float32]

MASK_SIDE = 256
"""Side in px of the faces it takes and the masks it gives."""

_NOTHING_BELOW = 0.1
_OUTSIDE = 1e-3
_AT_ONCE = 16


class Segmentation(Protocol):
    """What merging needs of a mask network. Its method may be called from several threads."""

    @property
    def name(self) -> str:
        """File name, for the user."""
        ...

    def masks(self, faces_bgr: Sequence[Float32]) -> list[Float32]:
        """(256, 256) float32 0..1 for each face (256, 256, 3) float32 0..1 BGR."""
        ...


class XSeg:
    """A mask network of an ONNX file: one picture in, one map out, of any layout and size.

    DeepFaceLab's takes ``in_face`` (N, 256, 256, 3) and gives ``out_mask`` (N, 256, 256, 1). Whether the sigmoid is
    part of the network is found out by trying: one that leaves the range of a probability gives logits.

    Args:
        file: the network.
        device: see OnnxNetwork.
        threads: see OnnxNetwork.

    Raises:
        DamagedFileError: the file is no network that can be run.
        BadInputError: it is one, but does not make one map of one picture in colour.
    """

    def __init__(self, file: Path, device: str = "cpu", threads: int = 0) -> None:
        self._network = OnnxNetwork(file, device, threads)
        self.name = file.name
        fits = len(self._network.inputs) == 1 and len(self._network.outputs) >= 1
        self._axis = color_axis(self._network.inputs[0]) if fits else None
        if self._axis is None:
            raise BadInputError(
                f"{file.name} in {file.parent} is no mask network: it has to take one picture in colour.",
                "Use the file XSeg_model.onnx that DeepFaceLab exports, or remove this one.",
            )
        slot = self._network.inputs[0]
        self._side = slot.shape[2 if self._axis == 1 else 1] or MASK_SIDE
        self._at_once = slot.shape[0] or _AT_ONCE
        self._logits = self._gives_logits()

    def masks(self, faces_bgr: Sequence[Float32]) -> list[Float32]:
        """The mask of each face.

        Args:
            faces_bgr: each (256, 256, 3) float32 0..1 BGR.

        Returns:
            (256, 256) float32 0..1 for each; what the network is less than a tenth sure of is 0, as in DeepFaceLab.
        """
        found = []
        for start in range(0, len(faces_bgr), self._at_once):
            for values in self._predict(faces_bgr[start : start + self._at_once]):
                sure = 1 / (1 + np.exp(-np.clip(values, -80, 80))) if self._logits else np.clip(values, 0, 1)
                mask = cv2.resize(sure, (MASK_SIDE, MASK_SIDE)) if len(sure) != MASK_SIDE else sure
                found.append(np.where(mask < _NOTHING_BELOW, 0, mask).astype(np.float32))
        return found

    def _predict(self, faces_bgr: Sequence[Float32]) -> Float32:
        """(n, s, s) float32: what the network says of at most as many faces as fit at once."""
        side = (self._side, self._side)
        batch = np.stack([face if face.shape[:2] == side else cv2.resize(face, side) for face in faces_bgr])
        fixed = self._network.inputs[0].shape[0]
        if fixed and len(batch) < fixed:
            batch = np.concatenate([batch, np.repeat(batch[-1:], fixed - len(batch), axis=0)])
        fed = batch.transpose(0, 3, 1, 2) if self._axis == 1 else batch
        out = np.asarray(self._network.run({self._network.inputs[0].name: fed})[0], np.float32)
        rows = out.reshape(len(batch), -1)
        height = round(rows.shape[1] ** 0.5)
        if height * height != rows.shape[1]:
            raise BadInputError(
                f"{self.name} is no mask network: its output is {out.shape}.",
                "Use the file XSeg_model.onnx that DeepFaceLab exports.",
            )
        return rows.reshape(-1, height, height)[: len(faces_bgr)]

    def _gives_logits(self) -> bool:
        """Whether values of an empty, a full and a noisy picture leave the range of a probability."""
        shape = (MASK_SIDE, MASK_SIDE, 3)
        noise = np.random.default_rng(0).random(shape, np.float32)
        values = np.stack([self._predict([each])[0] for each in (np.zeros_like(noise), np.ones_like(noise), noise)])
        return bool(values.min() < -_OUTSIDE or values.max() > 1 + _OUTSIDE)


def color_axis(slot: Slot) -> int | None:
    """Which axis of a picture's slot holds the three colours: 1 or 3; None when it is no picture."""
    if len(slot.shape) != 4:
        return None
    return next((axis for axis in (1, 3) if slot.shape[axis] == 3), None)


def find_segmentation(folders: Sequence[Path], device: str = "cpu", threads: int = 0) -> Segmentation | None:
    """The mask network of the first folder that has one; None without any.

    Args:
        folders: where one may lie, first choice first; see backend.storage.weights.segmentation_folders().
        device: see OnnxNetwork.
        threads: see OnnxNetwork.

    Raises:
        DamagedFileError: the file found is no network that can be run.
        BadInputError: it is no mask network.
    """
    file = first_network(folders)
    return None if file is None else XSeg(file, device, threads)
