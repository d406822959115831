from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from backend.storage.taken_names import take_name


def made(folder: Path, name: str) -> Path:
    path = folder / name
    path.write_text(name)
    return path


def test_names_that_are_taken_get_numbers(tmp_path: Path) -> None:
    (tmp_path / "model.dfm").touch()
    (tmp_path / "model-2.json").touch()
    target = take_name(tmp_path, "model", ".dfm", made(tmp_path, ".a"))
    assert (target.name, target.read_text()) == ("model-3.dfm", ".a")
    assert not (tmp_path / "model-3.json").exists()
    assert not (tmp_path / ".a").exists()


def test_folders_get_numbers_too(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text("{}")
    (tmp_path / "result-2").mkdir()
    for wanted in ("result-3", "result-4"):
        (tmp_path / "made").mkdir()
        (tmp_path / "made" / "00001.png").touch()
        target = take_name(tmp_path, "result", "", tmp_path / "made", sidecar=True)
        assert (target.name, target.with_name(f"{wanted}.json").exists()) == (wanted, True)
        assert (target / "00001.png").exists()


def test_files_that_end_at_once_never_share_a_sidecar(tmp_path: Path) -> None:
    suffixes = (".mp4", ".mov", ".mkv", ".webm") * 6
    files = [made(tmp_path, f".{number}") for number in range(len(suffixes))]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda suffix, file: take_name(tmp_path, "x", suffix, file, True), suffixes, files))
    assert len({path.stem for path in found}) == len(suffixes)
    assert all(path.with_suffix(".json").exists() for path in found)
    assert sorted(path.read_text() for path in found) == sorted(file.name for file in files)


@pytest.mark.parametrize("sidecar", [False, True])
def test_what_cannot_be_moved_leaves_the_name_free(tmp_path: Path, sidecar: bool) -> None:
    with pytest.raises(FileNotFoundError):
        take_name(tmp_path, "x", ".mp4", tmp_path / "gone", sidecar)
    assert list(tmp_path.iterdir()) == []
