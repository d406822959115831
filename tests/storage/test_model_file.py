from __future__ import annotations

import hashlib
import json
import struct
import zipfile
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backend.core.errors import BadInputError, DamagedFileError, DiskFullError, LookalikeError, ModelBusyError
from backend.storage import atomic
from backend.storage.checkpoint import load_latest
from backend.storage.model_file import (
    MANIFEST,
    SUFFIX,
    export_bytes,
    export_model,
)
from backend.storage.model_folder import ModelFolder
from backend.storage.model_import import import_model
from backend.storage.workspace import Project
from tests.storage.models import content, film, make_model, train_to

Usage = namedtuple("Usage", "total used free")
Parts = dict[str, bytes]


def exported(tmp_path: Path) -> tuple[Project, ModelFolder, Path]:
    """A model saved at 2 and 4, and its file."""
    project = film(tmp_path)
    folder = make_model(project, "anna", 2, 4)
    folder.write_notes("mine")
    path = tmp_path / f"anna{SUFFIX}"
    export_model(folder, path, "test")
    return project, folder, path


def parts_of(path: Path) -> Parts:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pack(path: Path, parts: Parts, compression: int = zipfile.ZIP_STORED) -> Path:
    """Write members as they are, the manifest not brought into line."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return path


def relisted(parts: Parts, **changes: Any) -> Parts:
    """With a manifest that lists the members as they are now."""
    manifest = json.loads(parts[MANIFEST])
    members = {n: {"bytes": len(d), "sha256": hashlib.sha256(d).hexdigest()} for n, d in parts.items() if n != MANIFEST}
    return {**parts, MANIFEST: json.dumps({**manifest, "members": members, **changes}).encode()}


def test_round_trip_into_another_project(tmp_path: Path) -> None:
    project, folder, path = exported(tmp_path)
    assert path.stat().st_size < 1.5 * sum(map(len, parts_of(path).values()))
    assert json.loads(parts_of(path)[MANIFEST])["iteration"] == 4
    done: list[int] = []
    copy = import_model(path, project, "bert", done.append)
    assert sum(done) <= 2 * path.stat().st_size
    left_at_home = ("history/", "generations/000000002-0/")
    wanted = {n: d for n, d in content(folder.path).items() if not n.startswith(left_at_home)}
    got = content(copy.path)
    assert set(got) == set(wanted)
    assert {n: d for n, d in got.items() if n != "model.json"} == {n: d for n, d in wanted.items() if n != "model.json"}
    saved = load_latest(copy.generations_dir)
    assert saved is not None
    assert saved.state.iteration == 4
    info = copy.info()
    assert info is not None
    assert (info.iteration, info.settings["model"], len(info.sessions)) == (4, "bert", 2)
    assert copy.notes() == "mine"
    train_to(copy, 6)
    assert len(copy.losses) == 6


def test_names_of_imported_models(tmp_path: Path) -> None:
    project, _, path = exported(tmp_path)
    assert import_model(path, project, "").name == "anna-2"
    with pytest.raises(BadInputError, match="already"):
        import_model(path, project, "ANNA")
    with pytest.raises(BadInputError, match="cannot be the name"):
        import_model(path, project, "../bert")
    odd = pack(tmp_path / "odd.zip", relisted(parts_of(path), name="../../etc"))
    assert import_model(odd, project, "").name == "imported"
    assert project.models() == ["anna", "anna-2", "imported"]


def test_the_newest_whole_checkpoint_goes_along(tmp_path: Path) -> None:
    project, folder, path = exported(tmp_path)
    newest = folder.generations_dir / "000000004-0" / "optimizer.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1] + b"\xff")
    assert export_model(folder, path, "test").iteration == 2
    copy = import_model(path, project, "bert")
    info = copy.info()
    assert info is not None
    assert (info.iteration, len(copy.losses), copy.terms.records()["iteration"].tolist()) == (2, 2, [2])
    (folder.generations_dir / "000000002-0" / "state.json").write_text("{}")
    with pytest.raises(DamagedFileError, match="No checkpoint"):
        export_model(folder, path, "test")


def test_progress_and_stop_of_an_export(tmp_path: Path) -> None:
    _, folder, path = exported(tmp_path)
    done: list[int] = []
    before = path.read_bytes()
    export_model(folder, path, "test", done.append)
    assert sum(done) == export_bytes(folder)

    def stop(count: int) -> None:
        raise KeyboardInterrupt

    path.write_bytes(before)
    with pytest.raises(KeyboardInterrupt):
        export_model(folder, path, "test", stop)
    assert path.read_bytes() == before
    assert not list(tmp_path.glob(".*"))


def test_export_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project, folder, _ = exported(tmp_path)
    other = tmp_path / "other"
    with folder.lock("job train"), pytest.raises(ModelBusyError, match="job train"):
        export_model(folder, other, "test")
    with pytest.raises(BadInputError, match="not saved yet"):
        export_model(ModelFolder(project.model_dir("nobody")), other, "test")
    monkeypatch.setattr(atomic.shutil, "disk_usage", lambda path: Usage(1 << 40, 0, 1 << 20))
    with pytest.raises(DiskFullError):
        export_model(folder, other, "test")
    assert not other.exists()


def _flip(name: str) -> Callable[[Parts], Parts]:
    return lambda parts: {**parts, name: parts[name][:-1] + bytes([parts[name][-1] ^ 1])}


def _without(name: str) -> Callable[[Parts], Parts]:
    return lambda parts: {n: d for n, d in parts.items() if n != name}


def _with(name: str, data: bytes = b"x") -> Callable[[Parts], Parts]:
    return lambda parts: relisted({**parts, name: data})


STATE = "generations/000000004-0/state.json"
WEIGHTS = "generations/000000004-0/weights.safetensors"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_flip(WEIGHTS), "weights.safetensors fails its checksum"),
        (_flip("loss.bin"), "loss.bin fails its checksum"),
        (lambda p: relisted(_flip(WEIGHTS)(p)), "fails its checksum"),
        (_without("loss.bin"), "loss.bin is missing"),
        (lambda p: relisted(_without(WEIGHTS)(p)), "checkpoint is not complete"),
        (lambda p: relisted(_without("model.json")(p)), "checkpoint is not complete"),
        (lambda p: relisted({n: d for n, d in p.items() if "/" not in n}), "checkpoint is not complete"),
        (lambda p: relisted({**p, STATE.replace("4-0", "5-0"): p[STATE]}), "checkpoint is not complete"),
        (lambda p: {**p, "notes.txt": b"longer than before"}, "another size"),
        (lambda p: {**p, "preview_more.jpg": p["preview.jpg"]}, "not in the manifest"),
        (_with("../../evil.txt"), "no place"),
        (_with("/etc/evil"), "no place"),
        (_with("generations/../../evil/state.json"), "no place"),
        (_with("generations\\000000004-0\\state.json"), "no place"),
        (_with("generations/000000004-0/weights.pkl"), "no place"),
        (_with("model.json/"), "no place"),
        (_with("preview_masked.jpg", b"<script>"), "no JPEG"),
        (_with("model.json", b"{"), "cannot be used"),
        (_with("model.json", b'"text"'), "cannot be used"),
        (_with(STATE, b"[]"), "cannot be used"),
        (_with("notes.txt", b"n" * (2 << 20)), "another size"),
        (_without(MANIFEST), "not a model file"),
        (lambda p: {**p, MANIFEST: b"{"}, "not a model file"),
        (lambda p: relisted(p, format="other"), "not a model file"),
        (lambda p: relisted(p, version=99), "newer version"),
    ],
)
def test_a_changed_file_is_refused_and_leaves_nothing(
    tmp_path: Path, change: Callable[[Parts], Parts], words: str
) -> None:
    project, _, path = exported(tmp_path)
    wrong = pack(tmp_path / "wrong.zip", change(parts_of(path)))
    before = set(tmp_path.rglob("*"))
    with pytest.raises(LookalikeError, match=words):
        import_model(wrong, project, "bert")
    assert set(tmp_path.rglob("*")) == before


def test_a_model_of_unknown_kind_is_refused(tmp_path: Path) -> None:
    project, _, path = exported(tmp_path)
    parts = parts_of(path)
    state = json.loads(parts[STATE])
    state["info"]["model_class"] = "tomorrow"
    wrong = pack(tmp_path / "wrong.zip", relisted({**parts, STATE: json.dumps(state).encode()}))
    with pytest.raises(DamagedFileError, match="do not fit this version"):
        import_model(wrong, project, "bert")


def test_tensors_that_are_none_are_refused(tmp_path: Path) -> None:
    project, _, path = exported(tmp_path)
    parts = parts_of(path)
    junk = struct.pack("<Q", 1 << 40) + b"{}"
    state = json.loads(parts[STATE])
    state["checksums"]["weights"] = hashlib.sha256(junk).hexdigest()
    changed = relisted({**parts, WEIGHTS: junk, STATE: json.dumps(state).encode()})
    with pytest.raises(DamagedFileError, match="cannot be used"):
        import_model(pack(tmp_path / "wrong.zip", changed), project, "bert")
    assert project.models() == ["anna"]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_file_that_is_cut_off(tmp_path: Path, share: float) -> None:
    project, _, path = exported(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(DamagedFileError, match="cut off"):
        import_model(path, project, "bert")
    assert [p.name for p in project.model_root.iterdir()] == ["anna"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_compressed_and_double_members_are_refused(tmp_path: Path) -> None:
    project, _, path = exported(tmp_path)
    parts = parts_of(path)
    small = pack(tmp_path / "small.zip", parts, zipfile.ZIP_DEFLATED)
    with pytest.raises(BadInputError, match="not a model file"):
        import_model(small, project, "bert")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("terms.bin", parts["terms.bin"])
    with pytest.raises(DamagedFileError, match="twice"):
        import_model(path, project, "bert")
    mixed = pack(tmp_path / "mixed.zip", {MANIFEST: parts[MANIFEST]})
    with zipfile.ZipFile(mixed, "a", zipfile.ZIP_DEFLATED) as archive:
        for name in set(parts) - {MANIFEST}:
            archive.writestr(name, parts[name])
    with pytest.raises(DamagedFileError, match="compressed"):
        import_model(mixed, project, "bert")


def test_members_that_share_bytes_are_refused(tmp_path: Path) -> None:
    project, _, path = exported(tmp_path)
    inner = bytes(1 << 20)
    lone = pack(tmp_path / "lone.zip", {"terms.bin": inner})
    with zipfile.ZipFile(lone) as archive:
        shared = archive.getinfo("terms.bin")
        outer = lone.read_bytes()[: archive.start_dir]
    parts = relisted({**parts_of(path), "terms.bin": inner, "loss.bin": outer})
    with zipfile.ZipFile(tmp_path / "wrong.zip", "w") as archive:
        for name in [name for name in parts if name != "terms.bin"]:
            archive.writestr(name, parts[name])
        shared.header_offset = archive.getinfo("loss.bin").header_offset + 30 + len("loss.bin")
        archive.filelist.append(shared)
    with zipfile.ZipFile(tmp_path / "wrong.zip") as archive:
        assert archive.read("terms.bin") == inner
    with pytest.raises(DamagedFileError, match="more bytes than the file has"):
        import_model(tmp_path / "wrong.zip", project, "bert")


def test_import_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project, _, path = exported(tmp_path)
    with pytest.raises(BadInputError, match="There is no file"):
        import_model(tmp_path / "none", project, "bert")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(DamagedFileError, match="no model file at all"):
        import_model(tmp_path / "text", project, "bert")
    monkeypatch.setattr(atomic.shutil, "disk_usage", lambda path: Usage(1 << 40, 0, 1 << 20))
    with pytest.raises(DiskFullError):
        import_model(path, project, "bert")
    assert [p.name for p in project.model_root.iterdir()] == ["anna"]
