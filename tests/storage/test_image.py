"""Pictures are read as 8-bit BGR from any path, or refused with a sentence."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from backend.core.errors import BadInputError, DamagedFileError
from backend.storage.image import encode_image, list_images, read_image, write_image


@pytest.fixture
def picture(rng: np.random.Generator) -> np.ndarray:
    """A smooth colour picture, (48, 64, 3) uint8."""
    return cv2.resize(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8), (64, 48), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize("name", ["ä ß 顔.png", "a.tif", "B.TIFF"])
def test_lossless_round_trip(tmp_path: Path, picture: np.ndarray, name: str) -> None:
    write_image(tmp_path / name, picture)
    read = read_image(tmp_path / name)
    assert read.dtype == np.uint8
    assert np.array_equal(read, picture)


def test_jpeg_is_near(tmp_path: Path, picture: np.ndarray) -> None:
    write_image(tmp_path / "a.jpg", picture, quality=95)
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - picture).mean() < 2


def test_gray_and_transparent_become_three_channels(tmp_path: Path, picture: np.ndarray) -> None:
    gray = picture[:, :, 0]
    write_image(tmp_path / "gray.png", gray)
    write_image(tmp_path / "alpha.png", np.dstack([picture, gray]))
    assert np.array_equal(read_image(tmp_path / "gray.png"), np.dstack([gray] * 3))
    assert np.array_equal(read_image(tmp_path / "alpha.png"), picture)
    assert read_image(tmp_path / "gray.png", channels=None).shape == (48, 64)
    assert read_image(tmp_path / "alpha.png", channels=None).shape == (48, 64, 4)
    assert read_image(tmp_path / "alpha.png", channels=1).shape == (48, 64)
    assert np.array_equal(read_image(tmp_path / "gray.png", channels=1), gray)


def test_sixteen_bits_are_scaled(tmp_path: Path, picture: np.ndarray) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), picture.astype(np.uint16) * 257)
    assert np.array_equal(read_image(tmp_path / "a.png"), picture)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("keep", [0, 3, 0.3, 0.9])
def test_cut_off_pictures_are_refused(tmp_path: Path, picture: np.ndarray, suffix: str, keep: float) -> None:
    data = encode_image(picture, suffix)
    path = tmp_path / f"half{suffix}"
    path.write_bytes(data[: int(keep * len(data)) if keep < 1 else int(keep)])
    with pytest.raises(DamagedFileError, match="half"):
        read_image(path)


def test_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"this is no picture" * 10)
    with pytest.raises(DamagedFileError, match=r"a\.png"):
        read_image(tmp_path / "a.png")
    with pytest.raises(BadInputError, match="gif"):
        encode_image(np.zeros((4, 4, 3), np.uint8), ".gif")


def test_listing_is_sorted_and_only_pictures(tmp_path: Path) -> None:
    for name in ("b.PNG", "A.jpg", "c.jpeg", "._a.jpg", "x.txt", "d.tiff"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [p.name for p in list_images(tmp_path)] == ["A.jpg", "b.PNG", "c.jpeg", "d.tiff"]
    assert list_images(tmp_path / "nothing") == []
