"""Networks that help merging where the look asks for them: an enhancer of faces, and a mask network."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from backend.core.errors import BadInputError
from backend.core.settings import MergeLook
from backend.pipeline.merge_cut import XSEG_FRAME, XSEG_PREDICTED, XSEG_SIDE
from backend.pipeline.merge_types import PredictedFaces
from backend.storage.weights import enhancer_folder, how_to_get_segmentation, segmentation_folders

if TYPE_CHECKING:
    from backend.models.enhance import Enhancer
    from backend.models.segmentation import Segmentation

Float32 = npt.NDArray[np.float32]


class FaceNetworks:
    """Networks the user has installed, each loaded when a look first asks for it. Several threads may share them.

    Args:
        weights_dir: folder of downloaded weights.
        model_root: folder of the project's models, where mask networks may lie too.
        device: where they run, see backend.models.onnx_network.
    """

    def __init__(self, weights_dir: Path, model_root: Path, device: str) -> None:
        self._weights_dir = weights_dir
        self._model_root = model_root
        self._device = device
        self._enhancer: Enhancer | None = None
        self._segmentation: Segmentation | None = None
        self._lock = threading.Lock()

    @property
    def enhancer(self) -> Enhancer | None:
        """The installed enhancer; None without one, and faces stay as they are predicted."""
        from backend.models.enhance import find_enhancer

        with self._lock:
            if self._enhancer is None:
                self._enhancer = find_enhancer(enhancer_folder(self._weights_dir), self._device)
            return self._enhancer

    @property
    def segmentation(self) -> Segmentation:
        """The installed mask network. BadInputError without one."""
        from backend.models.segmentation import find_segmentation

        with self._lock:
            if self._segmentation is None:
                folders = segmentation_folders(self._weights_dir, self._model_root)
                self._segmentation = find_segmentation(folders, self._device)
            if self._segmentation is not None:
                return self._segmentation
        raise BadInputError(
            "This mask mode needs a mask network (XSeg), and none is installed.",
            f"{how_to_get_segmentation(self._weights_dir, self._model_root)} Or choose another mask mode.",
        )

    def enhances(self, look: MergeLook) -> bool:
        """Whether a look takes something of an enhancer's picture, and there is one."""
        return look.super_resolution > 0 and self.enhancer is not None

    def names(self) -> dict[str, str]:
        """File names of the networks that were used so far."""
        used = {"enhancer": self._enhancer, "segmentation": self._segmentation}
        return {kind: network.name for kind, network in used.items() if network is not None}

    def add(self, frames: Sequence[PredictedFaces]) -> list[PredictedFaces]:
        """The frames with masks and enhanced faces where their looks want them.

        Raises:
            BadInputError: a mask mode needs a mask network, and none is installed.
            DamagedFileError: an installed network cannot be run.
        """
        return [self._enhanced(frame) for frame in self._masked(frames)]

    def _enhanced(self, frame: PredictedFaces) -> PredictedFaces:
        enhancer = self.enhancer if self.enhances(frame.plan.look) else None
        if enhancer is None:
            return frame
        faces = [None if made is None else enhancer.enhance(_color(made.face)) for made in frame.predictions]
        return replace(frame, enhanced=tuple(faces))

    def _masked(self, frames: Sequence[PredictedFaces]) -> list[PredictedFaces]:
        """All faces of the frames go through the mask network together."""
        faces: list[Float32] = []
        for frame in frames:
            mode = frame.plan.look.mask_mode
            if mode in XSEG_PREDICTED:
                faces += [_at_xseg_side(made.face) for made in frame.predictions if made is not None]
            if mode in XSEG_FRAME:
                faces += [crop for crop in frame.xseg_crops if crop is not None]
        masks = iter(self.segmentation.masks(faces) if faces else ())
        done: list[PredictedFaces] = []
        for frame in frames:
            made = list(frame.predictions)
            for modes, name in ((XSEG_PREDICTED, "xseg_mask"), (XSEG_FRAME, "xseg_dst_mask")):
                if frame.plan.look.mask_mode in modes:
                    made = [None if each is None else replace(each, **{name: next(masks)}) for each in made]
            done.append(replace(frame, predictions=tuple(made)))
        return done


def _at_xseg_side(face: Float32) -> Float32:
    """A predicted face as mask networks see it, (256, 256, 3) float32 0..1 BGR."""
    side = (XSEG_SIDE, XSEG_SIDE)
    return np.clip(cv2.resize(_color(face), side, interpolation=cv2.INTER_CUBIC), 0.0, 1.0)


def _color(face: Float32) -> Float32:
    """(r, r, 3) of (r, r, 3) or (r, r, 1)."""
    return np.ascontiguousarray(np.broadcast_to(face, (*face.shape[:2], 3)))
