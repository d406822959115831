"""Taking back what a tool did to a faceset: the tool notes it in its job's folder when it is done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from backend.core.errors import BadInputError, DamagedFileError
from backend.storage.atomic import move_over, read_json, write_json
from backend.storage.face_index import stamps
from backend.storage.face_trash import PUT_ASIDE, free_name
from backend.storage.project import SideFiles

UNDO_FILE = "undo.json"
UNDONE_FILE = "undone.json"
"""What UNDO_FILE becomes once it was taken back."""


class ToolUndo(BaseModel):
    """What a tool did.

    Attributes:
        batch: id of the batch of the trash that held the faces before; "" when there is none.
        added: names of the faces that were added.
        renamed: name now -> name before.
        parked: name in the folder of put-aside files -> name among the faces.
        made: names of other files that were made among the faces.
    """

    model_config = ConfigDict(frozen=True)

    version: int = 1
    batch: str = ""
    added: tuple[str, ...] = ()
    renamed: dict[str, str] = {}
    parked: dict[str, str] = {}
    made: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _plain_names(self) -> ToolUndo:
        """File names without folders: nothing outside the faceset and its trash is ever moved."""
        names = (*self.added, *self.made, *self.renamed.items(), *self.parked.items())
        if any(Path(name).name != name for pair in names for name in ([pair] if isinstance(pair, str) else pair)):
            raise ValueError("a file name with a folder")
        return self


def note_undo(job_dir: Path, undo: ToolUndo) -> None:
    """Keep what a tool did."""
    write_json(job_dir / UNDO_FILE, undo.model_dump(), durable=False)


def park(side: SideFiles, names: Iterable[str]) -> dict[str, str]:
    """Move files that are no faces out of the faceset into its trash; name there -> name before."""
    folder = side.trash_dir / PUT_ASIDE
    folder.mkdir(parents=True, exist_ok=True)
    taken = {path.name.lower() for path in folder.iterdir()}
    parked = {free_name(name, taken): name for name in names}
    for stored, name in parked.items():
        (side.aligned_dir / name).rename(folder / stored)
    return parked


def can_undo(job_dir: Path, side: SideFiles) -> bool:
    """Whether what the job did can still be taken back. Cheap."""
    undo = _read(job_dir)
    return undo is not None and not _hindrance(undo, side)


def take_back(job_dir: Path, side: SideFiles) -> str:
    """Take back what the job did: what it added or made goes to the trash, what it moved comes back.

    Returns:
        one sentence about what happened.

    Raises:
        BadInputError: it was taken back already, or the trash has changed since.
    """
    undo = _read(job_dir)
    if undo is None:
        raise BadInputError("There is nothing of this job left to take back.")
    if hindrance := _hindrance(undo, side):
        raise BadInputError("This can no longer be taken back.", hindrance)
    faceset = side.faceset()
    back: list[str] = faceset.undo() if undo.batch else []
    here = set(stamps(side.aligned_dir))
    renamed = faceset.rename({now: old for now, old in undo.renamed.items() if now in here}) if undo.renamed else 0
    added = [name for name in undo.added if name in here]
    if added:
        faceset.trash(added, "taken back")
    if undo.made:
        park(side, [name for name in undo.made if (side.aligned_dir / name).is_file()])
    unpark(side, undo.parked)
    move_over(job_dir / UNDO_FILE, job_dir / UNDONE_FILE)
    numbers = (
        (len(back), "faces are back"),
        (renamed, "have their names again"),
        (len(added), "added ones are in the trash"),
        (len(undo.parked), "files are back"),
    )
    text = ", ".join(f"{number:,} {words}" for number, words in numbers if number)
    return f"{text}." if text else "It was taken back."


def unpark(side: SideFiles, parked: Mapping[str, str]) -> None:
    """Move files that park() put aside back among the faces; names that are taken meanwhile get a number."""
    side.aligned_dir.mkdir(parents=True, exist_ok=True)
    taken = {path.name.lower() for path in side.aligned_dir.iterdir()}
    for stored, name in parked.items():
        (side.trash_dir / PUT_ASIDE / stored).rename(side.aligned_dir / free_name(name, taken))


def _hindrance(undo: ToolUndo, side: SideFiles) -> str:
    """Why it cannot be taken back, as a sentence; "" when it can."""
    batches = [batch.id for batch in side.faceset().trash_batches()] if undo.batch else []
    parked = [side.trash_dir / PUT_ASIDE / stored for stored in undo.parked]
    if (undo.batch and undo.batch not in batches) or not all(path.is_file() for path in parked):
        return "What was there before is no longer in the trash."
    if undo.batch and batches[0] != undo.batch:
        return "Faces were removed since: bring those back first, or restore single faces from the trash."
    return ""


def _read(job_dir: Path) -> ToolUndo | None:
    try:
        return ToolUndo.model_validate(read_json(job_dir / UNDO_FILE))
    except (OSError, DamagedFileError, ValidationError):
        return None
