"""The frame viewer in a real Chromium, with a real mouse and the real child: every change reaches the disk and back."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest

from backend.core.faces import MANUAL
from backend.models.detection.points5 import five_points
from backend.storage.face_file import read_face
from tests.browser.page_driver import ROOT, browser
from tests.ui_tabs.fix_project import make_fix_project

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

ON_SCREEN = """([x, y]) => { const stage = document.querySelector('[data-stage]');
    const p = new DOMPoint(x, y).matrixTransform(stage.getScreenCTM()); return [p.x, p.y]; }"""


class Walk:
    """One visitor of a served viewer."""

    def __init__(self, page, side) -> None:
        self.page = page
        self.folder = side.aligned_dir
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def load(self, url) -> None:
        self.page.goto(url)
        self.page.wait_for_selector("[data-stage] .lk-fix-face")

    def data(self):
        return json.loads(self.page.evaluate("document.querySelector('#fix-data div[hidden]').textContent"))

    def after(self, act):
        """What is shown once the page has answered."""
        before = self.data()["answered"]
        act()
        script = "n => JSON.parse(document.querySelector('#fix-data div[hidden]').textContent).answered !== n"
        self.page.wait_for_function(script, arg=before, timeout=60_000)
        self.page.wait_for_function("!document.querySelector('[data-fix]').hasAttribute('data-sent')")
        shown = self.data()
        assert not shown["failed"], shown["said"]
        return shown

    def key(self, key):
        return self.after(lambda: self.page.keyboard.press(key))

    def point(self, xy):
        return self.page.evaluate(ON_SCREEN, [float(v) for v in xy])

    def click(self, xy) -> None:
        self.page.mouse.click(*self.point(xy))

    def drag(self, start, end) -> None:
        self.page.mouse.move(*self.point(start))
        self.page.mouse.down()
        for share in (0.3, 0.7, 1.0):
            self.page.mouse.move(*self.point(np.add(start, share * np.subtract(end, start))))
        self.page.mouse.up()

    def handles(self):
        """Screen places of the four corners and the turning handle of the selected face."""
        script = """[...document.querySelectorAll('.lk-fix-chosen .lk-fix-handle')].map((h) => {
            const box = h.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; })"""
        return self.page.evaluate(script)

    def files(self):
        return {path.name: path.read_bytes() for path in self.folder.glob("*.jpg")}

    def points(self, name):
        return read_face(self.folder / name).source_landmarks


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    """A visitor of the page of tests.ui_tabs.fix_page, over drawn faces."""
    root = tmp_path_factory.mktemp("fix") / "workspace"
    side = make_fix_project(root).side("dst")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "tests.ui_tabs.fix_page", str(root), str(port)]
    url = f"http://127.0.0.1:{port}/"
    environment = {name: value for name, value in os.environ.items() if name != "LOOKALIKE_WEIGHTS"}
    server = subprocess.Popen(command, cwd=ROOT, env=environment)
    try:
        with browser() as opened:
            began = time.monotonic()
            while time.monotonic() - began < 60:
                with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
                    break
                time.sleep(0.1)
            made = Walk(opened.new_page(viewport={"width": 1280, "height": 1000}), side)
            made.page.set_default_timeout(60_000)
            made.load(url)
            yield made
    finally:
        server.terminate()
        server.wait(20)


def test_a_face_is_moved_scaled_turned_and_all_of_it_taken_back(walk) -> None:
    start, name = walk.files(), "00001_0.jpg"
    first = walk.points(name)
    centre = five_points(first).mean(0)
    walk.click(centre)
    assert walk.page.locator(".lk-fix-chosen").count() == 1
    walk.after(lambda: walk.drag(centre, np.add(centre, (12, -7))))
    moved = walk.points(name)
    assert np.allclose(moved - first, (12, -7), atol=0.5)
    assert read_face(walk.folder / name).origin == MANUAL

    def pull(handle, by):
        walk.page.mouse.move(*handle)
        walk.page.mouse.down()
        walk.page.mouse.move(handle[0] + by[0] / 2, handle[1] + by[1] / 2)
        walk.page.mouse.move(handle[0] + by[0], handle[1] + by[1])
        walk.page.mouse.up()

    walk.after(lambda: pull(walk.handles()[2], (40, 40)))
    larger = walk.points(name)
    assert np.ptp(larger, axis=0).max() > 1.05 * np.ptp(moved, axis=0).max()
    walk.after(lambda: pull(walk.handles()[4], (80, 10)))
    turned = walk.points(name)
    eyes = [five_points(points)[1] - five_points(points)[0] for points in (larger, turned)]
    assert np.arctan2(eyes[1][1], eyes[1][0]) - np.arctan2(eyes[0][1], eyes[0][0]) > 0.1
    assert np.linalg.norm(eyes[0]) == pytest.approx(np.linalg.norm(eyes[1]), rel=0.01)
    for _ in range(3):
        walk.key("z")
    assert walk.files() == start
    walk.key("y")
    assert np.allclose(walk.points(name), moved, atol=0.01)
    walk.key("Control+z")
    assert walk.files() == start


def test_single_points_follow_the_mouse_where_it_is_near(walk) -> None:
    nose = walk.points("00001_0.jpg")[30]
    for _ in range(3):
        walk.page.mouse.move(*walk.point(nose))
        walk.page.mouse.wheel(0, -400)
        walk.page.wait_for_timeout(50)
    walk.page.mouse.move(*walk.point(nose))
    assert walk.page.locator(".lk-fix-near").count() == 1
    before = walk.points("00001_0.jpg")
    walk.after(lambda: walk.drag(nose, np.add(nose, (3, 2))))
    change = np.abs(walk.points("00001_0.jpg") - before).max(axis=1)
    assert np.flatnonzero(change > 0.05).tolist() == [30]
    walk.page.keyboard.press("0")
    walk.key("z")


def test_faces_are_drawn_clicked_copied_filled_and_deleted(walk) -> None:
    start = walk.files()
    walk.page.keyboard.press("Escape")
    walk.after(lambda: walk.page.select_option("[data-refine]", "none"))
    walk.page.locator("[data-fix]").focus()
    shown = walk.key("n")
    assert (shown["frame"], shown["faces"]) == ("00003.png", [])
    walk.page.keyboard.press("b")
    shown = walk.after(lambda: walk.drag((50, 60), (180, 220)))
    assert [face["name"] for face in shown["faces"]] == ["00003_0.jpg"]
    walk.page.keyboard.press("Escape")
    walk.page.keyboard.press("e")
    clicks = [(80.0, 110.0), (150.0, 110.0), (115.0, 180.0)]
    for place in clicks[:2]:
        walk.click(place)
    shown = walk.after(lambda: walk.click(clicks[2]))
    five = five_points(walk.points("00003_1.jpg"))
    assert np.allclose([five[0], five[1], five[3:].mean(0)], clicks, atol=0.6)
    assert walk.key("Delete")["faces"][0]["name"] == "00003_0.jpg"
    assert walk.key(",")["frame"] == "00002.png"
    walk.page.keyboard.press("f")
    walk.key("v")  # the selected face becomes that of the next frame
    assert np.allclose(walk.points("00002_0.jpg"), walk.points("00003_0.jpg"), atol=0.01)
    while walk.data()["undo"]:
        walk.key("z")
    assert walk.files() == start


def test_what_was_done_survives_a_reload_and_keys_stay_in_the_viewer(walk) -> None:
    walk.load(walk.page.url)
    assert walk.data()["redo"]
    start = walk.files()
    walk.page.evaluate("document.activeElement?.blur()")
    walk.page.keyboard.press("y")
    walk.page.wait_for_timeout(300)
    assert walk.files() == start
    walk.page.locator("[data-fix]").focus()
    walk.key("y")
    assert walk.files() != start
    walk.key("z")
    assert walk.files() == start
    assert walk.errors == []
