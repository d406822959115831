"""The evaluate stage: how good a trained model is, as a table and a grid of pictures."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

from backend.core.settings import EvaluateSettings, SaehdSettings, TrainSettings
from backend.pipeline.context import StageContext
from backend.pipeline.evaluate_swap import (
    BLIND,
    PointFinder,
    SwapFigures,
    build_finder,
    consecutive,
    find_pairs,
    in_frames,
    pictures_of,
    swap_figures,
)
from backend.pipeline.predictor import Predictor, load_model
from backend.pipeline.train_data import load_data
from backend.storage.evaluation import PICTURE, write_evaluation
from backend.storage.image import encode_image, write_image
from backend.storage.model_folder import ModelFolder, ModelInfo
from backend.training.augment import plain
from backend.training.dataset import FaceCache
from backend.training.evaluate import Entries, RebuildScore, Side, evenly, rebuild_scores
from backend.training.loader import take

COLUMNS = ("src", "src-src", "dst", "dst-dst", "swap")

SEEN = "The model has seen these faces: none were held out of its training."
MAY_HAVE_SEEN = "The model may have seen these faces: earlier runs of its training held out others, or none."

_TILE_PX = 256
_STRIP_PX = 20
_JPEG = 92

Image = npt.NDArray[np.uint8]
Row = dict[str, Any]


@dataclass(frozen=True)
class _Faces:
    """Both sides, the entries that are evaluated, whether the model was trained on them, and a note about that."""

    src: Side
    dst: Side
    seen: bool
    note: str = ""


def run(settings: EvaluateSettings, ctx: StageContext) -> dict[str, Any]:
    """Evaluate a model on the faces it was not trained on, or on all where none were held out.

    Returns:
        model, iteration, rows (name, src, dst, swap, unit, better; None where a figure has no meaning or could not be
        taken), faces_src, faces_dst, held_out, note, detector, landmarker, picture (in the job's folder), took_s. The
        same figures and the picture lie in the model's folder.

    Raises:
        BadInputError: there is no such model, or too few faces.
        DamagedFileError: none of its checkpoints is whole.
        DeviceError: the device is not there.
        StopRequested: the user asked to stop; the last evaluation is kept.
    """
    started = time.monotonic()
    predictor = load_model(ctx.project, settings.model, settings.device)
    for bad in predictor.skipped:
        ctx.log(f"Checkpoint {bad.name} was passed over: {bad.reason}", "warning")
    folder = ModelFolder(ctx.project.model_dir(settings.model))
    faces = _load(predictor, folder, settings, ctx)
    scores = _rebuild(predictor, faces, ctx)
    finder = build_finder(settings.device, ctx)
    swaps = _swaps(predictor, faces, finder, settings, ctx)
    picture = _picture(predictor, faces, scores, settings.rows)
    figures = {
        "model": settings.model,
        "iteration": predictor.iteration,
        "rows": _rows(scores, swaps, predictor.model.learns_mask),
        "faces_src": len(faces.src[1]),
        "faces_dst": len(faces.dst[1]),
        "held_out": not faces.seen,
        "note": faces.note,
        "detector": finder.names[0],
        "landmarker": finder.names[1],
        "picture": f"previews/{PICTURE}",
        "took_s": round(time.monotonic() - started, 2),
    }
    _keep(figures, picture, folder, ctx)
    return figures


def _load(predictor: Predictor, folder: ModelFolder, settings: EvaluateSettings, ctx: StageContext) -> _Faces:
    info = folder.info()
    stored = info.train_settings() if info is not None else SaehdSettings()
    data = load_data(predictor.model, _on_real_faces(stored), folder, ctx)
    held = [side.split(data.holdout_every)[1] for side in (data.src, data.dst)]
    seen = not (len(held[0]) and len(held[1]))
    note = SEEN if seen else _doubt(info, data.holdout_every)
    if note:
        ctx.log(note, "warning")
    if seen:
        held = [data.src.usable, data.dst.usable]
    src, dst = (evenly(entries, settings.faces) for entries in held)
    return _Faces((data.src, src), (data.dst, dst), seen, note)


def _doubt(info: ModelInfo | None, holdout_every: int) -> str:
    """What to say when an earlier run of the training held out others than the newest one."""
    runs = {session.holdout_every for session in info.sessions} if info is not None else set()
    return MAY_HAVE_SEEN if runs - {None, holdout_every} else ""


def _on_real_faces(stored: TrainSettings) -> TrainSettings:
    """The settings that name the project's own faces, whatever the model was trained on last."""
    changes: dict[str, Any] = {"synthetic": False}
    if isinstance(stored, SaehdSettings):
        changes["pretrain"] = False
    return stored.model_copy(update=changes)


def _rebuild(predictor: Predictor, faces: _Faces, ctx: StageContext) -> tuple[list[RebuildScore], list[RebuildScore]]:
    total = len(faces.src[1]) + len(faces.dst[1])

    def progress(done: int) -> None:
        """Say how far it is, and leave when asked to."""
        ctx.check_stop()
        ctx.progress(done, total, "faces", message="Rebuilding faces")

    return rebuild_scores(predictor.model, faces.src, faces.dst, predictor.device, progress)


def _swaps(
    predictor: Predictor, faces: _Faces, finder: PointFinder, settings: EvaluateSettings, ctx: StageContext
) -> SwapFigures:
    cache, entries = faces.dst
    blind = finder.names[1] in BLIND
    if blind:
        ctx.log(f"The landmarker {finder.names[1]} sees no expressions: their error is left out.", "warning")
    known = {record.path.name: record.face for record in ctx.project.side("dst").faceset().records()}
    listed = [(int(entry), known[cache.names[entry]]) for entry in cache.usable if cache.names[entry] in known]
    row = consecutive(listed, settings.jitter_frames)
    wanted = np.concatenate([entries, np.array([entry for entry, _ in row], np.int64)])

    def progress(done: int) -> None:
        """Say how far it is, and leave when asked to."""
        ctx.check_stop()
        ctx.progress(done, len(wanted), "faces", message="Looking at swaps")

    pairs = find_pairs(predictor.model, (cache, wanted), predictor.device, finder, progress)
    alone, in_a_row = pairs[: len(entries)], pairs[len(entries) :]
    size, face_type = predictor.resolution, predictor.face_type
    return swap_figures(alone, in_frames(in_a_row, [face for _, face in row], size, face_type), size, blind)


def _rows(scores: tuple[list[RebuildScore], list[RebuildScore]], swaps: SwapFigures, learns_mask: bool) -> list[Row]:
    """The table, in the order it is shown; a mask counts only where the network learns one."""
    src, dst = scores
    both: list[Row] = [
        _row(name, unit, better, src=_mean(src, field), dst=_mean(dst, field))
        for name, field, unit, better in (
            ("SSIM, cut by the mask", "ssim", "", "higher"),
            ("SSIM inside the mask", "ssim_inside", "", "higher"),
            ("PSNR inside the mask", "psnr_db", "dB", "higher"),
            ("mask overlap (IoU)", "mask_iou", "", "higher"),
            ("sharpness kept", "sharpness", "", "nearer 1"),
        )
        if learns_mask or field != "mask_iou"
    ]
    before, after = swaps.jitter_dst, swaps.jitter_swap
    ratio = None if before is None or after is None else after / max(before, 1e-6)
    return [
        *both,
        _row("pose error", "°", "lower", swap=swaps.pose_deg),
        _row("expression error", "of the eyes' distance", "lower", swap=swaps.expression),
        _row("swaps without a face", "%", "lower", swap=None if swaps.missed is None else 100 * swaps.missed),
        _row("jitter", "of the eyes' distance", "lower", dst=before, swap=after),
        _row("jitter against dst", "times", "nearer 1", swap=ratio),
    ]


def _row(name: str, unit: str, better: str, **figures: float | None) -> Row:
    taken = {column: figures.get(column) for column in ("src", "dst", "swap")}
    rounded = {column: None if value is None else round(value, 5) for column, value in taken.items()}
    return {"name": name, **rounded, "unit": unit, "better": better}


def _mean(scores: Sequence[RebuildScore], field: str) -> float | None:
    values = [value for score in scores if (value := getattr(score, field)) is not None]
    return float(np.mean(values)) if values else None


def _picture(
    predictor: Predictor, faces: _Faces, scores: tuple[list[RebuildScore], list[RebuildScore]], rows: int
) -> Image:
    """Faces of both sides from best to worst, with what the network makes of them."""
    count = min(rows, len(faces.src[1]), len(faces.dst[1]))
    picked = [
        _best_to_worst(side, of_side, count) for side, of_side in zip((faces.src, faces.dst), scores, strict=True)
    ]
    tiles: list[list[Image]] = []
    for (src_entry, src_ssim), (dst_entry, dst_ssim) in zip(*picked, strict=True):
        src, dst = (
            plain(take(cache, np.array([entry])), predictor.device).target
            for cache, entry in ((faces.src[0], src_entry), (faces.dst[0], dst_entry))
        )
        with torch.inference_mode():
            out = predictor.model.autoencode(src, dst)
            swap = predictor.model.swap(dst).face
        drawn = [_tile(images) for images in (src, out.src_src, dst, out.dst_dst, swap)]
        for column, ssim in ((1, src_ssim), (3, dst_ssim)):
            _write(drawn[column], f"{ssim:.3f}", (4, len(drawn[column]) - 6))
        tiles.append(drawn)
    strip = np.full((_STRIP_PX, sum(tile.shape[1] for tile in tiles[0]), 3), 24, np.uint8)
    for index, label in enumerate(COLUMNS):
        _write(strip, label, (index * tiles[0][0].shape[1] + 4, _STRIP_PX - 6))
    return np.concatenate([strip, *(np.concatenate(row, axis=1) for row in tiles)])


def _best_to_worst(
    side: tuple[FaceCache, Entries], scores: Sequence[RebuildScore], count: int
) -> list[tuple[int, float]]:
    """(entry, SSIM inside the mask) of so many faces, evenly spread over the order of their SSIM."""
    order = np.argsort([-score.ssim_inside for score in scores], kind="stable")
    return [(int(side[1][at]), scores[at].ssim_inside) for at in evenly(order.astype(np.int64), count)]


def _tile(images: torch.Tensor) -> Image:
    image = pictures_of(images)[0]
    if len(image) <= _TILE_PX:
        return image
    return np.asarray(cv2.resize(image, (_TILE_PX, _TILE_PX), interpolation=cv2.INTER_AREA), np.uint8)


def _write(image: Image, text: str, place: tuple[int, int]) -> None:
    cv2.putText(image, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, (230, 230, 230), 1, cv2.LINE_AA)


def _keep(figures: dict[str, Any], picture: Image, folder: ModelFolder, ctx: StageContext) -> None:
    """Show the picture, and keep both for whoever opens the model later."""
    write_evaluation(folder.path, figures, encode_image(picture, ".jpg", _JPEG))
    shown = ctx.job_dir / str(figures["picture"])
    shown.parent.mkdir(parents=True, exist_ok=True)
    write_image(shown, picture, quality=_JPEG)
    ctx.emit("preview", {"name": "evaluation", "path": str(figures["picture"]), "iteration": int(figures["iteration"])})
