"""Bringing in a DFM file for merging, and loading it."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from backend.core.errors import BadInputError, DamagedFileError
from backend.core.faces import FaceType
from backend.core.names import is_folder_name
from backend.core.provenance import Provenance
from backend.devices import torch_device
from backend.models.dfm_network import MOST_BYTES, DfmNetwork, check_dfm
from backend.pipeline.context import StageContext
from backend.storage.atomic import require_free_disk
from backend.storage.generation_folder import sha256_of
from backend.storage.linking import Progress, copy_file
from backend.storage.model_folder import DFM_CLASS, DFM_FILE, ModelFolder, ModelInfo
from backend.storage.model_operations import RESERVE_BYTES, free_model_name, new_model

AUTO = "auto"
"""The face type that the file names, whole face where it names none."""

_STEM = re.compile(r"(?P<name>.+)_[A-Za-z0-9]+_model")
_TEXT = 200
_DIGITS = 10


def import_dfm(path: Path, ctx: StageContext, name: str, face_type: str, progress: Progress) -> ModelFolder:
    """Make a model of a DFM file. It merges; all else refuses it.

    Args:
        path: the file.
        ctx: of the project that gets the model.
        name: of the new model; empty takes that of the file, with -2, -3, ... behind it when that is taken.
        face_type: a letter such as "wf", or AUTO.
        progress: told the bytes as they are copied; what it raises leaves nothing.

    Raises:
        BadInputError: there is no such file, or the name is taken or no name.
        DamagedFileError: it is no DFM file, or asks for more than it holds.
        DiskFullError: it does not fit.
    """
    if not path.is_file():
        raise BadInputError(f"There is no file {path}.", "Check the path.")
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise DamagedFileError(f"{path.name} is larger than 2 GiB; no DFM file is.", "Check the path.")
    require_free_disk(ctx.project.model_root, size + RESERVE_BYTES)
    named = _STEM.fullmatch(path.stem)
    proposed = named["name"] if named else path.stem
    name = name or free_model_name(ctx.project, proposed if is_folder_name(proposed) else "imported")
    with new_model(ctx.project, name) as target:
        copy_file(path, target / DFM_FILE, progress)
        with _named(path, target):
            said = check_dfm(target / DFM_FILE)
            if face_type == AUTO:
                face_type = _face_type_in(said, path, ctx)
            network = DfmNetwork(target / DFM_FILE, "cpu", FaceType.from_letter(face_type))
            network.try_out()
        facts = _facts(network, target / DFM_FILE, path, said)
        iteration = int(said["iteration"][:_DIGITS]) if said.get("iteration", "").isdecimal() else 0
        info = ModelInfo(
            model_class=DFM_CLASS,
            settings=facts,
            iteration=min(iteration, 999_999_999),
            origin=f"The DFM file {path.name}, brought in for merging.",
        )
        ModelFolder(target).write_info(info)
    return ModelFolder(ctx.project.model_dir(name))


@contextlib.contextmanager
def _named(path: Path, target: Path) -> Iterator[None]:
    """What is said of the copy in the making is said of the file that it was made of."""
    try:
        yield
    except DamagedFileError as error:
        what = error.what
        for copy in (f"{DFM_FILE} in {target}", str(target / DFM_FILE), DFM_FILE):
            what = what.replace(copy, path.name)
        raise DamagedFileError(what, error.fix) from error


def _face_type_in(said: dict[str, str], path: Path, ctx: StageContext) -> str:
    """The letter of the face type in what the file says; whole face where it says nothing."""
    kind = FaceType.__members__.get(said.get("face_type", "").upper())
    if kind is not None and kind.letter:
        return kind.letter
    ctx.log(
        f"{path.name} does not say its face type; it is taken for whole face. When faces come out too large or too "
        "small, bring it in again with another one.",
        "warning",
    )
    return FaceType.WHOLE.letter


def _facts(network: DfmNetwork, file: Path, path: Path, said: dict[str, str]) -> dict[str, Any]:
    """What model.json keeps in place of training settings."""
    return {
        "model_class": DFM_CLASS,
        "resolution": network.resolution,
        "face_type": network.face_type.letter,
        "channels": network.channels,
        "morph": network.morphs,
        "file": path.name[:_TEXT],
        "software": said.get("software", "")[:_TEXT],
        "sha256": sha256_of(file),
        "bytes": file.stat().st_size,
        "imported": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def load_dfm(folder: ModelFolder, info: ModelInfo, device: str) -> tuple[DfmNetwork, torch.device, Provenance]:
    """A DFM file that was brought in, where its tensors are to be, and what its results say of it.

    Raises:
        DamagedFileError: the file is gone, or not as it came in.
        DeviceError: the device is not there.
    """
    file, facts = folder.path / DFM_FILE, info.settings
    wanted = torch_device(device)
    try:
        whole = sha256_of(file) == facts.get("sha256")
        face_type = FaceType.from_letter(str(facts.get("face_type")))
    except (OSError, KeyError) as error:
        raise _changed(folder, type(error).__name__) from error
    if not whole:
        raise _changed(folder, "its checksum is another")
    network = DfmNetwork(file, str(wanted), face_type)
    place = wanted if network.provider != "CPUExecutionProvider" else torch.device("cpu")
    provenance = Provenance(model=folder.name, model_class=DFM_CLASS, iteration=info.iteration, settings=dict(facts))
    return network, place, provenance


def _changed(folder: ModelFolder, why: str) -> DamagedFileError:
    return DamagedFileError(
        f"{DFM_FILE} of the model '{folder.name}' is not as it was brought in ({why}).", "Bring it in again."
    )
