from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from backend.core.errors import BadInputError, DamagedFileError, WeightsMissingError
from backend.storage import weights
from backend.storage.weights import AUTO_ORDER, CATALOG, catalog, obtain, pick_auto


class Answer(io.BytesIO):
    def __init__(self, data: bytes, announced: int | None = None) -> None:
        super().__init__(data)
        self.headers = {"Content-Length": str(len(data) if announced is None else announced)}


def answer_with(monkeypatch: pytest.MonkeyPatch, *args) -> list[str]:
    asked: list[str] = []

    def urlopen(url: str, timeout: float) -> Answer:
        asked.append(url)
        assert 0 < timeout <= 15
        return Answer(*args)

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    return asked


def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def urlopen(url: str, timeout: float) -> None:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)


def test_the_catalogue_says_what_is_there_and_how_to_get_the_rest(tmp_path: Path) -> None:
    choices = {choice.name: choice for choice in catalog(tmp_path)}
    assert list(choices) == list(CATALOG)
    assert choices["mtcnn"].present
    assert choices["points5"].present
    assert choices["mtcnn"].how_to_get == ""
    for name in ("s3fd", "blazeface", "yunet", "retinaface", "fan2d", "fan3d", "facemesh", "sface"):
        assert not choices[name].present
        for file in CATALOG[name].files:
            assert file.url in choices[name].how_to_get
            assert file.file in choices[name].how_to_get
        assert str(tmp_path) in choices[name].how_to_get
    (tmp_path / "FaceMesh.onnx").write_bytes(b"x")
    assert {choice.name for choice in catalog(tmp_path) if choice.present} == {"mtcnn", "points5", "facemesh"}


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = weights.importlib.util.find_spec
    monkeypatch.setattr(weights.importlib.util, "find_spec", lambda name: None if name == "mtcnn" else real(name))
    choice = next(choice for choice in catalog(tmp_path) if choice.name == "mtcnn")
    assert not choice.present
    assert "pip install mtcnn" in choice.how_to_get
    with pytest.raises(BadInputError, match="pip install mtcnn"):
        obtain("mtcnn", tmp_path)
    with pytest.raises(BadInputError, match="No detector is present"):
        pick_auto("detector", tmp_path)


def without(monkeypatch: pytest.MonkeyPatch, *packages: str, having: tuple[str, ...] = ()) -> None:
    real = weights.importlib.util.find_spec

    def find_spec(name: str) -> object:
        return None if name in packages else "here" if name in having else real(name)

    monkeypatch.setattr(weights.importlib.util, "find_spec", find_spec)


def test_retinaface_is_offered_only_with_torchvision(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "retinaface_mobilenet0.25.pth").write_bytes(b"x")
    without(monkeypatch, "torchvision")
    choice = next(choice for choice in catalog(tmp_path) if choice.name == "retinaface")
    assert not choice.present
    assert choice.how_to_get == "Run 'pip install torchvision'."
    with pytest.raises(BadInputError, match="pip install torchvision"):
        obtain("retinaface", tmp_path)
    monkeypatch.undo()
    without(monkeypatch, having=("torchvision",))
    assert next(choice for choice in catalog(tmp_path) if choice.name == "retinaface").present
    assert obtain("retinaface", tmp_path) == (tmp_path / "retinaface_mobilenet0.25.pth",)


def test_the_recogniser_is_optional(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"No recogniser is present.*face_recognition_sface_2021dec\.onnx"):
        pick_auto("recogniser", tmp_path)
    (tmp_path / "face_recognition_sface_2021dec.onnx").write_bytes(b"x")
    assert pick_auto("recogniser", tmp_path) == ("sface", "The recogniser is sface.")
    with pytest.raises(DamagedFileError, match="checksum"):
        obtain("sface", tmp_path)


def test_for_a_head_fan3d_comes_first(tmp_path: Path) -> None:
    order = ("fan3d", *AUTO_ORDER["landmarker"])
    (tmp_path / "2DFAN4-11f355bf06.pth.tar").write_bytes(b"x")
    name, reason = pick_auto("landmarker", tmp_path, order)
    assert name == "fan2d"
    assert "3DFAN4" in reason
    (tmp_path / "3DFAN4-7835d9f11d.pth.tar").write_bytes(b"x")
    assert pick_auto("landmarker", tmp_path, order)[0] == "fan3d"
    assert pick_auto("landmarker", tmp_path)[0] == "fan2d"


def test_auto_takes_the_best_that_is_present(tmp_path: Path) -> None:
    assert pick_auto("detector", tmp_path)[0] == "mtcnn"
    name, reason = pick_auto("landmarker", tmp_path)
    assert name == "points5"
    assert "FaceMesh.onnx" in reason
    assert "2DFAN4" in reason
    (tmp_path / "FaceMesh.onnx").write_bytes(b"x")
    name, reason = pick_auto("landmarker", tmp_path)
    assert name == "facemesh"
    assert "FaceMesh.onnx" not in reason
    (tmp_path / "s3fd-619a316812.pth").write_bytes(b"x")
    (tmp_path / "2DFAN4-11f355bf06.pth.tar").write_bytes(b"x")
    assert pick_auto("detector", tmp_path) == ("s3fd", "The detector is s3fd.")
    assert pick_auto("landmarker", tmp_path)[0] == "fan2d"
    assert pick_auto("landmarker", tmp_path, ("fan3d", "facemesh"))[0] == "facemesh"


def test_files_of_the_package_are_found_without_importing_it(tmp_path: Path) -> None:
    assert [path.name for path in obtain("mtcnn", tmp_path)] == ["pnet.lz4", "rnet.lz4", "onet.lz4"]
    assert "mtcnn" not in sys.modules
    assert obtain("points5", tmp_path) == ()
    with pytest.raises(BadInputError, match="no detector, landmarker or recogniser"):
        obtain("eyes", tmp_path)


def test_offline_it_fails_at_once_with_address_file_and_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    offline(monkeypatch)
    begun = time.monotonic()
    for name in ("s3fd", "fan2d", "fan3d", "blazeface", "yunet", "facemesh", "sface"):
        with pytest.raises(WeightsMissingError) as caught:
            obtain(name, tmp_path / "weights")
        wanted = CATALOG[name].files[0]
        for part in (wanted.url, wanted.file, str(tmp_path / "weights"), "Name or service not known"):
            assert part in str(caught.value)
    assert time.monotonic() - begun < 1.0


def test_a_download_is_checked_before_it_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answer_with(monkeypatch, b"something else")
    with pytest.raises(WeightsMissingError, match="wrong checksum"):
        obtain("facemesh", tmp_path)
    answer_with(monkeypatch, b"half of it", 20)
    with pytest.raises(WeightsMissingError, match="connection broke"):
        obtain("s3fd", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_download_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = answer_with(monkeypatch, b"weights" * 100_000)
    (path,) = obtain("s3fd", tmp_path / "new" / "weights")
    assert path.read_bytes() == b"weights" * 100_000
    assert obtain("s3fd", tmp_path / "new" / "weights") == (path,)
    assert asked == [CATALOG["s3fd"].files[0].url]
    assert [p.name for p in path.parent.iterdir()] == ["s3fd-619a316812.pth"]


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "FaceMesh.onnx").write_bytes(b"damaged")
    with pytest.raises(DamagedFileError, match="checksum"):
        obtain("facemesh", tmp_path)


def test_the_checksums_are_those_of_the_files(assets: Path) -> None:
    for name in ("facemesh", "blazeface"):
        for wanted, path in zip(CATALOG[name].files, obtain(name, assets / "models"), strict=True):
            assert hashlib.sha256(path.read_bytes()).hexdigest() == wanted.sha256


def test_the_catalogue_imports_no_torch() -> None:
    code = "import sys, backend.storage.weights; assert not {'torch', 'cv2', 'face_alignment'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_added_networks_are_named_and_the_projects_own_comes_first(tmp_path: Path) -> None:
    models, folder = tmp_path / "model", tmp_path / "weights"
    assert (weights.installed_enhancer(folder), weights.installed_segmentation(folder, models)) == ("", "")
    assert str(folder / "enhancers") in weights.how_to_get_enhancer(folder)
    ways = weights.how_to_get_segmentation(folder, models)
    assert str(folder / "xseg") in ways
    assert str(models) in ways
    for place in (folder / "enhancers" / "GPEN.onnx", folder / "xseg" / "shared.onnx"):
        place.parent.mkdir(parents=True)
        place.touch()
    assert weights.installed_enhancer(folder) == "GPEN.onnx"
    assert weights.installed_segmentation(folder, models) == "shared.onnx"
    models.mkdir()
    (models / "XSeg_model.onnx").touch()
    assert weights.installed_segmentation(folder, models) == "XSeg_model.onnx"
