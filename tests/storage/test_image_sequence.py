from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backend.core.errors import BadInputError, DamagedFileError
from backend.storage.image import list_images, read_image
from backend.storage.image_sequence import SequenceWriter


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_pictures_are_numbered_and_exact(tmp_path: Path, channels: int) -> None:
    rng = np.random.default_rng(1)
    images = [rng.integers(0, 256, (13, 17, channels)).astype(np.uint8) for _ in range(8)]
    with SequenceWriter(tmp_path / "seq", (17, 13), 8) as writer:
        reused = np.empty_like(images[0])
        for image in images:
            reused[:] = image
            writer.write(reused)
    writer.check()
    found = list_images(tmp_path / "seq")
    assert [path.name for path in found] == [f"{number:05d}.png" for number in range(1, 9)]
    for path, image in zip(found, images, strict=True):
        np.testing.assert_array_equal(read_image(path, None).reshape(image.shape), image)
    assert writer.bytes_written == sum(path.stat().st_size for path in found)


def test_what_is_made_of_the_bytes_is_written(tmp_path: Path) -> None:
    with SequenceWriter(tmp_path / "seq", (4, 4), 1, lambda data: data + b"mark") as writer:
        writer.write(np.zeros((4, 4, 3), np.uint8))
    assert (tmp_path / "seq" / "00001.png").read_bytes().endswith(b"mark")


def test_failing_leaves_no_folder(tmp_path: Path) -> None:
    black = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(BadInputError, match="Frame 2 is 8 x 4"), SequenceWriter(tmp_path / "a", (4, 4), 2) as writer:
        writer.write(black)
        writer.write(np.zeros((4, 8, 3), np.uint8))
    with pytest.raises(DamagedFileError, match="1 of 2"), SequenceWriter(tmp_path / "b", (4, 4), 2) as writer:
        writer.write(black)

    def full(data: bytes) -> bytes:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"), SequenceWriter(tmp_path / "c", (4, 4), 9, full) as writer:
        for _ in range(9):
            writer.write(black)
    assert list(tmp_path.iterdir()) == []


def test_a_check_finds_what_is_missing(tmp_path: Path) -> None:
    with SequenceWriter(tmp_path / "seq", (4, 4), 2) as writer:
        for _ in range(2):
            writer.write(np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "seq" / "00002.png").unlink()
    with pytest.raises(DamagedFileError, match="1 pictures instead of 2"):
        writer.check()
