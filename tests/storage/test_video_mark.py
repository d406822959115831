"""Every kind of exported file carries the mark, and nothing of its content changes by it."""

from __future__ import annotations

import struct
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from backend.core.errors import BadInputError, DamagedFileError
from backend.core.provenance import DIGITAL_SOURCE_TYPE, SYNTHETIC_SOURCE_TYPES
from backend.core.settings.export import CODECS
from backend.storage.png_mark import marked_png
from backend.storage.video_mark import SENTENCE, gif_comment, mark_file, read_xmp, tags
from backend.storage.xmp import source_type_of, xmp_packet
from tests.storage.marked_files import FRAMES, VIDEOS, make_file, pixels_of

HOLD_XMP = ("mp4", "mov", "avi", "gif")


@pytest.mark.parametrize("kind", VIDEOS)
def test_marking_leaves_every_pixel(tmp_path: Path, kind: str) -> None:
    plain = pixels_of(make_file(tmp_path, kind, marked=False))
    marked = make_file(tmp_path, kind)
    np.testing.assert_array_equal(pixels_of(marked), plain)
    with av.open(str(marked)) as container:
        told = {name.lower(): text for name, text in container.metadata.items()}
    assert SENTENCE in told["comment"]
    assert any(DIGITAL_SOURCE_TYPE in text for text in told.values())
    assert (source_type_of(read_xmp(marked)) == "compositeWithTrainedAlgorithmicMedia") == (kind in HOLD_XMP)


def test_every_container_of_the_settings_can_be_marked() -> None:
    assert all(isinstance(dict(tags(container)), dict) for container in CODECS)
    for ask in (lambda: tags("exe"), lambda: mark_file(Path("x"), "exe")):
        with pytest.raises(BadInputError, match="exe"):
            ask()


def test_other_programs_find_the_mark_of_a_gif(tmp_path: Path) -> None:
    path = make_file(tmp_path, "gif")
    with Image.open(path) as image:
        assert SENTENCE.encode() in image.info["comment"]
        assert image.n_frames == FRAMES
    assert SENTENCE in gif_comment(path)


def test_a_folder_of_pictures_is_marked_once(tmp_path: Path) -> None:
    plain, marked = make_file(tmp_path, "png", marked=False), tmp_path / "other.png"
    marked.write_bytes(marked_png(plain.read_bytes()))
    note = tmp_path / "note.txt"
    note.write_text("kept")
    before = marked.stat().st_mtime_ns, marked.stat().st_ino
    mark_file(tmp_path, "png")
    assert plain.read_bytes() == marked.read_bytes()
    assert (marked.stat().st_mtime_ns, marked.stat().st_ino) == before
    assert note.read_text() == "kept"
    assert read_xmp(tmp_path) == ""


def riff(body: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize("room", [0, 100, 2000])
def test_avi_finds_room_in_the_header_or_at_the_end(tmp_path: Path, room: int) -> None:
    path = tmp_path / "a.avi"
    body = b"AVI " + (b"JUNK" + struct.pack("<I", room) + b"\0" * room if room else b"") + b"movi" + bytes(4)
    path.write_bytes(riff(body))
    mark_file(path, "avi")
    data = path.read_bytes()
    assert read_xmp(path).encode() == xmp_packet()
    assert int.from_bytes(data[4:8], "little") == len(data) - 8
    assert (len(data) == len(riff(body))) == (room == 2000)


def test_avi_of_several_parts_without_room_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    path.write_bytes(riff(b"AVI movi" + bytes(4)) + riff(b"AVIX"))
    before = path.read_bytes()
    mark_file(path, "avi")
    assert path.read_bytes() == before
    assert read_xmp(path) == ""


@pytest.mark.parametrize("kind", ["avi", "gif", "png", "jpg"])
def test_a_foreign_file_is_not_touched(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    path.write_bytes(b"something else, long enough for any header")
    with pytest.raises(DamagedFileError):
        mark_file(path, kind)
    assert path.read_bytes().startswith(b"something else")
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("kind", VIDEOS)
def test_a_cut_or_noisy_file_has_no_packet_or_a_part_of_it(tmp_path: Path, kind: str, rng: np.random.Generator) -> None:
    data = make_file(tmp_path, kind).read_bytes()
    path = tmp_path / "broken"
    for _ in range(40):
        noisy = bytearray(data[: rng.integers(0, len(data))])
        for at in rng.integers(0, max(1, min(len(noisy), 400)), 4):
            noisy[at : at + 1] = bytes([rng.integers(0, 256)])
        path.write_bytes(noisy)
        assert isinstance(read_xmp(path) + gif_comment(path), str)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (f'<a Iptc4xmpExt:DigitalSourceType="{DIGITAL_SOURCE_TYPE}"/>', SYNTHETIC_SOURCE_TYPES[0]),
        ("<I:DigitalSourceType>https://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture</I>", "digitalCapture"),
        (
            '<I:DigitalSourceType rdf:resource="http://cv.iptc.org/newscodes/digitalsourcetype/algorithmicMedia"/>',
            "algorithmicMedia",
        ),
        ("<I:DigitalSourceType> own words </I>", "own words"),
        ("<a DigitalSourceType=''/>", ""),
        ("nothing", ""),
        ("DigitalSourceType" * 20_000, ""),
    ],
)
def test_source_types_of_other_programs_are_read(written: str, read: str) -> None:
    assert source_type_of(written) == read
