"""Names of detectors, landmarkers and recognisers -> objects. A new one is one file and one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from backend.models.detection.base import Detector, Landmarker, Recogniser
from backend.models.detection.second_pass import SecondPass

Files = Sequence[Path]


@dataclass(frozen=True)
class DetectorOptions:
    """How a detector searches.

    Attributes:
        min_face_px: smallest face side to find, in frame pixels.
        score: lowest face probability.
        device: torch device; detectors that run in OpenCV stay on the CPU.
        steady_points: spend time on points that jitter less; wanted when landmarks are made from them.
    """

    min_face_px: int = 40
    score: float = 0.7
    device: str = "cpu"
    steady_points: bool = True


@dataclass(frozen=True)
class LandmarkerOptions:
    """How a landmarker places its points.

    Attributes:
        device: torch device; landmarkers that run in OpenCV stay on the CPU.
        second_pass: look again at the aligned face; for WITH_HEATMAPS, nothing to the others.
        subpixel: read heat maps between their pixels; for WITH_HEATMAPS, nothing to the others.
    """

    device: str = "cpu"
    second_pass: bool = False
    subpixel: bool = True


def build_detector(name: str, files: Files, options: DetectorOptions | None = None) -> Detector:
    """Detector of a name. Its methods may be called from several threads.

    Args:
        name: a key of DETECTORS.
        files: its weight files, in the order of the catalogue.
        options: how it searches.

    Raises:
        KeyError: an unknown name.
        DamagedFileError: a weight file cannot be used.
    """
    return DETECTORS[name](files, options or DetectorOptions())


def build_landmarker(
    name: str,
    files: Files,
    options: LandmarkerOptions | None = None,
    points_files: Files = (),
    detector: Detector | None = None,
) -> Landmarker:
    """Landmarker of a name. Its methods may be called from several threads.

    Args:
        name: a key of LANDMARKERS.
        files: its weight files, in the order of the catalogue.
        options: how it places the points.
        points_files: weight files of mtcnn, with which points5 finds points that a detector did not give.
        detector: what the second pass finds the face with on a 256 px crop; see SecondPass.

    Raises:
        KeyError: an unknown name.
        ValueError: the options want a second pass and there is no detector for it.
        DamagedFileError: a weight file cannot be used.
    """
    options = options or LandmarkerOptions()
    landmarker = LANDMARKERS[name](points_files if name == "points5" else files, options)
    if not (options.second_pass and name in WITH_HEATMAPS):
        return landmarker
    if detector is None:
        raise ValueError("a second pass needs a detector")
    return SecondPass(landmarker, detector)


def build_recogniser(name: str, files: Files) -> Recogniser:
    """Recogniser of a name. Its methods may be called from several threads.

    Args:
        name: a key of RECOGNISERS.
        files: its weight files, in the order of the catalogue.

    Raises:
        KeyError: an unknown name.
        DamagedFileError: a weight file cannot be used.
    """
    return RECOGNISERS[name](files)


def _mtcnn(files: Files, options: DetectorOptions) -> Detector:
    from backend.models.detection.mtcnn import Mtcnn, MtcnnOptions

    search = MtcnnOptions(options.min_face_px, options.score, steady_points=options.steady_points)
    return Mtcnn(files, options.device, search)


def _s3fd(files: Files, options: DetectorOptions) -> Detector:
    from backend.models.detection.s3fd import S3fd

    return S3fd(files[0], options.device, options.min_face_px, options.score)


def _blazeface(files: Files, options: DetectorOptions) -> Detector:
    from backend.models.detection.blazeface import BlazeFace

    return BlazeFace(files[0], files[1], options.device, options.min_face_px, options.score)


def _yunet(files: Files, options: DetectorOptions) -> Detector:
    from backend.models.detection.yunet import YuNet

    return YuNet(files[0], options.min_face_px, options.score)


def _retinaface(files: Files, options: DetectorOptions) -> Detector:
    from backend.models.detection.retinaface import RetinaFace

    return RetinaFace(files[0], options.device, options.min_face_px, options.score)


def _fan2d(files: Files, options: LandmarkerOptions) -> Landmarker:
    from backend.models.detection.fan import Fan

    return Fan("fan2d", files[0], options.device, subpixel=options.subpixel)


def _fan3d(files: Files, options: LandmarkerOptions) -> Landmarker:
    from backend.models.detection.fan import Fan

    return Fan("fan3d", files[0], options.device, subpixel=options.subpixel)


def _facemesh(files: Files, options: LandmarkerOptions) -> Landmarker:
    from backend.models.detection.facemesh import FaceMesh

    return FaceMesh(files[0])


def _points5(files: Files, options: LandmarkerOptions) -> Landmarker:
    from backend.models.detection.points5 import Points5

    if not files:
        return Points5()
    from backend.models.detection.mtcnn import Mtcnn

    return Points5(Mtcnn(files, options.device).points)


def _sface(files: Files) -> Recogniser:
    from backend.models.detection.recognition import SFace

    return SFace(files[0])


DETECTORS: Mapping[str, Callable[[Files, DetectorOptions], Detector]] = MappingProxyType(
    {"mtcnn": _mtcnn, "s3fd": _s3fd, "blazeface": _blazeface, "yunet": _yunet, "retinaface": _retinaface}
)
LANDMARKERS: Mapping[str, Callable[[Files, LandmarkerOptions], Landmarker]] = MappingProxyType(
    {"fan2d": _fan2d, "fan3d": _fan3d, "facemesh": _facemesh, "points5": _points5}
)
RECOGNISERS: Mapping[str, Callable[[Files], Recogniser]] = MappingProxyType({"sface": _sface})
WITH_HEATMAPS = ("fan2d", "fan3d")
"""Landmarkers that a second pass and the reading between pixels are for. FaceMesh looks twice anyway."""
