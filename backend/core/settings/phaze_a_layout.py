"""Sizes of a network of the model builder, computed from its settings alone."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from backend.core.encoders import ENCODERS, encoder_input_px, map_side
from backend.core.filter_curve import decoder_filters, hidden_nodes, scale_dim, scaled_filters

if TYPE_CHECKING:
    from backend.core.settings.phaze_a import PhazeASettings


@dataclass(frozen=True)
class PhazeALayout:
    """Sizes from the input to the output. Pictures are (side in px, channels).

    Attributes:
        input_px: side of the picture the encoder sees.
        encoder_filters: of fs_original's convolutions; empty for other encoders.
        encoder_shape: what fs_original gives, (height, width, channels); None where a backbone decides.
        code: width of what the bottleneck gives; None where only the built backbone tells.
        fc_min_filters, fc_max_filters, fc_upsample_filters: as they are used, reduced by the guide's rule where the
            decoder begins at another side than the hidden part ends.
        fc_nodes: of the hidden part's dense layers.
        fc_start: picture they are reshaped to.
        fc_end: what one hidden part gives after its upsamples.
        fc_gblock_nodes: of the dense layers that make the style; empty without a G-Block.
        decoder_start: where the upscales begin, after hidden parts are joined and reshaped.
        decoder_filters: of all upscales, those in the hidden part first.
        decoder_input: what the decoder takes: behind the upscales in the hidden part, where there are any.
    """

    input_px: int
    encoder_filters: tuple[int, ...]
    encoder_shape: tuple[int, int, int] | None
    code: int | None
    fc_min_filters: int
    fc_max_filters: int
    fc_upsample_filters: int
    fc_nodes: tuple[int, ...]
    fc_start: tuple[int, int]
    fc_end: tuple[int, int]
    fc_gblock_nodes: tuple[int, ...]
    decoder_start: tuple[int, int]
    decoder_filters: tuple[int, ...]
    decoder_input: tuple[int, int]


def layout_of(settings: PhazeASettings) -> PhazeALayout:
    """The sizes these settings give, also where they contradict each other."""
    s = settings
    input_px = encoder_input_px(s.enc_architecture, s.enc_scaling)
    shape = _fs_original_shape(s, input_px) if s.enc_architecture == "fs_original" else None
    low, high = _hidden_filters(s, s.fc_min_filters), _hidden_filters(s, s.fc_max_filters)
    doubled = _hidden_filters(s, s.fc_upsample_filters, multiple=2 if s.fc_upsampler == "upscale_hybrid" else 1)
    area = s.fc_dimensions**2
    end = (s.fc_dimensions * 2**s.fc_upsamples, upscale_width(s.fc_upsampler, doubled) if _filtered(s) else high)
    start = _decoder_start(s, *end)
    upscales = decoder_filters(
        s.dec_max_filters,
        s.dec_min_filters,
        (s.output_size // start[0]).bit_length() - 1,
        s.dec_filter_slope,
        s.dec_slope_mode,
    )
    styles = hidden_nodes(s.fc_gblock_min_nodes, s.fc_gblock_max_nodes, s.fc_gblock_depth, s.fc_gblock_filter_slope)
    return PhazeALayout(
        input_px=input_px,
        encoder_filters=_fs_original_filters(s) if shape else (),
        encoder_shape=shape,
        code=_code(s, input_px, shape),
        fc_min_filters=low,
        fc_max_filters=high,
        fc_upsample_filters=doubled,
        fc_nodes=tuple(hidden_nodes(low * area, high * area, s.fc_depth, s.fc_filter_slope)),
        fc_start=(s.fc_dimensions, high),
        fc_end=end,
        fc_gblock_nodes=tuple(styles) if s.enable_gblock else (),
        decoder_start=start,
        decoder_filters=tuple(upscales),
        decoder_input=_decoder_input(s, start, upscales),
    )


def upscale_width(method: str, filters: int) -> int:
    """Channels an upscale gives: those asked for, of upscale_hybrid the next even number."""
    return filters + filters % 2 if method == "upscale_hybrid" else filters


def _filtered(s: PhazeASettings) -> bool:
    """Whether the hidden part's upsamples have filters of their own."""
    return s.fc_upsamples > 0 and s.fc_upsampler != "upsample2d"


def _hidden_filters(s: PhazeASettings, filters: int, multiple: int = 1) -> int:
    """Filters of the hidden part by the guide's rule."""
    return scaled_filters(filters, s.fc_dimensions * 2**s.fc_upsamples, s.output_size, multiple)


def _fs_original_filters(s: PhazeASettings) -> tuple[int, ...]:
    """Filters of its convolutions, doubled from one to the next up to the most.

    The alternative form has two convolutions to a level: these are its stem's and the second ones'.
    """
    found = [s.fs_original_min_filters]
    for _ in range(s.fs_original_depth - (0 if s.fs_original_use_alt else 1)):
        found.append(min(s.fs_original_max_filters, found[-1] * 2))
    return tuple(found)


def _fs_original_shape(s: PhazeASettings, px: int) -> tuple[int, int, int]:
    """What it makes of a picture: halved and rounded up, or pooled, rounded down and cut by a kernel of 4."""
    for _ in range(s.fs_original_depth - (1 if s.fs_original_use_alt else 0)):
        px = px // 2 if s.fs_original_use_alt else (px + 1) // 2
    side = px - 3 if s.fs_original_use_alt else px
    return side, side, _fs_original_filters(s)[-1]


def _code(s: PhazeASettings, px: int, shape: tuple[int, int, int] | None) -> int | None:
    if s.bottleneck_type == "dense":
        return s.bottleneck_size
    if shape is not None:
        return prod(shape) if s.bottleneck_type == "flatten" else shape[2]
    name, facts = s.enc_architecture, ENCODERS[s.enc_architecture]
    if name.startswith("mobilenet") and s.mobilenet_width != 1:
        return None
    side = 1 if facts.vector or s.bottleneck_type != "flatten" else map_side(name, px)
    return None if side is None else side**2 * facts.channels


def _decoder_start(s: PhazeASettings, px: int, channels: int) -> tuple[int, int]:
    """Joined on channels where a second hidden part is shared, unless upscales come first; then reshaped."""
    if s.shared_fc != "none" and not s.dec_upscales_in_fc:
        channels *= 2
    side = scale_dim(s.output_size, px)
    return side, channels * px**2 // side**2


def _decoder_input(s: PhazeASettings, start: tuple[int, int], upscales: list[int]) -> tuple[int, int]:
    """Where the hidden part's upscales end; joined there where a second hidden part is shared."""
    inside = min(s.dec_upscales_in_fc, len(upscales))
    if not s.dec_upscales_in_fc:
        return start
    channels = upscale_width(s.dec_upscale_method, upscales[inside - 1]) if inside else start[1]
    return start[0] * 2**inside, channels * (1 if s.shared_fc == "none" else 2)


def takes_a_map(settings: PhazeASettings) -> bool:
    """Whether the encoder gives a picture that can be pooled, and not a vector."""
    return not ENCODERS[settings.enc_architecture].vector
