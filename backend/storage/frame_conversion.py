"""Pictures on their way into an encoder: padding, colour matrix, and the palettes of a gif."""

from __future__ import annotations

from collections.abc import Iterator

import av
import numpy as np
import numpy.typing as npt
from av.filter import Graph
from av.video.format import VideoFormat as PixelFormat
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, VideoReformatter

from backend.storage.frame_clock import FrameClock
from backend.storage.frame_colour import SCALING
from backend.storage.video_formats import VideoFormat


class FrameConversion:
    """Makes encoder frames of BGR or BGRA pictures.

    Args:
        kind: the file they go to.
        padding: columns added at the right and lines added at the bottom, repeating the edge.
        clock: of the frames in the file.
    """

    def __init__(self, kind: VideoFormat, padding: tuple[int, int], clock: FrameClock) -> None:
        self._kind = kind
        self._padding = padding
        self._clock = clock
        self._converter = VideoReformatter()

    def frames(self, picture: npt.NDArray[np.uint8], number: int) -> Iterator[VideoFrame]:
        """Frames that are ready once this one is given.

        Args:
            picture: (h, w, 3) uint8 BGR, or (h, w, 4) BGRA where the file has alpha.
            number: of the frame in the file, from 0.
        """
        right, below = self._padding
        if right or below:
            picture = np.pad(picture, ((0, below), (0, right), (0, 0)), mode="edge")
        name = "bgra" if self._kind.alpha else "bgr24"
        frame = self._converted(VideoFrame.from_ndarray(np.ascontiguousarray(picture), name))
        frame.pts = self._clock.ticks[number]
        frame.time_base = self._clock.time_base
        yield frame

    def rest(self) -> Iterator[VideoFrame]:
        """Frames that were held back."""
        return iter(())

    def _converted(self, frame: VideoFrame) -> VideoFrame:
        if self._kind.is_rgb:
            return self._converter.reformat(frame, format=self._kind.pixel_format, interpolation=SCALING)
        return self._converter.reformat(
            frame,
            format=self._kind.pixel_format,
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            dst_color_trc=ColorTrc.BT709,
            dst_color_primaries=ColorPrimaries.BT709,
            interpolation=SCALING,
        )


class PaletteConversion(FrameConversion):
    """Pictures of 256 colours, each with a palette of its own, chosen and dithered by FFmpeg."""

    def __init__(self, kind: VideoFormat, size: tuple[int, int], clock: FrameClock) -> None:
        super().__init__(kind, (0, 0), clock)
        graph = Graph()
        source = graph.add_buffer(
            width=size[0], height=size[1], format=PixelFormat("bgr0", *size), time_base=clock.time_base
        )
        split = graph.add("split")
        choose = graph.add("palettegen", "stats_mode=single")
        use = graph.add("paletteuse", "new=1")
        sink = graph.add("buffersink")
        source.link_to(split)
        split.link_to(use, 0, 0)
        split.link_to(choose, 1, 0)
        choose.link_to(use, 0, 1)
        use.link_to(sink)
        graph.configure()
        self._graph = graph

    def frames(self, picture: npt.NDArray[np.uint8], number: int) -> Iterator[VideoFrame]:
        """As FrameConversion.frames; those before the newest one come out."""
        for frame in super().frames(picture, number):
            self._graph.push(frame)
        return self._ready()

    def rest(self) -> Iterator[VideoFrame]:
        """Frames that were held back."""
        self._graph.push(None)
        return self._ready()

    def _converted(self, frame: VideoFrame) -> VideoFrame:
        return self._converter.reformat(frame, format="bgr0", interpolation=SCALING)

    def _ready(self) -> Iterator[VideoFrame]:
        while True:
            try:
                found = self._graph.pull()
            except (av.BlockingIOError, av.EOFError):
                return
            assert isinstance(found, VideoFrame)
            yield found
