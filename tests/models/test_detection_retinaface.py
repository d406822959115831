"""RetinaFace of the package face-alignment, whose torchvision a small stand-in replaces here."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from backend.core.errors import BadInputError, DamagedFileError
from backend.models.detection.build import DetectorOptions, build_detector
from tests.models.detection_tools import portrait, random_weights

PACKAGE = "face_alignment.detection.retinaface"


class LayerGetter(torch.nn.ModuleDict):
    """What the package takes from torchvision: outputs of named children, one after the other."""

    def __init__(self, model: torch.nn.Module, return_layers: dict[str, int]) -> None:
        super().__init__({name: child for name, child in model.named_children() if name in return_layers})
        self.names = {name: str(label) for name, label in return_layers.items()}

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        found = {}
        for name, child in self.items():
            x = child(x)
            found[self.names[name]] = x
        return found


def forget_package() -> None:
    for name in [name for name in sys.modules if name.startswith(PACKAGE)]:
        del sys.modules[name]


@pytest.fixture
def torchvision(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    vision, models, inner = (types.ModuleType(f"torchvision{end}") for end in ("", ".models", ".models._utils"))
    vision.models, models._utils, inner.IntermediateLayerGetter = models, inner, LayerGetter
    for module in (vision, models, inner):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    forget_package()
    yield
    forget_package()


@pytest.fixture
def weights(torchvision: None, tmp_path: Path) -> Path:
    from face_alignment.detection.retinaface.net_retinaface import RetinaFace

    random_weights(RetinaFace(), tmp_path / "retinaface.pth")
    return tmp_path / "retinaface.pth"


def test_it_finds_what_the_package_finds_on_the_reduced_frame(weights: Path) -> None:
    from face_alignment.detection.retinaface import FaceDetector

    detector = build_detector("retinaface", (weights,), DetectorOptions(min_face_px=40, score=0.0))
    small = cv2.resize(portrait(), (256, 256), interpolation=cv2.INTER_AREA)
    rows = FaceDetector("cpu", path_to_detector=str(weights), confidence_threshold=0.0).detect_from_image(small)
    expected = [[*(2 * np.array(row[:4])), row[4]] for row in rows]
    expected = [row for row in expected if min(row[2] - row[0], row[3] - row[1]) >= 40]
    found = detector.detect(portrait())
    assert len(found) == len(expected) > 1
    mine = sorted([*face.box_xyxy.tolist(), face.score] for face in found)
    np.testing.assert_allclose(mine, sorted(expected), rtol=1e-4)
    areas = [float((face.box_xyxy[2:] - face.box_xyxy[:2]).prod()) for face in found]
    np.testing.assert_allclose(areas, sorted(areas, reverse=True), rtol=1e-5)
    assert {face.points5 for face in found} == {None}


def test_nothing_sure_enough_is_no_face(weights: Path) -> None:
    assert build_detector("retinaface", (weights,), DetectorOptions(score=1.0)).detect(portrait()) == []


def test_a_file_that_is_no_network_is_refused(torchvision: None, tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"no network at all")
    with pytest.raises(DamagedFileError, match="cannot be used"):
        build_detector("retinaface", (tmp_path / "weights",))


@pytest.mark.parametrize("error", [ImportError("no module"), RuntimeError("operator torchvision::nms does not exist")])
def test_a_torchvision_that_does_not_work_is_named(error, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] == "torchvision":
                raise error

    forget_package()
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(BadInputError, match="torchvision"):
        build_detector("retinaface", (tmp_path / "weights",))
    forget_package()
