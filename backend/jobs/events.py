"""events.jsonl: a worker appends one line per event, readers follow it from a byte offset."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import threading
import time
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from backend.core.jobs import Event, EventKind

READ_LIMIT = 8 << 20
"""Bytes read at once; a reader that is far behind catches up over several calls."""


def json_safe(value: Any) -> Any:
    """Turn a value into plain JSON: paths become text, numpy scalars numbers, non-finite numbers None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): json_safe(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [json_safe(item) for item in value]
    if value is None or type(value) in (bool, int, str):
        return value
    return _unpacked(value)


def _unpacked(value: Any) -> Any:
    if isinstance(value, Enum):
        return json_safe(value.value)
    if isinstance(value, BaseModel):
        return json_safe(value.model_dump(mode="json"))
    if dataclasses.is_dataclass(value):
        return {item.name: json_safe(getattr(value, item.name)) for item in dataclasses.fields(value)}
    return json_safe(value.tolist()) if hasattr(value, "tolist") else str(value)


class EventWriter:
    """Appends events; safe to call from several threads of one process.

    A line left half-written by a crash is closed first, so that it spoils only itself.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._seq = _last_seq(path)
        unfinished = _ends_inside_a_line(path)
        self._file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
        if unfinished:
            os.write(self._file, b"\n")

    def __call__(self, kind: EventKind, data: Mapping[str, Any]) -> Event:
        """Append one event and return it."""
        with self._lock:
            self._seq += 1
            event = Event(seq=self._seq, time=time.time(), kind=kind, data=json_safe(data))
            os.write(self._file, (json.dumps(event.model_dump(), allow_nan=False) + "\n").encode())
        return event

    def close(self) -> None:
        """Release the file; further events are an error."""
        os.close(self._file)


def read_events(path: Path, after_offset: int = 0) -> tuple[list[Event], int]:
    """Events written after a byte offset, and the offset to ask for next time.

    A last line without its newline is left for the next call; a damaged line is skipped. When the file became
    shorter than the offset, reading starts again at its beginning.

    Args:
        path: events.jsonl; a missing file has no events.
        after_offset: 0, or what the previous call returned.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            start = after_offset if 0 <= after_offset <= size else 0
            file.seek(start)
            block = file.read(READ_LIMIT)
    except FileNotFoundError:
        return [], 0
    end = block.rfind(b"\n") + 1
    return [event for line in block[:end].splitlines() if (event := _parse(line))], start + end


def read_milestones(path: Path) -> Iterator[Event]:
    """All milestones, oldest first. Other lines are not parsed: days of training make a hundred thousand of them."""
    try:
        with path.open("rb") as file:
            found = (_parse(line) for line in file if b'"milestone"' in line)
            yield from (event for event in found if event is not None and event.kind == "milestone")
    except FileNotFoundError:
        return


def _parse(line: bytes) -> Event | None:
    if not line.strip():
        return None
    try:
        return Event.model_validate_json(line)
    except ValidationError:
        return None


def _last_seq(path: Path) -> int:
    seq, offset = 0, 0
    while True:
        events, reached = read_events(path, offset)
        seq = events[-1].seq if events else seq
        if reached <= offset:
            return seq
        offset = reached


def _ends_inside_a_line(path: Path) -> bool:
    if not path.exists() or path.stat().st_size == 0:
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"
