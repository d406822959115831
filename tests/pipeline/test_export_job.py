from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from backend.core.errors import BadInputError, DamagedFileError, DiskFullError, StopRequested
from backend.core.frames import FrameRef, FrameTable, VideoInfo
from backend.core.provenance import DIGITAL_SOURCE_TYPE
from backend.core.settings import ExportSettings
from backend.pipeline import export_job
from backend.pipeline.export_job import ExportJob, export_range
from backend.storage.file_marks import read_marks
from backend.storage.image import list_images, read_image
from backend.storage.results import read_sidecar
from backend.storage.video import decode, frame_times, probe
from tests.pipeline.stage_bench import bench, stop_after
from tests.tiny_clips import Clip, Sound, make_clip

SIZE = (48, 36)
FAST = {"speed": "ultrafast"}


def table_of(count: int, times_s: list[float] | None = None, size: tuple[int, int] = SIZE) -> FrameTable:
    """Frames at 25 per second, or at these times and 0.1 s for the last one."""
    times = times_s or [number / 25 for number in range(count)]
    end = times[-1] + (0.1 if times_s else 0.04)
    video = VideoInfo(
        path=Path("x"), width=size[0], height=size[1], fps=Fraction(25), frame_count=count, duration_s=end
    )
    refs = tuple(FrameRef(file=f"{i + 1:05d}.png", index=i, time_s=t) for i, t in enumerate(times))
    return FrameTable(video=video, frames=refs, end_s=end)


def frame(number: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """(h, w, 3) colours that tell the number."""
    image = np.empty((size[1], size[0], 3), np.uint8)
    image[:] = (30 + 20 * (number % 10), 200 - 10 * (number % 10), 90)
    image[: size[1] // 2, : size[0] // 3] = (10, 20, 230)
    return image


def mask_of(number: int) -> np.ndarray:
    mask = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    mask[8:28, 10:36] = 55 + 40 * (number % 5)
    return mask


def run(ctx, table: FrameTable, **settings: Any) -> dict[str, Any]:
    """Make a file of all frames of the range."""
    chosen = ExportSettings(**FAST | settings)
    with ExportJob(chosen, ctx, SIZE, export_range(chosen, table).start, table) as job:
        for index in job.frames:
            merged = frame(index)
            kept = merged.copy()
            mask = mask_of(index) if job.needs_mask else None
            job.write(merged, mask, 255 - merged if job.needs_original else None)
            np.testing.assert_array_equal(merged, kept)
        return job.finish({"model": "me", "model_class": "saehd", "iteration": 12, "settings": {"mode": "overlay"}})


def shown(path: Path) -> list[np.ndarray]:
    return [found.frame_bgr for found in decode(path)]


@pytest.mark.parametrize(
    "wanted",
    [
        {"container": "mp4"},
        {"container": "mp4", "codec": "av1"},
        {"container": "mov", "codec": "prores4444"},
        {"container": "mkv", "codec": "ffv1"},
        {"container": "webm"},
        {"container": "avi"},
        {"container": "gif"},
    ],
    ids=lambda wanted: "-".join(wanted.values()),
)
def test_every_container_is_marked_and_told(tmp_path: Path, wanted: dict[str, str]) -> None:
    project, ctx, reports = bench(tmp_path)
    result = run(ctx, table_of(5), **wanted)
    video = project.path / result["video"]
    assert (video.name, result["container"], result["frames"]) == (
        f"result.{wanted['container']}",
        wanted["container"],
        5,
    )
    assert result["bytes"] == video.stat().st_size
    for ours, number in zip(shown(video), range(5), strict=True):
        assert np.abs(ours[20:, 20:].astype(int).mean((0, 1)) - frame(number)[30, 40]).max() < 6
    told = read_sidecar(video)
    assert {told[name] for name in ("codec", "encoder", "container")} == {
        result[name] for name in ("codec", "encoder", "container")
    }
    assert (told["mark"], told["signed"], told["iteration"], told["first_frame"]) == (True, False, 12, 1)
    marks = read_marks(video)
    assert marks.source_type == DIGITAL_SOURCE_TYPE.rsplit("/", 1)[-1]
    assert reports.of("progress")[-1]["message"] == "0 MB written"
    with av.open(str(video)) as file:
        seen = next(file.decode(video=0))
    if seen.format.name.startswith("yuv"):
        assert (seen.colorspace, seen.color_primaries, seen.color_trc, seen.color_range) == (1, 1, 1, 1)
    assert not [path for path in project.results_dir.iterdir() if path.name.startswith(".")]


def test_pictures_in_a_folder(tmp_path: Path) -> None:
    project, ctx, _ = bench(tmp_path)
    table = table_of(3, [0.0, 0.1, 0.35])
    results = [run(ctx, table, container="png", content="alpha") for _ in range(2)]
    assert [result["video"] for result in results] == ["results/result", "results/result-2"]
    folder = project.path / results[0]["video"]
    found = list_images(folder)
    assert [path.name for path in found] == ["00001.png", "00002.png", "00003.png"]
    for number, path in enumerate(found):
        np.testing.assert_array_equal(read_image(path, None), np.dstack([frame(number), mask_of(number)]))
        assert DIGITAL_SOURCE_TYPE.encode() in path.read_bytes()
    told = read_sidecar(folder)
    assert (told["times_s"], told["folder"], len(told["pictures"])) == ([0.0, 0.1, 0.35], "result", 3)


@pytest.mark.parametrize(("container", "codec"), [("mov", "qtrle"), ("mov", "png"), ("mkv", "ffv1")])
def test_merged_and_mask_as_alpha_without_loss(tmp_path: Path, container: str, codec: str) -> None:
    project, ctx, _ = bench(tmp_path)
    result = run(ctx, table_of(3), container=container, codec=codec, content="alpha")
    assert result["lossless"]
    with av.open(str(project.path / result["video"])) as file:
        found = [picture.to_ndarray(format="bgra") for picture in file.decode(video=0)]
    for number, picture in enumerate(found):
        np.testing.assert_array_equal(picture, np.dstack([frame(number), mask_of(number)]))


def test_mask_and_comparison(tmp_path: Path) -> None:
    project, ctx, _ = bench(tmp_path)
    mask = run(ctx, table_of(3), content="mask", container="mkv", codec="ffv1", label=True)
    for number, picture in enumerate(shown(project.path / mask["video"])):
        np.testing.assert_array_equal(picture, np.dstack([mask_of(number)] * 3))
    assert mask["label"] == ""
    both = run(ctx, table_of(3), content="compare", rate="lossless")
    for number, picture in enumerate(shown(project.path / both["video"])):
        np.testing.assert_array_equal(picture, np.hstack([255 - frame(number), frame(number)]))
    assert (both["width"], both["height"]) == (96, 36)


def test_label_is_drawn_over_the_picture_only(tmp_path: Path) -> None:
    project, ctx, _ = bench(tmp_path)
    result = run(
        ctx, table_of(2), container="mkv", codec="ffv1", label=True, label_text="made", label_corner="top-left"
    )
    changed = (shown(project.path / result["video"])[1] != frame(1)).any(axis=2)
    assert changed[:18, :24].any()
    assert not changed[25:, 40:].any()
    assert result["label"] == read_sidecar(project.path / result["video"])["label"] == "made"


@pytest.mark.parametrize("corner", ["bottom-left", "top-right"])
def test_a_label_stands_on_the_manipulated_half_only(tmp_path: Path, corner: str) -> None:
    project, ctx, _ = bench(tmp_path)
    wish = {"container": "png", "content": "compare", "label": True, "label_corner": corner, "label_text": "i"}
    picture = read_image(list_images(project.path / run(ctx, table_of(1), **wish)["video"])[0])
    np.testing.assert_array_equal(picture[:, : SIZE[0]], 255 - frame(0))
    changed = (picture[:, SIZE[0] :] != frame(0)).any(axis=2)
    assert (changed[-12:, :12].any(), changed[:12, -12:].any()) == (corner == "bottom-left", corner == "top-right")


def test_a_label_nobody_could_read_is_replaced_and_told(tmp_path: Path) -> None:
    project, ctx, reports = bench(tmp_path)
    result = run(ctx, table_of(1), label=True, label_text="\U000107b0\U000107b1")
    assert (result["label"], read_marks(project.path / result["video"]).sidecar.label) == ("AI-manipulated",) * 2
    assert "It says AI-manipulated instead." in reports.words()
    assert run(ctx, table_of(1), label=True, content="mask")["label"] == ""


@pytest.mark.parametrize(("height", "size"), [(0, (48, 36)), (18, (24, 18)), (54, (72, 54)), (26, (34, 26))])
def test_height_scales_and_keeps_the_shape(tmp_path: Path, height: int, size: tuple[int, int]) -> None:
    project, ctx, _ = bench(tmp_path)
    video = project.path / run(ctx, table_of(2), height=height, crf=4)["video"]
    assert (probe(video).width, probe(video).height) == size
    picture = shown(video)[1]
    assert np.abs(picture[-4, -4].astype(int) - frame(1)[-4, -4]).max() < 6


def test_range_and_preview(tmp_path: Path) -> None:
    project, ctx, _ = bench(tmp_path)
    table = table_of(20)
    result = run(ctx, table, first_frame=4, last_frame=15, preview_s=0.2, container="mkv", codec="ffv1")
    assert (result["frames"], read_sidecar(project.path / result["video"])["first_frame"]) == (5, 4)
    np.testing.assert_array_equal(shown(project.path / result["video"])[0], frame(3))
    assert export_range(ExportSettings(last_frame=99), table) == range(20)
    assert export_range(ExportSettings(preview_s=0.001), table) == range(1)
    with pytest.raises(BadInputError, match="no frames from 21 to 20; the clip has 20"):
        export_range(ExportSettings(first_frame=21), table)


def test_times_of_an_uneven_part(tmp_path: Path) -> None:
    project, ctx, _ = bench(tmp_path)
    times = [0.0, 0.04, 0.1, 0.5, 0.52, 0.9]
    table = table_of(6, times)
    result = run(ctx, table, first_frame=2, last_frame=5, container="mkv")
    np.testing.assert_allclose(frame_times(project.path / result["video"]), [0.0, 0.06, 0.46, 0.48], atol=0.0011)
    assert result["seconds"] == pytest.approx(0.86)
    result = run(ctx, table, container="avi", codec="ffv1")
    assert probe(project.path / result["video"]).duration_s == pytest.approx(1.0, abs=0.05)


def test_sound_of_all_tracks_in_each_container(tmp_path: Path) -> None:
    project, ctx, reports = bench(tmp_path)
    clip = make_clip(tmp_path / "c.mp4", Clip(frames=40, size=SIZE, sound=Sound(1.6), more_sound=(Sound(1.6, "ac3"),)))
    project.import_video("dst", clip)
    info = probe(clip)
    table = table_of(40).model_copy(update={"video": info, "end_s": info.duration_s})
    tracks = {
        container: run(ctx, table, container=container, audio_tracks="all", last_frame=25)["tracks"]
        for container in ("mp4", "mov", "mkv", "webm", "avi", "gif")
    }
    assert tracks == {
        "mp4": ["copied", "aac"],
        "mov": ["copied", "copied"],
        "mkv": ["copied", "copied"],
        "webm": ["opus", "opus"],
        "avi": ["pcm", "pcm"],
        "gif": [],
    }
    assert "gif holds no sound" in reports.words()
    assert run(ctx, table, container="webm", audio="aac", last_frame=5)["audio"] == "opus"
    assert "webm gets opus sound in place of aac" in reports.words()
    assert run(ctx, table, audio="aac", last_frame=5)["audio"] == "aac"
    assert run(ctx, table, audio="copy", first_frame=10)["audio"] == "copied"
    with pytest.raises(BadInputError, match="aac, which webm cannot hold"):
        run(ctx, table, container="webm", audio="copy")


def test_leaving_early_leaves_nothing(tmp_path: Path) -> None:
    project, ctx, _ = bench(tmp_path)
    _, stopping, _ = bench(tmp_path, stop_after(3))
    for container in ("mp4", "png"):
        with pytest.raises(StopRequested):
            run(stopping, table_of(9), container=container)
        settings = ExportSettings(container=container)
        with pytest.raises(DamagedFileError, match="1 of 9"), ExportJob(settings, ctx, SIZE, 0, table_of(9)) as job:
            job.write(frame(0))
            job.finish({})
        with ExportJob(settings, ctx, SIZE, 0, table_of(9)) as job:
            job.write(frame(0))
        _, stopping, _ = bench(tmp_path, stop_after(3))
    assert list(project.results_dir.iterdir()) == []


def test_a_full_disk_says_how_far_it_got(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project, ctx, _ = bench(tmp_path)

    def fail_after(count: int) -> Callable[..., None]:
        left = [count]

        def mux(*_: object) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, "No space left on device")

        return mux

    for target in ("VideoWriter._mux_video", "SequenceWriter.write", "StageContext.progress"):
        monkeypatch.setattr(f"backend.pipeline.export_job.{target}", fail_after(3 if "progress" in target else 4))
        with pytest.raises(DiskFullError, match=r"after 4 of 9 frames, 0 MB; the unfinished file was removed"):
            run(ctx, table_of(9), container="mp4" if "Video" in target else "png", codec="auto")
        monkeypatch.undo()
    assert list(project.results_dir.iterdir()) == []


def test_too_little_disk_is_noticed_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project, ctx, _ = bench(tmp_path)
    table = table_of(1000, size=(1920, 1080))
    monkeypatch.setattr(export_job, "free_bytes", lambda path: 2 << 30)

    def begin(**settings: Any) -> None:
        with ExportJob(ExportSettings(**settings), ctx, (1920, 1080), 0, table):
            pass

    begin()
    begin(rate="bitrate", bitrate_mbit=100.0)
    with pytest.raises(DiskFullError, match=r"1000 frames of 1920 x 1080 as qtrle in mov take up to \d\.\d GB"):
        begin(container="mov", codec="qtrle")
    with pytest.raises(DiskFullError, match="h264 in mp4"):
        begin(crf=0)
    with pytest.raises(DiskFullError, match="PNG pictures"):
        begin(container="png")
    with pytest.raises(DiskFullError, match="h264 in mp4"):
        begin(rate="bitrate", bitrate_mbit=300.0)
    assert list(project.results_dir.iterdir()) == []


def test_hardware_is_used_only_where_it_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project, ctx, reports = bench(tmp_path)
    monkeypatch.setattr(export_job, "working", lambda hardware, codec: "h264_nvenc does not work here: no card")
    monkeypatch.setattr(export_job, "first_working", lambda codec: "")
    with pytest.raises(BadInputError, match="no card"):
        run(ctx, table_of(2), encoder="nvenc")
    assert not project.results_dir.exists() or list(project.results_dir.iterdir()) == []
    assert run(ctx, table_of(2), encoder="auto")["encoder"] == "libx264"
    assert "by software: no hardware encoder works" in reports.words()
    monkeypatch.setattr(export_job, "first_working", lambda codec: "nvenc")
    with pytest.raises(BadInputError, match="h264_nvenc"):
        run(ctx, table_of(2), encoder="auto")
    assert "h264 is encoded by nvenc" in reports.words()


def test_signed_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("c2pa")
    certificate, key = _certificate(tmp_path)
    project, ctx, _ = bench(tmp_path)
    for container in ("mp4", "png"):
        result = run(ctx, table_of(2), container=container, sign=True, certificate=certificate, private_key=key)
        made = project.path / result["video"]
        told = read_sidecar(made)
        assert result["signed"]
        assert "Test signer" in told["certificate_subject"]
        assert str(tmp_path) not in json.dumps(told)
        for path in list_images(made) if made.is_dir() else [made]:
            assert b"c2pa" in path.read_bytes()
    with monkeypatch.context() as small, pytest.raises(BadInputError, match="more than one part"):
        small.setattr(export_job, "MOST_AVI_BYTES", -1)
        run(ctx, table_of(9), container="avi", sign=True, certificate=certificate, private_key=key)
    key.write_text("no key")
    with pytest.raises(BadInputError):
        run(ctx, table_of(2), sign=True, certificate=certificate, private_key=key)
    assert len(list(project.results_dir.iterdir())) == 4
    shutil.rmtree(project.results_dir)


def _certificate(folder: Path) -> tuple[Path, Path]:
    """A root, a leaf signed by it, and the leaf's key, made on the spot."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    now = datetime.now(UTC)

    def made(name: str, public: Any, issuer: str, signer: Any, root: bool) -> x509.Certificate:
        def named(text: str) -> x509.Name:
            return x509.Name(
                [x509.NameAttribute(NameOID.COMMON_NAME, text), x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Tests")]
            )

        usage = x509.KeyUsage(not root, False, False, False, False, root, root, False, False)
        builder = (
            x509.CertificateBuilder()
            .subject_name(named(name))
            .issuer_name(named(issuer))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=30))
            .add_extension(x509.BasicConstraints(root, None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        )
        if not root:
            builder = builder.add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False
            )
        return builder.sign(signer, hashes.SHA256())

    root_key, leaf_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = made("Test root", root_key.public_key(), "Test root", root_key, True)
    leaf = made("Test signer", leaf_key.public_key(), "Test root", root_key, False)
    pem = serialization.Encoding.PEM
    chain, key = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(leaf.public_bytes(pem) + root.public_bytes(pem))
    key.write_bytes(leaf_key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return chain, key
