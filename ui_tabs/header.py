"""The bar above all tabs: project, device, running job, free disk; and the marks of the step bar."""

from __future__ import annotations

import html
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
import psutil

from backend.core.jobs import JobState
from backend.devices import BEST, Device, resolve_device
from backend.jobs.store import JobRecord
from ui_tabs.context import PageContext, Updates, View
from ui_tabs.job_panel import chip, duration, time_left
from ui_tabs.job_words import job_title
from ui_tabs.steps import Step, count, steps, tab_of_stage

MARKS = {"done": "\u2713", "ready": "\u2022", "running": "\u25b6", "missing": "\u2013", "failed": "\u00d7"}
REFRESH_DEVICES_S = 60.0


@dataclass
class Header:
    """Components of the bar above the tabs.

    Attributes:
        project: the dropdown that switches projects.
        facts: device, running job, disk.
        marks: a style sheet that writes the state of each step behind its tab's title.
    """

    page: PageContext
    project: Any
    facts: Any
    marks: Any
    asked: float = 0.0

    @property
    def outputs(self) -> list[Any]:
        """Every component that tick() and show_projects() may update."""
        return [self.project, self.facts, self.marks, *self.page.notices.values()]

    def tick(self, view: View) -> Updates:
        """What changed since the last tick of this browser tab."""
        page = self.page
        project = page.project(view)
        jobs = page.jobs(view)
        found = steps(project.status() if project else None, project.consent if project else "", jobs)
        waiting = sum(not job.status.state.final for job in jobs)
        shown = self.show_projects(view)
        marks = marks_html(found, waiting)
        facts = "".join([self._device(), self._running(view), self._disk()])
        for component, key, value in ((self.marks, "marks", marks), (self.facts, "facts", facts)):
            if view.changed(f"header.{key}", value):
                shown[component] = value
        for step in found:
            if step.name == view.tab and step.name != "project" and view.changed(f"notice.{step.name}", step.missing):
                shown[page.notices[step.name]] = notice_html(step)
        return shown

    def show_projects(self, view: View) -> Updates:
        """The choices and the value of the project dropdown, when they changed."""
        names = self.page.workspace.projects()
        if not view.changed("header.projects", (tuple(names), view.project)):
            return {}
        return {self.project: gr.update(choices=names, value=view.project or None)}

    def _device(self) -> str:
        devices = self.page.manager.devices()
        if devices is None:
            return fact("device", "looking for devices")
        device = resolve_device(BEST, devices)
        if device.kind == "cpu":
            free = psutil.virtual_memory().available
        else:
            free = device.free_bytes
            if time.monotonic() - self.asked > REFRESH_DEVICES_S:
                self.asked = time.monotonic()
                self.page.manager.refresh_devices()
        return fact("device", device_text(device, free), device.note)

    def _running(self, view: View) -> str:
        running = self.page.manager.running()
        if not running:
            return fact("running", "nothing")
        shown = next((r for r in running if r.request.project == view.project), running[0])
        link = ""
        if shown.request.project == view.project:
            tab = tab_of_stage(shown.request.stage)
            link = f' <button type="button" class="lk-link" data-goto="{tab}" id="header-open">open</button>'
        more = f" and {len(running) - 1} more" if len(running) > 1 else ""
        return fact("running", running_text(shown, view.project) + more, chips=chip(shown.status.state), link=link)

    def _disk(self) -> str:
        free = shutil.disk_usage(self.page.workspace.root).free
        low = free < 2 << 30
        return fact("disk", f"{size(free)} free", "Less than 1 GB is refused to new jobs." if low else "", alert=low)


def build_header(page: PageContext) -> Header:
    """Make the bar; page.py wires it."""
    with gr.Row(elem_id="header", elem_classes="lk-header"):
        gr.HTML('<h1 class="lk-brand">Lookalike</h1>', elem_id="brand")
        project = gr.Dropdown(
            [], label="Project", elem_id="header-project", interactive=True, filterable=False, container=False
        )
        facts = gr.HTML("", elem_id="header-facts")
    marks = gr.HTML("", elem_id="header-marks")
    return Header(page, project, facts, marks)


def marks_html(found: Sequence[Step], waiting: int) -> str:
    """Style sheet that writes the marks of the steps behind the titles of their tabs."""
    rules = [
        f'#tab-{step.name}-button::after{{content:"{MARKS[step.mark]}" / "{step.mark}";color:var(--lk-{step.mark})}}'
        for step in found
    ]
    number = f'"({waiting})" / "{count(waiting, "open job")}"' if waiting else '""'
    return f"<style>{''.join(rules)}#tab-queue-button::after{{content:{number}}}</style>"


def notice_html(step: Step) -> str:
    """What a step lacks, with the button to the tab that supplies it."""
    if not step.missing:
        return ""
    title = step.goto.capitalize()
    button = f'<button type="button" class="lk-link" data-goto="{step.goto}">Go to {title}</button>'
    return f'<div class="lk-notice" role="status">{html.escape(step.missing)} {button}</div>'


def fact(name: str, text: str, title: str = "", alert: bool = False, chips: str = "", link: str = "") -> str:
    """One fact of the bar."""
    classes = "lk-head-fact lk-attention" if alert else "lk-head-fact"
    tip = f' title="{html.escape(title)}"' if title else ""
    label = "" if chips else f'<span class="lk-head-name">{name}</span>'
    return (
        f'<span class="{classes}" data-fact="{name}"{tip}>{label}{chips}<span>{html.escape(text)}</span>{link}</span>'
    )


def device_text(device: Device, free_bytes: int) -> str:
    """Name of a device and its free memory."""
    return f"{device.label}, {size(free_bytes)} free" if free_bytes else device.label


def running_text(record: JobRecord, project: str) -> str:
    """What runs, how far it is, and how long it will take."""
    status = record.status
    title = job_title(record)
    words = [title[:1].lower() + title[1:]]
    if record.request.project != project:
        words.append(f"in {record.request.project}")
    text = " ".join(word for word in words if word)
    if status.total:
        text += f", {100 * status.done / status.total:.0f} %"
    elif status.done:
        text += f", {status.done:,} {status.unit}"
    left = time_left(record)
    if left is not None:
        text += f", {duration(left)} left"
    return text if status.state is not JobState.STOPPING else text + ", saving"


def size(number: float) -> str:
    """Bytes for people: "18.2 GB"."""
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= scale:
            value = number / scale
            return f"{value:.0f} {unit}" if value >= 20 else f"{value:.1f} {unit}"
    return f"{number:.0f} B"
