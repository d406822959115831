"""The Sort tab over real files: selecting, the trash, the filters' line, the inspector and the way to a frame."""

from __future__ import annotations

import re
from types import SimpleNamespace

import cv2
import pytest

import webui
from backend.core.errors import BadInputError
from backend.core.jobs import JobRequest, JobState, JobStatus
from backend.storage.sort_values import write_values
from tests.storage.faces import fill, picture
from ui_tabs import page as page_module
from ui_tabs.context import View
from ui_tabs.sort_filter import FaceFilter
from ui_tabs.sort_filters import FILTER
from ui_tabs.sort_order import GROUPS, NOTES, can_undo, choosing, grouped_choices, result_words
from ui_tabs.sort_persons import examples_text
from ui_tabs.sort_persons import result_words as persons_words
from ui_tabs.sort_tab import SortTab, head_html, picked_html
from ui_tabs.trash_drawer import batches_html

NAMES = [f"0000{n}_0.jpg" for n in range(1, 8)]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """(Sort tab, workspace) on a page."""
    made = []

    def build(page):
        made.append(SortTab(page))
        tab = made[0]
        return page_module.TabHandles("sort", tab.tab, tab.outputs, tab.tick, tab.fill)

    builders = tuple(build if b.__name__ == "build_sort_tab" else b for b in page_module.BUILDERS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page_module, "BUILDERS", builders)
        _, manager = webui.build(tmp_path_factory.mktemp("w") / "workspace")
    return made[0], manager.workspace


@pytest.fixture
def tab(built, monkeypatch, tmp_path):
    """The tab over a fresh project of seven source faces; ``view`` looks at it."""
    made, workspace = built
    project = workspace.create(f"p{abs(hash(tmp_path)) % 10**9}", "Ann agreed.")
    fill(project.side("src").aligned_dir, 7)
    monkeypatch.setattr("gradio.Info", lambda *args, **kwargs: None)
    view = View(project=project.name, tab="sort")
    return SimpleNamespace(
        tab=made, view=view, project=project, faceset=project.side("src").faceset(), shown=made.tick(view)
    )


def event(**data):
    """What the browser sends."""
    return SimpleNamespace(_data=data)


def act(tab, name, at="", names=()):
    """A key pressed in the grid, and what the page shows then."""
    data = tab.tab.faces._take(tab.view, event(act=name, shown=tab.tab.faces.shown(tab.view), names=list(names), at=at))
    tab.tab.faces._acts[data["act"]](tab.view, tab.tab.faces.at_face(tab.view))
    return tab.tab.tick(tab.view)


def test_the_first_look_shows_all_faces(tab):
    grid = tab.shown[tab.tab.faces.grid]
    assert re.findall('data-name="([^"]+)"', grid) == NAMES
    assert "7 faces" in tab.shown[tab.tab.head]
    assert tab.tab.faces.grid not in tab.tab.tick(tab.view)


def test_everything_after_and_before(tab):
    act(tab, "after", NAMES[4])
    assert tab.tab.faces.selected(tab.view) == set(NAMES[4:])
    act(tab, "clear")
    act(tab, "before", NAMES[1])
    assert tab.tab.faces.selected(tab.view) == set(NAMES[:2])
    act(tab, "invert", names=NAMES[:2])
    assert tab.tab.faces.selected(tab.view) == set(NAMES[2:])
    with pytest.raises(BadInputError):
        tab.tab._select_from(tab.view, "gone.jpg")


def test_after_reaches_over_all_pages(tab):
    tab.view.local["sort.per"] = 2
    tab.tab.tick(tab.view)
    assert tab.tab.faces.shown(tab.view) == NAMES[:2]
    act(tab, "after", NAMES[1])
    assert tab.tab.faces.selected(tab.view) == set(NAMES[1:])


def test_delete_takes_the_selected_ones_and_undo_brings_them_back(tab):
    shown = act(tab, "remove", NAMES[0], names=NAMES[2:4])
    assert tab.faceset.names() == [NAMES[0], NAMES[1], *NAMES[4:]]
    assert "5 faces" in shown[tab.tab.head]
    assert "selected by hand" in shown[tab.tab.trash.batches]
    assert "2 faces in the trash" in shown[tab.tab.trash.head]
    shown = act(tab, "undo")
    assert tab.faceset.names() == NAMES
    assert "7 faces" in shown[tab.tab.head]


def test_delete_without_a_selection_takes_the_face_with_the_focus(tab):
    act(tab, "remove", NAMES[3])
    assert NAMES[3] not in tab.faceset.names()
    act(tab, "remove", "")
    assert len(tab.faceset.names()) == 6


def test_the_page_is_right_without_reading_the_folder_again(tab, monkeypatch):
    def refuse(*args):
        raise AssertionError("the folder was read again")

    monkeypatch.setattr(type(tab.faceset), "records", refuse)
    shown = act(tab, "remove", names=NAMES[:1])
    assert "6 faces" in shown[tab.tab.head]


def test_another_process_is_noticed(tab):
    (tab.project.side("src").aligned_dir / NAMES[0]).unlink()
    assert "6 faces" in tab.tab.tick(tab.view)[tab.tab.head]


def test_keep_only_these(tab):
    tab.tab.faces.select(tab.view, {NAMES[1], "gone.jpg"})
    tab.tab._keep(tab.view)
    assert tab.faceset.names() == [NAMES[1]]
    tab.tab.faces.select(tab.view, {"gone.jpg"})
    with pytest.raises(BadInputError):
        tab.tab._keep(tab.view)
    assert tab.faceset.names() == [NAMES[1]]


def test_nothing_is_removed_while_a_job_changes_the_faces(tab, monkeypatch):
    request = JobRequest(id="1", project=tab.project.name, stage="sort", settings={"side": "src"}, created=0.0)
    job = SimpleNamespace(request=request, status=JobStatus(state=JobState.RUNNING))
    monkeypatch.setattr(tab.tab.page, "jobs", lambda view, stages=(): [job])
    with pytest.raises(BadInputError):
        act(tab, "remove", NAMES[0])
    assert tab.faceset.names() == NAMES


def test_filters_narrow_what_is_shown_and_selected(tab):
    tab.faceset.set_persons({NAMES[0]: 0, NAMES[1]: 1, NAMES[2]: 1}, "looks", {1: "Ann"})
    shown = tab.tab.tick(tab.view)
    assert "Ann" in shown[tab.tab.filters.people]
    assert "person 1" in shown[tab.tab.filters.people]
    tab.view.local[FILTER] = FaceFilter(persons=frozenset({1}))
    shown = tab.tab.tick(tab.view)
    assert "<b>2</b> of 7 shown" in shown[tab.tab.shown]
    assert tab.tab.faces.shown(tab.view) == NAMES[1:3]
    tab.tab.faces.select(tab.view, {NAMES[0]})
    tab.tab._select_all(tab.view)
    assert tab.tab.faces.selected(tab.view) == set(NAMES[:3])
    assert "1 of them hidden" in tab.tab.tick(tab.view)[tab.tab.picked]
    tab.tab.filters.clear(tab.view)
    assert tab.tab.tick(tab.view)[tab.tab.shown] == ""


def test_the_inspector_walks_along_and_moves_on_after_a_removal(tab):
    panel = tab.tab.inspector
    shown = act(tab, "open", NAMES[5])
    assert NAMES[5] in shown[panel.body]
    assert "6 of 7" in shown[panel.body]
    panel._step(tab.view, 1)
    assert "7 of 7" in tab.tab.tick(tab.view)[panel.body]
    panel._remove(tab.view)
    assert panel.opened(tab.view) == NAMES[5]
    assert NAMES[6] not in tab.faceset.names()
    assert "6 of 6" in tab.tab.tick(tab.view)[panel.body]
    panel.open(tab.view, "")
    assert tab.tab.tick(tab.view)[panel.panel]["visible"] is False


def test_the_way_to_a_frame(tab):
    act(tab, "open", NAMES[2])
    with pytest.raises(BadInputError):
        tab.tab.inspector._to_frame(tab.view)
    frame = tab.project.side("src").frames_dir / "00003.jpg"
    cv2.imwrite(str(frame), picture())
    tab.tab.inspector._to_frame(tab.view)
    local = tab.view.local
    assert (local["extract.side"], local["extract.part"], local["fix.frame"]) == ("src", "fix", "00003.jpg")


def test_looks_are_kept_in_the_project(tab):
    gallery = tab.tab.faces
    gallery._set_look(tab.view, 200, name="per")
    gallery._set_look(tab.view, "l", name="size")
    other = View(project=tab.project.name, tab="sort")
    filled = tab.tab.fill(other)
    assert gallery.per_page(other) == 200
    assert "l" in [filled[component] for component in gallery._looks]
    assert "lk-tiles-l" in tab.tab.tick(other)[gallery.grid]


def test_a_page_number_beyond_the_end_is_the_last_page(tab):
    tab.view.local["sort.per"] = 2
    tab.tab.faces._go(tab.view, event(page=99))
    tab.tab.tick(tab.view)
    assert tab.tab.faces.shown(tab.view) == NAMES[6:]


def test_what_the_browser_shows_is_not_drawn_again(tab):
    gallery = tab.tab.faces
    gallery._take(tab.view, event(shown=NAMES, names=NAMES[:2], at=NAMES[1]))
    assert gallery.selected(tab.view) == set(NAMES[:2])
    assert gallery.grid not in tab.tab.tick(tab.view)
    tab.tab._clear(tab.view)
    assert 'aria-pressed="true"' not in tab.tab.tick(tab.view)[gallery.grid]


def test_a_batch_can_be_looked_at_and_brought_back(tab):
    tab.faceset.trash(NAMES[:1], "too dark")
    tab.faceset.trash(NAMES[1:3], "<blurry>")
    drawer = tab.tab.trash
    shown = tab.tab.tick(tab.view)
    assert "&lt;blurry&gt;" in shown[drawer.batches]
    assert shown[drawer.batches].index("blurry") < shown[drawer.batches].index("too dark")
    newest, oldest = tab.faceset.trash_batches()
    drawer._batch(tab.view, event(act="show", batch=oldest.id))
    tab.tab.tick(tab.view)
    assert drawer.faces.shown(tab.view) == [NAMES[0]]
    drawer._batch(tab.view, event(act="restore", batch=newest.id))
    assert set(tab.faceset.names()) == set(NAMES[1:])
    with pytest.raises(BadInputError):
        drawer._batch(tab.view, event(act="restore", batch=newest.id))


def test_emptying_needs_the_projects_name(tab):
    tab.faceset.trash(NAMES[:2])
    for typed in ("", "yes", tab.project.name.upper()):
        with pytest.raises(BadInputError):
            tab.tab.trash._empty(tab.view, typed)
    assert len(tab.faceset.trashed()) == 2
    assert tab.tab.trash._empty(tab.view, f" {tab.project.name} ") == ""
    assert tab.faceset.trashed() == []
    assert tab.tab.tick(tab.view)[tab.tab.trash.head] == ""
    assert batches_html([], "") == ""


def test_the_order_shows_what_it_measured(tab):
    tab.faceset.set_order(NAMES[::-1], "blur")
    write_values(tab.faceset.folder, "blur", {name: place / 10 for place, name in enumerate(NAMES)})
    shown = tab.tab.tick(tab.view)
    assert "sharpest first" in shown[tab.tab.head]
    assert "sharpness 0.60" in shown[tab.tab.faces.grid]
    assert tab.tab.faces.shown(tab.view) == NAMES[::-1]


def test_every_method_is_offered_once_with_a_note():
    offered = [method for _, method in grouped_choices()]
    assert sorted(offered) == sorted(NOTES) == sorted(m for methods in GROUPS.values() for m in methods)
    assert choosing("best")
    assert not choosing("yaw")


def test_results_in_words():
    gone = {"faces": 1812, "left_out": 640, "trashed": True, "reasons": {"nearly the same": 640}, "damaged": 0}
    assert result_words(gone, "src") == "Kept 1,812 source faces, 640 moved to the trash (nearly the same)."
    last = {"faces": 10, "left_out": 4, "trashed": False, "reasons": {"a": 3, "b": 1}}
    assert result_words(last, "dst") == "Kept 6 destination faces, 4 put last (a 3, b 1)."
    plain = {"faces": 10, "renamed": 9, "damaged": 2, "missing_poses": 3}
    said = result_words(plain, "src")
    assert said.startswith("10 source faces in their new order. 3 poses")
    assert "9 files renamed" in said
    assert "2 files could not be read" in said
    assert persons_words({"persons": 1, "faces": 5, "reason": "By looks."}) == "1 person in 5 faces. By looks."
    assert "3 faces of others" in persons_words({"persons": 2, "faces": 5, "kept": 2, "trashed": 3})


def test_only_the_newest_removal_of_a_sorting_can_be_taken_back(tab):
    side = tab.project.side("src")
    tab.faceset.trash(NAMES[:1])
    when = tab.faceset.trash_batches()[0].time
    request = JobRequest(id="1", project="p", stage="sort", settings={}, created=0.0)

    def record(**result):
        status = JobStatus(state=JobState.DONE, started=when - 5, finished=when + 1, result=result)
        return SimpleNamespace(request=request, status=status)

    assert can_undo(record(trashed=True), side)
    assert not can_undo(record(trashed=False), side)
    old = record(trashed=True)
    old.status = old.status.model_copy(update={"finished": when - 4})
    assert not can_undo(old, side)


def test_examples_of_a_person():
    assert examples_text({"b.jpg", "a.jpg"}) == "a.jpg, b.jpg"
    for names in ((), ("a,b.jpg",)):
        with pytest.raises(BadInputError):
            examples_text(names)


def test_lines():
    assert head_html("src", 0, "", ()) == ""
    assert "by file name" in head_html("src", 3, "name", ())
    assert "&lt;x&gt;" in head_html("src", 3, "", [("<x>", "broken")])
    assert picked_html(1200, 5) == '<span class="lk-fact"><b>1,200</b> selected, 5 of them hidden by the filter</span>'
