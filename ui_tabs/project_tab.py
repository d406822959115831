"""The Project tab: create, delete, consent, the two clips, what every step has and lacks, disk used."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import gradio as gr

from backend.core.errors import BadInputError, LookalikeError
from backend.core.settings import SampleSettings
from backend.storage.usage import CLEANABLE, Use, clean, usage
from ui_tabs.clip_cards import ClipCards
from ui_tabs.context import PageContext, TabHandles, Updates, View
from ui_tabs.form import error_html
from ui_tabs.header import MARKS, size
from ui_tabs.job_panel import JobPanel, empty_html
from ui_tabs.labels import SIDES
from ui_tabs.steps import TITLES, Step, steps

SAMPLE = "sample"
SAMPLE_CONSENT = (
    "Sample project. The source is a public-domain portrait that comes with the program, the destination is a person "
    "derived from it by drawing; nobody else is shown."
)
CONSENT_HELP = (
    "Who agreed to this use of their face, and on what basis. It is stored with the project and every export."
)


def build_project_tab(page: PageContext) -> TabHandles:
    """Make the tab."""
    cards = ClipCards(page)
    with page.tab("project") as tab, gr.Row(elem_classes="lk-split"):
        with gr.Column(scale=2, min_width=320):
            _new_card(page)
            with gr.Column(elem_classes="lk-optional"):
                panel = JobPanel(
                    page, "project", ("create", "sample"), "Making the sample clips shows its progress here."
                )
            consent, consent_note = _consent_card(page)
            _delete_card(page)
        with gr.Column(scale=3, min_width=320):
            with gr.Row(elem_classes="lk-two"):
                clips = {side: _clip_card(page, side) for side in SIDES}
            with gr.Column(elem_classes="lk-card"):
                gr.HTML('<h2 class="lk-card-title">Steps</h2>')
                table = gr.HTML("", elem_id="project-steps")
            used = _storage_card(page)

    def tick(view: View) -> Updates:
        project = page.project(view)
        shown = panel.tick(view)
        for side, component in clips.items():
            video = project.side(side).video if project else None
            stamp = (view.project, video, video.stat().st_mtime_ns if video and video.exists() else 0)
            if view.changed(f"project.{side}", stamp):
                shown[component] = cards.card(project, side) if project else empty_html("Open a project first.")
        status = project.status() if project else None
        found = steps(status, project.consent if project else "", page.jobs(view))
        if view.changed("project.steps", found):
            shown[table] = steps_html(found)
        if view.changed("project.used", (view.project, status)):
            shown[used] = usage_html(usage(project)) if project else empty_html("Open a project first.")
        note = page.consent_missing(view) if project else ""
        if view.changed("project.consent", note):
            shown[consent_note] = f'<p class="lk-why">{html.escape(note)}</p>' if note else ""
        return shown

    def fill(view: View) -> Updates:
        project = page.project(view)
        return {consent: gr.update(value=project.consent if project else "", interactive=project is not None)}

    outputs = [*panel.outputs, *clips.values(), table, used, consent, consent_note]
    return TabHandles("project", tab, outputs, tick, fill)


def _new_card(page: PageContext) -> None:
    with gr.Column(elem_classes="lk-card"):
        gr.HTML('<h2 class="lk-card-title">New project</h2>')
        name = gr.Textbox(label="Name", placeholder="my film", max_lines=1, elem_id="project-name")
        consent = gr.Textbox(label="Consent statement", info=CONSENT_HELP, lines=2, elem_id="project-new-consent")
        with gr.Row(elem_classes="lk-buttons"):
            create = gr.Button("Create project", variant="primary", elem_id="project-create")
            sample = gr.Button("Sample project", elem_id="project-sample")
        root = html.escape(str(page.workspace.root))
        gr.HTML(f'<p class="lk-note">A DeepFaceLab workspace moved into <code>{root}</code> opens as it is.</p>')

    def make(view: View, wanted: str, statement: str) -> tuple[str, str]:
        if not statement.strip():
            raise BadInputError("The consent statement is empty.", "Say who agreed to this use of their face.")
        project = page.workspace.create(wanted.strip(), statement.strip(), "")
        page.remember(project.name)
        view.open(project.name)
        return "", ""

    def make_sample(view: View) -> None:
        if SAMPLE not in page.workspace.projects():
            page.workspace.create(SAMPLE, SAMPLE_CONSENT, "")
        page.remember(SAMPLE)
        view.open(SAMPLE)
        project = page.need_project(view)
        if not project.side("src").video and not any(not job.status.state.final for job in page.jobs(view)):
            page.submit(view, "sample", SampleSettings())

    page.act_and_refill(create.click, make, [page.view, name, consent], [name, consent])
    page.act_and_refill(sample.click, make_sample, page.view, None)


def _consent_card(page: PageContext) -> tuple[Any, Any]:
    with gr.Column(elem_classes="lk-card"):
        gr.HTML('<h2 class="lk-card-title">Consent</h2>')
        note = gr.HTML("", elem_id="project-consent-why")
        consent = gr.Textbox(label="Consent statement", info=CONSENT_HELP, lines=3, elem_id="project-consent")
        save = gr.Button("Save statement", size="sm", elem_id="project-consent-save", elem_classes="lk-quiet")

    def store(view: View, statement: str) -> None:
        if not statement.strip():
            raise BadInputError("The consent statement is empty.", "Say who agreed to this use of their face.")
        page.need_project(view).set_consent(statement.strip())

    page.act(save.click, store, [page.view, consent], None)
    return consent, note


def _delete_card(page: PageContext) -> None:
    with gr.Accordion("Delete this project", open=False, elem_classes="lk-card", elem_id="project-delete-fold"):
        gr.HTML('<p class="lk-note">Clips, faces, models and results of the project are removed from the disk.</p>')
        typed = gr.Textbox(label="Type the project's name to delete it", max_lines=1, elem_id="project-delete-name")
        button = gr.Button("Delete project", variant="stop", size="sm", elem_id="project-delete")

    def delete(view: View, name: str) -> str:
        project = page.need_project(view)
        if any(not job.status.state.final for job in page.jobs(view)):
            raise BadInputError("A job of this project has not ended.", "Stop it in the Queue tab first.")
        page.workspace.delete(project.name, name.strip())
        view.open(page.last_opened())
        return ""

    page.act_and_refill(button.click, delete, [page.view, typed], typed)


def _clip_card(page: PageContext, side: str) -> Any:
    word = SIDES[side]
    whose = "whose face is used" if side == "src" else "whose face is replaced"
    with gr.Column(elem_classes="lk-card", min_width=300):
        gr.HTML(f'<h2 class="lk-card-title"><span class="lk-side-{side}">{word}</span> clip, {whose}</h2>')
        facts = gr.HTML("", elem_id=f"project-{side}-card")
        fault = gr.HTML("", elem_id=f"project-{side}-error")
        with gr.Accordion("Bring in a clip", open=False, elem_classes="lk-more", elem_id=f"project-{side}-bring"):
            upload = gr.File(label="Upload", height=110, elem_id=f"project-{side}-upload")
            with gr.Row(elem_classes="lk-buttons lk-end"):
                path = gr.Textbox(
                    label="Or a file in the workspace folder",
                    max_lines=1,
                    elem_id=f"project-{side}-path",
                )
                take = gr.Button("Use this file", size="sm", elem_id=f"project-{side}-take")

    def bring(view: View, given: str) -> str:
        from backend.storage.video import probe

        project = page.need_project(view)
        try:
            source = page.workspace.resolve_inside(given.strip())
            if source.is_file():
                probe(source)
            project.import_video(side, source)
        except LookalikeError as error:
            return error_html(str(error))
        return ""

    def uploaded(view: View, given: str | None) -> tuple[None, str]:
        if not given:
            return None, ""
        said = bring(view, given)
        Path(given).unlink(missing_ok=True)
        return None, said

    def named(view: View, given: str) -> tuple[str, str]:
        if not given.strip():
            return "", error_html("No file was named. Type the path of a clip inside the workspace folder.")
        said = bring(view, given)
        return given if said else "", said

    page.act(upload.upload, uploaded, [page.view, upload], [upload, fault], show_progress="minimal")
    page.act(take.click, named, [page.view, path], [path, fault], show_progress="minimal")
    return facts


def _storage_card(page: PageContext) -> Any:
    with gr.Column(elem_classes="lk-card"):
        gr.HTML('<h2 class="lk-card-title">Disk used</h2>')
        used = gr.HTML("", elem_id="project-used")
        with gr.Accordion("Clean up", open=False, elem_classes="lk-more", elem_id="project-clean-fold"):
            kind = gr.Dropdown(
                [(text, key) for key, text in CLEANABLE.items()],
                label="What",
                filterable=False,
                elem_id="project-clean-kind",
            )
            typed = gr.Textbox(label="Type delete to confirm", max_lines=1, elem_id="project-clean-word")
            button = gr.Button("Clean up", variant="stop", size="sm", elem_id="project-clean")

    def tidy(view: View, what: str, word: str) -> str:
        if word.strip().lower() != "delete":
            raise BadInputError("Nothing was deleted.", "Type the word delete to confirm.")
        freed = clean(page.need_project(view), what)
        view.seen.pop("project.used", None)
        gr.Info(f"{size(freed)} freed.", duration=6)
        return ""

    page.act(button.click, tidy, [page.view, kind, typed], typed)
    return used


def steps_html(found: list[Step]) -> str:
    """The table of steps: mark, what is there, what is missing, and the button that leads on."""
    rows = "".join(f"<tr>{_step_cells(step)}</tr>" for step in found)
    head = "<tr><th>Step</th><th>There</th><th>Missing</th><th></th></tr>"
    table = f'<table class="lk-table lk-stack"><thead>{head}</thead><tbody>{rows}</tbody></table>'
    return f'<div class="lk-scroll">{table}</div>'


def _step_cells(step: Step) -> str:
    goto = step.goto or step.name
    mark = f'<span class="lk-mark-{step.mark}" title="{step.mark}">{MARKS[step.mark]}</span>'
    word = "" if goto == "project" else f"Go to {goto.capitalize()}"
    button = (
        f'<button type="button" class="lk-link" data-goto="{goto}" id="steps-{step.name}">{word}</button>'
        if word
        else ""
    )
    middle = "".join(f"<td>{html.escape(text)}</td>" for text in (step.there, step.missing))
    return f'<td class="lk-nowrap">{mark} {TITLES[step.name]}</td>{middle}<td>{button}</td>'


def usage_html(uses: list[Use]) -> str:
    """The table of disk used per kind."""
    rows = "".join(
        f'<tr><td>{html.escape(use.title)}</td><td class="lk-number">{use.files:,}</td>'
        f'<td class="lk-number">{size(use.bytes)}</td></tr>'
        for use in uses
        if use.files
    )
    if not rows:
        return empty_html("Nothing yet.")
    total = sum(use.bytes for use in uses)
    rows += f'<tr><td><b>Together</b></td><td></td><td class="lk-number"><b>{size(total)}</b></td></tr>'
    head = '<tr><th>What</th><th class="lk-number">Files</th><th class="lk-number">Size</th></tr>'
    return f'<table class="lk-table"><thead>{head}</thead><tbody>{rows}</tbody></table>'
