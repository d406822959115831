"""Random affine map, flip, warp and colour shift of a whole batch at once.

All random numbers come from one CPU generator, so that they are the same on every device and can be saved. Every
output is resampled once: the warp is composed with the affine map before the faces are looked up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from backend.core.settings.quick96 import Quick96Settings
from backend.core.settings.train import TrainSettings
from backend.training.batch import FaceBatch
from backend.training.hue import random_hsv, shift_hsv
from backend.training.lab import random_lab
from backend.training.loader import RawBatch, RawSide
from backend.training.lookup import Distortion, look_up, to_float
from backend.training.sampler import ALONE, Share

ROTATION_DEG = 10.0
SCALE = TrainSettings.RANDOM_SCALE
SHIFT = 0.05
FLIP_CHANCE = 0.4
WARP_CELLS = (2, 4, 8)
WARP_STRENGTH = 0.24
WARP_TRUNCATION = 2.5
_FINEST = max(WARP_CELLS) + 1

_QUICK96_PLAIN_EVERY = 3


@dataclass(frozen=True)
class SideOptions:
    """What is random on one side: see AugmentOptions."""

    warp: bool = True
    flip: bool = False
    scale: float = SCALE
    hsv_power: float = 0.0
    lightness: float = 0.0
    ab: float = 0.0


@dataclass(frozen=True)
class AugmentOptions:
    """What is random.

    Attributes:
        warp: the input is distorted.
        flip_src, flip_dst: input and target of a side are mirrored in 40 % of the cases.
        scale: faces come larger or smaller by up to this share.
        hsv_power: how far the colours of the source's input are shifted, 0..0.3.
        lightness, ab: how far L, and a and b of LAB are shifted, of input and target alike; 0..1.
    """

    warp: bool = True
    flip_src: bool = False
    flip_dst: bool = False
    scale: float = SCALE
    hsv_power: float = 0.0
    lightness: float = 0.0
    ab: float = 0.0

    @classmethod
    def of(cls, settings: TrainSettings) -> AugmentOptions:
        """What effective settings ask for."""
        return cls(
            warp=settings.random_warp,
            flip_src=settings.random_src_flip,
            flip_dst=settings.random_dst_flip,
            scale=settings.RANDOM_SCALE,
            hsv_power=settings.random_hsv_power,
            lightness=settings.color_lightness / 100,
            ab=settings.color_ab / 100,
        )

    @property
    def src(self) -> SideOptions:
        """Options of the source."""
        return SideOptions(self.warp, self.flip_src, self.scale, self.hsv_power, self.lightness, self.ab)

    @property
    def dst(self) -> SideOptions:
        """Options of the destination, whose input has the colours of its target."""
        return SideOptions(self.warp, self.flip_dst, self.scale, 0.0, self.lightness, self.ab)


class Augmenter:
    """Makes training batches of undistorted ones. Where the input is not distorted it is the target tensor itself.

    Quick96 takes the batch before once more, with its targets as input, whenever the iteration is a multiple of 3:
    again() instead of a new batch. Without a batch before it, at a start, a new one is then taken un-warped. So a
    training that is to go on at such an iteration has to begin with the faces and the random numbers of the batch
    before, and finds the very same pictures.

    Args:
        settings: effective ones.
        generator: CPU generator of all random numbers; with several processes it has the same state in all of them.
        device: where the batches are to lie.
        share: the part of the batch that this process works on.
    """

    def __init__(
        self, settings: TrainSettings, generator: torch.Generator, device: torch.device, share: Share = ALONE
    ) -> None:
        self._options = AugmentOptions.of(settings)
        self._generator = generator
        self._device = device
        self._share = share
        self._plain_every = _QUICK96_PLAIN_EVERY if isinstance(settings, Quick96Settings) else 0
        self._last: tuple[FaceBatch, FaceBatch] | None = None

    def __call__(self, raw: RawBatch, iteration: int) -> tuple[FaceBatch, FaceBatch]:
        """src and dst of one iteration.

        Args:
            raw: this process's part of a new batch.
            iteration: how many iterations were done before.
        """
        batch = augment(raw, self._options, self._generator, self._device, self._share)
        self._last = batch if self._plain_every else None
        return self.again() if self._is_plain(iteration) else batch

    def reuses(self, iteration: int) -> bool:
        """Whether the iteration after so many takes the batch before once more: ask again() for it."""
        return self._last is not None and self._is_plain(iteration)

    def again(self) -> tuple[FaceBatch, FaceBatch]:
        """The batch before with its targets as input. ValueError when there is none."""
        if self._last is None:
            raise ValueError("there is no batch before this one")
        src, dst = self._last
        return _unwarped(src), _unwarped(dst)

    def forget(self) -> None:
        """Drop the batch before."""
        self._last = None

    def _is_plain(self, iteration: int) -> bool:
        return self._plain_every > 0 and iteration % self._plain_every == 0


def augment(
    raw: RawBatch,
    options: AugmentOptions,
    generator: torch.Generator,
    device: torch.device,
    share: Share = ALONE,
) -> tuple[FaceBatch, FaceBatch]:
    """Distort both sides of a batch, src first; see augment_side()."""
    src = augment_side(raw.src, options.src, generator, device, share)
    return src, augment_side(raw.dst, options.dst, generator, device, share)


def augment_side(
    raw: RawSide,
    options: SideOptions,
    generator: torch.Generator,
    device: torch.device,
    share: Share = ALONE,
) -> FaceBatch:
    """Distort the faces of one side.

    Ranges are DeepFaceLab's: rotation within 10 degrees, scale 1/1.15..1.15, shift within 5 % of the side, mirrored in
    40 % of the cases when asked for, then its warp grid with independent axes, then the shift of the input's colours.
    Lightness and colours of input and target are shifted before all that.

    Args:
        raw: faces and masks as bytes, this process's part of them; warp grids that come with them are used instead of
            random ones.
        options: what is random.
        generator: CPU generator of all random numbers.
        device: where the result lies.
        share: random numbers are drawn for the batch of all processes, and those of this part are used.

    Returns:
        float32 0..1, BGR. Target and masks share the affine map; only warped also has the warp and the colour shift.
        Outside a face's picture its edge is repeated, masks are 0.
    """
    count = len(raw.images) * share.ranks
    theta = share.of(random_affine(count, options.flip, generator, options.scale))
    nodes = raw.nodes
    if nodes is None and options.warp:
        nodes = share.of(random_warp_nodes(count, generator))
    lab = None
    if options.lightness or options.ab:
        lab = share.of(random_lab(count, options.lightness, options.ab, generator))
    found = look_up(raw.images, raw.masks, Distortion(theta, nodes, lab), device)
    warped = found.warped
    if options.hsv_power > 0:
        warped = shift_hsv(warped, random_hsv(count, options.hsv_power, generator).of(share))
    return FaceBatch(warped, found.target, *found.masks)


def plain(raw: RawSide, device: torch.device) -> FaceBatch:
    """The same faces without any distortion, as previews and evaluations show them; shapes as augment_side()."""
    images, masks = to_float(raw.images, device), to_float(raw.masks, device)
    return FaceBatch(images, images, *masks.split(1, dim=1))


def random_affine(
    count: int, flip: bool, generator: torch.Generator, scale_by: float = TrainSettings.RANDOM_SCALE
) -> Tensor:
    """Random output -> input maps, (count, 2, 3) float32, in coordinates of -1..1 across the picture."""
    u = torch.rand(5, count, generator=generator)
    angle = (u[0] * 2 - 1) * math.radians(ROTATION_DEG)
    smallest, largest = 1 / (1 + scale_by), 1 + scale_by
    scale = smallest + u[1] * (largest - smallest)
    shift_x, shift_y = (u[2:4] * 2 - 1) * SHIFT * 2
    mirror = torch.where(u[4] < FLIP_CHANCE, -1.0, 1.0) if flip else torch.ones(count)
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    # Forward: rotate and scale about the centre, shift, mirror last. This is its inverse.
    row_x = torch.stack([cos * mirror, sin, -(cos * shift_x + sin * shift_y)], dim=1)
    row_y = torch.stack([-sin * mirror, cos, sin * shift_x - cos * shift_y], dim=1)
    return torch.stack([row_x, row_y], dim=1)


def random_warp_nodes(count: int, generator: torch.Generator) -> Tensor:
    """Random displacements of a regular grid, (count, 2, 9, 9) float32, x and y in units of -1..1 across the picture.

    Cells of a half, a quarter or an eighth of the side with equal odds; inner nodes move by a normal number cut at 2.5
    deviations, divided by 2.5, times 0.24 cell; the border stays. Coarser grids are written on the finest one, which
    leaves their bilinear surface as it is.
    """
    out = torch.zeros(count, 2, _FINEST, _FINEST)
    which = torch.randint(len(WARP_CELLS), (count,), generator=generator)
    for i, cells in enumerate(WARP_CELLS):
        chosen = torch.nonzero(which == i)[:, 0]
        nodes = torch.zeros(len(chosen), 2, cells + 1, cells + 1)
        noise = _truncated_normal((len(chosen), 2, cells - 1, cells - 1), generator)
        nodes[:, :, 1:-1, 1:-1] = noise * (WARP_STRENGTH * 2 / cells)
        if len(chosen):
            out[chosen] = F.interpolate(nodes, size=(_FINEST, _FINEST), mode="bilinear", align_corners=True)
    return out


def _truncated_normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Normal numbers with |z| <= 2.5, divided by 2.5, by the inverse of the distribution function."""
    edge = math.erf(WARP_TRUNCATION / math.sqrt(2))
    uniform = (torch.rand(shape, generator=generator) * 2 - 1) * edge
    return torch.erfinv(uniform) * (math.sqrt(2) / WARP_TRUNCATION)


def _unwarped(batch: FaceBatch) -> FaceBatch:
    return replace(batch, warped=batch.target)
