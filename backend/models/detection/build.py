"""Names of detectors and landmarkers -> objects. A new one is one file and one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from backend.models.detection.base import Detector, Landmarker

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


def build_landmarker(name: str, files: Files, device: str = "cpu", points_files: Files = ()) -> Landmarker:
    """Landmarker of a name. Its methods may be called from several threads.

    Args:
        name: a key of LANDMARKERS.
        files: its weight files, in the order of the catalogue.
        device: torch device; landmarkers that run in OpenCV stay on the CPU.
        points_files: weight files of mtcnn, with which points5 finds points that a detector did not give.

    Raises:
        KeyError: an unknown name.
        DamagedFileError: a weight file cannot be used.
    """
    return LANDMARKERS[name](points_files if name == "points5" else files, device)


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


def _fan2d(files: Files, device: str) -> Landmarker:
    from backend.models.detection.fan import Fan

    return Fan("fan2d", files[0], device)


def _fan3d(files: Files, device: str) -> Landmarker:
    from backend.models.detection.fan import Fan

    return Fan("fan3d", files[0], device)


def _facemesh(files: Files, device: str) -> Landmarker:
    from backend.models.detection.facemesh import FaceMesh

    return FaceMesh(files[0])


def _points5(files: Files, device: str) -> Landmarker:
    from backend.models.detection.points5 import Points5

    if not files:
        return Points5()
    from backend.models.detection.mtcnn import Mtcnn

    return Points5(Mtcnn(files, device).points)


DETECTORS: Mapping[str, Callable[[Files, DetectorOptions], Detector]] = MappingProxyType(
    {"mtcnn": _mtcnn, "s3fd": _s3fd, "blazeface": _blazeface, "yunet": _yunet}
)
LANDMARKERS: Mapping[str, Callable[[Files, str], Landmarker]] = MappingProxyType(
    {"fan2d": _fan2d, "fan3d": _fan3d, "facemesh": _facemesh, "points5": _points5}
)
