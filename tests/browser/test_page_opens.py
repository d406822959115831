"""Smoke: the page opens, every tab shows, a project can be made, nothing foreign is asked for."""

from __future__ import annotations

import pytest

from tests.browser.conftest import PHONE
from ui_tabs.steps import TITLES

pytestmark = pytest.mark.browser


def test_every_tab_opens_without_errors(tab, tmp_path):
    for name in TITLES:
        tab.go(name)
        tab.page.wait_for_timeout(300)
        tab.page.screenshot(path=tmp_path / f"{name}.png", full_page=True)
    assert tab.errors == []
    assert tab.foreign == []


def test_an_empty_page_says_where_to_begin(tab):
    tab.go("train")
    tab.page.click("#train-notice [data-goto=project]")
    tab.page.wait_for_selector("#tab-project-button[aria-selected=true]")


def test_a_project_needs_a_consent_statement(tab):
    tab.page.fill("#project-name input, #project-name textarea", "my film")
    tab.page.click("#project-create")
    tab.page.wait_for_selector("text=The consent statement is empty")
    tab.page.fill("#project-new-consent textarea", "Ann agreed in writing.")
    tab.page.click("#project-create")
    tab.page.wait_for_selector("#project-steps >> text=consent statement", timeout=15_000)
    assert tab.page.input_value("#header-project input") == "my film"
    tab.page.reload()
    tab.page.wait_for_selector("#project-steps >> text=consent statement", timeout=30_000)
    assert tab.page.input_value("#header-project input") == "my film"
    assert tab.page.input_value("#project-consent textarea") == "Ann agreed in writing."


def test_the_sample_project_is_made(tab):
    tab.page.click("#project-sample")
    tab.page.wait_for_selector("#project-job .lk-job", timeout=30_000)
    assert tab.wait_for_job("project", 240) == "done", tab.page.inner_text("#project-job")
    tab.page.wait_for_selector("#project-src-card .lk-clip img", timeout=30_000)
    tab.page.wait_for_selector("#project-dst-card .lk-clip img", timeout=30_000)
    assert tab.errors == []


def test_the_page_fits_a_phone(tab):
    tab.page.set_viewport_size(PHONE)
    for name in TITLES:
        tab.go(name)
        tab.page.wait_for_timeout(200)
        width = tab.page.evaluate("document.documentElement.scrollWidth")
        assert width <= PHONE["width"], f"{name} is {width} px wide"
