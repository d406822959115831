"""The presets that faceswap ships for Phaze-A: option values, with the sign its decoder slope has there."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

Values = dict[str, Any]


def _common() -> Values:
    """What most presets hold."""
    return {
        "shared_fc": "none",
        "enable_gblock": False,
        "split_fc": False,
        "split_gblock": False,
        "split_decoders": True,
        "enc_architecture": "fs_original",
        "enc_scaling": 7,
        "enc_load_weights": False,
        "bottleneck_type": "dense",
        "bottleneck_norm": "none",
        "bottleneck_size": 1024,
        "bottleneck_in_encoder": True,
        "fc_depth": 1,
        "fc_filter_slope": -0.5,
        "fc_dropout": 0.0,
        "fc_upsampler": "subpixel",
        "fc_upsamples": 1,
        "fc_gblock_depth": 3,
        "fc_gblock_min_nodes": 512,
        "fc_gblock_max_nodes": 512,
        "fc_gblock_filter_slope": -0.5,
        "fc_gblock_dropout": 0.0,
        "dec_upscale_method": "subpixel",
        "dec_upscales_in_fc": 0,
        "dec_norm": "none",
        "dec_slope_mode": "full",
        "dec_filter_slope": -0.33,
        "dec_res_blocks": 0,
        "dec_output_kernel": 5,
        "dec_gaussian": False,
        "dec_skip_last_residual": False,
        "freeze_layers": ("encoder",),
        "load_layers": ("encoder",),
        "fs_original_depth": 4,
        "fs_original_min_filters": 128,
        "fs_original_max_filters": 1024,
        "fs_original_use_alt": False,
        "mobilenet_width": 1.0,
        "mobilenet_depth": 1,
        "mobilenet_dropout": 0.001,
        "mobilenet_minimalistic": False,
    }


def _preset(size: int, hidden: tuple[int, int, int], decoder: tuple[int, int], **values: Any) -> Mapping[str, Any]:
    """One preset.

    Args:
        size: of the output in px.
        hidden: filters of the dense layers, their dimensions, and filters of the upsamples.
        decoder: most and fewest filters.
        values: what differs from the common ones.
    """
    filters, dimensions, doubled = hidden
    sizes = {
        "output_size": size,
        "fc_min_filters": filters,
        "fc_max_filters": filters,
        "fc_dimensions": dimensions,
        "fc_upsample_filters": doubled,
        "dec_max_filters": decoder[0],
        "dec_min_filters": decoder[1],
    }
    found = {**_common(), **sizes, **values}
    return MappingProxyType({name: found[name] for name in sorted(found)})


def _liae() -> Values:
    """One decoder; the source's hidden part is shared, and each squeezes for itself."""
    return {"shared_fc": "half", "split_fc": True, "split_decoders": False, "bottleneck_in_encoder": False}


def _sae() -> Values:
    return {
        "enc_scaling": 13,
        "dec_res_blocks": 2,
        "fs_original_min_filters": 126,
        "fs_original_max_filters": 1008,
    }


def _saehd() -> Values:
    return {
        "enc_scaling": 13,
        "bottleneck_size": 256,
        "bottleneck_in_encoder": False,
        "dec_res_blocks": 1,
        "dec_output_kernel": 1,
        "fs_original_min_filters": 64,
        "fs_original_max_filters": 512,
    }


def _dny(scaling: int, inside: int, depth: int) -> Values:
    return {
        "enc_scaling": scaling,
        "bottleneck_size": 512,
        "fc_depth": 0,
        "fc_filter_slope": 0.0,
        "fc_upsampler": "upsample2d",
        "fc_upsamples": 2,
        "fc_gblock_depth": 1,
        "fc_gblock_min_nodes": 128,
        "fc_gblock_max_nodes": 128,
        "fc_gblock_filter_slope": 0.0,
        "dec_upscale_method": "upscale_dny",
        "dec_upscales_in_fc": inside,
        "dec_slope_mode": "cap_max",
        "dec_filter_slope": 0.5,
        "dec_output_kernel": 1,
        "fs_original_depth": depth,
        "fs_original_min_filters": 16,
        "fs_original_max_filters": 512,
        "fs_original_use_alt": True,
    }


def _backbone(name: str, scaling: int) -> Values:
    """An encoder with weights of its own, held still first."""
    return {
        "enc_architecture": name,
        "enc_scaling": scaling,
        "enc_load_weights": True,
        "freeze_layers": ("keras_encoder",),
        "dec_res_blocks": 1,
    }


def _clipfaker(scaling: int) -> Values:
    return {
        **_backbone("clipv_farl-b-16-64", scaling),
        "bottleneck_type": "flatten",
        "dec_slope_mode": "cap_min",
        "dec_filter_slope": 0.5,
        "dec_skip_last_residual": True,
    }


def _of_old_models() -> dict[str, Mapping[str, Any]]:
    """Those that rebuild models from before the builder."""
    return {
        "original": _preset(64, (1024, 4, 512), (256, 64)),
        "lightweight": _preset(
            64, (512, 4, 256), (512, 128), bottleneck_size=512, fs_original_depth=3, fs_original_max_filters=512
        ),
        "dfaker": _preset(
            128, (1024, 4, 512), (512, 64), dec_filter_slope=-0.45, dec_res_blocks=1, dec_skip_last_residual=True
        ),
        "iae": _preset(
            64, (512, 4, 512), (512, 64), **{**_liae(), "shared_fc": "full"}, fc_upsamples=0, dec_filter_slope=-0.45
        ),
        "dfl-h128": _preset(128, (512, 8, 512), (512, 128), enc_scaling=13, bottleneck_size=512),
        "dfl-sae-df": _preset(128, (512, 8, 512), (504, 128), **_sae(), bottleneck_size=512),
        "dfl-sae-liae": _preset(128, (512, 8, 512), (504, 128), **_sae(), **_liae(), bottleneck_size=256),
        "dfl-saehd-df": _preset(128, (256, 8, 256), (512, 128), **_saehd()),
        "dfl-saehd-liae": _preset(128, (512, 8, 512), (512, 128), **{**_saehd(), **_liae()}),
    }


def _of_users() -> dict[str, Mapping[str, Any]]:
    """Those that users of the builder found."""
    stojo: Values = {
        "enable_gblock": True,
        "split_fc": True,
        "split_decoders": False,
        "bottleneck_size": 512,
        "fc_upsampler": "upsample2d",
        "dec_upscale_method": "resize_images",
        "dec_output_kernel": 3,
        "dec_gaussian": True,
    }
    sym: Values = {
        "bottleneck_type": "max_pooling",
        "bottleneck_size": 1280,
        "fc_upsamples": 0,
        "dec_upscale_method": "upscale_dny",
        "dec_upscales_in_fc": 2,
        "dec_slope_mode": "cap_max",
        "dec_filter_slope": 0.5,
        "dec_output_kernel": 3,
        "dec_gaussian": True,
        "dec_skip_last_residual": True,
    }
    return {
        "stojo": _preset(256, (1280, 8, 1280), (640, 160), **_backbone("efficientnet_b4", 60), **stojo),
        "sym384": _preset(384, (1536, 3, 1280), (1536, 24), **_backbone("efficientnet_v2_s", 100), **sym),
        "dny256": _preset(256, (512, 1, 128), (512, 16), **_dny(25, 1, 7)),
        "dny512": _preset(512, (512, 1, 128), (512, 16), **_dny(50, 2, 8)),
        "dny1024": _preset(1024, (512, 1, 128), (512, 16), **_dny(100, 2, 9)),
        "clipfaker128": _preset(128, (1024, 4, 512), (512, 64), **_clipfaker(29)),
        "clipfaker256": _preset(256, (1024, 4, 512), (1024, 64), **_clipfaker(58)),
        "clipfaker448": _preset(448, (384, 7, 1024), (1024, 64), **_clipfaker(100)),
    }


PHAZE_A_PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType({**_of_old_models(), **_of_users()})
"""Name -> value of every option but those of training."""
