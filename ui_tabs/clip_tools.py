"""Tools for the clip and its frames: cut, rescale, take noise out, and the way back from each."""

from __future__ import annotations

import html
import time
from pathlib import Path
from typing import Any

import gradio as gr

from backend.core.errors import BadInputError
from backend.core.frames import VideoInfo
from backend.core.settings import DenoiseFramesSettings, EditClipSettings, Settings
from backend.jobs.scheduler import writes
from backend.storage.atomic import MIN_FREE_BYTES, free_bytes
from backend.storage.clip_history import former_clips
from backend.storage.frame_estimate import frames_expected
from backend.storage.frames_before import FramesBefore
from backend.storage.image import list_images
from backend.storage.tone_map import KINDS
from backend.storage.workspace import Project, SideFiles
from ui_tabs.clip_cards import ClipCards, facts
from ui_tabs.context import OPEN_STATES, PageContext, Updates, View
from ui_tabs.extract_foresee import note
from ui_tabs.header import size
from ui_tabs.job_panel import duration, empty_html
from ui_tabs.labels import SIDES
from ui_tabs.side_stage import CardWords, Prospect, StageCard, side_of

FORGET = ("start_s", "end_s", "height")
"""What a finished cut no longer means: the clip is another one."""
SIZES_S = 10
"""So seldom the sizes of frames are added up, seconds."""
KEPT_CHOICES = (("Earlier clips", "clips"), ("Frames as they were before denoising", "frames"))


class ClipTools:
    """Cards of the stages edit-clip and denoise-frames, and what they keep for undo. Place it inside a layout.

    Args:
        page: the page's context.
        cards: what knows the clips.
    """

    def __init__(self, page: PageContext, cards: ClipCards) -> None:
        self.page = page
        self.cards = cards
        self._sizes: dict[Path, tuple[float, int, int]] = {}
        with gr.Row(elem_classes="lk-split"):
            with gr.Column(min_width=320):
                words = CardWords(
                    "Cut or rescale the clip", "Progress appears here once the clip is being written.", "Apply"
                )
                self.edit = StageCard(
                    page, ("edit-clip", EditClipSettings), words, self._edit_said, ("restore",), FORGET
                )
                with self.edit.more:
                    self.restore = gr.Button("Bring the clip back", elem_id="edit-clip-restore", interactive=False)
            with gr.Column(min_width=320):
                words = CardWords(
                    "Take noise out of the frames", "Progress appears here once frames are being changed."
                )
                stage: Any = ("denoise-frames", DenoiseFramesSettings)
                self.denoise = StageCard(page, stage, words, self._denoise_said, ("undo",))
                with self.denoise.more:
                    self.undo = gr.Button("Bring the frames back", elem_id="denoise-frames-undo", interactive=False)
                self._build_kept()
        page.act(self.restore.click, self._restore, page.view, None)
        page.act(self.undo.click, self._undo, page.view, None)
        page.act(self.give_up.click, self._give_up, [page.view, self.what, self.typed], [self.typed])

    def _build_kept(self) -> None:
        with gr.Column(elem_classes="lk-card"):
            gr.HTML('<h2 class="lk-card-title">Kept for undo</h2>')
            self.kept = gr.HTML("", elem_id="clip-kept")
            with gr.Accordion("Give up", open=False, elem_classes="lk-more", elem_id="clip-give-up-fold"):
                self.what = gr.Radio(list(KEPT_CHOICES), value="frames", label="What", elem_id="clip-give-up-what")
                self.typed = gr.Textbox(label="Type delete to confirm", max_lines=1, elem_id="clip-give-up-word")
                self.give_up = gr.Button("Delete", variant="stop", size="sm", elem_id="clip-give-up")

    @property
    def outputs(self) -> list[Any]:
        """Every component that tick() and fill() may update."""
        return [*self.edit.outputs, *self.denoise.outputs, self.restore, self.undo, self.kept]

    def fill(self, view: View) -> Updates:
        """The settings of the last runs on this side; a range of another clip is not offered again."""
        return {**self.edit.fill(view), **self.denoise.fill(view)}

    def tick(self, view: View) -> Updates:
        """What changed."""
        shown = {**self.edit.tick(view), **self.denoise.tick(view)}
        project = self.page.project(view)
        side = project.side(side_of(view)) if project else None
        clips = former_clips(project.path, side_of(view)) if project else []
        frames = FramesBefore(side.frames_dir).kept() if side else []
        for button, key, there in ((self.restore, "clip", bool(clips)), (self.undo, "frames", bool(frames))):
            if view.changed(f"undo.{key}", there):
                shown[button] = gr.update(interactive=there)
        content = self._kept_html(side, clips, len(frames))
        if view.changed("clip.kept", content):
            shown[self.kept] = content
        return shown

    # -- what starting would do

    def _edit_said(self, view: View, settings: Settings) -> Prospect:
        assert isinstance(settings, EditClipSettings)
        project = self.page.need_project(view)
        clip = project.side(side_of(view)).video
        if clip is None:
            word = SIDES[side_of(view)].lower()
            return Prospect(reason=f"The {word} clip is missing. Bring it in on the Project tab.")
        info = self.cards.info(clip)
        if isinstance(info, str):
            return Prospect(reason=f"{clip.name}: {info}")
        frames = frames_expected(info, settings.start_s, settings.end_s, 0)
        if not frames:
            return Prospect(reason=f"No frame lies in that range; the clip lasts {info.duration_s:.2f} s.")
        need, free = _clip_bytes(settings, info, clip), free_bytes(project.path)
        known = ", ".join(text for name, text in facts(clip, info) if name in ("Length", "Picture"))
        words = f"Now {known}. {_edit_words(settings, info, frames)} About {size(need)}; {size(free)} free."
        reason = (
            ""
            if free >= need + MIN_FREE_BYTES
            else f"The new clip does not fit: about {size(need)}, {size(free)} free."
        )
        return Prospect(self._ends_html(project, clip, settings, info) + note(words), reason)

    def _ends_html(self, project: Project, clip: Path, settings: EditClipSettings, info: VideoInfo) -> str:
        """Pictures of both ends of the part."""
        last = max(settings.start_s, min(settings.end_s or info.duration_s, info.duration_s) - float(1 / info.fps))
        shown = []
        for word, time_s in (("First", settings.start_s), ("Last", last)):
            found = self.cards.frame_at(project, clip, time_s)
            if found:
                path, at_s = found
                url = html.escape(self.page.file_url(path, 1))
                caption = f"<figcaption>{word}, {at_s:.2f} s</figcaption>"
                shown.append(f'<figure><img src="{url}" alt="{word} frame of the part">{caption}</figure>')
        return f'<div class="lk-ends">{"".join(shown)}</div>'

    def _denoise_said(self, view: View, settings: Settings) -> Prospect:
        assert isinstance(settings, DenoiseFramesSettings)
        side = self.page.need_project(view).side(side_of(view))
        need, frames = self._size_of(side.frames_dir)
        if not frames:
            return Prospect(reason=f"There are no {SIDES[side_of(view)].lower()} frames yet. Extract the frames first.")
        free = free_bytes(side.frames_dir)
        words = f"{frames:,} frames, {size(need)} as they are; {size(free)} free. {_denoised_words(side, settings)}"
        reason = "" if free >= need + MIN_FREE_BYTES else (
            f"The frames do not fit on the disk a second time: {size(need)}, {size(free)} free."
        )  # fmt: skip
        return Prospect(note(words), reason)

    # -- the way back

    def _restore(self, view: View) -> None:
        self.edit.submit(view, restore=True)

    def _undo(self, view: View) -> None:
        self.denoise.submit(view, undo=True)

    def _give_up(self, view: View, what: str, typed: str) -> str:
        if typed.strip().lower() != "delete":
            raise BadInputError("Nothing was deleted.", "Type the word delete to confirm.")
        project = self.page.need_project(view)
        side = project.side(side_of(view))
        changed = {f"{side.name} video", f"{side.name} frames"}
        if any(j.status.state in OPEN_STATES and writes(j.request) & changed for j in self.page.jobs(view)):
            raise BadInputError("A job is changing this clip or its frames.", "Wait for it or stop it first.")
        if what == "frames":
            freed = FramesBefore(side.frames_dir).drop()
        else:
            freed = 0
            for clip in former_clips(project.path, side.name):
                freed += clip.stat().st_size
                clip.unlink()
        self._sizes.clear()
        gr.Info(f"{size(freed)} freed.", duration=6)
        return ""

    def _kept_html(self, side: SideFiles | None, clips: list[Path], frames: int) -> str:
        if side is None or not (clips or frames):
            return empty_html("The clip and the frames as they were are kept here when they are changed.")
        rows = [(clip.name, clip.stat().st_size) for clip in clips]
        if frames:
            before = FramesBefore(side.frames_dir)
            rows.append((f"{frames:,} frames as they were", self._size_of(before.folder)[0]))
        cells = "".join(
            f'<tr><td>{html.escape(name)}</td><td class="lk-number">{size(number)}</td></tr>' for name, number in rows
        )
        return f'<table class="lk-table"><tbody>{cells}</tbody></table>'

    def _size_of(self, folder: Path) -> tuple[int, int]:
        """(bytes, number) of the pictures in a folder, looked up now and then."""
        known = self._sizes.get(folder)
        if known is None or time.monotonic() - known[0] > SIZES_S:
            sizes = [path.stat().st_size for path in list_images(folder)]
            known = (time.monotonic(), sum(sizes), len(sizes))
            self._sizes[folder] = known
        return known[1], known[2]


def _clip_bytes(settings: EditClipSettings, info: VideoInfo, clip: Path) -> int:
    """About what the new clip takes."""
    seconds = max(0.0, min(settings.end_s or info.duration_s, info.duration_s) - settings.start_s)
    if settings.method == "copy":
        return int(clip.stat().st_size * seconds / max(info.duration_s, 1e-6))
    return int(settings.bitrate_mbit * 1e6 / 8 * seconds)


def _edit_words(settings: EditClipSettings, info: VideoInfo, frames: int) -> str:
    end = min(settings.end_s or info.duration_s, info.duration_s)
    parts = [f"Keeps {_length(end - settings.start_s)}, about {frames:,} frames."]
    if settings.method == "copy":
        parts.append("The copy begins at the key frame before the start; the log says where.")
    elif settings.height:
        width = max(2, round(info.width * settings.height / info.height / 2) * 2)
        parts.append(f"Becomes {width} x {settings.height} px.")
    if settings.method == "encode" and info.color_transfer in KINDS:
        parts.append("Its HDR tones are mapped to BT.709 for good.")
    return " ".join(parts)


def _denoised_words(side: SideFiles, settings: DenoiseFramesSettings) -> str:
    """What was done to the frames before."""
    before = FramesBefore(side.frames_dir).note()
    if before is None:
        return "" if settings.keep_originals else "The frames as they are now are not kept: this cannot be undone."
    if not before.complete and before.kept:
        return f"{before.done:,} of them are denoised with strength {before.factor}; the same strength goes on there."
    if before.kept:
        return f"They are denoised with strength {before.factor}; starting again begins with the frames as they were."
    return f"They are denoised with strength {before.factor}, and this adds to it: the frames as they were are gone."


def _length(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds < 60 else duration(seconds)
