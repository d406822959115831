"""Preview images: the same few faces, again and again, so that a person sees the network learn."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from backend.models.base import FaceSwapModel
from backend.storage.atomic import write_bytes
from backend.storage.image import write_image
from backend.storage.model_folder import ModelFolder
from backend.training.augment import plain
from backend.training.batch import FaceBatch
from backend.training.callbacks.base import Callback, Emit
from backend.training.loader import RawSide
from backend.training.loop import Training

COLUMNS = ("src", "src-src", "dst", "dst-dst", "swap")
PAGES = ("faces", "masked")
ROWS = 4
KEPT = 200
"""Preview images kept per page and folder; beyond, every second one of the older ones goes."""

_STRIP_PX = 20
_TALLEST_PX = 800


class PreviewCallback(Callback):
    """Draws the preview at the start, every ``preview_interval`` iterations, and at the end.

    Args:
        src, dst: the fixed faces, the same number of each.
        job_dir: images go to ``job_dir / "previews"``.
        folder: the model's folder, which keeps the newest image and a thinned-out series.
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
        pages = preview_pages(training.step.model, plain(self._src, device), plain(self._dst, device))
        for page, image in zip(PAGES, pages, strict=True):
            name = f"{training.iteration:07d}_{page}.jpg"
            written = self._job_dir / "previews" / name
            written.parent.mkdir(parents=True, exist_ok=True)
            write_image(written, image, quality=92)
            self._keep(name, page, written.read_bytes())
            thin_out(written.parent, f"*_{page}.jpg", KEPT)
            data = {"name": page, "path": f"previews/{name}", "iteration": training.iteration}
            self._emit("preview", data)

    def _keep(self, name: str, page: str, image: bytes) -> None:
        write_bytes(
            self._folder.path / ("preview.jpg" if page == "faces" else "preview_masked.jpg"), image, durable=False
        )
        self._folder.history_dir.mkdir(parents=True, exist_ok=True)
        write_bytes(self._folder.history_dir / name, image, durable=False)
        thin_out(self._folder.history_dir, f"*_{page}.jpg", KEPT)


@torch.inference_mode()
def preview_pages(
    model: FaceSwapModel, src: FaceBatch, dst: FaceBatch
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Draw both pages.

    Args:
        model: its mode is left as it was.
        src, dst: undistorted faces, the same number of each.

    Returns:
        "faces": src, src-src, dst, dst-dst, swap; "masked": the same, each cut by its own mask, the swap by the
        product of the swap's and the destination's. One row per face, labels on top; (h, w, 3) uint8 BGR.
    """
    was_training = model.training
    model.eval()
    out = model.autoencode(src.target, dst.target, with_swap=True)
    model.train(was_training)
    if out.swap is None or out.swap_mask is None:
        raise ValueError("The network drew no swap although it was asked for one.")
    faces = (src.target, out.src_src, dst.target, out.dst_dst, out.swap)
    masks = (src.mask, out.src_src_mask, dst.mask, out.dst_dst_mask, out.dst_dst_mask * out.swap_mask)
    masked = [face * mask for face, mask in zip(faces, masks, strict=True)]
    return _grid(faces), _grid(masked)


def thin_out(folder: Path, pattern: str, limit: int) -> None:
    """Once more than ``limit`` files match, remove every second of them; the newest stays. Names sort by age."""
    files = sorted(folder.glob(pattern))
    if len(files) > limit:
        for path in files[-2::-2]:
            path.unlink(missing_ok=True)


def _grid(columns: tuple[Tensor, ...] | list[Tensor]) -> npt.NDArray[np.uint8]:
    count, _, side, _ = columns[0].shape
    rows = max(1, min(count, ROWS, _TALLEST_PX // side))
    picture = np.concatenate([_tall(column[:rows]) for column in columns], axis=1)
    strip = np.full((_STRIP_PX, picture.shape[1], 3), 24, np.uint8)
    for i, label in enumerate(COLUMNS):
        place = (i * side + 4, _STRIP_PX - 6)
        cv2.putText(strip, label, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, (230, 230, 230), 1, cv2.LINE_AA)
    return np.concatenate([strip, picture], axis=0)


def _tall(faces: Tensor) -> npt.NDArray[np.uint8]:
    """(B, C, H, W) float 0..1 -> (B * H, W, 3) uint8 BGR; gray is repeated."""
    three = faces.float().clamp(0, 1).expand(-1, 3, -1, -1).permute(0, 2, 3, 1)
    return (three.reshape(-1, three.shape[2], 3) * 255 + 0.5).to(torch.uint8).cpu().numpy()
