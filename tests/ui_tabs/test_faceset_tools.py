"""The tools for facesets without a browser: what is shown, what is started, what is taken back."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from backend.core.errors import BadInputError
from backend.core.jobs import Event, JobRequest, JobState, JobStatus
from backend.core.settings import AddFacesSettings, FacesetSettings, ResizeFacesSettings
from backend.jobs.scheduler import writes
from backend.jobs.store import JobRecord
from backend.storage.face_pack import FaceToPack, write_pack
from backend.storage.tool_undo import ToolUndo, note_undo
from tests.drawn_faces import write_faceset
from tests.ui_tabs.tools_page import make_tools
from ui_tabs.context import View
from ui_tabs.faceset_tools import STAGES, TOOLS
from ui_tabs.tool_words import result_sentence, told_html


@pytest.fixture
def made(tmp_path: Path):
    """(tools, the project "film", a view on it)."""
    tools, workspace = make_tools(tmp_path)
    return tools, workspace.open("film"), View(project="film")


def choose(tools, view: View, key: str):
    return tools._choose(view, key)


def values_of(tools, view: View, key: str, **given):
    found = {tools.page.view: view}
    for name, form in tools.forms.items():
        shown = tools._settings(view, name)
        for field, widget in form.widgets.items():
            found[widget] = given.get(field, getattr(shown, field)) if name == key else getattr(shown, field)
    return found


def newest(tools, view: View) -> JobRecord:
    return tools.page.jobs(view)[0]


class TestWhatIsShown:
    """Chooser, hint, command line, buttons."""

    def test_nothing_is_counted_unasked(self, made, monkeypatch: pytest.MonkeyPatch) -> None:
        tools, _, view = made
        monkeypatch.setattr("ui_tabs.faceset_facts.facts_of", lambda side: pytest.fail("counted"))
        shown = tools.fill(view)
        assert shown[tools.tool] is None
        assert not any(shown[part]["visible"] for part in (tools.facts_part, tools.run_part, *tools.parts.values()))
        tools.tick(view)

    def test_statistics_or_one_tool_at_a_time(self, made) -> None:
        tools, _, view = made
        shown = choose(tools, view, "facts")
        assert shown[tools.facts_part]["visible"] is True
        assert not any(shown[part]["visible"] for part in (tools.run_part, *tools.parts.values()))
        shown = choose(tools, view, "gray")
        assert shown[tools.facts_part]["visible"] is False
        assert [key for key, part in tools.parts.items() if shown[part]["visible"]] == ["gray"]

    def test_every_update_is_declared(self, made) -> None:
        tools, project, view = made
        write_faceset(project.side("src").aligned_dir, 2)
        declared = set(tools.outputs)
        for key in ("facts", *TOOLS):
            choose(tools, view, key)
            assert set(tools.tick(view)) <= declared
            assert set(tools.fill(view)) <= declared

    def test_a_second_tick_is_silent(self, made) -> None:
        tools, project, view = made
        write_faceset(project.side("src").aligned_dir, 2)
        for key in ("facts", "resize"):
            choose(tools, view, key)
            assert tools.tick(view)
            assert tools.tick(view) == {}

    def test_the_command_line_follows_tool_and_side(self, made) -> None:
        tools, _, view = made
        tools.fill(view)
        choose(tools, view, "masks")
        assert "faceset --project film" in tools.tick(view)[tools.command]
        view.local["sort.side"] = "dst"
        line = tools.tick(view)[tools.command]
        assert "--side dst" in line
        assert "--action export-masks" in line
        choose(tools, view, "resize")
        note = tools._noting("resize")
        line = note(view, ResizeFacesSettings(image_size=256))[tools.command]
        assert "resize-faces" in line
        assert "--image-size 256" in line

    def test_start_says_what_is_missing(self, made) -> None:
        tools, project, view = made
        choose(tools, view, "gray")
        assert "no source faces" in tools._missing(view)
        choose(tools, view, "add")
        assert tools._missing(view) == ""
        choose(tools, view, "unpack")
        assert "faceset.pak" in tools._missing(view)
        write_faceset(project.side("src").aligned_dir, 1)
        choose(tools, view, "gray")
        assert tools._missing(view) == ""

    def test_a_pack_without_loose_faces_is_offered_for_unpacking(self, made) -> None:
        tools, project, view = made
        folder = project.side("src").aligned_dir
        paths = write_faceset(folder, 5)
        write_pack(folder / "faceset.pak", [FaceToPack(path, path.name) for path in paths])
        assert tools.tick(view)[tools.hint]["visible"] is False
        for path in paths[1:]:
            path.unlink()
        shown = tools.tick(view)
        assert shown[tools.hint]["visible"] is True
        assert "only 1 loose" in shown[tools.hint_words]
        shown = tools._unpack(view)
        assert shown[tools.tool] == "unpack"
        assert newest(tools, view).request.settings["action"] == "unpack"

    def test_faces_of_the_other_side_and_of_other_projects_are_offered(self, made, tmp_path: Path) -> None:
        tools, project, view = made
        other = tools.page.workspace.create("crowd", "They agreed.")
        write_faceset(other.side("src").aligned_dir, 1)
        write_faceset(project.side("dst").aligned_dir, 1)
        assert tools._sources(view) == [
            ("Destination faces of this project", str(project.side("dst").aligned_dir)),
            ("crowd, source faces", str(other.side("src").aligned_dir)),
        ]


class TestWhatIsDone:
    """Starting and taking back."""

    def test_each_tool_starts_its_stage_with_its_settings(self, made, tmp_path: Path) -> None:
        tools, project, view = made
        write_faceset(project.side("src").aligned_dir, 1)
        for key, tool in TOOLS.items():
            for record in tools.page.jobs(view):
                shutil.rmtree(record.path)
            choose(tools, view, key)
            tools._begin(values_of(tools, view, key, folder=str(tmp_path), image_size=128))
            request = newest(tools, view).request
            assert request.stage == tool.stage
            assert all(request.settings[name] == value for name, value in tool.fixed.items())
            if key == "resize":
                assert request.settings["image_size"] == 128

    def test_a_folder_that_is_not_there(self, made) -> None:
        tools, _, view = made
        choose(tools, view, "add")
        for folder in ("", "/nowhere/at/all"):
            with pytest.raises(BadInputError, match="no such folder"):
                tools._begin(values_of(tools, view, "add", folder=folder))
        assert tools.page.jobs(view) == []

    def test_two_tools_do_not_run_on_one_side(self, made) -> None:
        tools, project, view = made
        write_faceset(project.side("src").aligned_dir, 1)
        choose(tools, view, "gray")
        tools._begin(values_of(tools, view, "gray"))
        with pytest.raises(BadInputError, match="waiting or running"):
            tools._begin(values_of(tools, view, "gray"))

    def test_taking_back(self, made) -> None:
        tools, project, view = made
        side = project.side("src")
        write_faceset(side.aligned_dir, 2)
        choose(tools, view, "add")
        store = tools.page.manager.store("film")
        job_id = tools.page.submit(view, "add-faces", AddFacesSettings(folder="/x"))
        with pytest.raises(BadInputError, match="A job is changing"):
            tools._take_back(view)
        store.update(job_id, state=JobState.DONE)
        note_undo(newest(tools, view).path, ToolUndo(added=("00002_0.jpg",)))
        assert tools.tick(view)[tools.undo]["visible"] is True
        tools._take_back(view)
        assert side.faceset().names() == ["00001_0.jpg"]
        shown = tools.tick(view)
        assert shown[tools.undo]["visible"] is False
        assert "taken back" in shown[tools.said]

    def test_every_tool_writes_its_faces_in_the_schedule(self) -> None:
        for stage in STAGES:
            request = JobRequest(id="x", project="film", stage=stage, settings={"side": "dst"}, created=0.0, lane="io")
            assert "dst faces" in writes(request)


class TestWords:
    """Results in words."""

    def record(self, result: dict, state: JobState = JobState.DONE) -> JobRecord:
        request = JobRequest(id="x", project="film", stage="resize-faces", settings={}, created=0.0, lane="io")
        return JobRecord(request, JobStatus(state=state, result=result), Path("nowhere"))

    def test_sentences(self) -> None:
        resized = {"faces": 9, "from_frames": 5, "from_aligned": 3, "black_border": 2, "unchanged": 0, "left": 1}
        assert result_sentence("resize-faces", resized) == (
            "9 faces: 5 cut from their frames, 3 from the old faces, 2 with a black border, 1 left as they are."
        )
        added = {"added": 1, "renamed": 0, "duplicates": 4, "left": 0, "persons": 0}
        assert result_sentence("add-faces", added) == "1 face added, 4 were here already."
        nothing = {"action": "restore-metadata", "from_meta": 0, "from_index": 0, "left": 0}
        assert result_sentence("faceset", nothing) == "No face has lost its data."
        assert result_sentence("faceset", {"action": "pack"}) == ""

    def test_warnings_are_listed_and_escaped(self) -> None:
        events = [Event(seq=n, time=1.0, kind="log", data={"level": "warning", "message": f"<b>{n}"}) for n in range(9)]
        text = told_html(self.record({}), events)
        assert "&lt;b&gt;0" in text
        assert "3 more in the log" in text
        assert told_html(self.record({}, JobState.FAILED), events) == ""

    def test_every_action_has_a_tool(self) -> None:
        import typing

        actions = typing.get_args(FacesetSettings.model_fields["action"].annotation)
        assert {tool.fixed["action"] for tool in TOOLS.values() if tool.stage == "faceset"} == set(actions)
