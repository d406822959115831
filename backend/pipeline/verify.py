"""Stage verify: read a file back and say which marks it carries."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from backend.core.errors import BadInputError
from backend.core.settings import VerifySettings
from backend.pipeline.context import StageContext
from backend.storage.file_marks import read_marks
from backend.storage.project import Project

_MIB = 1 << 20


def run(settings: VerifySettings, ctx: StageContext) -> dict[str, Any]:
    """Look at one video or picture, wherever it lies; a relative path is looked for among the results too.

    Returns:
        the report of backend.storage.file_marks.MarksReport as JSON.

    Raises:
        BadInputError: no such file, or it cannot be read.
    """
    if settings.file is None:
        raise BadInputError("No file was chosen.", "Choose a video or a picture.")
    path = _found(settings.file, ctx.project)

    def report(done: int, total: int) -> None:
        ctx.check_stop()
        ctx.progress(-(-done // _MIB), -(-total // _MIB), "MB", message="Reading the file")

    marks = read_marks(path, report)
    ctx.log(f"{marks.file}: {marks.verdict}")
    for note in marks.notes:
        ctx.log(note, "warning")
    return marks.as_dict()


def _found(file: Path, project: Project) -> Path:
    """The file itself, else the one of that name in the project or among its results."""
    for place in (file, project.path / file, project.results_dir / file):
        with suppress(OSError):  # a name no disk takes
            if place.exists():
                return place
    return file
