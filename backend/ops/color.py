"""Colour transfer: give a face the colours of a reference. A new method is one function and one line at the end."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from backend.ops.color_transport import Float32, iterative_distribution, sliced_transport

Float64 = npt.NDArray[np.float64]


class ColorTransferFunction(Protocol):
    """What every method takes: a face, a reference, who counts, and where chance comes from."""

    def __call__(
        self,
        face_bgr: Float32,
        reference_bgr: Float32,
        mask: Float32 | None = None,
        rng: np.random.Generator | None = None,
    ) -> Float32:
        """The face (h, w, C) float32 0..1 in the reference's colours; without ``rng`` the same at every call."""
        ...


_RIDGE = 1e-5  # keeps the covariance of a flat image invertible
_LAB_NOISE = 0.1  # deviation in Lab units; rounding alone gives a gray image 0.03 in a and b
_MERGE_DIRECTIONS = 30
_LIGHT_OF_MIX = 100 / 2.55  # 100 of 255 in Lab units
_SIGMA_OF_MIX = 5 / 255


def keep_colors(
    face_bgr: Float32, reference_bgr: Float32, mask: Float32 | None = None, rng: np.random.Generator | None = None
) -> Float32:
    """Leave the face as it is; nothing else is looked at."""
    return face_bgr


def reinhard_lab(
    face_bgr: Float32, reference_bgr: Float32, mask: Float32 | None = None, rng: np.random.Generator | None = None
) -> Float32:
    """Match mean and deviation of each Lab channel ("rct").

    Reinhard et al., "Color Transfer between Images", 2001. As in DeepFaceLab the values outside the mask are set to 0
    and then counted, so that the size of the mask weighs on both images alike. A channel without any spread, like the
    two colour channels of a gray face, takes the reference's mean only.

    Args:
        face_bgr: (h, w, 3) float32 0..1.
        reference_bgr: (h, w, 3) float32 0..1.
        mask: (h, w) float32; values of 0.5 and more take part. None takes all.
        rng: not needed.

    Returns:
        (h, w, 3) float32 0..1.
    """
    face = cv2.cvtColor(face_bgr, cv2.COLOR_BGR2LAB)
    reference = cv2.cvtColor(reference_bgr, cv2.COLOR_BGR2LAB)
    face_mean, face_std = _masked_statistics(face, mask)
    reference_mean, reference_std = _masked_statistics(reference, mask)
    gain = np.where(face_std > _LAB_NOISE, reference_std / np.maximum(face_std, _LAB_NOISE), 0.0)
    result = face * gain.astype(np.float32) + (reference_mean - face_mean * gain).astype(np.float32)
    np.clip(result, (0.0, -127.0, -127.0), (100.0, 127.0, 127.0), out=result)
    result = cv2.cvtColor(result, cv2.COLOR_LAB2BGR)
    return np.clip(result, 0.0, 1.0, out=result)


def linear_covariance(
    face_bgr: Float32, reference_bgr: Float32, mask: Float32 | None = None, rng: np.random.Generator | None = None
) -> Float32:
    """Match mean and covariance of the colours by symmetric square roots ("lct").

    Hertzmann's linear colour transfer in the form DeepFaceLab uses. Of one channel it matches mean and deviation.

    Args:
        face_bgr: (h, w, C) float32 0..1, C 3 or 1.
        reference_bgr: (h, w, C) float32 0..1.
        mask: not looked at: all pixels take part.
        rng: not needed.

    Returns:
        (h, w, C) float32 0..1.
    """
    face_mean, _, face_inverse = _covariance_roots(face_bgr)
    reference_mean, reference_root, _ = _covariance_roots(reference_bgr)
    return _mapped(face_bgr, reference_root @ face_inverse, face_mean, reference_mean)


def monge_kantorovich(
    face_bgr: Float32, reference_bgr: Float32, mask: Float32 | None = None, rng: np.random.Generator | None = None
) -> Float32:
    """Match mean and covariance of the colours by the linear map that moves them least ("mkl").

    Pitié and Kokaram, "The linear Monge-Kantorovitch linear colour mapping for example-based colour transfer", 2007:
    T = A^-1/2 (A^1/2 B A^1/2)^1/2 A^-1/2 for covariances A of the face and B of the reference. Arguments and result
    as linear_covariance().
    """
    face_mean, root, inverse = _covariance_roots(face_bgr)
    reference_mean, reference_root, _ = _covariance_roots(reference_bgr)
    values, vectors = np.linalg.eigh(root @ reference_root @ reference_root @ root)
    middle = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    return _mapped(face_bgr, inverse @ middle @ inverse, face_mean, reference_mean)


def many_directions(
    face_bgr: Float32, reference_bgr: Float32, mask: Float32 | None = None, rng: np.random.Generator | None = None
) -> Float32:
    """Sliced optimal transport with the 30 directions per step of merging; see sliced_transport()."""
    return sliced_transport(face_bgr, reference_bgr, mask, rng, directions=_MERGE_DIRECTIONS)


def light_and_colours(
    face_bgr: Float32, reference_bgr: Float32, mask: Float32 | None = None, rng: np.random.Generator | None = None
) -> Float32:
    """Match lightness by mean and deviation, and colours by sliced optimal transport, each by itself ("mix").

    As in DeepFaceLab: L of Lab goes through linear_covariance(); both images get L = 100 of 255 and the face's BGR goes
    through sliced_transport(), which smooths the change with a sigma of 5 of 255 in colour; then the matched L is put
    back.

    Args:
        face_bgr: (h, w, 3) float32 0..1.
        reference_bgr: (h, w, 3) float32 0..1, of any size.
        mask: not looked at: all pixels take part.
        rng: where the directions come from; None takes the same ones at every call.

    Returns:
        (h, w, 3) float32 0..1.
    """
    face, reference = (cv2.cvtColor(image, cv2.COLOR_BGR2LAB) for image in (face_bgr, reference_bgr))
    light = linear_covariance(face[:, :, :1] / 100, reference[:, :, :1] / 100) * 100
    face[:, :, 0] = reference[:, :, 0] = _LIGHT_OF_MIX
    flat, flat_reference = (np.clip(cv2.cvtColor(lab, cv2.COLOR_LAB2BGR), 0.0, 1.0) for lab in (face, reference))
    colours = sliced_transport(flat, flat_reference, None, rng, sigma_color=_SIGMA_OF_MIX)
    result = cv2.cvtColor(colours, cv2.COLOR_BGR2LAB)
    result[:, :, 0] = light[:, :, 0]
    result = cv2.cvtColor(result, cv2.COLOR_LAB2BGR)
    return np.clip(result, 0.0, 1.0, out=result)


def inside_mask(transfer: ColorTransferFunction) -> ColorTransferFunction:
    """The method with both images black outside of the mask, and counted so (DeepFaceLab's "-m")."""

    def masked(
        face_bgr: Float32, reference_bgr: Float32, mask: Float32 | None = None, rng: np.random.Generator | None = None
    ) -> Float32:
        if mask is None:
            return transfer(face_bgr, reference_bgr, None, rng)
        inside = mask[:, :, None]
        return transfer(face_bgr * inside, reference_bgr * inside, mask, rng)

    return masked


def _mapped(image: Float32, linear: Float64, mean: Float64, new_mean: Float64) -> Float32:
    """The colours after a linear map about their mean, which becomes the new one; cut to 0..1."""
    result = cv2.transform(image, np.column_stack([linear, new_mean - linear @ mean]))
    return np.clip(result, 0.0, 1.0).reshape(image.shape)


def _masked_statistics(image: Float32, mask: Float32 | None) -> tuple[Float64, Float64]:
    """Mean and deviation per channel over all pixels, those outside the mask counted as 0."""
    if mask is not None:
        image = image * (mask >= 0.5)[:, :, None]
    mean, deviation = cv2.meanStdDev(image)
    return mean[:, 0], deviation[:, 0]


def _covariance_roots(image: Float32) -> tuple[Float64, Float64, Float64]:
    """Mean (C,), square root and inverse square root (C, C) of the colour covariance."""
    pixels = image.reshape(-1, image.shape[2]).astype(np.float64)
    mean = pixels.mean(axis=0)
    centred = pixels - mean
    values, vectors = np.linalg.eigh(centred.T @ centred / len(pixels) + _RIDGE * np.eye(len(mean)))
    root = np.sqrt(values)
    return mean, (vectors * root) @ vectors.T, (vectors / root) @ vectors.T


COLOR_TRANSFERS: Mapping[str, ColorTransferFunction] = MappingProxyType(
    {
        "none": keep_colors,
        "rct": reinhard_lab,
        "lct": linear_covariance,
        "mkl": monge_kantorovich,
        "idt": iterative_distribution,
        "sot": sliced_transport,
        "mkl-m": inside_mask(monge_kantorovich),
        "idt-m": inside_mask(iterative_distribution),
        "sot-m": inside_mask(many_directions),
        "mix-m": inside_mask(light_and_colours),
    }
)
