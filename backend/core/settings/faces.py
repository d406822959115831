"""Settings of the stages that find and order faces: extract-faces, sort."""

from __future__ import annotations

from typing import Literal

from backend.core.settings.base import Settings, setting
from backend.core.settings.video import Side

DetectorName = Literal["auto", "mtcnn", "s3fd", "blazeface", "yunet"]
LandmarkerName = Literal["auto", "fan2d", "fan3d", "facemesh", "points5"]
FaceTypeLetter = Literal["h", "mf", "f", "wf", "head"]


class ExtractFacesSettings(Settings):
    """Find the faces of one side's frames and write them aligned."""

    side: Side = setting("src", "Which side's frames to search.")
    detector: DetectorName = setting("auto", "What finds the faces; auto takes the best that is present.")
    landmarker: LandmarkerName = setting("auto", "What places the 68 points; auto takes the best that is present.")
    face_type: FaceTypeLetter = setting("wf", "How much of the head a face image shows.")
    image_size: int = setting(512, "Side of the square face images.", ge=64, le=2048, step=2, unit="px")
    jpeg_quality: int = setting(90, "JPEG quality of the face images.", ge=1, le=100)
    max_faces: int = setting(0, "Keep at most this many faces per frame, largest first; 0 keeps all.", ge=0, le=100)
    min_face_px: int = setting(40, "Faces smaller than this are ignored.", ge=16, le=1024, unit="px")
    score: float = setting(0.7, "Detections below this confidence are ignored.", ge=0.0, le=1.0)
    debug_images: bool = setting(False, "Also write every frame with boxes and landmarks drawn.")
    device: str = setting("best", "Where the networks run: best, cpu, or a device by name.")


class SortSettings(Settings):
    """Give a faceset a new order. Nothing is deleted; files keep their names until the order is applied."""

    side: Side = setting("src", "Which faceset to sort.")
    by: Literal["hist", "blur", "yaw", "pitch", "name"] = setting(
        "hist",
        "hist: similar pictures beside each other; blur: sharpest first; yaw and pitch: by head turn; name: by frame.",
    )
    reverse: bool = setting(False, "Turn the order round.")
    apply: bool = setting(False, "Also rename the files so that every file browser shows this order.")
