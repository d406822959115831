"""The real page in a real Chromium: a server on a free port with a workspace of its own."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
START_S = 60
WIDE = {"width": 1280, "height": 720}
PHONE = {"width": 400, "height": 800}


@dataclass
class Server:
    """A running ``webui.py``; ``stop`` and ``start`` bring it back on the same port and workspace."""

    workspace: Path
    port: int
    log: Path
    process: subprocess.Popen | None = field(default=None)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> Server:
        command = [
            sys.executable,
            "webui.py",
            "--no-browser",
            "--port",
            str(self.port),
            "--workspace",
            str(self.workspace),
        ]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            assert self.process.poll() is None, self.log.read_text(encoding="utf-8")
            with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
                urllib.request.urlopen(self.url, timeout=2).close()
                return self
            time.sleep(0.2)
        raise AssertionError(f"the page did not come up within {START_S} s: {self.log.read_text(encoding='utf-8')}")

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def server(tmp_path):
    made = Server(tmp_path / "workspace", free_port(), tmp_path / "server.log").start()
    yield made
    made.stop()


@pytest.fixture(scope="session")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no Chromium is installed")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


class Watched:
    """A browser tab that remembers errors of the console and requests to other computers."""

    def __init__(self, page, url: str) -> None:
        self.page = page
        self.errors: list[str] = []
        self.foreign: list[str] = []
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self._asked(request.url, url))

    def _said(self, message) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def _asked(self, wanted: str, url: str) -> None:
        if not wanted.startswith((url, "data:", "blob:")):
            self.foreign.append(wanted)

    def go(self, name: str) -> None:
        """Open a tab of the page and wait until it shows."""
        self.page.click(f"#tab-{name}-button")
        self.page.wait_for_selector(f"#tab-{name}-button[aria-selected=true]")

    def wait_for_job(self, key: str, timeout_s: float = 120) -> str:
        """Wait until the newest job of a panel has ended and return its state."""
        ended = ", ".join(f"#{key}-job [data-state={state}]" for state in ("done", "failed", "stopped", "interrupted"))
        self.page.wait_for_selector(ended, timeout=timeout_s * 1000)
        return str(self.page.get_attribute(f"#{key}-job .lk-job", "data-state"))


@pytest.fixture
def tab(browser, server):
    page = browser.new_page(viewport=WIDE)
    watched = Watched(page, server.url)
    page.goto(server.url)
    page.wait_for_selector("#header-facts .lk-head-fact", timeout=30_000)
    yield watched
    page.close()
