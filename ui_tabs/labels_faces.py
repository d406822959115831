"""Words for the settings of the stages that work on clips, frames and faces; labels.py puts them beside the others."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

_MAIN = ""
_SIDE = ("Side", _MAIN)
_DETECTION, _TRACKS, _FILES = "Detection", "From frame to frame", "Files"

FACE_LABELS: Mapping[str, Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "edit-clip": MappingProxyType(
            {
                "side": _SIDE,
                "start_s": ("Begin at", _MAIN),
                "end_s": ("End at", _MAIN),
                "method": ("How", _MAIN),
                "height": ("New height", _MAIN),
                "audio_track": ("Sound track", "Sound and encoding"),
                "bitrate_mbit": ("Bit rate", "Sound and encoding"),
                "restore": ("Bring the clip back", "Undo"),
            }
        ),
        "extract-frames": MappingProxyType(
            {
                "side": _SIDE,
                "fps": ("Frames per second", _MAIN),
                "image_format": ("Image format", _MAIN),
                "start_s": ("Begin at", "Time range and quality"),
                "end_s": ("End at", "Time range and quality"),
                "jpeg_quality": ("JPG quality", "Time range and quality"),
            }
        ),
        "denoise-frames": MappingProxyType(
            {
                "side": _SIDE,
                "factor": ("Strength", _MAIN),
                "keep_originals": ("Keep the frames as they were", _MAIN),
                "undo": ("Bring the frames back", _MAIN),
            }
        ),
        "extract-faces": MappingProxyType(
            {
                "side": _SIDE,
                "existing": ("Faces that are there", _MAIN),
                "detector": ("Detector", _MAIN),
                "landmarker": ("Landmarks", _MAIN),
                "face_type": ("Face type", _MAIN),
                "image_size": ("Image size", _MAIN),
                "max_faces": ("Faces per frame at most", _DETECTION),
                "score": ("Confidence", _DETECTION),
                "min_face_px": ("Smallest face", _DETECTION),
                "rotations": ("Turn frames", _DETECTION),
                "second_pass": ("Second pass", _DETECTION),
                "subpixel": ("Between the pixels", _DETECTION),
                "device": ("Device", _DETECTION),
                "smooth": ("Calm the landmarks", _TRACKS),
                "smoothing": ("Strength", _TRACKS),
                "fill_gaps": ("Fill gaps", _TRACKS),
                "jpeg_quality": ("JPEG quality", _FILES),
                "debug_images": ("Debug images", _FILES),
            }
        ),
        "persons": MappingProxyType(
            {
                "side": _SIDE,
                "method": ("Tell apart by", _MAIN),
                "strictness": ("Strictness", _MAIN),
                "examples": ("Examples of the person to keep", _MAIN),
            }
        ),
        "sort": MappingProxyType(
            {
                "side": _SIDE,
                "by": ("Sort by", _MAIN),
                "reverse": ("Reverse", _MAIN),
                "target": ("Keep about", _MAIN),
                "likeness": ("Likeness of duplicates", _MAIN),
                "trash": ("Leftovers to the trash", _MAIN),
                "apply": ("Rename files", _MAIN),
            }
        ),
        "faceset": MappingProxyType(
            {
                "side": _SIDE,
                "action": ("Tool", _MAIN),
                "keep_files": ("Keep the loose files", _MAIN),
                "jpeg_quality": ("JPEG quality", _MAIN),
            }
        ),
        "resize-faces": MappingProxyType(
            {
                "side": _SIDE,
                "image_size": ("Image size", _MAIN),
                "face_type": ("Face type", _MAIN),
                "jpeg_quality": ("JPEG quality", _MAIN),
            }
        ),
        "gray-faces": MappingProxyType({"side": _SIDE, "jpeg_quality": ("JPEG quality", _MAIN)}),
        "add-faces": MappingProxyType({"side": _SIDE, "folder": ("Folder", _MAIN)}),
    }
)
"""Stage -> field -> (label, group). The order of the entries is the order on the page."""

FACE_CHOICES: Mapping[str, Mapping[Any, str]] = MappingProxyType(
    {
        "face_type": MappingProxyType(
            {
                "same": "as it is",
                "h": "half face",
                "mf": "mid-full face",
                "f": "full face",
                "wf": "whole face",
                "head": "head",
            }
        ),
        "existing": MappingProxyType(
            {
                "restart": "start over, old ones to the trash",
                "continue": "continue behind the last one",
                "missing": "search frames without a face",
                "debug": "search frames whose debug image was deleted",
            }
        ),
        "rotations": MappingProxyType(
            {
                "0": "never",
                "0,180": "upside down",
                "0,90,270": "to both sides",
                "0,90,270,180": "to both sides and upside down",
            }
        ),
        "by": MappingProxyType(
            {
                "hist": "similar colours together",
                "hist-dissim": "most unusual colours first",
                "blur": "sharpest first",
                "motion-blur": "least motion blur first",
                "yaw": "head turn, left to right",
                "pitch": "head tilt, up to down",
                "rect-size": "largest in the frame first",
                "brightness": "brightest first",
                "hue": "by hue",
                "black": "least black first",
                "absdiff": "similar pictures together",
                "absdiff-dissim": "each unlike the one before",
                "mask": "least masked first",
                "name": "source frame",
                "person": "by person",
                "one-face": "only frames with one face",
                "outliers": "only faces with sound landmarks",
                "duplicates": "without near-duplicates",
                "best": "best faces, by sharpness",
                "best-by-size": "best faces, by size",
                "match-poses": "the poses of the other side",
            }
        ),
        "method": MappingProxyType(
            {
                "looks": "looks",
                "embedding": "recognition network",
                "encode": "encode, exact",
                "copy": "copy, from a key frame",
            }
        ),
        "action": MappingProxyType(
            {
                "pack": "pack into faceset.pak",
                "unpack": "unpack faceset.pak",
                "save-metadata": "save metadata to meta.dat",
                "restore-metadata": "restore metadata",
                "original-names": "original file names",
                "measure": "measure pose and sharpness",
                "png-to-jpg": "PNG faces to JPEG",
                "debug-images": "landmarks debug images",
                "export-masks": "export masks",
            }
        ),
        "image_format": MappingProxyType({"png": "PNG", "jpg": "JPG"}),
    }
)
"""Field -> value -> word; values without an entry are shown as they are."""
