"""What both benchmarks need: a measurement in a child process, tables as markdown, a section of a document."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from backend.environment import worker_environment
from backend.storage.atomic import write_bytes

ROOT = Path(__file__).resolve().parents[2]

_TIMEOUT_S = 1800

Measure = Callable[[Mapping[str, Any]], dict[str, Any]]
Row = Sequence[str]


class Section(NamedTuple):
    """Where a document shows measured figures.

    Attributes:
        name: what the two marker lines call it.
        title: its heading where it has to be added.
    """

    name: str
    title: str

    @property
    def begin(self) -> str:
        """The marker line before it."""
        return f"<!-- {self.name}: begin -->"

    @property
    def end(self) -> str:
        """The marker line behind it."""
        return f"<!-- {self.name}: end -->"


def measure_in_child(module: str, request: Mapping[str, Any], weights_dir: Path) -> dict[str, Any]:
    """Run one measurement as the program's workers run.

    Args:
        module: what to run; it takes the request as JSON and prints what it found as the last line, as JSON.
        request: what to measure.
        weights_dir: folder of downloaded weights, used unless the user named another one.

    Returns:
        what it found; ``failed`` with the last line it said when it ended otherwise.
    """
    command = [sys.executable, "-m", module, json.dumps(request)]
    environment = worker_environment(weights_dir)
    try:
        ended = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
        if ended.returncode == 0:
            return json.loads(ended.stdout.splitlines()[-1])
        words = ended.stderr.strip().splitlines()
    except (subprocess.TimeoutExpired, ValueError, IndexError) as error:
        words = [str(error)]
    return {"failed": (words or ["no reason given"])[-1][:120].replace("|", "/")}


def table(head: Row, rows: Sequence[Row]) -> str:
    """A markdown table; a row that is shorter than the head is filled up."""
    lines = [head, ["---"] * len(head), *([*row, *[""] * (len(head) - len(row))] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write_section(document: Path, text: str, where: Section) -> None:
    """Put text between the two marker lines of a section, or behind the document's end when it has none."""
    old = document.read_text("utf-8") if document.is_file() else ""
    section = f"{where.begin}\n{text}\n{where.end}"
    before, begin, rest = old.partition(where.begin)
    _, end, after = rest.partition(where.end)
    if begin and end:
        new = f"{before}{section}{after}"
    else:
        new = f"{old.rstrip()}\n\n## {where.title}\n\n{section}\n".lstrip()
    document.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(document, new.encode("utf-8"))


def tell(sentence: str) -> None:
    """Say on stderr what is being measured."""
    sys.stderr.write(f"{sentence}\n")
    sys.stderr.flush()


def failed(found: Mapping[str, Any]) -> str:
    """Why a measurement gave no figures; empty when it did."""
    return f"failed: {found['failed']}" if "failed" in found else ""
