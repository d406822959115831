"""The form of the Export tab: it shows what counts for the chosen file, and says what the choices come to."""

from __future__ import annotations

import html
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from backend.core.settings import ExportSettings, Settings
from backend.storage.video_formats import HARDWARE
from ui_tabs.context import Updates, joined
from ui_tabs.export_formats import acting, codec_choices, codec_of, put_right
from ui_tabs.form import Choices, SettingsForm, full_label, help_sentence
from ui_tabs.labels import choice_label

NOTED = ("name", "codec", "encoder", "sign", "private_key")
"""Settings with a line below them."""
CHANGING = ("codec", "encoder")
"""Settings whose choices follow other fields. They take any text, for the browser may still send the choice before."""
PATHS = ("certificate", "private_key")
TESTING = "Hardware encoders are being tested."


@dataclass(frozen=True)
class Abilities:
    """What this computer can do.

    Attributes:
        broken: hardware encoder -> why it cannot be used for the chosen codec; None while they are being tested.
        credentials: why files cannot be signed, "" when they can; None while that is not known.
    """

    broken: Mapping[str, str] | None = None
    credentials: str | None = None

    @property
    def encoders(self) -> tuple[str, ...]:
        """Hardware encoders that work."""
        return tuple(name for name in HARDWARE if self.broken is not None and name not in self.broken)


@dataclass(frozen=True)
class Said:
    """Lines below the fields.

    Attributes:
        name: that a result of this name is there.
        signer: who signs; or what is wrong with the certificate, then ``refused``.
    """

    name: str = ""
    signer: str = ""
    refused: bool = False


class ExportForm(SettingsForm):
    """Fields come and go with what they would do.

    Attributes:
        notes: name of a setting -> the line below it.
    """

    def __init__(self) -> None:
        self.notes: dict[str, Any] = {}
        super().__init__(ExportSettings, "export", "export")

    @property
    def outputs(self) -> list[Any]:
        """Every component that updates(), shape() and say() may change."""
        return [*super().outputs, *self.notes.values()]

    def _add(self, names: Sequence[str], choices: Mapping[str, Choices]) -> None:
        for name in names:
            if name in CHANGING:
                self.widgets[name] = _open_choice(name)
            else:
                super()._add([name], choices)
            if name in NOTED:
                self.notes[name] = gr.HTML("", elem_id=f"export-{name.replace('_', '-')}-note")

    def raw(self, values: Mapping[Any, Any]) -> dict[str, Any]:
        """What the fields hold, by name, as it is."""
        return {name: values[widget] for name, widget in self.widgets.items() if widget in values}

    def read(self, values: Mapping[Any, Any], **fixed: Any) -> ExportSettings:
        """See SettingsForm.read; an empty path is none, others are made absolute."""
        given = paths(self.raw(values))
        found = super().read({k: v for k, v in values.items() if k not in self._path_widgets}, **given, **fixed)
        assert isinstance(found, ExportSettings)
        return found

    def updates(self, settings: Settings, frozen: str = "") -> Updates:
        """See SettingsForm.updates; with what is shown for these settings."""
        shown = super().updates(settings, frozen)
        for widget in self.widgets.values():
            shown[widget].pop("interactive", None)  # signing may be greyed by what is missing here
        for name in PATHS:
            path = getattr(settings, name)
            shown[self.widgets[name]] = gr.update(value=str(path) if path else "")
        return joined(shown, self.shape(settings.model_dump()))

    def fill_in(self, values: Mapping[str, Any]) -> Updates:
        """Put values into some fields; they have to fit together."""
        return {self.widgets[name]: gr.update(value=value) for name, value in values.items()}

    def shape(self, values: Mapping[str, Any]) -> Updates:
        """Which fields are shown for these values, which codecs can be chosen, and what hidden fields must not say."""
        shown: Updates = {self.widgets[name]: gr.update(visible=acts) for name, acts in acting(values).items()}
        offered = gr.update(choices=codec_choices(str(values.get("container"))))
        return joined(joined(shown, {self.widgets["codec"]: offered}), self.fill_in(put_right(values)))

    def able(self, able: Abilities, encoder: str) -> Updates:
        """What this computer allows: encoders that work, and signing.

        Args:
            encoder: the chosen one; it stays a choice.
        """
        names = ("software", "auto", *(n for n in HARDWARE if n in able.encoders or n == encoder))
        missing = bool(able.credentials)
        return {
            self.widgets["encoder"]: gr.update(choices=[(choice_label("encoder", name), name) for name in names]),
            self.notes["encoder"]: _note(encoder_words(able, encoder)),
            self.widgets["sign"]: gr.update(interactive=not missing),
            self.notes["sign"]: _note(able.credentials or ""),
        }

    def say(self, values: Mapping[str, Any], said: Said) -> Updates:
        """The lines below the fields."""
        refused = f'<p class="lk-error" role="alert">{html.escape(said.signer)}</p>'
        return {
            self.notes["name"]: _note(said.name),
            self.notes["codec"]: _note(codec_words(values)),
            self.notes["private_key"]: refused if said.refused else _note(said.signer if values.get("sign") else ""),
        }

    def _loaded(self, values: Mapping[Any, Any], frozen: bool) -> Updates:
        filled = super()._loaded(values, frozen)
        raw = self.raw(values)
        for name, widget in self.widgets.items():
            raw[name] = filled[widget]["value"] if widget in filled else raw[name]
        return joined(filled, self.shape(raw))

    @property
    def _path_widgets(self) -> tuple[Any, ...]:
        return tuple(self.widgets[name] for name in PATHS)


def _open_choice(name: str) -> Any:
    facts = ExportSettings.model_fields[name]
    return gr.Dropdown(
        [(choice_label(name, value), value) for value in typing.get_args(facts.annotation)],
        value=facts.get_default(),
        label=full_label("export", name, facts),
        info=help_sentence(facts),
        allow_custom_value=True,
        elem_id=f"export-{name}",
    )


def codec_words(values: Mapping[str, Any]) -> str:
    """What "auto" takes; "" when a codec is named or there is none to name."""
    codec = codec_of(values)
    return f"Here auto takes {choice_label('codec', codec)}." if values.get("codec") == "auto" and codec else ""


def encoder_words(able: Abilities, encoder: str) -> str:
    """Which hardware encoders do not work here, and why."""
    if able.broken is None:
        return TESTING
    if able.broken.get(encoder):
        return f"It does not work here: {able.broken[encoder]}"
    names = [choice_label("encoder", name) for name in HARDWARE if able.broken.get(name)]
    if not names:
        return ""
    reasons = dict.fromkeys(reason.rstrip(".") for reason in able.broken.values() if reason)
    return f"Tested on this computer and left out: {', '.join(names)}. {'. '.join(reasons)}."


def paths(values: Mapping[str, Any]) -> dict[str, Path | None]:
    """The paths among the values of the form: made absolute, an empty one is none."""
    texts = {name: str(values.get(name) or "").strip() for name in PATHS}
    return {name: Path(text).expanduser().absolute() if text else None for name, text in texts.items()}


def _note(text: str) -> str:
    return f'<p class="lk-note">{html.escape(text)}</p>' if text else ""
