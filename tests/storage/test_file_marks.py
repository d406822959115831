"""Any file can be asked which marks it carries; what is damaged or foreign gets a sentence."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.core.errors import BadInputError, StopRequested
from backend.core.provenance import SYNTHETIC_SOURCE_TYPES, Provenance
from backend.storage.file_kind import file_kind
from backend.storage.file_marks import MarksReport, read_marks
from backend.storage.mark_words import NO_MARK
from backend.storage.results import file_facts
from tests.storage.marked_files import PICTURES, SIGNABLE, VIDEOS, make_file

OURS = SYNTHETIC_SOURCE_TYPES[0]
KINDS = (*VIDEOS, *PICTURES)


def write_sidecar(path: Path, result: Path, **changes: Any) -> None:
    """A sidecar as an export writes it."""
    told = Provenance(project="film", consent="All agreed.", model="anna", model_class="saehd", iteration=41_200)
    said = {"ai_manipulated": True, "mark": True, "label": "Made by a machine"}
    path.write_text(json.dumps({**told.model_dump(), **said, **file_facts(result), **changes}))


@pytest.mark.parametrize("kind", KINDS)
def test_marks_come_back_from_every_kind(tmp_path: Path, kind: str) -> None:
    path = make_file(tmp_path, kind)
    found = read_marks(path)
    assert (found.kind, file_kind(path), found.bytes) == (kind, kind, path.stat().st_size)
    assert (found.tagged, found.source_type, found.ai_manipulated) == (True, OURS, True)
    assert found.credentials["state"] == "none"
    assert (found.sidecar.name, found.notes) == ("", ())
    assert found.verdict == "AI-manipulated: the file says so in its metadata."
    assert json.loads(json.dumps(found.as_dict()))["sidecar"]["matches"] is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_without_marks(tmp_path: Path, kind: str) -> None:
    found = read_marks(make_file(tmp_path, kind, marked=False))
    assert (found.tagged, found.source_type, found.ai_manipulated, found.verdict) == (False, "", False, NO_MARK)


@pytest.mark.parametrize("kind", ["mp4", "mkv", "gif"])
def test_the_sidecar_is_compared(tmp_path: Path, kind: str) -> None:
    path = make_file(tmp_path, kind, marked=False)
    write_sidecar(path.with_suffix(".json"), path)
    beside = read_marks(path).sidecar
    assert (beside.name, beside.matches, beside.consent, beside.label) == ("film.json", True, True, "Made by a machine")
    assert (beside.project, beside.model, beside.iteration, beside.mark) == ("film", "anna", 41_200, True)
    assert read_marks(path).verdict == (
        "AI-manipulated: its sidecar says so. "
        "Its sidecar film.json matches: the file is unchanged since it was exported."
    )
    with path.open("ab") as file:
        file.write(b"\0")
    found = read_marks(path)
    assert (found.sidecar.matches, found.ai_manipulated) == (False, False)
    assert "written for other content" in found.verdict


def test_a_picture_of_a_folder_is_found_in_its_sidecar(tmp_path: Path) -> None:
    folder = tmp_path / "shot.v2"
    folder.mkdir()
    first = make_file(folder, "png")
    second = folder / "second.png"
    second.write_bytes(first.read_bytes())
    write_sidecar(tmp_path / "shot.v2.json", folder, consent="")
    second.write_bytes(second.read_bytes() + b"\0")
    assert read_marks(first).sidecar.matches is True
    assert read_marks(first).sidecar.consent is False
    assert read_marks(second).sidecar.matches is False
    third = folder / "third.png"
    third.write_bytes(first.read_bytes())
    assert read_marks(third).sidecar.matches is None
    assert "names no checksum" in read_marks(third).verdict


@pytest.mark.parametrize(
    "text", ["", "[1, 2]", "{}", '{"a": 1}', "{" * 5000, '{"digital_source_type": 5, "sha256": 3, "settings": [1]}']
)
def test_a_strange_file_beside_it(tmp_path: Path, text: str) -> None:
    path = make_file(tmp_path, "png")
    path.with_suffix(".json").write_text(text)
    found = read_marks(path)
    assert found.sidecar.matches is None
    assert any("no sidecar" in note for note in found.notes) == ("digital_source_type" not in text)


def test_a_sidecar_is_not_its_own(tmp_path: Path) -> None:
    path = tmp_path / "film.json"
    path.write_text("{}")
    found = read_marks(path)
    assert (found.kind, found.sidecar.name) == ("", "")
    assert "none of the kinds" in found.notes[0]


@pytest.mark.parametrize("kind", SIGNABLE)
def test_signed_then_changed(tmp_path: Path, kind: str) -> None:
    pytest.importorskip("c2pa", reason="the optional package c2pa-python is not installed")
    from backend.storage.content_credentials import sign
    from tests.storage.certificates import make_chain

    path = make_file(tmp_path, kind)
    sign(path, *make_chain(tmp_path))
    found = read_marks(path)
    assert (found.credentials["state"], found.source_type, found.tagged) == ("valid", OURS, True)
    assert found.verdict.startswith("AI-manipulated: the file says so under a signature. Signed by Anna and unchanged")
    data = bytearray(path.read_bytes())
    marks = {"mp4": b"mdat", "mov": b"mdat", "avi": b"movi"}
    data[data.rfind(marks[kind]) + 40 if kind in marks else len(data) - 30] ^= 1
    path.write_bytes(data)
    changed = read_marks(path)
    assert changed.credentials["changed"] is True
    assert "changed since" in changed.verdict
    assert changed.ai_manipulated is True


def test_without_the_package_the_rest_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "c2pa", None)
    found = read_marks(make_file(tmp_path, "mp4"))
    assert found.ai_manipulated is True
    assert "pip install c2pa-python" in found.notes[0]


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_get_sentences(tmp_path: Path, kind: str, rng: np.random.Generator) -> None:
    path = make_file(tmp_path, kind)
    data = path.read_bytes()
    for length in (0, 4, 13, 40, len(data) // 2, len(data) - 3):
        path.write_bytes(data[:length])
        assert_told(read_marks(path))
    for _ in range(15):
        noisy = bytearray(data)
        for at in rng.integers(0, len(noisy), 12):
            noisy[at] = rng.integers(0, 256)
        path.write_bytes(noisy)
        assert_told(read_marks(path))


def assert_told(found: MarksReport) -> None:
    assert found.verdict
    assert all(note.endswith((".", "python")) for note in found.notes)
    assert found.bytes or "The file is empty." in found.notes
    json.dumps(found.as_dict())


@pytest.mark.parametrize(
    "content",
    [
        b"#EXTM3U\n#EXTINF:1,\nhttp://example.invalid/a.ts\n",
        b"ffconcat version 1.0\nfile /etc/hostname\n",
        b"\x1a\x45\xdf\xa3" + b"\xff" * 200,
        b"\0\0\0\x08ftyp" + b"\0\0\0\x01mdat" + b"\xff" * 8,
        b"RIFF\xff\xff\xff\xffAVI " + b"LIST\xff\xff\xff\xff",
        b"GIF89a" + b"\xff" * 30,
        b"\xff\xd8\xff" + b"\xff" * 50,
        b"\x89PNG\r\n\x1a\n\xff\xff\xff\xffIHDR",
        b"cos\nsystem\n(S'echo'\ntR.",
    ],
)
def test_foreign_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    found = read_marks(path)
    assert (found.ai_manipulated, bool(found.notes)) == (False, True) or found.kind in ("gif", "png")
    assert found.verdict == NO_MARK


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="is a folder"):
        read_marks(tmp_path)
    with pytest.raises(BadInputError, match=r"no\.mp4 is not there"):
        read_marks(tmp_path / "no.mp4")


def test_reading_reports_and_can_be_stopped(tmp_path: Path) -> None:
    path = tmp_path / "large.bin"
    path.write_bytes(bytes(3 << 20))
    seen: list[tuple[int, int]] = []
    read_marks(path, lambda done, total: seen.append((done, total)))
    assert seen == [(part << 20, 3 << 20) for part in (1, 2, 3)]

    def stop(done: int, total: int) -> None:
        raise StopRequested

    with pytest.raises(StopRequested):
        read_marks(path, stop)
