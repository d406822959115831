"""Jobs in words: what a job is, on which device, why it waits, how it ended, and what its settings were."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from backend.core.jobs import JobState
from backend.core.settings import Settings, settings_class, unit_of
from backend.devices import Device
from backend.jobs.scheduler import BEST, IO_LANE, LOOK_LANE, collide, must_wait, places
from backend.jobs.store import JobRecord
from ui_tabs.job_panel import duration, time_left
from ui_tabs.labels import ACTION_TITLES, SIDES, STAGE_TITLES, choice_label, label_of


def job_title(record: JobRecord) -> str:
    """Stage and what it works on: "Train anna", "Faces from frames, source"."""
    stage, settings = record.request.stage, record.request.settings
    title = ACTION_TITLES.get(str(settings.get("action")), STAGE_TITLES.get(stage, stage))
    if settings.get("side") in SIDES:
        return f"{title}, {SIDES[settings['side']].lower()}"
    train = settings.get("train")
    described = train.get("model") if isinstance(train, dict) else ""
    named = "" if settings.get("action") == "import" or stage == "render" else settings.get("model")
    name = str(named or described or settings.get("name") or "")
    return f"{title} {name}".strip()


def lane_word(lane: str, devices: Sequence[Device] | None) -> str:
    """What a job occupies, for people; "" for jobs that need no device, the name itself for a device not listed."""
    known = {IO_LANE: "", LOOK_LANE: "", BEST: "best device", "cpu": "CPU"}
    if lane in known:
        return known[lane]
    label = next((device.label for device in devices or () if device.name == lane), "")
    return f"{label} ({lane})" if label else lane


def places_word(record: JobRecord, best: str | None, devices: Sequence[Device] | None) -> str:
    """Every device a job occupies, for people; "" for jobs that need none."""
    names = places(record.request.lane, best) or (record.request.lane,)
    return ", ".join(filter(None, (lane_word(name, devices) for name in sorted(names))))


def why_it_waits(
    record: JobRecord, ahead: Sequence[JobRecord], best: str | None, devices: Sequence[Device] | None
) -> str:
    """Why a queued job has not started, one sentence.

    Args:
        ahead: what runs, and what waits before it, of all projects.
        best: what "best" means here, None while it is not known.
    """
    if record.request.foreground:
        return "A command line is starting it."
    needed = next((other for other in ahead if must_wait(record.request, other.request)), None)
    if needed is not None:
        return f"Waits for {_named(needed, record)}, which it depends on."
    needs = places(record.request.lane, best)
    if needs is None:
        return "Waits until the devices are listed."
    busy = next((other for other in ahead if collide(needs, places(other.request.lane, best) or needs)), None)
    if busy is None:
        return "Starts next."
    return _behind(_named(busy, record), busy.status.state, places_word(record, best, devices))


def foreign_jobs(
    waiting: Sequence[JobRecord], running: Sequence[JobRecord], best: str | None, devices: Sequence[Device] | None
) -> list[str]:
    """One sentence for each running job of another project that holds a device something here waits for."""
    wanted = frozenset[str]().union(
        *(places(record.request.lane, best) or () for record in waiting if not record.request.foreground)
    )
    own = {record.request.project for record in waiting}
    found = []
    for record in running:
        taken = places(record.request.lane, best) or frozenset()
        if record.request.project in own or not collide(taken, wanted):
            continue
        what = places_word(record, best, devices) or "The place for jobs without a device"
        left = time_left(record)
        rest = f", {duration(left)} left" if left is not None else ""
        found.append(f"{what} is taken by {job_title(record)} of the project {record.request.project}{rest}.")
    return found


def went_on_as(record: JobRecord, jobs: Sequence[JobRecord]) -> JobRecord | None:
    """The later job that repeats or resumes this one, None when there is none."""
    return next((job for job in jobs if job.request.retry_of == record.id), None)


def again_word(record: JobRecord) -> str:
    """What the button is called that runs an ended job again; "" when there is none."""
    state, stage = record.status.state, record.request.stage
    if state in (JobState.STOPPED, JobState.INTERRUPTED):
        return "Resume" if record.status.started else "Run again"
    if state is JobState.FAILED:
        return "Try again"
    return "Run again" if state is JobState.DONE and stage not in ("create", "sample") else ""


def again_sentence(record: JobRecord, saved_iteration: int = 0) -> str:
    """What Resume or Try again will do with a job that did not reach its end; "" for one that did.

    Args:
        saved_iteration: iteration of the last save the job reported, 0 when it reported none.
    """
    word = again_word(record)
    if not word or record.status.state is JobState.DONE or not record.status.started:
        return ""
    if record.request.stage != "train":
        return f"{word} runs it from the beginning with the same settings."
    if saved_iteration:
        return f"{word} goes on from the last save, at iteration {saved_iteration:,}."
    return f"{word} goes on from the last save of the model."


def settings_of(record: JobRecord) -> Settings | None:
    """The settings of a job, None when this version cannot read them."""
    request = record.request
    try:
        kind = settings_class(request.stage, str(request.settings.get("model_class", "saehd")))
        return kind.model_validate(request.settings)
    except (KeyError, ValidationError):
        return None


def settings_rows(stage: str, settings: Settings) -> list[tuple[str, str, bool]]:
    """(label, value with unit, whether it is the default) of every setting, in the order of the model."""
    rows = []
    for name, facts in type(settings).model_fields.items():
        value = getattr(settings, name)
        default = value == facts.get_default(call_default_factory=True)
        if isinstance(value, bool):
            text = "on" if value else "off"
        elif value is None or value in ("", (), {}):
            text = "none"
        elif isinstance(value, tuple | dict):
            text = f"{len(value):,}"
        else:
            text = _plain(value) if isinstance(value, float) else choice_label(name, value)
            unit = unit_of(facts)
            text = f"{text} {unit}" if unit and not isinstance(value, str) else text
        rows.append((label_of(stage, name), text, default))
    return rows


def settings_text(settings: Mapping[str, Any]) -> str:
    """Settings that cannot be read any more, as JSON."""
    return json.dumps(settings, indent=1, ensure_ascii=False, sort_keys=True)


def _behind(other: str, state: JobState, place: str) -> str:
    if not place:
        return f"Waits for {other}; jobs without a device run one at a time."
    if state is JobState.QUEUED:
        return f"Comes after {other} on {place}."
    return f"Waits for {place}, which {other} is using."


def _named(other: JobRecord, record: JobRecord) -> str:
    title = job_title(other)
    return title if other.request.project == record.request.project else f"{title} of {other.request.project}"


def _plain(value: float) -> str:
    return f"{value:.8f}".rstrip("0").rstrip(".")
