"""The widget of one setting, by its type and range, and the words around it."""

from __future__ import annotations

import re
import typing
from collections.abc import Sequence
from typing import Any

import gradio as gr
from pydantic.fields import FieldInfo

from backend.core.settings import bounds_of, unit_of
from backend.core.settings.faults import figure
from ui_tabs.labels import choice_label, label_of

Choices = Sequence[tuple[str, Any]]

SLIDER_STEPS = 1100
"""A range with more steps than this is typed as a number instead."""
WIDEST_FRACTION = 2.0
"""A range of fractions wider than this is typed as a number instead; so is one that ends below 0.1."""

_BOUNDS = re.compile(r"\s*\[[^\]]*\]$")


def make_widget(stage: str, name: str, facts: FieldInfo, elem_id: str, choices: Choices | None = None) -> Any:
    """The widget of one field.

    Args:
        choices: (label, value) pairs for text that is better chosen than typed; other text stays possible.
    """
    value = facts.get_default()
    made = widget_class(facts, choices)
    given = {
        **widget_words(stage, name, facts),
        "value": list(value) if isinstance(value, tuple) else value,
        "elem_id": elem_id,
        "interactive": True,
    }
    if made is gr.Slider:
        given["buttons"] = []
    elif made is gr.Number:
        given["precision"] = 0 if facts.annotation is int else None
    elif made is gr.Textbox:
        given["max_lines"] = 1
    elif made is gr.Dropdown and "choices" in given:
        given["filterable"] = False
    elif made is gr.Dropdown:
        given |= {"choices": list(choices or ()), "allow_custom_value": True, "multiselect": _is_list(facts)}
    return made(**given)


def widget_class(facts: FieldInfo, choices: Choices | None = None) -> type[Any]:
    """Kind of component for a field."""
    kind = facts.annotation
    if _options(facts):
        return gr.Radio if len(_options(facts)) <= 3 else gr.Dropdown
    if kind is bool:
        return gr.Checkbox
    if kind in (int, float):
        return gr.Slider if _slides(facts) else gr.Number
    return gr.Dropdown if choices is not None or _is_list(facts) else gr.Textbox


def widget_words(stage: str, name: str, facts: FieldInfo) -> dict[str, Any]:
    """Properties of a field's widget that come from its declaration: label, help, range and choices."""
    words: dict[str, Any] = {"label": full_label(stage, name, facts), "info": help_sentence(facts)}
    if _options(facts):
        return {**words, "choices": [(choice_label(name, value), value) for value in _options(facts)]}
    if facts.annotation not in (int, float):
        return words
    low, high, step = bounds_of(facts)
    whole = facts.annotation is int
    if _slides(facts):
        return {**words, "minimum": low, "maximum": high, "step": step or (1 if whole else 0.01)}
    return {**words, "step": step or (1 if whole else 0.000001)}


def full_label(stage: str, name: str, facts: FieldInfo) -> str:
    """Label with unit and default: "Image size, px (default 512)"."""
    unit = unit_of(facts)
    default = facts.get_default()
    if isinstance(default, bool):
        shown = "on" if default else "off"
    elif isinstance(default, float):
        shown = f"{default:g}"
    elif isinstance(default, int) and default >= 10_000:
        shown = f"{default:,}"
    else:
        shown = choice_label(name, default)
    suffix = f" (default {shown})" if default not in ("", None, ()) else ""
    return f"{label_of(stage, name)}{', ' + unit if unit else ''}{suffix}"


def help_sentence(facts: FieldInfo) -> str:
    """The help sentence with the range in words."""
    sentence = _BOUNDS.sub("", facts.description or "")
    low, high, step = bounds_of(facts)
    if low is None or high is None:
        return sentence
    steps = f", in steps of {step:g}" if step else ""
    return f"{sentence} {figure(low)} to {figure(high)}{steps}."


def plain(facts: FieldInfo, value: Any) -> Any:
    """What a widget sent, as its field takes it."""
    if _is_list(facts):
        return tuple(str(item).strip() for item in value or () if str(item).strip())
    if facts.annotation is int and isinstance(value, float) and value.is_integer():
        return int(value)
    return value.strip() if isinstance(value, str) else value


def shown_value(value: Any) -> Any:
    """A setting's value, as a widget takes it."""
    return list(value) if isinstance(value, tuple) else value


def _options(facts: FieldInfo) -> tuple[Any, ...]:
    """Allowed values of a choice, in their order; one may be put together from several."""
    kind = facts.annotation
    if typing.get_origin(kind) is typing.Literal:
        return typing.get_args(kind)
    parts = typing.get_args(kind) if typing.get_origin(kind) is typing.Union else ()
    if not parts or any(typing.get_origin(part) is not typing.Literal for part in parts):
        return ()
    return tuple(value for part in parts for value in typing.get_args(part))


def _is_list(facts: FieldInfo) -> bool:
    return typing.get_origin(facts.annotation) is tuple


def _slides(facts: FieldInfo) -> bool:
    low, high, step = bounds_of(facts)
    if low is None or high is None:
        return False
    whole = facts.annotation is int
    fits = (high - low) / (step or (1 if whole else 0.01)) <= SLIDER_STEPS
    return fits and (whole or (high - low <= WIDEST_FRACTION and high >= 0.1))
