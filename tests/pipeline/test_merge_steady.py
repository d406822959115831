from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np
import pytest

from backend.core.faces import FaceType
from backend.core.settings import MergeLook
from backend.ops.align import face_matrix
from backend.ops.face_swap import FaceTarget, Motion, SwapPrediction
from backend.ops.pose import LANDMARKS_3D
from backend.pipeline.merge_steady import RADIUS, SteadyReport, steadied, steady_one
from backend.pipeline.merge_types import FacePlan, FramePlan, PredictedFaces, ReadyFaces

SIDE = 48


class Clip:
    """Frames of faces whose masks and colours tremble."""

    def __init__(self, seed: int = 3) -> None:
        self.rng = np.random.default_rng(seed)
        self.picture = cv2.resize(self.rng.random((5, 5, 3), dtype=np.float32), (SIDE, SIDE)) * 0.5 + 0.2
        self.y, self.x = np.mgrid[:SIDE, :SIDE].astype(np.float32)

    def face(self, track: int | None, at_xy: tuple[float, float], light: float = 0.0, **kinds):
        """Plan, target and prediction of one face."""
        points = LANDMARKS_3D[:, :2] - LANDMARKS_3D[:, :2].mean(axis=0) + at_xy
        mat = face_matrix(points, SIDE, FaceType.FULL)
        crop = np.clip(self.picture + light + self.rng.normal(0, 0.01), 0, 1).astype(np.float32)
        masks = {name: self.mask() for name in ("mask", "dst_mask", *kinds.pop("also", ()))}
        face = np.clip(crop[::-1] + self.rng.normal(0, 0.01), 0, 1).astype(np.float32)
        plan = FacePlan("face.jpg", points, kinds.get("model", "model"), track, Motion(3.0, 40.0))
        return plan, FaceTarget(points, FaceType.FULL, mat, crop), SwapPrediction(face, **masks)

    def mask(self):
        radius = 16 + self.rng.normal(0, 0.6)
        return np.clip(radius - np.hypot(self.x - 24, self.y - 24), 0, 1).astype(np.float32)


def framed(index: int, faces, look: MergeLook | None = None) -> PredictedFaces:
    plans, targets, predictions = zip(*faces, strict=True) if faces else ((), (), ())
    plan = FramePlan(index, f"{index + 1:05d}", look or MergeLook(), plans)
    return PredictedFaces(plan, targets, predictions=predictions)


def run(frames: list[PredictedFaces], mask: int = 100, color: int = 100) -> tuple[list[ReadyFaces], dict]:
    report = SteadyReport()
    return list(steadied(iter(frames), mask, color, report)), report.result()


def clip_of(count: int, track: int | None = 5, first: int = 0, **kinds) -> list[PredictedFaces]:
    clip = Clip()
    return [framed(first + number, [clip.face(track, (200 + number, 150), **kinds)]) for number in range(count)]


def prediction_of(frame: PredictedFaces) -> SwapPrediction:
    """Of the first face."""
    (prediction, *_) = frame.predictions
    assert prediction is not None
    return prediction


def same(first: ReadyFaces, second: ReadyFaces) -> bool:
    """Whether two results are equal to the last bit."""
    pairs = list(zip(first.swaps, second.swaps, strict=True))
    names = ("face", "mask", "dst_mask", "xseg_mask", "xseg_dst_mask")
    masks = all(np.array_equal(getattr(a.prediction, n), getattr(b.prediction, n)) for a, b in pairs for n in names)
    shifts = [(a.shift or (), b.shift or ()) for a, b in pairs]
    return masks and all(np.array_equal(x, y) for a, b in shifts for x, y in zip(a, b, strict=True))


def test_without_strength_predictions_pass_untouched_and_one_by_one():
    frames = clip_of(12)
    taken = []

    def source() -> Iterator[PredictedFaces]:
        for frame in frames:
            taken.append(frame.plan.index)
            yield frame

    report = SteadyReport()
    for number, ready in enumerate(steadied(source(), 0, 0, report)):
        assert taken[-1] == number
        assert ready.swaps[0].prediction is frames[number].predictions[0]
        assert ready.swaps[0].shift is None
        assert ready.swaps[0].motion == Motion(3.0, 40.0)
    figures = report.result()
    assert figures["measured"] == 10
    assert figures["mask_before"] == figures["mask_after"] > 0
    assert figures["color_before"] == figures["color_after"] > 0
    assert steady_one(frames, 3, 0, 0).swaps[0].prediction is frames[3].predictions[0]


@pytest.mark.parametrize("track", [5, None])
def test_masks_and_colours_get_calm(track):
    frames = clip_of(20, track)
    half, full = (run(frames, strength, strength)[1] for strength in (50, 100))
    assert full["measured"] == half["measured"] == 18
    assert full["mask_after"] < half["mask_after"] < 0.6 * full["mask_before"]
    assert full["color_after"] < half["color_after"] < 0.6 * full["color_before"]
    assert full["mask_after"] < 0.3 * full["mask_before"]
    assert full["color_after"] < 0.3 * full["color_before"]


def test_each_strength_does_only_its_own():
    frames = clip_of(8)
    masks, colors = run(frames, 80, 0)[0][4].swaps[0], run(frames, 0, 80)[0][4].swaps[0]
    assert masks.shift is None
    assert not np.array_equal(masks.prediction.mask, prediction_of(frames[4]).mask)
    assert colors.shift is not None
    assert colors.prediction is frames[4].predictions[0]


def test_frames_come_in_order_with_bounded_look_ahead():
    frames, taken = clip_of(20), []

    def source() -> Iterator[PredictedFaces]:
        for frame in frames:
            taken.append(frame.plan.index)
            yield frame

    found = []
    for ready in steadied(source(), 50, 50):
        found.append(ready.plan.index)
        assert taken[-1] <= found[-1] + RADIUS
    assert found == list(range(20))


@pytest.mark.parametrize("track", [5, None])
def test_one_frame_by_itself_equals_the_stream(track):
    clip = Clip()
    frames = []
    for number in range(14):
        faces = [clip.face(track, (200 + 2 * number, 150), light=0.3 * (number > 8), also=("xseg_mask",))]
        if number != 5:
            faces.append(clip.face(None if track is None else 6, (600 - number, 160)))
        if number == 11:
            faces = []
        frames.append(framed(number + (number > 2), faces))
    stream, _ = run(frames, 70, 90)
    for number, ready in enumerate(stream):
        first = max(0, number - RADIUS)
        window = frames[first : number + RADIUS + 1]
        assert same(steady_one(window, number - first, 70, 90), ready)


def touched(frames: list[PredictedFaces], at: int) -> set[int]:
    """Which frames the masks of one frame are smoothed with: those whose masks matter."""
    result, _ = run(frames)
    found = set()
    for number, frame in enumerate(frames):
        inverted = tuple(p and replace(p, mask=p.mask * 0.9) for p in frame.predictions)
        changed, _ = run([*frames[:number], replace(frame, predictions=inverted), *frames[number + 1 :]])
        if not same(changed[at], result[at]):
            found.add(number)
    return found


def test_a_window_reaches_radius_frames_and_ends_at_gaps_in_the_indexes():
    assert touched(clip_of(14), 6) == set(range(6 - RADIUS, 6 + RADIUS + 1))
    gap = clip_of(5) + clip_of(5, first=6)
    assert touched(gap, 4) == {0, 1, 2, 3, 4}
    assert touched(gap, 5) == {5, 6, 7, 8, 9}


@pytest.mark.parametrize(
    "other",
    [
        {"light": 0.28},
        {"model": "other"},
        {"track": 9},
        {"at_xy": (420, 300)},
    ],
)
def test_a_window_ends_at_jumps_other_models_and_other_tracks(other):
    clip = Clip()
    usual = {"track": 5, "at_xy": (200, 150)}
    frames = [framed(number, [clip.face(**usual | (other if number >= 4 else {}))]) for number in range(8)]
    assert touched(frames, 3) == {0, 1, 2, 3}
    assert touched(frames, 4) == {4, 5, 6, 7}


def test_a_window_ends_where_the_crop_shows_something_else():
    clip = Clip()
    frames = [framed(number, [clip.face(5, (200, 150))]) for number in range(4)]
    clip.picture = np.ascontiguousarray(clip.picture[::-1, ::-1])
    frames += [framed(number, [clip.face(5, (200, 150))]) for number in range(4, 8)]
    assert touched(frames, 3) == {0, 1, 2, 3}


def test_a_window_ends_where_the_look_asks_the_model_for_something_else():
    clip = Clip()
    frames = [framed(n, [clip.face(5, (200, 150))], MergeLook(morph_factor=0.5 if n > 3 else 1.0)) for n in range(8)]
    assert touched(frames, 3) == {0, 1, 2, 3}


def test_a_track_may_miss_its_face_but_a_face_without_track_may_not():
    for track, expected in ((5, {0, 1, 3, 4, 5}), (None, {3, 4, 5})):
        clip = Clip()
        frames = [framed(number, [clip.face(track, (200, 150))] if number != 2 else []) for number in range(6)]
        assert touched(frames, 3) == expected


def test_faces_without_tracks_are_told_apart_by_place():
    clip = Clip()
    frames = []
    for number in range(6):
        faces = [clip.face(None, (200 + number, 150)), clip.face(None, (520 - number, 150))]
        frames.append(framed(number, faces if number % 2 else faces[::-1]))
    frames[2] = replace(frames[2], predictions=tuple(replace(p, mask=p.mask * 0) for p in frames[2].predictions[:1]))
    frames[2] = replace(
        frames[2], targets=frames[2].targets[:1], plan=replace(frames[2].plan, faces=frames[2].plan.faces[:1])
    )
    result, figures = run(frames)
    assert figures["measured"] == 4 + 1
    # frame 2 only has the right face, whose mask is empty there: the left one of its neighbours never sees that
    left = [ready.swaps[1 - number % 2].prediction.mask for number, ready in enumerate(result) if number != 2]
    assert min(mask.sum() for mask in left) > 0.9 * max(mask.sum() for mask in left)


def test_faces_without_a_crop_are_left_out():
    frames = clip_of(7)
    frames[3] = replace(frames[3], targets=(None,), predictions=(None,))
    for strength in (0, 60):
        result, figures = run(frames, strength, strength)
        assert [len(ready.swaps) for ready in result] == [1, 1, 1, 0, 1, 1, 1]
        assert figures["measured"] == 2
    assert touched(frames, 4) == {0, 1, 2, 4, 5, 6}


def test_masks_of_a_segmentation_network_are_smoothed_where_there_are_any():
    clip = Clip()
    kinds = [("xseg_mask", "xseg_dst_mask") if number != 2 else () for number in range(6)]
    frames = [framed(number, [clip.face(5, (200, 150), also=also)]) for number, also in enumerate(kinds)]
    result, _ = run(frames)
    assert result[2].swaps[0].prediction.xseg_mask is None
    for name in ("mask", "dst_mask", "xseg_mask", "xseg_dst_mask"):
        before, after = getattr(frames[3].predictions[0], name), getattr(result[3].swaps[0].prediction, name)
        assert 0 < np.abs(after - before).mean() < 0.1
        assert after.dtype == np.float32


def test_enhanced_faces_and_empty_streams_pass():
    frame = replace(clip_of(1)[0], enhanced=(np.ones((8, 8, 3), np.float32),))
    for strength in (0, 50):
        assert run([frame], strength, strength)[0][0].swaps[0].enhanced is frame.enhanced[0]
    assert run([]) == (
        [],
        {"measured": 0, **dict.fromkeys(("mask_before", "mask_after", "color_before", "color_after"))},
    )


def test_figures_are_of_the_colours_that_count():
    """Without a transfer the predicted face's own colours flicker, else the destination's."""
    frames = clip_of(12)
    for number, frame in enumerate(frames):
        flashing = replace(prediction_of(frame), face=np.full((SIDE, SIDE, 3), 0.4 + 0.1 * (number % 2), np.float32))
        frames[number] = replace(frame, predictions=(flashing,))
    own = [replace(frame, plan=replace(frame.plan, look=MergeLook(color_transfer="none"))) for frame in frames]
    assert run(own)[1]["color_before"] > 3 * run(frames)[1]["color_before"]
