"""Preview images: the same few faces, again and again, so that a person sees the network learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from backend.core.faces import FaceType
from backend.core.settings import TRAIN_SETTINGS
from backend.models.base import FaceSwapModel
from backend.storage.atomic import write_bytes
from backend.storage.image import write_image
from backend.storage.model_folder import ModelFolder
from backend.training.augment import plain
from backend.training.batch import FaceBatch
from backend.training.callbacks.base import Callback, Emit
from backend.training.loader import RawSide
from backend.training.loop import Training

UInt8 = npt.NDArray[np.uint8]
Picture = tuple[Tensor, Tensor]
"""Faces (B, C, R, R) and their masks (B, 1, R, R), float 0..1, BGR."""

ROWS = 4
KEPT = 200
"""Preview images kept per page and folder; beyond, every second one of the older ones goes."""

MORPHS: Mapping[str, float] = MappingProxyType({f"swap {value}": value for value in (0.25, 0.5, 0.65, 0.75, 1.0)})
"""Column of the page "morph" -> how far the swap goes; the values are DeepFaceLab's."""

_WHOLE = "swap 1.0"
_STRIP_PX = 20
_TALLEST_PX = 800
_WIDEST_PX = 1600


@dataclass(frozen=True)
class PreviewPage:
    """One preview image.

    Attributes:
        name: of the page, in events and file names.
        columns: what it shows, also the labels.
        masked: whether each face is cut by its own mask.
    """

    name: str
    columns: tuple[str, ...]
    masked: bool = False


_BOTH = ("src", "src-src", "dst", "dst-dst")
_SAEHD = (PreviewPage("faces", (*_BOTH, "swap")), PreviewPage("masked", (*_BOTH, "swap"), masked=True))
_AMP = (
    PreviewPage("faces", (*_BOTH, _WHOLE)),
    PreviewPage("masked", (*_BOTH, _WHOLE), masked=True),
    PreviewPage("morph", ("dst-dst", *MORPHS)),
)

PREVIEW_PAGES: Mapping[str, tuple[PreviewPage, ...]] = MappingProxyType(
    {name: _AMP if name == "amp" else _SAEHD for name in TRAIN_SETTINGS}
)
"""Model class name -> its preview pages."""


class PreviewCallback(Callback):
    """Draws the preview at the start, every ``preview_interval`` iterations, and at the end.

    Args:
        src, dst: the fixed faces, the same number of each.
        job_dir: images go to ``job_dir / "previews"``.
        folder: the model's folder, which keeps the newest images and thinned-out series.
        emit: the events' way out.
    """

    def __init__(self, src: RawSide, dst: RawSide, job_dir: Path, folder: ModelFolder, emit: Emit) -> None:
        self._src = src
        self._dst = dst
        self._job_dir = job_dir
        self._folder = folder
        self._emit = emit
        self._drawn_at = -1

    def on_start(self, training: Training) -> None:
        """The network before this run."""
        self._draw(training)

    def on_step(self, training: Training) -> None:
        """Every so often."""
        if training.iteration % training.settings.preview_interval == 0:
            self._draw(training)

    def on_end(self, training: Training) -> None:
        """The network after this run."""
        if self._drawn_at != training.iteration:
            self._draw(training)

    def _draw(self, training: Training) -> None:
        self._drawn_at = training.iteration
        device = training.step.device
        pages = PREVIEW_PAGES[training.settings.model_class]
        src, dst = plain(self._src, device), plain(self._dst, device)
        for page, image in preview_pages(training.step.shown_model, pages, src, dst).items():
            name = f"{training.iteration:07d}_{page}.jpg"
            written = self._job_dir / "previews" / name
            written.parent.mkdir(parents=True, exist_ok=True)
            write_image(written, image, quality=92)
            self._keep(name, page, written.read_bytes())
            thin_out(written.parent, f"*_{page}.jpg", KEPT)
            data = {"name": page, "path": f"previews/{name}", "iteration": training.iteration}
            self._emit("preview", data)

    def _keep(self, name: str, page: str, image: bytes) -> None:
        write_bytes(self._folder.preview_path(page), image, durable=False)
        self._folder.history_dir.mkdir(parents=True, exist_ok=True)
        write_bytes(self._folder.history_dir / name, image, durable=False)
        thin_out(self._folder.history_dir, f"*_{page}.jpg", KEPT)


@torch.inference_mode()
def preview_pages(
    model: FaceSwapModel, pages: Sequence[PreviewPage], src: FaceBatch, dst: FaceBatch
) -> dict[str, UInt8]:
    """Draw all pages.

    Args:
        model: its mode is left as it was.
        pages: what to draw.
        src, dst: undistorted faces, the same number of each.

    Returns:
        name of the page -> image (h, w, 3) uint8 BGR: one row per face, labels on top. Faces are shrunk so that no
        page is wider than 1600 px; as many are drawn as fit into 800 px, at least one and at most four.
    """
    side = min(model.resolution, _WIDEST_PX // max(len(page.columns) for page in pages))
    rows = max(1, min(len(src.target), ROWS, _TALLEST_PX // side))
    wanted = {column for page in pages for column in page.columns}
    was_training = model.training
    model.eval()
    drawn = _pictures(model, _first(src, rows), _first(dst, rows), wanted)
    model.train(was_training)
    return {page.name: _grid(page, drawn, side) for page in pages}


def thin_out(folder: Path, pattern: str, limit: int) -> None:
    """Once more than ``limit`` files match, remove every second of them; the newest stays. Names sort by age."""
    files = sorted(folder.glob(pattern))
    if len(files) > limit:
        for path in files[-2::-2]:
            path.unlink(missing_ok=True)


def _first(side: FaceBatch, rows: int) -> FaceBatch:
    return FaceBatch(side.warped[:rows], side.target[:rows], side.mask[:rows])


def _pictures(model: FaceSwapModel, src: FaceBatch, dst: FaceBatch, wanted: set[str]) -> dict[str, Picture]:
    """Every column that may be asked for, and the morphs that are.

    A swap is cut by the product of its own and the destination's mask; of a whole head by its own mask alone, as in
    DeepFaceLab, because the two heads may differ in outline. Where a network learns no mask, the faces' own are used.
    """
    out = model.autoencode(src.target, dst.target, with_swap=True)
    if not model.learns_mask:
        out = replace(out, src_src_mask=src.mask, dst_dst_mask=dst.mask)
    if out.swap is None or out.swap_mask is None:
        raise ValueError("The network drew no swap although it was asked for one.")
    alone = model.face_type is FaceType.HEAD and model.learns_mask
    dst_mask = torch.ones_like(out.dst_dst_mask) if alone else out.dst_dst_mask
    swap = (out.swap, out.swap_mask * dst_mask)
    drawn = {
        "src": (src.target, src.mask),
        "src-src": (out.src_src, out.src_src_mask),
        "dst": (dst.target, dst.mask),
        "dst-dst": (out.dst_dst, out.dst_dst_mask),
        "swap": swap,
        _WHOLE: swap,
    }
    for column in wanted - drawn.keys():
        between = model.swap(dst.target, MORPHS[column])
        drawn[column] = (between.face, between.mask * dst_mask)
    return drawn


def _grid(page: PreviewPage, drawn: Mapping[str, Picture], side: int) -> UInt8:
    pictures = [drawn[column] for column in page.columns]
    columns = [_tall(face * mask if page.masked else face, side) for face, mask in pictures]
    picture = np.concatenate(columns, axis=1)
    strip = np.full((_STRIP_PX, picture.shape[1], 3), 24, np.uint8)
    for i, label in enumerate(page.columns):
        place = (i * side + 4, _STRIP_PX - 6)
        cv2.putText(strip, label, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, (230, 230, 230), 1, cv2.LINE_AA)
    return np.concatenate([strip, picture], axis=0)


def _tall(faces: Tensor, side: int) -> UInt8:
    """(B, C, H, W) float 0..1 -> (B * side, side, 3) uint8 BGR, shrunk by areas; gray is repeated."""
    count, _, height, width = faces.shape
    three = faces.float().clamp(0, 1).expand(-1, 3, -1, -1).permute(0, 2, 3, 1)
    column = (three.reshape(-1, width, 3) * 255 + 0.5).to(torch.uint8).cpu().numpy()
    return column if height == side else cv2.resize(column, (side, count * side), interpolation=cv2.INTER_AREA)
