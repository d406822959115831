"""The verdict on a file from the marks it carries, in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backend.core.provenance import SYNTHETIC_SOURCE_TYPES

NO_MARK = (
    "It carries no mark. That proves nothing: marks are lost when a file is converted, and many platforms remove them."
)


def verdict(found: Mapping[str, Any]) -> tuple[bool, str]:
    """(whether it calls itself AI-manipulated, why and how far that can be relied on).

    Args:
        found: "tagged", "source_type", "credentials" and "sidecar" as in backend.storage.file_marks.MarksReport.
    """
    credentials, sidecar = found["credentials"], found["sidecar"]
    signed = credentials.get("state") in ("valid", "trusted")
    signed_says = _synthetic(credentials.get("source_types", ()))
    in_file = found["tagged"] or _synthetic((found["source_type"],))
    beside = sidecar.ai_manipulated and sidecar.matches is True
    said = in_file or signed_says or beside
    parts = [_begin(in_file, signed and signed_says, beside)] if said else []
    parts += _signature(credentials)
    parts += _sidecar(sidecar)
    if not said:
        foreign = f"It is declared as {found['source_type']}." if found["source_type"] else NO_MARK
        parts.append("Nothing in it says AI-manipulated." if signed and not found["source_type"] else foreign)
    return said, " ".join(parts)


def _begin(in_file: bool, signed: bool, beside: bool) -> str:
    if signed:
        return "AI-manipulated: the file says so under a signature."
    if in_file:
        return "AI-manipulated: the file says so in its metadata."
    return "AI-manipulated: its sidecar says so." if beside else "AI-manipulated: its content credentials say so."


def _signature(credentials: Mapping[str, Any]) -> list[str]:
    return [] if credentials.get("state") in (None, "none", "unreadable") else [str(credentials["sentence"])]


def _sidecar(sidecar: Any) -> list[str]:
    if not sidecar.name:
        return []
    if sidecar.matches is False:
        return [f"The sidecar {sidecar.name} was written for other content: the file was changed or exchanged since."]
    if sidecar.matches is None:
        return [f"The sidecar {sidecar.name} names no checksum to compare."]
    return [f"Its sidecar {sidecar.name} matches: the file is unchanged since it was exported."]


def _synthetic(types: Any) -> bool:
    return any(name in SYNTHETIC_SOURCE_TYPES for name in types)
