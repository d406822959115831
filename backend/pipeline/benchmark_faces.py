"""One measurement of the facesets' benchmark, run alone: ``python -m backend.pipeline.benchmark_faces JSON``.

The last line of the output is the result as JSON. What is measured says ``kind``: see MEASURES. The stages run as they
do in the workers; a first run on a few faces or frames, which loads everything, is not counted.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
from av import VideoFrame

from backend.core.faces import FaceType
from backend.core.settings import ExtractFacesSettings, FacesetSettings, SortSettings
from backend.ops.align import face_matrix
from backend.ops.denoise import REACH, denoise, prepare
from backend.ops.smooth import smooth_at
from backend.pipeline import extract_faces, faceset_tools, sort
from backend.pipeline.benchmark_people import (
    FPS,
    HEIGHT,
    WIDTH,
    clip_landmarks,
    make_looks,
    shot,
    write_clip,
    write_faceset,
)
from backend.pipeline.context import StageContext
from backend.pipeline.extract_report import Jitter
from backend.pipeline.face_maker import crop_xys
from backend.pipeline.sample_motion import pose_at, render
from backend.storage.frame_colour import FrameColours
from backend.storage.workspace import Project, Workspace

CROP_PX = 512
SMALL_PX = 256
_PROJECT, _CLIP, _WARM = "faces", "clip", "warm"
_WARM_COUNT = 4
_DENOISE_FACTOR = 7
_TOGETHER_PX, _APART_PX = 0.7, 0.4
_BT2020, _PQ_CODE = 9, 16

Found = dict[str, Any]


def main(request: Mapping[str, Any]) -> Found:
    """Measure what is asked for.

    Args:
        request: ``kind``, ``folder`` (of the data, the same for all), ``rounds`` (what is shown are medians), and what
            the measurement reads.

    Returns:
        wall_s and cpu_s of one round where something is timed, and what the measurement adds.
    """
    return MEASURES[request["kind"]](request)


def make(request: Mapping[str, Any]) -> Found:
    """Write the data: ``small`` faces of 256 px (src), ``large`` faces of 512 px (dst), ``frames`` of a clip (dst)."""
    workspace = Workspace(Path(request["folder"]) / "workspace")
    project = workspace.create(_PROJECT, "A drawn person.")
    looks = make_looks(seed=1)
    warm = workspace.create(_WARM, "A drawn person.")
    for side, key, size in (("src", "small", SMALL_PX), ("dst", "large", CROP_PX)):
        for of, count in ((project, int(request[key])), (warm, _WARM_COUNT)):
            write_faceset(of.side(side).aligned_dir, looks, count, size)
            of.side(side).faceset().records()
    clip = workspace.create(_CLIP, "A drawn person.")
    write_clip(clip.side("src").frames_dir, _WARM_COUNT)
    write_clip(clip.side("dst").frames_dir, int(request["frames"]))
    return {}


def measure_extraction(request: Mapping[str, Any]) -> Found:
    """Find the faces of the clip with the networks that "auto" chooses, on ``device``.

    Returns:
        also frames, faces, tools (names of detector and landmarker), jitter_before and jitter.
    """
    ctx = _context(request, _CLIP)
    usual = {"min_face_px": 40, "face_type": "wf", "image_size": CROP_PX, "device": request["device"]}
    extract_faces.run(ExtractFacesSettings(side="src", **usual), ctx)
    settings = ExtractFacesSettings(side="dst", **usual)
    spent, facts = _timed(lambda: extract_faces.run(settings, ctx), request)
    shown = {key: facts[key] for key in ("frames", "faces", "jitter_before", "jitter")}
    return {**spent, **shown, "tools": f"{facts['detector']}, {facts['landmarker']}"}


def measure_sorting(request: Mapping[str, Any]) -> Found:
    """Sort one ``side`` ``by`` something, the pictures decoded anew every time; choosing keeps half, none is trashed.

    Returns:
        also faces.
    """
    ctx = _context(request)
    faces = len(ctx.project.side(request["side"]).faceset().names())
    settings = SortSettings(side=request["side"], by=request["by"], target=max(1, faces // 2), trash=False)
    sort.run(settings, _context(request, _WARM))
    return {**_timed(lambda: sort.run(settings, ctx), request)[0], "faces": faces}


def measure_tool(request: Mapping[str, Any]) -> Found:
    """Run one ``action`` of the faceset tools on the smaller faces.

    Returns:
        also faces.
    """
    settings = FacesetSettings(side="src", action=request["action"], keep_files=True)
    ctx = _context(request)
    faceset_tools.run(settings, _context(request, _WARM))
    spent, facts = _timed(lambda: faceset_tools.run(settings, ctx), request)
    return {**spent, "faces": facts["faces"]}


def measure_denoising(request: Mapping[str, Any]) -> Found:
    """Take the noise out of one frame of 1280x720 with four neighbours, in one thread."""
    cv2.setNumThreads(1)
    scene, rng = shot(), np.random.default_rng(1)
    frames = []
    for number in range(2 * REACH + 1):
        picture = render(scene, pose_at(number / FPS, 0.0)) + rng.normal(0, 4, (HEIGHT, WIDTH, 3))
        frames.append(np.clip(picture, 0, 255).astype(np.uint8))
    around = [prepare(frame) for frame in (*frames[:REACH], *frames[REACH + 1 :])]
    return _timed(lambda: denoise(prepare(frames[REACH]), around, _DENOISE_FACTOR), request)[0]


def measure_tone_mapping(request: Mapping[str, Any]) -> Found:
    """From one decoded HDR10 frame of 1280x720, 10 bit, to a picture for ordinary displays, in one thread."""
    cv2.setNumThreads(1)
    planes = np.random.default_rng(1).integers(64, 940, (HEIGHT * 3 // 2, WIDTH), dtype=np.uint16)
    frame = VideoFrame.from_ndarray(planes, format="yuv420p10le")
    frame.color_trc, frame.color_primaries, frame.colorspace = _PQ_CODE, _BT2020, _BT2020
    colours = FrameColours()
    colours.to_bgr(frame)
    return _timed(lambda: colours.to_bgr(frame), request)[0]


def measure_smoothing(request: Mapping[str, Any]) -> Found:
    """Smooth the landmarks of the clip's motion after known noise was added: 0.7 px for all points of a frame together
    and 0.4 px for each point, standard deviation per axis.

    Args:
        request: ``frames`` of the clip, ``strength`` 0..1.

    Returns:
        also jitter_true, jitter_before and jitter of the crops (see extract_report.Jitter), and error_before_px and
        error_px, the root mean square distance of the points from where they are.
    """
    true = clip_landmarks(int(request["frames"]))
    count, rng = len(true), np.random.default_rng(1)
    noisy = true + rng.normal(0, _TOGETHER_PX, (count, 1, 2)) + rng.normal(0, _APART_PX, true.shape)
    times, strength = np.arange(count), float(request["strength"])
    spent, calm = _timed(lambda: np.stack([smooth_at(times, noisy, i, strength) for i in range(count)]), request)
    return {
        **{key: value / count for key, value in spent.items()},
        "jitter_true": _jitter(true),
        "jitter_before": _jitter(noisy),
        "jitter": _jitter(calm),
        "error_before_px": _distance(noisy, true),
        "error_px": _distance(calm, true),
    }


def _jitter(landmarks: np.ndarray) -> float | None:
    jitter = Jitter()
    for number, points in enumerate(landmarks):
        jitter.add(0, number, crop_xys(face_matrix(points, CROP_PX, FaceType.WHOLE), CROP_PX))
    return jitter.value()


def _distance(points: np.ndarray, true: np.ndarray) -> float:
    return float(np.sqrt(((points - true) ** 2).sum(axis=-1).mean()))


def _timed(action: Callable[[], Any], request: Mapping[str, Any]) -> tuple[dict[str, float], Any]:
    """Median seconds of wall and CPU (all threads) of some rounds, and what the last one returned."""
    walls, cpus, result = [], [], None
    for _ in range(int(request["rounds"])):
        wall, cpu = time.perf_counter(), time.process_time()
        result = action()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return {"wall_s": statistics.median(walls), "cpu_s": statistics.median(cpus)}, result


def _context(request: Mapping[str, Any], name: str = _PROJECT) -> StageContext:
    project: Project = Workspace(Path(request["folder"]) / "workspace").open(name)
    job = project.jobs_dir / "0001-benchmark"
    job.mkdir(parents=True, exist_ok=True)
    return StageContext(project, job, lambda kind, data: None)


MEASURES: Mapping[str, Callable[[Mapping[str, Any]], Found]] = MappingProxyType(
    {
        "make": make,
        "extract": measure_extraction,
        "sort": measure_sorting,
        "tool": measure_tool,
        "denoise": measure_denoising,
        "tone-map": measure_tone_mapping,
        "smooth": measure_smoothing,
    }
)
"""What can be asked for -> what does it."""


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(json.loads(sys.argv[1]))) + "\n")
