from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backend.core.errors import WeightsMissingError
from backend.core.settings import ExtractFacesSettings
from backend.models.detection.build import DetectorOptions, LandmarkerOptions
from backend.pipeline import face_tools
from backend.pipeline.context import StageContext
from backend.pipeline.face_tools import choose_tools
from backend.storage.workspace import Workspace


class Built:
    """A detector or landmarker that remembers what it was built from."""

    def __init__(self, name: str, options: Any, detector: Any = None) -> None:
        self.name, self.options, self.detector = name, options, detector


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Nothing is loaded; returns what goes to the log."""

    def detector(name: str, files: Any, options: DetectorOptions) -> Built:
        return Built(name, options)

    def landmarker(name: str, files: Any, options: LandmarkerOptions, points: Any, detector: Built) -> Built:
        return Built(name, options, detector)

    monkeypatch.setattr(face_tools, "build_detector", detector)
    monkeypatch.setattr(face_tools, "build_landmarker", landmarker)
    monkeypatch.setattr(face_tools, "obtain", lambda name, folder: ())
    return []


def chosen(tmp_path: Path, said: list[str], **fields: Any) -> Any:
    project = Workspace(tmp_path / "workspace").create("film", "A test.")

    def emit(kind: str, data: dict[str, Any]) -> None:
        if kind == "log":
            said.append(data["message"])

    settings = ExtractFacesSettings(device="cpu", **fields)
    return choose_tools(settings, StageContext(project=project, job_dir=project.path, emit=emit))


@pytest.mark.parametrize(("smallest", "second"), [(40, 40), (200, 40), (20, 20)])
def test_the_second_pass_sees_the_cut_face_whatever_the_smallest_face_is(
    tmp_path: Path, said: list[str], smallest: int, second: int
) -> None:
    tools = chosen(
        tmp_path, said, detector="s3fd", landmarker="fan2d", second_pass=True, min_face_px=smallest, score=0.3
    )
    assert tools.detector.options.min_face_px == smallest
    assert tools.landmarker.detector.options.min_face_px == second
    assert tools.landmarker.detector.options.score == 0.3
    assert tools.landmarker.options.second_pass
    assert said == []


def test_settings_without_effect_are_named(tmp_path: Path, said: list[str]) -> None:
    tools = chosen(tmp_path, said, detector="mtcnn", landmarker="facemesh", second_pass=True, subpixel=False)
    assert not tools.landmarker.options.second_pass
    assert [("FAN" in sentence, "facemesh" in sentence) for sentence in said] == [(True, True)] * 2
    assert list(tools.reasons) == said


def test_auto_says_what_it_took(tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOKALIKE_WEIGHTS", str(tmp_path))
    tools = chosen(tmp_path, said, face_type="head")
    assert (tools.detector.name, tools.landmarker.name) == ("mtcnn", "points5")
    assert "Better: fan3d" in said[1]
    assert tools.detector.options.steady_points


def test_missing_weights_name_address_file_and_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: Any, **more: Any) -> None:
        raise OSError("offline")

    monkeypatch.setenv("LOOKALIKE_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setattr("urllib.request.urlopen", offline)
    with pytest.raises(WeightsMissingError) as error:
        chosen(tmp_path, [], detector="s3fd")
    for part in ("https://", "s3fd-619a316812.pth", str(tmp_path / "weights")):
        assert part in str(error.value)
