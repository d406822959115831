from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from backend.core.errors import BadInputError
from backend.core.settings.export import CODECS as SETTINGS_CODECS
from backend.storage.audio import AudioRange, require_copyable
from backend.storage.frame_clock import FrameClock, frame_clock
from backend.storage.video import frame_times, probe
from backend.storage.video_check import audio_ends_s, check
from backend.storage.video_formats import CODECS, HARDWARE, VideoFormat, encoder_options, hardware_encoder
from backend.storage.video_writer import Picture, VideoWriter
from tests.tiny_clips import CLICK_S, Clip, Sound, clicks_of, make_clip

FILM = Fraction(24_000, 1001)
UNEVEN = (0.0, 0.04, 0.1, 0.5, 0.52, 0.9)
EVERY = [(container, codec) for container, codecs in SETTINGS_CODECS.items() for codec in codecs]
LOSSLESS = [
    *(("mp4", "h264"), ("mp4", "h265"), ("mp4", "vp9"), ("mkv", "h264"), ("mkv", "ffv1"), ("mov", "png")),
    *(("mov", "qtrle"), ("avi", "ffv1"), ("avi", "png"), ("webm", "vp9")),
]
LOSSLESS_ALPHA = [("mov", "qtrle"), ("mov", "png"), ("mkv", "ffv1"), ("avi", "ffv1"), ("avi", "png")]


def film(count: int) -> FrameClock:
    return frame_clock([number / float(FILM) for number in range(count)], count / float(FILM), FILM)


def pictures(size: tuple[int, int], count: int, channels: int = 3) -> list[np.ndarray]:
    """Soft colours that move, with a corner of noise."""
    rng = np.random.default_rng(3)
    base = cv2.resize(rng.integers(0, 256, (4, 5, channels)).astype(np.uint8), size, interpolation=cv2.INTER_CUBIC)
    made = []
    for number in range(count):
        image = np.roll(base, number, axis=1).copy()
        image[:6, :6] = rng.integers(0, 256, (6, 6, channels))
        made.append(image)
    return made


def written(path: Path, kind: VideoFormat, clock: FrameClock, images: list[np.ndarray], **picture: object):
    height, width = images[0].shape[:2]
    with VideoWriter(path, Picture(width, height, speed="ultrafast", kind=kind, **picture), clock) as writer:
        for image in images:
            writer.write(image)
    check(path, writer.expectation())
    return writer


def read_back(path: Path, alpha: bool = False, decoder: str = "") -> Iterator[np.ndarray]:
    """Frames as an independent reader sees them; VP9 keeps its alpha only in its own decoder."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        own = av.CodecContext.create(decoder, "r") if decoder else None
        for packet in container.demux(stream):
            found = own.decode(packet if packet.size else None) if own else packet.decode()
            for frame in found:
                yield frame.to_ndarray(format="bgra" if alpha else "bgr24")


def psnr(ours: np.ndarray, theirs: np.ndarray) -> float:
    """In decibels, noise corner left out: chroma of half the size cannot hold it."""
    difference = ours[8:, 8:].astype(float) - theirs[8:, 8:]
    return float(10 * np.log10(255**2 / max(1e-9, np.square(difference).mean())))


@pytest.mark.parametrize(("container", "codec"), EVERY)
def test_every_format_keeps_times_and_looks_right(tmp_path: Path, container: str, codec: str) -> None:
    """The rate of film stays exact, colours are those of the frames, the codec and size are as ordered."""
    path, images = tmp_path / f"out.{container}", pictures((96, 64), 5)
    written(path, VideoFormat(container, codec), film(5), images, crf=4)
    info = probe(path)
    assert (info.fps, info.width, info.height) == (FILM, 96, 64)
    for ours, theirs in zip(read_back(path), images, strict=True):
        assert psnr(ours, theirs) > 33
    with av.open(str(path)) as file:
        context = file.streams.video[0].codec_context
        assert context.codec.canonical_name == CODECS[codec].name
        if context.pix_fmt.startswith("yuv"):
            assert (context.colorspace, context.color_range, context.color_trc) == (1, 1, 1)
        if codec == "h265" and container in ("mp4", "mov"):
            assert context.codec_tag == "hvc1"


@pytest.mark.parametrize(("container", "codec"), [(held, codec) for held, codec in EVERY if held != "avi"])
def test_uneven_times_are_kept(tmp_path: Path, container: str, codec: str) -> None:
    path, clock = tmp_path / f"out.{container}", frame_clock([t + 1 for t in UNEVEN], 2.2, Fraction(25))
    written(path, VideoFormat(container, codec), clock, pictures((96, 64), 6))
    np.testing.assert_allclose(frame_times(path), UNEVEN, atol=0.0011)


@pytest.mark.parametrize(("container", "codec"), LOSSLESS)
def test_lossless_is_bit_exact_at_odd_sizes(tmp_path: Path, container: str, codec: str) -> None:
    path, images = tmp_path / f"out.{container}", pictures((69, 65), 4)
    kind = VideoFormat(container, codec, "lossless")
    written(path, kind, film(4), images)
    assert kind.is_lossless
    for ours, theirs in zip(read_back(path), images, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(("container", "codec"), LOSSLESS_ALPHA)
def test_lossless_alpha_is_bit_exact(tmp_path: Path, container: str, codec: str) -> None:
    path, images = tmp_path / f"out.{container}", pictures((69, 65), 4, channels=4)
    written(path, VideoFormat(container, codec, alpha=True), film(4), images)
    for ours, theirs in zip(read_back(path, alpha=True), images, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_prores_keeps_colour_and_alpha_to_two_levels(tmp_path: Path) -> None:
    path, images = tmp_path / "out.mov", pictures((96, 64), 3, channels=4)
    written(path, VideoFormat("mov", "prores4444", alpha=True), film(3), images)
    for ours, theirs in zip(read_back(path, alpha=True), images, strict=True):
        assert np.abs(ours.astype(int) - theirs).max() <= 2


@pytest.mark.parametrize("container", ["webm", "mkv"])
def test_vp9_carries_alpha(tmp_path: Path, container: str) -> None:
    path, images = tmp_path / f"out.{container}", pictures((96, 64), 3, channels=4)
    written(path, VideoFormat(container, "vp9", alpha=True), film(3), images, crf=4)
    for ours, theirs in zip(read_back(path, alpha=True, decoder="libvpx-vp9"), images, strict=True):
        assert psnr(ours[..., 3:], theirs[..., 3:]) > 33
    with av.open(str(path)) as file:
        assert {name.lower(): value for name, value in file.streams.video[0].metadata.items()}["alpha_mode"] == "1"


@pytest.mark.parametrize(
    ("codec", "padded"), [("h264", (98, 66)), ("h265", (98, 66)), ("vp9", (97, 65)), ("av1", (97, 65))]
)
def test_odd_sides_are_padded_only_where_they_must(tmp_path: Path, codec: str, padded: tuple[int, int]) -> None:
    path, size = tmp_path / "out.mp4", (97, 65)
    written(path, VideoFormat("mp4", codec), film(2), pictures(size, 2))
    assert (probe(path).width, probe(path).height) == padded


def test_gif_keeps_times_to_a_hundredth_and_its_colours(tmp_path: Path) -> None:
    path, images = tmp_path / "out.gif", pictures((96, 64), 6)
    clock = frame_clock([t + 1 for t in UNEVEN], 2.2, Fraction(25))
    written(path, VideoFormat("gif", "gif"), clock, images)
    np.testing.assert_allclose(frame_times(path), UNEVEN, atol=0.0051)
    assert probe(path).duration_s == pytest.approx(1.2)
    for ours, theirs in zip(read_back(path), images, strict=True):
        assert psnr(cv2.blur(ours, (5, 5)), cv2.blur(theirs, (5, 5))) > 31


def test_gif_leaves_out_what_no_viewer_shows(tmp_path: Path) -> None:
    clock = frame_clock([number / 60 for number in range(60)], 1.0, Fraction(60))
    writer = written(tmp_path / "out.gif", VideoFormat("gif", "gif"), clock, pictures((16, 16), 60))
    assert "at most 50" in writer.timing.note
    assert np.diff(frame_times(tmp_path / "out.gif")).min() >= 0.0199
    assert writer.clock.length_s == pytest.approx(1.0)


def test_avi_shows_uneven_clips_at_the_nearest_usual_rate(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.08, 0.16, 0.2, 0.201, 0.24, 0.28, 0.32, 0.36]
    clock = frame_clock(times, 0.4, Fraction(25))
    images = [np.full((64, 96, 3), 20 * number, np.uint8) for number in range(10)]
    writer = written(tmp_path / "out.avi", VideoFormat("avi", "ffv1"), clock, images)
    seen = [int(image[20, 20, 0]) // 20 for image in read_back(tmp_path / "out.avi")]
    assert seen == [0, 1, 2, 2, 3, 5, 6, 7, 8, 9]
    assert "1 frames are left out and 1 shown again" in writer.timing.note
    assert probe(tmp_path / "out.avi").fps == 25


@pytest.mark.parametrize(
    ("container", "codec", "sound", "mode"),
    [
        ("mov", "h264", "pcm_s16le", "copied"),
        ("mov", "prores4444", "ac3", "copied"),
        ("mkv", "ffv1", "flac", "copied"),
        ("mkv", "h264", "libopus", "copied"),
        ("mkv", "h264", "ac3", "copied"),
        ("webm", "vp9", "aac", "opus"),
        ("webm", "av1", "libopus", "copied"),
        ("avi", "png", "aac", "pcm"),
    ],
)
def test_sound_in_every_container(tmp_path: Path, container: str, codec: str, sound: str, mode: str) -> None:
    clip = make_clip(tmp_path / "clip.mkv", Clip(frames=30, sound=Sound(1.6, sound)))
    path, clock = tmp_path / f"out.{container}", frame_clock([i / 25 for i in range(30)], 1.2, Fraction(25))
    picture = Picture(96, 64, speed="ultrafast", kind=VideoFormat(container, codec))
    with VideoWriter(path, picture, clock, AudioRange(clip, 0.0, 1.2)) as writer:
        for image in pictures((96, 64), 30):
            writer.write(image)
    check(path, writer.expectation())
    assert writer.audio is not None
    assert writer.audio.mode == mode
    np.testing.assert_allclose(clicks_of(path), CLICK_S, atol=0.009)
    assert 1.1 < audio_ends_s(path)[0] <= 1.2 + 0.011


@pytest.mark.parametrize(("container", "languages"), [("mp4", ["deu", "jpn"]), ("mov", ["ger", "jpn"])])
def test_all_tracks_travel_with_their_languages(tmp_path: Path, container: str, languages: list[str]) -> None:
    plain = make_clip(tmp_path / "plain.mp4", Clip(frames=30, sound=Sound(1.2), more_sound=(Sound(1.1, "ac3"),)))
    clip = tmp_path / "clip.mkv"
    with av.open(str(plain)) as source, av.open(str(clip), "w") as target:
        streams = {old.index: target.add_stream_from_template(old) for old in source.streams}
        for number, new in enumerate(streams.values()):
            new.metadata["language"] = ("und", "deu", "jpn")[number]
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream_index]
                target.mux(packet)
    clock = frame_clock([i / 25 for i in range(30)], 1.2, Fraction(25))
    path = tmp_path / f"out.{container}"
    sounds = [AudioRange(clip, 0.0, 1.2, track) for track in (0, 1)]
    picture = Picture(96, 64, speed="ultrafast", kind=VideoFormat(container))
    with VideoWriter(path, picture, clock, sounds) as writer:
        for image in pictures((96, 64), 30):
            writer.write(image)
    check(path, writer.expectation())
    assert [sound.mode for sound in writer.sounds] == ["copied", "aac" if container == "mp4" else "copied"]
    np.testing.assert_allclose(audio_ends_s(path), [1.2, 1.1], atol=0.03)
    with av.open(str(path)) as file:
        assert [stream.metadata["language"] for stream in file.streams.audio] == languages


def test_a_copied_part_begins_and_ends_with_the_picture(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", Clip(frames=50, sound=Sound(2.0, "ac3")))
    clock = frame_clock([0.48 + i / 25 for i in range(20)], 1.28, Fraction(25))
    path = tmp_path / "out.mp4"
    with VideoWriter(path, Picture(96, 64), clock, AudioRange(clip, 0.48, 0.8, how="copy")) as writer:
        for image in pictures((96, 64), 20):
            writer.write(image)
    check(path, writer.expectation())
    assert writer.audio is not None
    assert writer.audio.mode == "copied"
    np.testing.assert_allclose(clicks_of(path), [0.22], atol=0.002)
    assert 0.75 < audio_ends_s(path)[0] <= 0.8001


def test_what_cannot_be_copied_is_said(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", Clip(frames=3, sound=Sound(0.2, "flac"), more_sound=(Sound(0.2),)))
    require_copyable(clip, (0, 1), "mkv")
    with pytest.raises(BadInputError, match=r"Sound track 1 of clip\.mkv is flac, which webm cannot hold"):
        require_copyable(clip, (0,), "webm")
    with pytest.raises(BadInputError, match=r"Sound track 2 of clip\.mkv is aac, which avi"):
        require_copyable(clip, (1,), "avi")


def test_quality_speed_and_bit_rate_reach_every_encoder() -> None:
    for codec in ("h264", "h265", "av1", "vp9"):
        fine, coarse = (encoder_options(VideoFormat("mp4", codec), crf, "slow") for crf in (10, 40))
        assert fine != coarse
        assert fine != encoder_options(VideoFormat("mp4", codec), 10, "ultrafast")
        assert "crf" not in encoder_options(VideoFormat("mp4", codec, "bitrate"), 10, "slow")
        best = encoder_options(VideoFormat("mp4", codec), 0, "slow")
        assert best != fine
    # 0 is lossless to the first, and "choose yourself" to the other two
    assert encoder_options(VideoFormat("mp4", "h264"), 0, "slow")["crf"] == "1"
    assert encoder_options(VideoFormat("mp4", "av1"), 0, "slow")["crf"] == "1"
    assert encoder_options(VideoFormat("mp4", "h264", hardware="nvenc"), 0, "slow")["cq"] == "1"
    for hardware in HARDWARE:
        kind = VideoFormat("mp4", "h264", hardware=hardware)
        assert encoder_options(kind, 10, "slow") != encoder_options(kind, 40, "slow")
        assert encoder_options(kind, 10, "slow", reordered=False)["bf"] == "0"
        assert kind.encoder == hardware_encoder(hardware, "h264")
    assert hardware_encoder("nvenc", "vp9") == hardware_encoder("videotoolbox", "av1") == ""


def test_a_bit_rate_is_kept(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    noise = [rng.integers(0, 256, (96, 128, 3)).astype(np.uint8) for _ in range(50)]
    clock = frame_clock([i / 25 for i in range(50)], 2.0, Fraction(25))
    for codec in ("h264", "vp9"):
        path = tmp_path / f"{codec}.mp4"
        written(path, VideoFormat("mp4", codec, "bitrate"), clock, noise, bitrate=400_000)
        assert path.stat().st_size * 8 / 2 == pytest.approx(400_000, rel=0.6)


def test_an_encoder_that_fails_is_named(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    clock = frame_clock([0.0], 0.04, Fraction(25))
    with (
        pytest.raises(BadInputError, match="h265 needs pictures of at least 64 x 64; these are 30 x 64"),
        VideoWriter(path, Picture(30, 64, kind=VideoFormat("mp4", "h265")), clock) as writer,
    ):
        writer.write(np.zeros((64, 30, 3), np.uint8))
    assert not path.exists()
    with pytest.raises(BadInputError, match="This build of FFmpeg has no"):
        VideoWriter(path, Picture(96, 64, kind=VideoFormat("mp4", "h264", hardware="videotoolbox")), clock)
    assert not path.exists()
