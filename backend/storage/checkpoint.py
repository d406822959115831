"""Checkpoints as generations: each is a complete folder that appears by one rename and is checked before it is used.

::

    generations/000001200-0/weights.safetensors    the network
                            optimizer.safetensors  and further sets of tensors: averages, discriminators
                            state.json             iteration, settings, RNG, provenance, checksum of every set
"""

from __future__ import annotations

import base64
import os
import shutil
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import safetensors
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor

from backend.core.errors import DamagedFileError
from backend.core.provenance import Provenance
from backend.storage.atomic import read_json, require_free_disk, sync_folder, write_json
from backend.storage.generation_folder import sha256_of
from backend.storage.model_folder import ModelInfo

KEEP = 3
"""Generations kept by default."""

WEIGHTS = "weights"
"""The set of tensors that every generation has."""

STATE = "state.json"
_SUFFIX = ".safetensors"
_UNFINISHED = ".unfinished-"


class CheckpointState(BaseModel):
    """state.json of one generation.

    Attributes:
        iteration: iterations trained.
        info: the model.json that belongs to it.
        rng: random number states, sample counters and where the learning rate stands, JSON; see random_state().
        rest: what of each set of tensors is no tensor, JSON, by the name of the set.
        provenance: travels into merged frames and files.
        checksums: name of a set of tensors -> sha256 of its file in hex.
    """

    model_config = ConfigDict(frozen=True)

    version: int = 2
    iteration: int
    info: ModelInfo
    rng: dict[str, Any] = Field(default_factory=dict)
    rest: dict[str, Any] = Field(default_factory=dict)
    provenance: Provenance = Provenance()
    created: float = Field(default_factory=time.time)
    checksums: dict[Annotated[str, Field(pattern=r"^[a-z_]+$")], str] = Field(default_factory=dict)


@dataclass(frozen=True)
class SkippedGeneration:
    """A generation that was passed over, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Generation:
    """A loaded checkpoint; tensors are on the CPU.

    Attributes:
        tensors: name of a set -> tensor name -> tensor; "weights" is always there.
        skipped: newer generations that failed their checks.
    """

    path: Path
    state: CheckpointState
    tensors: dict[str, dict[str, Tensor]]
    skipped: tuple[SkippedGeneration, ...] = ()

    @property
    def weights(self) -> dict[str, Tensor]:
        """The network's ``state_dict``."""
        return self.tensors[WEIGHTS]


def save_generation(
    folder: Path,
    state: CheckpointState,
    tensors: Mapping[str, Mapping[str, Tensor]],
    keep: int = KEEP,
) -> Path:
    """Write a new generation and remove the oldest beyond ``keep``; the new one stays, whatever its iteration.

    Args:
        folder: the generations folder.
        state: its checksums are filled in here.
        tensors: name of a set -> tensor name -> tensor; "weights" has to be among them.
        keep: generations that stay.

    The folder is written under a temporary name, forced onto the disk, and renamed: a crash at any moment leaves
    either the whole new generation or none, and every older one untouched.

    Raises:
        DiskFullError: less than the size of the generation plus a reserve is free.
    """
    folder.mkdir(parents=True, exist_ok=True)
    require_free_disk(folder, 2 * sum(map(_bytes_of, tensors.values())) + (64 << 20))
    remove_unfinished(folder)
    generation = _free_name(folder, state.iteration)
    temporary = folder / f"{_UNFINISHED}{generation}"
    temporary.mkdir()
    checksums = {}
    for name, values in tensors.items():
        file = temporary / (name + _SUFFIX)
        save_file({k: v.detach().cpu().contiguous() for k, v in values.items()}, file)
        _sync(file)
        checksums[name] = sha256_of(file)
    write_json(temporary / STATE, state.model_copy(update={"checksums": checksums}).model_dump(mode="json"))
    temporary.rename(folder / generation)
    sync_folder(folder)
    for old in generations(folder)[:-keep]:
        if old.name != generation:
            shutil.rmtree(old, ignore_errors=True)
    return folder / generation


def generations(folder: Path) -> list[Path]:
    """Complete generations, oldest first."""
    return sorted(p for p in folder.glob("[0-9]*-[0-9]*") if p.is_dir())


def drop_newer(folder: Path, iteration: int) -> None:
    """Delete generations of a later iteration: the model began anew at this one."""
    for path in generations(folder):
        if int(path.name.partition("-")[0]) > iteration:
            shutil.rmtree(path, ignore_errors=True)


def remove_unfinished(folder: Path) -> list[str]:
    """Delete what a crash in the middle of saving left behind. Returns the names; call only as the folder's writer."""
    left = sorted(p for p in folder.glob(f"{_UNFINISHED}*") if p.is_dir())
    for path in left:
        shutil.rmtree(path, ignore_errors=True)
    return [p.name.removeprefix(_UNFINISHED) for p in left]


def load_latest(
    folder: Path,
    names: Collection[str] | None = None,
    accept: Callable[[CheckpointState], bool] = lambda state: True,
) -> Generation | None:
    """Load the newest generation that passes its checksums; None when there is none at all.

    Args:
        folder: the generations folder.
        names: sets of tensors to read and check besides the weights, those that are there; None for all.
        accept: generations for which this is False are passed over without a word.

    Raises:
        DamagedFileError: there are generations, but not one is whole.
    """
    skipped: list[SkippedGeneration] = []
    for path in reversed(generations(folder)):
        try:
            state = read_state(path)
            if not accept(state):
                continue
            wanted = {WEIGHTS} | {name for name in state.checksums if names is None or name in names}
            tensors = {name: _load(path, name, state) for name in sorted(wanted)}
        except DamagedFileError as error:
            skipped.append(SkippedGeneration(path.name, error.what))
            continue
        return Generation(path, state, tensors, tuple(skipped))
    if skipped:
        reasons = "; ".join(f"{s.name}: {s.reason}" for s in skipped)
        raise DamagedFileError(
            f"No checkpoint in {folder} is whole ({reasons}).",
            "Restore the folder from a backup, or train under another model name.",
        )
    return None


def read_state(path: Path) -> CheckpointState:
    """state.json of a generation's folder. DamagedFileError when it cannot be read."""
    try:
        return CheckpointState.model_validate(read_json(path / STATE))
    except (OSError, ValueError, ValidationError) as error:
        raise DamagedFileError(f"{STATE} cannot be read ({type(error).__name__}).") from error


def split_optimizer(state: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Part a torch optimiser's ``state_dict`` into tensors named "parameter/entry" and a JSON rest."""
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, dict[str, Any]] = {}
    for parameter, entries in state["state"].items():
        for entry, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"{parameter}/{entry}"] = value
            else:
                numbers.setdefault(str(parameter), {})[entry] = value
    return tensors, {"param_groups": state["param_groups"], "numbers": numbers}


def join_optimizer(tensors: Mapping[str, Tensor], rest: Mapping[str, Any]) -> dict[str, Any]:
    """Inverse of split_optimizer."""
    state: dict[int, dict[str, Any]] = {int(p): dict(e) for p, e in rest.get("numbers", {}).items()}
    for name, value in tensors.items():
        parameter, _, entry = name.partition("/")
        state.setdefault(int(parameter), {})[entry] = value
    return {"state": state, "param_groups": rest["param_groups"]}


def rng_to_text(generator: torch.Generator) -> str:
    """State of a CPU random generator as text for JSON."""
    return state_to_text(generator.get_state())


def rng_from_text(generator: torch.Generator, text: str) -> None:
    """Put a generator back into the state of rng_to_text."""
    generator.set_state(state_from_text(text))


def state_to_text(state: Tensor) -> str:
    """A generator's state, (N,) uint8 in main memory, as text for JSON."""
    return base64.b64encode(state.numpy().tobytes()).decode()


def state_from_text(text: str) -> Tensor:
    """Inverse of state_to_text()."""
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)


def _load(path: Path, name: str, state: CheckpointState) -> dict[str, Tensor]:
    file = name + _SUFFIX
    try:
        if sha256_of(path / file) != state.checksums.get(name):
            raise DamagedFileError(f"{file} fails its checksum.")
        return load_file(path / file, device="cpu")
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise DamagedFileError(f"{file} cannot be read ({type(error).__name__}).") from error


def _free_name(folder: Path, iteration: int) -> str:
    taken = [int(p.name.partition("-")[2]) for p in folder.glob(f"{iteration:09d}-[0-9]*")]
    return f"{iteration:09d}-{max(taken, default=-1) + 1}"


def _bytes_of(tensors: Mapping[str, Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors.values())


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
