"""Stage model: copy a model, write it as one file, as DFM or for DeepFaceLab, bring one in, make backups."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from backend.core.errors import BadInputError
from backend.core.settings import ModelFileSettings
from backend.pipeline.context import StageContext
from backend.pipeline.dfl_export import dfl_stem, write_dfl
from backend.pipeline.dfl_import import import_bytes, import_dfl
from backend.pipeline.dfm import SUFFIX as DFM_SUFFIX
from backend.pipeline.dfm import dfm_stem, write_dfm
from backend.pipeline.dfm_import import import_dfm
from backend.storage.checkpoint import KEEP
from backend.storage.linking import Progress
from backend.storage.model_backups import create_backup, restore_backup
from backend.storage.model_file import SUFFIX, export_bytes, export_model
from backend.storage.model_import import import_model, is_ours
from backend.storage.model_operations import copy_model, existing_model, free_model_name, model_bytes
from backend.storage.taken_names import take_name

ZIP_SUFFIX = ".zip"
DFL_SUFFIXES = (".dat", ".npy")

_MB = 1 << 20
_SHOWN = 200


def run(settings: ModelFileSettings, ctx: StageContext) -> dict[str, Any]:
    """Do what ``action`` says.

    Returns:
        {"action", "model", "took_s"} and, by action:
        copy: {"bytes"}, model is the new one;
        export: {"path" in the project, "bytes", "iteration"}; the file lies in results/;
        import: {"bytes", "iteration", "kind": "model", "deepfacelab" or "dfm"}, model is the new one;
        dfm: {"path" in the project, "bytes", "iteration", "max_difference" from the model, "opset", "fp16"};
        dfl: {"path" in the project, "bytes", "iteration"};
        restore: {"iteration", "kept": name of the backup of the state before, or ""};
        backup: {"backup": its name, "bytes", "iteration"}.

    Raises:
        BadInputError: no such model, backup or file, or a name that is taken.
        ModelBusyError: somebody writes the model.
        DamagedFileError: a file or a checkpoint fails its checks.
        DiskFullError: too little disk.
        DfmDiffersError: a DFM file did not agree with its model.
        On any error and on a stop the models are as they were.
    """
    began = time.monotonic()
    report = _Report(ctx)
    result = _ACTIONS[settings.action](settings, ctx, report)
    report.finish()
    return {"action": settings.action, **result, "took_s": round(time.monotonic() - began, 2)}


class _Report:
    """Progress in MB of an amount of bytes that is known roughly; a stop takes effect here."""

    def __init__(self, ctx: StageContext) -> None:
        self._ctx = ctx
        self._began = time.monotonic()
        self._message = ""
        self._total = 1
        self._done = 0

    def of(self, total: int, message: str) -> Progress:
        """What an operation of about so many bytes tells its progress to."""
        self._total, self._message = max(1, total), message
        return self._add

    def finish(self) -> None:
        """All is done."""
        self._done = self._total
        self._tell(self._total)

    def _add(self, count: int) -> None:
        self._ctx.check_stop()
        self._done += count
        self._tell(min(self._done, self._total - 1))

    def _tell(self, done: int) -> None:
        rate = self._done / _MB / max(1e-6, time.monotonic() - self._began)
        self._ctx.progress(-(-done // _MB), -(-self._total // _MB), "MB", rate, self._message)


def _copy(settings: ModelFileSettings, ctx: StageContext, report: _Report) -> dict[str, Any]:
    source = existing_model(ctx.project, settings.model)
    name = settings.name or free_model_name(ctx.project, source.name)
    size = model_bytes(source)
    copy = copy_model(ctx.project, source.name, name, _owner(ctx), report.of(size, "Copying"))
    ctx.log(f"The model '{source.name}' was copied to '{copy.name}'.")
    return {"model": copy.name, "bytes": size}


def _export(settings: ModelFileSettings, ctx: StageContext, report: _Report) -> dict[str, Any]:
    folder, results = existing_model(ctx.project, settings.model), ctx.project.results_dir
    folder.require_trainable()
    partial = results / f".{secrets.token_hex(8)}{SUFFIX}"
    try:
        size = export_bytes(folder)
        packed = export_model(folder, partial, _owner(ctx), report.of(size, "Checking and writing"))
        path = take_name(results, f"{folder.name}-{packed.iteration}", SUFFIX, partial)
    finally:
        partial.unlink(missing_ok=True)
    place = path.relative_to(ctx.project.path).as_posix()
    ctx.emit("artifact", {"what": "model", "path": place})
    return {"model": folder.name, "path": place, "bytes": packed.bytes, "iteration": packed.iteration}


def _dfm(settings: ModelFileSettings, ctx: StageContext, report: _Report) -> dict[str, Any]:
    folder, results = existing_model(ctx.project, settings.model), ctx.project.results_dir
    folder.require_trainable()
    partial = results / f".{secrets.token_hex(8)}{DFM_SUFFIX}"
    try:
        report.of(model_bytes(folder), "Writing and comparing with the model")(0)
        made = write_dfm(ctx.project, folder.name, partial, settings.fp16, ctx)
        path = take_name(results, dfm_stem(ctx.project, folder.name), DFM_SUFFIX, partial)
    finally:
        partial.unlink(missing_ok=True)
    place = path.relative_to(ctx.project.path).as_posix()
    ctx.emit("artifact", {"what": "model", "path": place})
    return {"model": folder.name, "path": place, **made}


def _dfl(settings: ModelFileSettings, ctx: StageContext, report: _Report) -> dict[str, Any]:
    folder, results = existing_model(ctx.project, settings.model), ctx.project.results_dir
    stem = dfl_stem(folder)
    partial = results / f".{secrets.token_hex(8)}{ZIP_SUFFIX}"
    try:
        progress = report.of(model_bytes(folder) // KEEP, "Writing for DeepFaceLab")
        progress(0)
        made = write_dfl(folder, partial, ctx, progress)
        path = take_name(results, stem.replace("_", "-"), ZIP_SUFFIX, partial)
    finally:
        partial.unlink(missing_ok=True)
    place = path.relative_to(ctx.project.path).as_posix()
    ctx.emit("artifact", {"what": "model", "path": place})
    return {"model": folder.name, "path": place, **made}


def _import(settings: ModelFileSettings, ctx: StageContext, report: _Report) -> dict[str, Any]:
    path = _path(settings.file)
    kind, size = _kind(path), path.stat().st_size if path.is_file() else 0
    if kind == "dfm":
        progress = report.of(size, "Copying and checking")
        folder = import_dfm(path, ctx, settings.name, settings.face_type, progress)
    elif kind == "deepfacelab":
        size = import_bytes(path)
        folder = import_dfl(path, ctx, settings.name, report.of(size, "Reading"))
    else:
        folder = import_model(path, ctx.project, settings.name, report.of(2 * size, "Unpacking and checking"))
    info = folder.info()
    ctx.log(f"The model in {path.name} is here as '{folder.name}'.")
    return {"model": folder.name, "kind": kind, "bytes": size, "iteration": info.iteration if info else 0}


def _path(text: str) -> Path:
    """The path, there or not. BadInputError when the system cannot even look there."""
    try:
        path = Path(text).expanduser()
        path.exists()
    except (RuntimeError, OSError) as error:
        why = error.strerror if isinstance(error, OSError) else "that home folder is not known"
        raise BadInputError(f"{text[:_SHOWN]} cannot be read: {why}.", "Check the path.") from error
    return path


def _kind(path: Path) -> str:
    """Whose file it is: "dfm", "deepfacelab", or one of ours, whatever its suffix."""
    if path.suffix.lower() == DFM_SUFFIX:
        return "dfm"
    suffix = path.suffix.lower()
    if path.is_dir() or suffix in DFL_SUFFIXES or (suffix == ZIP_SUFFIX and not is_ours(path)):
        return "deepfacelab"
    return "model"


def _restore(settings: ModelFileSettings, ctx: StageContext, report: _Report) -> dict[str, Any]:
    folder = existing_model(ctx.project, settings.model)
    size = 3 * model_bytes(folder)
    before = restore_backup(folder, settings.name, _owner(ctx), report.of(size, "Checking and restoring"))
    info = folder.info()
    iteration = info.iteration if info else 0
    ctx.milestone("restored", f"'{folder.name}' is back at iteration {iteration}.", iteration)
    return {"model": folder.name, "iteration": iteration, "kept": before.name if before else ""}


def _back_up(settings: ModelFileSettings, ctx: StageContext, report: _Report) -> dict[str, Any]:
    folder = existing_model(ctx.project, settings.model)
    folder.require_trainable()
    with folder.lock(_owner(ctx)):
        backup = create_backup(folder, report.of(model_bytes(folder), "Copying"))
    ctx.milestone("backup", f"Backup of iteration {backup.iteration} kept.", backup.iteration)
    return {"model": folder.name, "backup": backup.name, "bytes": backup.bytes, "iteration": backup.iteration}


_ACTIONS: Mapping[str, Callable[[ModelFileSettings, StageContext, _Report], dict[str, Any]]] = MappingProxyType(
    {
        "copy": _copy,
        "export": _export,
        "dfm": _dfm,
        "dfl": _dfl,
        "import": _import,
        "restore": _restore,
        "backup": _back_up,
    }
)


def _owner(ctx: StageContext) -> str:
    return f"job {ctx.job_dir.name}"
