"""What speaks against the values of a form, at which fields, and as markup that form.js puts beside them."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from backend.core.errors import BadInputError
from backend.core.settings.faults import reason
from ui_tabs.labels import label_of

FIELDS_AT_MOST = 3
"""Fields at which one sentence is repeated."""

Spot = Callable[[str], tuple[str, str]]
"""Name of a setting -> elem_id of its field and of the closed group it lies in, "" where there is none."""

_QUOTED = re.compile(r"'([^']+)'")


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong.

    Attributes:
        fields: where it is said; empty when it concerns the whole form.
        sentence: with a full stop, to be read beside the field.
        named: the same with the label of the field in front, where the sentence alone does not say it.
    """

    fields: tuple[str, ...]
    sentence: str
    named: str


@dataclass(frozen=True)
class Remark:
    """A line beside a field: a caution, why it has no effect, or what its value comes to."""

    kind: Literal["fault", "caution", "moot", "fact"]
    field: str
    sentence: str


class FieldsError(BadInputError):
    """Settings that contradict each other or themselves; ``faults`` says at which fields."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__(" ".join(fault.named for fault in faults))
        self.faults = tuple(faults)


def faults_of(stage: str, error: ValidationError, names: Iterable[str]) -> list[Fault]:
    """What is wrong, and at which fields.

    A contradiction between settings names them by their labels, in quotes where it says which of them to change.

    Args:
        stage: key of the words in labels.py.
        names: fields of the form.
    """
    known = tuple(names)
    found = []
    for fault in error.errors():
        text = _reason(fault)
        if fault["loc"]:
            field = str(fault["loc"][0])
            found.append(Fault((field,), text[:1].upper() + text[1:], f"{label_of(stage, field)}: {text}"))
        else:
            found.append(Fault(_named_in(stage, text, known), text, text))
    return found


def sentences(stage: str, error: ValidationError) -> list[str]:
    """What is wrong, one sentence per fault, each with the label of its field."""
    return [fault.named for fault in faults_of(stage, error, ())]


def error_html(text: str) -> str:
    """A contradiction as shown at a form."""
    return f'<p class="lk-error" role="alert">{html.escape(text)}</p>' if text else ""


def faults_html(faults: Sequence[Fault], spot: Spot) -> str:
    """Contradictions as shown below a form, and beside the fields named there."""
    return "".join(
        f'<p class="lk-error" role="alert"{_at("fault", [spot(name) for name in fault.fields], fault.sentence)}>'
        f"{html.escape(fault.named)}</p>"
        for fault in faults
    )


def remarks_html(remarks: Sequence[Remark], spot: Spot) -> str:
    """Remarks that are shown beside their fields only."""
    return "".join(f"<span{_at(r.kind, [spot(r.field)], r.sentence)}></span>" for r in remarks)


def _at(kind: str, spots: Sequence[tuple[str, str]], sentence: str) -> str:
    if not spots:
        return ""
    fields, groups = (" ".join(dict.fromkeys(filter(None, ids))) for ids in zip(*spots, strict=True))
    facts = {"at": fields, "in": groups, "kind": kind, "say": sentence}
    return "".join(f' data-{name}="{html.escape(value)}"' for name, value in facts.items())


def _named_in(stage: str, text: str, names: Sequence[str]) -> tuple[str, ...]:
    """Fields whose labels a sentence quotes; where it quotes none, those it mentions."""
    labels = {label_of(stage, name).lower(): name for name in reversed(names)}
    quoted = [labels[word.lower()] for word in _QUOTED.findall(text) if word.lower() in labels]
    if quoted:
        return tuple(dict.fromkeys(quoted))[:FIELDS_AT_MOST]
    found: dict[int, str] = {}
    rest = text.lower()
    for label in sorted(labels, key=len, reverse=True):
        match = re.search(rf"\b{re.escape(label)}\b", rest)
        if match:
            found[match.start()] = labels[label]
            rest = rest[: match.start()] + "_" * len(label) + rest[match.end() :]
    return tuple(found[at] for at in sorted(found))[:FIELDS_AT_MOST]


def _reason(fault: Mapping[str, Any]) -> str:
    text = reason(fault)
    return (text[:1].upper() + text[1:] if fault["type"] == "value_error" else text) + "."
