"""Models from and for other programs: DeepFaceLab's, DFM files, and the files of this program."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import gradio as gr

from backend.core.errors import BadInputError
from backend.core.settings import ModelFileSettings
from backend.storage.model_file import SUFFIX
from backend.storage.model_folder import ModelFolder
from ui_tabs.context import PageContext, View
from ui_tabs.labels import choice_label

DFM_NOTE = (
    "DeepFaceLive and programs like it run a DFM file. It is compared with the model before it is kept. "
    "Half precision makes it smaller, and faster on a GPU."
)
DFL_NOTE = "DeepFaceLab trains SAEHD, AMP and Quick96 models on: unpack the ZIP file into its model folder."
IMPORT_NOTE = (
    "A model file of this program; a DeepFaceLab model as a ZIP file of all its files, or its folder; or a DFM file, "
    "which merges but cannot be trained."
)
IMPORT_TYPES = (SUFFIX, ".zip", ".dfm")

_FACE_TYPES = get_args(ModelFileSettings.model_fields["face_type"].annotation)


class ModelExchange:
    """The groups "For other programs" and "Import a model". Place each inside a layout, then wire().

    Args:
        page: the page's context.
        need: the chosen model of a view; BadInputError when none is.
    """

    def __init__(self, page: PageContext, need: Callable[[View], ModelFolder]) -> None:
        self.page = page
        self._need = need

    def build_exports(self) -> None:
        """Make the group of the exports."""
        with gr.Accordion("For other programs", open=False, elem_id="train-dfm-fold", elem_classes="lk-more"):
            gr.HTML(f'<p class="lk-note">{DFM_NOTE}</p>')
            self.half = gr.Checkbox(label="Half precision", elem_id="train-dfm-half", container=False)
            self.dfm = gr.Button("Export as DFM", **small("dfm"))
            gr.HTML(f'<p class="lk-note">{DFL_NOTE}</p>')
            self.dfl = gr.Button("Export for DeepFaceLab", **small("dfl"))

    def build_import(self) -> None:
        """Make the group of the import."""
        with gr.Accordion("Import a model", open=False, elem_id="train-import-fold", elem_classes="lk-more"):
            gr.HTML(f'<p class="lk-note">{IMPORT_NOTE}</p>')
            self.face_type = gr.Dropdown(
                [(choice_label("face_type", value), value) for value in _FACE_TYPES],
                value=_FACE_TYPES[0],
                label="Face type of a DFM file",
                info="How much of the head it takes; auto is what the file says, else whole face.",
                elem_id="train-import-face-type",
                filterable=False,
            )
            self.upload = gr.UploadButton("Upload a file", file_types=list(IMPORT_TYPES), **small("import"))
            self.place = gr.Textbox(
                label="Or a path on the machine that runs this program",
                max_lines=1,
                elem_id="train-import-path",
            )
            self.bring = gr.Button("Import from this path", **small("import-bring"))

    def wire(self) -> None:
        """Make the buttons work."""
        page = self.page
        page.act(self.dfm.click, self._export_dfm, [page.view, self.half], None)
        page.act(self.dfl.click, self._export_dfl, page.view, None)
        page.act(self.upload.upload, self._import, [page.view, self.upload, self.face_type], None)
        page.act(self.bring.click, self._import_path, [page.view, self.place, self.face_type], self.place)

    def _export_dfm(self, view: View, half: bool) -> None:
        self._submit(view, action="dfm", model=self._need(view).name, fp16=bool(half))

    def _export_dfl(self, view: View) -> None:
        self._submit(view, action="dfl", model=self._need(view).name)

    def _import(self, view: View, path: str | None, face_type: str) -> None:
        if path:
            self._submit(view, action="import", file=str(Path(path)), face_type=face_type)

    def _import_path(self, view: View, path: str, face_type: str) -> str:
        path = (path or "").strip()
        if not path:
            raise BadInputError("There is no path yet.", "Type that of a file, or of a DeepFaceLab model's folder.")
        self._import(view, path, face_type)
        return ""

    def _submit(self, view: View, **facts: Any) -> None:
        self.page.submit(view, "model", ModelFileSettings.model_validate(facts))


def import_words(result: Mapping[str, Any]) -> str:
    """What came of an import, as HTML."""
    name = html.escape(str(result.get("model", "")))
    words = {
        "dfm": f"The DFM file is here as the model {name}. It merges; it cannot be trained.",
        "deepfacelab": f"The DeepFaceLab model is here as {name}; what did not fit is told in the job's log.",
    }
    return words.get(str(result.get("kind", "")), f"Imported; the model {name} is in the list of models.")


def small(name: str) -> dict[str, Any]:
    """Look and id of a small button."""
    return {"size": "sm", "elem_id": f"train-{name}", "elem_classes": "lk-quiet"}
