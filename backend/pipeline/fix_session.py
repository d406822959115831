"""Correcting faces by hand, one request after the other: read the frame, place the face, write it, keep what it was."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from backend.core.errors import BadInputError, LookalikeError
from backend.core.faces import FILLED, MANUAL, Face, FaceType, FloatArray
from backend.core.fixing import FixRequest
from backend.devices import torch_device
from backend.models.detection.base import Image, Landmarker
from backend.models.detection.build import WITH_HEATMAPS, LandmarkerOptions, build_landmarker
from backend.ops.align import Float64, invert
from backend.pipeline.face_maker import FaceMaker, FoundFace
from backend.pipeline.fix_faces import (
    between,
    carried_over,
    face_box,
    moved_mask,
    place_by_points,
    place_in_box,
    refine,
    same_face,
)
from backend.storage.face_edits import EDITS_NAME, Done, edits_of, free_name
from backend.storage.face_file import read_face, read_sized_face
from backend.storage.faceset import FaceRecord
from backend.storage.image import list_images, read_image
from backend.storage.weights import obtain
from backend.storage.workspace import SideFiles

MOST_FILLED = 300
"""So many frames are filled between two faces at most."""


@dataclass(frozen=True)
class _Placed:
    """A face on its way to a file: its landmarks, what placed them, the face file it replaces ("" for none)."""

    frame: Path
    landmarks: Float64
    landmarker: str
    replaces: str = ""
    origin: str = MANUAL
    track: int | None = None


class Landmarkers:
    """Landmarkers that stay loaded, by name and device.

    Args:
        weights_dir: folder of downloaded weights.
    """

    def __init__(self, weights_dir: Path) -> None:
        self._weights_dir = weights_dir
        self._loaded: dict[tuple[str, str], Landmarker] = {}

    def get(self, name: str, device: str) -> Landmarker:
        """The landmarker; WeightsMissingError, DamagedFileError or DeviceError when it cannot be had."""
        if (name, device) not in self._loaded:
            self._loaded[name, device] = self._load(name, device)
        return self._loaded[name, device]

    def _load(self, name: str, device: str) -> Landmarker:
        """FAN is all that gains from an accelerator; points5 finds its points with mtcnn, whatever found the faces."""
        if name == "points5":
            return build_landmarker(name, (), LandmarkerOptions(), obtain("mtcnn", self._weights_dir))
        on = str(torch_device(device)) if name in WITH_HEATMAPS else "cpu"
        return build_landmarker(name, obtain(name, self._weights_dir), LandmarkerOptions(device=on))


class FixSession:
    """The corrections of one side.

    Args:
        side: whose frames and faces.
        landmarkers: what refines.
    """

    def __init__(self, side: SideFiles, landmarkers: Landmarkers) -> None:
        self._side = side
        self._landmarkers = landmarkers
        self._edits = edits_of(side.frames_dir, side.faceset())
        self._last: tuple[tuple[Path, int], Image] | None = None

    def fix(self, request: FixRequest) -> Done:
        """Carry a correction out and save it as one step.

        Raises:
            BadInputError: it makes no sense, a frame or a face is gone, or the face was changed since it was seen.
            LookalikeError: a frame is damaged, or what should refine cannot be had.
            OSError: a file cannot be written.
        """
        by_name: dict[str, Callable[[FixRequest], tuple[str, list[_Placed]]]] = {
            "place": self._place,
            "copy": self._copy,
            "between": self._between,
        }
        what, placed = by_name[request.do](request)
        self._side.aligned_dir.mkdir(parents=True, exist_ok=True)
        edits_folder = self._side.frames_dir / EDITS_NAME
        edits_folder.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=edits_folder, prefix="new-") as folder:
            changes: dict[str, Path | None] = {}
            for one in placed:
                name = one.replaces or free_name(self._side.aligned_dir, one.frame.stem, list(changes))
                changes[name] = Path(folder) / name
                self._write(one, request, Path(folder) / name)
            return self._edits.apply(what, request.frame, changes)

    # -- the three corrections

    def _place(self, request: FixRequest) -> tuple[str, list[_Placed]]:
        frame = self._frame(request.frame)
        old = self._record(request.name, request.seen) if request.name else None
        if old is not None and not _is_of(old, frame):
            raise BadInputError(f"{request.name} is no face of {frame.name}.", "Look at the frame again.")
        image = self._image(frame)
        clicked = request.points is not None and len(request.points) == 5
        if request.landmarks is not None:
            landmarks = np.asarray(request.landmarks, np.float64)
        elif request.points is not None:
            landmarks = place_by_points(request.points)
        else:
            landmarks = place_in_box(np.asarray(request.box, np.float64))
        _require_inside(landmarks, image)
        landmarker = self._landmarker(request)
        if landmarker is not None:
            landmarks = refine(image, landmarks, landmarker, clicked)
            if request.box is not None:  # a box does not say how the head is tilted: the second look knows
                landmarks = refine(image, landmarks, landmarker)
        placed = _Placed(frame, landmarks, request.refine, request.name, track=old.face.track if old else None)
        return ("Correct face" if old else "New face"), [placed]

    def _copy(self, request: FixRequest) -> tuple[str, list[_Placed]]:
        frame, other = self._frame(request.frame), self._frame(request.other_frame)
        image = self._image(frame)
        theirs = [r for r in self._faces(other, request) if request.other_name in ("", r.path.name)]
        if not theirs:
            raise BadInputError(f"{other.name} has no face to copy.")
        if request.name:
            old = self._record(request.name, request.seen)
            near = same_face(old.face.source_landmarks, [r.face.source_landmarks for r in theirs])
            if near is None and len(theirs) > 1:
                raise BadInputError(f"None of the faces of {other.name} is near this one.", "Place it by hand.")
            pairs = [(theirs[near or 0], request.name)]
        else:
            known = [r.face.source_landmarks for r in self._faces(frame, request)]
            pairs = [(r, "") for r in theirs if same_face(r.face.source_landmarks, known) is None]
            if not pairs:
                raise BadInputError(
                    f"Every face of {other.name} is here already.", "Select a face to have it replaced."
                )
        copied = [self._refined(frame, image, r.face.source_landmarks, request) for r, _ in pairs]
        placed = [
            _Placed(frame, landmarks, name, replaces, track=r.face.track)
            for (landmarks, name), (r, replaces) in zip(copied, pairs, strict=True)
        ]
        return "Copy face", placed

    def _between(self, request: FixRequest) -> tuple[str, list[_Placed]]:
        frames = list_images(self._side.frames_dir)
        place = {path.name: number for number, path in enumerate(frames)}
        ends = [(request.other_frame, request.other_name), (request.frame, request.name)]
        found = [(place.get(frame, -1), self._record(name).face) for frame, name in ends]
        (first, a), (last, b) = sorted(found, key=lambda end: end[0])
        if first < 0:
            raise BadInputError("One of the two frames is not there any more.", "Look at the frames again.")
        if not 1 < last - first <= MOST_FILLED + 1:
            raise BadInputError(
                f"There have to be 1 to {MOST_FILLED} frames between the two faces; here there are {last - first - 1}."
            )
        placed = []
        for number in range(first + 1, last):
            path = frames[number]
            landmarks = between(a.source_landmarks, b.source_landmarks, (number - first) / (last - first))
            ours = self._faces(path, request)
            near = same_face(landmarks, [r.face.source_landmarks for r in ours])
            if near is not None and ours[near].face.origin == MANUAL:
                continue
            landmarks, name = self._refined(path, None, landmarks, request)
            replaces = "" if near is None else ours[near].path.name
            placed.append(_Placed(path, landmarks, name, replaces, FILLED, a.track))
        if not placed:
            raise BadInputError("All faces between these two were made by hand.", "There is nothing to fill.")
        return f"Fill {len(placed)} frames", placed

    # -- inside

    def _refined(
        self, frame: Path, image: Image | None, landmarks: FloatArray, request: FixRequest
    ) -> tuple[Float64, str]:
        """Landmarks refined where wanted and possible, and what placed them; an astray landmarker changes nothing."""
        landmarker = self._landmarker(request)
        given = np.asarray(landmarks, np.float64)
        if landmarker is None:
            return given, "none"
        try:
            return refine(self._image(frame) if image is None else image, given, landmarker), request.refine
        except BadInputError:
            return given, "none"

    def _write(self, placed: _Placed, request: FixRequest, path: Path) -> None:
        """Cut the face out and write it, with the type, size and number of channels of the file it replaces."""
        face_type, size = FaceType.from_letter(request.face_type), request.image_size
        old, gray = None, False
        if placed.replaces:
            replaced = self._side.aligned_dir / placed.replaces
            old, (old_size, _) = read_sized_face(replaced)
            gray = read_image(replaced, None).ndim == 2
            if old.face_type is not FaceType.MARK_ONLY:
                face_type, size = old.face_type, old_size
        maker = FaceMaker(face_type, size, request.jpeg_quality, 1 if gray else 3)
        landmarker = "" if placed.landmarker == "none" else placed.landmarker
        found = FoundFace(
            face_box(placed.landmarks), placed.landmarks, None, placed.track, MANUAL, landmarker=landmarker
        )
        face = maker.face(found, placed.frame.name)
        if face is None:
            raise BadInputError("These landmarks make no face.", "Place the eyes and the mouth anew.")
        face = replace(face, origin=placed.origin)
        if old is not None:
            face = _with_mask(carried_over(face, old), old, size)
        maker.write(self._image(placed.frame), face, path)

    def _landmarker(self, request: FixRequest) -> Landmarker | None:
        return None if request.refine == "none" else self._landmarkers.get(request.refine, request.device)

    def _frame(self, name: str) -> Path:
        path = self._side.frames_dir / name
        if not name or not path.is_file():
            raise BadInputError(f"There is no {self._side.name} frame {name}.", "Look at the frames again.")
        return path

    def _image(self, frame: Path) -> Image:
        """The picture of a frame; the last one is kept."""
        stamp = (frame, frame.stat().st_mtime_ns)
        if self._last is None or self._last[0] != stamp:
            self._last = (stamp, read_image(frame))
        return self._last[1]

    def _faces(self, frame: Path, request: FixRequest) -> list[FaceRecord]:
        """The faces of a frame as the request names them; those that cannot be read are left out.

        Only these files are read: looking a large faceset up anew would take longer than the correction.
        """
        found = []
        for name in request.faces.get(frame.name, []):
            with contextlib.suppress(LookalikeError):
                record = self._record(name)
                if _is_of(record, frame):
                    found.append(record)
        return found

    def _record(self, name: str, seen: str = "") -> FaceRecord:
        path = self._side.aligned_dir / name
        try:
            record = FaceRecord(path, read_face(path))
            changed = bool(seen) and seen != str(path.stat().st_mtime_ns)
        except FileNotFoundError as error:
            raise BadInputError(f"There is no face {name} any more.", "Look at the frame again.") from error
        if changed:
            raise BadInputError(f"{name} was changed by something else meanwhile.", "Look at it again.")
        return record


def _is_of(record: FaceRecord, frame: Path) -> bool:
    """Whether a face comes from a frame; the kind of picture does not matter."""
    return Path(record.face.source_filename).stem == frame.stem


def _require_inside(landmarks: Float64, image: Image) -> None:
    """Refuse a face that lies wholly outside its frame or is far larger."""
    height, width = image.shape[:2]
    low, high = landmarks.min(axis=0), landmarks.max(axis=0)
    if (high < 0).any() or (low > (width, height)).any():
        raise BadInputError("This face lies outside the frame.", "Move it into the picture.")
    if (high - low).max() > 4 * max(width, height):
        raise BadInputError("This face is far larger than the frame.", "Make it smaller.")


def _with_mask(face: Face, old: Face, size: int) -> Face:
    """The face with the learned mask of the old one, moved; without it when it cannot be read."""
    if old.xseg_mask is None or old.image_to_face_mat is None or face.image_to_face_mat is None:
        return face
    across = face.image_to_face_mat @ np.vstack([invert(old.image_to_face_mat), [0, 0, 1]])
    try:
        return replace(face, xseg_mask=moved_mask(old.xseg_mask, across, size))
    except LookalikeError:
        return face
