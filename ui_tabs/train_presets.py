"""Presets of training: those that come with each family of models, and those that the user keeps in the workspace."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from backend.core.errors import BadInputError, DamagedFileError
from backend.core.names import is_folder_name
from backend.core.settings import TRAIN_SETTINGS, TrainSettings
from backend.jobs.named_presets import built_in_presets, preset_kind
from backend.storage.atomic import read_json
from backend.storage.faceswap_preset import FILETYPE_KEY, read_faceswap_preset, write_faceswap_preset
from backend.storage.model_folder import ModelFolder
from backend.storage.presets import Preset, PresetShelf
from ui_tabs.context import PageContext, Updates, View
from ui_tabs.family_form import BUILDER, FROZEN_REASON, FamilyForm, fields_of
from ui_tabs.form_file import fit
from ui_tabs.labels import choice_label
from ui_tabs.preset_words import THUMBNAIL_SUFFIX, built_in_note, write_thumbnail

DEFAULT_PRESET = "Default"
KEPT = ("model", "device")
"""What no preset changes."""
OF_THE_PROJECT = ("load_weights", "pretrain_faces")
"""Settings that name something of one project: not kept in presets."""
EXPORTED = "exported"


class PresetPanel:
    """The choice of a preset, and below the form the closed group that keeps, brings in and gives out presets.

    Args:
        page: the page's context.
        picked: name of the chosen model, "" for a new one.
    """

    def __init__(self, page: PageContext, picked: Callable[[View], str]) -> None:
        self.page = page
        self._picked = picked
        self.choice = gr.Dropdown(
            [DEFAULT_PRESET],
            value=DEFAULT_PRESET,
            label="Preset",
            info="Fills the settings below; name and device stay.",
            elem_id="train-preset",
            filterable=False,
        )
        self.about = gr.HTML("", elem_id="train-preset-about")

    def build(self, form: FamilyForm) -> None:
        """Make the closed group; inside a layout, below the form."""
        self.form = form
        with gr.Accordion(
            "Keep these settings as a preset", open=False, elem_id="train-presets", elem_classes="lk-more"
        ):
            self.name = gr.Textbox("", label="Name of the preset", max_lines=1, elem_id="train-preset-name")
            self.note = gr.Textbox("", label="Note", lines=2, max_lines=5, elem_id="train-preset-note")
            with gr.Row(elem_classes="lk-buttons"):
                self.save = gr.Button("Save preset", **_small("save"))
                self.delete = gr.Button("Delete preset", interactive=False, **_small("delete"))
            with gr.Row(elem_classes="lk-buttons"):
                self.bring = gr.UploadButton("Import a preset", file_types=[".json"], **_small("import"))
                self.give = gr.Button("Export", **_small("export"))
                self.give_faceswap = gr.Button("Export for faceswap", visible=False, **_small("export-faceswap"))
            self.said = gr.HTML("", elem_id="train-preset-said")

    @property
    def outputs(self) -> list[Any]:
        """Every component that show() and tick() may update."""
        return [self.choice, self.about, self.delete, self.give_faceswap, self.said]

    def wire(self) -> None:
        """Make the choice and the buttons work."""
        page, values = self.page, {*self.form.inputs, self.page.view, self.choice}
        filled = [*self.outputs, *self.form.outputs]
        page.on(self.choice.input, self._chosen, values, filled)
        page.on(self.save.click, self._save, {*values, self.name, self.note}, [*self.outputs, self.name, self.note])
        page.on(self.delete.click, self._delete, [page.view, self.choice], self.outputs)
        page.on(self.bring.upload, self._bring_in, {*values, self.bring}, filled)
        page.on(self.give.click, self._give, values, self.said)
        page.on(self.give_faceswap.click, self._give_faceswap, values, self.said)

    def shelf(self, family: str) -> PresetShelf:
        """The presets of a family, the defaults first."""
        return PresetShelf(self.page.workspace.root, preset_kind(family), built_in(family))

    def show(self, view: View, family: str, exists: bool) -> Updates:
        """The choices for a family; a model that exists has no defaults to choose."""
        view.changed("train.presets", (family, exists, *self._names(family, exists)))
        value = None if exists else DEFAULT_PRESET
        return {
            self.choice: gr.update(choices=self._names(family, exists), value=value),
            self.about: "",
            self.delete: gr.update(interactive=False),
            self.give_faceswap: gr.update(visible=family == BUILDER),
            self.said: "",
        }

    def tick(self, view: View) -> Updates:
        """The names, when another window changed them."""
        family, exists = self.form.chosen(view), bool(self._picked(view))
        names = self._names(family, exists)
        return (
            {self.choice: gr.update(choices=names)} if view.changed("train.presets", (family, exists, *names)) else {}
        )

    def apply(self, view: View, name: str, data: Mapping[str, Any]) -> Updates:
        """Fill the form with a preset.

        A new model gets the family's defaults where the preset says nothing. Of a model that exists only what can still
        change is taken, and nothing else is touched.

        Args:
            data: what the fields show.
        """
        family, exists = self.form.chosen(view), bool(self._picked(view))
        kind, preset = TRAIN_SETTINGS[family], self.shelf(family).preset(name)
        stays = {field: data[field] for field in KEPT if field in data}
        own = {field: value for field, value in preset.values.items() if field not in KEPT}
        shown = dict(data) if exists else {**dict(kind()), **stays}
        fields = fields_of(kind)
        found = fit(kind, "train", own, {field: shown[field] for field in fields if field in shown}, exists)
        said = found.said if exists or "left out" in found.said else ""
        filled = self.form.show(view, family, {**shown, **found.values}, FROZEN_REASON if exists else "")
        return {**filled, **self._told(view, name, said)}

    # -- buttons

    def _chosen(self, values: Mapping[Any, Any]) -> Updates:
        return self.apply(values[self.page.view], str(values[self.choice]), self.form.data(values))

    def _save(self, values: Mapping[Any, Any]) -> Updates:
        view, name = values[self.page.view], str(values[self.name] or "").strip()
        family, shelf = self.form.chosen(view), self.shelf(self.form.chosen(view))
        settings = self.form.read(values)
        assert isinstance(settings, TrainSettings)
        replaced = name in shelf.names()
        path = shelf.save(name, _kept_values(settings), str(values[self.note] or "").strip())
        model = self._model(view)
        preview = model.preview() if model else None
        path.with_suffix(THUMBNAIL_SUFFIX).unlink(missing_ok=True)
        if preview is not None:
            write_thumbnail(preview, path.with_suffix(THUMBNAIL_SUFFIX))
        said = f"{name} is saved{', in place of the one before' if replaced else ''}."
        told = {**self._told(view, name, ""), self.said: _said(said)}
        return {**self._offered(view, family, name), **told, self.name: "", self.note: ""}

    def _delete(self, view: View, name: str) -> Updates:
        family = self.form.chosen(view)
        shelf = self.shelf(family)
        shelf.delete(name)
        shelf.path(name).with_suffix(THUMBNAIL_SUFFIX).unlink(missing_ok=True)
        value = None if self._picked(view) else DEFAULT_PRESET
        said = _said(f"{name} is deleted. The settings stay as they are.")
        return {
            **self._offered(view, family, value),
            self.about: "",
            self.delete: gr.update(interactive=False),
            self.said: said,
        }

    def _bring_in(self, values: Mapping[Any, Any]) -> Updates:
        """Take over a file of faceswap or of ours under a free name, and fill the form with it."""
        view, file = values[self.page.view], Path(values[self.bring])
        family = self.form.chosen(view)
        shelf = self.shelf(family)
        name = free_name(file.stem, shelf.names())
        try:
            said = self._taken_from(file, family, shelf, name)
        finally:
            file.unlink(missing_ok=True)
        shown = self.apply(view, name, self.form.data(values))
        return {**shown, **self._offered(view, family, name), self.said: _said(said)}

    def _taken_from(self, file: Path, family: str, shelf: PresetShelf, name: str) -> str:
        if not _is_faceswaps(file):
            shelf.bring_in(file, name)
            return f"Imported as {name}."
        if family != BUILDER:
            wanted = choice_label("model_class", BUILDER).partition(",")[0]
            raise BadInputError(
                f"This is a preset of faceswap's {wanted}.", "Choose that family for a new model first."
            )
        found = read_faceswap_preset(file)
        shelf.save(name, {field: _json(value) for field, value in found.values.items()}, "From a preset of faceswap.")
        left = f" Left out: {'; '.join(found.left_out)}." if found.left_out else ""
        return f"Imported as {name}.{left}"

    def _give(self, values: Mapping[Any, Any]) -> str:
        """What the form shows, as a file that Import takes."""
        view, settings = values[self.page.view], self.form.read(values)
        assert isinstance(settings, TrainSettings)
        family = self.form.chosen(view)
        name, note = self._exported(values, settings)
        out = PresetShelf(self.page.workspace.root / "presets" / EXPORTED, preset_kind(family))
        return self._link(out.save(name, _kept_values(settings), note))

    def _give_faceswap(self, values: Mapping[Any, Any]) -> str:
        settings = self.form.read(values)
        assert isinstance(settings, TrainSettings)
        folder = self.page.workspace.root / "presets" / EXPORTED / "faceswap"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self._exported(values, settings)[0]}.json"
        write_faceswap_preset(path, settings.model_dump(mode="json"))
        return self._link(path, "Only what faceswap's Phaze-A knows is in it. ")

    # -- what is shown

    def _exported(self, values: Mapping[Any, Any], settings: TrainSettings) -> tuple[str, str]:
        """(name, note) of what is given out: of the chosen preset, else of the model."""
        chosen = values[self.choice]
        if not chosen or chosen == DEFAULT_PRESET or not is_folder_name(str(chosen)):
            return settings.model, ""
        return str(chosen), self.shelf(settings.model_class).note(str(chosen))

    def _names(self, family: str, exists: bool) -> list[str]:
        return [name for name in self.shelf(family).names() if not (exists and name == DEFAULT_PRESET)]

    def _offered(self, view: View, family: str, name: str | None) -> Updates:
        exists = bool(self._picked(view))
        names = self._names(family, exists)
        view.changed("train.presets", (family, exists, *names))
        return {self.choice: gr.update(choices=names, value=name)}

    def _told(self, view: View, name: str, said: str) -> Updates:
        """Note and picture of a preset, what came of it, and whether it can be deleted."""
        shelf = self.shelf(self.form.chosen(view))
        own = not shelf.is_built_in(name)
        picture = shelf.path(name).with_suffix(THUMBNAIL_SUFFIX) if own else None
        url = self.page.file_url(picture) if picture and picture.is_file() else ""
        lines = [line for line in (shelf.note(name), said) if line]
        return {
            self.about: _about_html(url, lines),
            self.delete: gr.update(interactive=own),
            self.said: _said(said) if own and said else "",
        }

    def _model(self, view: View) -> ModelFolder | None:
        project, name = self.page.project(view), self._picked(view)
        return ModelFolder(project.model_dir(name)) if project and name else None

    def _link(self, path: Path, words: str = "") -> str:
        url, file = html.escape(self.page.file_url(path)), html.escape(path.name)
        return f'<p class="lk-note">{words}<a class="lk-link" href="{url}" download="{file}">Download {file}</a></p>'


def built_in(family: str) -> dict[str, Preset]:
    """The presets that come with a family: name -> preset, the defaults first."""
    found = built_in_presets(family).items()
    named = {name: Preset(values, built_in_note(family, name, values)) for name, values in found}
    return {DEFAULT_PRESET: Preset(), **named}


def free_name(wanted: str, taken: Sequence[str]) -> str:
    """A name that no preset has, the wanted one where it can be."""
    used = {name.lower() for name in taken}
    names = [wanted, *(f"{wanted} {n}" for n in range(2, len(used) + 3))]
    return next(name for name in names if name.lower() not in used)


def _is_faceswaps(file: Path) -> bool:
    try:
        return FILETYPE_KEY in read_json(file)
    except (DamagedFileError, OSError, TypeError):
        return False


def _kept_values(settings: TrainSettings) -> dict[str, Any]:
    """What a preset keeps of settings, JSON."""
    fields = fields_of(type(settings), (*KEPT, *OF_THE_PROJECT))
    return settings.model_dump(mode="json", include=set(fields))


def _json(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _about_html(url: str, lines: Sequence[str]) -> str:
    image = f'<img src="{html.escape(url)}" alt="">' if url else ""
    words = "".join(f'<p class="lk-note">{html.escape(line)}</p>' for line in lines)
    return f'<div class="lk-preset">{image}<div>{words}</div></div>' if image or words else ""


def _said(words: str) -> str:
    return f'<p class="lk-note">{html.escape(words)}</p>'


def _small(name: str) -> dict[str, Any]:
    return {"size": "sm", "elem_id": f"train-preset-{name}", "elem_classes": "lk-quiet"}
