"""The picture that goes into a file: what of a merged frame is shown, at which size, with or without a label."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from backend.core.errors import BadInputError
from backend.core.settings import ExportSettings
from backend.ops.label import FALLBACK, LabelStamp

UInt8 = npt.NDArray[np.uint8]


class ExportPicture:
    """Makes the pictures of one export.

    Args:
        settings: content, height and label.
        size_wh: width and height of the merged frames.
        original_wh: width and height of the original ones.
        even: whether a chosen height gets an even width.

    Attributes:
        size: (width, height) of the pictures made.
        note: a sentence about the label for the log; "" when there is nothing to say.
    """

    def __init__(
        self, settings: ExportSettings, size_wh: tuple[int, int], original_wh: tuple[int, int], even: bool
    ) -> None:
        self._content = settings.content
        self._merged_size = _scaled(size_wh, settings.height, even)
        height = self._merged_size[1]
        self._original_size = _scaled(original_wh, height, even) if original_wh[1] != height else original_wh
        self._merged_wh = size_wh
        self._made = 0
        width = self._merged_size[0] + (self._original_size[0] if self._content == "compare" else 0)
        self.size = (width, height)
        self._stamp: LabelStamp | None = None
        self.note = ""
        if settings.label and settings.content == "mask":
            self.note = "The mask video gets no label: it shows no face."
        elif settings.label:
            opacity = settings.label_opacity / 100
            self._stamp = LabelStamp(settings.label_text, settings.label_corner, opacity, self._merged_size)
            if self._stamp.missing:
                self.note = f"No font here has these letters of the label: {self._stamp.missing}."
            if self._stamp.missing and self._stamp.text == FALLBACK:
                self.note += f" It says {FALLBACK} instead."

    @property
    def label(self) -> str:
        """Text of the label that is drawn; "" without one."""
        return self._stamp.text if self._stamp else ""

    def make(self, merged: UInt8, mask: UInt8 | None, original: UInt8 | None) -> UInt8:
        """The picture of one frame; the arguments stay as they are.

        Args:
            merged: (h, w, 3) uint8 BGR.
            mask: (h, w) uint8, 255 where the face was replaced; for the contents alpha and mask.
            original: (h, w, 3) uint8 BGR; for the content compare.

        Returns:
            (h, w, 3) uint8 BGR, for alpha (h, w, 4) straight BGRA, for mask (h, w, 3) gray.

        Raises:
            BadInputError: another size than said, or a part that is missing.
        """
        self._made += 1
        self._require(merged, mask, original)
        if self._content == "mask":
            assert mask is not None
            return cv2.cvtColor(_resized(mask, self._merged_size), cv2.COLOR_GRAY2BGR)
        picture = _resized(merged, self._merged_size)
        if self._content == "alpha":
            assert mask is not None
            picture = np.dstack([picture, _resized(mask, self._merged_size)])
        elif self._content == "compare":
            assert original is not None
            picture = np.hstack([_resized(original, self._original_size), picture])
        if self._stamp is not None:
            picture = picture.copy() if picture is merged else picture
            # beside an original only the merged half is called manipulated
            self._stamp.draw(picture[:, -self._merged_size[0] :])
        return picture

    def _require(self, merged: UInt8, mask: UInt8 | None, original: UInt8 | None) -> None:
        if (merged.shape[1], merged.shape[0]) != self._merged_wh:
            raise BadInputError(
                f"Frame {self._made} is {merged.shape[1]} x {merged.shape[0]}, the first one {self._merged_wh[0]} x "
                f"{self._merged_wh[1]}.",
                "All frames of a video must have one size.",
            )
        if self._content in ("alpha", "mask") and (mask is None or mask.shape[:2] != merged.shape[:2]):
            raise BadInputError(f"Frame {self._made} has no mask of its size.", "Merge it again, with masks.")
        if self._content == "compare" and original is None:
            raise BadInputError(f"The original of frame {self._made} is missing.", "Extract the frames again.")


def _scaled(size_wh: tuple[int, int], height: int, even: bool) -> tuple[int, int]:
    width, high = size_wh
    if not height or height == high:
        return size_wh
    wide = width * height / high
    return (max(2, round(wide / 2) * 2) if even else max(1, round(wide))), height


def _resized(image: UInt8, size_wh: tuple[int, int]) -> UInt8:
    """Averaged when it gets smaller, Lanczos when larger; the image itself when it has the size."""
    height, width = image.shape[:2]
    if (width, height) == size_wh:
        return image
    way = cv2.INTER_AREA if size_wh[0] * size_wh[1] < width * height else cv2.INTER_LANCZOS4
    return np.asarray(cv2.resize(image, size_wh, interpolation=way), np.uint8)
