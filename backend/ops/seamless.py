"""Seamless cloning: a face keeps its gradients and takes the light of the place it is put into."""

from __future__ import annotations

import cv2
import numpy as np

from backend.ops.frame_box import Float32, as_float

_LEAST_COVER = 0.1
_EATEN = 3  # pixels that OpenCV takes off the area's edge
_SOFTNESS = 1.0 / 24.0  # deviation of the softening, in sides of the crop


def poisson_clone(face: Float32, destination: Float32, mask: Float32, frame_px: float) -> Float32 | None:
    """Clone a face into its destination crop keeping its gradients (Perez et al., "Poisson Image Editing", 2003).

    The cloned area is where the mask covers more than a tenth, less three pixels along its edge. DeepFaceLab clones in
    the frame. In the crop the three pixels are wider than in a frame that shows the face larger, so the area grows by
    the difference first.

    Args:
        face: (s, s, 3) float32 0..1.
        destination: (s, s, 3) float32 0..1.
        mask: (s, s) float32 0..1.
        frame_px: side of a frame's pixel in pixels of the crop.

    Returns:
        (s, s, 3) float32 0..1, or None when there is no such area or OpenCV refuses.
    """
    area_u8 = (mask > _LEAST_COVER).astype(np.uint8) * 255
    grow = round(_EATEN * (1.0 - frame_px))
    if grow > 0:
        area_u8 = cv2.dilate(area_u8, np.ones((2 * grow + 1, 2 * grow + 1), np.uint8))
    left, top, width, height = cv2.boundingRect(area_u8)
    if width == 0:
        return None
    centre = (int(left + width / 2), int(top + height / 2))
    face_u8, destination_u8 = (np.multiply(image, 255.0).astype(np.uint8) for image in (face, destination))
    try:
        cloned = cv2.seamlessClone(face_u8, destination_u8, area_u8, centre, cv2.NORMAL_CLONE)
    except cv2.error:
        return None
    return as_float(cloned)


def softened(destination: Float32) -> Float32:
    """A destination crop (s, s, 3) whose pixels at the edge of the mask do not carry noise into the cloned face.

    The light of the whole cloned area hangs on the pixels along its edge; single ones that change from frame to frame
    make it flicker. A blur of 1/24 of the crop leaves the light and takes them out.
    """
    return cv2.GaussianBlur(destination, (0, 0), destination.shape[0] * _SOFTNESS, borderType=cv2.BORDER_REPLICATE)
