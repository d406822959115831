"""What settings of the model builder cannot be together, and what they can be but probably should not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from backend.core.settings.phaze_a_layout import layout_of, takes_a_map, upscale_width

if TYPE_CHECKING:
    from backend.core.settings.phaze_a import PhazeASettings

GROUPS = 32
"""Groups of the group norm, which divide the channels."""
MANY_WEIGHTS = 500_000_000
"""A dense layer of more than this is worth a word."""

Caution = tuple[str, str]


def refuse_impossible(settings: PhazeASettings) -> None:
    """Refuse what cannot be built.

    Raises:
        ValueError: two settings contradict each other; the sentence names the option to change by its label.
    """
    _refuse_hidden_sizes(settings)
    _refuse_encoder(settings)
    _refuse_parts(settings)
    _refuse_decoder(settings)


def _refuse_hidden_sizes(s: PhazeASettings) -> None:
    sizes = layout_of(s)
    side, start = sizes.fc_end[0], sizes.decoder_start[0]
    if side > s.output_size:
        raise ValueError(
            f"the hidden part ends at {side} px and the output has {s.output_size}; lower 'Dimensions' or 'Upsamples'"
        )
    few = "are too few to be reshaped from"
    used = {
        "Max filters": (s.fc_max_filters, sizes.fc_max_filters),
        "Min filters": (s.fc_min_filters, sizes.fc_min_filters if s.fc_depth > 1 else 1),
        "Upsample filters": (
            s.fc_upsample_filters,
            sizes.fc_upsample_filters if s.fc_upsamples and s.fc_upsampler != "upsample2d" else 1,
        ),
    }
    for label, (wanted, found) in used.items():
        if not found:
            raise ValueError(f"{wanted} {few} {side} to {start} px, where the decoder begins; raise '{label}'")
    area = s.fc_dimensions**2 * sizes.fc_max_filters
    if not s.fc_depth and sizes.code not in (None, area):
        option = "Bottleneck size" if s.bottleneck_type == "dense" else "Bottleneck type"
        raise ValueError(
            f"without dense layers the bottleneck has to give {area:,} values ('Max filters' times 'Dimensions' "
            f"squared) and gives {sizes.code:,}; change '{option}' or raise 'Depth'"
        )


def _refuse_encoder(s: PhazeASettings) -> None:
    if s.bottleneck_type.endswith("pooling") and not takes_a_map(s):
        raise ValueError(
            f"{s.enc_architecture} gives a vector, which cannot be pooled; set 'Bottleneck type' to dense or flatten"
        )
    if s.enc_architecture == "mobilenet" and s.mobilenet_dropout >= 1:
        raise ValueError("with a dropout of 1 or more nothing passes the encoder; lower 'MobileNet dropout' below 1")
    if s.enc_architecture != "fs_original":
        return
    sizes = layout_of(s)
    least = 4 if s.fs_original_use_alt else 1
    halvings = s.fs_original_depth - (1 if s.fs_original_use_alt else 0)
    if sizes.input_px >> halvings < least:
        raise ValueError(
            f"the encoder sees {sizes.input_px} px, too few for {s.fs_original_depth} levels; "
            "lower 'fs_original depth' or raise 'Encoder scaling'"
        )


def _refuse_parts(s: PhazeASettings) -> None:
    if s.split_gblock and not s.enable_gblock:
        raise ValueError("there is no G-Block to split; switch 'G-Block' on or 'Split G-Block' off")


def _refuse_decoder(s: PhazeASettings) -> None:
    sizes = layout_of(s)
    upscales = sizes.decoder_filters
    if s.dec_upscales_in_fc > len(upscales):
        raise ValueError(
            f"the decoder has only {len(upscales)} upscales from {sizes.decoder_start[0]} to {s.output_size} px; "
            "lower 'Upscales in the hidden part'"
        )
    widths = [upscale_width(s.dec_upscale_method, filters) for filters in upscales]
    if s.dec_norm == "group" and any(width % GROUPS for width in widths):
        raise ValueError(
            f"the group norm needs filters that are multiples of {GROUPS}, and the decoder has "
            f"{', '.join(map(str, widths))}; change 'Decoder norm', 'Decoder min filters' or 'Decoder slope'"
        )


def cautions_of(settings: PhazeASettings) -> tuple[Caution, ...]:
    """(field, sentence) of what is allowed and probably not meant."""
    return (*_of_parts(settings), *_of_encoder(settings), *_of_hidden(settings), *_of_decoder(settings))


def _of_parts(s: PhazeASettings) -> Iterator[Caution]:
    steered = s.enable_gblock and s.split_gblock
    if not s.split_fc and not s.split_decoders:
        if steered:
            yield "split_decoders", "Only the G-Block tells the faces apart: the swap will be weak."
        else:
            yield "split_decoders", "Nothing is split: both faces take the same way and cannot be swapped."
    if s.shared_fc != "none" and not s.split_fc:
        yield (
            "shared_fc",
            "Without a split hidden part a shared one is its twin: twice the memory for nothing.",
        )
    if s.enable_gblock and s.shared_fc != "none":
        yield "enable_gblock", "A G-Block on top of a shared hidden part works on twice the channels: much memory."
    if not s.learn_mask:
        yield "learn_mask", "No mask is learned: merging cuts along the face's landmarks."


def _of_encoder(s: PhazeASettings) -> Iterator[Caution]:
    sizes = layout_of(s)
    own = s.enc_architecture == "fs_original"
    if sizes.input_px > s.output_size:
        yield "enc_scaling", f"The encoder sees {sizes.input_px} px, more than the output's {s.output_size}: no gain."
    for prefix, chosen in (("fs_original_", own), ("mobilenet_", s.enc_architecture.startswith("mobilenet"))):
        changed = [
            name
            for name, field in type(s).model_fields.items()
            if name.startswith(prefix) and getattr(s, name) != field.default
        ]
        if changed and not chosen:
            yield changed[0], f"Another encoder is chosen ({s.enc_architecture}): this is of no effect."
    if own and s.fs_original_min_filters > s.fs_original_max_filters:
        yield "fs_original_min_filters", "More than the most filters: the encoder narrows after its first layer."


def _of_hidden(s: PhazeASettings) -> Iterator[Caution]:
    sizes = layout_of(s)
    if s.fc_depth == 1 and s.fc_min_filters != s.fc_max_filters:
        yield "fc_min_filters", "With a depth of 1 only the max filters count."
    if s.fc_depth == 0 and s.fc_dropout:
        yield "fc_dropout", "There are no dense layers to drop inputs of."
    if sizes.fc_max_filters != s.fc_max_filters:
        yield (
            "fc_max_filters",
            f"{s.fc_max_filters:,} become {sizes.fc_max_filters:,}, so that the decoder can begin at "
            f"{sizes.decoder_start[0]} px.",
        )
    weights = (sizes.code or 0) * (sizes.fc_nodes[0] if sizes.fc_nodes else 0)
    if weights > MANY_WEIGHTS:
        yield (
            "bottleneck_type",
            f"The first dense layer has {weights:,} weights; a smaller bottleneck saves most.",
        )


def _of_decoder(s: PhazeASettings) -> Iterator[Caution]:
    upscales = layout_of(s).decoder_filters
    if not upscales:
        yield "fc_upsamples", "The hidden part already ends at the output's size: the decoder has nothing to double."
    if s.dec_min_filters > s.dec_max_filters:
        yield "dec_min_filters", "More than the decoder's max filters: it grows wider towards the picture."
    if s.dec_skip_last_residual and s.dec_res_blocks and len(upscales) == 1:
        yield "dec_skip_last_residual", "The decoder's only upscale is its last: there are no residual blocks at all."
    if s.dec_skip_last_residual and s.dec_res_blocks and 0 < s.dec_upscales_in_fc < len(upscales):
        yield "dec_skip_last_residual", "The last upscale in the hidden part also goes without residual blocks."
