"""What made each merged frame: one line per frame beside the merged pictures. Imports no torch.

A run skips frames whose line still holds; the page learns from it what is out of date. The file is only appended to
while merging, so a run that was killed keeps what it did; lines that cannot be read are passed over.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple, Self

from backend.core.settings import MergeLook, MergeSettings
from backend.storage.atomic import write_bytes
from backend.storage.frame_table import load_frame_table
from backend.storage.image import is_image_name, list_images
from backend.storage.model_stamp import model_stamp
from backend.storage.project import Project

LEDGER_FILE = ".merged.jsonl"


@dataclass(frozen=True)
class MergedRecord:
    """What made one merged frame.

    Attributes:
        stem: of the frame and the merged picture.
        key: digest of everything its pixels depend on.
        look: digest of the look its faces were put in with, "" when it has no face to swap.
        rules: digest of the rules for faces, and of the main model's name; "" when it depends on neither.
        run: settings of the whole run that it depends on, see run_words().
        models: name -> stamp of each model that its faces went through, or that gives the side of its black square.
        outcomes: what became of each face.
    """

    stem: str
    key: str
    look: str = ""
    rules: str = ""
    run: str = ""
    models: Mapping[str, str] = field(default_factory=dict)
    outcomes: tuple[str, ...] = ()


@dataclass(frozen=True)
class StaleFrames:
    """How merged frames stand against the project as it is now.

    Attributes:
        total: frames of the clip.
        merged: frames with a merged picture.
        missing: frames without one.
        trained: merged with a model that was trained on, or is gone.
        changed: merged with other settings, key frames or rules.
        ranges: (first, last), counted from 1, of the frames that are missing, trained or changed.
    """

    total: int
    merged: int
    missing: int
    trained: int
    changed: int
    ranges: tuple[tuple[int, int], ...] = ()

    @property
    def stale(self) -> int:
        """Frames that merging again would make anew, besides those that are missing."""
        return sum(last - first + 1 for first, last in self.ranges) - self.missing


class MergeLedger:
    """The records of merged frames; the newest of a frame counts. Open it as a context to append.

    Args:
        merged_dir: folder of the merged pictures.
    """

    def __init__(self, merged_dir: Path) -> None:
        self._path = merged_dir / LEDGER_FILE
        self._file: IO[str] | None = None

    def read(self) -> dict[str, MergedRecord]:
        """Stem -> record; empty when nothing was merged yet."""
        records: dict[str, MergedRecord] = {}
        for line in self._lines():
            with contextlib.suppress(ValueError, TypeError):
                record = MergedRecord(**json.loads(line))
                records[str(record.stem)] = record
        return records

    def keep(self, records: Iterable[MergedRecord]) -> None:
        """Replace the file by these records."""
        text = "".join(_line(record) for record in records)
        write_bytes(self._path, text.encode("utf-8"), durable=False)

    def __enter__(self) -> Self:
        self._file = self._path.open("a", encoding="utf-8")
        if self._file.tell() and not self._ends_with_a_line():
            self._file.write("\n")
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def append(self, record: MergedRecord) -> None:
        """Write a record down, after its pictures are there."""
        assert self._file is not None, "open the ledger first"
        self._file.write(_line(record))
        self._file.flush()

    def _lines(self) -> Iterator[str]:
        with contextlib.suppress(OSError), self._path.open(encoding="utf-8", errors="replace") as file:
            yield from file

    def _ends_with_a_line(self) -> bool:
        with self._path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read() == b"\n"


def stale_frames(project: Project, settings: MergeSettings | None = None) -> StaleFrames:
    """Which merged frames are out of date. Reads no picture and no face: a fraction of a second for 50,000 frames.

    Args:
        project: whose merged frames.
        settings: how they would be merged now; None asks only for missing frames and trained models.

    Raises:
        DamagedFileError: the frame table cannot be read.
    """
    stems = _stems(project)
    merged = _pictures(project.merged_dir)
    present = _Present(project, settings, len(stems))
    records = MergeLedger(project.merged_dir).read()
    counts = {"missing": 0, "trained": 0, "changed": 0}
    flagged: list[int] = []
    for number, stem in enumerate(stems, start=1):
        why = present.why(number, records.get(stem)) if stem in merged else "missing"
        if why:
            counts[why] += 1
            flagged.append(number)
    return StaleFrames(len(stems), len(stems) - counts["missing"], **counts, ranges=tuple(_ranges(flagged)))


def look_digest(look: MergeLook) -> str:
    """Tells looks apart."""
    return digest(look.model_dump_json())


def rules_digest(settings: MergeSettings) -> str:
    """Tells apart which face gets which model by name."""
    return digest(settings.model, *(rule.model_dump_json() for rule in settings.faces))


def run_words(settings: MergeSettings, with_faces: bool, blank: bool = False) -> str:
    """Settings of a whole run that a merged frame depends on, "" when all are as usual.

    Args:
        settings: of the run.
        with_faces: whether the frame has a face to swap; others do not depend on smoothing.
        blank: whether it has none, and its look gives the predicted square alone: it is a black square then.
    """
    words = ["alpha"] if settings.alpha_png else []
    if blank:
        words.append("blank")
    if with_faces and (settings.smooth_mask or settings.smooth_color):
        words.append(f"steady {settings.smooth_mask}/{settings.smooth_color}")
    return " ".join(words)


def digest(*parts: str | bytes) -> str:
    """Short digest of some parts, each counted by itself."""
    made = hashlib.blake2b(digest_size=12)
    for part in parts:
        data = part.encode("utf-8") if isinstance(part, str) else part
        made.update(len(data).to_bytes(8, "big"))
        made.update(data)
    return made.hexdigest()


def _line(record: MergedRecord) -> str:
    known: dict[str, Any] = {name: value for name, value in asdict(record).items() if value}
    return json.dumps(known, ensure_ascii=False, separators=(",", ":")) + "\n"


def _stems(project: Project) -> list[str]:
    side = project.side("dst")
    table = load_frame_table(side)
    if table is not None:
        return [frame.file.rpartition(".")[0] for frame in table.frames]
    return [path.stem for path in list_images(side.frames_dir)]


def _pictures(folder: Path) -> set[str]:
    """Stems of the pictures in a folder; names only, for tens of thousands of files."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        return {entry.name.rpartition(".")[0] for entry in entries if is_image_name(entry.name)}
    return set()


class _Present:
    """The project and the settings as they are now, to hold records against.

    Args:
        project: whose models.
        settings: how frames would be merged; None compares the models alone.
        count: frames of the clip.
    """

    def __init__(self, project: Project, settings: MergeSettings | None, count: int) -> None:
        self._project = project
        self._stamps: dict[str, str] = {}
        self._compared = settings is not None
        if settings is not None:
            self._looks = _looks(settings, count)
            self._rules = rules_digest(settings)
            self._run_with_faces = run_words(settings, True)
            self._runs_without = {blank: run_words(settings, False, blank) for blank in (False, True)}

    def why(self, number: int, record: MergedRecord | None) -> str:
        """Why a merged frame is out of date, "" when it is not, as far as that can be told.

        Args:
            number: of the frame, from 1.
            record: None for a picture that another program, or an earlier version, merged.
        """
        if record is None:
            return "changed" if self._compared else ""
        if self._compared and not self._fits(record, self._looks[number - 1]):
            return "changed"
        return "" if all(self._stamp(name) == stamp for name, stamp in record.models.items()) else "trained"

    def _fits(self, record: MergedRecord, look: _Look) -> bool:
        """Whether a frame was merged with the settings as they are now."""
        run = self._run_with_faces if record.look else self._runs_without[look.square]
        return record.run == run and record.look in ("", look.digest) and record.rules in ("", self._rules)

    def _stamp(self, name: str) -> str:
        if name not in self._stamps:
            self._stamps[name] = model_stamp(self._project.model_root / name)
        return self._stamps[name]


class _Look(NamedTuple):
    """What is compared of a frame's look.

    Attributes:
        digest: see look_digest().
        square: whether it gives the predicted square in place of the frame.
    """

    digest: str
    square: bool


def _looks(settings: MergeSettings, count: int) -> list[_Look]:
    """The look of each frame."""
    starts = [1, *(key.frame for key in settings.keys if 1 < key.frame <= count), count + 1]
    looks: list[_Look] = []
    for first, end in itertools.pairwise(starts):
        look = settings.look_at(first)
        looks += [_Look(look_digest(look), look.mode == "raw-predict")] * (end - first)
    return looks


def _ranges(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Ascending numbers as (first, last) of those that follow each other."""
    first = last = None
    for number in numbers:
        if last is not None and number == last + 1:
            last = number
            continue
        if first is not None and last is not None:
            yield first, last
        first = last = number
    if first is not None and last is not None:
        yield first, last
