"""Reading a trained model of DeepFaceLab: files side by side in one folder, every one of them a pickle.

::

    <name>_SAEHD_data.dat          iteration, options, losses
    <name>_SAEHD_encoder.npy       a network's tensors by name; one file for each network
    <name>_SAEHD_src_dst_opt.npy   an optimiser's
    <name>_SAEHD_summary.txt  ...  not read

Pickles are read by backend.storage.safe_pickle, which runs nothing.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from backend.core.errors import BadInputError, DamagedFileError
from backend.storage.safe_pickle import NUMPY_NAMES, load_pairs, loads

KINDS = ("SAEHD", "SAEHDBW", "AMP", "Quick96")
"""The kinds that are known, as its files name them; SAEHDBW is the fork for grayscale."""

DATA = re.compile(rf"(?:(?P<name>.+)_)?(?P<kind>{'|'.join(KINDS)})_data\.dat")
"""Name of the file that every model has."""

TENSORS = re.compile(rf"(?P<model>(?:.+_)?(?:{'|'.join(KINDS)}))_(?P<part>[A-Za-z_]{{1,40}})\.npy")
"""Name of a file of tensors; its part may hold underscores, the kind before it does not."""

MAX_DATA_BYTES = 2 << 30
"""Of the data file, which may hold pictures."""

MAX_TENSOR_BYTES = 16 << 30
MOST_TENSORS = 10_000

Tensor = npt.NDArray[Any]

_NO_TEXT = re.compile("[\ud800-\udfff]")
"""What stands for bytes that are no text in the name of a file."""

_WAY_OUT = "Copy it again from where the model was trained."
_MOST_ITERATIONS = 999_999_999
_MOST_OPTIONS = 1000


@dataclass(frozen=True)
class DflModel:
    """What a model of DeepFaceLab says of itself, and where its tensors lie.

    Attributes:
        name: it had there, "" for none.
        kind: "SAEHD", "SAEHDBW", "AMP" or "Quick96".
        data: the data file.
        iteration: iterations trained.
        options: by name; plain numbers, text and truth values.
        losses: (n, 2) float64 of src and dst, those of the newest iterations, oldest first.
        files: network or optimiser, such as "encoder" -> its file.
    """

    name: str
    kind: str
    data: Path
    iteration: int
    options: Mapping[str, Any]
    losses: npt.NDArray[np.float64]
    files: Mapping[str, Path]

    @property
    def bytes(self) -> int:
        """Of all files that belong to it."""
        return sum(file.stat().st_size for file in (self.data, *self.files.values()))


def find_data(path: Path) -> Path:
    """The data file of the only model in a folder, or in the folder "model" inside it; a data file is found itself.

    Raises:
        BadInputError: there is none, it is of a kind that is not known, its name is no text, or there are several to
            choose from.
    """
    if not path.is_dir():
        if not path.is_file():
            raise BadInputError(f"There is no file or folder {path}.", "Check the path.")
        if DATA.fullmatch(path.name) is None or _NO_TEXT.search(path.name):
            raise BadInputError(f"{path.name!a} is no model of DeepFaceLab that is known here.", _known())
        return path
    everything = [*sorted(path.glob("*_data.dat")), *sorted((path / "model").glob("*_data.dat"))]
    if any(_NO_TEXT.search(str(file)) for file in everything):
        raise BadInputError("The name of a file or folder is no text.", "Give the model's files plain names.")
    found = [file for file in everything if DATA.fullmatch(file.name) and file.is_file()]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(file.name.removesuffix("_data.dat") for file in found)
        raise BadInputError(
            f"The folder {path} holds {len(found)} models: {names}.",
            f"Name the one you mean by the path of its data file, for example {found[0]}.",
        )
    others = ", ".join(file.name for file in everything[:5])
    what = f"{path} holds no model that is known here, only {others}." if others else f"{path} holds no model."
    raise BadInputError(what, _known())


def read_model(data: Path) -> DflModel:
    """Read what a model's data file says and find the files beside it.

    Raises:
        BadInputError: it is not named like one.
        DamagedFileError: it is cut off, too large, or holds what such a file does not.
    """
    named = DATA.fullmatch(data.name)
    if named is None:
        raise BadInputError(f"{data.name} is no model of DeepFaceLab that is known here.", _known())
    stored = _stored(data)
    iteration, options = stored.get("iter", 0), stored.get("options", {})
    if not isinstance(options, dict) or len(options) > _MOST_OPTIONS:
        raise _damaged(data, "its options are none")
    if isinstance(iteration, np.integer):
        iteration = int(iteration)
    if type(iteration) is not int or not 0 <= iteration <= _MOST_ITERATIONS:
        raise _damaged(data, "its iteration is none")
    plain = {str(name): _plain(value) for name, value in options.items()}
    losses = _losses(stored.get("loss_history"), data)[-iteration:] if iteration else np.empty((0, 2))
    stem = data.name.removesuffix("_data.dat")
    return DflModel(named["name"] or "", named["kind"], data, iteration, plain, losses, _files(data.parent, stem))


def read_tensors(file: Path) -> Iterator[tuple[str, Tensor]]:
    """The tensors of one file, one after the other.

    Yields:
        DeepFaceLab's name and the array of floating point numbers; of optimisers also "iters:0", a whole number.

    Raises:
        DamagedFileError: it is cut off, or holds something else. May come after some tensors.
    """
    for number, (name, value) in enumerate(_pairs(file)):
        if not isinstance(name, str) or number >= MOST_TENSORS:
            raise _damaged(file, "it does not hold a network's tensors")
        array = np.asarray(value) if isinstance(value, np.ndarray | np.generic | int | float) else None
        if array is None or array.dtype.kind not in "fi" or array.ndim > 4:
            raise _damaged(file, f"{name[:80]!a} is no tensor")
        yield name, array


def _pairs(file: Path) -> Iterator[tuple[Any, Any]]:
    try:
        with file.open("rb") as read, mmap.mmap(read.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            yield from load_pairs(mapped, NUMPY_NAMES, MAX_TENSOR_BYTES)
    except (OSError, ValueError) as error:
        raise _damaged(file, f"it cannot be read ({type(error).__name__})") from error
    except DamagedFileError as error:
        raise _damaged(file, error.what[:1].lower() + error.what[1:].rstrip(".")) from error


def _stored(data: Path) -> dict[Any, Any]:
    try:
        if data.stat().st_size > MAX_DATA_BYTES:
            raise _damaged(data, "it is larger than such a file can be")
        stored = loads(data.read_bytes(), NUMPY_NAMES, MAX_DATA_BYTES, MAX_DATA_BYTES)
    except OSError as error:
        raise _damaged(data, f"it cannot be read ({type(error).__name__})") from error
    except DamagedFileError as error:
        raise _damaged(data, error.what[:1].lower() + error.what[1:].rstrip(".")) from error
    if not isinstance(stored, dict):
        raise _damaged(data, "it does not hold a model's facts")
    return stored


def _plain(value: Any) -> Any:
    """A number, a text, a truth value or None; anything else becomes a word for its kind, which fits no option."""
    value = value.item() if isinstance(value, np.generic) else value
    return value if value is None or type(value) in (bool, int, float, str) else f"a {type(value).__name__}"


def _losses(history: object, data: Path) -> npt.NDArray[np.float64]:
    """Rows of at least two numbers; the first two are those of src and dst. None holds no rows."""
    if history is None:
        return np.empty((0, 2))
    if not isinstance(history, list):
        raise _damaged(data, "its losses are none")
    try:
        rows = np.array([(float(row[0]), float(row[1])) for row in history], np.float64)
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise _damaged(data, "its losses are none") from error
    return rows.reshape(-1, 2)


def _files(folder: Path, stem: str) -> dict[str, Path]:
    found = {}
    for file in sorted(folder.glob("*.npy")):
        named = TENSORS.fullmatch(file.name)
        if named is not None and named["model"] == stem and file.is_file():
            found[named["part"]] = file
    return found


def _damaged(file: Path, why: str) -> DamagedFileError:
    return DamagedFileError(f"{file.name} is damaged or no file of DeepFaceLab: {why}.", _WAY_OUT)


def _known() -> str:
    return f"Name a folder or a file like <name>_SAEHD_data.dat; known are {', '.join(KINDS)}."
