"""Markup of the Queue tab: one row per job with its buttons, and everything about the chosen one."""

from __future__ import annotations

import html
import time
from collections.abc import Sequence
from dataclasses import dataclass

from backend.core.jobs import JobState
from backend.core.settings import Settings
from backend.jobs.store import JobRecord
from ui_tabs.job_panel import chip, command_html, duration, job_html
from ui_tabs.job_words import job_title, settings_rows, settings_text

ROW_SCRIPT = """
let focused = null;
const find = (target) => target && target.closest ? target.closest('[data-act]') : null;
const same = (button) => button.dataset.act + ' ' + button.dataset.job === focused;
element.addEventListener('click', (event) => {
  const button = find(event.target);
  if (!button) return;
  trigger('select', {act: button.dataset.act, job: button.dataset.job});
  const detail = document.getElementById('queue-detail');
  if (button.dataset.act === 'show' && window.innerWidth <= 760) detail.scrollIntoView({block: 'center'});
});
element.addEventListener('focusin', (event) => {
  const button = find(event.target);
  focused = button ? button.dataset.act + ' ' + button.dataset.job : null;
});
document.addEventListener('pointerdown', (event) => { if (!element.contains(event.target)) focused = null; });
document.addEventListener('focusin', (event) => { if (!element.contains(event.target)) focused = null; });
new MutationObserver(() => {
  if (!focused || document.activeElement !== document.body) return;
  const again = [...element.querySelectorAll('[data-act]')].find(same);
  if (again) again.focus({preventScroll: true});
}).observe(element, {childList: true, subtree: true});
"""
"""Sends what was pressed, and keeps the keyboard's place when the rows are drawn anew."""

LOG_SCRIPT = """
let following = true;
element.addEventListener('scroll', (event) => {
  const log = event.target;
  following = log.scrollHeight - log.scrollTop - log.clientHeight < 24;
}, true);
new MutationObserver(() => {
  const log = element.querySelector('.lk-log');
  if (log && following) log.scrollTop = log.scrollHeight;
}).observe(element, {childList: true, subtree: true});
"""
"""Keeps the end of the log in sight unless the reader scrolled up."""


_DEFAULT = "lk-default"


@dataclass(frozen=True)
class Act:
    """A button of a row: what it does, its word, and whether it can be pressed now."""

    name: str
    word: str
    enabled: bool = True


@dataclass(frozen=True)
class Row:
    """One job of a list.

    Attributes:
        record: the job.
        place: what it occupies, in words.
        note: why it waits or what came out, one sentence.
        acts: its buttons.
    """

    record: JobRecord
    place: str = ""
    note: str = ""
    acts: tuple[Act, ...] = ()


def rows_html(rows: Sequence[Row], chosen: str) -> str:
    """A list of jobs; the chosen one is marked."""
    return f'<ul class="lk-rows">{"".join(row_html(row, row.record.id == chosen) for row in rows)}</ul>'


def row_html(row: Row, chosen: bool) -> str:
    """One job: title, facts, buttons; progress while it runs, result or error once it has ended."""
    record = row.record
    status = record.status
    title = html.escape(job_title(record))
    job = html.escape(record.id)
    name = (
        f'<button type="button" class="lk-row-name" data-act="show" data-job="{job}" '
        f'aria-pressed="{str(chosen).lower()}" title="Show log and settings">{title}</button>'
    )
    place = f'<span class="lk-row-place">{html.escape(row.place)}</span>' if row.place else ""
    acts = "".join(_button(act, job, title) for act in row.acts)
    if status.state in (JobState.RUNNING, JobState.STOPPING):
        facts, body = place, job_html(record)
    else:
        times = "".join(f'<span class="lk-row-place">{html.escape(text)}</span>' for text in times_of(record))
        facts, body = f"{chip(status.state)}{place}{times}", _note(row)
    head = f'<div class="lk-row-head">{name}{facts}<span class="lk-acts">{acts}</span></div>'
    mark = ' data-chosen="true"' if chosen else ""
    return f'<li class="lk-row" data-state="{status.state.value}" data-row="{job}"{mark}>{head}{body}</li>'


def times_of(record: JobRecord) -> list[str]:
    """How long an ended job took and when it ended; when a waiting one was asked for."""
    status = record.status
    if not status.state.final:
        return [f"asked for {_clock(record.request.created)}"]
    found = [duration(status.finished - status.started)] if status.started and status.finished else []
    return [*found, _clock(status.finished)] if status.finished else found


def detail_html(row: Row, settings: Settings | None, command: str, after: str) -> str:
    """Everything about one job but its log.

    Args:
        row: the job; its note is shown as it is.
        settings: what it was asked to do, None when this version cannot read it.
        command: the command line that repeats it, "" when there is none.
        after: what Resume will do, or which later job went on with it.
    """
    record = row.record
    status = record.status
    facts = [("Job", record.id), ("Asked for", _clock(record.request.created, seconds=True))]
    facts += [
        (name, _clock(at, seconds=True)) for name, at in (("Began", status.started), ("Ended", status.finished)) if at
    ]
    if status.started and status.finished:
        facts.append(("Took", duration(status.finished - status.started)))
    facts += [(name, text) for name, text in (("Runs on", row.place), ("Started from", _origin(record))) if text]
    lines = "".join(f"<dt>{name}</dt><dd>{html.escape(text)}</dd>" for name, text in facts)
    kind = "lk-error" if status.state is JobState.FAILED else "lk-notice"
    error = f'<p class="{kind}">{html.escape(status.error)}</p>' if status.error else ""
    said = "".join(f'<p class="lk-message">{html.escape(text)}</p>' for text in (row.note, after) if text)
    title = f'<div class="lk-job-line"><b>{html.escape(job_title(record))}</b>{chip(status.state)}</div>'
    return (
        f'<div class="lk-job">{title}{error}{said}<dl class="lk-facts">{lines}</dl>'
        f"{_settings(record, settings)}{command_html(command) if command else ''}</div>"
    )


def _settings(record: JobRecord, settings: Settings | None) -> str:
    if settings is None:
        text = html.escape(settings_text(record.request.settings))
        body = f'<p class="lk-note">This version cannot read these settings.</p><pre class="lk-log">{text}</pre>'
    else:
        rows = "".join(
            f'<tr class="{_DEFAULT * default}"><td>{html.escape(label)}</td><td>{html.escape(text)}</td></tr>'
            for label, text, default in settings_rows(record.request.stage, settings)
        )
        head = "<thead><tr><th>Setting</th><th>Value</th></tr></thead>"
        body = f'<div class="lk-scroll"><table class="lk-table">{head}<tbody>{rows}</tbody></table></div>'
    return f'<details class="lk-details"><summary>Settings</summary>{body}</details>'


def _button(act: Act, job: str, title: str) -> str:
    off = "" if act.enabled else " disabled"
    word = html.escape(act.word)
    return (
        f'<button type="button" class="lk-act" data-act="{act.name}" data-job="{job}" '
        f'aria-label="{word}: {title}"{off}>{word}</button>'
    )


def _note(row: Row) -> str:
    error, note = row.record.status.error, row.note
    kind = "lk-row-failed" if row.record.status.state is JobState.FAILED else "lk-row-said"
    said = f'<p class="lk-message {kind}">{html.escape(error)}</p>' if error else ""
    return said + (f'<p class="lk-message">{html.escape(note)}</p>' if note else "")


def _origin(record: JobRecord) -> str:
    return "the command line" if record.request.foreground else ""


def _clock(at: float, seconds: bool = False) -> str:
    form = "%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M"
    return time.strftime(form, time.localtime(at))
