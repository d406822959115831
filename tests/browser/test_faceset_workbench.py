"""The faceset workbench in a real Chromium, on drawn people: find, fix by hand, sort, filter, look closer, clean up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.core.faces import MANUAL
from backend.storage.face_file import read_face
from backend.storage.workspace import SideFiles, Workspace
from tests.browser.page_driver import ROOT, Visitor, browser, served

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

ON_SCREEN = """([x, y]) => { const stage = document.querySelector('[data-stage]');
    const p = new DOMPoint(x, y).matrixTransform(stage.getScreenCTM()); return [p.x, p.y]; }"""
NOSE, MOVED_PX = 30, (10.0, -6.0)


@dataclass
class Bench:
    """A visitor, the source files it works on, and how many faces were found."""

    visitor: Visitor
    side: SideFiles
    faces: int = 0

    @property
    def page(self) -> Any:
        return self.visitor.page

    def tiles(self, number: int) -> None:
        """Wait until so many faces are shown."""
        script = "n => document.querySelectorAll('#sort-grid .lk-tile[data-name]').length === n"
        self.page.wait_for_function(script, arg=number)

    def shown(self) -> dict[str, Any]:
        """What the viewer for fixing by hand shows."""
        return json.loads(self.page.evaluate("document.querySelector('#fix-data div[hidden]')?.textContent || '{}'"))

    def at_frame(self, name: str) -> None:
        """Wait until the viewer for fixing by hand shows a frame."""
        script = 'n => document.querySelector(\'#fix-data\')?.textContent.includes(`"frame": "${n}"`)'
        self.page.wait_for_function(script, arg=name)

    def answered(self, before: int) -> dict[str, Any]:
        """What it shows once it has answered again."""
        script = "n => JSON.parse(document.querySelector('#fix-data div[hidden]').textContent).answered !== n"
        self.page.wait_for_function(script, arg=before)
        self.page.wait_for_function("!document.querySelector('[data-fix]').hasAttribute('data-sent')")
        shown = self.shown()
        assert not shown["failed"], shown["said"]
        return shown

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.side.aligned_dir.glob("*.jpg")}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """The page of a project with two drawn clips of two seconds."""
    root = tmp_path_factory.mktemp("bench") / "workspace"
    words = ["sample", "--project", "film", "--workspace", str(root), "--seconds", "2"]
    subprocess.run([sys.executable, "-m", "backend", *words], cwd=ROOT, check=True, env=dict(os.environ), timeout=120)
    with served(root) as server, browser() as opened:
        yield Bench(Visitor(opened, server.url, height=1000), Workspace(root).open("film").side("src"))


def test_faces_are_found_fixed_sorted_filtered_and_thrown_away(bench: Bench, tmp_path: Path) -> None:
    """One user, one sitting; every step is checked on the disk."""
    _find(bench)
    _fix(bench)
    _sort(bench)
    _filter(bench)
    _inspect(bench)
    _throw_away(bench)
    bench.visitor.shot(tmp_path, "workbench")
    assert bench.visitor.errors == []


def _find(bench: Bench) -> None:
    visitor, page = bench.visitor, bench.page
    visitor.tab("extract")
    visitor.type_number("extract-frames-fps", 12)
    visitor.press("extract-frames-start")
    visitor.wait_job("extract-frames")
    visitor.press("extract-faces-start")
    visitor.wait_job("extract-faces")
    bench.faces = len(bench.side.faceset().records())
    assert bench.faces > 20  # two seconds of one person
    page.wait_for_function(
        "n => document.querySelector('#extract-counters .lk-figure:nth-child(2) b')?.innerText === n",
        arg=f"{bench.faces:,}",
    )


def _fix(bench: Bench) -> None:
    page, name = bench.page, "00003_0.jpg"
    page.locator("#extract-part label", has_text="Fix by hand").click()
    page.locator("[data-stage] .lk-fix-face").first.wait_for()
    page.fill("[data-number]", "3")
    page.press("[data-number]", "Enter")
    bench.at_frame("00003.png")
    files, before = bench.files(), read_face(bench.side.aligned_dir / name).source_landmarks
    start = before[NOSE]
    places = [page.evaluate(ON_SCREEN, [float(v) for v in start + share * np.array(MOVED_PX)]) for share in (0, 0.5, 1)]
    page.mouse.click(*places[0])
    page.locator(".lk-fix-chosen").wait_for()
    answered = bench.shown()["answered"]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place)
    page.mouse.up()
    answered = bench.answered(answered)["answered"]
    made = read_face(bench.side.aligned_dir / name)
    np.testing.assert_allclose(made.source_landmarks[NOSE] - start, MOVED_PX, atol=0.6)
    assert made.origin == MANUAL
    page.keyboard.press("z")
    bench.answered(answered)
    assert bench.files() == files


def _sort(bench: Bench) -> None:
    visitor, page = bench.visitor, bench.page
    visitor.tab("sort")
    bench.tiles(bench.faces)
    visitor.choose("sort-by", "best faces, by size")
    page.locator("#sort-target input").wait_for()
    visitor.type_number("sort-target", 5)
    visitor.press("sort-start")
    visitor.wait_job("sort")
    page.wait_for_selector("#sort-said-undo:visible")
    kept = len(bench.side.faceset().records())
    assert 1 <= kept < bench.faces
    bench.tiles(kept)
    visitor.press("sort-said-undo")
    bench.tiles(bench.faces)
    assert len(bench.side.faceset().records()) == bench.faces


def _filter(bench: Bench) -> None:
    visitor, page = bench.visitor, bench.page
    visitor.unfold("#tab-sort", "Poses and filters")
    cell = page.locator("#sort-poses [data-side=src] [data-cell][style]").first
    words = str(cell.get_attribute("title"))
    inside = int(words.rpartition(": ")[2].split()[0])
    cell.click()
    page.locator("#sort-shown b").wait_for()
    assert page.locator("#sort-shown").inner_text() == f"{inside:,} of {bench.faces:,} shown"
    bench.tiles(inside)
    visitor.press("sort-filter-clear")
    bench.tiles(bench.faces)


def _inspect(bench: Bench) -> None:
    visitor, page = bench.visitor, bench.page
    tile = page.locator("#sort-grid .lk-tile[data-name]").nth(2)
    name = str(tile.get_attribute("data-name"))
    tile.dblclick()
    page.wait_for_function("n => document.querySelector('#sort-inspect-face b')?.innerText === n", arg=name)
    frame = read_face(bench.side.aligned_dir / name).source_filename
    assert frame in page.locator("#sort-inspect-facts").inner_text()
    visitor.press("sort-inspect-frame")
    page.wait_for_selector("#tab-extract-button[aria-selected=true]")
    page.wait_for_function(
        "n => document.querySelector('#fix-data').textContent.includes(n)", arg=f'"frame": "{frame}"'
    )
    assert page.locator("#extract-part input:checked").get_attribute("value") == "fix"
    visitor.tab("sort")
    visitor.press("sort-inspect-close")
    page.wait_for_selector("#sort-inspect", state="hidden")


def _throw_away(bench: Bench) -> None:
    visitor, page = bench.visitor, bench.page
    page.keyboard.press("Escape")
    page.locator("#sort-grid .lk-tile[data-name]").first.click()
    page.wait_for_function("document.querySelector('#sort-picked').innerText.startsWith('1 ')")
    visitor.press("sort-remove")
    bench.tiles(bench.faces - 1)
    visitor.unfold("#sort-trash-fold", "Trash")
    visitor.unfold("#sort-trash-fold", "Empty the trash")
    page.fill("#sort-empty-word input, #sort-empty-word textarea", "film")
    visitor.press("sort-empty")
    page.wait_for_function("!document.querySelector('#sort-trash-head').innerText.trim()")
    assert bench.side.faceset().trashed() == []
    assert len(bench.side.faceset().records()) == bench.faces - 1
