"""Which networks merging can use here, the enhancer and the mask network, and where missing ones belong."""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path

from backend.environment import weights_folder
from backend.storage.project import Project
from backend.storage.weights import (
    how_to_get_enhancer,
    how_to_get_segmentation,
    installed_enhancer,
    installed_segmentation,
)
from ui_tabs.context import PageContext


@dataclass(frozen=True)
class Networks:
    """File names of the networks that are used, "" for none; and how to get them."""

    enhancer: str
    segmentation: str
    enhancer_help: str
    segmentation_help: str


def networks(page: PageContext, project: Project) -> Networks:
    """What a project can use. Looks at file names only."""
    weights: Path = weights_folder() or page.manager.weights_dir
    models = project.model_root
    return Networks(
        installed_enhancer(weights),
        installed_segmentation(weights, models),
        how_to_get_enhancer(weights),
        how_to_get_segmentation(weights, models),
    )


def enhancer_note(found: Networks) -> str:
    """The line below super-resolution."""
    words = f"Used: {found.enhancer}." if found.enhancer else f"No enhancer is installed. {found.enhancer_help}"
    return f'<p class="lk-note">{html.escape(words)}</p>'


def mask_note(found: Networks) -> str:
    """The line below the mask modes."""
    if found.segmentation:
        words = f"XSeg masks come from {found.segmentation}."
    else:
        words = f"No mask network is installed, so that there are no XSeg masks. {found.segmentation_help}"
    return f'<p class="lk-note">{html.escape(words)}</p>'
