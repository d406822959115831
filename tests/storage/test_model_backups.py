from __future__ import annotations

import os
from collections import namedtuple
from pathlib import Path

import pytest

from backend.core.errors import BadInputError, DamagedFileError, DiskFullError, ModelBusyError
from backend.storage import atomic, interrupted_restore, linking, model_backups
from backend.storage.checkpoint import load_latest
from backend.storage.model_backups import (
    create_backup,
    delete_backup,
    list_backups,
    prune_backups,
    restore_backup,
)
from backend.storage.model_folder import ModelFolder
from tests.storage.models import content, film, make_model, train_to

Usage = namedtuple("Usage", "total used free")


def iteration_of(folder: ModelFolder) -> tuple[int, int, int, list[int]]:
    """What the checkpoint, model.json, the losses and the terms say."""
    saved, info = load_latest(folder.generations_dir), folder.info()
    assert saved is not None
    assert info is not None
    return saved.state.iteration, info.iteration, len(folder.losses), folder.terms.records()["iteration"].tolist()


def state_of(folder: ModelFolder) -> dict[str, bytes]:
    """Everything but the backups; checkpoints without the number that tells them from others of their iteration."""
    kept = {name: data for name, data in content(folder.path).items() if not name.startswith("backups/")}
    return {
        (f"generations/{n.rpartition('/')[2]}" if n.startswith("generations/") else n): kept[n] for n in sorted(kept)
    }


def test_a_backup_is_a_model_folder_of_its_own(tmp_path: Path) -> None:
    folder = make_model(film(tmp_path), "anna", 2, 4)
    folder.losses.append([(5, 0.1, 0.1, 1e9)])
    backup = create_backup(folder)
    assert list_backups(folder) == [backup]
    assert backup.iteration == 4
    assert backup.name.startswith("000000004-2")
    kept = ModelFolder(folder.backups_dir / backup.name)
    assert iteration_of(kept) == (4, 4, 4, [2, 4])
    assert kept.pages() == ["faces", "masked"]
    assert [path.name for path in kept.previews()] == ["0000002_faces.jpg", "0000004_faces.jpg"]
    assert len(list(kept.generations_dir.iterdir())) == 1
    assert backup.bytes == sum(
        p.stat().st_size for p in kept.path.rglob("*") if p.is_file() and p.name != "backup.json"
    )
    weights = next(kept.generations_dir.glob("*/weights.safetensors"))
    assert weights.stat().st_nlink == 2, "the checkpoint was copied although the disk knows second names"


def test_the_same_checkpoint_is_kept_once(tmp_path: Path) -> None:
    folder = make_model(film(tmp_path), "anna", 2)
    assert create_backup(folder) == create_backup(folder)
    train_to(folder, 4)
    create_backup(folder)
    assert [backup.iteration for backup in list_backups(folder)] == [4, 2]


def test_without_second_names_there_are_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise PermissionError("no links here")

    folder = make_model(film(tmp_path), "anna", 2)
    monkeypatch.setattr(linking.os, "link", refuse)
    create_backup(folder)
    weights = next(folder.backups_dir.glob("*/generations/*/weights.safetensors"))
    assert weights.stat().st_nlink == 1
    assert weights.read_bytes() == next(folder.generations_dir.glob("*/weights.safetensors")).read_bytes()


def test_a_backup_outlives_what_training_replaces(tmp_path: Path) -> None:
    folder = make_model(film(tmp_path), "anna", 2)
    backup = folder.backups_dir / create_backup(folder).name
    before = content(backup)
    for iteration in (4, 6, 8, 10):
        train_to(folder, iteration)
    assert content(backup) == before


def test_old_backups_go_by_number_and_by_size(tmp_path: Path) -> None:
    folder = make_model(film(tmp_path), "anna")
    for iteration in (2, 4, 6, 8):
        train_to(folder, iteration)
        create_backup(folder)
    assert prune_backups(folder, 10, 1.0) == []
    assert len(prune_backups(folder, 3, 1.0)) == 1
    assert [backup.iteration for backup in list_backups(folder)] == [8, 6, 4]
    room = sum(backup.bytes for backup in list_backups(folder)[:2])
    prune_backups(folder, 3, room / 1e9)
    assert [backup.iteration for backup in list_backups(folder)] == [8, 6]
    prune_backups(folder, 3, 1e-9)
    assert [backup.iteration for backup in list_backups(folder)] == [8]
    delete_backup(folder, list_backups(folder)[0].name)
    assert list(folder.backups_dir.iterdir()) == []


def test_a_pinned_backup_stays(tmp_path: Path) -> None:
    folder = make_model(film(tmp_path), "anna", 2)
    create_backup(folder)
    assert create_backup(folder, pinned="pretrained").pinned == "pretrained"
    train_to(folder, 4)
    create_backup(folder)
    assert len(prune_backups(folder, 1, 1e-9)) == 1
    assert [(backup.iteration, backup.pinned) for backup in list_backups(folder)] == [(4, ""), (2, "pretrained")]


def test_restoring_brings_everything_back(tmp_path: Path) -> None:
    folder = make_model(film(tmp_path), "anna", 2)
    first = create_backup(folder)
    at_two = state_of(folder)
    train_to(folder, 4)
    train_to(folder, 6)
    at_six = state_of(folder)
    kept = restore_backup(folder, first.name, "test")
    assert kept is not None
    assert kept.iteration == 6
    assert state_of(folder) == at_two
    assert iteration_of(folder) == (2, 2, 2, [2])
    train_to(folder, 5)
    restore_backup(folder, kept.name, "test")
    assert iteration_of(folder) == (6, 6, 6, [2, 4, 6])
    now = state_of(folder)
    assert {n: d for n, d in now.items() if "history" in n or n.endswith(".bin")} == {
        n: d for n, d in at_six.items() if "history" in n or n.endswith(".bin")
    }
    assert [backup.iteration for backup in list_backups(folder)] == [5, 6, 2]


def test_training_goes_on_from_a_restored_state(tmp_path: Path) -> None:
    folder = make_model(film(tmp_path), "anna", 2, 4)
    first = create_backup(folder)
    train_to(folder, 6)
    restore_backup(folder, first.name, "test")
    train_to(folder, 5)
    assert iteration_of(folder) == (5, 5, 5, [2, 4, 5])
    assert [path.name for path in sorted(folder.generations_dir.iterdir())] == ["000000004-1", "000000005-0"]


@pytest.mark.parametrize("step", ["create_backup", "_prepare", "commit_restore"])
def test_a_crash_before_the_decision_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    folder = make_model(film(tmp_path), "anna", 2)
    first = create_backup(folder)
    train_to(folder, 4)
    before = state_of(folder)
    with monkeypatch.context() as patched:
        patched.setattr(model_backups, step, _crash)
        with pytest.raises(OSError, match="the power went"):
            restore_backup(folder, first.name, "test")
    with folder.lock("training"):
        assert state_of(folder) == before
    assert iteration_of(folder)[0] == 4


@pytest.mark.parametrize(
    ("module", "step"),
    [
        (model_backups, "finish_restore"),
        (interrupted_restore, "_place"),
        (interrupted_restore, "_remove_others"),
        (interrupted_restore, "_replace_file"),
        (interrupted_restore, "_replace_pictures"),
        (interrupted_restore, "write_json"),
    ],
)
def test_a_crash_after_the_decision_is_repaired_by_the_next_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: object, step: str
) -> None:
    folder = make_model(film(tmp_path), "anna", 2)
    first = create_backup(folder)
    at_two = state_of(folder)
    train_to(folder, 4)
    writes = [0]

    def crash_in_the_second(*given: object) -> None:
        writes[0] += 1
        if step != "write_json" or writes[0] == 2:
            _crash()
        atomic.write_json(*given)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(module, step, crash_in_the_second)
        with pytest.raises(OSError, match="the power went"):
            restore_backup(folder, first.name, "test")
    with folder.lock("training"):
        assert state_of(folder) == at_two
    assert not (folder.path / interrupted_restore.JOURNAL).exists()
    assert iteration_of(folder) == (2, 2, 2, [2])


def test_a_journal_without_its_checkpoint_deletes_nothing(tmp_path: Path) -> None:
    folder = make_model(film(tmp_path), "anna", 2, 4)
    before = state_of(folder)
    interrupted_restore.commit_restore(folder.path, "gone", "000000009-0")
    with folder.lock("training"):
        assert state_of(folder) == before
    (folder.path / interrupted_restore.JOURNAL).write_text("{")
    with folder.lock("training"):
        assert state_of(folder) == before
    assert not (folder.path / interrupted_restore.JOURNAL).exists()


def test_a_damaged_backup_is_refused_and_a_damaged_model_restored(tmp_path: Path) -> None:
    folder = make_model(film(tmp_path), "anna", 2)
    first = create_backup(folder)
    train_to(folder, 4)
    second = create_backup(folder)
    weights = next((folder.backups_dir / second.name).rglob("weights.safetensors"))
    _flip(weights, tmp_path)
    train_to(folder, 6)
    before = state_of(folder)
    with pytest.raises(DamagedFileError, match=r"weights\.safetensors.*checksum"):
        restore_backup(folder, second.name, "test")
    assert state_of(folder) == before
    for state in folder.generations_dir.glob("*/state.json"):
        state.unlink()
    assert restore_backup(folder, first.name, "test") is None
    assert iteration_of(folder) == (2, 2, 2, [2])


def test_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_model(film(tmp_path), "anna")
    with pytest.raises(BadInputError, match="not saved yet"):
        create_backup(folder)
    train_to(folder, 2)
    backup = create_backup(folder)
    for name in ("", "..", "../anna", "000000001-20200101-000000"):
        with pytest.raises(BadInputError, match="no backup"):
            restore_backup(folder, name, "test")
        with pytest.raises(BadInputError, match="no backup"):
            delete_backup(folder, name)
    with folder.lock("job train"), pytest.raises(ModelBusyError, match="job train"):
        restore_backup(folder, backup.name, "test")
    train_to(folder, 4)
    monkeypatch.setattr(atomic.shutil, "disk_usage", lambda path: Usage(1 << 40, 0, 1 << 20))
    with pytest.raises(DiskFullError):
        create_backup(folder)
    assert list_backups(folder) == [backup]


def test_leftovers_of_a_crash_are_ignored_and_cleaned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_model(film(tmp_path), "anna", 2)
    left = folder.backups_dir / ".unfinished-0123"
    (left / "generations").mkdir(parents=True)
    (folder.backups_dir / "000000001-20260101-000000").mkdir()
    assert list_backups(folder) == []
    with monkeypatch.context() as patched:
        patched.setattr(model_backups, "copy_file", _crash)
        with pytest.raises(OSError, match="the power went"):
            create_backup(folder)
    assert list_backups(folder) == []
    create_backup(folder)
    assert not [path for path in folder.backups_dir.iterdir() if path.name.startswith(".")]
    assert len(list_backups(folder)) == 1


def _crash(*given: object) -> None:
    raise OSError("the power went")


def _flip(path: Path, scratch: Path) -> None:
    """Another byte in this file only, not in those that share it."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    (scratch / "flipped").write_bytes(data)
    os.replace(scratch / "flipped", path)  # noqa: PTH105
