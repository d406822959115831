"""Weights of the networks around faces: what exists, what is present, how to get the rest. Imports no torch."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from backend.core.errors import BadInputError, DamagedFileError
from backend.core.network_files import ENHANCERS, SEGMENTATION, first_network
from backend.storage.download import WeightFile, download, file_sha256

Kind = Literal["detector", "landmarker", "recogniser"]


@dataclass(frozen=True)
class Entry:
    """A detector, landmarker or recogniser.

    Attributes:
        note: what it is and how good, one sentence.
        files: what it needs in the weights folder.
        package_files: what it needs inside an installed package, as paths below the package's folder.
        packages: import names of packages it needs.
    """

    kind: Kind
    note: str
    files: tuple[WeightFile, ...] = ()
    package_files: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()


@dataclass(frozen=True)
class Choice:
    """One line of the page's table.

    Attributes:
        present: whether it can run now, without a download.
        how_to_get: empty when present; else address, file name and folder.
    """

    name: str
    kind: Kind
    present: bool
    note: str
    how_to_get: str


_FAN_SITE = "https://www.adrianbulat.com/downloads/python-fan/"
_BLAZE_SITE = "https://raw.githubusercontent.com/hollance/BlazeFace-PyTorch/master/"
_MESH_SITE = "https://raw.githubusercontent.com/iperov/DeepFaceLive/master/modelhub/onnx/FaceMesh/"
_ZOO_SITE = "https://github.com/opencv/opencv_zoo/raw/main/models/"

CATALOG: Mapping[str, Entry] = MappingProxyType(
    {
        "s3fd": Entry(
            "detector",
            "S3FD finds small, turned and partly hidden faces best; slow on a CPU.",
            files=(WeightFile("s3fd-619a316812.pth", _FAN_SITE + "s3fd-619a316812.pth"),),
            packages=("face_alignment",),
        ),
        "mtcnn": Entry(
            "detector",
            "MTCNN is quick, gives five points and needs no download; weaker on profiles.",
            package_files=tuple(f"assets/weights/{net}.lz4" for net in ("pnet", "rnet", "onet")),
            packages=("mtcnn", "joblib", "lz4"),
        ),
        "blazeface": Entry(
            "detector",
            "BlazeFace finds large faces quickly on a GPU; it gives no five points.",
            files=(
                WeightFile(
                    "blazefaceback.pth",
                    _BLAZE_SITE + "blazefaceback.pth",
                    "e2c03bb3ae45e769eaaa0a7cc7d4f61f54a5e3fbae6367d870166702e7022b11",
                ),
                WeightFile(
                    "anchorsback.npy",
                    _BLAZE_SITE + "anchorsback.npy",
                    "a10bb2fb93ab54ca426d6c750bfc3aad685028a16dcf231357d03694f261fd95",
                ),
            ),
            packages=("face_alignment",),
        ),
        "yunet": Entry(
            "detector",
            "YuNet is quick and gives five points; it runs on the CPU.",
            files=(
                WeightFile(
                    "face_detection_yunet_2023mar.onnx",
                    _ZOO_SITE + "face_detection_yunet/face_detection_yunet_2023mar.onnx",
                    "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
                ),
            ),
        ),
        "retinaface": Entry(
            "detector",
            "RetinaFace with a small network is quick on a GPU and finds small faces.",
            files=(WeightFile("retinaface_mobilenet0.25.pth", _FAN_SITE + "retinaface_mobilenet0.25.pth"),),
            packages=("face_alignment", "torchvision"),
        ),
        "fan2d": Entry(
            "landmarker",
            "FAN 2D follows the visible outline and the expression best; slow on a CPU.",
            files=(WeightFile("2DFAN4-11f355bf06.pth.tar", _FAN_SITE + "2DFAN4-11f355bf06.pth.tar"),),
            packages=("face_alignment",),
        ),
        "facemesh": Entry(
            "landmarker",
            "FaceMesh is quick, steady and follows the expression.",
            files=(
                WeightFile(
                    "FaceMesh.onnx",
                    _MESH_SITE + "FaceMesh.onnx",
                    "d543107cfab6a216501b37667ef1520950410dfe02d4c186e6b154fc91345ee1",
                ),
            ),
        ),
        "fan3d": Entry(
            "landmarker",
            "FAN 3D keeps the jaw of turned heads; meant for the face type head; slow on a CPU.",
            files=(WeightFile("3DFAN4-7835d9f11d.pth.tar", _FAN_SITE + "3DFAN4-7835d9f11d.pth.tar"),),
            packages=("face_alignment",),
        ),
        "points5": Entry(
            "landmarker",
            "A generic face posed by five points: aligns well near the front, blind to expression; needs no download.",
        ),
        "sface": Entry(
            "recogniser",
            "SFace tells people apart by their faces; it runs on the CPU.",
            files=(
                WeightFile(
                    "face_recognition_sface_2021dec.onnx",
                    _ZOO_SITE + "face_recognition_sface/face_recognition_sface_2021dec.onnx",
                    "0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79",
                ),
            ),
        ),
    }
)
"""Name -> entry, best first within each kind."""

AUTO_ORDER: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"detector": ("s3fd", "mtcnn"), "landmarker": ("fan2d", "facemesh", "points5"), "recogniser": ("sface",)}
)


def default_folder(workspace_root: Path) -> Path:
    """Where downloaded weights live unless the user names another folder."""
    return workspace_root / "weights"


def enhancer_folder(weights_dir: Path) -> Path:
    """Where the ONNX file of an enhancer belongs; see backend.models.enhance."""
    return weights_dir / ENHANCERS


def segmentation_folders(weights_dir: Path, models_dir: Path) -> tuple[Path, Path]:
    """Where the ONNX file of a mask network may lie: among the project's models, or for all projects.

    Args:
        weights_dir: folder of downloaded weights.
        models_dir: the project's folder of models.
    """
    return models_dir, weights_dir / SEGMENTATION


def installed_enhancer(weights_dir: Path) -> str:
    """File name of the enhancer that is used, "" without one. Looks at names only."""
    file = first_network([enhancer_folder(weights_dir)])
    return file.name if file else ""


def installed_segmentation(weights_dir: Path, models_dir: Path) -> str:
    """File name of the mask network that is used, "" without one. Looks at names only."""
    file = first_network(segmentation_folders(weights_dir, models_dir))
    return file.name if file else ""


def how_to_get_enhancer(weights_dir: Path) -> str:
    """Where an enhancer has to be put, two sentences for the user."""
    return (
        f"Put the ONNX file of a face restorer or upscaler (GFPGAN, GPEN, CodeFormer, RestoreFormer, or one that "
        f"enlarges four times) into the folder {enhancer_folder(weights_dir)}. Of other networks a JSON file of the "
        f'same name says what they take: {{"order": "rgb", "range": [-1, 1], "inputs": {{}}}}.'
    )


def how_to_get_segmentation(weights_dir: Path, models_dir: Path) -> str:
    """Where a mask network has to be put, a sentence for the user."""
    own, shared = segmentation_folders(weights_dir, models_dir)
    return f"Put XSeg_model.onnx, which DeepFaceLab exports, into the folder {shared}, or into {own} for this project."


def catalog(weights_dir: Path) -> tuple[Choice, ...]:
    """Every detector, landmarker and recogniser with whether it is present. Looks at file names only."""
    return tuple(_choice(name, entry, weights_dir) for name, entry in CATALOG.items())


def pick_auto(kind: Kind, weights_dir: Path, order: Sequence[str] = ()) -> tuple[str, str]:
    """What "auto" means now.

    Args:
        kind: "detector", "landmarker" or "recogniser".
        weights_dir: folder of downloaded weights.
        order: names, best first; AUTO_ORDER when empty.

    Returns:
        (name, sentence): the best one that is present, and a sentence for the user that says how to get a better one.

    Raises:
        BadInputError: none is present.
    """
    choices = {choice.name: choice for choice in catalog(weights_dir)}
    ranked = [choices[name] for name in order or AUTO_ORDER[kind]]
    taken = next((choice for choice in ranked if choice.present), None)
    if taken is None:
        raise BadInputError(f"No {kind} is present.", f"For {ranked[-1].name}: {ranked[-1].how_to_get}")
    better = ranked[: ranked.index(taken)]
    if not better:
        return taken.name, f"The {kind} is {taken.name}."
    ways = [f"Better: {choice.name}. {choice.how_to_get}" for choice in better]
    return taken.name, " ".join([f"The {kind} is {taken.name}, the best that is present.", *ways])


def obtain(name: str, weights_dir: Path) -> tuple[Path, ...]:
    """Paths of all weight files of an entry, downloaded when missing.

    Args:
        name: key of CATALOG.
        weights_dir: folder of downloaded weights; created when a download needs it.

    Raises:
        BadInputError: an unknown name, or a package it needs is not installed.
        WeightsMissingError: a file is not there and cannot be downloaded.
        DamagedFileError: a file has a wrong checksum.
    """
    if name not in CATALOG:
        raise BadInputError(
            f"There is no detector, landmarker or recogniser '{name}'.", f"There are {', '.join(CATALOG)}."
        )
    entry = CATALOG[name]
    if _missing_packages(entry):
        ways = _choice(name, entry, weights_dir).how_to_get
        raise BadInputError(f"'{name}' needs packages that are not installed.", ways)
    in_package = _package_paths(entry)
    if len(in_package) != len(entry.package_files):
        raise BadInputError(f"The package {entry.packages[0]} has no weights.", _install(entry.packages[:1]))
    return in_package + tuple(_obtain_file(name, wanted, weights_dir) for wanted in entry.files)


def _choice(name: str, entry: Entry, weights_dir: Path) -> Choice:
    packages = _missing_packages(entry)
    absent = [wanted for wanted in entry.files if not (weights_dir / wanted.file).is_file()]
    lacking = len(_package_paths(entry)) != len(entry.package_files)
    ways = [_install(packages or entry.packages[:1])] if packages or lacking else []
    ways += [f"Download {wanted.url} and save it as {wanted.file} in the folder {weights_dir}." for wanted in absent]
    return Choice(name, entry.kind, not ways, entry.note, " ".join(ways))


def _install(packages: tuple[str, ...]) -> str:
    return f"Run 'pip install {' '.join(package.replace('_', '-') for package in packages)}'."


def _missing_packages(entry: Entry) -> tuple[str, ...]:
    return tuple(package for package in entry.packages if importlib.util.find_spec(package) is None)


def _package_paths(entry: Entry) -> tuple[Path, ...]:
    """Present files inside the first package; the package itself is found, not imported."""
    if not entry.package_files:
        return ()
    spec = importlib.util.find_spec(entry.packages[0])
    folders = list(spec.submodule_search_locations or ()) if spec else []
    paths = [Path(folder) / name for folder in folders[:1] for name in entry.package_files]
    return tuple(path for path in paths if path.is_file())


def _obtain_file(name: str, wanted: WeightFile, weights_dir: Path) -> Path:
    path = weights_dir / wanted.file
    if not path.is_file():
        download(name, wanted, path)
    elif wanted.sha256 and file_sha256(path) != wanted.sha256:
        raise DamagedFileError(
            f"{path} is damaged or another file: its checksum is wrong.", f"Delete it and download {wanted.url} again."
        )
    return path
