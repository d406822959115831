"""What starting a stage of the Extract tab would do, in a sentence: disk that is needed, faces that go to the trash."""

from __future__ import annotations

import html
from collections.abc import Callable
from pathlib import Path

from backend.core.faces import MANUAL
from backend.core.settings import ExtractFacesSettings, ExtractFramesSettings, Settings
from backend.storage.atomic import free_bytes
from backend.storage.frame_estimate import Need, frame_bytes, frames_expected
from backend.storage.image import list_images
from backend.storage.tone_map import KINDS
from backend.storage.workspace import SideFiles, SideStatus
from ui_tabs.clip_cards import ClipCards
from ui_tabs.context import OPEN_STATES, PageContext, View
from ui_tabs.fix_frames import FrameMap
from ui_tabs.header import size
from ui_tabs.labels import SIDES
from ui_tabs.side_stage import Prospect, side_of

KEPT = 64

MapOf = Callable[[SideFiles, bool], FrameMap | None]


class ExtractForesight:
    """Looks ahead for the frames and the faces card; remembers what was measured until the frames change.

    Args:
        page: the page's context.
        cards: what knows the clips.
        map_of: the frames and faces of a side, given whether a job writes them; None while they are read.
    """

    def __init__(self, page: PageContext, cards: ClipCards, map_of: MapOf) -> None:
        self.page = page
        self.cards = cards
        self._map_of = map_of
        self._sizes: dict[tuple[Path, int, str], tuple[float, bool]] = {}

    def frames(self, view: View, settings: Settings) -> Prospect:
        """How many frames there will be and the disk they take."""
        assert isinstance(settings, ExtractFramesSettings)
        side = self.page.need_project(view).side(side_of(view))
        if side.video is None:
            word = SIDES[side_of(view)].lower()
            return Prospect(reason=f"The {word} clip is missing. Bring it in on the Project tab.")
        info = self.cards.info(side.video)
        if isinstance(info, str):
            return Prospect(reason=f"{side.video.name}: {info}")
        frames = frames_expected(info, settings.start_s, settings.end_s, settings.fps)
        if not frames:
            return Prospect(reason=f"No frame lies in that range; the clip lasts {info.duration_s:.2f} s.")
        key = (side.video, _modified(side.video) ^ _modified(side.frames_dir), settings.image_format)
        if key not in self._sizes:
            if len(self._sizes) > KEPT:
                self._sizes.clear()
            self._sizes[key] = frame_bytes(info, settings.image_format, side.frames_dir)
        each, measured = self._sizes[key]
        need = Need(frames, each, free_bytes(side.frames_dir), measured)
        words = disk_words(need)
        kind = KINDS.get(info.color_transfer, "")
        if kind:
            words += f" The clip is high dynamic range, {kind}; its tones are mapped to BT.709."
        reason = "" if need.fits else f"The frames do not fit on the disk: {disk_words(need)}"
        return Prospect(note(words), reason)

    def faces(self, view: View, settings: Settings) -> Prospect:
        """What becomes of the faces that are there."""
        assert isinstance(settings, ExtractFacesSettings)
        project = self.page.need_project(view)
        status: SideStatus = getattr(project.status(), side_of(view))
        if not status.frames:
            return Prospect(reason=f"There are no {SIDES[side_of(view)].lower()} frames yet. Extract the frames first.")
        side = project.side(side_of(view))
        if settings.existing == "debug" and not list_images(side.debug_dir):
            return Prospect(reason="There are no debug images to go by. They are written when Debug images is on.")
        return Prospect(note(faces_words(settings, status, side, self._by_hand(view, side))))

    def _by_hand(self, view: View, side: SideFiles) -> int:
        """How many faces were made by hand; 0 as long as they are being read."""
        busy = any(job.status.state in OPEN_STATES for job in self.page.jobs(view, ("extract-faces",)))
        frames = self._map_of(side, busy)
        made = [record for number in frames.found["hand"] for record in frames.of(number)] if frames else []
        return sum(record.face.origin == MANUAL for record in made)


def disk_words(need: Need) -> str:
    """Frames and disk, for people."""
    how = "as the frames that are there" if need.measured else "at most"
    return f"About {need.frames:,} frames need {size(need.bytes)} ({how}); {size(need.free)} free."


def faces_words(settings: ExtractFacesSettings, status: SideStatus, side: SideFiles, by_hand: int) -> str:
    """What starting would do with the faces that are there."""
    if settings.existing == "debug":
        missing = status.frames - len({path.stem for path in list_images(side.debug_dir)})
        return (
            f"{max(0, missing):,} of {status.frames:,} frames have no debug image any more; these are searched again."
        )
    if not status.faces:
        return f"{status.frames:,} frames are searched."
    if settings.existing == "restart":
        also = f", {by_hand:,} of them made by hand" if by_hand else ""
        return f"{status.faces:,} faces go to the trash first{also}; Undo in the Sort tab brings them back."
    if settings.existing == "missing":
        left = status.frames_without_face
        known = (
            f"{left:,} frames without a face are searched" if left is not None else "Frames without a face are searched"
        )
        return f"{known}; the {status.faces:,} faces that are there stay."
    return f"The frames behind the last one with a face are searched; the {status.faces:,} faces that are there stay."


def note(text: str) -> str:
    """A sentence in small print."""
    return f'<p class="lk-note">{html.escape(text)}</p>' if text else ""


def _modified(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
