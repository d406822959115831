"""Starts the page on a free port and drives it in a real Chromium."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_MS = 60_000


def chromium() -> str:
    """Path of an installed Chromium; skips when there is none."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no Chromium is installed")
    return found


class Server:
    """webui.py as a user starts it."""

    def __init__(self, workspace: Path, *flags: str) -> None:
        self.workspace = workspace
        self.flags = flags
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> float:
        """Start it and wait for the first page; the seconds that took."""
        began = time.monotonic()
        command = [sys.executable, "webui.py", "--no-browser", "--port", str(self.port)]
        command += ["--workspace", str(self.workspace), *self.flags]
        with (self.workspace.parent / "server.log").open("a") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, text=True, env=dict(os.environ))
        while time.monotonic() - began < 60:
            with contextlib.suppress(OSError), urllib.request.urlopen(self.url, timeout=5) as page:
                page.read()
                return time.monotonic() - began
            assert self.process.poll() is None, "the page ended at its start"
            time.sleep(0.1)
        raise AssertionError("the page did not answer within a minute")

    def kill(self) -> None:
        """End it without any warning."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@contextlib.contextmanager
def served(workspace: Path, *flags: str) -> Iterator[Server]:
    """A running page of a workspace."""
    workspace.mkdir(parents=True, exist_ok=True)
    server = Server(workspace, *flags)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@contextlib.contextmanager
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    from playwright.sync_api import sync_playwright

    path = chromium()
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield opened
        finally:
            opened.close()


class Visitor:
    """One browser tab on the page.

    Attributes:
        errors: messages of the console and uncaught exceptions.
    """

    def __init__(self, opened: Any, url: str, width: int = 1280, height: int = 720) -> None:
        self.page = opened.new_page(viewport={"width": width, "height": height})
        self.page.set_default_timeout(PATIENCE_MS)
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.url = url
        self.reload()

    def reload(self) -> None:
        """Load the page anew."""
        self.page.goto(self.url)
        self.page.wait_for_selector("#tab-project-button")
        self.page.wait_for_function("document.querySelector('#header-facts')?.innerText.includes('free')")

    def tab(self, name: str) -> None:
        """Open a tab."""
        self.page.click(f"#tab-{name}-button")
        self.page.wait_for_selector(f"#tab-{name}:visible")

    def unfold(self, scope: str, title: str) -> None:
        """Open an accordion by its title; what is inside a closed one is not on the page yet."""
        label = self.page.locator(f"{scope} .label-wrap", has_text=title).first
        label.wait_for()
        if "open" not in (label.get_attribute("class") or "").split():
            label.click()

    def type_number(self, elem_id: str, value: float) -> None:
        """Type into a number field or the number of a slider."""
        field = self.page.locator(f"#{elem_id} input[type=number]").first
        field.fill(str(value))
        field.press("Tab")

    def choose(self, elem_id: str, words: str) -> None:
        """Choose an entry of a dropdown."""
        self.page.click(f"#{elem_id} input")
        self.page.locator("ul[role=listbox] li", has_text=words).first.click()

    def press(self, elem_id: str) -> None:
        """Press a button as soon as it is enabled."""
        self.page.locator(f"button#{elem_id}:not([disabled])").click()

    def wait_job(self, key: str, state: str = "done", timeout_s: float = 120) -> None:
        """Wait until the job of a panel stands as wanted; a failed one is shown at once."""
        self.page.wait_for_function(
            """([id, wanted]) => { const job = document.querySelector(`#${id}-job .lk-job`);
                                   return job && (job.dataset.state === wanted || job.dataset.state === 'failed'); }""",
            arg=[key, state],
            timeout=timeout_s * 1000,
        )
        job = self.page.locator(f"#{key}-job .lk-job")
        assert job.get_attribute("data-state") == state, job.inner_text()

    def shot(self, folder: Path, name: str) -> Path:
        """A picture of the whole page."""
        path = folder / f"{name}.png"
        self.page.screenshot(path=str(path), full_page=True)
        assert path.stat().st_size > 10_000
        return path
