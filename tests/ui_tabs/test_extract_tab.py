"""The Extract tab without a browser: counters and links, what starting would do, clip tools, and the way back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import webui
from backend.core.errors import BadInputError
from backend.core.faces import FILLED, MANUAL
from backend.core.jobs import JobState
from backend.core.settings import DenoiseFramesSettings, EditClipSettings, ExtractFacesSettings, ExtractFramesSettings
from backend.storage.atomic import write_json
from backend.storage.clip_history import former_clips
from backend.storage.face_file import write_face_image
from backend.storage.frames_before import FramesBefore
from backend.storage.image import list_images, write_image
from tests.hdr_clips import HdrClip, gray_code, make_hdr_clip
from tests.storage.faces import make_face, picture
from tests.tiny_clips import Clip, make_clip
from ui_tabs import clip_tools, extract_foresee
from ui_tabs import page as page_module
from ui_tabs.context import View
from ui_tabs.extract_tab import ExtractTab, TabHandles

FRAMES = 6


class Desk:
    """One browser tab on an Extract tab: a clip, six frames, faces in five of them, two in the second."""

    def __init__(self, tab: ExtractTab, name: str) -> None:
        self.tab = tab
        self.manager = tab.page.manager
        self.project = tab.page.workspace.create(name, "Ann agreed.")
        self.side = self.project.side("src")
        self.view = View(project=name, tab="extract")

    def add_clip(self, root: Path) -> None:
        self.project.import_video("src", make_clip(root / "clip.mp4", Clip(frames=50)))

    def add_frames(self) -> None:
        for number in range(1, FRAMES + 1):
            write_image(self.side.frames_dir / f"{number:05d}.png", np.full((48, 64, 3), number, np.uint8))

    def add_faces(self) -> None:
        self.side.aligned_dir.mkdir(parents=True)
        cases = {
            "00001_0": {"score": 0.99, "track": 0},
            "00002_0": {"score": 0.97, "track": 0},
            "00002_1": {"score": 0.5, "track": 1},
            "00003_0": {"origin": FILLED, "track": 0},
            "00004_0": {"origin": MANUAL},
            "00005_0": {"score": 0.95, "track": 0},
        }
        for number, (name, facts) in enumerate(cases.items()):
            face = replace(make_face(f"{name[:5]}.png", number), **facts)
            write_face_image(self.side.aligned_dir / f"{name}.jpg", picture(seed=number), face)

    def shown(self, component) -> str:
        """What a component shows after a tick that draws everything anew."""
        self.view.seen.clear()
        return str(self.tab.tick(self.view)[component])


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> ExtractTab:
    """The tab on a page of its own; each test has its own project there."""
    made: list[ExtractTab] = []

    def build(page):
        made.append(ExtractTab(page))
        return TabHandles("extract", made[0].tab, made[0].outputs, made[0].tick, made[0].fill)

    builders = tuple(build if b.__name__ == "build_extract_tab" else b for b in page_module.BUILDERS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page_module, "BUILDERS", builders)
        webui.build(tmp_path_factory.mktemp("extract") / "workspace")
    return made[0]


@pytest.fixture
def desk(tab: ExtractTab, tmp_path: Path) -> Desk:
    return Desk(tab, tmp_path.name)


def said(card, view, kind, **changes) -> tuple[str, str]:
    prospect = card._foresee(view, kind.model_validate({"side": "src", **changes}))
    return prospect.said, prospect.reason


def test_counters_lead_to_the_frames(desk: Desk) -> None:
    desk.add_frames()
    assert "6</b><span>frames" in desk.shown(desk.tab.counters)
    desk.add_faces()
    write_json(
        desk.side.aligned_dir / ".extract.json",
        {"detector": "mtcnn", "landmarker": "facemesh", "jitter_before": 0.0123, "jitter": 0.004, "smoothing": 0.5},
    )
    counters = desk.shown(desk.tab.counters)
    for number, frame, kind in ((1, "00006.png", "none"), (1, "00002.png", "several"), (1, "00002.png", "score"),
                                (1, "00003.png", "filled")):  # fmt: skip
        assert f'<b>{number}</b><span><button type="button" class="lk-link lk-frame" data-frame="{frame}"' in counters
        assert f'data-kind="{kind}"' in counters
    assert "<b>2</b><span>tracks" in counters
    assert "persons" not in counters
    assert "Found by mtcnn and facemesh. Jitter 1.23 % of the face before smoothing, 0.40 % after" in counters
    desk.side.faceset().set_persons({"00001_0.jpg": 1, "00002_1.jpg": 2}, "looks")
    assert "<b>2</b><span>persons" in desk.shown(desk.tab.counters)
    assert "Frames with several faces: 1" in desk.shown(desk.tab.lists)


def test_a_report_of_another_version_does_no_harm(desk: Desk) -> None:
    desk.add_frames()
    desk.add_faces()
    for content in ('{"jitter": null, "detector": 5}', "[1]", "{"):
        (desk.side.aligned_dir / ".extract.json").write_text(content)
        assert "<b>6</b><span>faces" in desk.shown(desk.tab.counters)


def test_a_link_opens_the_frame_to_be_fixed(desk: Desk) -> None:
    desk.add_frames()
    desk.add_faces()
    shown = desk.tab._follow(desk.view, SimpleNamespace(_data={"frame": "00003.png", "kind": "filled"}))
    assert (desk.view.local["fix.frame"], desk.view.local["fix.kind"]) == ("00003.png", "filled")
    assert shown[desk.tab.part] == "fix"
    assert [shown[desk.tab.rooms[name]]["visible"] for name in ("find", "fix", "clip")] == [False, True, False]
    assert "00003" in str(desk.tab.tick(desk.view)[desk.tab.fix.data])


def test_frames_say_the_disk_they_need(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = desk.tab.frames
    assert "clip is missing" in said(card, desk.view, ExtractFramesSettings)[1]
    desk.add_clip(tmp_path)
    words, reason = said(card, desk.view, ExtractFramesSettings)
    assert "About 50 frames need" in words
    assert "free" in words
    assert reason == ""
    assert "About 10 frames" in said(card, desk.view, ExtractFramesSettings, fps=5)[0]
    assert "lasts 2.00 s" in said(card, desk.view, ExtractFramesSettings, start_s=7)[1]
    monkeypatch.setattr(extract_foresee, "free_bytes", lambda path: 1 << 20)
    assert "do not fit on the disk" in said(card, desk.view, ExtractFramesSettings)[1]
    desk.tab.fill(desk.view)
    updates = desk.tab.tick(desk.view)
    assert updates[card.start]["interactive"] is False
    assert "do not fit on the disk" in updates[card.panel.why]


def test_hdr_is_said(desk: Desk, tmp_path: Path) -> None:
    desk.project.import_video("src", make_hdr_clip(tmp_path / "clip.mp4", [gray_code(0.4)] * 4, HdrClip()))
    assert "HDR10 (PQ); its tones are mapped to BT.709" in said(desk.tab.frames, desk.view, ExtractFramesSettings)[0]
    assert "HDR, tone-mapped" in desk.tab.clip.cards.card(desk.project, "src")
    assert "mapped to BT.709 for good" in said(desk.tab.clip.edit, desk.view, EditClipSettings)[0]


@pytest.mark.parametrize(
    ("existing", "words"),
    [
        ("restart", "6 faces go to the trash first, 1 of them made by hand"),
        ("continue", "the 6 faces that are there stay"),
        ("missing", "1 frames without a face are searched; the 6 faces"),
        ("debug", "4 of 6 frames have no debug image any more"),
    ],
)
def test_what_becomes_of_the_faces_is_said(desk: Desk, existing: str, words: str) -> None:
    card = desk.tab.faces
    assert "no source frames yet" in said(card, desk.view, ExtractFacesSettings)[1]
    desk.add_frames()
    assert "6 frames are searched" in said(card, desk.view, ExtractFacesSettings, existing="restart")[0]
    desk.add_faces()
    desk.side.faceset().records()
    if existing == "debug":
        desk.side.debug_dir.mkdir()
        assert "no debug images" in said(card, desk.view, ExtractFacesSettings, existing=existing)[1]
        for name in ("00001", "00002"):
            write_image(desk.side.debug_dir / f"{name}.jpg", np.zeros((8, 8, 3), np.uint8))
    assert words in said(card, desk.view, ExtractFacesSettings, existing=existing)[0]


def test_the_range_of_a_cut_is_not_offered_again(desk: Desk, tmp_path: Path) -> None:
    desk.add_clip(tmp_path)
    settings = EditClipSettings(start_s=0.5, end_s=1.5, bitrate_mbit=7)
    desk.manager.submit(desk.project, "edit-clip", settings)
    form = desk.tab.clip.edit.form.widgets
    updates = desk.tab.fill(desk.view)
    assert [updates[form[name]]["value"] for name in ("start_s", "end_s", "bitrate_mbit")] == [0, 0, 7]


def test_a_cut_shows_both_ends(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.add_clip(tmp_path)
    card = desk.tab.clip.edit
    words, reason = said(card, desk.view, EditClipSettings, start_s=0.4, end_s=1.4)
    assert words.count("<figure>") == 2
    assert "First, 0.40 s" in words
    assert "Last, 1.36 s" in words
    assert "Keeps 1.00 s, about 25 frames" in words
    assert reason == ""
    assert "key frame before the start" in said(card, desk.view, EditClipSettings, method="copy")[0]
    assert "Becomes 32 x 24 px" in said(card, desk.view, EditClipSettings, height=24)[0]
    monkeypatch.setattr(clip_tools, "free_bytes", lambda path: 1 << 20)
    assert "does not fit" in said(card, desk.view, EditClipSettings)[1]


def test_the_way_back_is_open_when_there_is_one(desk: Desk, tmp_path: Path) -> None:
    desk.add_clip(tmp_path)
    desk.add_frames()
    desk.view.local["extract.part"] = "clip"
    tools = desk.tab.clip
    before = desk.tab.tick(desk.view)
    assert (before[tools.restore]["interactive"], before[tools.undo]["interactive"]) == (False, False)
    desk.project.import_video("src", make_clip(tmp_path / "other.mp4", Clip(frames=5)))
    for frame in list_images(desk.side.frames_dir):
        FramesBefore(desk.side.frames_dir).keep(frame)
    after = desk.tab.tick(desk.view)
    assert (after[tools.restore]["interactive"], after[tools.undo]["interactive"]) == (True, True)
    assert "data_src.previous.mp4" in after[tools.kept]
    assert "6 frames as they were" in after[tools.kept]
    tools._restore(desk.view)
    tools._undo(desk.view)
    asked = {job.request.stage: job.request.settings for job in desk.manager.jobs(desk.project)}
    assert (asked["edit-clip"]["restore"], asked["denoise-frames"]["undo"]) == (True, True)
    with pytest.raises(BadInputError, match="waiting or running"):
        tools._restore(desk.view)
    with pytest.raises(BadInputError, match="A job is changing"):
        tools._give_up(desk.view, "clips", "delete")


def test_what_is_kept_can_be_given_up(desk: Desk, tmp_path: Path) -> None:
    desk.add_clip(tmp_path)
    desk.project.import_video("src", make_clip(tmp_path / "other.mp4", Clip(frames=5)))
    desk.add_frames()
    for frame in list_images(desk.side.frames_dir):
        FramesBefore(desk.side.frames_dir).keep(frame)
    with pytest.raises(BadInputError, match="Type the word delete"):
        desk.tab.clip._give_up(desk.view, "clips", "yes")
    assert len(former_clips(desk.project.path, "src")) == 1
    desk.tab.clip._give_up(desk.view, "clips", " Delete ")
    assert former_clips(desk.project.path, "src") == []
    assert desk.side.video is not None
    desk.tab.clip._give_up(desk.view, "frames", "delete")
    assert FramesBefore(desk.side.frames_dir).kept() == []
    assert len(list_images(desk.side.frames_dir)) == FRAMES


def test_denoising_says_where_it_starts(desk: Desk) -> None:
    card = desk.tab.clip.denoise
    assert "no source frames yet" in said(card, desk.view, DenoiseFramesSettings)[1]
    desk.add_frames()
    desk.tab.clip._sizes.clear()
    assert "6 frames" in said(card, desk.view, DenoiseFramesSettings)[0]
    assert "cannot be undone" in said(card, desk.view, DenoiseFramesSettings, keep_originals=False)[0]
    before = FramesBefore(desk.side.frames_dir)
    note = {"factor": 5, "done": 3, "total": 6}
    for facts, words in (
        (note, "3 of them are denoised with strength 5"),
        ({**note, "complete": True}, "begins with the frames as they were"),
        ({**note, "complete": True, "kept": False}, "this adds to it"),
    ):
        before.folder.mkdir(exist_ok=True)
        write_json(before.folder / "denoise.json", facts)
        assert words in said(card, desk.view, DenoiseFramesSettings)[0]


def test_the_tab_follows_where_another_tab_turned_it(desk: Desk) -> None:
    tab, view = desk.tab, desk.view
    tab.fill(view)
    assert tab.side not in tab.tick(view)
    view.local.update({"extract.side": "dst", "extract.part": "fix"})
    shown = tab.tick(view)
    assert (shown[tab.side], shown[tab.part]) == ("dst", "fix")
    assert [shown[tab.rooms[name]]["visible"] for name in ("find", "fix", "clip")] == [False, True, False]
    assert tab.side not in tab.tick(view)


def test_a_range_means_nothing_once_the_clip_was_cut(desk: Desk, tmp_path: Path) -> None:
    desk.add_clip(tmp_path)
    card, view = desk.tab.clip.edit, desk.view
    view.local["extract.part"] = "clip"
    asked = EditClipSettings(side="src", start_s=1, end_s=2, bitrate_mbit=3)
    desk.tab.page.submit(view, "edit-clip", asked)
    job = desk.manager.jobs(desk.project)[0]
    begin, bitrate = card.form.widgets["start_s"], card.form.widgets["bitrate_mbit"]
    desk.tab.fill(view)
    assert begin not in desk.tab.tick(view)
    desk.manager.store(desk.project.name).update(job.id, state=JobState.DONE)
    shown = desk.tab.tick(view)
    assert (shown[begin]["value"], shown[bitrate]["value"]) == (0, 3)
    assert begin not in desk.tab.tick(view)
