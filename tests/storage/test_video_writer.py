from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from backend.core.errors import BadInputError, DamagedFileError
from backend.core.provenance import DIGITAL_SOURCE_TYPE
from backend.storage.audio import AudioRange
from backend.storage.video import decode, frame_times, probe
from backend.storage.video_mark import TAGS, append_xmp, read_xmp
from backend.storage.video_writer import (
    Expectation,
    FrameClock,
    Picture,
    VideoWriter,
    audio_end_s,
    check,
    frame_clock,
)
from tests.tiny_clips import CLICK_S, Clip, Sound, clicks_of, make_clip

NTSC = Fraction(30000, 1001)
UNEVEN = (0.0, 0.04, 0.1, 0.5, 0.52, 0.9)


def write(path: Path, clock: FrameClock, audio: AudioRange | None = None, size: tuple[int, int] = (64, 48)):
    with VideoWriter(path, Picture(*size), clock, audio, TAGS) as writer:
        for number in range(len(clock.ticks)):
            writer.write(np.full((size[1], size[0], 3), 40 + number % 100, np.uint8))
    return writer


@pytest.mark.parametrize("fps", [Fraction(25), NTSC, Fraction(24000, 1001), Fraction(60)])
def test_a_constant_rate_is_exactly_constant(tmp_path: Path, fps: Fraction) -> None:
    rounded = [round(i / float(fps), 3) for i in range(50)]
    clock = frame_clock(rounded, 50 / float(fps), fps)
    assert (clock.constant, clock.time_base) == (True, 1 / fps)
    writer = write(tmp_path / "out.mp4", clock)
    assert check(tmp_path / "out.mp4", writer.expectation()).fps == fps
    with av.open(str(tmp_path / "out.mp4")) as container:
        stream = container.streams.video[0]
        assert [f.pts * f.time_base for f in container.decode(stream)] == [i / fps for i in range(50)]
        assert stream.duration * stream.time_base == 50 / fps


def test_a_whole_fraction_of_the_rate_is_constant_too() -> None:
    assert frame_clock([0.0, 0.2, 0.4, 0.6], 0.8, Fraction(25)).rate == 5
    assert frame_clock([3.0], 3.04, Fraction(25)).rate == 25


def test_uneven_times_and_the_last_length_are_kept(tmp_path: Path) -> None:
    clock = frame_clock([t + 2 for t in UNEVEN], 3.2, Fraction(25))
    assert not clock.constant
    writer = write(tmp_path / "out.mp4", clock)
    info = check(tmp_path / "out.mp4", writer.expectation())
    np.testing.assert_allclose(frame_times(tmp_path / "out.mp4"), UNEVEN, atol=1e-4)
    assert info.duration_s == pytest.approx(1.2, abs=1e-3)


def test_times_that_stand_still_are_moved_apart() -> None:
    clock = frame_clock([0.0, 0.5, 0.5, 0.5, 0.6], 0.6, Fraction(25))
    assert list(clock.ticks) == sorted(set(clock.ticks))
    assert clock.end > clock.ticks[-1]


@pytest.mark.parametrize("size", [(63, 48), (64, 47), (63, 47)])
def test_odd_sizes_are_padded_by_the_edge(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "out.mp4"
    with VideoWriter(path, Picture(*size, crf=1), frame_clock([0.0, 0.04], 0.08, Fraction(25))) as writer:
        for _ in range(2):
            writer.write(np.full((size[1], size[0], 3), 200, np.uint8))
    info = probe(path)
    assert (info.width, info.height) == (size[0] + size[0] % 2, size[1] + size[1] % 2)
    assert np.abs(next(decode(path)).frame_bgr.astype(int) - 200).max() <= 2


def test_colours_pixel_shape_and_tags(tmp_path: Path, rng: np.random.Generator) -> None:
    path = tmp_path / "out.mp4"
    image = np.kron(rng.integers(0, 256, (6, 8, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    picture = Picture(128, 96, Fraction(4, 3), crf=0)
    with VideoWriter(path, picture, frame_clock([0.0], 0.04, Fraction(25)), tags=TAGS) as writer:
        writer.write(image)
    append_xmp(path)
    seen = next(decode(path)).frame_bgr.astype(int)
    assert np.abs(seen - image)[8::16, 8::16].max() <= 3
    info = probe(path)
    assert (info.color_transfer, info.pixel_aspect) == ("bt709", Fraction(4, 3))
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_primaries, context.color_range) == (1, 1, 1)
        assert context.pix_fmt == "yuv420p"
        assert "AI-manipulated" in container.metadata["comment"]
        assert DIGITAL_SOURCE_TYPE in container.metadata["description"]
    assert DIGITAL_SOURCE_TYPE in read_xmp(path)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_a_file_without_mark_has_none(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mp4", Clip(frames=2))
    assert read_xmp(path) == ""


@pytest.mark.parametrize(
    ("name", "sound", "mode"),
    [
        ("equal.mp4", Sound(1.2), "copied"),
        ("longer.mp4", Sound(3.0), "copied"),
        ("shorter.mp4", Sound(0.9), "copied"),
        ("late.mp4", Sound(1.0, start_s=0.1), "copied"),
        ("layer3.mp4", Sound(1.2, "mp3"), "copied"),
        ("matroska.mkv", Sound(1.2), "copied"),
        ("dolby.mp4", Sound(1.2, "ac3"), "aac"),
        ("stream.ts", Sound(1.2), "aac"),
        ("lossless.mkv", Sound(1.2, "flac"), "aac"),
    ],
)
def test_sound_keeps_its_place(tmp_path: Path, name: str, sound: Sound, mode: str) -> None:
    clip = make_clip(tmp_path / name, Clip(frames=30, sound=sound))
    clock = frame_clock([i / 25 for i in range(30)], 1.2, Fraction(25))
    path = tmp_path / "out.mp4"
    writer = write(path, clock, AudioRange(clip, 0.0, clock.length_s))
    check(path, writer.expectation())
    assert writer.audio is not None
    assert writer.audio.mode == mode
    np.testing.assert_allclose(clicks_of(path), clicks_of(clip), atol=0.002)
    np.testing.assert_allclose(clicks_of(path), np.add(CLICK_S, sound.start_s), atol=0.03)
    assert audio_end_s(path) == pytest.approx(min(1.2, sound.start_s + sound.seconds), abs=0.03)


@pytest.mark.parametrize("codec", ["aac", "ac3"])
def test_sound_of_a_range(tmp_path: Path, codec: str) -> None:
    clip = make_clip(tmp_path / "clip.mp4", Clip(frames=50, sound=Sound(2.0, codec)))
    clock = frame_clock([0.48 + i / 25 for i in range(20)], 1.28, Fraction(25))
    path = tmp_path / "out.mp4"
    writer = write(path, clock, AudioRange(clip, 0.48, clock.length_s))
    check(path, writer.expectation())
    np.testing.assert_allclose(clicks_of(path), [0.22], atol=0.002)
    assert audio_end_s(path) == pytest.approx(0.8, abs=0.03)


def test_sound_that_begins_before_the_picture(assets: Path, tmp_path: Path) -> None:
    """In concert.mp4 the sound is 0.84 s ahead of the first frame; it must not slip."""
    clip = assets / "data" / "concert.mp4"
    info, times = probe(clip), frame_times(clip)
    clock = frame_clock(times.tolist(), info.duration_s, info.fps)
    path = tmp_path / "out.mp4"
    writer = write(path, clock, AudioRange(clip, 0.0, clock.length_s))
    check(path, writer.expectation())
    ours, theirs = loudness(path), loudness(clip)
    best = max(range(-20, 21), key=lambda lag: np.dot(ours[20:800], theirs[20 + lag : 800 + lag]))
    assert abs(best) <= 1


def loudness(path: Path) -> np.ndarray:
    """(1000,) mean level in steps of 10 ms from the first video frame on, mean removed."""
    with av.open(str(path)) as container:
        first = next(container.decode(video=0))
        begin = float(first.pts * first.time_base)
    level, count = np.zeros(1000), np.zeros(1000)
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            data = np.abs(frame.to_ndarray()).mean(axis=0)
            at = (float(frame.pts * frame.time_base) - begin + np.arange(len(data)) / frame.sample_rate) / 0.01
            inside = (at >= 0) & (at < 1000)
            np.add.at(level, at[inside].astype(int), data[inside])
            np.add.at(count, at[inside].astype(int), 1)
    level /= np.maximum(count, 1)
    return level - level.mean()


def test_check_says_what_is_wrong(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mp4", Clip(frames=30, sound=Sound(1.2)))
    clock = frame_clock([i / 25 for i in range(30)], 1.2, Fraction(25))
    check(path, Expectation(clock, 1.2, 0.07))
    fewer = frame_clock([i / 25 for i in range(29)], 1.16, Fraction(25))
    slower = frame_clock([i / 24 for i in range(30)], 1.25, Fraction(24))
    with pytest.raises(DamagedFileError, match="30 frames instead of 29"):
        check(path, Expectation(fewer, 1.2, 0.07))
    with pytest.raises(DamagedFileError, match="away from its time"):
        check(path, Expectation(slower, 1.2, 0.07))
    with pytest.raises(DamagedFileError, match=r"sound of .* ends at"):
        check(path, Expectation(clock, 0.5, 0.07))
    with pytest.raises(DamagedFileError, match="sound track"):
        check(path, Expectation(clock, None, 0.0))


def test_failing_leaves_no_file(tmp_path: Path) -> None:
    clock = frame_clock([0.0, 0.04], 0.08, Fraction(25))
    path = tmp_path / "out.mp4"
    with pytest.raises(BadInputError, match="Frame 2 is 32 x 48"), VideoWriter(path, Picture(64, 48), clock) as writer:
        writer.write(np.zeros((48, 64, 3), np.uint8))
        writer.write(np.zeros((48, 32, 3), np.uint8))
    assert not path.exists()
    with pytest.raises(DamagedFileError, match="1 of 2"), VideoWriter(path, Picture(64, 48), clock) as writer:
        writer.write(np.zeros((48, 64, 3), np.uint8))
    assert not path.exists()
