from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backend.core.faces import FILLED, Detection
from backend.ops.pose import LANDMARKS_3D
from backend.ops.track import thumbnail
from backend.pipeline.face_maker import FoundFace
from backend.pipeline.face_tracks import FaceTracks, FrameFaces, TrackOptions

FRAME = np.full((64, 64, 3), 90, np.uint8)
THUMB = thumbnail(FRAME)
POINTS = LANDMARKS_3D[:, :2]


class Landmarker:
    """Sees the points as far off the middle of the box as it is told, and notes where it looked."""

    name = "fake"

    def __init__(self, off: float = 0.0) -> None:
        self.off = off
        self.looked: list[float] = []

    def landmarks(self, frame_bgr: np.ndarray, detection: Detection) -> np.ndarray:
        assert frame_bgr is FRAME
        assert detection.points5 is not None
        self.looked.append(float(detection.box_xyxy[0]))
        return (POINTS + middle(detection.box_xyxy) + (self.off, 0)).astype(np.float32)


def middle(box: np.ndarray) -> np.ndarray:
    return (np.asarray(box[:2]) + np.asarray(box[2:])) / 2


def face(x: float, track: int | None = None) -> FoundFace:
    box = np.array([x, 0, x + 150, 160.0])
    return FoundFace(box, POINTS + middle(box), 0.9, track, detector="d", landmarker="l")


def frame(index: int, *faces: FoundFace, **more) -> FrameFaces:
    return FrameFaces(index, Path(f"{index}.png"), FRAME, THUMB, list(faces), **more)


def through(tracks: FaceTracks, frames: list[FrameFaces]) -> list[FrameFaces]:
    done = [finished for each in frames for finished in tracks.push(each)]
    return done + list(tracks.rest())


def test_frames_come_out_in_order_and_few_are_held() -> None:
    options = TrackOptions(fill_gaps=3, smoothing=0.5)
    assert options.look_ahead == 5
    tracks = FaceTracks(options, Landmarker())
    out: list[int] = []
    for index in range(30):
        out += [each.index for each in tracks.push(frame(index, face(index)))]
        assert index - len(out) < 5
    out += [each.index for each in tracks.rest()]
    assert out == list(range(30))


def test_without_filling_and_smoothing_nothing_is_held() -> None:
    tracks = FaceTracks(TrackOptions(), Landmarker())
    (done,) = tracks.push(frame(0, face(3)))
    assert done.faces[0].track == 0
    np.testing.assert_array_equal(done.faces[0].landmarks, face(3).landmarks)


def test_gaps_are_filled_from_the_picture() -> None:
    landmarker = Landmarker(off=2.0)
    frames = [frame(index, *([] if index in (4, 5) else [face(10.0 * index)])) for index in range(10)]
    done = through(FaceTracks(TrackOptions(fill_gaps=2), landmarker), frames)
    assert [len(each.faces) for each in done] == [1] * 10
    assert landmarker.looked == pytest.approx([40, 50])
    for index in (4, 5):
        filled = done[index].faces[0]
        assert (filled.origin, filled.track, filled.score, filled.detector) == (FILLED, 0, None, "d")
        np.testing.assert_allclose(filled.landmarks, face(10.0 * index + 2).landmarks, atol=1e-3)
    assert [each.faces[0].origin for each in done].count(FILLED) == 2


def test_what_the_landmarker_sees_elsewhere_is_not_believed() -> None:
    frames = [frame(0, face(0)), frame(1), frame(2, face(20))]
    done = through(FaceTracks(TrackOptions(fill_gaps=1), Landmarker(off=60.0)), frames)
    np.testing.assert_allclose(done[1].faces[0].landmarks, face(10).landmarks, atol=1e-6)


@pytest.mark.parametrize("why", ["too long", "a cut", "unreadable", "enough faces"])
def test_gaps_that_stay(why: str) -> None:
    gap = [3, 4, 5] if why == "too long" else [3]
    frames = [frame(index, *([] if index in gap else [face(index)])) for index in range(9)]
    if why == "a cut":
        rng = np.random.default_rng(0)
        for each in frames[3:]:
            each.thumb = rng.integers(0, 255, THUMB.shape).astype(np.float32)
    if why == "unreadable":
        frames[3] = FrameFaces(3, Path("3.png"), unreadable="damaged")
    if why == "enough faces":
        frames[3].faces.append(face(5000))
    options = TrackOptions(fill_gaps=2, max_faces=1)
    done = through(FaceTracks(options, Landmarker()), frames)
    assert not any(each.origin for finished in done for each in finished.faces)


def test_smoothing_calms_and_keeps_what_was_found_beside_it() -> None:
    rng = np.random.default_rng(0)
    shaken = [
        replace(face(50), landmarks=face(50).landmarks + rng.normal(0, 2, 2) + rng.normal(0, 0.2, (68, 2)))
        for _ in range(30)
    ]
    done = through(FaceTracks(TrackOptions(smoothing=1.0), Landmarker()), [frame(i, f) for i, f in enumerate(shaken)])
    before = np.stack([each.raw[0] for each in done])
    after = np.stack([each.faces[0].landmarks for each in done])
    np.testing.assert_allclose(before, [each.landmarks for each in shaken])
    assert np.ptp(after.mean(axis=1)[:, 0]) < 0.5 * np.ptp(before.mean(axis=1)[:, 0])


def test_faces_of_two_tracks_are_not_mixed() -> None:
    frames = [frame(index, face(0.0), face(400.0 + index)) for index in range(20)]
    done = through(FaceTracks(TrackOptions(smoothing=1.0), Landmarker()), frames)
    assert {tuple(f.track for f in each.faces) for each in done} == {(0, 1)}
    for each in done:
        np.testing.assert_allclose(each.faces[0].landmarks, face(0.0).landmarks, atol=0.1)


def test_new_numbers_come_behind_and_stored_faces_keep_theirs() -> None:
    stored = frame(0, face(0, track=4), searched=False)
    stored.image_bgr = None
    frames = [stored, frame(1, face(2), face(500)), frame(2), frame(3, face(6, track=4), searched=False)]
    done = through(FaceTracks(TrackOptions(fill_gaps=2, first_track=9), Landmarker()), frames)
    assert [f.track for f in done[1].faces] == [4, 10]
    assert [(f.track, f.origin) for f in done[2].faces] == [(4, FILLED)]
    assert [f.track for f in done[3].faces] == [4]


def test_a_track_that_turns_out_to_be_a_stored_one_is_renamed_while_it_waits() -> None:
    tracks = FaceTracks(TrackOptions(smoothing=0.5, first_track=5), Landmarker())
    stored = frame(2, face(4, track=4), searched=False)
    done = through(tracks, [frame(0, face(0)), frame(1, face(2)), stored, *(frame(n, face(2 * n)) for n in (3, 4))])
    assert [each.faces[0].track for each in done] == [4] * 5


def test_long_clips_are_forgotten() -> None:
    tracks = FaceTracks(TrackOptions(fill_gaps=5, smoothing=1.0), Landmarker())
    for index in range(300):
        list(tracks.push(frame(index, face(float(index % 200) * 500))))
    assert sum(len(history.frames) for history in tracks._histories.values()) < 60
