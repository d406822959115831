"""Files appear whole or not at all."""

from __future__ import annotations

from collections import namedtuple
from pathlib import Path

import pytest

from backend.core.errors import DamagedFileError, DiskFullError
from backend.storage import atomic
from tests.storage.faces import names_in

Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize("durable", [True, False])
def test_bytes_replace_the_old_ones(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "ä b.bin"
    atomic.write_bytes(path, b"old", durable)
    atomic.write_bytes(path, b"new", durable)
    assert path.read_bytes() == b"new"
    assert names_in(tmp_path) == [path.name]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), atomic.replacing(path) as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["a"]


def test_the_target_is_untouched_until_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with atomic.replacing(path) as file:
        file.write(b"half")
        assert not path.exists()
    assert path.read_bytes() == b"half"


def test_a_file_that_is_being_read_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = [PermissionError(), PermissionError()]
    real = Path.replace

    def replace(self: Path, target: Path) -> Path:
        if failures:
            raise failures.pop()
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    atomic.write_bytes(tmp_path / "a", b"1")
    assert (tmp_path / "a").read_bytes() == b"1"


def test_json_round_trip(tmp_path: Path) -> None:
    obj = {"a": [1, 2.5, None, True], "ö": "ü"}
    atomic.write_json(tmp_path / "a.json", obj)
    assert atomic.read_json(tmp_path / "a.json") == obj


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe\x00", b"[" * 100_000])
def test_damaged_json_says_which_file(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.json").write_bytes(data)
    with pytest.raises(DamagedFileError, match=r"a\.json"):
        atomic.read_json(tmp_path / "a.json")


def test_missing_json_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        atomic.read_json(tmp_path / "a.json")


def test_numbers_that_json_lacks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        atomic.write_json(tmp_path / "a.json", {"a": float("nan")})
    assert names_in(tmp_path) == []


def test_disk_is_checked_where_a_folder_will_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic.shutil, "disk_usage", lambda path: Usage(1 << 40, 0, 700 << 20))
    assert atomic.free_bytes(tmp_path / "not" / "yet") == 700 << 20
    atomic.require_free_disk(tmp_path / "not", 600 << 20)
    with pytest.raises(DiskFullError, match=r"700 MiB left, and 1\.0 GiB"):
        atomic.require_free_disk(tmp_path / "not")
