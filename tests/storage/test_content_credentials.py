"""Signing in place, reading back, tampering, and doing without the optional package."""

from __future__ import annotations

import socket
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from backend.core.errors import BadInputError, DamagedFileError
from backend.core.provenance import DIGITAL_SOURCE_TYPE, SYNTHETIC_SOURCE_TYPES
from backend.core.settings.export import SIGNABLE as EXPORTS
from backend.storage.content_credentials import available, check_certificate, read_credentials, sign
from backend.storage.video_mark import SENTENCE, read_xmp
from tests.storage.marked_files import SIGNABLE, make_file, pixels_of

pytest.importorskip("c2pa", reason="the optional package c2pa-python is not installed")
from tests.storage.certificates import Wish, make_chain


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_chain(tmp_path_factory.mktemp("certificates"))


@pytest.mark.parametrize("kind", SIGNABLE)
def test_signed_in_place_with_marks_and_pixels_kept(tmp_path: Path, kind: str, pair: tuple[Path, Path]) -> None:
    path = make_file(tmp_path, kind)
    before, size = pixels_of(path), path.stat().st_size
    assert read_credentials(path)["state"] == "none"
    told = sign(path, *pair, {"title": "My film", "iteration": 1200, "project": "secret project", "consent": "x"})
    assert told["subject"] == "Anna (Studio)"
    np.testing.assert_array_equal(pixels_of(path), before)
    assert path.stat().st_size - size < 30_000
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    read = read_credentials(path)
    assert (read["state"], read["changed"], read["problems"]) == ("valid", False, [])
    assert (read["signer"], read["issuer"], read["title"]) == ("Anna", "Studio", "My film")
    assert read["actions"] == ["c2pa.created", "c2pa.edited"]
    assert read["source_types"] == [SYNTHETIC_SOURCE_TYPES[0]]
    assert read["program"].startswith("Lookalike")
    data = path.read_bytes()
    assert b"secret project" not in data
    assert b"PRIVATE KEY" not in data
    if kind not in ("png", "jpg"):
        assert SENTENCE.encode() in data
        assert SYNTHETIC_SOURCE_TYPES[0] in read_xmp(path)


@pytest.mark.parametrize("kind", SIGNABLE)
def test_a_changed_file_is_told(tmp_path: Path, kind: str, pair: tuple[Path, Path]) -> None:
    path = make_file(tmp_path, kind)
    sign(path, *pair)
    data = bytearray(path.read_bytes())
    at = {"mp4": data.rfind(b"mdat") + 40, "mov": data.rfind(b"mdat") + 40, "avi": data.rfind(b"movi") + 40}.get(kind)
    data[at or len(data) - 30] ^= 1
    path.write_bytes(data)
    read = read_credentials(path)
    assert (read["state"], read["changed"]) == ("invalid", True)
    assert "changed since" in read["sentence"]


def test_all_that_can_be_exported_signed_can_be_signed() -> None:
    assert set(EXPORTS) <= set(SIGNABLE)


@pytest.mark.parametrize("kind", ["mkv", "webm"])
def test_files_without_room_are_refused(tmp_path: Path, kind: str, pair: tuple[Path, Path]) -> None:
    path = make_file(tmp_path, kind)
    before = path.read_bytes()
    with pytest.raises(BadInputError, match="cannot carry"):
        sign(path, *pair)
    assert path.read_bytes() == before
    assert "cannot carry" in read_credentials(path)["sentence"]


def test_an_avi_file_of_two_parts_would_lose_the_second(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    path = make_file(tmp_path, "avi")
    part = b"AVIXLIST" + struct.pack("<I", 4) + b"movi"
    path.write_bytes(path.read_bytes() + b"RIFF" + struct.pack("<I", len(part)) + part)
    with pytest.raises(BadInputError, match="more than one part"):
        sign(path, *pair)


@pytest.mark.parametrize("kind", ["mp4", "avi", "gif", "png", "jpg"])
def test_failing_leaves_the_file_and_nothing_else(tmp_path: Path, kind: str, pair: tuple[Path, Path]) -> None:
    path = tmp_path / f"a.{kind}"
    path.write_bytes(make_file(tmp_path, kind).read_bytes()[:24])
    before = path.read_bytes()
    with pytest.raises((BadInputError, DamagedFileError)):
        sign(path, *pair)
    assert path.read_bytes() == before
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]
    assert read_credentials(path)["state"] in ("none", "unreadable")


def test_a_wrong_certificate_touches_nothing(tmp_path: Path) -> None:
    path = make_file(tmp_path, "png")
    before = path.read_bytes()
    with pytest.raises(BadInputError, match="ran out"):
        sign(path, *make_chain(tmp_path, Wish(begins=-30, ends=-2)))
    assert path.read_bytes() == before


def test_signing_twice_keeps_the_file_valid(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    path = make_file(tmp_path, "mp4")
    sign(path, *pair)
    sign(path, *pair)
    assert read_credentials(path)["state"] == "valid"


def test_credentials_at_a_web_address_are_not_fetched(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    import c2pa

    path, signed = make_file(tmp_path, "png"), tmp_path / "signed.png"
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/film.c2pa"
        actions = {"actions": [{"action": "c2pa.created", "digitalSourceType": DIGITAL_SOURCE_TYPE}]}
        manifest = {"assertions": [{"label": "c2pa.actions.v2", "data": actions}]}
        info = c2pa.C2paSignerInfo(b"es256", pair[0].read_bytes(), pair[1].read_bytes(), None)
        offline = c2pa.Context.from_dict({"verify": {"remote_manifest_fetch": False}})
        with c2pa.Signer.from_info(info) as signer, c2pa.Builder(manifest, context=offline) as builder:
            builder.set_no_embed()
            builder.set_remote_url(address)
            builder.sign_file(str(path), str(signed), signer)
        read = read_credentials(signed)
        with pytest.raises(TimeoutError):
            server.accept()
    assert read["state"] == "unreadable"
    assert "cannot be read" in read["sentence"]


def test_noise_in_the_credentials_never_raises(
    tmp_path: Path, pair: tuple[Path, Path], rng: np.random.Generator
) -> None:
    path = make_file(tmp_path, "png")
    sign(path, *pair)
    data = path.read_bytes()
    for _ in range(30):
        noisy = bytearray(data[: len(data) - int(rng.integers(0, 2)) * int(rng.integers(0, 4000))])
        for at in rng.integers(33, len(noisy), 20):
            noisy[at] = rng.integers(0, 256)
        path.write_bytes(noisy)
        assert read_credentials(path)["state"] in ("none", "unreadable", "invalid")


def test_without_the_package_everything_says_so(
    tmp_path: Path, pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_file(tmp_path, "png")
    assert available() == ""
    monkeypatch.setitem(sys.modules, "c2pa", None)
    assert "pip install c2pa-python" in available()
    for ask in (lambda: check_certificate(*pair), lambda: sign(path, *pair)):
        with pytest.raises(BadInputError, match="pip install c2pa-python"):
            ask()
    read = read_credentials(path)
    assert (read["state"], "pip install" in read["sentence"]) == ("unreadable", True)
