"""How the Merge tab shows one frame, the strip of frames, and what has been merged."""

from __future__ import annotations

import html
from concurrent.futures import ThreadPoolExecutor

from backend.core.errors import LookalikeError
from backend.storage.atomic import read_json
from backend.storage.image import list_images
from backend.storage.model_folder import ModelFolder
from backend.storage.workspace import Project
from ui_tabs.context import PageContext
from ui_tabs.gallery import thumbnail

VIEWS = ("before / after", "result", "mask", "side by side")
STRIP_FRAMES = 12


def picture_html(view: str, before: str, after: str, mask: str) -> str:
    """One rendered frame.

    Args:
        view: one of VIEWS.
        before, after, mask: URLs of the pictures.
    """
    before, after, mask = html.escape(before), html.escape(after), html.escape(mask)
    if view == "side by side":
        return f'<div class="lk-pair"><img src="{before}" alt="before"><img src="{after}" alt="after"></div>'
    if view == "result":
        return f'<div class="lk-single"><img src="{after}" alt="after the swap"></div>'
    if view == "mask":
        return f'<div class="lk-single"><img src="{mask}" alt="the replaced area, white"></div>'
    return (
        f'<div class="lk-compare"><img src="{after}" alt="after the swap">'
        f'<img class="lk-before" src="{before}" alt="before the swap"><span class="lk-cut"></span>'
        '<input type="range" min="0" max="100" value="50" data-cut aria-label="before on the left, after on the right">'
        "</div>"
    )


def frame_strip(page: PageContext, project: Project) -> str:
    """Some frames spread over the clip, to jump to."""
    frames = list_images(project.side("dst").frames_dir)
    count = min(STRIP_FRAMES, len(frames))
    picked = [round(i * (len(frames) - 1) / max(1, count - 1)) for i in range(count)]
    folder = project.jobs_dir / ".cache" / "thumbs"
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(4) as pool:
        files = list(pool.map(lambda index: thumbnail(folder, frames[index]), picked))
    tiles = [
        f'<button type="button" class="lk-tile" data-frame="{index + 1}" title="Frame {index + 1:,}">'
        f'<img src="{html.escape(page.file_url(file, 1))}" alt="">'
        f'<span class="lk-caption">{index + 1:,}</span></button>'
        for index, file in zip(picked, files, strict=True)
        if file is not None
    ]
    return f'<div class="lk-strip">{"".join(tiles)}</div>'


def merged_note(project: Project) -> str:
    """What the merged frames were made with, and whether the model has learned more since."""
    path = project.merged_dir / "merge.json"
    if not path.exists():
        return ""
    try:
        facts = read_json(path)
        name, iteration = str(facts["model"]), int(facts["iteration"])
        complete = bool(facts.get("complete"))
    except (LookalikeError, OSError, KeyError, TypeError, ValueError):
        return ""
    words = f"Merged frames: {project.status().merged:,}, with model {name} at iteration {iteration:,}."
    info = ModelFolder(project.model_dir(name)).info()
    if info is not None and info.iteration > iteration:
        words += f" The model has learned on since, up to iteration {info.iteration:,}: merge again to use it."
    if not complete:
        words += " The last run did not reach its end."
    return f'<p class="lk-note">{html.escape(words)}</p>'
