"""The filter curves of the model builder, drawn."""

from __future__ import annotations

import re

import pytest

from backend.core.settings import PhazeASettings
from ui_tabs.filter_plot import Bars, filter_plots, plot_html


def listed(plot):
    return [int(number.replace(",", "")) for number in re.search(r"<b>(.*?)</b>", plot)[1].split(", ")]


def heights(plot):
    return [float(height) for height in re.findall(r'<rect[^>]* height="([\d.]+)"', plot)]


@pytest.mark.parametrize(
    ("slope", "expected"),
    [(-0.45, [512, 256, 128, 64]), (0.0, [512, 360, 208, 64]), (0.75, [512, 480, 408, 64])],
)
def test_the_decoder_shows_its_filters_as_a_falling_curve(slope, expected):
    plot = filter_plots(PhazeASettings(dec_filter_slope=slope))[2]
    assert listed(plot) == expected
    assert heights(plot) == sorted(heights(plot), reverse=True)
    assert heights(plot)[-1] / heights(plot)[0] == pytest.approx(expected[-1] / expected[0], abs=0.01)
    assert "polyline" in plot
    assert all(f">{px} px<" in plot for px in (16, 32, 64, 128))


def test_the_numbers_are_those_of_the_layout():
    settings = PhazeASettings(fc_depth=4, fc_min_filters=128, fc_gblock_depth=2, fc_gblock_min_nodes=128)
    hidden, style, _ = filter_plots(settings)
    assert tuple(listed(hidden)) == settings.layout().fc_nodes
    assert tuple(listed(style)) == settings.layout().fc_gblock_nodes


def test_upscales_in_the_hidden_part_are_told_apart():
    settings = PhazeASettings.model_validate(PhazeASettings.PRESETS["dny512"])
    decoder = filter_plots(settings)[2]
    assert decoder.count('class="apart"') == 2
    assert "polyline" not in decoder  # a capped slope follows no curve
    assert "The first 2 are in the hidden part." in decoder


def test_what_is_not_there_is_said():
    hidden, style, _ = filter_plots(PhazeASettings.model_validate(PhazeASettings.PRESETS["dny256"]))
    assert "svg" not in hidden
    assert "No dense layers" in hidden
    assert "Without a G-Block" in style


def test_impossible_settings_are_drawn_all_the_same():
    settings = PhazeASettings.model_construct(fc_dimensions=16, fc_upsamples=4)
    assert "ends at the output" in filter_plots(settings)[2]


def test_many_bars_keep_their_numbers_in_the_list():
    plot = plot_html(Bars("nodes", range(100, 1700, 100), []), "")
    assert len(heights(plot)) == 16
    assert "<text" not in plot
    assert listed(plot)[-1] == 1600
