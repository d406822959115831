"""A model's folder as the page sees it: what it is, its loss curve, its previews, and who writes it. No torch here.

::

    model.json       what the model is and how far it has come
    generations/     checkpoints, see backend.storage.checkpoint
    loss.bin         the loss of every iteration
    preview.jpg      the newest preview; preview_masked.jpg its masked twin
    history/         a thinned-out series of previews
    cache/           decoded faces of a running training; empty otherwise
    writer.lock      who trains it at the moment
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from backend.core.errors import BadInputError, DamagedFileError, ModelBusyError
from backend.core.settings import TRAIN_SETTINGS, TrainSettings, is_frozen
from backend.storage.atomic import read_json, write_json
from backend.storage.folder_lock import LockOwner, locked, read_owner
from backend.storage.loss_history import LossCurve, LossHistory


class Session(BaseModel):
    """One run of training: unix times and iterations at which it began and last saved."""

    model_config = ConfigDict(frozen=True)

    started: float
    ended: float
    first_iteration: int
    last_iteration: int
    job: str = ""


class ModelInfo(BaseModel):
    """model.json: what a model is and how far it has come.

    Attributes:
        model_class, settings: enough to build the network again.
        iteration: of the newest checkpoint.
        src_loss, dst_loss: mean losses since the save before; None before the first iteration.
        created, updated: unix times.
        sessions: every run, oldest first.
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

    def train_settings(self) -> TrainSettings:
        """The settings of the newest run. DamagedFileError when they make no sense to this version."""
        try:
            return TRAIN_SETTINGS[self.model_class].model_validate(self.settings)
        except (KeyError, ValidationError) as error:
            raise DamagedFileError(
                f"The settings stored with this model ({self.model_class}) do not fit this version of the program.",
                "Open the model with the version that made it.",
            ) from error


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

    @property
    def generations_dir(self) -> Path:
        """Where the checkpoints lie."""
        return self.path / "generations"

    @property
    def history_dir(self) -> Path:
        """Where the series of previews lies."""
        return self.path / "history"

    @property
    def cache_dir(self) -> Path:
        """Where decoded faces are mapped from when they exceed the memory set aside for them."""
        return self.path / "cache"

    def info(self) -> ModelInfo | None:
        """What the model is; None when nothing was saved yet.

        When model.json itself is damaged, the copy inside the newest readable checkpoint is used.
        """
        files = [self.path / "model.json", *sorted(self.generations_dir.glob("*/state.json"), reverse=True)]
        for file in files:
            with contextlib.suppress(OSError, ValueError, KeyError, DamagedFileError):
                stored = read_json(file)
                return ModelInfo.model_validate(stored if file.name == "model.json" else stored["info"])
        return None

    def write_info(self, info: ModelInfo) -> None:
        """Replace model.json."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.path / "model.json", info.model_dump(mode="json"))

    def history(self, since: int = 0, last: int | None = None, points: int = 500) -> LossCurve:
        """The loss curve, decimated; see LossHistory.curve."""
        return self.losses.curve(since, last, points)

    def preview(self, masked: bool = False) -> Path | None:
        """The newest preview image, or None."""
        path = self.path / ("preview_masked.jpg" if masked else "preview.jpg")
        return path if path.exists() else None

    def previews(self, masked: bool = False) -> list[Path]:
        """The series of previews, oldest first; file names start with the iteration."""
        return sorted(self.history_dir.glob(f"*_{'masked' if masked else 'faces'}.jpg"))

    def owner(self) -> LockOwner | None:
        """Who trains this model now, None when nobody does."""
        owner = read_owner(self.path / "writer.lock")
        return owner if owner is not None and owner.alive() else None

    @contextlib.contextmanager
    def lock(self, owner: str) -> Iterator[LockOwner | None]:
        """Be the only writer of this folder while the block runs.

        Args:
            owner: name shown to whoever is refused, for example the job's id.

        Yields:
            the owner that vanished without letting go, or None.

        Raises:
            ModelBusyError: somebody else trains this model; the sentence names who.
        """
        with contextlib.ExitStack() as stack:
            try:
                before = stack.enter_context(locked(self.path / "writer.lock", LockOwner.this_process(owner)))
            except BlockingIOError as error:
                raise self._busy() from error
            yield before

    def _busy(self) -> ModelBusyError:
        holder = read_owner(self.path / "writer.lock")
        who = "another process"
        if holder is not None:
            since = time.strftime("%Y-%m-%d %H:%M", time.localtime(holder.since))
            who = f"{holder.name} (process {holder.pid} on {holder.host}, since {since})"
        return ModelBusyError(
            f"The model '{self.name}' is being trained by {who}.",
            "Stop that training first, or choose another model name.",
        )


def frozen_mismatch(saved: Mapping[str, Any], given: TrainSettings) -> list[FrozenMismatch]:
    """Settings of the given kind that cannot change and differ from the stored ones, among those really given."""
    wanted = given.model_dump(mode="json")
    return [
        FrozenMismatch(name, saved[name], wanted[name])
        for name, field in type(given).model_fields.items()
        if is_frozen(field) and name != "model" and name in given.model_fields_set and name in saved
        if saved[name] != wanted[name]
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
