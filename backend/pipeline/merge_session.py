"""Single merged frames on demand. The preview of one frame runs the very code that merges all frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, NamedTuple, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from backend.core.settings import MergeLook, MergeSettings
from backend.ops.align import crop_corners
from backend.ops.composite import composite_frame
from backend.ops.face_swap import MergedFrame
from backend.pipeline.merge_cut import XSEG_FRAME, XSEG_PREDICTED
from backend.pipeline.merge_models import MergeModels
from backend.pipeline.merge_options import merge_options
from backend.pipeline.merge_scene import LEAVE, MergeScene
from backend.pipeline.merge_steady import RADIUS, steady_one
from backend.pipeline.merge_types import FramePlan, PredictedFaces, ReadyFaces
from backend.pipeline.model_shelf import ModelShelf
from backend.storage.face_tracks_index import FrameFace
from backend.storage.workspace import Project

UInt8 = npt.NDArray[np.uint8]
K = TypeVar("K")
T = TypeVar("T")

KEPT_PICTURES = 8
KEPT_PICTURE_BYTES = 256 << 20
KEPT_PREDICTION_BYTES = 512 << 20
_SQUARE = 16
_DARK, _BRIGHT = 102, 153


@dataclass(frozen=True)
class FacePreview:
    """What became of one face.

    Attributes:
        name: file name of the aligned face.
        track, person: whose it is; see backend.storage.face_tracks_index.
        model: name of the model it got, "" when the rules leave it.
        outcome: see backend.ops.face_swap.MergedFrame; "left" by a rule, "no_crop" when its landmarks give no crop.
        corners: (4, 2) frame pixels of what the model saw, clockwise from its left top; None without a crop.
        box_xyxy: around its landmarks, frame pixels.
    """

    name: str
    track: int | None
    person: str
    model: str
    outcome: str
    corners: npt.NDArray[np.float64] | None
    box_xyxy: tuple[float, float, float, float]


@dataclass(frozen=True)
class FramePreview:
    """One frame before and after merging.

    Attributes:
        before: (h, w, 3) uint8 BGR; the same object for every preview of one frame while the session keeps it.
        after: as before; of mode "raw-predict" the predicted square.
        mask: (h, w) uint8, the replaced area.
        outcomes: per swapped face what became of it.
        faces: all faces of the frame.
        look: how they were put into it.
    """

    before: UInt8
    after: UInt8
    mask: UInt8
    outcomes: tuple[str, ...]
    faces: tuple[FacePreview, ...]
    look: MergeLook


class MergeSession:
    """The destination of a project and the models it needs, kept from preview to preview. Not thread-safe.

    Args:
        project: whose frames, faces and models.
        shelf: where models stay loaded; several sessions may share one.

    Raises:
        BadInputError: no destination frames or no destination faces.
        DamagedFileError: the stored frame table cannot be read.
    """

    def __init__(self, project: Project, shelf: ModelShelf | None = None) -> None:
        self._project = project
        self._shelf = shelf or ModelShelf()
        self.scene = MergeScene(project)
        self._pictures: _Kept[int, UInt8] = _Kept(KEPT_PICTURE_BYTES, lambda picture: picture.nbytes)
        self._predictions: _Kept[_PredictionKey, PredictedFaces] = _Kept(KEPT_PREDICTION_BYTES, _bytes_of)

    def render(self, index: int, settings: MergeSettings) -> FramePreview:
        """Merge one frame. What was predicted is kept, so that settings of compositing need no model.

        With smoothing the frames around it are predicted too, whether they lie in the range that is merged or not.

        Args:
            index: of the frame in the table, from 0.
            settings: how to merge; range and workers do not matter.

        Raises:
            BadInputError: no such frame, no such model, or a mask mode without its network.
        """
        if self.scene.refresh():
            self._pictures.clear()
            self._predictions.clear()
        plan = self.scene.plan(index, settings)
        around = RADIUS if settings.smooth_mask or settings.smooth_color else 0
        first, last = max(0, index - around), min(len(self.scene.frames) - 1, index + around)
        plans = [plan if at == index else self.scene.plan(at, settings) for at in range(first, last + 1)]
        models = self._models(plans, settings)
        window = self._predicted(plans, models, settings.device)
        ready = steady_one(window, index - first, settings.smooth_mask, settings.smooth_color)
        before = self._picture(index)
        merged = _merged(before, ready, models.shapes[settings.model][1])
        mask = cv2.convertScaleAbs(merged.mask, alpha=255.0)
        faces = self._faces(window[index - first], settings, merged.outcomes)
        return FramePreview(before, merged.frame_bgr, mask, merged.outcomes, faces, plan.look)

    def _models(self, plans: Sequence[FramePlan], settings: MergeSettings) -> MergeModels:
        """The models that faces of the frames get, and the main one."""
        names = (settings.model, *(face.model for plan in plans for face in plan.faces))
        names = tuple(dict.fromkeys(names))
        return MergeModels(self._project, names, settings.device, settings.batch_size, self._shelf)

    def _predicted(self, plans: Sequence[FramePlan], models: MergeModels, device: str) -> list[PredictedFaces]:
        """The frames' faces with predictions, from what is kept where nothing changed for them."""
        keys = [_key(plan, models, device) for plan in plans]
        missing = [(key, plan) for key, plan in zip(keys, plans, strict=True) if key not in self._predictions]
        cuts = [models.cut(self._picture(plan.index), plan) for _, plan in missing]
        made = {key: done for (key, _), done in zip(missing, models.predict(cuts), strict=True)}
        found = [made.get(key) or self._predictions[key] for key in keys]
        for key, done in made.items():
            self._predictions[key] = done
        return [replace(done, plan=plan) for done, plan in zip(found, plans, strict=True)]

    def _picture(self, index: int) -> UInt8:
        if index not in self._pictures:
            self._pictures[index] = self.scene.picture(index)
        return self._pictures[index]

    def _faces(
        self, predicted: PredictedFaces, settings: MergeSettings, outcomes: Sequence[str]
    ) -> tuple[FacePreview, ...]:
        told = iter(outcomes)
        targets = iter(predicted.targets)
        found: list[FacePreview] = []
        for face, model in self.scene.choices(predicted.plan.index, settings):
            target = next(targets) if model != LEAVE else None
            outcome = "left" if model == LEAVE else "no_crop" if target is None else next(told)
            corners = None if target is None else crop_corners(target.mat, len(target.crop))
            found.append(FacePreview(face.name, face.track, face.person, model, outcome, corners, _box(face)))
        return tuple(found)


def _merged(before: UInt8, ready: ReadyFaces, side: int) -> MergedFrame:
    """The frame with its faces; the frame itself, or a black square of the model's side, where it has none."""
    if ready.swaps:
        return composite_frame(before, ready.swaps, merge_options(ready.plan.look))
    after = before
    if ready.plan.look.mode == "raw-predict":
        after = np.zeros((side, side, 3), np.uint8)
    return MergedFrame(after, np.zeros(after.shape[:2], np.float32), ())


def _box(face: FrameFace) -> tuple[float, float, float, float]:
    """Around the landmarks: left, top, right, bottom."""
    (left, top), (right, bottom) = face.landmarks.min(axis=0), face.landmarks.max(axis=0)
    return float(left), float(top), float(right), float(bottom)


def over_checkerboard(after: UInt8, mask: UInt8) -> UInt8:
    """What merging put into the frame, over a checkerboard where it left the frame as it was.

    Args:
        after: (h, w, 3) uint8 BGR.
        mask: (h, w) uint8, of the same size; of another size the picture stays whole.

    Returns:
        (h, w, 3) uint8 BGR.
    """
    if after.shape[:2] != mask.shape:
        return after
    rows, columns = (np.arange(size) // _SQUARE % 2 for size in mask.shape)
    board = np.where(rows[:, None] ^ columns[None], _BRIGHT, _DARK).astype(np.uint8)
    result = cv2.cvtColor(board, cv2.COLOR_GRAY2BGR)
    x, y, width, height = cv2.boundingRect(mask)
    part = (slice(y, y + height), slice(x, x + width))
    share = mask[part][..., None].astype(np.float32) / 255.0
    mixed = after[part] * share + result[part] * (1.0 - share)
    result[part] = (mixed + 0.5).astype(np.uint8)
    return result


class _PredictionKey(NamedTuple):
    """What a frame's predictions depend on besides its picture and landmarks."""

    index: int
    faces: tuple[tuple[str, str, str], ...]
    morph: float
    networks: tuple[bool, bool, bool]
    device: str


def _key(plan: FramePlan, models: MergeModels, device: str) -> _PredictionKey:
    look = plan.look
    faces = tuple((face.name, face.model, models.stamp(face.model)) for face in plan.faces)
    networks = (look.mask_mode in XSEG_PREDICTED, look.mask_mode in XSEG_FRAME, models.enhances(look))
    return _PredictionKey(plan.index, faces, look.morph_factor, networks, device)


def _bytes_of(faces: PredictedFaces) -> int:
    """Memory that a frame's predictions take."""
    parts = [target.crop for target in faces.targets if target is not None]
    parts += [part for part in (*faces.xseg_crops, *faces.enhanced) if part is not None]
    for made in faces.predictions:
        if made is not None:
            masks = (made.mask, made.dst_mask, made.xseg_mask, made.xseg_dst_mask)
            parts += [made.face, *(mask for mask in masks if mask is not None)]
    return sum(part.nbytes for part in parts)


class _Kept(Generic[K, T]):
    """The values used last, by key, as far as they fit into so many bytes; the newest one always stays."""

    def __init__(self, most_bytes: int, size: Callable[[T], int]) -> None:
        self._most_bytes = most_bytes
        self._size = size
        self._values: dict[K, T] = {}
        self._bytes = 0

    def __contains__(self, key: K) -> bool:
        return key in self._values

    def __getitem__(self, key: K) -> T:
        value = self._values[key] = self._values.pop(key)
        return value

    def __setitem__(self, key: K, value: T) -> None:
        self._values[key] = value
        self._bytes += self._size(value)
        while self._bytes > self._most_bytes and len(self._values) > 1:
            self._bytes -= self._size(self._values.pop(next(iter(self._values))))

    def clear(self) -> None:
        self._values.clear()
        self._bytes = 0
