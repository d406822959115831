"""What lists of running and waiting jobs have in common: where a job runs, why it waits, what its buttons do."""

from __future__ import annotations

from collections.abc import Sequence

from backend.devices import BEST, resolve_device
from backend.jobs.store import JobRecord
from ui_tabs.context import PageContext, View
from ui_tabs.job_words import places_word, why_it_waits

HELD = "The queue is held: nothing new starts."


def best_device(page: PageContext) -> str | None:
    """Name of what "best" means now; None while the devices are not known."""
    devices = page.manager.devices()
    return resolve_device(BEST, devices).name if devices else None


def job_place(page: PageContext, job: JobRecord) -> str:
    """Where a job runs or will run, in words."""
    return places_word(job, best_device(page), page.manager.devices())


def waiting_note(page: PageContext, job: JobRecord, ahead: Sequence[JobRecord], held: bool) -> str:
    """Why a job waits.

    Args:
        ahead: jobs that run, and those that wait before it.
        held: the queue of the project is held.
    """
    if held and not job.request.foreground:
        return HELD
    return why_it_waits(job, list(ahead), best_device(page), page.manager.devices())


def move(page: PageContext, view: View, name: str, job: str) -> None:
    """Do what a button of a list says: show, stop, cancel, up, down, next, hold or release."""
    manager, project = page.manager, page.need_project(view)
    if name == "show":
        view.local["queue.job"] = job
    elif name in ("stop", "cancel"):
        manager.stop(project, job)
    elif name in ("up", "down"):
        manager.reorder(project, job, -1 if name == "up" else 1)
    elif name == "next":
        manager.run_next(project, job)
    elif name in ("hold", "release"):
        manager.hold(project, name == "hold")
