"""A new user walks from two clips to an exported film in a real Chromium, with a tiny network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from backend.storage.atomic import read_json
from backend.storage.workspace import Workspace
from tests.browser.page_driver import ROOT, Server, Visitor, browser, served

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with data_src.mp4 and data_dst.mp4, two seconds each."""
    workspace = tmp_path_factory.mktemp("clips")
    words = ["sample", "--project", "sample", "--workspace", str(workspace), "--seconds", "2"]
    subprocess.run([sys.executable, "-m", "backend", *words], cwd=ROOT, check=True, env=dict(os.environ), timeout=120)
    return workspace / "sample"


def test_from_upload_to_a_played_result(clips: Path, tmp_path: Path) -> None:
    """Every tab does its part; training outlives a reload, a closed tab and a killed server."""
    _walk(clips, tmp_path)


@pytest.mark.slow
def test_the_same_on_real_clips(assets: Path, tmp_path: Path) -> None:
    """The path with painting as source and address as destination."""
    clips = tmp_path / "clips"
    clips.mkdir()
    for name, side in (("painting", "src"), ("address", "dst")):
        shutil.copy(assets / "data" / f"{name}.mp4", clips / f"data_{side}.mp4")
    _walk(clips, tmp_path)


def _walk(clips: Path, folder: Path) -> None:
    workspace, shots = folder / "workspace", folder / "shots"
    shots.mkdir()
    with served(workspace) as server, browser() as opened:
        visitor = Visitor(opened, server.url)
        _begin(visitor, clips, shots)
        _extract(visitor, shots)
        _sort(visitor, shots, Workspace(workspace))
        visitor = _train(visitor, shots, server)
        _merge(visitor, shots)
        _export(visitor, shots)
        visitor.tab("queue")
        visitor.page.wait_for_function("document.querySelectorAll('#tab-queue .lk-chip.lk-done').length >= 7")
        visitor.shot(shots, "queue")
        assert visitor.errors == []
    results = Workspace(workspace).open("film").results_dir
    assert [path.name for path in results.glob("*.mp4")] == ["result.mp4"]


def _begin(visitor: Visitor, clips: Path, shots: Path) -> None:
    page = visitor.page
    page.fill("#project-name textarea, #project-name input", "film")
    page.fill("#project-new-consent textarea", "Both people agreed in writing.")
    visitor.press("project-create")
    for side in ("src", "dst"):
        visitor.unfold(f"#project-{side}-bring", "Bring in a clip")
        page.set_input_files(f"#project-{side}-upload input[type=file]", str(clips / f"data_{side}.mp4"))
        page.wait_for_selector(f"#project-{side}-card img")
    visitor.shot(shots, "project")


def _extract(visitor: Visitor, shots: Path) -> None:
    page = visitor.page
    visitor.tab("extract")
    for side, word in (("src", "Source"), ("dst", "Destination")):
        page.locator("#extract-side label", has_text=word).click()
        page.wait_for_timeout(1000)
        visitor.press("extract-frames-start")
        visitor.wait_job("extract-frames")
        visitor.press("extract-faces-start")
        visitor.wait_job("extract-faces")
        page.wait_for_selector("#tab-extract .lk-tile img")
        visitor.shot(shots, f"extract_{side}")


def _sort(visitor: Visitor, shots: Path, workspace: Workspace) -> None:
    page = visitor.page
    side = workspace.open("film").side("src")
    visitor.tab("sort")
    page.wait_for_selector("#tab-sort .lk-tile[data-name]")
    before = len(side.faceset().records())
    for at in (0, 1):
        page.locator("#tab-sort .lk-tile[data-name]").nth(at).click()
    page.wait_for_function("document.querySelector('#sort-picked').innerText.includes('2')")
    visitor.press("sort-remove")
    page.wait_for_function(f"document.querySelectorAll('#tab-sort .lk-tile[data-name]').length === {before - 2}")
    assert len(side.faceset().records()) == before - 2
    visitor.unfold("#sort-trash-fold", "rash")
    visitor.press("sort-undo")
    page.wait_for_function(f"document.querySelectorAll('#tab-sort .lk-tile[data-name]').length >= {before}")
    visitor.press("sort-start")
    visitor.wait_job("sort")
    visitor.shot(shots, "sort")


def _train(visitor: Visitor, shots: Path, server: Server) -> Visitor:
    opened = visitor.page.context.browser
    page = visitor.page
    visitor.tab("train")
    visitor.choose("train-preset", "First look")
    for title in ("Network", "Saving, backups and previews"):
        visitor.unfold("#tab-train", title)
    page.wait_for_function("document.querySelector('#train-resolution input[type=number]')?.value === '96'")
    sizes = {"resolution": 64, "ae_dims": 32, "e_dims": 16, "d_dims": 16, "d_mask_dims": 8}
    for name, value in {**sizes, "batch_size": 4, "preview_interval": 20, "time_limit_min": 4}.items():
        visitor.type_number(f"train-{name}", value)
    visitor.press("train-start")
    page.wait_for_selector("#train-curve polyline.src", timeout=90_000)
    page.wait_for_selector("#train-preview img")
    visitor.reload()
    visitor.tab("train")
    page.wait_for_selector("#train-curve polyline.src")
    page.wait_for_selector("#train-preview img")
    page.wait_for_function("document.querySelector('#train-numbers').innerText.includes('iteration')")
    second = Visitor(opened, visitor.url)
    second.tab("train")
    second.page.wait_for_selector("#train-curve polyline.src")
    second.page.close()
    visitor.shot(shots, "train")
    assert visitor.errors == []
    visitor.page.close()
    before = _iterations(server)
    server.kill()
    server.start()
    visitor = Visitor(opened, server.url)
    visitor.tab("train")
    visitor.page.wait_for_selector("#train-job .lk-job[data-state=running]")
    assert _iterations(server) > before
    visitor.press("train-stop")
    visitor.wait_job("train", "stopped")
    return visitor


def _iterations(server: Server) -> int:
    """Iterations of the running training, as its state file has them."""
    states = [read_json(path) for path in (server.workspace / "film" / "jobs").glob("*-train-*/state.json")]
    return max(int(state["done"]) for state in states)


def _merge(visitor: Visitor, shots: Path) -> None:
    page = visitor.page
    visitor.tab("merge")
    script = """old => { const text = document.querySelector('#merge-shot div[hidden]')?.textContent;
                        const shot = text && JSON.parse(text);
                        return shot?.after && shot.want !== old && shot.want; }"""
    first = page.wait_for_function(script, arg="", timeout=90_000).json_value()
    visitor.unfold("#tab-merge", "Mask")
    visitor.type_number("merge-blur_mask", 120)
    page.wait_for_function(script, arg=first)
    visitor.press("merge-start")
    visitor.wait_job("merge")
    visitor.shot(shots, "merge")


def _export(visitor: Visitor, shots: Path) -> None:
    page = visitor.page
    visitor.tab("export")
    visitor.press("export-start")
    visitor.wait_job("export")
    page.wait_for_selector("#export-results video")
    page.evaluate("document.querySelector('#export-results video').play()")
    page.wait_for_function("document.querySelector('#export-results video').currentTime > 0.2")
    visitor.shot(shots, "export")
