"""The frame viewer's buttons and words; fix.js brings them to life."""

from __future__ import annotations

import html

from ui_tabs.fix_frames import KINDS

ACTIONS = (
    ("refine", "Refine", "R", "Place the points of the selected face anew in the picture"),
    ("delete", "Delete", "Del", "Move the selected face to the trash"),
    ("copy-prev", "Copy from previous", "C", "Copy from the previous frame: missing faces, or onto the selected one"),
    ("copy-next", "Copy from next", "V", "Copy from the next frame: missing faces, or onto the selected one"),
    ("mark", "Mark as end", "M", "The selected face is one end of the frames to fill"),
    ("between", "Fill between", "I", "Fill the frames from the marked face, or the last hand-made one, to this one"),
    ("undo", "Undo", "Z", "Take the last correction back"),
    ("redo", "Redo", "Y", "Do the correction again that was taken back"),
)
TOOLS = (
    ("select", "Select", "S", "Select a face; drag it, its corners, its handle or a single point"),
    ("box", "New box", "B", "Drag a box around a face; the points are placed in it"),
    ("three", "Eyes and mouth", "E", "Click both eyes and the middle of the mouth"),
    ("five", "Five points", "P", "Click both eyes, the nose and both corners of the mouth"),
)
KEYS = (
    (", .", "previous, next frame"),
    ("N, Shift+N", "next, previous frame of the chosen kind"),
    ("S B E P", "tools: select, new box, eyes and mouth, five points"),
    ("F", "select the next face"),
    ("arrows", "move the selected face by 1 px, with Shift by 10 px"),
    ("R", "refine"),
    ("Del", "delete the selected face"),
    ("C, V", "copy from the previous, next frame"),
    ("M, I", "mark as end, fill between"),
    ("Z, Y", "undo, redo"),
    ("+ - 0", "zoom in, out, whole frame; the wheel zooms too"),
    ("Esc", "cancel, then select nothing"),
)


def viewer_html() -> str:
    """The viewer without a frame."""
    return (
        '<div class="lk-fix" data-fix tabindex="0" role="application" aria-label="Frame viewer">'
        f'<p class="lk-empty" data-empty></p><div data-filled hidden>{_frames_html()}{_tools_html()}'
        '<div class="lk-fix-stage"><svg data-stage aria-label="The frame with its faces" role="img"></svg>'
        '<span class="lk-chip lk-running lk-fix-busy">rendering</span></div>'
        '<p class="lk-fix-said" data-said role="status"></p><div class="lk-fix-strip" data-strip></div>'
        f"{_keys_html()}</div></div>"
    )


def _frames_html() -> str:
    kinds = "".join(f'<option value="{kind}">{words}</option>' for kind, words in KINDS.items())
    return (
        f'<div class="lk-fix-line">{_button("prev", "Previous", "Previous frame (,)")}'
        '<input type="range" min="1" value="1" data-slider aria-label="Frame">'
        f"{_button('next', 'Next', 'Next frame (.)')}"
        '<label class="lk-fix-field">Frame <input type="number" min="1" value="1" data-number></label>'
        '<span class="lk-fact" data-count></span></div>'
        '<div class="lk-fix-line lk-fix-wide"><span class="lk-fix-part"><label class="lk-fix-field">Jump to frames '
        f"<select data-kind>{kinds}</select></label>"
        '<label class="lk-fix-field" data-threshold-field>below '
        '<input type="number" min="0" max="1" step="0.01" data-threshold></label>'
        f"{_button('jump-prev', 'Previous one', 'Shift+N')}{_button('jump-next', 'Next one', 'N')}</span>"
    )


def _tools_html() -> str:
    tools = "".join(
        f'<button type="button" class="lk-act" data-tool="{name}" aria-pressed="false" title="{title} ({key})">{words}'
        "</button>"
        for name, words, key, title in TOOLS
    )
    actions = "".join(_button(name, words, f"{title} ({key})") for name, words, key, title in ACTIONS)
    return (
        f'<span class="lk-fix-part">{tools}</span>'
        '<label class="lk-fix-field" title="What places the points of new, copied and filled faces, and on Refine">'
        "Refine with <select data-refine></select></label></div>"
        f'<div class="lk-fix-line">{actions}<span class="lk-fix-part lk-fix-zoom">'
        f"{_button('zoom-in', '+', 'Zoom in (+)')}{_button('zoom-out', '&minus;', 'Zoom out (-)')}"
        f"{_button('fit', 'Fit', 'Whole frame (0)')}</span></div>"
    )


def _keys_html() -> str:
    rows = "".join(f"<dt><kbd>{html.escape(keys)}</kbd></dt><dd>{words}</dd>" for keys, words in KEYS)
    note = "They work while the viewer is active: click the picture first."
    return (
        '<details class="lk-details" open><summary>Keys</summary>'
        f'<p class="lk-note">{note}</p><dl class="lk-fix-keys">{rows}</dl></details>'
    )


def _button(name: str, words: str, title: str) -> str:
    return f'<button type="button" class="lk-act" data-do="{name}" title="{html.escape(title)}">{words}</button>'
