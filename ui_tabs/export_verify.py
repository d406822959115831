"""Which marks a file carries: a result of the project or any file that is uploaded, read back by the stage "verify"."""

from __future__ import annotations

import html
import secrets
import shutil
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from backend.core.errors import BadInputError
from backend.core.jobs import JobState
from backend.core.settings import VerifySettings
from backend.jobs.store import JobRecord
from backend.storage.image import list_images
from backend.storage.project import Project
from ui_tabs.context import OPEN_STATES, PageContext, Updates, View
from ui_tabs.header import size
from ui_tabs.job_panel import chip, empty_html

UPLOADS = "verify"
"""Folder of uploaded files inside the project's cache; each lies in a folder of its own until it was read."""
SHOWN = "export.verify"
NOTHING = (
    "Press Verify at a result, or upload a video or picture from anywhere. "
    "Choose its sidecar (.json) together with it, if there is one."
)
TYPES = ("mp4", "mov", "mkv", "webm", "avi", "gif", "png", "jpg", "jpeg", "json")


class VerifyPanel:
    """Place it inside a layout, then wire() it.

    Args:
        page: the page's context.

    Attributes:
        upload: the button; box: what was found.
    """

    def __init__(self, page: PageContext) -> None:
        self.page = page
        self._lock = threading.Lock()
        self.box = gr.HTML(empty_html(NOTHING), elem_id="export-verify")
        with gr.Row(elem_classes="lk-buttons"):
            self.upload = gr.UploadButton(
                "Verify a file",
                file_count="multiple",
                file_types=[f".{kind}" for kind in TYPES],
                size="sm",
                elem_id="export-verify-upload",
                elem_classes="lk-quiet",
            )

    @property
    def outputs(self) -> list[Any]:
        """Every component that tick() may update."""
        return [self.box]

    def wire(self) -> None:
        """Make the button work."""

        def take(view: View, files: Sequence[str] | None) -> None:
            self.uploaded(view, [Path(file) for file in files or ()])

        self.page.act(self.upload.upload, take, [self.page.view, self.upload], None, show_progress="minimal")

    def tick(self, view: View) -> Updates:
        """The newest report, when it changed. Uploads that were read are removed."""
        project = self.page.project(view)
        jobs = self.page.jobs(view, ("verify",))
        if project is not None:
            self._tidy(project)
        record = next(iter(jobs), None)
        content = report_html(record) if record else empty_html(NOTHING)
        return {self.box: content} if view.changed(SHOWN, content) else {}

    def result(self, view: View, name: str) -> None:
        """Verify a result of the project; of a folder its first picture."""
        project = self.page.need_project(view)
        path = next((path for path in project.results() if path.name == name), None)
        if path is None:
            raise BadInputError(f"There is no result '{name}' any more.")
        file = list_images(path)[0] if path.is_dir() else path
        self._submit(view, VerifySettings(file=file.resolve()))

    def uploaded(self, view: View, files: Sequence[Path]) -> None:
        """Verify an uploaded file, with its sidecar when that came along. BadInputError unless there is exactly one."""
        sidecars = [file for file in files if file.suffix.lower() == ".json"]
        others = [file for file in files if file not in sidecars]
        try:
            if len(others) != 1 or len(sidecars) > 1:
                raise BadInputError("Choose one video or picture, alone or with its sidecar (.json).")
            project = self.page.need_project(view)
            with self._lock:
                folder = _uploads(project) / secrets.token_hex(6)
                folder.mkdir(parents=True)
                target = folder / others[0].name
                shutil.move(others[0], target)
                for sidecar in sidecars:
                    shutil.move(sidecar, target.with_suffix(".json"))
                try:
                    self._submit(view, VerifySettings(file=target.resolve()))
                except BaseException:
                    shutil.rmtree(folder, ignore_errors=True)
                    raise
        finally:
            for file in files:
                file.unlink(missing_ok=True)

    def _submit(self, view: View, settings: VerifySettings) -> None:
        self.page.submit(view, "verify", settings)

    def _tidy(self, project: Project) -> None:
        """Remove uploads that no job waits to read."""
        folder = _uploads(project)
        if not folder.is_dir():
            return
        with self._lock:
            open_ones = [r for r in self.page.manager.jobs(project) if r.status.state in OPEN_STATES]
            wanted = {
                Path(str(r.request.settings.get("file"))).parent for r in open_ones if r.request.stage == "verify"
            }
            for each in folder.iterdir():
                if each.resolve() not in wanted:
                    shutil.rmtree(each, ignore_errors=True)
            if not any(folder.iterdir()):
                folder.rmdir()


def report_html(record: JobRecord) -> str:
    """What a job found: the verdict and a table, or how far it is."""
    status = record.status
    name = html.escape(Path(str(record.request.settings.get("file") or "")).name)
    head = f'<div class="lk-job-line"><b>{name}</b>{chip(status.state)}</div>'
    if status.state is not JobState.DONE:
        kind = "lk-error" if status.state is JobState.FAILED else "lk-message"
        said = f'<p class="{kind}">{html.escape(status.error or status.message)}</p>'
        done = f"{status.done:,} of {status.total:,} {html.escape(status.unit)}" if status.total else ""
        progress = f'<p class="lk-note">{done}</p>' if done and not status.state.final else ""
        return f"{head}{said if status.error or status.message else ''}{progress}"
    found = status.result
    marked = str(bool(found.get("ai_manipulated"))).lower()
    verdict = f'<p class="lk-verdict" data-marked="{marked}">{html.escape(str(found.get("verdict", "")))}</p>'
    rows = "".join(f"<tr><td>{html.escape(k)}</td><td>{html.escape(v)}</td></tr>" for k, v in report_rows(found))
    notes = "".join(f'<p class="lk-note">{html.escape(str(note))}</p>' for note in _list(found.get("notes")))
    table = f'<div class="lk-scroll"><table class="lk-table lk-found"><tbody>{rows}</tbody></table></div>'
    return f"{head}{verdict}{table}{notes}"


def report_rows(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(where, what was found there) of a report of the stage "verify"."""
    tags, sidecar, credentials = (_dict(found.get(name)) for name in ("tags", "sidecar", "credentials"))
    kind = str(found.get("kind") or "unknown kind").upper()
    rows = [("File", f"{kind}, {size(int(found.get('bytes') or 0))}")]
    told = [str(text) for text in tags.values() if "AI-manipulated" in str(text)]
    rows.append(("Metadata", told[0] if told else f"no mark among {len(tags)} tags" if tags else "none"))
    rows.append(("Digital source type", str(found.get("source_type") or "none")))
    rows += _credential_rows(credentials)
    rows += _sidecar_rows(sidecar)
    rows.append(("Visible label", _label_words(sidecar)))
    rows.append(("SHA-256", str(found.get("sha256", ""))))
    return rows


def _credential_rows(told: Mapping[str, Any]) -> list[tuple[str, str]]:
    states = {
        "none": "none",
        "unreadable": "cannot be read",
        "invalid": "not valid",
        "valid": "valid, signer not known",
        "trusted": "valid, signer trusted",
    }
    state = states.get(str(told.get("state", "none")), str(told.get("state")))
    changed = ", the file was changed since" if told.get("changed") else ""
    rows = [("Content credentials", f"{state}{changed}")]
    facts = [told.get(name) for name in ("signer", "issuer", "algorithm", "signed")]
    words = ", ".join(dict.fromkeys(str(fact) for fact in facts if fact))
    return [*rows, ("Signed by", words)] if words else rows


def _sidecar_rows(told: Mapping[str, Any]) -> list[tuple[str, str]]:
    if not told.get("name"):
        return [("Sidecar", "none")]
    matches = {True: "checksum matches", False: "checksum differs", None: "without a checksum"}[told.get("matches")]
    rows = [("Sidecar", f"{told['name']}, {matches}")]
    model = str(told.get("model") or "")
    at = f" at iteration {told['iteration']:,}" if model and told.get("iteration") else ""
    made = [str(told[name]) for name in ("software", "created") if told.get(name)]
    where = [f"project {told['project']}"] if told.get("project") else []
    where += [f"model {model}{at}"] if model else []
    where += ["consent stated"] if told.get("consent") else []
    rows += [("It says", ", ".join([*where, *made]))] if where or made else []
    return rows


def _label_words(sidecar: Mapping[str, Any]) -> str:
    """Only the sidecar tells of a visible label; the picture is not searched for one."""
    if not sidecar.get("name"):
        return "not known without a sidecar; look at the picture"
    return f'"{sidecar["label"]}", by its sidecar' if sidecar.get("label") else "none, by its sidecar"


def _uploads(project: Project) -> Path:
    return project.jobs_dir / ".cache" / UPLOADS


def _dict(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()
