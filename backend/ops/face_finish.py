"""Finishing steps of merging: what makes a merged face as blurred, sharp or coarse as the picture around it.

They work on the face's crop, or on its rectangle of the frame, and never on what lies around the face.
"""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image

from backend.ops.align import Float64
from backend.ops.face_swap import MergeOptions, Motion
from backend.ops.frame_box import Float32, as_float

_LONGEST_MOTION = 50  # pixels of the crop
_MEDIAN = 5
_COLORS = 256
_PALETTE_PX = 64


def needs_crop(options: MergeOptions, motion: Motion) -> bool:
    """Whether finish_crop() would change anything."""
    sharpened = options.sharpen_amount < 0 or (options.sharpen_amount > 0 and options.sharpen_mode != "none")
    return bool(motion_length(options.motion_blur, motion) or sharpened or options.denoise or options.bicubic_degrade)


def finish_crop(crop_bgr: Float32, options: MergeOptions, motion: Motion, mat: Float64, enlarged: bool) -> Float32:
    """Motion blur, sharpening or blur, denoising and bicubic degrade, in DeepFaceLab's order.

    DeepFaceLab takes noise and detail out of the frame to make it as poor as the face; here the face alone changes.

    Args:
        crop_bgr: (s, s, 3) float32 0..1, the merged frame seen in the face's crop.
        options: how much of each.
        motion: of the face.
        mat: (2, 3) frame -> crop.
        enlarged: the crop is larger than the model's resolution; motion blur is twice as long there.

    Returns:
        (s, s, 3) float32; sharpening may leave 0..1.
    """
    length = motion_length(options.motion_blur, motion) * (2 if enlarged else 1)
    if length:
        crop_bgr = motion_blur(crop_bgr, length, _angle_in_crop(motion.angle_deg, mat))
    crop_bgr = sharpen(crop_bgr, options.sharpen_mode, options.sharpen_amount)
    if options.denoise:
        crop_bgr = denoise(crop_bgr, options.denoise)
    if options.bicubic_degrade:
        crop_bgr = bicubic_degrade(crop_bgr, options.bicubic_degrade)
    return crop_bgr


def motion_length(power: int, motion: Motion) -> int:
    """Length of the blur in pixels of the crop for a power of 0..100; 0 when there is nothing to blur."""
    length = int(motion.power * power / 100.0)
    return min(max(length + 1, 2), _LONGEST_MOTION) if length >= 1 else 0


def motion_blur(image: Float32, length: int, angle_deg: float) -> Float32:
    """Blur along a line of so many pixels, turned counter-clockwise from the right; (h, w, 3) float32."""
    line = np.zeros((length, length), dtype=np.float32)
    line[(length - 1) // 2] = 1.0
    middle = length / 2 - 0.5
    line = cv2.warpAffine(line, cv2.getRotationMatrix2D((middle, middle), angle_deg, 1.0), (length, length))
    return cv2.filter2D(image, -1, line / line.sum())


def sharpen(image: Float32, mode: str, amount: int) -> Float32:
    """Sharpen with a kernel of 3 px (positive), or blur by medians of 5 px (negative), as DeepFaceLab does.

    Args:
        image: (h, w, 3) float32 0..1.
        mode: "box" adds ``amount`` times what differs from the box mean, "gaussian" half as much of what differs from
            the Gaussian mean, "none" does not sharpen.
        amount: -100..100; below 0 every ten are a pass of the median, and the last of them is mixed in.

    Returns:
        (h, w, 3) float32, sharpened ones beyond 0..1.
    """
    if amount > 0 and mode == "box":
        kernel = np.full((3, 3), -amount / 9.0, dtype=np.float32)
        kernel[1, 1] += 1.0 + amount
        return cv2.filter2D(image, -1, kernel)
    if amount > 0 and mode == "gaussian":
        blurred = cv2.GaussianBlur(image, (3, 3), 0)
        return cv2.addWeighted(image, 1.0 + 0.5 * amount, blurred, -0.5 * amount, 0)
    return _medians(image, -amount, 10)


def denoise(image: Float32, power: int) -> Float32:
    """Medians of 5 px, one for every ten of ``power`` (0..500); the last ones are mixed in less and less.

    Args:
        image: (h, w, 3) float32 0..1.
        power: from 100 on each pass counts fully, below it by its hundredth.

    Returns:
        (h, w, 3) float32 0..1.
    """
    return _medians(image, power, 100)


def _medians(image: Float32, power: int, full: int) -> Float32:
    """Passes of a 5 px median while ``power`` is left, ten less each time; below ``full`` its share is mixed in."""
    while power > 0:
        median = cv2.medianBlur(image, _MEDIAN)
        share = min(power / full, 1.0)
        image = median if share == 1.0 else cv2.addWeighted(image, 1.0 - share, median, share, 0)
        power -= 10
    return image


def bicubic_degrade(image: Float32, power: int) -> Float32:
    """Shrink and enlarge; (h, w, 3) float32, ``power`` 0..100, at 100 a hundredth of the size is left."""
    height, width = image.shape[:2]
    left = 1.0 - power / 101.0
    small = cv2.resize(image, (max(int(width * left), 1), max(int(height * left), 1)), interpolation=cv2.INTER_CUBIC)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def color_degrade(image_bgr: Float32, power: int) -> Float32:
    """Mix in the picture reduced to 256 colours, which are chosen on a small copy of it.

    Args:
        image_bgr: (h, w, 3) float32 0..1.
        power: 0..100 percent.

    Returns:
        (h, w, 3) float32 0..1.
    """
    rgb = (np.clip(image_bgr, 0.0, 1.0) * 255.0).astype(np.uint8)[:, :, ::-1]
    picture = Image.fromarray(np.ascontiguousarray(rgb))
    size = (min(picture.width, _PALETTE_PX), min(picture.height, _PALETTE_PX))
    palette = picture.resize(size, Image.Resampling.NEAREST).quantize(_COLORS, Image.Quantize.MEDIANCUT)
    reduced = np.asarray(picture.quantize(palette=palette, dither=Image.Dither.NONE).convert("RGB"))
    share = power / 100.0
    return cv2.addWeighted(image_bgr, 1.0 - share, as_float(reduced[:, :, ::-1]), share, 0)


def _angle_in_crop(angle_deg: float, mat: Float64) -> float:
    """A direction of the frame as it lies in the crop, counter-clockwise from the right."""
    angle = np.radians(angle_deg)
    x, y = mat[:, :2] @ np.array([np.cos(angle), -np.sin(angle)])
    return float(np.degrees(np.arctan2(-y, x)))
