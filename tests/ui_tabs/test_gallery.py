"""Thumbnails, the pager, and the scripts that belong to them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.storage.faces import picture
from ui_tabs.gallery import AT_SCRIPT, PICK_SCRIPT, Picture, at_html, landmark_path, landmark_svg, thumbnail

UI = Path(__file__).resolve().parents[2] / "ui_tabs"


def test_a_thumbnail_is_made_once_per_version_and_size(tmp_path):
    image = tmp_path / "a.jpg"
    cv2.imwrite(str(image), picture(512))
    small, large = thumbnail(tmp_path, image), thumbnail(tmp_path, image, 240)
    assert small is not None
    assert large is not None
    made = small.stat().st_mtime_ns
    with Image.open(small) as opened, Image.open(large) as other:
        assert opened.size == (144, 144)
        assert other.size == (240, 240)
    assert thumbnail(tmp_path, image) == small
    assert small.stat().st_mtime_ns == made
    cv2.imwrite(str(image), picture(512, seed=1))
    assert thumbnail(tmp_path, image) != small


def test_what_is_no_picture_has_no_thumbnail(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    assert thumbnail(tmp_path, tmp_path / "a.jpg") is None
    assert thumbnail(tmp_path, tmp_path / "gone.jpg") is None
    assert landmark_svg(Picture("a.jpg", tmp_path / "a.jpg", "a", np.zeros((68, 2)))) == ""


def test_landmarks_are_nine_lines_of_which_four_are_closed():
    path = landmark_path(np.arange(136).reshape(68, 2))
    assert path.count("M") == 9
    assert path.count("Z") == 4
    assert path.startswith("M0 1L2 3")
    assert path.endswith("L134 135Z")


def test_the_page_number_can_be_typed_where_there_are_several_pages():
    assert at_html(0, 1) == ""
    text = at_html(2, 1500)
    assert 'max="1500" value="3"' in text
    assert "of 1,500" in text


@pytest.mark.parametrize("name", ["gallery.js", "sort.js"])
def test_the_scripts_are_sound(name):
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node is installed to check the script")
    subprocess.run([node, "--check", str(UI / name)], check=True, timeout=30)


def test_the_scripts_offer_what_the_components_call():
    gallery, sort = ((UI / name).read_text(encoding="utf-8") for name in ("gallery.js", "sort.js"))
    assert "lookalike.gallery = (element, trigger, key, keyboard)" in gallery
    assert "lookalike.gallery(element, trigger, 'sort', true)" in PICK_SCRIPT.format(key="sort", keyboard="true")
    assert "trigger('submit'" in AT_SCRIPT
    for name in ("poseMap", "layers", "openFrame"):
        assert f"lookalike.{name} = " in sort
