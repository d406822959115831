"""What the page asks for when faces are corrected by hand: one request, checked before anything is done with it."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from backend.core.settings.faces import FaceTypeLetter

RefineWith = Literal["none", "points5", "facemesh", "fan2d", "fan3d"]
FAR_PX = 100_000.0
"""No frame reaches that far; coordinates beyond it are an error."""

Coordinate = Annotated[float, Field(ge=-FAR_PX, le=FAR_PX, allow_inf_nan=False)]
Point = tuple[Coordinate, Coordinate]
FileName = Annotated[str, Field(max_length=255, pattern=r"^[^/\\\x00]*$")]


class FixRequest(BaseModel):
    """One correction of one side's faces. Coordinates are pixels of the frame.

    Attributes:
        do: place a face (one of ``landmarks``, ``points`` and ``box`` says where), copy from another frame, or fill
            all frames between two faces.
        frame, name: file name of the frame, and of the face that is replaced; "" makes a new one.
        seen: modification time of that file in ns when the user saw it, as text; "" does not look at it.
        landmarks: 68 points.
        points: eyes and mouth (3) or eyes, nose and mouth corners (5), in this order.
        box: left, top, right, bottom.
        other_frame, other_name: what is copied from, or the other end that is filled up to; copying without a name
            takes every face that is missing.
        faces: file name of a frame -> its face files, of all frames that are copied from or to, or filled.
        refine: what places the points anew in the picture; none leaves them as they are given.
        face_type, image_size, jpeg_quality: of new faces; a replaced one keeps its type and size.
        device: where networks run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    do: Literal["place", "copy", "between"]
    frame: FileName
    name: FileName = ""
    seen: str = Field(default="", max_length=40)
    landmarks: list[Point] | None = Field(default=None, min_length=68, max_length=68)
    points: list[Point] | None = Field(default=None, min_length=3, max_length=5)
    box: tuple[Coordinate, Coordinate, Coordinate, Coordinate] | None = None
    other_frame: FileName = ""
    other_name: FileName = ""
    faces: dict[FileName, list[FileName]] = Field(default_factory=dict, max_length=1000)
    refine: RefineWith = "none"
    face_type: FaceTypeLetter = "wf"
    image_size: int = Field(default=512, ge=16, le=4096)
    jpeg_quality: int = Field(default=90, ge=1, le=100)
    device: str = Field(default="best", max_length=100)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        """Whether everything is there that the correction needs."""
        if self.do == "place":
            if sum(part is not None for part in (self.landmarks, self.points, self.box)) != 1:
                raise ValueError("a face is placed by landmarks, by points or by a box")
            if self.points is not None and len(self.points) not in (3, 5):
                raise ValueError("a face is placed by three points or by five")
        elif not self.other_frame or (self.do == "between" and not (self.name and self.other_name)):
            raise ValueError("the other frame is missing")
        return self
