"""The models of a merge: cutting what they see, and predicting faces of many frames in batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from backend.core.faces import FaceType
from backend.core.settings import MergeLook
from backend.ops.face_swap import FaceTarget, SwapPrediction
from backend.ops.merge_mask import hull_in_crop
from backend.pipeline.merge_cut import cut_faces
from backend.pipeline.merge_types import CutFaces, FramePlan, PredictedFaces
from backend.pipeline.model_shelf import ModelShelf
from backend.pipeline.predictor import Predictor
from backend.storage.workspace import Project

UInt8 = npt.NDArray[np.uint8]

CPU_BATCH = 4
ACCELERATOR_BATCH = 16


class _Place(NamedTuple):
    """Where a face lies: which of the frames, which of its faces."""

    frame: int
    face: int


class MergeModels:
    """Loaded models by name. Several threads may share them.

    Args:
        project: whose models.
        names: of all models that faces may get.
        device: where they run: "best", "cpu", or a device by name.
        batch_size: faces predicted at once; 0 takes four on the CPU and 16 on accelerators.
        shelf: where models come from that stay loaded afterwards; None loads them for this merge only.

    Attributes:
        shapes: name -> face type and side of the crops, for cut_faces().

    Raises:
        BadInputError, DamagedFileError, DeviceError: see backend.pipeline.predictor.load_model.
    """

    def __init__(
        self,
        project: Project,
        names: Sequence[str],
        device: str,
        batch_size: int = 0,
        shelf: ModelShelf | None = None,
    ) -> None:
        shelf = shelf or ModelShelf()
        self._models = shelf.models(project, names, device)
        self._networks = shelf.networks(project, device)
        self._batch_size = batch_size
        self.shapes: Mapping[str, tuple[FaceType, int]] = {
            name: (model.face_type, model.resolution) for name, model in self._models.items()
        }

    @property
    def batch_size(self) -> int:
        """Faces that are predicted at once."""
        if self._batch_size:
            return self._batch_size
        on_cpu = all(model.device.type == "cpu" for model in self._models.values())
        return CPU_BATCH if on_cpu else ACCELERATOR_BATCH

    def stamp(self, name: str) -> str:
        """What tells this state of a model from others, see backend.storage.model_stamp."""
        return self._models[name].stamp

    def facts(self) -> dict[str, Any]:
        """What was loaded, as JSON for results and provenance."""
        return {
            "models": {name: _facts(model) for name, model in self._models.items()},
            "device": str(next(iter(self._models.values())).device) if self._models else "",
            "batch_size": self.batch_size,
            **self._networks.names(),
        }

    def enhances(self, look: MergeLook) -> bool:
        """Whether a look takes something of an enhancer's picture, and there is one."""
        return self._networks.enhances(look)

    def cut(self, frame_bgr: UInt8, plan: FramePlan) -> CutFaces:
        """Cut a frame's faces; see cut_faces()."""
        return cut_faces(frame_bgr, plan, self.shapes)

    def predict(self, cuts: Sequence[CutFaces]) -> list[PredictedFaces]:
        """Run the models on the faces of some frames, together those that go to one model with one morph factor.

        Args:
            cuts: frames in any order; models and looks may differ.

        Returns:
            one per frame, in the same order.

        Raises:
            BadInputError: a mask mode needs a mask network, and none is installed.
        """
        predictions: dict[_Place, SwapPrediction] = {}
        for (name, morph), places in _by_model(cuts).items():
            for start in range(0, len(places), self.batch_size):
                some = places[start : start + self.batch_size]
                targets = [_target(cuts, place) for place in some]
                made = self._models[name].predict_batch([target.crop for target in targets], morph)
                predictions.update(zip(some, map(_masked, made, targets), strict=True))
        return self._networks.add([_predicted(cut, at, predictions) for at, cut in enumerate(cuts)])


def _by_model(cuts: Sequence[CutFaces]) -> dict[tuple[str, float], list[_Place]]:
    """(model, morph factor) -> the faces that go through it."""
    groups: dict[tuple[str, float], list[_Place]] = {}
    for frame, cut in enumerate(cuts):
        for face, (plan, target) in enumerate(zip(cut.plan.faces, cut.targets, strict=True)):
            if target is not None:
                groups.setdefault((plan.model, cut.plan.look.morph_factor), []).append(_Place(frame, face))
    return groups


def _target(cuts: Sequence[CutFaces], place: _Place) -> FaceTarget:
    target = cuts[place.frame].targets[place.face]
    assert target is not None
    return target


def _masked(made: SwapPrediction, target: FaceTarget) -> SwapPrediction:
    """The prediction, with the landmarks' hull for masks where the model learns none."""
    if made.learned:
        return made
    hull = hull_in_crop(target)
    return replace(made, mask=hull, dst_mask=hull)


def _predicted(cut: CutFaces, frame: int, predictions: Mapping[_Place, SwapPrediction]) -> PredictedFaces:
    made = tuple(predictions.get(_Place(frame, face)) for face in range(len(cut.targets)))
    return PredictedFaces(cut.plan, cut.targets, cut.xseg_crops, made, (None,) * len(made))


def _facts(model: Predictor) -> dict[str, Any]:
    """What a result says about a model."""
    return {
        "model_class": model.provenance.model_class,
        "iteration": model.iteration,
        "stamp": model.stamp,
        "resolution": model.resolution,
        "face_type": model.face_type.value,
        "precision": model.precision,
        "skipped": [f"{skipped.name}: {skipped.reason}" for skipped in model.skipped],
    }
