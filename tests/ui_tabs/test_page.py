"""The page as a whole: built without heavy libraries, private, and telling only what changed."""

from __future__ import annotations

import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import quote

import gradio as gr
import pytest

import webui
from backend.core.errors import BadInputError
from ui_tabs.context import View, guarded
from ui_tabs.serve import is_loopback, visitors, why_not_listen
from ui_tabs.steps import TITLES
from ui_tabs.theme import launch_looks

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workspace")
    page, manager = webui.build(folder)
    manager.workspace.create("film", "Ann agreed.")
    return page, manager


def handler(page, name):
    return next(fn.fn for fn in page.fns.values() if getattr(fn.fn, "__name__", "") == name)


def told(answer):
    """Whether an answer changes anything."""
    return any(key != "__type__" for key in answer)


def deliver(page, look, view):
    """What the pulse of the visible tab sends for."""
    return look.__self__.deliver(view.tab, view)


def test_there_is_one_tab_per_step(built):
    page, _ = built
    found = [block.id for block in page.blocks.values() if type(block).__name__ == "Tab"]
    assert found == list(TITLES)


def test_everything_clickable_has_an_id(built):
    page, _ = built
    kinds = ("Button", "UploadButton", "Dropdown", "Radio", "Checkbox", "Slider", "Number", "Textbox", "File")
    nameless = [
        f"{type(block).__name__} {getattr(block, 'label', '') or getattr(block, 'value', '')}"
        for block in page.blocks.values()
        if type(block).__name__ in kinds and not block.elem_id
    ]
    assert nameless == []


def test_ids_are_unique(built):
    page, _ = built
    found = [block.elem_id for block in page.blocks.values() if getattr(block, "elem_id", None)]
    assert sorted(found) == sorted(set(found))


def test_no_event_is_part_of_the_public_api(built):
    page, _ = built
    assert [fn.api_name for fn in page.fns.values() if fn.api_visibility == "public" and fn.fn is not None] == []


def test_an_event_without_progress_leaves_the_browser_alone(built):
    """The browser looks up every component that may show progress at each step of each event, hidden or not."""
    demo, _ = built
    quiet = [fn for fn in demo.fns.values() if fn.show_progress == "hidden"]
    assert len(quiet) > 20
    assert {len(fn.show_progress_on or fn.outputs) for fn in quiet} == {1}


def test_ticks_do_not_wait_for_each_other(built):
    page, _ = built
    looks = [
        fn
        for fn in page.fns.values()
        if getattr(fn.fn, "__name__", "") in ("look", "fill", "load", "select", "deliver")
    ]
    assert looks
    assert {fn.concurrency_limit for fn in looks} == {None}


@pytest.mark.parametrize("tab", TITLES)
def test_a_second_look_finds_nothing_new(built, tab):
    page, _ = built
    look = handler(page, "look")
    view = View(project="film", tab=tab)
    assert told(look(view))
    assert len(deliver(page, look, view)) > 1
    for _ in range(3):
        look(view)
        deliver(page, look, view)
    assert not told(look(view))
    assert not told(deliver(page, look, view))


def test_what_was_not_sent_yet_is_sent_with_the_next(built, monkeypatch):
    page, _ = built
    look = handler(page, "look")
    view = View(project="film", tab="queue")
    ask = look.__self__
    one, two = ask.tabs["queue"].outputs[:2]
    first = {one: "a", two: gr.update(visible=False)}
    news = iter([first, {two: gr.update(value="b")}, {one: gr.update(value="c")}, {}])
    monkeypatch.setattr(ask, "_changes", lambda view, name: next(news))
    assert [told(look(view)) for _ in range(4)] == [True] * 4
    shown = ask.deliver("queue", view)
    assert shown[one]["value"] == "c"
    assert (shown[two]["visible"], shown[two]["value"]) == (False, "b")
    assert not told(ask.deliver("queue", view))


def test_nothing_overtakes_the_forms_on_their_way_to_the_browser(built, monkeypatch):
    page, _ = built
    look = handler(page, "look")
    view, ask = View(project="film", tab="queue"), look.__self__
    ask.fill(view)
    news = iter([{ask.tabs["queue"].outputs[0]: "later"}, {}])
    monkeypatch.setattr(ask, "_changes", lambda view, name: next(news))
    assert not told(look(view))
    assert not told(ask.deliver("queue", view))
    assert told(ask.filled(view))
    assert list(ask.deliver("queue", view).values()) == ["later"]


@pytest.mark.parametrize("tab", TITLES)
def test_every_tab_shows_without_a_project(built, tab):
    page, _ = built
    assert handler(page, "look")(View(tab=tab))


def test_a_vanished_project_is_no_failure(built):
    page, _ = built
    view = View(project="gone", tab="sort")
    assert handler(page, "fill")(view)
    assert handler(page, "look")(view)


def test_expected_errors_become_messages():
    import gradio as gr

    def failing():
        raise BadInputError("The name is taken.", "Choose another.")

    with pytest.raises(gr.Error) as caught:
        guarded(failing)()
    assert caught.value.message == "The name is taken. Choose another."
    assert not caught.value.print_exception


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [([], False), (["--host", "localhost"], False), (["--host", "0.0.0.0"], True), (["--share"], True)],
)
def test_a_page_open_to_others_asks_for_a_password(arguments, asked, capsys):
    found = visitors(webui.read_flags(arguments))
    printed = capsys.readouterr().out
    assert (found is not None) == asked
    assert printed.count(found[1] if found else "password") == asked


def test_a_given_password_may_hold_colons():
    assert visitors(webui.read_flags(["--auth", "ann:a:b"])) == ("ann", "a:b")


def test_a_password_without_a_name_is_refused(capsys):
    with pytest.raises(SystemExit):
        webui.read_flags(["--auth", "secret"])
    assert "colon" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("host", "loopback"), [("127.0.0.1", True), ("::1", True), ("192.168.1.2", False), ("box", False)]
)
def test_loopback(host, loopback):
    assert is_loopback(host) == loopback


@pytest.fixture(scope="module")
def served(built):
    page, manager = built
    page.launch(
        server_name="127.0.0.1",
        allowed_paths=[str(manager.workspace.root)],
        prevent_thread_lock=True,
        quiet=True,
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        **launch_looks(),
    )
    yield page.local_url, manager.workspace.root
    page.close()


def test_a_port_in_use_is_noticed(served):
    assert "is in use" in why_not_listen("127.0.0.1", int(served[0].rstrip("/").rpartition(":")[2]))


def test_an_address_that_cannot_be_used_is_refused_with_a_sentence(tmp_path):
    assert "not known" in why_not_listen("no such host", 7860)
    assert "--host" in why_not_listen("192.0.2.1", 7860)
    assert why_not_listen("127.0.0.1", 0) == ""
    (tmp_path / "file").touch()
    assert "cannot be made" in webui.why_no_workspace(tmp_path / "file")
    with pytest.raises(SystemExit):
        webui.read_flags(["--port", "70000"])


def fetch(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_only_the_workspace_can_be_read(served):
    url, root = served
    inside = root / "film" / "note.txt"
    inside.write_text("hello", encoding="utf-8")
    assert fetch(f"{url}gradio_api/file={quote(str(inside))}") == 200
    outside = [Path("/etc/passwd"), ROOT / "webui.py", root.parent / "other.txt", root / ".." / "other.txt"]
    (root.parent / "other.txt").write_text("secret", encoding="utf-8")
    for path in outside:
        assert fetch(f"{url}gradio_api/file={quote(str(path))}") in (403, 404), path


def test_the_theme_asks_for_nothing_from_outside(served):
    with urllib.request.urlopen(f"{served[0]}theme.css", timeout=10) as answer:
        sheet = answer.read().decode()
    assert "system-ui" in sheet
    assert "#f6f6f7" in sheet
    assert "http" not in sheet.replace("http://www.w3.org", "")


def test_the_web_process_stays_light(tmp_path):
    code = (
        "import sys, pathlib, psutil, webui\n"
        f"page, manager = webui.build(pathlib.Path({str(tmp_path)!r}))\n"
        "assert not {'torch', 'face_alignment', 'mtcnn'} & set(sys.modules)\n"
        "print(psutil.Process().memory_info().rss // 2**20)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert int(done.stdout) < 400


def test_filling_again_gives_components_only(built):
    page, _ = built
    fill, view = handler(page, "fill"), View(project="film")
    for _ in range(3):
        found = fill(view)
    assert "__type__" not in found
