from __future__ import annotations

import hashlib
import json
import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from backend.core.errors import BadInputError, DamagedFileError, StopRequested
from backend.core.provenance import DIGITAL_SOURCE_TYPE, SOFTWARE
from backend.core.settings import ExportSettings, ExtractFramesSettings
from backend.pipeline import export, extract_frames
from backend.storage.image import list_images, read_image, write_image
from backend.storage.video import decode, frame_times, probe
from backend.storage.video_mark import read_xmp
from backend.storage.video_writer import audio_end_s
from backend.storage.workspace import Project
from tests.pipeline.stage_bench import bench, stop_after
from tests.tiny_clips import Clip, Sound, clicks_of, make_clip

NTSC = Fraction(30000, 1001)
UNEVEN = (0.0, 0.04, 0.1, 0.5, 0.52, 0.9)
FAST = {"speed": "ultrafast"}


def merged(tmp_path: Path, clip: Path, **extract: object):
    """A project whose extracted frames count as merged."""
    project, ctx, reports = bench(tmp_path)
    project.import_video("dst", clip)
    extract_frames.run(ExtractFramesSettings(side="dst", **extract), ctx)
    project.merged_dir.mkdir(parents=True)
    for frame in list_images(project.side("dst").frames_dir):
        shutil.copy(frame, project.merged_dir / frame.name)
    return project, ctx, reports


def nothing_partial(project: Project) -> bool:
    return not [p for p in project.results_dir.iterdir() if p.name.startswith(".")]


@pytest.mark.parametrize("fps", [Fraction(25), NTSC])
def test_round_trip(tmp_path: Path, fps: Fraction) -> None:
    clip = make_clip(tmp_path / "clip.mp4", Clip(frames=40, fps=fps, sound=Sound(40 / float(fps))))
    project, ctx, reports = merged(tmp_path, clip)
    result = export.run(ExportSettings(**FAST, crf=8), ctx)
    video = project.path / result["video"]
    info = probe(video)
    assert (info.frame_count, info.fps) == (40, fps)
    assert info.duration_s == pytest.approx(40 / float(fps), abs=1e-4)
    assert audio_end_s(video) == pytest.approx(40 / float(fps), abs=0.03)
    np.testing.assert_allclose(clicks_of(video), clicks_of(clip), atol=0.002)
    for ours, theirs in zip(decode(video), decode(clip), strict=True):
        assert np.abs(ours.frame_bgr.astype(int) - theirs.frame_bgr).mean() < 4
    assert (result["audio"], result["frames"]) == ("copied", 40)
    assert reports.of("progress")[-1]["done"] == 40
    assert reports.of("artifact") == [{"what": "video", "path": "results/result.mp4"}]
    assert nothing_partial(project)


def test_uneven_rotated_clip_keeps_its_times(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", Clip(frames=6, times_s=UNEVEN, rotation=-90.0))
    project, ctx, _ = merged(tmp_path, clip)
    video = project.path / export.run(ExportSettings(**FAST), ctx)["video"]
    np.testing.assert_allclose(frame_times(video), UNEVEN, atol=1e-3)
    assert (probe(video).width, probe(video).rotation_deg, probe(video).has_audio) == (48, 0, False)


def test_sidecar_and_mark(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", Clip(frames=4, size=(63, 47)))
    project, ctx, _ = merged(tmp_path, clip)
    facts = {"model": "me", "model_class": "saehd", "iteration": 1234, "settings": {"mode": "overlay"}}
    (project.merged_dir / "merge.json").write_text(json.dumps({**facts, "complete": True}))
    result = export.run(ExportSettings(**FAST), ctx)
    video = project.path / result["video"]
    told = json.loads((project.path / result["sidecar"]).read_text())
    assert {k: told[k] for k in ("project", "model", "model_class", "iteration", "software", "consent")} == {
        "project": "film",
        "model": "me",
        "model_class": "saehd",
        "iteration": 1234,
        "software": SOFTWARE,
        "consent": "All agreed.",
    }
    assert told["settings"]["merge"] == {"mode": "overlay"}
    assert told["settings"]["export"]["crf"] == 17
    assert told["sha256"] == hashlib.sha256(video.read_bytes()).hexdigest()
    assert (told["mark"], told["digital_source_type"]) == (True, DIGITAL_SOURCE_TYPE)
    assert (told["padded_right_px"], told["padded_below_px"], told["width"]) == (1, 1, 64)
    assert DIGITAL_SOURCE_TYPE in read_xmp(video)
    assert told["created"]


def test_mark_off_is_written_down(tmp_path: Path) -> None:
    project, ctx, reports = merged(tmp_path, make_clip(tmp_path / "clip.mp4", Clip(frames=3)))
    result = export.run(ExportSettings(**FAST, mark=False), ctx)
    video = project.path / result["video"]
    assert read_xmp(video) == ""
    assert b"AI-manipulated" not in video.read_bytes()
    told = json.loads((project.path / result["sidecar"]).read_text())
    assert (told["mark"], result["mark"]) == (False, False)
    assert told["settings"]["export"]["mark"] is False
    assert "mark" in reports.words()


def test_an_existing_result_is_never_overwritten(tmp_path: Path) -> None:
    project, ctx, _ = merged(tmp_path, make_clip(tmp_path / "clip.mp4", Clip(frames=3)))
    taken = [export.run(ExportSettings(**FAST, audio="none"), ctx)["video"] for _ in range(3)]
    assert taken == ["results/result.mp4", "results/result-2.mp4", "results/result-3.mp4"]
    assert all((project.path / name).stat().st_size for name in taken)


def test_part_of_the_clip_with_its_sound(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", Clip(frames=40, sound=Sound(1.6)))
    project, ctx, reports = merged(tmp_path, clip)
    for frame in [*list_images(project.merged_dir)[:12], *list_images(project.merged_dir)[32:]]:
        frame.unlink()
    result = export.run(ExportSettings(**FAST), ctx)
    video = project.path / result["video"]
    assert (result["frames"], result["seconds"], result["audio"]) == (20, 0.8, "aac")
    np.testing.assert_allclose(clicks_of(video), [0.7 - 0.48], atol=0.002)
    assert "Frames 13 to 32 of 40" in reports.words()
    assert json.loads((project.path / result["sidecar"]).read_text())["first_frame"] == 13


def test_extracted_part_at_a_lower_rate(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", Clip(frames=50, sound=Sound(2.0)))
    project, ctx, _ = merged(tmp_path, clip, fps=5, start_s=0.4, end_s=1.4)
    result = export.run(ExportSettings(**FAST), ctx)
    video = project.path / result["video"]
    assert (result["frames"], result["fps"], result["seconds"]) == (5, 5.0, 1.0)
    np.testing.assert_allclose(clicks_of(video), [0.3], atol=0.002)


def test_missing_merged_frames_are_counted(tmp_path: Path) -> None:
    project, ctx, _ = merged(tmp_path, make_clip(tmp_path / "clip.mp4", Clip(frames=10)))
    for number in (4, 5):
        (project.merged_dir / f"{number:05d}.png").unlink()
    with pytest.raises(BadInputError, match=r"2 of 10 .* first is 00004\.png.*Merge tab"):
        export.run(ExportSettings(**FAST), ctx)
    (project.merged_dir / "merge.json").write_text('{"complete": false}')
    for number in range(4, 11):
        (project.merged_dir / f"{number:05d}.png").unlink(missing_ok=True)
    with pytest.raises(BadInputError, match="7 of 10"):
        export.run(ExportSettings(**FAST), ctx)
    for number in range(1, 4):
        (project.merged_dir / f"{number:05d}.png").unlink()
    with pytest.raises(BadInputError, match="no merged frames"):
        export.run(ExportSettings(**FAST), ctx)


def test_a_range_needs_only_its_own_frames(tmp_path: Path) -> None:
    project, ctx, reports = merged(tmp_path, make_clip(tmp_path / "clip.mp4", Clip(frames=20, sound=Sound(0.8))))
    (project.merged_dir / "merge.json").write_text('{"complete": false}')
    for number in range(12, 21):
        (project.merged_dir / f"{number:05d}.png").unlink()
    result = export.run(ExportSettings(**FAST, first_frame=6, last_frame=11), ctx)
    told = json.loads((project.path / result["sidecar"]).read_text())
    assert (result["frames"], told["first_frame"], result["seconds"]) == (6, 6, 0.24)
    assert "Frames 6 to 11 of 20" in reports.words()
    assert export.run(ExportSettings(**FAST, preview_s=0.2), ctx)["frames"] == 5
    with pytest.raises(BadInputError, match=r"1 of 20 .* first is 00012\.png"):
        export.run(ExportSettings(**FAST, first_frame=6, last_frame=12), ctx)


def test_masks_and_originals_come_from_the_project(tmp_path: Path) -> None:
    project, ctx, _ = merged(tmp_path, make_clip(tmp_path / "clip.mp4", Clip(frames=5)))
    settings = ExportSettings(container="mkv", codec="ffv1", content="alpha", preview_s=0.12)
    with pytest.raises(BadInputError, match=r"3 of 3 masks are missing, the first is 00001\.png"):
        export.run(settings, ctx)
    project.merged_mask_dir.mkdir()
    for number, frame in enumerate(list_images(project.merged_dir)):
        write_image(project.merged_mask_dir / frame.name, np.full((48, 64), 40 * number, np.uint8))
    with av.open(str(project.path / export.run(settings, ctx)["video"])) as file:
        masks = [int(picture.to_ndarray(format="bgra")[5, 5, 3]) for picture in file.decode(video=0)]
    assert masks == [0, 40, 80]

    for frame in list_images(project.merged_dir):
        write_image(frame, np.full((48, 64, 3), 200, np.uint8))
    both = ExportSettings(container="mkv", codec="ffv1", content="compare")
    stored = [found.frame_bgr for found in decode(project.path / export.run(both, ctx)["video"])]
    for frame in list_images(project.side("dst").frames_dir):
        frame.unlink()
    from_clip = [found.frame_bgr for found in decode(project.path / export.run(both, ctx)["video"])]
    clip = project.side("dst").video
    assert clip is not None
    for image, other, original in zip(stored, from_clip, decode(clip), strict=True):
        np.testing.assert_array_equal(image, other)
        np.testing.assert_array_equal(image[:, :64], original.frame_bgr)
        assert (image[:, 64:] == 200).all()


def test_stop_and_damage_leave_nothing(tmp_path: Path) -> None:
    project, ctx, _ = merged(tmp_path, make_clip(tmp_path / "clip.mp4", Clip(frames=10)))
    _, stopping, _ = bench(tmp_path, stop_after(5))
    with pytest.raises(StopRequested):
        export.run(ExportSettings(**FAST), stopping)
    middle = project.merged_dir / "00005.png"
    whole = middle.read_bytes()
    middle.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DamagedFileError, match=r"00005\.png"):
        export.run(ExportSettings(**FAST), ctx)
    write_image(middle, np.zeros((24, 24, 3), np.uint8))
    with pytest.raises(BadInputError, match="Frame 5 is 24 x 24"):
        export.run(ExportSettings(**FAST), ctx)
    assert list(project.results_dir.iterdir()) == []


def test_a_replaced_clip_is_noticed(tmp_path: Path) -> None:
    project, ctx, _ = merged(tmp_path, make_clip(tmp_path / "clip.mp4", Clip(frames=10)))
    project.import_video("dst", make_clip(tmp_path / "other.mp4", Clip(frames=12, sound=Sound(0.48))))
    with pytest.raises(BadInputError, match="not the clip the frames came from"):
        export.run(ExportSettings(**FAST), ctx)
    assert export.run(ExportSettings(**FAST, audio="none"), ctx)["audio"] == "none"


def test_frames_of_another_program(tmp_path: Path) -> None:
    """A DeepFaceLab workspace has no frame table and no notes about the merge."""
    clip = make_clip(tmp_path / "clip.mp4", Clip(frames=10, fps=NTSC, sound=Sound(0.33)))
    project, ctx, _ = merged(tmp_path, clip)
    project.side("dst").frame_table_path.unlink()
    result = export.run(ExportSettings(**FAST), ctx)
    assert probe(project.path / result["video"]).fps == NTSC
    assert json.loads((project.path / result["sidecar"]).read_text())["model"] == ""


def test_real_clip_with_sound_ahead_of_the_picture(assets: Path, tmp_path: Path) -> None:
    project, ctx, _ = merged(tmp_path, assets / "data" / "concert.mp4", image_format="jpg", end_s=4)
    result = export.run(ExportSettings(**FAST), ctx)
    info = probe(project.path / result["video"])
    assert (info.frame_count, info.fps) == (120, Fraction(2997, 100))
    assert audio_end_s(project.path / result["video"]) == pytest.approx(info.duration_s, abs=0.03)
    assert read_image(project.merged_dir / "00001.jpg").shape == (360, 640, 3)
