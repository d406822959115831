"""Smoke: the page opens offline, every tab shows and fits a phone, a project can be made."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser.page_driver import Visitor, browser, served
from ui_tabs.steps import TITLES

pytestmark = [pytest.mark.browser, pytest.mark.timeout(400)]

PHONE = {"width": 400, "height": 800}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """(server, browser) for the tests of this file."""
    with served(tmp_path_factory.mktemp("site") / "workspace") as server, browser() as opened:
        yield server, opened


@pytest.fixture
def visitor(site):
    server, opened = site
    made = Visitor(opened, server.url)
    yield made
    made.page.close()


def test_an_empty_page_says_where_to_begin(visitor):
    visitor.tab("train")
    visitor.page.click("#train-notice [data-goto=project]")
    visitor.page.wait_for_selector("#tab-project-button[aria-selected=true]")


def test_every_tab_opens_offline_and_without_errors(visitor, tmp_path):
    foreign: list[str] = []
    own = (visitor.url, "data:", "blob:")
    visitor.page.on("request", lambda request: None if request.url.startswith(own) else foreign.append(request.url))
    visitor.reload()
    for name in TITLES:
        visitor.tab(name)
        visitor.page.wait_for_timeout(300)
        visitor.shot(Path(tmp_path), name)
    assert visitor.errors == []
    assert foreign == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_tab_fits_a_phone(visitor, scheme):
    visitor.page.emulate_media(color_scheme=scheme)
    visitor.page.set_viewport_size(PHONE)
    for name in TITLES:
        visitor.tab(name)
        visitor.page.wait_for_timeout(200)
        width = visitor.page.evaluate("document.documentElement.scrollWidth")
        assert width <= PHONE["width"], f"{name} is {width} px wide"


def test_a_project_needs_a_consent_statement_and_survives_a_reload(visitor):
    page = visitor.page
    page.fill("#project-name input, #project-name textarea", "my film")
    visitor.press("project-create")
    page.wait_for_selector("text=The consent statement is empty")
    page.fill("#project-new-consent textarea", "Ann agreed in writing.")
    visitor.press("project-create")
    for _ in range(2):
        page.wait_for_function("document.querySelector('#header-project input')?.value === 'my film'")
        page.wait_for_function("document.querySelector('#project-consent textarea')?.value.startsWith('Ann')")
        visitor.reload()


def test_the_sample_project_is_made(visitor):
    visitor.press("project-sample")
    visitor.wait_job("project", timeout_s=240)
    for side in ("src", "dst"):
        visitor.page.wait_for_selector(f"#project-{side}-card .lk-clip img")
    assert visitor.errors == []


def test_a_reload_comes_back_to_the_same_tab_and_project(visitor):
    visitor.press("project-sample")
    visitor.page.wait_for_function("location.search.includes('project=sample')")
    visitor.tab("sort")
    visitor.page.reload()
    visitor.page.wait_for_selector("#tab-sort-button[aria-selected=true]")
    assert visitor.page.input_value("#header-project input") == "sample"
