"""One measurement of the merging benchmark, run alone: ``python -m backend.pipeline.benchmark_merge JSON``.

The last line of the output is the result as JSON. What is measured says ``kind``: see MEASURES. All in one thread, on
a drawn person; a first turn, which loads everything, is not counted.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from backend.core.faces import FaceType
from backend.ops.align import face_matrix, warp_face
from backend.ops.color import COLOR_TRANSFERS
from backend.ops.color_transport import sliced_transport
from backend.ops.composite import composite_frame, face_target
from backend.ops.face_swap import FaceSwap, MergeOptions, Motion, SwapPrediction
from backend.ops.mask import hull_mask
from backend.pipeline.benchmark_people import HEIGHT, WIDTH, Look, clip_landmarks, make_looks, shot
from backend.pipeline.sample_motion import pose_at, render

Found = dict[str, Any]
Float32 = npt.NDArray[np.float32]

_ENOUGH = 7
_CLOSER = 1.26  # the drawn person's face, so that its crop is about 500 px wide
_MOTION = Motion(power=20.0, angle_deg=30.0)
_SOT_DIRECTIONS = 30


def main(request: Mapping[str, Any]) -> Found:
    """Measure what is asked for.

    Args:
        request: ``kind``, ``seconds`` to measure for, and what the measurement reads.

    Returns:
        wall_s and cpu_s of one turn, medians; and what the measurement adds.
    """
    cv2.setNumThreads(1)
    return MEASURES[request["kind"]](request)


def measure_merging(request: Mapping[str, Any]) -> Found:
    """Put one predicted face into a frame of 1280x720 bytes; no model runs, nothing is read or written.

    Args:
        request: ``options`` of MergeOptions, ``resolution`` of the model.

    Returns:
        also crop_px, the width of the face's crop in the frame.
    """
    options = MergeOptions(**request["options"])
    frame, landmarks = _close_frame()
    resolution = int(request["resolution"])
    target = face_target(frame, landmarks, FaceType.WHOLE, resolution)
    look = make_looks(seed=2)[0]
    face, mask = _other_face(look, resolution)
    hull = np.clip(warp_face(hull_mask(frame.shape, landmarks), target.mat, resolution), 0.0, 1.0)
    enhanced = _other_face(look, 4 * resolution)[0] if options.super_resolution else None
    seen = cv2.resize(mask, (256, 256))
    swap = FaceSwap(target, SwapPrediction(face, mask, hull, seen, seen), _MOTION, enhanced)
    crop_px = resolution / float(np.sqrt(np.linalg.det(target.mat[:, :2])))
    return {**_timed(lambda: composite_frame(frame, [swap], options), request), "crop_px": round(crop_px)}


def measure_transfer(request: Mapping[str, Any]) -> Found:
    """Bring the colours of one face to those of another.

    Args:
        request: ``transfer``, a key of COLOR_TRANSFERS, "sot" with the directions of merging; ``side`` of both crops.
    """
    side, name = int(request["side"]), request["transfer"]
    first, second = make_looks(seed=1)[:2]
    face, mask = _other_face(first, side)
    reference = _crop(second, side)
    if name == "sot":
        return _timed(lambda: sliced_transport(face, reference, directions=_SOT_DIRECTIONS), request)
    return _timed(lambda: COLOR_TRANSFERS[name](face, reference, mask), request)


def _close_frame() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64]]:
    """(720, 1280, 3) BGR and the (68, 2) landmarks of its face."""
    landmarks = clip_landmarks(1)[0]
    middle = landmarks.mean(axis=0)
    closer = np.column_stack([np.eye(2) * _CLOSER, middle * (1 - _CLOSER)])
    frame = cv2.warpAffine(render(shot(), pose_at(0.0, 0.0)), closer, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE)
    return frame.astype(np.uint8), landmarks * _CLOSER + closer[:, 2]


def _other_face(look: Look, side: int) -> tuple[Float32, Float32]:
    """A face in other light, as a model might predict it, and its mask."""
    mat = face_matrix(look.landmarks, side, FaceType.WHOLE)
    mask = warp_face(hull_mask(look.picture_bgr.shape, look.landmarks), mat, side)
    light = np.array((0.7, 0.8, 0.9), np.float32)
    return _crop(look, side) * light, np.clip(mask, 0.0, 1.0)


def _crop(look: Look, side: int) -> Float32:
    return face_target(look.picture_bgr, look.landmarks, FaceType.WHOLE, side).crop


def _timed(action: Callable[[], Any], request: Mapping[str, Any]) -> dict[str, float]:
    """Median seconds of wall and CPU of as many turns as ``seconds`` allow, seven at least."""
    action()
    walls, cpus = [], []
    until = time.perf_counter() + float(request["seconds"])
    while len(walls) < _ENOUGH or time.perf_counter() < until:
        wall, cpu = time.perf_counter(), time.process_time()
        action()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return {"wall_s": statistics.median(walls), "cpu_s": statistics.median(cpus)}


MEASURES: Mapping[str, Callable[[Mapping[str, Any]], Found]] = MappingProxyType(
    {"merge": measure_merging, "transfer": measure_transfer}
)
"""What can be asked for -> what does it."""


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(json.loads(sys.argv[1]))) + "\n")
