"""Cards of exported files: what is read of them, what a browser plays, marks, buttons, and what stays the same."""

from __future__ import annotations

import html
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from backend.core.frames import VideoInfo
from backend.jobs.manager import JobManager
from backend.storage.atomic import write_json
from backend.storage.image import write_image
from backend.storage.results import sidecar_path
from backend.storage.workspace import Project, Workspace
from tests.storage.marked_files import VIDEOS, make_file
from ui_tabs.context import PageContext
from ui_tabs.result_cards import (
    Result,
    ResultCards,
    body_html,
    card,
    facts_of,
    marks_html,
    player_html,
    provenance_rows,
)
from ui_tabs.result_files import Look, ResultFiles, plays, read_result

SIDECAR = {"model": "anna", "iteration": 1200}
INFO = VideoInfo(
    path=Path("a.mp4"), width=64, height=48, fps=Fraction(24), frame_count=6, duration_s=0.25, codec="h264"
)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Workspace(tmp_path / "workspace").create("film", "Drawn people agreed.")


@pytest.fixture
def cards(project: Project) -> ResultCards:
    workspace = Workspace(project.path.parent)
    return ResultCards(PageContext(JobManager(workspace), workspace), ResultFiles(patience_s=20))


def told(cards: ResultCards, project: Project | None) -> dict[str, dict[str, str]]:
    data = html.unescape(cards.data(project).removeprefix("<div hidden>").removesuffix("</div>"))
    return {each["name"]: each for each in json.loads(data)["cards"]}


def a_result(sidecar: dict[str, object] | None = None, **changes: object) -> Result:
    facts = {"info": INFO, "marked": True, "format": "MP4, H.264", "bytes": 2_500_000, "sidecar": sidecar or SIDECAR}
    look = Look(**{**facts, **changes})  # type: ignore[arg-type]
    return Result(Path("a <b>.mp4"), "/file=a?v=1", "/file=a.json?v=1", look=look, sidecar=look.sidecar)


def test_a_card_escapes_names_and_says_what_the_file_is() -> None:
    shown = card(a_result(), preload=True)
    assert "a &lt;b&gt;.mp4" in shown["body"] and "a <b>" not in shown["body"] + shown["player"]
    assert '<video controls playsinline preload="metadata" width="64" height="48" src="/file=a?v=1"' in shown["player"]
    assert 'download="a &lt;b&gt;.mp4"' in shown["body"]
    assert facts_of(a_result())[:6] == ["MP4, H.264", "0.2 s", "6 frames", "64 x 48 px", "no sound", "2.5 MB"]
    assert 'preload="none"' in player_html(a_result(), preload=False)


def test_deleting_needs_a_second_button_that_is_hidden_first() -> None:
    before, _, after = body_html(a_result()).partition('<span class="lk-sure" hidden>')
    assert 'data-act="ask"' in before and 'data-act="delete"' not in before and 'data-act="verify"' in before
    assert 'data-act="delete"' in after and 'data-act="keep"' in after


def test_marks_are_told_from_the_file_and_its_sidecar() -> None:
    assert "marked as AI-manipulated" in marks_html(a_result())
    bare = a_result(marked=False)
    bare = Result(bare.path, bare.url, "", look=Look(info=INFO), sidecar={})
    assert "no AI mark in the file" in marks_html(bare) and "no sidecar" in marks_html(bare)
    assert "<details" not in marks_html(bare)
    more = marks_html(a_result({**SIDECAR, "certificate_subject": "Anna <A>", "label": "made up"}))
    assert "signed by Anna &lt;A&gt;" in more and "visible label" in more
    rows = dict(provenance_rows({"model": "anna", "model_class": "saehd", "iteration": 41200, "mark": False}))
    assert rows == {"Model": "anna (saehd)", "Iteration": "41,200", "AI mark": "left out of the file by choice"}


def test_what_a_browser_plays() -> None:
    def info(codec: str) -> VideoInfo:
        return INFO.model_copy(update={"codec": codec})

    assert plays(Path("a.mp4"), info("h264"), {}) and plays(Path("a.WEBM"), info("vp9"), {})
    assert not plays(Path("a.mp4"), info("hevc"), {}) and not plays(Path("a.mov"), info("h264"), {})
    assert not plays(Path("a.mp4"), info("h264"), {"lossless": True})


def test_every_kind_of_file_is_read_and_shown(cards: ResultCards, project: Project) -> None:
    for kind in VIDEOS:
        make_file(project.results_dir, kind)
    found = told(cards, project)
    assert set(found) == {f"film.{kind}" for kind in VIDEOS}
    for name, each in found.items():
        assert "marked as AI-manipulated" in each["body"], name
    for name in ("film.mp4", "film.webm"):
        assert "<video" in found[name]["player"] or "Not playable" in found[name]["player"]
    assert '<img src="' in found["film.gif"]["player"] and "GIF" in found["film.gif"]["body"]
    for name in ("film.mov", "film.mkv", "film.avi"):
        assert "Not playable in a browser" in found[name]["player"] and "/results/" in found[name]["player"]
    assert "<video" in found["film.webm"]["player"]


def test_the_frame_of_a_deleted_result_goes_with_it(cards: ResultCards, project: Project) -> None:
    path = make_file(project.results_dir, "mkv")
    told(cards, project)
    kept = project.jobs_dir / ".cache" / "results"
    assert len(list(kept.iterdir())) == 1
    cards.files.forget(project, path)
    assert list(kept.iterdir()) == [] and not cards.files.known(path)


def test_files_without_a_mark_are_called_so(project: Project) -> None:
    for kind in ("mp4", "webm", "gif"):
        assert not read_result(project, make_file(project.results_dir, kind, marked=False)).marked, kind


def test_a_folder_of_pictures_names_its_place(cards: ResultCards, project: Project) -> None:
    folder = project.results_dir / "still"
    folder.mkdir()
    for number in range(5):
        write_image(folder / f"{number:05}.png", np.full((8, 8, 3), number, np.uint8))
    write_json(sidecar_path(folder), SIDECAR)
    shown = told(cards, project)["still"]
    assert shown["player"].count("<img") == 3 and "5 pictures" in shown["body"]
    assert str(folder.resolve()) in shown["body"] and 'data-act="copy"' in shown["body"]
    assert "download=" in shown["body"].partition("<details")[2] and "no AI mark" in shown["body"]


def test_a_file_that_is_no_video_is_shown_with_the_reason(cards: ResultCards, project: Project) -> None:
    (project.results_dir / "broken.mp4").write_bytes(b"")
    shown = told(cards, project)["broken.mp4"]
    assert "<video" not in shown["player"] and 'class="lk-error"' in shown["player"] and "Delete" in shown["body"]


def test_a_damaged_sidecar_counts_as_none(cards: ResultCards, project: Project) -> None:
    path = make_file(project.results_dir, "gif")
    sidecar_path(path).write_text("[1, 2")
    assert "no sidecar" in told(cards, project)["film.gif"]["body"]


def test_results_come_newest_first_and_their_stamp_changes_with_them(cards: ResultCards, project: Project) -> None:
    assert told(cards, project) == {} == told(cards, None) and "appear here" in cards.data(project)
    empty = cards.stamp(project)
    make_file(project.results_dir, "gif")
    before = cards.stamp(project)
    assert before != empty
    first = told(cards, project)["film.gif"]
    assert cards.stamp(project) != before and cards.stamp(project) == cards.stamp(project)
    make_file(project.results_dir, "mp4")
    found = told(cards, project)
    assert list(found) == ["film.mp4", "film.gif"] and found["film.gif"] == first


def test_what_is_still_being_read_says_so(project: Project) -> None:
    result = Result(Path("a.mp4"), "/file=a?v=1", "")
    assert "being read" in player_html(result, True) and 'data-act="delete"' in body_html(result)
    assert facts_of(result) == [] and marks_html(result) == ""


def test_file_urls_carry_the_version(cards: ResultCards, project: Project) -> None:
    path = make_file(project.results_dir, "gif")
    assert told(cards, project)["film.gif"]["key"].startswith(cards.page.file_url(path))
    assert cards.page.file_url(path).endswith(f"film.gif?v={path.stat().st_mtime_ns}")
