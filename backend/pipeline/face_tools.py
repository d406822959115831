"""What finds faces: the detector and the landmarker that the settings name, or the best that are present."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from backend.core.settings import ExtractFacesSettings
from backend.devices import torch_device
from backend.models.detection.base import Detector, Landmarker
from backend.models.detection.build import DetectorOptions, LandmarkerOptions, build_detector, build_landmarker
from backend.storage.weights import AUTO_ORDER, obtain, pick_auto

_WITH_POINTS = ("mtcnn", "yunet")


@dataclass(frozen=True)
class Tools:
    """What an extraction works with.

    Attributes:
        reasons: a sentence for each choice that "auto" made.
    """

    detector: Detector
    landmarker: Landmarker
    reasons: tuple[str, ...] = ()


def choose_tools(settings: ExtractFacesSettings, weights_dir: Path) -> Tools:
    """Detector and landmarker of the settings, with "auto" resolved to the best that is present.

    Args:
        settings: names, device and how to search.
        weights_dir: folder of downloaded weights.

    Raises:
        WeightsMissingError: a named one is not present and cannot be downloaded.
        DamagedFileError: a weight file cannot be used.
        DeviceError: the device is not there.
    """
    reasons: list[str] = []
    detector_name, landmarker_name = settings.detector, settings.landmarker
    if detector_name == "auto":
        detector_name, reason = pick_auto("detector", weights_dir)
        reasons.append(reason)
    if landmarker_name == "auto":
        head = ("fan3d",) if settings.face_type == "head" else ()
        landmarker_name, reason = pick_auto("landmarker", weights_dir, head + AUTO_ORDER["landmarker"])
        reasons.append(reason)
    device = str(torch_device(settings.device))
    options = DetectorOptions(settings.min_face_px, settings.score, device, landmarker_name == "points5")
    needs_points = landmarker_name == "points5" and detector_name not in _WITH_POINTS
    detector = build_detector(detector_name, obtain(detector_name, weights_dir), options)
    points_files = obtain("mtcnn", weights_dir) if needs_points else ()
    files = obtain(landmarker_name, weights_dir)
    placing = LandmarkerOptions(device, settings.second_pass, settings.subpixel)
    landmarker = build_landmarker(landmarker_name, files, placing, points_files, detector)
    return Tools(detector, landmarker, tuple(reasons))
