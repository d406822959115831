"""Local contrast of some faces, equalised: CLAHE on the lightness, by chance."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]

CLIP = 2.0
_CHANCE_SEED = 1 << 41  # keeps these random numbers apart from those of other work on the same face


@dataclass(frozen=True)
class Equaliser:
    """Faceswap's equalising: a share of the faces, each with a grid of its own size.

    Attributes:
        chance: share of the faces, 0..1.
        largest: most steps that a grid is finer than the coarsest; 0..largest come equally often.
        seed: of the training.
        side: 0 src, 1 dst.
    """

    chance: float
    largest: int
    seed: int
    side: int

    def __call__(self, number: int, face: Bytes) -> Bytes:
        """The face as it comes out, itself or a new one.

        Args:
            number: of the face in the training: chance follows from it, the side and the seed alone.
            face: (h, w, C) uint8, BGR or gray.
        """
        rng = np.random.default_rng([_CHANCE_SEED, self.seed, self.side, int(number)])
        if rng.random() >= self.chance:
            return face
        coarsest = max(2, face.shape[0] // 128)
        return equalised(face, coarsest + int(rng.integers(self.largest + 1)) * (coarsest // 2))


def equalised(face: Bytes, tiles: int) -> Bytes:
    """Equalise the contrast inside each of ``tiles`` x ``tiles`` parts of a face: of L in LAB, or of its gray.

    Zuiderveld, "Contrast Limited Adaptive Histogram Equalization", 1994; no level counts more than twice as often as
    all do on average.

    Args:
        face: (h, w, C) uint8, BGR or gray.
        tiles: parts along each side, from 1.

    Returns:
        (h, w, C) uint8.
    """
    clahe = cv2.createCLAHE(clipLimit=CLIP, tileGridSize=(tiles, tiles))
    if face.shape[2] == 1:
        return np.asarray(clahe.apply(face[..., 0]), np.uint8)[..., None]
    light, a, b = cv2.split(cv2.cvtColor(face, cv2.COLOR_BGR2LAB))
    return np.asarray(cv2.cvtColor(cv2.merge([clahe.apply(light), a, b]), cv2.COLOR_LAB2BGR), np.uint8)
