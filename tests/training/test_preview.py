"""Preview pages: columns, masks, sizes, files, events."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import cv2
import numpy as np
import pytest
import torch

from backend.core.faces import FaceType
from backend.core.settings import TRAIN_SETTINGS, AmpSettings, TrainSettings
from backend.models.amp import AmpShape, build_amp
from backend.models.base import FaceSwapModel, Reconstruction, SwapOutput
from backend.storage.model_folder import ModelFolder
from backend.training.batch import FaceBatch
from backend.training.callbacks.preview import MORPHS, PREVIEW_PAGES, PreviewCallback, preview_pages, thin_out
from backend.training.loader import RawSide
from backend.training.loop import Training

STRIP = 20


class Echo(FaceSwapModel):
    """Gives back what it sees; the swap is as bright as the morph, its mask half, the mask of dst 0.8."""

    def __init__(self, resolution: int = 32, face_type: FaceType = FaceType.FULL) -> None:
        super().__init__()
        self.resolution, self.channels, self.face_type = resolution, 3, face_type
        self.morphs: list[float] = []
        self.seen = 0

    def autoencode(self, src: torch.Tensor, dst: torch.Tensor, with_swap: bool = False) -> Reconstruction:
        assert not self.training
        self.seen += len(src)
        one = torch.ones_like(src[:, :1])
        return Reconstruction(src, one, dst, one * 0.8, torch.ones_like(dst), one * 0.5)

    def swap(self, dst: torch.Tensor, morph: float = 1.0) -> SwapOutput:
        self.morphs.append(morph)
        one = torch.ones_like(dst[:, :1])
        return SwapOutput(torch.full_like(dst, morph), one * 0.5, one * 0.8)

    def parts(self) -> dict[str, torch.nn.Module]:
        return {}


def batch(count: int = 2, side: int = 32, channels: int = 3, value: float = 0.2) -> FaceBatch:
    face = torch.full((count, channels, side, side), value)
    return FaceBatch(face, face, torch.zeros(count, 1, side, side), None)


def middles(page: np.ndarray, side: int, colour: int = 0) -> list[int]:
    return [int(v) for v in page[STRIP + side // 2, side // 2 :: side, colour]]


@pytest.mark.parametrize("name", ["saehd", "quick96"])
@pytest.mark.parametrize("channels", [1, 3])
def test_columns_and_masks(name: str, channels: int) -> None:
    model = Echo().train()
    side = batch(channels=channels)
    pages = preview_pages(model, PREVIEW_PAGES[name], side, side)
    assert list(pages) == ["faces", "masked"]
    assert pages["faces"].shape == pages["masked"].shape == (STRIP + 2 * 32, 5 * 32, 3)
    assert middles(pages["faces"], 32) == [51, 51, 51, 51, 255]
    assert middles(pages["masked"], 32, 2) == [0, 51, 0, 41, 102]
    assert model.training
    assert model.morphs == []


def test_the_swap_of_a_head_is_cut_by_its_own_mask_alone() -> None:
    pages = preview_pages(Echo(face_type=FaceType.HEAD), PREVIEW_PAGES["saehd"], batch(), batch())
    assert middles(pages["masked"], 32) == [0, 51, 0, 41, 128]


def test_a_network_that_learns_no_mask_is_shown_within_the_faces_own() -> None:
    model = Echo()
    model.learns_mask = False
    face = torch.full((2, 3, 32, 32), 0.2)
    sides = [FaceBatch(face, face, torch.full((2, 1, 32, 32), share), None) for share in (0.5, 0.25)]
    page = preview_pages(model, PREVIEW_PAGES["saehd"], *sides)["masked"]
    assert middles(page, 32) == [26, 26, 13, 13, 32]  # Echo halves the swap


def test_amp_has_a_page_of_morphs() -> None:
    model = Echo()
    pages = preview_pages(model, PREVIEW_PAGES["amp"], batch(), batch())
    assert list(pages) == ["faces", "masked", "morph"]
    assert middles(pages["faces"], 32) == [51, 51, 51, 51, 255]
    assert middles(pages["masked"], 32) == [0, 51, 0, 41, 102]
    assert middles(pages["morph"], 32) == [51, 64, 128, 166, 191, 255]
    assert list(MORPHS.values()) == [0.25, 0.5, 0.65, 0.75, 1.0]
    assert sorted(model.morphs) == [0.25, 0.5, 0.65, 0.75]


def test_every_model_class_has_pages_that_can_be_drawn() -> None:
    assert set(PREVIEW_PAGES) == set(TRAIN_SETTINGS)
    for pages in PREVIEW_PAGES.values():
        assert set(preview_pages(Echo(), pages, batch(), batch())) == {page.name for page in pages}


@pytest.mark.parametrize(
    ("resolution", "name", "column", "rows"),
    [(64, "saehd", 64, 4), (224, "saehd", 224, 3), (512, "saehd", 320, 2), (640, "amp", 266, 3)],
)
def test_big_faces_are_shrunk_and_few(resolution: int, name: str, column: int, rows: int) -> None:
    model = Echo(resolution)
    pages = preview_pages(model, PREVIEW_PAGES[name], batch(4, resolution), batch(4, resolution, value=0.6))
    assert model.seen == rows
    for page in PREVIEW_PAGES[name]:
        height, width, _ = pages[page.name].shape
        assert (height, width) == (STRIP + rows * column, len(page.columns) * column)
        assert width <= 1600
    assert middles(pages["faces"], column) == [51, 51, 153, 153, 255]


def test_shrinking_averages_areas() -> None:
    stripes = torch.zeros(1, 3, 640, 640)
    stripes[..., ::2] = 1.0
    side = FaceBatch(stripes, stripes, torch.ones(1, 1, 640, 640), None)
    page = preview_pages(Echo(640), PREVIEW_PAGES["saehd"], side, side)["faces"]
    assert page.shape == (STRIP + 320, 1600, 3)
    np.testing.assert_allclose(page[STRIP:, :320].astype(float), 127.5, atol=1)


def test_a_real_amp_network_draws_the_same_picture_twice() -> None:
    torch.manual_seed(3)
    model = build_amp(AmpShape(64, 8, 12, 4, 4, 2, channels=1)).train()
    src, dst = (FaceBatch(face, face, torch.ones_like(face)) for face in torch.rand(2, 2, 1, 64, 64))
    first, second = (preview_pages(model, PREVIEW_PAGES["amp"], src, dst) for _ in range(2))
    assert all(np.array_equal(first[name], second[name]) for name in first)
    morph = first["morph"][STRIP:].astype(int)
    assert np.array_equal(morph[..., 0], morph[..., 2])
    away = [abs(morph[:, k * 64 : (k + 1) * 64] - morph[:, :64]).mean() for k in range(6)]
    assert away[0] == 0
    assert 0 < away[1] < away[5]


def raw(count: int = 2, side: int = 32) -> RawSide:
    return RawSide(
        torch.full((count, side, side, 3), 51, dtype=torch.uint8),
        torch.full((count, side, side, 2), 255, dtype=torch.uint8),
    )


def model_folder(tmp_path: Path) -> ModelFolder:
    (tmp_path / "model").mkdir()
    return ModelFolder(tmp_path / "model")


def running(settings: TrainSettings, model: FaceSwapModel) -> Training:
    step = SimpleNamespace(shown_model=model, device=torch.device("cpu"))
    return Training(cast(Any, step), settings, torch.Generator())


def test_files_and_events_of_all_pages(tmp_path: Path) -> None:
    said: list[dict[str, Any]] = []
    folder = model_folder(tmp_path)
    callback = PreviewCallback(
        raw(), raw(), tmp_path / "job", folder, lambda kind, data: said.append({**data, "k": kind})
    )
    training = running(AmpSettings(preview_interval=5), Echo())
    callback.on_start(training)
    for training.iteration in range(1, 8):
        callback.on_step(training)
    callback.on_end(training)
    callback.on_end(training)
    pages = ("faces", "masked", "morph")
    assert [(e["name"], e["iteration"]) for e in said] == [(page, at) for at in (0, 5, 7) for page in pages]
    assert all(e["k"] == "preview" and (tmp_path / "job" / e["path"]).is_file() for e in said)
    json.dumps(said)
    for page in pages:
        kept = [path.name for path in folder.previews(page)]
        assert kept == [f"{at:07d}_{page}.jpg" for at in (0, 5, 7)]
        newest = folder.preview(page)
        assert newest is not None
        assert newest.name == ("preview.jpg" if page == "faces" else f"preview_{page}.jpg")
        assert newest.read_bytes() == (folder.history_dir / kept[-1]).read_bytes()
        image = cv2.imread(str(newest))
        assert image.shape == (STRIP + 64, (6 if page == "morph" else 5) * 32, 3)


def test_a_later_run_keeps_the_pictures_of_the_earlier_one(tmp_path: Path) -> None:
    folder = model_folder(tmp_path)
    for begin, job in ((0, "one"), (40, "two")):
        training = running(TrainSettings(), Echo())
        training.iteration = begin
        PreviewCallback(raw(), raw(), tmp_path / job, folder, lambda kind, data: None).on_start(training)
    assert [path.name for path in folder.previews()] == [
        "0000000_faces.jpg",
        "0000040_faces.jpg",
    ]


def test_series_of_previews_is_thinned_out(tmp_path: Path) -> None:
    for i in range(11):
        (tmp_path / f"{i:07d}_faces.jpg").touch()
    thin_out(tmp_path, "*_faces.jpg", 11)
    assert len(list(tmp_path.iterdir())) == 11
    thin_out(tmp_path, "*_faces.jpg", 10)
    assert [int(p.name[:7]) for p in sorted(tmp_path.iterdir())] == list(range(0, 11, 2))
