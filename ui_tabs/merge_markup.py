"""The viewer of the Merge tab: its buttons, its words and its keys; merge.js brings them to life."""

from __future__ import annotations

import html

VIEWS = (
    ("compare", "Before / after", "The line between them can be dragged"),
    ("result", "Result", "The merged frame"),
    ("side", "Side by side", "Before on the left, after on the right"),
    ("mask", "Mask", "The replaced area is white"),
    ("alpha", "Alpha", "What is replaced, over a checkerboard (V)"),
)
KEYS = (
    ("`", "original frame"),
    ("1 2 3 4", "overlay, histogram match, seamless, seamless with histogram match"),
    ("5 6 7", "raw square, raw prediction, histogram match in gray"),
    ("Q A", "histogram threshold up, down"),
    ("W S", "erode mask"),
    ("E D", "blur mask"),
    ("R F", "motion blur"),
    ("T G", "super-resolution"),
    ("Y H", "sharpen or blur"),
    ("U J", "face scale"),
    ("I K", "denoise"),
    ("O L", "soften by resizing"),
    ("P ;", "reduce colours"),
    ("Shift + these", "five steps at once"),
    ("Z", "histogram inside the mask only"),
    ("X", "next mask"),
    ("C", "next colour transfer"),
    ("N", "next sharpening"),
    (", .", "previous, next frame"),
    ("Shift + , .", "first, last frame"),
    ("M /", "this look for the previous, next frame too, and go there"),
    ("Shift + M /", "copy to all before, to all after"),
    ("[ ]", "previous, next change of the look"),
    ("B", "new look from this frame on"),
    ("V", "alpha view on, off"),
    ("- =", "zoom out, in"),
    ("9 0", "whole frame, 100 %"),
    ("F1", "these keys"),
)
"""Keys as printed on a US keyboard; merge.js goes by their place."""


def viewer_html() -> str:
    """The viewer without a frame."""
    return (
        '<div class="lk-merge" data-merge tabindex="0" role="group" aria-label="Merged frame">'
        '<p class="lk-empty" data-empty></p><div data-filled hidden>'
        f"{_head()}"
        '<div class="lk-merge-stage"><canvas data-stage role="img" aria-label="The frame"></canvas>'
        '<span class="lk-chip lk-running lk-merge-busy">rendering</span></div>'
        '<input type="range" class="lk-merge-cut" min="0" max="1000" value="500" data-cut-at '
        'aria-label="Line between before and after">'
        '<p class="lk-merge-said" data-said role="status"></p>'
        '<p class="lk-error" data-problem role="alert" hidden></p>'
        f"{_frames()}{_looks()}"
        '<div class="lk-merge-strip" data-strip></div>'
        '<div class="lk-merge-bar" data-bar title="Click to jump"><div data-runs></div><div data-keys></div>'
        '<span data-here></span></div><p class="lk-note lk-merge-legend" data-legend></p>'
        f"</div>{_help()}</div>"
    )


def _head() -> str:
    views = "".join(
        f'<button type="button" class="lk-act" data-view="{name}" aria-pressed="false" title="{html.escape(title)}">'
        f"{words}</button>"
        for name, words, title in VIEWS
    )
    return (
        f'<div class="lk-merge-line"><span class="lk-merge-part" role="group" aria-label="View">{views}</span>'
        '<button type="button" class="lk-act" data-faces aria-pressed="false" title="Outline the faces">Faces</button>'
        '<span class="lk-merge-part lk-merge-zoom">'
        f"{_button('zoom-out', '&minus;', 'Zoom out (-)')}"
        '<span class="lk-fact" data-zoom>fit</span>'
        f"{_button('zoom-in', '+', 'Zoom in (=)')}{_button('fit', 'Fit', 'Whole frame (9)')}"
        f"{_button('full', '100 %', 'One pixel of the frame is one of the screen (0)')}"
        f"{_button('help', 'Keys', 'All keys (F1)')}</span></div>"
    )


def _frames() -> str:
    return (
        f'<div class="lk-merge-line">{_button("first", "First", "First frame (Shift+,)")}'
        f"{_button('prev', 'Previous', 'Previous frame (,)')}"
        '<input type="range" min="1" value="1" data-slider aria-label="Frame">'
        f"{_button('next', 'Next', 'Next frame (.)')}{_button('last', 'Last', 'Last frame (Shift+.)')}"
        '<label class="lk-merge-field">Frame <input type="number" min="1" value="1" data-number></label>'
        '<span class="lk-fact" data-count></span></div>'
    )


def _looks() -> str:
    return (
        '<div class="lk-merge-line"><b class="lk-fact" data-look></b>'
        f"{_button('key', 'New look from this frame on', 'Add a key frame here (B)')}"
        f"{_button('unkey', 'Remove this key frame', 'The look before holds on')}"
        f"{_button('before', 'Copy to all before', 'This look from the first frame on (Shift+M)')}"
        f"{_button('after', 'Copy to all after', 'This look up to the last frame (Shift+/)')}"
        f"{_button('change-prev', 'Previous change', 'Where this look begins, or the one before ([)')}"
        f"{_button('change-next', 'Next change', 'Where the next look begins (])')}</div>"
    )


def _help() -> str:
    rows = "".join(f"<dt><kbd>{html.escape(keys)}</kbd></dt><dd>{words}</dd>" for keys, words in KEYS)
    return (
        '<dialog class="lk-merge-help" data-help aria-label="Keys"><h3>Keys</h3>'
        '<p class="lk-note">They work in this tab while no text field is active.</p>'
        f'<dl class="lk-merge-keys">{rows}</dl>'
        '<button type="button" class="lk-act" data-do="help">Close</button></dialog>'
    )


def _button(name: str, words: str, title: str) -> str:
    return f'<button type="button" class="lk-act" data-do="{name}" title="{html.escape(title)}">{words}</button>'
