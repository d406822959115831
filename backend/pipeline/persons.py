"""Stage persons: tell the people of one faceset apart, and keep only those of some example faces."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from backend.core.errors import BadInputError, DamagedFileError
from backend.core.settings import PersonsSettings
from backend.environment import usable_cores, weights_folder
from backend.ops.persons import LOOK_SIZE, group, look
from backend.pipeline.context import StageContext
from backend.pipeline.face_work import need_faces
from backend.pipeline.sort_measures import load
from backend.storage.faceset import FaceRecord, Faceset
from backend.storage.weights import catalog, default_folder, obtain

Float32 = npt.NDArray[np.float32]

BLIND = ("points5",)
"""Landmarkers that place the points of a generic face: its proportions are nobody's."""

_LOOKED_AT = 24
_BLOCK = 64
_LISTED = 50
_LOOKS_APART = 3.0
_NETWORK = "sface"
_COSINE_RANGE = 0.4
_EMBEDDED_PX = 224


class _Network(Protocol):
    def embed(self, image_bgr: npt.NDArray[np.uint8], points: npt.ArrayLike) -> Float32:
        """Unit vector of a face; see recognition.SFace."""
        ...


class Way(NamedTuple):
    """A way to tell people apart.

    Attributes:
        name: as it is stored with the persons.
        reason: why this one.
        measure: face -> (d,) float32.
        joined: (n, d) of one person -> (d,); Euclidean distances of these say how unlike two are.
        apart: from which average distance on two groups are two people.
    """

    name: str
    reason: str
    measure: Callable[[FaceRecord], Float32]
    joined: Callable[[Float32], Float32]
    apart: float


def run(settings: PersonsSettings, ctx: StageContext) -> dict[str, Any]:
    """Find the persons of a faceset and store them; with examples also keep only theirs.

    Faces of one track are one person, faces of one frame are different ones. Person 0 has the most faces.

    Returns:
        faces, persons, sizes (faces of the first 50 persons), method, reason, kept and trashed (numbers of faces),
        damaged (number of files that were left out).

    Raises:
        BadInputError: the faceset is empty, no face can be read, or an example is no face of it.
        WeightsMissingError, DamagedFileError: the recognition network cannot be had.
    """
    records = need_faces(ctx.project.side(settings.side))
    faceset = ctx.project.side(settings.side).faceset()
    examples = _examples(settings, {record.path.name for record in records})
    way = choose_way(settings, weights_folder() or default_folder(ctx.project.path.parent))
    ctx.log(way.reason)
    items = tracks_of(records)
    vectors, left_out = _measured(items, way, ctx)
    for sentence in left_out:
        ctx.log(sentence, "warning")
    known = [index for index, vector in enumerate(vectors) if vector is not None]
    if not known:
        raise BadInputError(f"None of the {len(records)} {settings.side} faces can be read.", "Extract faces again.")
    items = [items[index] for index in known]
    labels = group(
        np.stack([vector for vector in vectors if vector is not None]),
        [len(item) for item in items],
        [{record.face.source_filename for record in item} for item in items],
        way.apart,
    )
    persons = {record.path.name: int(label) for item, label in zip(items, labels, strict=True) for record in item}
    faceset.set_persons(persons, way.name)
    sizes = np.bincount(list(persons.values())).tolist()
    ctx.milestone("persons", f"{len(sizes)} persons in {len(persons)} {settings.side} faces.")
    trashed = _keep_only(faceset, persons, examples, ctx) if examples else 0
    return {
        "faces": len(persons),
        "persons": len(sizes),
        "sizes": sizes[:_LISTED],
        "method": way.name,
        "reason": way.reason,
        "kept": len(persons) - trashed,
        "trashed": trashed,
        "damaged": len(left_out) + len(faceset.damaged()),
    }


def choose_way(settings: PersonsSettings, weights_dir: Path) -> Way:
    """The way that the settings mean, with "auto" resolved to the network when its file is present.

    Raises:
        WeightsMissingError: the network is wanted, not present and cannot be downloaded.
        DamagedFileError: its file cannot be used.
    """
    present = {choice.name: choice for choice in catalog(weights_dir)}[_NETWORK]
    if settings.method == "looks" or (settings.method == "auto" and not present.present):
        reason = "Persons are told apart by tracks, colours and proportions."
        if settings.method == "auto":
            reason += f" Better: the recognition network {_NETWORK}. {present.how_to_get}"
        return Way("looks", reason, _look_of, _median, _LOOKS_APART * 2 ** (1 - 2 * settings.strictness))
    from backend.models.detection.build import build_recogniser
    from backend.models.detection.recognition import SAME_PERSON_COSINE

    network = build_recogniser(_NETWORK, obtain(_NETWORK, weights_dir))
    cosine = SAME_PERSON_COSINE + _COSINE_RANGE * (settings.strictness - 0.5)
    reason = f"Persons are told apart by the recognition network {_NETWORK}."
    return Way("embedding", reason, partial(_embedding_of, network), _direction, math.sqrt(2 - 2 * cosine))


def tracks_of(records: Sequence[FaceRecord]) -> list[list[FaceRecord]]:
    """Faces that are one person for sure: those of one track, in the order of their frames; others stand alone.

    A track number that occurs twice in one frame comes from two clips and says nothing.
    """
    tracks: dict[int, list[FaceRecord]] = {}
    alone: list[list[FaceRecord]] = []
    for record in records:
        if record.face.track is None:
            alone.append([record])
        else:
            tracks.setdefault(record.face.track, []).append(record)
    found: list[list[FaceRecord]] = []
    for track in tracks.values():
        if len({record.face.source_filename for record in track}) == len(track):
            found.append(sorted(track, key=lambda record: record.face.source_filename))
        else:
            found += [[record] for record in track]
    return found + alone


def _look_of(record: FaceRecord) -> Float32:
    picture = load(record, LOOK_SIZE)
    return look(picture.image, picture.landmarks, record.face.landmarker not in BLIND)


def _embedding_of(network: _Network, record: FaceRecord) -> Float32:
    picture = load(record, _EMBEDDED_PX)
    return network.embed(picture.image, picture.landmarks)


def _median(looks: Float32) -> Float32:
    return np.asarray(np.median(looks, axis=0), dtype=np.float32)


def _direction(vectors: Float32) -> Float32:
    """Mean of unit vectors, with length 1: half the square of a distance is then 1 less the cosine."""
    mean = vectors.mean(axis=0)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-12), dtype=np.float32)


def _measured(
    items: Sequence[Sequence[FaceRecord]], way: Way, ctx: StageContext
) -> tuple[list[Float32 | None], list[str]]:
    """What stands for each item, from some of its faces; None where none can be read, and why faces were left out."""
    chosen = [(number, record) for number, item in enumerate(items) for record in _spread(item)]
    values: list[list[Float32]] = [[] for _ in items]
    left_out: list[str] = []
    begun = time.monotonic()

    def attempt(record: FaceRecord) -> Float32 | str:
        try:
            return way.measure(record)
        except (DamagedFileError, OSError) as error:
            return f"{record.path.name} is left out: {error}"

    with ThreadPoolExecutor(max_workers=min(8, usable_cores())) as pool:
        for start in range(0, len(chosen), _BLOCK):
            ctx.check_stop()
            block = chosen[start : start + _BLOCK]
            for (number, _), value in zip(block, pool.map(attempt, [record for _, record in block]), strict=True):
                if isinstance(value, str):
                    left_out.append(value)
                else:
                    values[number].append(value)
            done = start + len(block)
            ctx.progress(done, len(chosen), "faces", done / max(time.monotonic() - begun, 1e-6))
    return [way.joined(np.stack(found)) if found else None for found in values], left_out


def _spread(item: Sequence[FaceRecord]) -> list[FaceRecord]:
    """At most so many faces of a track, evenly spread."""
    if len(item) <= _LOOKED_AT:
        return list(item)
    return [item[int(index)] for index in np.linspace(0, len(item) - 1, _LOOKED_AT)]


def _examples(settings: PersonsSettings, names: Iterable[str]) -> set[str]:
    """File names of the example faces. BadInputError when one is no face of the set."""
    wanted = {name.strip() for name in settings.examples.split(",")} - {""}
    unknown = sorted(wanted - set(names))
    if unknown:
        raise BadInputError(
            f"There is no {settings.side} face named {', '.join(unknown[:5])}.",
            "Name files as the gallery shows them, with commas between them.",
        )
    return wanted


def _keep_only(faceset: Faceset, persons: dict[str, int], examples: set[str], ctx: StageContext) -> int:
    """Move the faces of all persons without an example to the trash; how many there were."""
    kept = {persons[name] for name in examples if name in persons}
    if not kept:
        raise BadInputError("None of the example faces can be read.", "Choose other examples.")
    others = [name for name, person in persons.items() if person not in kept]
    faceset.trash(others, "faces of other persons")
    ctx.milestone("trashed", f"{len(others)} faces of other persons are in the trash.")
    return len(others)
