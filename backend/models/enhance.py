"""Networks that draw a face sharper and four times as large: face restorers and upscalers of any maker.

An ONNX file says sizes and the order of its axes, but not what its numbers mean. For the known restorers that is
known; of any other the file of the same name with the suffix .json may say it::

    {"order": "rgb", "range": [-1, 1], "inputs": {"w": 0.5}}
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal, Protocol

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from backend.core.errors import BadInputError, DamagedFileError
from backend.core.network_files import first_network
from backend.models.onnx_network import OnnxNetwork, Slot
from backend.models.segmentation import color_axis

Float32 = npt.NDArray[np.float32]

ENLARGED = 4
"""How many times the side grows."""

_RESTORERS = ("gfpgan", "gpen", "codeformer", "restoreformer")
"""Beginnings of file names of restorers that work on RGB in -1..1."""

_RESTORER_SIDE = 512
_TRIED_SIDE = 64

_SCALARS: Mapping[str, float] = MappingProxyType({"w": 0.5, "weight": 0.5, "param": 0.2, "param1": 1.0})
"""Known further inputs: CodeFormer's fidelity, and the two conditions of DeepFaceLab's enhancer."""


class Enhancer(Protocol):
    """What merging needs of an enhancer. Its method may be called from several threads."""

    @property
    def name(self) -> str:
        """File name, for the user."""
        ...

    def enhance(self, face_bgr: Float32) -> Float32:
        """(r, r, 3) float32 0..1 BGR -> (4r, 4r, 3) float32 0..1 BGR."""
        ...


class Convention(BaseModel):
    """What the numbers of an enhancer mean: the content of the JSON file beside it.

    Attributes:
        order: of the colours.
        range: value of black and of white.
        inputs: what its further inputs get, by name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    order: Literal["rgb", "bgr"] = "rgb"
    range: tuple[float, float] = (0.0, 1.0)
    inputs: dict[str, float] = Field(default_factory=dict)


class OnnxEnhancer:
    """An enhancer of an ONNX file.

    A network of a fixed side that gives the same side back restores the whole face at its side. One that enlarges
    works on overlapping squares of its side, whose seams are blended. One without a fixed side gets the face as it is.

    Args:
        file: the network.
        device: see OnnxNetwork.
        threads: see OnnxNetwork.

    Raises:
        DamagedFileError: the network cannot be run, or the JSON beside it cannot be read.
        BadInputError: it does not take one picture in colour, or what its further inputs need is not known.
    """

    def __init__(self, file: Path, device: str = "cpu", threads: int = 0) -> None:
        self._network = OnnxNetwork(file, device, threads)
        self.name = file.name
        self._convention = _convention(file)
        pictures = [slot for slot in self._network.inputs if color_axis(slot)]
        if len(pictures) != 1:
            raise BadInputError(
                f"{file.name} in {file.parent} is no enhancer: it has to take one picture in colour.",
                "Use another network, or remove this one.",
            )
        self._picture = pictures[0]
        self._first = color_axis(self._picture) == 1
        fixed = self._picture.shape[2 if self._first else 1]
        self._side = fixed or (_RESTORER_SIDE if _is_restorer(file) else None)
        self._rest = {s.name: self._scalar(s) for s in self._network.inputs if s is not self._picture}
        tried = self._side or _TRIED_SIDE
        self._scale = len(self._run(np.full((tried, tried, 3), 0.5, np.float32))) / tried

    def enhance(self, face_bgr: Float32) -> Float32:
        """The face drawn sharper.

        Args:
            face_bgr: (r, r, 3) float32 0..1 BGR.

        Returns:
            (4r, 4r, 3) float32 0..1 BGR.
        """
        size, side = len(face_bgr), self._side
        if side is None:
            made = self._run(face_bgr)
        elif self._scale <= 1:
            made = self._run(_resized(face_bgr, side))
        elif size > side:
            made = self._tiled(face_bgr, side)
        else:
            room = side - size
            whole = self._run(cv2.copyMakeBorder(face_bgr, 0, room, 0, room, cv2.BORDER_REPLICATE))
            kept = round(size * self._scale)
            made = whole[:kept, :kept]
        return np.clip(_resized(made, ENLARGED * size), 0, 1)

    def _run(self, face_bgr: Float32) -> Float32:
        """One pass: (s, s, 3) float32 0..1 BGR -> the network's own side, same meaning."""
        black, white = self._convention.range
        swapped = face_bgr[..., ::-1] if self._convention.order == "rgb" else face_bgr
        fed = (swapped * (white - black) + black)[None]
        out = self._network.run({self._picture.name: fed.transpose(0, 3, 1, 2) if self._first else fed, **self._rest})
        picture = next((each for each in out if each.ndim == 4 and 3 in (each.shape[1], each.shape[3])), None)
        if picture is None:
            raise BadInputError(f"{self.name} is no enhancer: it gives no picture in colour.", "Use another network.")
        hwc = picture[0].transpose(1, 2, 0) if picture.shape[1] == 3 else picture[0]
        made = np.clip((hwc.astype(np.float32) - black) / (white - black), 0, 1)
        return np.ascontiguousarray(made[..., ::-1] if self._convention.order == "rgb" else made)

    def _tiled(self, face_bgr: Float32, side: int) -> Float32:
        """A face larger than the network's side, in squares that overlap by half, blended linearly."""
        size = len(face_bgr)
        places = sorted({*range(0, size - side, max(1, side // 2)), size - side})
        whole = round(size * self._scale)
        total = np.zeros((whole, whole, 4), np.float32)
        for y in places:
            for x in places:
                made = self._run(np.ascontiguousarray(face_bgr[y : y + side, x : x + side]))
                window = _window(len(made))
                top, left = round(y * self._scale), round(x * self._scale)
                part = total[top : top + len(made), left : left + len(made)]
                part[..., :3] += made * window
                part[..., 3:] += window
        return total[..., :3] / total[..., 3:]

    def _scalar(self, slot: Slot) -> npt.NDArray[np.generic]:
        """What a further input gets, in its shape and type."""
        stated = self._convention.inputs.get(slot.name, _SCALARS.get(slot.name.lower()))
        if stated is None:
            raise BadInputError(
                f"{self.name} takes '{slot.name}', and what that means is not known.",
                f'Say it in {Path(self.name).stem}.json beside it: {{"inputs": {{"{slot.name}": 1}}}}.',
            )
        return np.full([size or 1 for size in slot.shape], stated, slot.dtype)


def find_enhancer(folder: Path, device: str = "cpu", threads: int = 0) -> Enhancer | None:
    """The enhancer in a folder; None without one.

    Args:
        folder: where it may lie; see backend.storage.weights.enhancer_folder().
        device: see OnnxNetwork.
        threads: see OnnxNetwork.

    Raises:
        DamagedFileError: the file found cannot be run, or the JSON beside it cannot be read.
        BadInputError: it is no enhancer.
    """
    file = first_network([folder])
    return None if file is None else OnnxEnhancer(file, device, threads)


def _convention(file: Path) -> Convention:
    """What the JSON beside the file says, else what is known of its family, else RGB in 0..1."""
    beside = file.with_suffix(".json")
    if not beside.is_file():
        return Convention(range=(-1.0, 1.0) if _is_restorer(file) else (0.0, 1.0))
    try:
        convention = Convention.model_validate_json(beside.read_bytes())
    except ValidationError as error:
        raise DamagedFileError(
            f"{beside.name} in {beside.parent} does not say how an enhancer works ({error.errors()[0]['msg']}).",
            'It looks like this: {"order": "rgb", "range": [-1, 1], "inputs": {}}.',
        ) from error
    if convention.range[0] == convention.range[1]:
        raise DamagedFileError(f"{beside.name} in {beside.parent} gives black and white the same value.")
    return convention


def _is_restorer(file: Path) -> bool:
    return file.name.lower().startswith(_RESTORERS)


def _resized(picture: Float32, side: int) -> Float32:
    if len(picture) == side:
        return picture
    how = cv2.INTER_AREA if side < len(picture) else cv2.INTER_CUBIC
    return np.asarray(np.clip(cv2.resize(picture, (side, side), interpolation=how), 0, 1), np.float32)


def _window(side: int) -> Float32:
    """(s, s, 1) weights that fall linearly from the middle to the edge, above 0 everywhere."""
    ramp = np.minimum(np.arange(1, side + 1), np.arange(side, 0, -1)).astype(np.float32)
    return np.outer(ramp, ramp).astype(np.float32)[..., None]
