from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from backend.core.errors import BadInputError
from backend.storage.video import DecodeReport, decode, frame_times, probe, thumbnail
from tests.tiny_clips import Clip, Sound, gray_of, make_clip

NTSC = Fraction(30000, 1001)
UNEVEN = (0.0, 0.04, 0.1, 0.5, 0.52, 0.9)


@pytest.mark.parametrize("rate", [Fraction(25), NTSC], ids=["25", "30000/1001"])
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
def test_every_frame_with_its_time(tmp_path: Path, rate: Fraction, suffix: str) -> None:
    clip = make_clip(tmp_path / f"clip.{suffix}", Clip(frames=40, fps=rate))
    report = DecodeReport()
    frames = list(decode(clip, report=report))
    assert [f.index for f in frames] == list(range(40))
    np.testing.assert_allclose([f.time_s for f in frames], np.arange(40) / float(rate), atol=0.0006)
    np.testing.assert_allclose(frame_times(clip), [f.time_s for f in frames], atol=1e-9)
    assert report.end_s == pytest.approx(40 / float(rate), abs=0.002)
    assert (report.broken_packets, report.damaged_frames) == (0, 0)
    for frame in frames:
        assert frame.frame_bgr.shape == (48, 64, 3)
        assert frame.frame_bgr.flags.c_contiguous
        assert abs(int(frame.frame_bgr[40, 50, 0]) - gray_of(frame.index)) <= 3


def test_uneven_times_are_kept(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", Clip(frames=len(UNEVEN), times_s=UNEVEN))
    np.testing.assert_allclose([f.time_s for f in decode(clip)], UNEVEN, atol=1e-4)


def test_probe_tells_what_is_there(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", Clip(frames=50, sound=Sound(1.5)))
    info = probe(clip)
    assert (info.width, info.height, info.fps, info.frame_count) == (64, 48, 25, 50)
    assert info.duration_s == pytest.approx(2.0)
    assert info.has_audio
    assert info.audio_duration_s == pytest.approx(1.5, abs=0.03)
    assert (info.rotation_deg, info.codec, info.color_transfer) == (0, "h264", "")


@pytest.mark.parametrize(
    ("matrix_deg", "rotation", "corner"),
    [(0.0, 0, (0, 0)), (-90.0, 90, (0, -1)), (180.0, 180, (-1, -1)), (90.0, 270, (-1, 0))],
)
def test_rotation_is_applied(tmp_path: Path, matrix_deg: float, rotation: int, corner: tuple[int, int]) -> None:
    """The blue quarter is at the top left of the stored picture; the player's rotation takes it to a corner."""
    clip = make_clip(tmp_path / "clip.mp4", Clip(frames=3, rotation=matrix_deg))
    info = probe(clip)
    assert info.rotation_deg == rotation
    shape = (48, 64) if rotation % 180 == 0 else (64, 48)
    assert (info.height, info.width) == shape
    for image in (next(decode(clip)).frame_bgr, thumbnail(clip)):
        assert image.shape[:2] == shape
        row, column = (4 if c == 0 else -5 for c in corner)
        blue, _, red = image[row, column].astype(int)
        assert blue > 200
        assert red < 60


def test_rotation_agrees_with_opencv(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", Clip(frames=1, rotation=-90.0))
    capture = cv2.VideoCapture(str(clip))
    read, theirs = capture.read()
    assert read
    ours = next(decode(clip)).frame_bgr
    assert ours.shape == theirs.shape
    assert np.abs(ours.astype(int) - theirs).mean() < 3


@pytest.mark.parametrize("size", [(63, 48), (64, 47), (65, 49)])
def test_odd_sizes(tmp_path: Path, size: tuple[int, int]) -> None:
    clip = make_clip(tmp_path / "clip.mkv", Clip(frames=3, size=size))
    assert next(decode(clip)).frame_bgr.shape == (size[1], size[0], 3)


@pytest.mark.parametrize("start_s", [0.4, 4.0])
def test_a_range_gives_the_same_frames(tmp_path: Path, start_s: float) -> None:
    clip = make_clip(tmp_path / "clip.mp4", Clip(frames=160, sound=Sound(6.4)))
    everything = list(decode(clip))
    part = list(decode(clip, start_s, start_s + 1.0))
    first = round(start_s * 25)
    assert [f.index for f in part] == list(range(first, first + 25))
    for frame in part:
        assert frame.time_s == pytest.approx(everything[frame.index].time_s)
        np.testing.assert_array_equal(frame.frame_bgr, everything[frame.index].frame_bgr)


def test_untagged_clips_are_read_as_players_do(tmp_path: Path) -> None:
    """The drawing is encoded as BT.601. Small clips are read as that, HD ones as BT.709, where blue looks different."""
    small = next(decode(make_clip(tmp_path / "sd.mp4", Clip(frames=1, lossless=True)))).frame_bgr
    assert np.abs(small[10, 10].astype(int) - (250, 20, 20)).max() <= 4
    large = next(decode(make_clip(tmp_path / "hd.mp4", Clip(frames=1, size=(1280, 720), lossless=True)))).frame_bgr
    assert np.abs(large[10, 10].astype(int) - (250, 20, 20)).max() > 10
    assert np.abs(large[700, 1200].astype(int) - gray_of(0)).max() <= 3


def test_thumbnail_is_small(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", Clip(frames=10, size=(640, 360)))
    assert thumbnail(clip).shape == (180, 320, 3)
    assert abs(int(thumbnail(clip, 0.2)[170, 300, 0]) - gray_of(5)) <= 3
    with pytest.raises(BadInputError, match="no frame at 9"):
        thumbnail(clip, 9.0)


def test_files_that_are_no_clips(tmp_path: Path) -> None:
    whole = make_clip(tmp_path / "whole.mp4", Clip()).read_bytes()
    text = "one line\n" * 200
    cases = {
        "absent.mp4": (None, "There is no file"),
        "empty.mp4": (b"", "zero bytes"),
        "text.mp4": (text.encode(), "not a video"),
        "text.txt": (text.encode(), "not a video"),
        "playlist.m3u8": (b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n/etc/passwd\n", "not a video"),
        "cut.mp4": (whole[: len(whole) // 2], "cut off"),
        "picture.png": (cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes(), "not a video"),
        "picture.mp4": (cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].tobytes(), "not a video"),
    }
    for name, (data, words) in cases.items():
        path = tmp_path / name
        if data is not None:
            path.write_bytes(data)
        with pytest.raises(BadInputError, match=words) as caught:
            probe(path)
        assert caught.value.fix, name
    with pytest.raises(BadInputError, match="folder"):
        probe(tmp_path)


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    import av

    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), "fltp", layout="mono")
        frame.sample_rate = 48000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(BadInputError, match="no video stream"):
        probe(path)


def test_a_file_with_its_index_in_front_that_ends_early(tmp_path: Path) -> None:
    from backend.storage.video_writer import Picture, VideoWriter, frame_clock

    path = tmp_path / "clip.mp4"
    clock = frame_clock([i / 25 for i in range(30)], 1.2, Fraction(25))
    rng = np.random.default_rng(1)
    with VideoWriter(path, Picture(64, 48), clock) as writer:
        for _ in range(30):
            writer.write(rng.integers(0, 255, (48, 64, 3)).astype(np.uint8))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(BadInputError, match=r"cut off: \d+ of 30 frames"):
        probe(path)


def test_broken_bytes_in_the_middle_do_not_end_the_clip(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 255, (60, 48, 64, 3)).astype(np.uint8)
    clip = make_clip(tmp_path / "clip.mp4", Clip(frames=60), lambda number, width, height: noise[number])
    data = bytearray(clip.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = bytes(rng.integers(0, 255, 3000).astype(np.uint8))
    clip.write_bytes(bytes(data))
    report = DecodeReport()
    times = [f.time_s for f in decode(clip, report=report)]
    assert 40 <= len(times) <= 60
    assert times == sorted(times)
    assert report.broken_packets + report.damaged_frames > 0


@pytest.mark.parametrize(("name", "count"), [("address", 259), ("painting", 91), ("concert", 275)])
def test_real_clips_to_the_frame(assets: Path, name: str, count: int) -> None:
    clip = assets / "data" / f"{name}.mp4"
    times = [f.time_s for f in decode(clip)]
    assert len(times) == count
    np.testing.assert_allclose(frame_times(clip), times, atol=1e-9)
    assert probe(clip).has_audio == (name == "concert")
