"""Care of the chosen model: notes, name, copies, files of it, backups, deleting and bringing back."""

from __future__ import annotations

import html
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import gradio as gr

from backend.core.errors import BadInputError
from backend.core.jobs import JobState
from backend.core.settings import STAGE_SETTINGS, ModelFileSettings
from backend.jobs.store import JobRecord
from backend.storage.model_backups import Backup, delete_backup, list_backups
from backend.storage.model_folder import ModelFolder
from backend.storage.model_operations import (
    DeletedModel,
    delete_model,
    deleted_models,
    empty_deleted,
    rename_model,
    restore_deleted,
)
from ui_tabs.context import OPEN_STATES, PageContext, Updates, View
from ui_tabs.header import size
from ui_tabs.job_panel import empty_html, job_html
from ui_tabs.model_exchange import ModelExchange, import_words, small
from ui_tabs.train_curve import stamp

Moved = Callable[[View], Updates]

NO_BACKUPS = "Backups appear here: set a time between them under Saving, or press Back up now."


class ModelCare:
    """The closed group "This model".

    Args:
        page: the page's context.
        picked: name of the chosen model, "" for a new one.
        record: the training of the open project, or None.
    """

    def __init__(
        self, page: PageContext, picked: Callable[[View], str], record: Callable[[View], JobRecord | None]
    ) -> None:
        self.page = page
        self._picked = picked
        self._record = record
        self.exchange = ModelExchange(page, self._need)
        with gr.Accordion("This model", open=False, elem_id="train-care", elem_classes="lk-more") as self.fold:
            with gr.Column(visible=False, elem_classes="lk-plain") as self.own:
                self._build_notes()
                self._build_name()
                self._build_backups()
                self.exchange.build_exports()
                self._build_delete()
            self.exchange.build_import()
            with gr.Row(elem_classes="lk-buttons"):
                self.export = gr.Button("Export as one file", visible=False, **small("export"))
                self.back = gr.Button("Undo delete", visible=False, **small("undelete"))
            self._build_trash()
            self.said = gr.HTML("", elem_id="train-care-said")
        self._wire()

    def _build_notes(self) -> None:
        self.notes = gr.Textbox(label="Notes", lines=3, max_lines=8, elem_id="train-notes")
        self.keep = gr.Button("Save notes", **small("notes-save"))

    def _build_name(self) -> None:
        self.name = gr.Textbox(label="New name", max_lines=1, elem_id="train-new-name")
        with gr.Row(elem_classes="lk-buttons"):
            self.rename = gr.Button("Rename", **small("rename"))
            self.copy = gr.Button("Copy under this name", **small("copy"))

    def _build_backups(self) -> None:
        with gr.Accordion("Backups", open=False, elem_id="train-backups-fold", elem_classes="lk-more"):
            self.backups = gr.HTML(empty_html(NO_BACKUPS), elem_id="train-backups")
            self.backup = gr.Button("Back up now", **small("backup"))
            with gr.Column(visible=False, elem_classes="lk-plain") as self.going_back:
                self.choice = gr.Dropdown([], label="Backup", elem_id="train-restore-name", filterable=False)
                self.sure = gr.Textbox(
                    label="Type the model's name to go back or to delete", max_lines=1, elem_id="train-restore-word"
                )
                with gr.Row(elem_classes="lk-buttons"):
                    self.restore = gr.Button(
                        "Go back to this backup", variant="stop", size="sm", elem_id="train-restore"
                    )
                    self.drop = gr.Button("Delete this backup", variant="stop", size="sm", elem_id="train-backup-drop")

    def _build_delete(self) -> None:
        with gr.Accordion("Delete this model", open=False, elem_id="train-delete-fold", elem_classes="lk-more"):
            gr.HTML('<p class="lk-note">The model goes into a trash; Undo delete brings it back.</p>')
            self.typed = gr.Textbox(
                label="Type the model's name to delete it", max_lines=1, elem_id="train-delete-name"
            )
            self.delete = gr.Button("Delete model", variant="stop", size="sm", elem_id="train-delete")

    def _build_trash(self) -> None:
        with gr.Accordion(
            "Deleted models", open=False, visible=False, elem_id="train-trash-fold", elem_classes="lk-more"
        ) as self.trash:
            self.trashed = gr.HTML("", elem_id="train-trash")
            self.emptied = gr.Textbox(
                label="Type the project's name to empty the trash", max_lines=1, elem_id="train-trash-word"
            )
            self.empty = gr.Button("Empty trash", variant="stop", size="sm", elem_id="train-trash-empty")

    @property
    def outputs(self) -> list[Any]:
        """Every component that tick() and fill() may update."""
        fields = [self.notes, self.name, self.choice, self.typed, self.sure]
        trash = [self.back, self.trash, self.trashed]
        return [self.fold, self.own, self.said, self.backups, self.going_back, self.export, *trash, *fields]

    def fill(self, view: View) -> Updates:
        """Notes of the chosen model."""
        view.seen.pop("train.care", None)
        return self._tick_model(view, self._model(view))

    def tick(self, view: View) -> Updates:
        """What changed: the model, its backups, its newest job, the trash."""
        model = self._model(view)
        shown = self._tick_model(view, model)
        said = self._said_html(view)
        if view.changed("train.care-said", said):
            shown[self.said] = said
        if view.changed("train.backups", (model.name if model else "", stamp(model.backups_dir) if model else ())):
            shown.update(self._backup_updates(list_backups(model) if model else []))
        project = self.page.project(view)
        trashed = deleted_models(project) if project else []
        if view.changed("train.trash", tuple(trashed)):
            words = f"Undo delete of {trashed[0].name}" if trashed else "Undo delete"
            shown[self.back] = gr.update(visible=bool(trashed), value=words)
            shown[self.trash] = gr.update(visible=bool(trashed))
            shown[self.trashed] = _trash_html(trashed)
        return shown

    def when_moved(self, moved: Moved, outputs: Sequence[Any]) -> None:
        """Wire what gives a model another name, or takes it away.

        Args:
            moved: what to show once another model is the chosen one.
            outputs: what that may update.
        """
        page = self.page

        def act(trigger: Any, fn: Callable[..., Updates], typed: Any) -> None:
            def run(view: View, *given: str) -> Updates:
                cleared = fn(view, *given)
                return {**cleared, **moved(view)}

            inputs = [page.view, *([typed] if typed is not None else [])]
            page.act(trigger, run, inputs, [*outputs, *([typed] if typed is not None else [])])

        act(self.rename.click, self._rename, self.name)
        act(self.delete.click, self._delete, self.typed)
        act(self.back.click, self._undelete, None)

    def _wire(self) -> None:
        page = self.page
        page.on(self.notes.blur, self._write_notes, [page.view, self.notes], None)
        page.on(self.keep.click, self._keep_notes, [page.view, self.notes], None)
        page.act(self.copy.click, self._copy, [page.view, self.name], self.name)
        page.act(self.export.click, self._export, page.view, None)
        self.exchange.wire()
        page.act(self.backup.click, self._backup_now, page.view, None)
        page.act(self.restore.click, self._restore, [page.view, self.choice, self.sure], self.sure)
        page.act(self.drop.click, self._delete_backup, [page.view, self.choice, self.sure], self.sure)
        page.act(self.empty.click, self._empty_trash, [page.view, self.emptied], self.emptied)

    # -- what is shown

    def _model(self, view: View) -> ModelFolder | None:
        project, name = self.page.project(view), self._picked(view)
        return ModelFolder(project.model_dir(name)) if project and name else None

    def _tick_model(self, view: View, model: ModelFolder | None) -> Updates:
        if not view.changed("train.care", model.name if model else ""):
            return {}
        return {
            self.fold: gr.update(label=f"This model: {model.name}" if model else "Import or bring back a model"),
            self.own: gr.update(visible=model is not None),
            self.export: gr.update(visible=model is not None),
            self.notes: model.notes() if model else "",
            self.name: "",
            self.typed: "",
            self.sure: "",
        }

    def _backup_updates(self, backups: Sequence[Backup]) -> Updates:
        choices = [(_backup_words(backup), backup.name) for backup in backups]
        return {
            self.backups: backups_html(backups),
            self.going_back: gr.update(visible=bool(backups)),
            self.choice: gr.update(choices=choices, value=choices[0][1] if choices else None),
        }

    def _said_html(self, view: View) -> str:
        """The newest job about a model as a whole: how it stands, or what came of it."""
        record = next(iter(self.page.jobs(view, ("model",))), None)
        if record is None or record.status.state is not JobState.DONE:
            return job_html(record) if record else ""
        action = str(record.request.settings.get("action", ""))
        result = record.status.result
        name = html.escape(str(result.get("model", "")))
        path = self.page.result_file(view, record, ("path",)) if action in ("export", "dfm", "dfl") else None
        if path is not None:
            url, file = html.escape(self.page.file_url(path)), html.escape(path.name)
            link = f'<a class="lk-link" href="{url}" download="{file}">Download {file}</a>'
            facts = f"Exported, {size(path.stat().st_size)}{_dfm_words(result)}."
            return f'<p class="lk-note">{facts} {link}</p>'
        words = {
            "copy": f"Copied; the copy {name} is in the list of models.",
            "import": import_words(result),
            "restore": f"The model {name} is back at iteration {result.get('iteration')}; how it was is a backup now.",
            "backup": f"Backup of {name} at iteration {result.get('iteration')} kept.",
        }
        return f'<p class="lk-note">{words[action]}</p>' if action in words else ""

    # -- what is done

    def _need(self, view: View) -> ModelFolder:
        model = self._model(view)
        if model is None:
            raise BadInputError("No model is chosen.", "Choose one in the list above.")
        return model

    def _need_idle(self, view: View, stages: Collection[str] = STAGE_SETTINGS) -> ModelFolder:
        """The chosen model, when no unfinished job of these stages is about it."""
        model = self._need(view)
        for record in self.page.jobs(view, tuple(stages)):
            if record.status.state in OPEN_STATES and record.request.settings.get("model") == model.name:
                raise BadInputError(f"A job of the model '{model.name}' has not ended.", "Stop it first.")
        return model

    def _write_notes(self, view: View, text: str) -> None:
        model = self._model(view)
        if model is not None and (text or "") != model.notes():
            model.write_notes(text or "")

    def _keep_notes(self, view: View, text: str) -> None:
        self._need(view).write_notes(text or "")
        gr.Info("Notes saved.", duration=4)

    def _rename(self, view: View, name: str) -> Updates:
        model, name = self._need_idle(view), (name or "").strip()
        rename_model(self.page.need_project(view), model.name, name)
        view.local["train.pick"] = name
        return {self.name: ""}

    def _delete(self, view: View, typed: str) -> Updates:
        model = self._need_idle(view)
        delete_model(self.page.need_project(view), model.name, (typed or "").strip())
        view.local["train.pick"] = ""
        return {self.typed: ""}

    def _undelete(self, view: View) -> Updates:
        project = self.page.need_project(view)
        trashed = deleted_models(project)
        if not trashed:
            raise BadInputError("There is no deleted model.")
        view.local["train.pick"] = restore_deleted(project, trashed[0].id)
        return {}

    def _submit(self, view: View, **facts: str) -> None:
        self.page.submit(view, "model", ModelFileSettings.model_validate(facts))

    def _copy(self, view: View, name: str) -> str:
        model = self._need(view)
        self._submit(view, action="copy", model=model.name, name=(name or "").strip())
        return ""

    def _export(self, view: View) -> None:
        self._submit(view, action="export", model=self._need(view).name)

    def _backup_now(self, view: View) -> None:
        """By the training while it runs, which alone may write the model; else by a job."""
        model, record = self._need(view), self._record(view)
        trains = record is not None and record.request.settings.get("model") == model.name
        if record is not None and trains and record.status.state is JobState.RUNNING:
            self.page.manager.request(view.project, record.id, "backup")
        else:
            self._submit(view, action="backup", model=model.name)

    def _restore(self, view: View, backup: str | None, typed: str) -> str:
        model = self._need_idle(view)
        name = _confirmed(model, backup, typed)
        self._submit(view, action="restore", model=model.name, name=name)
        return ""

    def _delete_backup(self, view: View, backup: str | None, typed: str) -> str:
        """A training goes on meanwhile: it reads no backup."""
        model = self._need_idle(view, ("model",))
        delete_backup(model, _confirmed(model, backup, typed))
        gr.Info("The backup was deleted.", duration=4)
        return ""

    def _empty_trash(self, view: View, typed: str) -> str:
        project = self.page.need_project(view)
        if (typed or "").strip() != project.name:
            raise BadInputError(
                "Nothing was deleted: the typed name is not that of the project.", f"Type {project.name}."
            )
        gr.Info(f"The trash is empty; {size(empty_deleted(project))} are free again.", duration=6)
        return ""


def backups_html(backups: Sequence[Backup]) -> str:
    """Backups as a table: iteration, date, size."""
    if not backups:
        return empty_html(NO_BACKUPS)
    head = '<tr><th class="lk-number">Iteration</th><th>Made</th><th class="lk-number">Size</th></tr>'
    rows = "".join(
        f'<tr><td class="lk-number">{backup.iteration:,}</td><td>{_date(backup.time)}</td>'
        f'<td class="lk-number">{size(backup.bytes)}</td></tr>'
        for backup in backups
    )
    return f'<div class="lk-scroll"><table class="lk-table"><thead>{head}</thead><tbody>{rows}</tbody></table></div>'


def _confirmed(model: ModelFolder, backup: str | None, typed: str) -> str:
    """The chosen backup, when the model's name was typed."""
    if not backup:
        raise BadInputError("No backup is chosen.", "Choose one of the list.")
    if (typed or "").strip() != model.name:
        raise BadInputError("Nothing was changed: the typed name is not that of the model.", f"Type {model.name}.")
    return backup


def _dfm_words(result: Mapping[str, Any]) -> str:
    """How well a DFM file agrees with its model; nothing for other files."""
    if "max_difference" not in result:
        return ""
    kind = "half precision, " if result.get("fp16") else ""
    return f", {kind}differs from the model by at most {100 * float(result['max_difference']):.4f} %"


def _trash_html(trashed: Sequence[DeletedModel]) -> str:
    names = ", ".join(f"{html.escape(model.name)} (deleted {_date(model.time)})" for model in trashed)
    return f'<p class="lk-note">In the trash: {names}. Emptying it frees the disk for good.</p>' if trashed else ""


def _backup_words(backup: Backup) -> str:
    kept = f", {backup.pinned}" if backup.pinned else ""
    return f"iteration {backup.iteration:,}{kept}, {_date(backup.time)}, {size(backup.bytes)}"


def _date(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))
