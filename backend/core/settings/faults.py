"""What is wrong with a setting's value, in words for the form and the command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def reason(fault: Mapping[str, Any]) -> str:
    """One of pydantic's faults as the second half of a sentence that begins with the setting, without a full stop.

    Args:
        fault: of ``ValidationError.errors()``.
    """
    facts = fault.get("ctx", {})
    kind = str(fault["type"])
    if kind == "greater_than_equal":
        return f"has to be at least {figure(facts['ge'])}"
    if kind == "less_than_equal":
        return f"has to be at most {figure(facts['le'])}"
    if kind == "multiple_of":
        return f"has to be a multiple of {figure(facts['multiple_of'])}"
    if kind == "literal_error":
        return f"has to be one of {facts['expected']}"
    if kind.startswith(("int_", "float_")):
        return "needs a whole number" if kind.startswith("int") else "needs a number"
    text = "There is no such setting" if kind == "extra_forbidden" else str(fault["msg"])
    return text.removeprefix("Value error, ").strip().removesuffix(".")


def figure(value: float) -> str:
    """A number as people write it: 10,000 or 0.5."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:g}"
