"""A model's folder as the page sees it: what it is, its loss curve, its previews, and who writes it. No torch here.

::

    model.json       what the model is and how far it has come
    model.dfm        the network of a model that only merges; such a folder has no checkpoints
    generations/     checkpoints, see backend.storage.checkpoint
    loss.bin         the loss of every iteration
    terms.bin        the parts of the loss, see backend.storage.term_history
    lr_finder.json   how the losses went as the learning rate rose, see backend.storage.lr_curve
    preview.jpg      the newest preview of the page "faces"; preview_<page>.jpg of the others
    history/         a thinned-out series of previews, <iteration>_<page>.jpg
    notes.txt        what the user wrote about it
    backups/         earlier states, see backend.storage.model_backups
    tensorboard/     event files, where the option is on
    cache/           decoded faces of a running training; empty otherwise
    writer.lock      who trains it at the moment
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from backend.core.errors import BadInputError, DamagedFileError, ModelBusyError
from backend.core.settings import TRAIN_SETTINGS, TrainSettings, is_frozen
from backend.storage.atomic import read_json, write_bytes, write_json
from backend.storage.folder_lock import LockOwner, locked, read_owner
from backend.storage.interrupted_restore import finish_restore
from backend.storage.loss_csv import write_csv
from backend.storage.loss_history import LossCurve, LossHistory
from backend.storage.term_history import TermHistory

FACES = "faces"
"""The preview page that every model has."""

NOTES_CHARACTERS = 20_000

DFM_CLASS = "dfm"
"""The model class of a DFM file that was brought in for merging."""

DFM_FILE = "model.dfm"
"""That file, in the folder of its model."""

_FIRST_PAGES = (FACES, "masked")
_PAGE = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_NEWEST = re.compile(r"preview(?:_(?P<page>[a-z0-9-]+))?\.jpg")
_IN_SERIES = re.compile(r"(?P<iteration>\d+)_(?P<page>[a-z0-9-]+)\.jpg")


class Session(BaseModel):
    """One run of training: unix times and iterations at which it began and last saved.

    ``holdout_every`` is its setting; None where it is not known, or the run saw none of the project's own faces.
    """

    model_config = ConfigDict(frozen=True)

    started: float
    ended: float
    first_iteration: int
    last_iteration: int
    holdout_every: int | None = None


class ModelInfo(BaseModel):
    """model.json: what a model is and how far it has come.

    Attributes:
        model_class, settings: enough to build the network again.
        iteration: of the newest checkpoint.
        src_loss, dst_loss: mean losses since the save before; None before the first iteration.
        created, updated: unix times.
        sessions: every run, oldest first.
        origin: where a model that was brought in comes from, a sentence; "" for one that began here.
    """

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    version: int = 1
    model_class: str
    settings: dict[str, Any]
    iteration: int = 0
    src_loss: float | None = None
    dst_loss: float | None = None
    created: float = Field(default_factory=time.time)
    updated: float = Field(default_factory=time.time)
    sessions: tuple[Session, ...] = ()
    origin: str = ""

    @property
    def merges_only(self) -> bool:
        """Whether it is a DFM file that was brought in: it swaps faces, and nothing else can be done with it."""
        return self.model_class == DFM_CLASS

    def train_settings(self) -> TrainSettings:
        """The settings of the newest run.

        Raises:
            BadInputError: a DFM file has none.
            DamagedFileError: they make no sense to this version.
        """
        if self.merges_only:
            raise self.no_training()
        try:
            return TRAIN_SETTINGS[self.model_class].model_validate(self.settings)
        except (KeyError, ValidationError) as error:
            raise DamagedFileError(
                f"The settings stored with this model ({self.model_class}) do not fit this version of the program.",
                "Open the model with the version that made it.",
            ) from error

    def no_training(self) -> BadInputError:
        """What to say to whoever wants more of a DFM file than merging."""
        facts = self.settings
        described = f"{facts.get('resolution')} px, face type {facts.get('face_type')}"
        return BadInputError(
            f"The model '{facts.get('model', '')}' is a DFM file ({described}): it merges, and nothing else "
            "can be done with it.",
            "Train a model of your own, or bring in the one that the file was made of.",
        )


@dataclass(frozen=True)
class FrozenMismatch:
    """A setting that cannot change after a model was created, with its stored and its wanted value."""

    field: str
    saved: Any
    given: Any


class ModelFolder:
    """One model's folder; the name of the folder is the name of the model."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        self.losses = LossHistory(path / "loss.bin")
        self.terms = TermHistory(path / "terms.bin")

    @property
    def generations_dir(self) -> Path:
        """Where the checkpoints lie."""
        return self.path / "generations"

    @property
    def history_dir(self) -> Path:
        """Where the series of previews lies."""
        return self.path / "history"

    @property
    def backups_dir(self) -> Path:
        """Where earlier states lie."""
        return self.path / "backups"

    @property
    def cache_dir(self) -> Path:
        """Where decoded faces are mapped from when they exceed the memory set aside for them."""
        return self.path / "cache"

    def info(self) -> ModelInfo | None:
        """What the model is; None when nothing was saved yet.

        When model.json itself is damaged, the copy inside the newest readable checkpoint is used. The model's name
        among the settings is that of the folder, whatever it was called when they were stored.
        """
        files = [self.path / "model.json", *sorted(self.generations_dir.glob("*/state.json"), reverse=True)]
        for file in files:
            with contextlib.suppress(OSError, ValueError, KeyError, DamagedFileError):
                stored = read_json(file)
                info = ModelInfo.model_validate(stored if file.name == "model.json" else stored["info"])
                return info.model_copy(update={"settings": {**info.settings, "model": self.name}})
        return None

    def require_trainable(self) -> None:
        """BadInputError when the folder holds a DFM file, which only merges."""
        info = self.info()
        if info is not None and info.merges_only:
            raise info.no_training()

    def write_info(self, info: ModelInfo) -> None:
        """Replace model.json."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.path / "model.json", info.model_dump(mode="json"))

    def history(self, since: int = 0, last: int | None = None, points: int = 500) -> LossCurve:
        """The loss curve, decimated; see LossHistory.curve."""
        return self.losses.curve(since, last, points)

    def write_csv(self, path: Path) -> int:
        """Write the whole loss history as a table; see loss_csv.write_csv(). Returns the number of iterations."""
        return write_csv(self.losses, self.terms, path)

    def preview_path(self, page: str = FACES) -> Path:
        """Where the newest preview of a page lies, there or not. BadInputError when that cannot be a page's name."""
        if not _PAGE.fullmatch(page):
            raise BadInputError(f"There is no preview page '{page}'.", f"Pages are {', '.join(self.pages())}.")
        return self.path / ("preview.jpg" if page == FACES else f"preview_{page}.jpg")

    def preview(self, page: str = FACES) -> Path | None:
        """The newest preview image of a page, or None."""
        path = self.preview_path(page)
        return path if path.exists() else None

    def previews(self, page: str = FACES) -> list[Path]:
        """The series of previews of a page, oldest first; see preview_iteration()."""
        found = [name for name in _names(self.history_dir) if (m := _IN_SERIES.fullmatch(name)) and m["page"] == page]
        return sorted((self.history_dir / name for name in found), key=preview_iteration)

    def pages(self) -> list[str]:
        """Preview pages that there is a picture of: faces and masked first, the others by name."""
        newest = [m["page"] or FACES for name in _names(self.path) if (m := _NEWEST.fullmatch(name))]
        series = [m["page"] for name in _names(self.history_dir) if (m := _IN_SERIES.fullmatch(name))]
        found = {*newest, *series}
        return [*(p for p in _FIRST_PAGES if p in found), *sorted(found.difference(_FIRST_PAGES))]

    def notes(self) -> str:
        """What the user wrote about the model; empty when nothing."""
        try:
            return (self.path / "notes.txt").read_text("utf-8", errors="replace")
        except OSError:
            return ""

    def write_notes(self, text: str) -> None:
        """Replace the notes. BadInputError for more than NOTES_CHARACTERS, or when there is no such model."""
        if len(text) > NOTES_CHARACTERS:
            raise BadInputError(f"The notes have {len(text):,} characters; {NOTES_CHARACTERS:,} fit.", "Shorten them.")
        if not self.path.is_dir():
            raise BadInputError(f"There is no model '{self.name}'.", "Train it first.")
        write_bytes(self.path / "notes.txt", text.encode("utf-8"))

    def owner(self) -> LockOwner | None:
        """Who trains this model now, None when nobody does."""
        owner = read_owner(self.path / "writer.lock")
        return owner if owner is not None and owner.alive() else None

    @contextlib.contextmanager
    def lock(self, owner: str) -> Iterator[LockOwner | None]:
        """Be the only writer of this folder while the block runs. An interrupted restore is finished first.

        Args:
            owner: name shown to whoever is refused, for example the job's id.

        Yields:
            the owner that vanished without letting go, or None.

        Raises:
            ModelBusyError: somebody else writes this model; the sentence names who.
        """
        with contextlib.ExitStack() as stack:
            try:
                before = stack.enter_context(locked(self.path / "writer.lock", LockOwner.this_process(owner)))
            except BlockingIOError as error:
                raise self._busy() from error
            finish_restore(self.path)
            yield before

    def _busy(self) -> ModelBusyError:
        holder = read_owner(self.path / "writer.lock")
        who = "another process"
        if holder is not None:
            since = time.strftime("%Y-%m-%d %H:%M", time.localtime(holder.since))
            who = f"{holder.name} (process {holder.pid} on {holder.host}, since {since})"
        return ModelBusyError(
            f"The model '{self.name}' is in use by {who}.",
            "Stop that job first, or choose another model name.",
        )


def preview_iteration(path: Path) -> int:
    """Iteration at which a picture of the series was drawn, from its name."""
    return int(path.name.partition("_")[0])


def frozen_mismatch(saved: Mapping[str, Any], given: TrainSettings) -> list[FrozenMismatch]:
    """Settings of the given kind that cannot change and differ from the stored ones, among those really given.

    A number that is left to a rule is none of them.
    """
    wanted, resolved = given.model_dump(mode="json"), given.resolved().model_dump(mode="json")
    return [
        FrozenMismatch(name, saved[name], wanted[name])
        for name, field in type(given).model_fields.items()
        if is_frozen(field) and name != "model" and name in given.model_fields_set and name in saved
        if wanted[name] == resolved[name] != saved[name]
    ]


def resume_settings(saved: Mapping[str, Any], given: TrainSettings) -> TrainSettings:
    """Settings with which a stored model goes on: frozen ones as stored, all others as given.

    Raises:
        BadInputError: a frozen setting was given with another value; the sentence names each one.
    """
    wrong = frozen_mismatch(saved, given)
    if wrong:
        listed = ", ".join(f"{m.field} {m.saved} (asked for: {m.given})" for m in wrong)
        raise BadInputError(
            f"The model '{given.model}' exists with {listed}; this cannot change after a model was created.",
            "Use another model name for the new settings, or give the stored ones.",
        )
    frozen = {n for n, field in type(given).model_fields.items() if is_frozen(field) and n != "model"}
    kept = {name: value for name, value in saved.items() if name in frozen}
    return type(given).model_validate({**given.model_dump(mode="json"), **kept})


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - names only, of folders with hundreds of files, on every tick
    except OSError:
        return []
