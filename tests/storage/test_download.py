"""Fetching files: whole, continued, checked, refused."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from backend.core.errors import DiskFullError, WeightsMissingError
from backend.storage import download as module
from backend.storage.download import WeightFile, download, is_absent
from backend.storage.file_lock import try_lock
from tests.storage.range_server import serving

DATA = bytes(range(256)) * 5000


def test_a_broken_download_is_continued(tmp_path: Path) -> None:
    path = tmp_path / "new" / "net.bin"
    with serving({"/net": DATA}) as shelf:
        wanted = WeightFile("net.bin", f"{shelf.address}/net", hashlib.sha256(DATA).hexdigest())
        shelf.breaks_after = 500_000
        for size in (500_000, 1_000_000):
            with pytest.raises(WeightsMissingError, match="the connection broke"):
                download("net", wanted, path)
            assert not path.exists()
            assert path.with_name("net.bin.part").stat().st_size == size
        download("net", wanted, path)
        assert shelf.asked == [("/net", ""), ("/net", "bytes=500000-"), ("/net", "bytes=1000000-")]
    assert path.read_bytes() == DATA
    assert [p.name for p in path.parent.iterdir()] == ["net.bin"]


def test_a_file_that_changed_meanwhile_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "net.bin"
    with serving({"/net": DATA}) as shelf:
        wanted = WeightFile("net.bin", f"{shelf.address}/net")
        shelf.breaks_after = 300_000
        with pytest.raises(WeightsMissingError):
            download("net", wanted, path)
        shelf.files["/net"], shelf.tag, shelf.breaks_after = DATA[::-1], '"two"', 0
        download("net", wanted, path)
    assert path.read_bytes() == DATA[::-1]


def test_a_beginning_that_is_longer_than_the_file_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "net.bin"
    with serving({"/net": DATA}) as shelf:
        wanted = WeightFile("net.bin", f"{shelf.address}/net")
        shelf.breaks_after = 300_000
        with pytest.raises(WeightsMissingError):
            download("net", wanted, path)
        shelf.files["/net"], shelf.breaks_after = DATA[:100], 0
        download("net", wanted, path)
    assert path.read_bytes() == DATA[:100]


def test_nothing_is_kept_that_cannot_be_continued(tmp_path: Path) -> None:
    with serving({"/net": DATA}) as shelf:
        for tag in ("", 'W/"weak"'):
            shelf.tag, shelf.breaks_after = tag, 300_000
            with pytest.raises(WeightsMissingError):
                download("net", WeightFile("net.bin", f"{shelf.address}/net"), tmp_path / "net.bin")
            assert list(tmp_path.iterdir()) == []


def test_a_wrong_checksum_leaves_nothing(tmp_path: Path) -> None:
    with serving({"/net": DATA}) as shelf, pytest.raises(WeightsMissingError, match="wrong checksum"):
        download("net", WeightFile("net.bin", f"{shelf.address}/net", "0" * 64), tmp_path / "net.bin")
    assert list(tmp_path.iterdir()) == []


def test_absent_files_and_silent_servers_are_told_apart(tmp_path: Path) -> None:
    with serving({}) as shelf:
        address = shelf.address
        with pytest.raises(WeightsMissingError, match="Not Found") as absent:
            download("net", WeightFile("net.bin", f"{address}/net"), tmp_path / "net.bin")
    with pytest.raises(WeightsMissingError, match="refused") as silent:
        download("net", WeightFile("net.bin", f"{address}/net"), tmp_path / "net.bin")
    assert is_absent(absent.value)
    assert not is_absent(silent.value)


def test_two_processes_do_not_write_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "net.bin"
    with serving({"/net": DATA}) as shelf:
        wanted = WeightFile("net.bin", f"{shelf.address}/net")
        shelf.breaks_after = 300_000
        with pytest.raises(WeightsMissingError):
            download("net", wanted, path)
        shelf.breaks_after = 0
        with path.with_name("net.bin.part").open("ab") as other:
            assert try_lock(other.fileno())
            with pytest.raises(WeightsMissingError, match="another process"):
                download("net", wanted, path)
        download("net", wanted, path)
    assert path.read_bytes() == DATA


def test_a_full_disk_is_said_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def refuse(path: Path, need_bytes: int) -> None:
        asked.append(need_bytes)
        raise DiskFullError("full")

    monkeypatch.setattr(module, "require_free_disk", refuse)
    with serving({"/net": DATA}) as shelf, pytest.raises(DiskFullError):
        download("net", WeightFile("net.bin", f"{shelf.address}/net"), tmp_path / "net.bin")
    assert asked == [len(DATA)]
    assert list(tmp_path.iterdir()) == []
