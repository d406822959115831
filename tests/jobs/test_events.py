from __future__ import annotations

import json
import math
import threading
from pathlib import Path

import numpy as np

from backend.core.jobs import JobState
from backend.jobs.events import EventWriter, json_safe, read_events


def test_what_was_written_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    assert read_events(path) == ([], 0)
    writer = EventWriter(path)
    writer("log", {"message": "one"})
    events, offset = read_events(path)
    assert [event.data["message"] for event in events] == ["one"]
    assert read_events(path, offset) == ([], offset)
    writer("log", {"message": "two"})
    events, offset = read_events(path, offset)
    assert [(event.seq, event.data["message"]) for event in events] == [(2, "two")]
    writer.close()


def test_a_half_written_line_waits_for_its_end(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    writer = EventWriter(path)
    writer("log", {"message": "whole"})
    whole = path.read_bytes()
    with path.open("ab") as file:
        file.write(whole[: len(whole) // 2])
    events, offset = read_events(path)
    assert len(events) == 1
    assert offset == len(whole)
    with path.open("ab") as file:
        file.write(whole[len(whole) // 2 :])
    assert len(read_events(path, offset)[0]) == 1


def test_a_line_torn_by_a_crash_spoils_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    EventWriter(path)("log", {"message": "one"})
    with path.open("ab") as file:
        file.write(b'{"seq": 2, "ti')
    EventWriter(path)("log", {"message": "after"})
    assert [(e.seq, e.data["message"]) for e in read_events(path)[0]] == [(1, "one"), (2, "after")]


def test_a_shorter_file_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    EventWriter(path)("log", {"message": "one"})
    assert len(read_events(path, 10_000)[0]) == 1


def test_threads_write_whole_lines_in_sequence(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    writer = EventWriter(path)
    threads = [
        threading.Thread(target=lambda: [writer("metric", {"text": "x" * 500}) for _ in range(50)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [event.seq for event in read_events(path)[0]] == list(range(1, 201))


def test_everything_becomes_plain_json() -> None:
    value = {
        "path": Path("a"),
        "numbers": np.array([1.0, math.nan]),
        "scalar": np.float32(0.5),
        "state": JobState.DONE,
        "tuple": (1, None, True),
        3: math.inf,
    }
    plain = json_safe(value)
    assert plain == {
        "path": "a",
        "numbers": [1.0, None],
        "scalar": 0.5,
        "state": "done",
        "tuple": [1, None, True],
        "3": None,
    }
    json.dumps(plain, allow_nan=False)
