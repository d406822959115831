"""The merged frame in a real Chromium: keys, mouse and form change the plan on the disk, and the picture follows."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from tests.browser.page_driver import Visitor, browser
from tests.ui_tabs.merge_page import Bench, Child

pytestmark = [pytest.mark.browser, pytest.mark.timeout(200)]

BLUE, RED, GREEN = (0, 0, 254), (254, 0, 0), (0, 128, 0)
READY = """() => { const told = (id) => document.querySelector(`#${id} div[hidden]`)?.textContent || "{}";
    const want = JSON.parse(told("merge-data")).want;
    const due = want !== JSON.parse(told("merge-shot")).want;
    return want && !due && !document.querySelector("[data-merge]").hasAttribute("data-due"); }"""
PIXEL = """([x, y]) => { const canvas = document.querySelector("[data-stage]");
    const [px, py] = [Math.floor(x * canvas.width), Math.floor(y * canvas.height)];
    return [...canvas.getContext("2d").getImageData(px, py, 1, 1).data].slice(0, 3); }"""


class Painter(Child):
    """Paints the frame blue before and red after merging; green when it is seamless."""

    def render(self, project: Any, settings: Any, frame_index: int) -> Any:
        made = super().render(project, settings, frame_index)
        folder = project.jobs_dir / ".warm"
        folder.mkdir(parents=True, exist_ok=True)
        after = "green" if settings.look_at(frame_index + 1).mode == "seamless" else "red"
        paths = {}
        for name, colour in {"before": "blue", "after": after, "mask": "white", "alpha": "gray"}.items():
            paths[name] = folder / f"{name}-{len(self.asked)}.png"
            Image.new("RGB", (64, 48), colour).save(paths[name])
        return type(made)(**paths, faces=made.faces, seconds=0.01)


class Walk:
    """A visitor of the Merge tab."""

    def __init__(self, visitor: Visitor, bench: Bench) -> None:
        self.visitor, self.page, self.bench = visitor, visitor.page, bench
        self.plan_file = bench.manager.workspace.open("film").path / "merge_plan.json"

    def ready(self) -> dict[str, Any]:
        """Where it stands, once the wanted picture is there."""
        self.page.wait_for_function(READY)
        return json.loads(self.page.evaluate("document.querySelector('#merge-data div[hidden]').textContent"))

    def press(self, *keys: str) -> dict[str, Any]:
        for key in keys:
            self.page.keyboard.press(key)
        return self.ready()

    def plan(self) -> dict[str, Any]:
        return json.loads(self.plan_file.read_text())

    def shows(self, x: float, colour: tuple[int, int, int]) -> None:
        """Wait until the frame has a colour at a share of its width."""
        script = f"([at, wanted]) => ({PIXEL})(at).every((v, i) => Math.abs(v - wanted[i]) < 8)"
        self.page.wait_for_function(script, arg=[[x, 0.5], list(colour)])

    def drag(self, start: float, end: float) -> None:
        box = self.page.locator("[data-stage]").bounding_box()
        self.page.mouse.move(box["x"] + start * box["width"], box["y"] + box["height"] / 2)
        self.page.mouse.down()
        self.page.mouse.move(box["x"] + end * box["width"], box["y"] + box["height"] / 2, steps=3)
        self.page.mouse.up()


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    """The page of one drawn clip, with a painter in place of the warm child."""
    from ui_tabs.theme import launch_looks

    root = tmp_path_factory.mktemp("merge")
    with pytest.MonkeyPatch.context() as patch, browser() as opened:
        bench = Bench(root, patch)
        bench.child = bench.tab.viewer.warm = Painter(root)  # type: ignore[assignment]
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        bench.demo.launch(
            server_port=port, allowed_paths=[str(root)], quiet=True, prevent_thread_lock=True, **launch_looks()
        )
        try:
            yield Walk(Visitor(opened, f"http://127.0.0.1:{port}/"), bench)
        finally:
            bench.demo.close()


def test_a_user_tunes_looks_with_keys_mouse_and_form(walk: Walk) -> None:
    """One sitting; every step is checked on the disk or in the pixels."""
    walk.visitor.tab("merge")
    assert walk.ready()["frame"] == 1
    walk.shows(0.4, BLUE)
    walk.shows(0.6, RED)
    _looks(walk)
    _compare_and_zoom(walk)
    _form(walk)
    _refusal(walk)
    walk.visitor.reload()
    walk.visitor.tab("merge")
    walk.page.wait_for_function("document.querySelector('[data-number]').value === '3'")
    assert walk.ready()["look"] == "Look of frames 3 to 5"
    assert walk.visitor.errors == []


def _looks(walk: Walk) -> None:
    assert walk.press("Period", "Period")["frame"] == 3
    assert walk.press("b")["look"] == "Look of frames 3 to 5"
    walk.press("3")
    walk.shows(0.6, GREEN)
    walk.press("Shift+W", "w", "w")
    (key,) = walk.plan()["keys"]
    assert (key["frame"], key["look"]["mode"], key["look"]["erode_mask"]) == (3, "seamless", 7)
    assert walk.press("BracketLeft")["frame"] == 1
    walk.shows(0.6, RED)
    walk.page.wait_for_function("document.querySelector('#merge-mode input').value === 'overlay'")
    assert walk.press("BracketRight")["frame"] == 3
    walk.page.wait_for_function("document.querySelector('#merge-mode input').value === 'seamless'")


def _compare_and_zoom(walk: Walk) -> None:
    walk.drag(0.5, 0.42)
    walk.shows(0.46, GREEN)
    walk.press("v")
    walk.shows(0.5, (128, 128, 128))
    walk.press("v", "0")
    assert walk.page.inner_text("[data-zoom]") == "100 %"
    walk.press("e")
    assert walk.page.inner_text("[data-zoom]") == "100 %"
    walk.press("9")
    assert walk.page.inner_text("[data-zoom]") == "fit"
    walk.page.keyboard.press("F1")
    assert walk.page.is_visible("[data-help]")
    walk.page.keyboard.press("w")  # the keys rest while they are explained
    walk.page.keyboard.press("Escape")
    walk.page.focus("[data-number]")
    walk.page.keyboard.press("w")
    walk.page.locator("[data-merge]").focus()
    assert walk.plan()["keys"][0]["look"]["erode_mask"] == 7


def _form(walk: Walk) -> None:
    walk.visitor.unfold("#tab-merge", "Mask")
    walk.page.wait_for_function("document.querySelector('#merge-blur_mask input[type=number]')?.value === '41'")
    walk.page.wait_for_function(READY)
    walk.page.wait_for_timeout(1000)  # the fields are filled once more after the last step of a key
    walk.visitor.type_number("merge-blur_mask", 120)
    walk.page.wait_for_function(READY)
    for _ in range(100):
        if walk.plan()["keys"][0]["look"]["blur_mask"] == 120:
            break
        walk.page.wait_for_timeout(100)
    assert (walk.plan()["blur_mask"], walk.plan()["keys"][0]["look"]["blur_mask"]) == (40, 120)


def _refusal(walk: Walk) -> None:
    walk.page.locator("[data-merge]").focus()
    walk.bench.child.refuses = "The preview process ended."
    walk.page.keyboard.press("e")
    walk.page.wait_for_selector("[data-problem]:visible")
    assert "The preview process ended." in walk.page.inner_text("[data-problem]")
    walk.shows(0.46, GREEN)  # the picture before stays
    walk.bench.child.refuses = ""
    walk.page.click("[data-problem] button")
    walk.page.wait_for_selector("[data-problem]", state="hidden")
