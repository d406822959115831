"""What finds faces: the detector and the landmarker that the settings name, or the best that are present."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from backend.core.settings import ExtractFacesSettings
from backend.devices import torch_device
from backend.environment import weights_folder
from backend.models.detection.base import Detector, Landmarker
from backend.models.detection.build import (
    WITH_HEATMAPS,
    DetectorOptions,
    LandmarkerOptions,
    build_detector,
    build_landmarker,
)
from backend.pipeline.context import StageContext
from backend.storage.weights import AUTO_ORDER, default_folder, obtain, pick_auto

_WITH_POINTS = ("mtcnn", "yunet")
_SECOND_LOOK_PX = 40
"""The second pass looks at a face of about 128 px: a larger smallest face would not be seen there."""


@dataclass(frozen=True)
class Tools:
    """What an extraction works with.

    Attributes:
        reasons: a sentence for each choice that "auto" made, and for each setting that has no effect.
    """

    detector: Detector
    landmarker: Landmarker
    reasons: tuple[str, ...] = ()


def choose_tools(settings: ExtractFacesSettings, ctx: StageContext) -> Tools:
    """Detector and landmarker of the settings, with "auto" resolved to the best that is present.

    What "auto" chose, and which settings mean nothing to the chosen landmarker, goes to the log of the job.

    Args:
        settings: names, device and how to search.
        ctx: the job; its project says where downloaded weights are when no folder is named.

    Raises:
        WeightsMissingError: a named one is not present and cannot be downloaded.
        DamagedFileError: a weight file cannot be used.
        DeviceError: the device is not there.
    """
    ctx.progress(0, 0, "frames", message="loading the networks")
    weights_dir = weights_folder() or default_folder(ctx.project.path.parent)
    detector_name, landmarker_name, reasons = _resolved(settings, weights_dir)
    device = str(torch_device(settings.device))
    options = DetectorOptions(settings.min_face_px, settings.score, device, landmarker_name == "points5")
    files = obtain(detector_name, weights_dir)
    detector = second = build_detector(detector_name, files, options)
    twice = settings.second_pass and landmarker_name in WITH_HEATMAPS
    if twice and settings.min_face_px > _SECOND_LOOK_PX:
        second = build_detector(detector_name, files, replace(options, min_face_px=_SECOND_LOOK_PX))
    needs_points = landmarker_name == "points5" and detector_name not in _WITH_POINTS
    points_files = obtain("mtcnn", weights_dir) if needs_points else ()
    placing = LandmarkerOptions(device, twice, settings.subpixel)
    landmarker_files = obtain(landmarker_name, weights_dir)
    landmarker = build_landmarker(landmarker_name, landmarker_files, placing, points_files, second)
    for reason in reasons:
        ctx.log(reason)
    return Tools(detector, landmarker, reasons)


def _resolved(settings: ExtractFacesSettings, weights_dir: Path) -> tuple[str, str, tuple[str, ...]]:
    """Names of detector and landmarker, and a sentence for each choice and for each setting without effect."""
    reasons: list[str] = []
    detector, landmarker = settings.detector, settings.landmarker
    if detector == "auto":
        detector, reason = pick_auto("detector", weights_dir)
        reasons.append(reason)
    if landmarker == "auto":
        head = ("fan3d",) if settings.face_type == "head" else ()
        landmarker, reason = pick_auto("landmarker", weights_dir, head + AUTO_ORDER["landmarker"])
        reasons.append(reason)
    if landmarker not in WITH_HEATMAPS:
        if settings.second_pass:
            reasons.append(f"The second pass is for FAN; {landmarker} places its points without it.")
        if not settings.subpixel:
            reasons.append(f"The sub-pixel setting is for FAN; it changes nothing about {landmarker}.")
    return detector, landmarker, tuple(reasons)
