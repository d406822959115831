"""Words of merging and export: labels, groups and choices."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

MAIN = ""

MASK = "Mask"
COLOUR = "Colour"
BLEND = "Blend"
FINISH = "Finish"
STEADY = "Steadiness"
RUN = "Range, files and device"
PICTURE = "Picture and encoder"
SOUND = "Sound"
RANGE = "Range"
LABEL = "Visible label"
MARKS = "Marks and signature"

_LOOK = MappingProxyType(
    {
        "mode": ("Mode", MAIN),
        "morph_factor": ("Morph factor", MAIN),
        "mask_mode": ("Mask", MASK),
        "erode_mask": ("Erode mask", MASK),
        "blur_mask": ("Blur mask", MASK),
        "color_transfer": ("Colour transfer", COLOUR),
        "hist_match_threshold": ("Histogram threshold", COLOUR),
        "masked_hist_match": ("Histogram inside the mask only", COLOUR),
        "gray_face": ("Gray models", COLOUR),
        "steady_seamless": ("Suppress seamless jitter", BLEND),
        "face_scale": ("Face scale", BLEND),
        "motion_blur": ("Motion blur", FINISH),
        "super_resolution": ("Super-resolution", FINISH),
        "sharpen_mode": ("Sharpen with", FINISH),
        "sharpen_amount": ("Sharpen or blur", FINISH),
        "denoise": ("Denoise", FINISH),
        "bicubic_degrade": ("Soften by resizing", FINISH),
        "color_degrade": ("Reduce colours", FINISH),
    }
)

_MERGE = MappingProxyType(
    {
        "model": ("Model", MAIN),
        **_LOOK,
        "smooth_mask": ("Steady mask", STEADY),
        "smooth_color": ("Steady colours", STEADY),
        "first_frame": ("First frame", RUN),
        "last_frame": ("Last frame", RUN),
        "redo": ("Merge finished frames again", RUN),
        "alpha_png": ("Mask as alpha in the PNG", RUN),
        "device": ("Device", RUN),
        "batch_size": ("Faces at once", RUN),
        "workers": ("Processes", RUN),
    }
)

_EXPORT = MappingProxyType(
    {
        "name": ("File name", MAIN),
        "content": ("Content", MAIN),
        "container": ("File", MAIN),
        "codec": ("Codec", MAIN),
        "rate": ("Steer by", PICTURE),
        "crf": ("Quality, CRF", PICTURE),
        "bitrate_mbit": ("Bit rate", PICTURE),
        "speed": ("Encoder speed", PICTURE),
        "encoder": ("Encoder", PICTURE),
        "height": ("Height", PICTURE),
        "audio": ("Sound", SOUND),
        "audio_tracks": ("Sound tracks", SOUND),
        "first_frame": ("First frame", RANGE),
        "last_frame": ("Last frame", RANGE),
        "preview_s": ("Only the first seconds", RANGE),
        "label": ("Visible label", LABEL),
        "label_text": ("Text", LABEL),
        "label_corner": ("Corner", LABEL),
        "label_opacity": ("Opacity", LABEL),
        "mark": ("AI mark", MARKS),
        "sign": ("Content credentials", MARKS),
        "certificate": ("Certificate chain", MARKS),
        "private_key": ("Private key", MARKS),
    }
)

MERGE_LABELS: Mapping[str, Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "merge": _MERGE,
        "export": _EXPORT,
        "render": MappingProxyType({**_MERGE, **_EXPORT, "keep_frames": ("Keep the merged frames", RUN)}),
        "verify": MappingProxyType({"file": ("File", MAIN)}),
    }
)

MERGE_CHOICES: Mapping[str, Mapping[Any, str]] = MappingProxyType(
    {
        "mode": MappingProxyType(
            {
                "hist-match": "histogram match",
                "hist-match-gray": "histogram match in gray",
                "seamless-hist-match": "seamless, then histogram match",
                "raw-rgb": "raw square in the frame",
                "raw-predict": "raw prediction alone",
                "original": "original frame",
            }
        ),
        "mask_mode": MappingProxyType(
            {
                "full": "full square",
                "dst": "landmark hull of dst",
                "learned-prd": "learned, swapped face",
                "learned-dst": "learned, dst face",
                "learned-prd*learned-dst": "learned, both multiplied",
                "learned-prd+learned-dst": "learned, both added",
                "xseg-prd": "XSeg, swapped face",
                "xseg-dst": "XSeg, dst face",
                "xseg-prd*xseg-dst": "XSeg, both multiplied",
                "learned*xseg": "all four multiplied",
            }
        ),
        "color_transfer": MappingProxyType(
            {
                "none": "none",
                "rct": "Reinhard (rct)",
                "lct": "linear (lct)",
                "mkl": "Monge-Kantorovich (mkl)",
                "mkl-m": "Monge-Kantorovich, masked (mkl-m)",
                "idt": "iterative distribution (idt)",
                "idt-m": "iterative distribution, masked (idt-m)",
                "sot": "sliced optimal transport (sot)",
                "sot-m": "sliced optimal transport, masked (sot-m)",
                "mix-m": "luma linear, colour by sot, masked (mix-m)",
            }
        ),
        "gray_face": MappingProxyType({"colour": "coloured back", "gray": "gray"}),
        "content": MappingProxyType(
            {
                "merged": "merged frames",
                "alpha": "merged frames with mask as alpha",
                "mask": "mask alone",
                "compare": "original beside merged",
            }
        ),
        "container": MappingProxyType({"png": "PNG pictures"}),
        "codec": MappingProxyType(
            {
                "h264": "H.264",
                "h265": "H.265",
                "av1": "AV1",
                "vp9": "VP9",
                "prores4444": "ProRes 4444",
                "ffv1": "FFV1",
                "qtrle": "QuickTime RLE",
                "png": "PNG",
            }
        ),
        "rate": MappingProxyType({"quality": "quality", "bitrate": "bit rate", "lossless": "lossless"}),
        "encoder": MappingProxyType(
            {
                "software": "software",
                "auto": "hardware when it works",
                "nvenc": "NVENC",
                "qsv": "Quick Sync",
                "amf": "AMF",
                "videotoolbox": "VideoToolbox",
            }
        ),
        "audio": MappingProxyType({"auto": "copy where exact, else AAC", "copy": "copy", "aac": "AAC", "none": "none"}),
        "audio_tracks": MappingProxyType({"first": "the first", "all": "all"}),
        "label_corner": MappingProxyType(
            {
                "bottom-left": "bottom left",
                "bottom-right": "bottom right",
                "top-left": "top left",
                "top-right": "top right",
            }
        ),
    }
)
