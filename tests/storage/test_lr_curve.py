"""The curve of the search for a learning rate goes wherever its model goes."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

import pytest

from backend.core.errors import DamagedFileError
from backend.storage.lr_curve import LR_CURVE, LrCurve, drop_lr_curve, read_lr_curve, write_lr_curve
from backend.storage.model_backups import create_backup, restore_backup
from backend.storage.model_file import MANIFEST, SUFFIX, export_model
from backend.storage.model_import import import_model
from backend.storage.model_operations import copy_model, model_bytes
from tests.storage.models import film, make_model, train_to

CURVE = LrCurve(
    rates=(1e-5, 1e-4, 1e-3),
    losses=(3.0, 2.5, 2.75),
    smoothed=(3.0, 2.7, 2.8),
    best=1e-4,
    strength="default",
    chosen=1e-5,
    iteration=3,
)


def test_it_reads_back_and_goes(tmp_path: Path) -> None:
    assert read_lr_curve(tmp_path) is None
    write_lr_curve(tmp_path, CURVE)
    assert read_lr_curve(tmp_path) == CURVE
    stored = json.loads((tmp_path / LR_CURVE).read_text())
    assert set(stored) == {"rates", "losses", "smoothed", "best", "strength", "chosen", "iteration"}
    drop_lr_curve(tmp_path)
    drop_lr_curve(tmp_path)
    assert read_lr_curve(tmp_path) is None


@pytest.mark.parametrize(
    "broken",
    ["no curve", "[]", '{"rates": [1]}', json.dumps({**CURVE.model_dump(), "losses": [1.0]})],
)
def test_a_broken_one_is_none(tmp_path: Path, broken: str) -> None:
    (tmp_path / LR_CURVE).write_text(broken)
    assert read_lr_curve(tmp_path) is None


def test_copies_files_and_backups_have_it(tmp_path: Path) -> None:
    project = film(tmp_path)
    folder = make_model(project, "anna", 2)
    without = model_bytes(folder)
    write_lr_curve(folder.path, CURVE)
    assert model_bytes(folder) == without + (folder.path / LR_CURVE).stat().st_size
    assert read_lr_curve(copy_model(project, "anna", "second", "test").path) == CURVE
    path = tmp_path / f"anna{SUFFIX}"
    export_model(folder, path, "test")
    assert read_lr_curve(import_model(path, project, "third").path) == CURVE
    backup = create_backup(folder)
    train_to(folder, 4)
    write_lr_curve(folder.path, CURVE.model_copy(update={"chosen": 9.0}))
    restore_backup(folder, backup.name, "test")
    assert read_lr_curve(folder.path) == CURVE


def test_a_file_with_a_broken_one_is_refused(tmp_path: Path) -> None:
    project = film(tmp_path)
    folder = make_model(project, "anna", 2)
    write_lr_curve(folder.path, CURVE)
    path = tmp_path / f"anna{SUFFIX}"
    export_model(folder, path, "test")
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts[LR_CURVE] = b'{"rates": "none"}'
    manifest = json.loads(parts[MANIFEST])
    facts = {"bytes": len(parts[LR_CURVE]), "sha256": hashlib.sha256(parts[LR_CURVE]).hexdigest()}
    manifest["members"][LR_CURVE] = facts
    parts[MANIFEST] = json.dumps(manifest).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    with pytest.raises(DamagedFileError, match=r"lr_finder\.json holds no curve"):
        import_model(path, project, "third")
    assert project.models() == ["anna"]
