"""Settings of the tools for whole facesets: packing, metadata, masks, resizing, gray, adding faces."""

from __future__ import annotations

from typing import Literal

from backend.core.settings.base import Settings, setting
from backend.core.settings.video import Side

FacesetAction = Literal[
    "pack",
    "unpack",
    "save-metadata",
    "restore-metadata",
    "original-names",
    "measure",
    "png-to-jpg",
    "debug-images",
    "export-masks",
]


class FacesetSettings(Settings):
    """One tool run over all faces of one side."""

    side: Side = setting("src", "Which faceset.")
    action: FacesetAction = setting(
        "pack",
        "pack, unpack: all faces as one faceset.pak and back; save-metadata, restore-metadata: DeepFaceLab's meta.dat, "
        "and what this program noted itself; original-names: file names after the frames again; measure: notes "
        "pose and sharpness where they are missing; png-to-jpg: PNG faces of old facesets as JPEG; debug-images, "
        "export-masks: pictures in a folder beside the faces.",
    )
    keep_files: bool = setting(
        True, "Packing leaves the loose face files where they are; training and sorting work on those, not on a pack."
    )
    jpeg_quality: int = setting(95, "JPEG quality of what png-to-jpg writes.", ge=1, le=100)


class ResizeFacesSettings(Settings):
    """Bring all faces to another size or face type. The faces as they were go to the trash."""

    side: Side = setting("src", "Which faceset.")
    image_size: int = setting(512, "Side of the square face images.", ge=64, le=2048, step=2, unit="px")
    face_type: Literal["same", "h", "mf", "f", "wf", "head"] = setting(
        "same", "How much of the head a face image shows; a wider one shows black where the old one ends."
    )
    jpeg_quality: int = setting(95, "JPEG quality of the new files.", ge=1, le=100)


class GrayFacesSettings(Settings):
    """Turn all faces into one-channel JPEG files, with their data. The faces as they were go to the trash."""

    side: Side = setting("src", "Which faceset.")
    jpeg_quality: int = setting(95, "JPEG quality of the new files.", ge=1, le=100)


class AddFacesSettings(Settings):
    """Copy faces of another folder, another side or another project into a faceset."""

    side: Side = setting("src", "Which faceset receives them.")
    folder: str = setting("", "Folder of aligned faces, or a faceset.pak.")
