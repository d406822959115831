"""How the page looks: an offline theme, the style sheet, and the few lines of script that Gradio has no widget for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

HERE = Path(__file__).resolve().parent
SANS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")
FRAME = """
.gradio-container.gradio-container { overflow: clip; max-width: 1760px; }
.gradio-container .main.main { width: 100%; max-width: none; padding: 0 8px 24px; }
[data-testid="status-tracker"].hide { display: none; }
@media (max-width: 760px) {
  .gradio-container.gradio-container { padding: 0 8px 24px !important; min-width: 0 !important; }
  .gradio-container .main.main { padding: 8px 4px; min-width: 0 !important; }
  .gradio-container :is(main, .wrap, .column) { min-width: 0 !important; max-width: 100%; }
}
"""
"""Rules outside the area to which Gradio confines the style sheet."""


def build_theme() -> gr.Theme:
    """Neutral surfaces; colour is left to the states of jobs. No font or picture comes from outside."""
    theme = gr.themes.Base(
        primary_hue="zinc",
        secondary_hue="zinc",
        neutral_hue="zinc",
        spacing_size="sm",
        radius_size="sm",
        text_size="md",
        font=list(SANS),
        font_mono=list(MONO),
    )
    return theme.set(
        body_background_fill="#f6f6f7",
        body_background_fill_dark="#131316",
        block_background_fill="#ffffff",
        block_background_fill_dark="#1c1c21",
        block_border_width="0px",
        block_title_text_weight="500",
        block_title_text_color="*neutral_800",
        block_title_text_color_dark="*neutral_200",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_400",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_400",
        input_background_fill="#ffffff",
        input_background_fill_dark="#26262c",
        input_border_width="1px",
        input_border_color="*neutral_300",
        input_border_color_dark="*neutral_700",
        slider_color="*neutral_700",
        slider_color_dark="*neutral_300",
        button_large_text_size="*text_md",
        button_large_text_weight="600",
        button_large_padding="7px 18px",
        button_small_padding="4px 12px",
        button_primary_background_fill="*neutral_900",
        button_primary_background_fill_dark="*neutral_100",
        button_primary_background_fill_hover="*neutral_700",
        button_primary_background_fill_hover_dark="*neutral_300",
        button_primary_text_color="#ffffff",
        button_primary_text_color_dark="*neutral_900",
        button_secondary_background_fill="*neutral_200",
        button_secondary_background_fill_hover="*neutral_300",
        checkbox_background_color_selected="*neutral_800",
        checkbox_background_color_selected_dark="*neutral_500",
        checkbox_border_color_selected="*neutral_800",
    )


def launch_looks() -> dict[str, Any]:
    """Arguments of ``launch()`` that make the page look and behave as meant."""
    script = "\n".join(file.read_text(encoding="utf-8") for file in sorted(HERE.glob("*.js")))
    return {
        "theme": build_theme(),
        "css_paths": sorted(HERE.glob("*.css"), key=lambda file: (file.name != "page.css", file.name)),
        "head": f"<style>{FRAME}</style><script>{script}</script>",
        "footer_links": [],
    }
