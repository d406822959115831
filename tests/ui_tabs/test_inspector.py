"""What the inspector lays over a face and says of it."""

from __future__ import annotations

import base64
import dataclasses
import io

import cv2
import numpy as np
import pytest
from PIL import Image

from backend.ops.mask import hull_mask
from tests.drawn_faces import draw_face
from tests.storage.faces import make_face
from tests.ui_tabs.shelves import record, shelf_of
from ui_tabs.face_layers import convex_hull, hull_parts, layers_html, layers_of, xseg_html
from ui_tabs.inspector import face_html, facts_html, pose_words, sharpness_words


def encoded(mask):
    """A mask as faces store it."""
    written = io.BytesIO()
    Image.fromarray(mask).save(written, "PNG")
    return np.frombuffer(written.getvalue(), np.uint8)


@pytest.mark.parametrize("brows", [0.5, 1.0, 3.0])
def test_the_hull_is_that_of_the_masks(rng, brows):
    _, landmarks = draw_face(256, rng)
    face = dataclasses.replace(make_face("a.png"), landmarks=landmarks, eyebrows_expand_mod=brows)
    drawn = np.zeros((256, 256), np.uint8)
    for part in hull_parts(face):
        cv2.fillConvexPoly(drawn, part.round().astype(np.int32), 1)
    wanted = hull_mask((256, 256), landmarks, brows)
    assert np.minimum(drawn, wanted).sum() / np.maximum(drawn, wanted).sum() > 0.97


def test_a_convex_hull_leaves_out_what_lies_inside():
    points = np.array([[0, 0], [4, 0], [4, 4], [0, 4], [2, 2], [2, 0]], float)
    assert sorted(map(tuple, convex_hull(points).tolist())) == [(0, 0), (0, 4), (4, 0), (4, 4)]


def test_the_xseg_mask_darkens_what_it_leaves_out():
    mask = np.zeros((8, 8), np.uint8)
    mask[:4] = 255
    face = dataclasses.replace(make_face("a.png"), xseg_mask=encoded(mask))
    text = xseg_html(face).split("base64,")[1].rstrip('">')
    with Image.open(io.BytesIO(base64.b64decode(text))) as opened:
        veil = np.asarray(opened)[..., 3]
    assert (veil[:4] == 0).all()
    assert (veil[4:] > 150).all()


def test_a_damaged_mask_is_no_failure():
    assert xseg_html(dataclasses.replace(make_face("a.png"), xseg_mask=np.arange(9, dtype=np.uint8))) == ""


def test_only_layers_that_exist_have_a_switch():
    face = make_face("a.png")
    assert [name for name, _ in layers_of(face)] == ["marks", "hull"]
    drawn = dataclasses.replace(face, seg_ie_polys=((1, np.ones((3, 2))), (0, np.ones((3, 2)))))
    assert [name for name, _ in layers_of(drawn)] == ["marks", "hull", "polygons"]
    svg = layers_html(drawn, (64, 64))
    assert svg.count("lk-include") == svg.count("lk-exclude") == 1
    assert face_html("/u", "a.jpg", drawn, (64, 64), "1 of 2").count("data-switch") == 3


def test_the_facts():
    shelf = shelf_of(
        record("a", 12, -3, sharpness=5.0, score=0.913, track=4, detector="mtcnn", landmarker="facemesh"),
        record("b", None, sharpness=50.0),
        record("<i>", frame="x.png", provenance={"made": "<here>"}),
        persons={"a.jpg": 1},
    )
    facts = facts_html(shelf, 0, (256, 256))
    for words in ("12\u00b0 left", "3\u00b0 down", "0.91", "person 2", "mtcnn, facemesh", "256 x 256 px"):
        assert words in facts
    assert "sharper than 0 %" in facts
    assert "sharper than 50 %" in sharpness_words(shelf, 1)
    other = facts_html(shelf, 2, (64, 64))
    assert "another program" in other
    assert "&lt;here&gt;" in other
    assert "<here>" not in other


def test_a_pose_that_was_never_measured_says_so():
    assert "not measured" in pose_words(record("a", None).face)
    assert pose_words(record("a", 0, 0).face) == "nose straight, level, roll +0\u00b0"
