from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from backend.core.errors import BadInputError, DamagedFileError, DiskFullError, StopRequested
from backend.core.settings import EditClipSettings
from backend.pipeline import edit_clip
from backend.storage import atomic
from backend.storage.clip_history import former_clips
from backend.storage.image import write_image
from backend.storage.video import decode, frame_times, hdr_kind, probe
from backend.storage.video_writer import audio_end_s
from tests.hdr_clips import HLG, HdrClip, gray_code, make_hdr_clip
from tests.pipeline.stage_bench import bench, stop_after
from tests.tiny_clips import Clip, Sound, clicks_of, gray_of, make_clip

UNEVEN = (0.0, 0.04, 0.1, 0.5, 0.52, 0.9, 1.0, 1.3)
KEYED = Clip(frames=60, sound=Sound(2.4), keys_every=12)


def prepared(tmp_path: Path, clip: Clip, suffix: str = "mp4", **kwargs):
    project, ctx, reports = bench(tmp_path, **kwargs)
    project.import_video("dst", make_clip(tmp_path / f"clip.{suffix}", clip))
    return project, ctx, reports


def grays(clip: Path) -> list[int]:
    return [int(frame.frame_bgr[-5, -5, 0]) for frame in decode(clip)]


def assert_frames(clip: Path, numbers: range) -> None:
    found = grays(clip)
    assert len(found) == len(numbers)
    assert max(abs(value - gray_of(number)) for value, number in zip(found, numbers, strict=True)) <= 4


def test_an_encoded_cut_is_exact_and_keeps_its_sound(tmp_path: Path) -> None:
    project, ctx, reports = prepared(tmp_path, KEYED)
    result = edit_clip.run(EditClipSettings(side="dst", start_s=0.4, end_s=1.6), ctx)
    clip = project.side("dst").video
    assert clip is not None
    assert_frames(clip, range(10, 40))
    assert (result["frames"], result["starts_at_s"], result["audio"]) == (30, 0.4, "aac")
    assert result["seconds"] == pytest.approx(1.2)
    np.testing.assert_allclose(frame_times(clip), np.arange(30) / 25, atol=1e-4)
    assert clicks_of(clip) == pytest.approx([0.3], abs=0.005)
    assert audio_end_s(clip) == pytest.approx(1.2, abs=0.05)
    former = former_clips(project.path, "dst")
    assert [path.name for path in former] == ["data_dst.previous.mp4"]
    assert probe(former[0]).frame_count == 60
    assert "as it was is kept" in reports.words()
    assert not [p for p in project.path.iterdir() if "partial" in p.name]


def test_restoring_swaps_and_no_clip_is_lost(tmp_path: Path) -> None:
    project, ctx, reports = prepared(tmp_path, KEYED)
    for end_s in (2.0, 1.0):
        edit_clip.run(EditClipSettings(side="dst", end_s=end_s), ctx)
    frames_dir = project.side("dst").frames_dir
    write_image(frames_dir / "00001.png", np.zeros((4, 4, 3), np.uint8))

    def lengths() -> list[int]:
        clip = project.side("dst").video
        assert clip is not None
        return [len(frame_times(path)) for path in (clip, *former_clips(project.path, "dst"))]

    assert lengths() == [25, 50, 60]
    edit_clip.run(EditClipSettings(side="dst", restore=True), ctx)
    assert lengths() == [50, 25, 60]
    assert "1 frames of this side belong to the clip as it was" in reports.words()
    edit_clip.run(EditClipSettings(side="dst", restore=True), ctx)
    assert lengths() == [25, 50, 60]
    with pytest.raises(BadInputError, match="no earlier src clip"):
        edit_clip.run(EditClipSettings(side="src", restore=True), ctx)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
def test_a_copy_begins_at_the_key_frame_before(tmp_path: Path, suffix: str) -> None:
    project, ctx, reports = prepared(tmp_path, KEYED, suffix)
    before = project.side("dst").video
    assert before is not None
    stored = {frame.index: frame.frame_bgr for frame in decode(before)}
    result = edit_clip.run(EditClipSettings(side="dst", start_s=0.6, end_s=1.4, method="copy"), ctx)
    clip = project.side("dst").video
    assert clip is not None
    assert clip.suffix == f".{suffix}"
    assert "key frame at 0.480 s, 0.120 s before the start" in reports.words()
    assert result["starts_at_s"] == pytest.approx(0.48)
    assert 23 <= result["frames"] <= 26
    for frame in decode(clip):
        np.testing.assert_array_equal(frame.frame_bgr, stored[12 + frame.index])
    np.testing.assert_allclose(frame_times(clip), np.arange(result["frames"]) / 25, atol=0.0011)
    assert clicks_of(clip) == pytest.approx([0.22], abs=0.03)


@pytest.mark.parametrize("method", ["encode", "copy"])
@pytest.mark.parametrize("clip", [Clip(frames=8, times_s=UNEVEN), Clip(frames=8, times_s=UNEVEN, rotation=-90.0)])
def test_uneven_times_and_rotation_stay(tmp_path: Path, clip: Clip, method: str) -> None:
    project, ctx, _ = prepared(tmp_path, clip)
    edit_clip.run(EditClipSettings(side="dst", end_s=1.0, method=method), ctx)
    made = project.side("dst").video
    assert made is not None
    expected = UNEVEN[:6]
    times = frame_times(made)
    np.testing.assert_allclose(times[:6], expected, atol=1e-3)
    assert len(times) == 6
    info = probe(made)
    assert (info.width, info.height) == ((48, 64) if clip.rotation else (64, 48))
    assert not info.has_audio
    corner = next(decode(made)).frame_bgr[4, -5 if clip.rotation else 4].astype(int)
    assert corner[0] > 200
    assert corner[2] < 60


def test_another_height(tmp_path: Path) -> None:
    project, ctx, _ = prepared(tmp_path, Clip(frames=6, size=(90, 60)))
    result = edit_clip.run(EditClipSettings(side="dst", height=38), ctx)
    assert (result["width"], result["height"], result["frames"]) == (56, 38, 6)
    clip = project.side("dst").video
    assert clip is not None
    assert abs(grays(clip)[3] - gray_of(3)) <= 4


def test_odd_sizes_get_a_line(tmp_path: Path) -> None:
    _, ctx, reports = prepared(tmp_path, Clip(frames=4, size=(63, 47)), "mkv")
    result = edit_clip.run(EditClipSettings(side="dst"), ctx)
    assert (result["width"], result["height"]) == (64, 48)
    assert "one more line or column" in reports.words()


@pytest.mark.parametrize(("track", "click_s"), [(0, 0.2), (1, 0.45), (-1, None)])
@pytest.mark.parametrize("method", ["encode", "copy"])
def test_the_chosen_sound_track(tmp_path: Path, method: str, track: int, click_s: float | None) -> None:
    clip = Clip(frames=25, sound=Sound(0.6), more_sound=(Sound(0.5, start_s=0.25),))
    project, ctx, _ = prepared(tmp_path, clip)
    edit_clip.run(EditClipSettings(side="dst", audio_track=track, method=method), ctx)
    made = project.side("dst").video
    assert made is not None
    assert probe(made).has_audio is (click_s is not None)
    if click_s is not None:
        assert clicks_of(made)[0] == pytest.approx(click_s, abs=0.03)


def test_high_dynamic_range_is_mapped_by_encoding_only(tmp_path: Path) -> None:
    project, ctx, reports = bench(tmp_path)
    codes = [gray_code(0.4)] * 4
    project.import_video("dst", make_hdr_clip(tmp_path / "clip.mp4", codes, HdrClip(HLG)))
    edit_clip.run(EditClipSettings(side="dst", method="copy"), ctx)
    clip = project.side("dst").video
    assert clip is not None
    assert hdr_kind(probe(clip)) == "HLG"
    before = next(decode(clip)).frame_bgr[20, 20].astype(int)
    edit_clip.run(EditClipSettings(side="dst"), ctx)
    assert probe(clip).color_transfer == "bt709"
    assert np.abs(next(decode(clip)).frame_bgr[20, 20] - before).max() <= 3
    assert "tones mapped to BT.709" in reports.words()


def test_what_cannot_be_done_is_said_and_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project, ctx, _ = prepared(tmp_path, KEYED)
    for changes, words in (
        ({"start_s": 9.0}, "No frame"),
        ({"start_s": 9.0, "method": "copy"}, "No frame"),
        ({"audio_track": 1}, "has 1 sound track;"),
    ):
        with pytest.raises(BadInputError, match=words):
            edit_clip.run(EditClipSettings.model_validate({"side": "dst", **changes}), ctx)
    with pytest.raises(BadInputError, match="no src clip"):
        edit_clip.run(EditClipSettings(side="src"), ctx)
    monkeypatch.setattr(atomic, "free_bytes", lambda path: 1 << 20)
    with pytest.raises(DiskFullError):
        edit_clip.run(EditClipSettings(side="dst"), ctx)
    monkeypatch.undo()
    monkeypatch.setattr(edit_clip, "check", _fails)
    with pytest.raises(DamagedFileError):
        edit_clip.run(EditClipSettings(side="dst"), ctx)
    monkeypatch.undo()
    for method in ("encode", "copy"):
        _, stopping, _ = bench(tmp_path, stop_after(5))
        with pytest.raises(StopRequested):
            edit_clip.run(EditClipSettings.model_validate({"side": "dst", "method": method}), stopping)
    assert sorted(p.name for p in project.path.glob("data_dst*.*")) == ["data_dst.mp4"]
    assert not list(project.path.glob(".dst*"))


def _fails(*_: object) -> None:
    raise DamagedFileError("It is short.")


def test_an_avi_cannot_be_copied(tmp_path: Path) -> None:
    _, ctx, _ = prepared(tmp_path, Clip(frames=10), "avi")
    with pytest.raises(BadInputError, match="encode instead"):
        edit_clip.run(EditClipSettings(side="dst", method="copy"), ctx)


def test_the_bit_rate_is_kept(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)

    def noise(number: int, width: int, height: int) -> np.ndarray:
        return rng.integers(0, 255, (height, width, 3), dtype=np.uint8)

    project, ctx, _ = bench(tmp_path)
    project.import_video("dst", make_clip(tmp_path / "clip.mp4", Clip(frames=50, size=(192, 108)), noise))
    sizes = []
    for rate in (2.0, 0.5):
        edit_clip.run(EditClipSettings(side="dst", bitrate_mbit=rate), ctx)
        clip = project.side("dst").video
        assert clip is not None
        sizes.append(clip.stat().st_size)
    assert sizes[0] == pytest.approx(2e6 / 8 * 2, rel=0.35)
    assert sizes[1] < 0.5 * sizes[0]
    assert probe(project.path / "data_dst.mp4").fps == Fraction(25)
