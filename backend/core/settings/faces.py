"""Settings of the stages that find and order faces: extract-faces, persons, sort."""

from __future__ import annotations

from typing import Literal

from backend.core.settings.base import Settings, setting
from backend.core.settings.video import Side

DetectorName = Literal["auto", "mtcnn", "s3fd", "blazeface", "yunet", "retinaface"]
LandmarkerName = Literal["auto", "fan2d", "fan3d", "facemesh", "points5"]
FaceTypeLetter = Literal["h", "mf", "f", "wf", "head"]
SortKey = Literal[
    "hist",
    "hist-dissim",
    "blur",
    "motion-blur",
    "yaw",
    "pitch",
    "rect-size",
    "brightness",
    "hue",
    "black",
    "absdiff",
    "absdiff-dissim",
    "mask",
    "name",
    "person",
    "one-face",
    "outliers",
    "duplicates",
    "best",
    "best-by-size",
    "match-poses",
]


class ExtractFacesSettings(Settings):
    """Find the faces of one side's frames and write them aligned."""

    side: Side = setting("src", "Which side's frames to search.")
    existing: Literal["restart", "continue", "missing", "debug"] = setting(
        "restart",
        "What to do about faces that are there: restart moves them to the trash; continue goes on behind the last "
        "frame that has one; missing searches only frames without a face; debug searches the frames again whose debug "
        "image was deleted.",
    )
    detector: DetectorName = setting("auto", "What finds the faces; auto takes the best that is present.")
    landmarker: LandmarkerName = setting("auto", "What places the 68 points; auto takes the best that is present.")
    face_type: FaceTypeLetter = setting("wf", "How much of the head a face image shows.")
    image_size: int = setting(512, "Side of the square face images.", ge=64, le=2048, step=2, unit="px")
    jpeg_quality: int = setting(90, "JPEG quality of the face images.", ge=1, le=100)
    max_faces: int = setting(0, "Keep at most this many faces per frame, largest first; 0 keeps all.", ge=0, le=100)
    min_face_px: int = setting(40, "Faces smaller than this are ignored.", ge=16, le=1024, unit="px")
    score: float = setting(0.7, "Detections below this confidence are ignored.", ge=0.0, le=1.0)
    rotations: Literal["0", "0,180", "0,90,270", "0,90,270,180"] = setting(
        "0,90,270,180", "How a frame without an upright face is turned to find one, in degrees."
    )
    second_pass: bool = setting(False, "Place the landmarks a second time on the aligned face; FAN only, slower.")
    subpixel: bool = setting(True, "Read FAN's heat maps between the pixels (DARK) instead of at their peaks.")
    smooth: Literal["auto", "on", "off"] = setting(
        "auto", "Calm the landmarks along each face's track; auto does it for the destination only."
    )
    smoothing: float = setting(0.5, "How strongly trembling is smoothed.", ge=0.0, le=1.0)
    fill_gaps: int = setting(
        5, "Frames without a detection inside a track that are filled from their neighbours at most.", ge=0, le=12
    )
    debug_images: bool = setting(False, "Also write every frame with boxes and landmarks drawn.")
    device: str = setting("best", "Where the networks run: best, cpu, or a device by name.")

    @property
    def rotation_degrees(self) -> tuple[int, ...]:
        """Clockwise turns of the frame that are tried, in order, in degrees."""
        return tuple(int(degrees) for degrees in self.rotations.split(","))

    @property
    def smoothing_used(self) -> float:
        """Strength of the smoothing that these settings mean, 0 for none."""
        wanted = self.smooth == "on" or (self.smooth == "auto" and self.side == "dst")
        return self.smoothing if wanted else 0.0


class PersonsSettings(Settings):
    """Tell the people of one faceset apart, and keep only one of them when examples are given."""

    side: Side = setting("src", "Which faceset to look at.")
    method: Literal["auto", "looks", "embedding"] = setting(
        "auto",
        "looks: tracks, colours and proportions of the face; embedding: a recognition network, which needs a weight "
        "file; auto takes the network when its file is present.",
    )
    strictness: float = setting(
        0.5, "How alike two faces must be to count as one person: 0 joins readily, 1 hardly ever.", ge=0.0, le=1.0
    )
    examples: str = setting(
        "", "File names of faces, with commas between them: faces of other people then go to the trash."
    )


class SortSettings(Settings):
    """Give a faceset a new order. Files keep their names until the order is applied."""

    side: Side = setting("src", "Which faceset to sort.")
    by: SortKey = setting(
        "hist",
        "What the order follows. The last six also choose: what they leave out goes to the trash, or last when the "
        "trash is switched off below.",
    )
    reverse: bool = setting(False, "Turn the order round.")
    target: int = setting(
        2000,
        "Best faces and matching poses: about how many faces to keep; fewer when most share few poses.",
        ge=1,
        le=100_000,
        unit="faces",
    )
    likeness: float = setting(0.95, "Near-duplicates: pictures at least this alike count as the same.", ge=0.5, le=1.0)
    trash: bool = setting(True, "Move what a choosing method leaves out to the trash; off puts it last.")
    apply: bool = setting(False, "Also rename the files so that every file browser shows this order.")
