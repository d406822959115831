from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pytest

from backend.core.errors import BadInputError, DiskFullError, LookalikeError, StopRequested
from backend.core.settings import FaceRule, MergeKey, MergeLook, MergeSettings
from backend.pipeline import merge, merge_work, model_shelf
from backend.pipeline.context import StageContext
from backend.pipeline.merge_output import MergedFolders
from backend.pipeline.merge_session import MergeSession
from backend.storage import atomic
from backend.storage.frame_table import frame_table_for, save_frame_table
from backend.storage.image import read_image
from backend.storage.merge_ledger import LEDGER_FILE, stale_frames
from backend.storage.png_mark import png_texts
from backend.storage.video import decode
from backend.storage.workspace import Project
from tests.pipeline.merge_project import FRAMES, FlatModel, make_destination
from tests.pipeline.stored_model import store_model, tiny_amp
from tests.tiny_clips import Clip, make_clip

PLAIN: dict[str, Any] = {"color_transfer": "none", "device": "cpu"}


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> FlatModel:
    """The one model of every project; its stamp can be changed."""
    flat = FlatModel()
    monkeypatch.setattr(model_shelf, "load_model", lambda project, name, device: flat)
    return flat


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Six frames with two people, none in the third."""
    return make_destination(tmp_path / "workspace")


def run(project: Project, said: list[str] | None = None, stop_after: int = 10**6, **settings: Any) -> dict[str, Any]:
    """Merge; the user asks to stop once so many frames are done."""
    done = [0]

    def emit(kind: str, data: dict[str, Any]) -> None:
        if kind == "progress":
            done[0] = data["done"]
        elif kind == "log" and said is not None:
            said.append(data["message"])

    ctx = StageContext(project, project.path, emit, stop_requested=lambda: done[0] >= stop_after)
    ctx.progress = lambda now, total, unit, rate=0.0, message="": emit("progress", {"done": now})  # type: ignore[method-assign] - every one
    return merge.run(MergeSettings(**{**PLAIN, **settings}), ctx)


def merged(project: Project, number: int) -> Any:
    return cv2.imread(str(project.merged_dir / f"{number:05d}.png"), cv2.IMREAD_UNCHANGED)


def frame(project: Project, number: int) -> Any:
    return cv2.imread(str(project.side("dst").frames_dir / f"{number:05d}.png"))


def mask_of(project: Project, number: int) -> Any:
    return cv2.imread(str(project.merged_mask_dir / f"{number:05d}.png"), cv2.IMREAD_UNCHANGED)


def written(project: Project) -> dict[str, bytes]:
    """Every merged picture and mask, by folder and name."""
    folders = (project.merged_dir, project.merged_mask_dir)
    return {f"{folder.name}/{path.name}": path.read_bytes() for folder in folders for path in folder.glob("*.png")}


def times(project: Project) -> dict[str, int]:
    """When each merged picture was written."""
    return {path.stem: path.stat().st_mtime_ns for path in project.merged_dir.glob("*.png")}


def test_all_frames_are_merged(project: Project, model: FlatModel) -> None:
    result = run(project)
    assert (result["frames"], result["merged"], result["passed_through"], result["faces"]) == (6, 5, 1, 10)
    assert (result["seamless_failed"], result["iteration"], result["model"]) == (0, 7, "model")
    assert (result["reused"], result["empty_masks"], result["left"]) == (0, 0, 0)
    assert result["frames_per_s"] > 0
    for number in (1, 2, 4, 5, 6):
        inside = mask_of(project, number) == 255
        half = inside.shape[1] // 2
        assert inside[:, :half].sum() > 500
        assert inside[:, half:].sum() > 500
        assert merged(project, number)[inside][:, 2].mean() > 230
        untouched = mask_of(project, number) == 0
        assert np.array_equal(merged(project, number)[untouched], frame(project, number)[untouched])


def test_a_frame_without_faces_passes_through_and_carries_no_mark(project: Project, model: FlatModel) -> None:
    run(project)
    third = project.merged_dir / "00003.png"
    assert third.read_bytes() == (project.side("dst").frames_dir / "00003.png").read_bytes()
    assert mask_of(project, 3).shape == frame(project, 3).shape[:2]
    assert mask_of(project, 3).max() == 0
    assert "Comment" in png_texts((project.merged_dir / "00001.png").read_bytes())
    assert "Comment" not in png_texts(third.read_bytes())


def test_mode_original_changes_no_byte_and_gives_the_masks(project: Project, model: FlatModel) -> None:
    result = run(project, said := [], mode="original")
    assert (result["merged"], result["passed_through"], result["faces"], result["empty_masks"]) == (0, 6, 0, 0)
    assert not said
    frames_dir = project.side("dst").frames_dir
    assert all(
        (project.merged_dir / f"{n:05d}.png").read_bytes() == (frames_dir / f"{n:05d}.png").read_bytes()
        for n in range(1, 7)
    )
    assert mask_of(project, 1).max() == 255


def test_the_mask_can_be_the_alpha_channel(project: Project, model: FlatModel) -> None:
    run(project, alpha_png=True)
    for number in (1, 3):
        assert merged(project, number).shape == (*frame(project, number).shape[:2], 4)
        assert np.array_equal(merged(project, number)[..., 3], mask_of(project, number))
    assert np.array_equal(merged(project, 3)[..., :3], frame(project, 3))


def test_raw_predict_gives_squares_with_masks_of_their_size(project: Project, model: FlatModel) -> None:
    run(project, mode="raw-predict", faces=(FaceRule(track=1, action="leave"),))
    for number in (1, 3):
        assert merged(project, number).shape == (64, 64, 3)
        assert mask_of(project, number).shape == (64, 64)
    assert merged(project, 1)[32, 32, 2] > 200
    assert merged(project, 3).max() == 0


def test_a_rule_leaves_a_face(project: Project, model: FlatModel) -> None:
    said: list[str] = []
    rules = (FaceRule(person="anna", action="leave"), FaceRule(person="nobody"), FaceRule(track=77))
    result = run(project, said, faces=rules)
    assert (result["faces"], result["left"]) == (5, 5)
    assert mask_of(project, 1)[:, :100].max() == 0
    assert any("'nobody'" in words for words in said)
    assert any("track 77" in words for words in said)


def test_a_range_leaves_the_others_and_strangers_go(project: Project, model: FlatModel) -> None:
    run(project)
    before = times(project)
    cv2.imwrite(str(project.merged_dir / "00099.png"), np.zeros((4, 4, 3), np.uint8))
    result = run(project, first_frame=2, last_frame=3, blur_mask=20)
    assert result["frames"] == 2
    assert not (project.merged_dir / "00099.png").exists()
    assert {stem for stem, time in times(project).items() if time != before[stem]} == {"00002"}


def test_what_was_merged_is_written_down(project: Project, model: FlatModel) -> None:
    run(project, model="anna", blur_mask=10)
    facts = json.loads((project.merged_dir / "merge.json").read_text())
    assert (facts["model"], facts["model_class"], facts["iteration"], facts["complete"]) == ("anna", "saehd", 7, True)
    assert facts["settings"]["blur_mask"] == 10
    assert "models" not in facts
    run(project, model="anna", faces=(FaceRule(track=1, model="bert"),))
    assert set(json.loads((project.merged_dir / "merge.json").read_text())["models"]) == {"anna", "bert"}
    assert not list(project.merged_dir.glob(".*tmp"))


def test_a_second_run_takes_what_is_there(project: Project, model: FlatModel) -> None:
    run(project)
    first, asked = written(project), len(model.batches)
    before = times(project)
    result = run(project)
    assert (result["frames"], result["reused"], result["merged"]) == (6, 6, 0)
    assert (times(project), len(model.batches)) == (before, asked)
    (project.merged_mask_dir / "00002.png").unlink()
    assert run(project)["reused"] == 5
    assert run(project, redo=True)["reused"] == 0
    assert written(project) == first


def test_a_changed_look_merges_only_its_frames_again(project: Project, model: FlatModel) -> None:
    run(project)
    before = times(project)
    keys = (MergeKey(frame=3, look=MergeLook(color_transfer="none", erode_mask=40)),)
    assert run(project, keys=keys)["reused"] == 3
    changed = {stem for stem, time in times(project).items() if time != before[stem]}
    assert changed == {"00004", "00005", "00006"}


def test_a_trained_model_and_a_changed_frame_merge_again(project: Project, model: FlatModel) -> None:
    run(project)
    cv2.imwrite(str(project.side("dst").frames_dir / "00002.png"), frame(project, 2) // 2)
    assert run(project)["reused"] == 5
    model.stamp = "8-b"
    assert run(project)["reused"] == 1  # the frame without faces


def test_smoothing_ties_a_frame_to_its_neighbours(project: Project, model: FlatModel) -> None:
    smooth: dict[str, Any] = {"smooth_mask": 60, "smooth_color": 60}
    result = run(project, **smooth)
    assert result["flicker"]["mask_before"] is not None
    whole = written(project)
    (project.merged_dir / "00005.png").unlink()
    again = run(project, **smooth)
    assert (again["reused"], again["merged"]) == (5, 1)
    assert written(project) == whole
    frames_dir = project.side("dst").frames_dir
    cv2.imwrite(str(frames_dir / "00005.png"), frame(project, 5) // 2 + 20)
    assert run(project, **smooth)["reused"] < 5


def test_stopped_and_resumed_gives_the_bytes_of_an_unbroken_run(project: Project, model: FlatModel) -> None:
    run(project)
    whole = written(project)
    run(project, redo=True, blur_mask=10)
    with pytest.raises(StopRequested):
        run(project, stop_after=2)
    assert json.loads((project.merged_dir / "merge.json").read_text())["complete"] is False
    result = run(project)
    assert 2 <= result["reused"] < 6
    assert written(project) == whole


def test_a_model_that_rounds_by_its_batch_gives_the_same_bytes_however_it_is_cut_up(
    project: Project, model: FlatModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = model.predict_batch

    def predict(crops: Any, morph: float) -> Any:
        made = real(crops, morph)
        return [replace(each, face=each.face - 0.02 * len(crops) - 0.01 * at) for at, each in enumerate(made)]

    monkeypatch.setattr(model, "predict_batch", predict)
    run(project)
    whole = written(project)
    for number in (1, 5, 6):
        (project.merged_dir / f"{number:05d}.png").unlink()
    assert run(project)["reused"] == 3
    assert written(project) == whole
    run(project, redo=True, first_frame=2, last_frame=5)
    assert written(project) == whole


def test_a_line_that_was_cut_off_costs_one_frame(project: Project, model: FlatModel) -> None:
    run(project)
    ledger = project.merged_dir / LEDGER_FILE
    ledger.write_bytes(ledger.read_bytes()[:-20])
    assert run(project)["reused"] == 5
    assert run(project)["reused"] == 6


def test_two_jobs_do_not_write_the_same_frames(project: Project, model: FlatModel) -> None:
    run(project)
    (project.merged_dir / ".0123.tmp").write_bytes(b"of a run that was killed")
    with MergedFolders(project, "the first job"), pytest.raises(BadInputError, match=r"\(the first job\) is writing"):
        run(project, redo=True)
    assert run(project)["reused"] == 6
    assert not list(project.merged_dir.glob(".*.tmp"))


def test_the_page_sees_what_is_out_of_date(project: Project, model: FlatModel) -> None:
    pytest.importorskip("torch")
    settings = MergeSettings(**PLAIN)
    save_frame_table(project.side("dst"), frame_table_for(project.side("dst")))
    assert stale_frames(project, settings).missing == FRAMES
    model.stamp = ""  # what a model without a folder has
    run(project)
    assert stale_frames(project, settings).ranges == ()
    keys = (MergeKey(frame=4, look=MergeLook(color_transfer="none", mode="seamless")),)
    found = stale_frames(project, settings.model_copy(update={"keys": keys}))
    assert (found.changed, found.ranges) == (3, ((4, 6),))
    assert stale_frames(project, settings.model_copy(update={"smooth_mask": 5})).changed == 5


def test_processes_give_the_bytes_of_threads(project: Project, model: FlatModel) -> None:
    run(project, mode="seamless")
    threads = written(project)
    run(project, mode="seamless", workers=2, redo=True)
    assert written(project) == threads


def test_a_process_that_is_killed_is_said_and_what_is_done_stays(
    project: Project, model: FlatModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = model.predict_batch

    def predict(crops: Any, morph: float) -> Any:
        if len(model.batches) == 4:
            for child in psutil.Process().children():
                if "spawn_main" in " ".join(child.cmdline()):
                    child.kill()
        return real(crops, morph)

    monkeypatch.setattr(model, "predict_batch", predict)
    with pytest.raises(LookalikeError, match="ended from outside"):
        run(project, workers=1, batch_size=1)
    there = len(list(project.merged_dir.glob("*.png")))
    monkeypatch.setattr(model, "predict_batch", real)
    result = run(project)
    assert result["reused"] <= there
    assert (result["frames"], len(written(project))) == (6, 12)


@pytest.mark.parametrize("smooth", [0, 70])
def test_the_preview_of_a_frame_is_the_merged_frame(project: Project, model: FlatModel, smooth: int) -> None:
    keys = (MergeKey(frame=4, look=MergeLook(color_transfer="lct", mode="seamless", erode_mask=5)),)
    settings: dict[str, Any] = {**PLAIN, "keys": keys, "smooth_mask": smooth, "smooth_color": smooth}
    run(project, **settings)
    session = MergeSession(project)
    for number in (1, 3, 5):
        preview = session.render(number - 1, MergeSettings(**settings))
        assert np.array_equal(preview.after, merged(project, number))
        assert np.array_equal(preview.mask, mask_of(project, number))


def test_the_morph_reaches_the_model(project: Project, model: FlatModel) -> None:
    run(project, morph_factor=0.4)
    assert {morph for _, morph in model.batches} == {0.4}


def test_a_stored_amp_model_merges_between_the_faces(project: Project) -> None:
    pytest.importorskip("torch")
    store_model(project, tiny_amp())
    seen: list[Any] = []
    for morph in (0.0, 0.5, 1.0):
        result = run(project, model="tiny", mask_mode="dst", morph_factor=morph, last_frame=2)
        assert result["reused"] == 0
        seen.append(merged(project, 2))
    assert not np.array_equal(seen[0], seen[1])
    assert not np.array_equal(seen[1], seen[2])
    assert stale_frames(project, MergeSettings(**{**PLAIN, "model": "tiny", "mask_mode": "dst"})).trained == 0


@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_frames_of_other_kinds_merge_as_png(project: Project, model: FlatModel, kind: str) -> None:
    frames_dir = project.side("dst").frames_dir
    for path in sorted(frames_dir.glob("*.png")):
        cv2.imwrite(str(path.with_suffix(f".{kind}")), cv2.imread(str(path)))
        if kind != "png":
            path.unlink()
    assert run(project)["frames"] == 6
    assert np.array_equal(merged(project, 3), read_image(frames_dir / f"00003.{kind}"))


def to_clip(project: Project) -> None:
    """Make the frames those of a clip: the clip's own decoded ones, with the table they came with."""
    side, pictures = project.side("dst"), sorted(project.side("dst").frames_dir.glob("*.png"))
    height, width = cv2.imread(str(pictures[0])).shape[:2]
    images = [cv2.imread(str(path)) for path in pictures]
    times_s = (0.0, 0.04, 0.1, 0.12, 0.2, 0.24)
    clip = make_clip(
        project.path / "data_dst.mp4",
        Clip(frames=len(images), size=(width, height), times_s=times_s),
        lambda number, *_: images[number],
    )
    for path, decoded in zip(pictures, decode(clip), strict=True):
        cv2.imwrite(str(path), decoded.frame_bgr)
    save_frame_table(side, frame_table_for(side))


def test_straight_from_the_clip_gives_what_the_frames_give(project: Project, model: FlatModel) -> None:
    to_clip(project)
    run(project)
    from_files = {name: read_image(project.merged_dir.parent / name) for name in written(project)}
    frames_dir = project.side("dst").frames_dir
    for number in (1, 2, 3, 5):
        (frames_dir / f"{number:05d}.png").unlink()
    said: list[str] = []
    result = run(project, said, redo=True)
    assert (result["frames"], result["merged"]) == (6, 5)
    assert any("4 of 6 frames are taken from data_dst.mp4" in words for words in said)
    for name, picture in from_files.items():
        assert np.array_equal(read_image(project.merged_dir.parent / name), picture), name
    (frames_dir / "00006.png").unlink()
    run(project, redo=True, workers=1, first_frame=4)
    assert np.array_equal(merged(project, 6), from_files["merged/00006.png"])


def test_frames_that_are_gone_are_said(project: Project, model: FlatModel) -> None:
    save_frame_table(project.side("dst"), frame_table_for(project.side("dst")))
    for number in (2, 4):
        (project.side("dst").frames_dir / f"{number:05d}.png").unlink()
    with pytest.raises(BadInputError, match="2 of 6 frames are gone, the first is 00002"):
        run(project)
    assert run(project, first_frame=5, smooth_mask=50)["frames"] == 2
    make_clip(project.path / "data_dst.mp4", Clip(frames=9))
    with pytest.raises(BadInputError, match="not the clip the frames came from"):
        run(project)


def test_what_is_missing_is_said(project: Project, model: FlatModel) -> None:
    with pytest.raises(BadInputError, match="no frames from 7"):
        run(project, first_frame=7)
    with pytest.raises(BadInputError, match="no face to swap in frame 3"):
        run(project, first_frame=3, last_frame=3)
    assert run(project, first_frame=3, last_frame=3, mode="original")["passed_through"] == 1
    with pytest.raises(BadInputError, match="left as it is by a rule"):
        run(project, faces=(FaceRule(action="leave"),))
    for face in project.side("dst").aligned_dir.glob("*.jpg"):
        face.unlink()
    with pytest.raises(BadInputError, match="no destination faces"):
        run(project)
    for picture in project.side("dst").frames_dir.glob("*.png"):
        picture.unlink()
    with pytest.raises(BadInputError, match="no destination frames"):
        run(project)


def test_a_mask_network_that_is_missing_is_said_before_anything_is_touched(
    project: Project, model: FlatModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LOOKALIKE_WEIGHTS", str(tmp_path / "none"))
    keys = (MergeKey(frame=5, look=MergeLook(mask_mode="xseg-dst")),)
    with pytest.raises(BadInputError, match="needs a mask network"):
        run(project, keys=keys)
    assert not list(project.merged_dir.glob("*"))
    assert run(project, keys=keys, last_frame=4)["frames"] == 4


def test_a_missing_model_is_said_before_anything_is_touched(project: Project) -> None:
    pytest.importorskip("torch")
    with pytest.raises(BadInputError, match="no trained model"):
        run(project, model="nobody")
    assert not list(project.merged_dir.glob("*")) if project.merged_dir.exists() else True


def test_a_full_disk_says_how_far_it_got(project: Project, model: FlatModel, monkeypatch: pytest.MonkeyPatch) -> None:
    real = merge_work.write_bytes

    def write(path: Path, data: bytes, durable: bool = True) -> None:
        if path.name == "00004.png":
            raise OSError(28, "No space left on device")
        real(path, data, durable)

    monkeypatch.setattr(merge_work, "write_bytes", write)
    with pytest.raises(DiskFullError, match="after 3 of 6 frames"):
        run(project)
    monkeypatch.setattr(merge_work, "write_bytes", real)
    assert run(project)["reused"] == 3


def test_a_disk_that_is_too_small_is_said_before_anything_is_touched(
    project: Project, model: FlatModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = sorted(project.side("dst").frames_dir.glob("*.png"))
    need = sum(path.stat().st_size for path in frames)
    monkeypatch.setattr(atomic, "free_bytes", lambda path: atomic.MIN_FREE_BYTES + need)
    with pytest.raises(DiskFullError, match="are needed"):
        run(project)
    assert not written(project)
    assert run(project, last_frame=4)["frames"] == 4
    monkeypatch.setattr(atomic, "free_bytes", lambda path: 0)
    assert run(project, redo=True, last_frame=4)["merged"] == 3  # in place of those that are there
    with pytest.raises(DiskFullError, match="are needed"):
        run(project)
    assert run(project, last_frame=4)["reused"] == 4


def test_what_cannot_be_written_is_named(project: Project, model: FlatModel, monkeypatch: pytest.MonkeyPatch) -> None:
    project.merged_dir.write_text("in the way of the folder")
    with pytest.raises(BadInputError, match="merged cannot be read or written"):
        run(project)
    project.merged_dir.unlink()

    def write(path: Path, data: bytes, durable: bool = True) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(merge_work, "write_bytes", write)
    with pytest.raises(BadInputError, match=r"0000\d\.png cannot be read or written \(Permission denied\)"):
        run(project)


def test_black_squares_are_out_of_date_when_frames_are_wanted_and_when_the_model_grew(
    project: Project, model: FlatModel
) -> None:
    save_frame_table(project.side("dst"), frame_table_for(project.side("dst")))
    model.stamp = ""  # what a model without a folder has
    squares, frames = (MergeSettings(**{**PLAIN, "mode": mode}) for mode in ("raw-predict", "overlay"))
    for made, other in ((squares, frames), (frames, squares)):
        run(project, mode=made.mode)
        assert stale_frames(project, made).ranges == ()
        assert stale_frames(project, other).ranges == ((1, 6),)
    run(project, mode="raw-predict")
    model.resolution, model.stamp = 96, "8-b"
    assert run(project, mode="raw-predict")["reused"] == 0
    assert merged(project, 3).shape == merged(project, 1).shape == (96, 96, 3)


def test_masks_that_cover_nothing_are_said(project: Project, model: FlatModel) -> None:
    said: list[str] = []
    result = run(project, said, erode_mask=400)
    assert (result["empty_masks"], result["passed_through"]) == (10, 6)
    assert any("10 faces stay as they are" in words for words in said)
    said.clear()
    assert run(project, said)["empty_masks"] == 0
    assert not any("stay as they are:" in words for words in said)


def test_a_run_that_finds_everything_done_says_so(project: Project, model: FlatModel) -> None:
    seen: list[tuple[int, int]] = []

    def emit(kind: str, data: dict[str, Any]) -> None:
        if kind == "progress":
            seen.append((data["done"], data["total"]))

    for ends in ([(0, 6), (6, 6)], [(6, 6)]):
        seen.clear()
        merge.run(MergeSettings(**PLAIN), StageContext(project, project.path, emit))
        assert [seen[0], *seen[1:][-1:]] == ends
