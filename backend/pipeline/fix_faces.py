"""Correcting faces by hand, the operations: place by a few points, refine in the picture, interpolate, carry over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from backend.core.errors import BadInputError
from backend.core.faces import Detection, Face
from backend.models.detection.base import Image, Landmarker
from backend.models.detection.points5 import five_points, landmarks_from_points
from backend.ops.align import Float64, invert, transform_points, umeyama
from backend.ops.pose import LANDMARKS_3D
from backend.ops.track import overlap
from backend.storage.image import decode_image, encode_image

_FIVE_3D_FACE = five_points(LANDMARKS_3D[:, :2])
_EYES_3D_FACE = np.stack([*_FIVE_3D_FACE[:2], _FIVE_3D_FACE[3:].mean(axis=0)])
_FIVE_3D_FACE.setflags(write=False)
_EYES_3D_FACE.setflags(write=False)

_SMALLEST_PX = 4.0
_FOREHEAD = 0.15
_VIEW_FACES = 3.0
_VIEW_MOST_PX = 1024
_MOST_SQUEEZE = 2.5
_MOST_SHIFT = 0.7
_MOST_ZOOM = 2.5
_SAME_FACE_IOU = 0.3


def place_by_points(points: npt.ArrayLike) -> Float64:
    """The generic face on points that were clicked.

    Three points (eyes and mouth) are met exactly by squeezing the frontal face, as a turned head looks; when that would
    distort it too much, it is only moved, turned and scaled. Five points (eyes, nose, mouth corners) pose the 3D face.
    Which eye was clicked first does not matter.

    Args:
        points: (3, 2) or (5, 2) in frame pixels.

    Returns:
        (68, 2) float64 landmarks in frame pixels.

    Raises:
        BadInputError: the points lie too close together.
    """
    given = _sides_in_order(np.asarray(points, np.float64))
    if (
        np.linalg.norm(given[1] - given[0]) < _SMALLEST_PX
        or np.linalg.norm(given[-1] - given[:2].mean(0)) < _SMALLEST_PX
    ):
        raise BadInputError("These points lie too close together.", "Click the eyes and the mouth of the face.")
    if len(given) == 5:
        return landmarks_from_points(given).astype(np.float64)
    matrix = cv2.getAffineTransform(_EYES_3D_FACE.astype(np.float32), given.astype(np.float32))
    stretch = np.linalg.svd(matrix[:, :2], compute_uv=False)
    if stretch[1] <= 0 or stretch[0] / stretch[1] > _MOST_SQUEEZE or np.linalg.det(matrix[:, :2]) <= 0:
        matrix = umeyama(_EYES_3D_FACE, given)
    return transform_points(LANDMARKS_3D[:, :2], matrix)


def place_in_box(box_xyxy: npt.ArrayLike) -> Float64:
    """The frontal generic face that fills a box: (4,) left, top, right, bottom -> (68, 2) float64, frame pixels."""
    left, top, right, bottom = np.asarray(box_xyxy, np.float64)
    if min(right - left, bottom - top) < _SMALLEST_PX:
        raise BadInputError("This box is too small for a face.", "Draw it around the whole face.")
    mean = LANDMARKS_3D[:, :2]
    wide, tall = np.ptp(mean, axis=0)
    scale = min((right - left) / wide, (bottom - top) / (tall * (1 + _FOREHEAD)))
    centre = np.array([(left + right) / 2, bottom - scale * tall / 2])
    return (mean - (mean.min(axis=0) + mean.max(axis=0)) / 2) * scale + centre


def face_box(landmarks_68x2: npt.ArrayLike) -> Float64:
    """(4,) left, top, right, bottom that a detector would draw around landmarks: with some forehead."""
    points = np.asarray(landmarks_68x2, np.float64)
    low, high = points.min(axis=0), points.max(axis=0)
    return np.array([low[0], low[1] - _FOREHEAD * (high[1] - low[1]), high[0], high[1]])


def refine(frame_bgr: Image, landmarks_68x2: npt.ArrayLike, landmarker: Landmarker, clicked: bool = False) -> Float64:
    """Landmarks placed anew in the picture, beginning with roughly placed ones.

    The landmarker sees the face upright and not larger than it needs, however it lies in the frame.

    Args:
        frame_bgr: (h, w, 3) uint8.
        landmarks_68x2: (68, 2) in frame pixels.
        landmarker: what places them.
        clicked: eyes, nose and mouth come from the user's hand: points5 takes them as they are.

    Returns:
        (68, 2) float64 in frame pixels.

    Raises:
        BadInputError: the landmarker went astray, as where there is no face.
    """
    rough = np.asarray(landmarks_68x2, np.float64)
    matrix, side = _upright_view(rough)
    view = cv2.warpAffine(frame_bgr, matrix, (side, side), flags=cv2.INTER_LINEAR)
    seen = transform_points(rough, matrix)
    five = five_points(seen).astype(np.float32) if clicked or landmarker.name != "points5" else None
    found = landmarker.landmarks(view, Detection(face_box(seen).astype(np.float32), 1.0, five))
    placed = transform_points(found, invert(matrix))
    if not _believable(rough, placed):
        raise BadInputError(
            f"{landmarker.name} finds no face at this place.", "Place eyes and mouth, and refine with none."
        )
    return placed


def between(first_68x2: npt.ArrayLike, last_68x2: npt.ArrayLike, share: float) -> Float64:
    """Landmarks on the way from one face to another.

    Place and expression change evenly, size by equal factors and direction by equal angles, so that a face that turns
    does not shrink on its way.

    Args:
        first_68x2, last_68x2: (68, 2) in frame pixels.
        share: 0 gives the first, 1 the last.

    Returns:
        (68, 2) float64 in frame pixels.
    """
    first, last = np.asarray(first_68x2, np.float64), np.asarray(last_68x2, np.float64)
    whole = umeyama(first, last)[:, :2]
    zoom, angle = float(np.sqrt(np.linalg.det(whole))), float(np.arctan2(whole[1, 0], whole[0, 0]))
    start, end = first.mean(axis=0), last.mean(axis=0)
    shape = (1 - share) * (first - start) + share * (last - end) @ np.linalg.inv(whole).T
    cos, sin = np.cos(share * angle), np.sin(share * angle)
    turn = zoom**share * np.array([[cos, -sin], [sin, cos]])
    return shape @ turn.T + (1 - share) * start + share * end


def same_face(landmarks_68x2: npt.ArrayLike, others: Sequence[npt.ArrayLike]) -> int | None:
    """Number of the one among other faces that covers most of the same place; None when none does."""
    if not others:
        return None
    shares = overlap(face_box(landmarks_68x2)[None], np.stack([face_box(other) for other in others]))[0]
    best = int(np.argmax(shares))
    return best if shares[best] >= _SAME_FACE_IOU else None


def carried_over(new: Face, old: Face) -> Face:
    """A corrected face with what was drawn and learned on the old one: brows, polygons and mask, moved to the new crop.

    Args:
        new: as FaceMaker made it.
        old: the face it replaces.
    """
    new = replace(new, track=old.track, eyebrows_expand_mod=old.eyebrows_expand_mod)
    if old.image_to_face_mat is None or new.image_to_face_mat is None:
        return new
    back = np.vstack([invert(old.image_to_face_mat), [0, 0, 1]])
    across = new.image_to_face_mat @ back
    polygons = tuple((kind, transform_points(pts, across).astype(np.float32)) for kind, pts in old.seg_ie_polys)
    return replace(new, seg_ie_polys=polygons)


def moved_mask(mask: npt.NDArray[np.uint8], across_23: npt.ArrayLike, size: int) -> npt.NDArray[np.uint8]:
    """An encoded mask as another crop shows it.

    Args:
        mask: 1-D uint8, an encoded grayscale picture.
        across_23: (2, 3) old crop -> new crop, in their pixels.
        size: side of both crops in pixels.

    Returns:
        1-D uint8, an encoded grayscale PNG of the same side. DamagedFileError when the mask is none.
    """
    image = decode_image(mask.tobytes(), "mask", 1)
    side = image.shape[0]
    matrix = np.array(across_23, np.float64)
    matrix[:, 2] *= side / size  # turning and zooming are the same in pixels of the mask, shifts are not
    warped = cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR)
    return np.frombuffer(encode_image(warped, ".png"), np.uint8)


def _sides_in_order(points: Float64) -> Float64:
    """Eyes and mouth corners with the one first that is on the left when the face stands upright."""
    down = points[3:].mean(axis=0) if len(points) == 5 else points[2]
    across, down = points[1] - points[0], down - points[:2].mean(axis=0)
    swapped = across[0] * down[1] - across[1] * down[0] < 0
    eyes = points[[1, 0, *range(2, len(points))]] if swapped else points
    if len(points) != 5:
        return eyes
    mouth = eyes[4] - eyes[3]
    return eyes if mouth @ (eyes[1] - eyes[0]) >= 0 else eyes[[0, 1, 2, 4, 3]]


def _upright_view(landmarks: Float64) -> tuple[Float64, int]:
    """(2, 3) matrix to a square view in which the face stands upright in the middle, and the view's side in pixels."""
    eyes = five_points(landmarks)[:2]
    across = eyes[1] - eyes[0]
    angle = float(np.arctan2(across[1], across[0]))
    low, high = landmarks.min(axis=0), landmarks.max(axis=0)
    wanted = _VIEW_FACES * float(np.linalg.norm(high - low)) / np.sqrt(2)
    side = int(np.clip(np.ceil(wanted), 64, _VIEW_MOST_PX))
    zoom = min(side / max(wanted, 1.0), 1.0)
    cos, sin = zoom * np.cos(angle), zoom * np.sin(angle)
    turn = np.array([[cos, sin], [-sin, cos]])
    return np.column_stack([turn, side / 2 - turn @ ((low + high) / 2)]), side


def _believable(rough: Float64, placed: Float64) -> bool:
    """Whether refined landmarks are still about the same face."""
    if not np.isfinite(placed).all():
        return False
    before, after = (float(np.linalg.norm(np.ptp(points, axis=0))) for points in (rough, placed))
    shift = float(np.linalg.norm(rough.mean(axis=0) - placed.mean(axis=0)))
    return shift <= _MOST_SHIFT * before and before / _MOST_ZOOM <= after <= before * _MOST_ZOOM
