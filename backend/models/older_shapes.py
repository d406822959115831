"""Sizes of H64, H128, DF, LIAEF128 and SAE from their settings."""

from __future__ import annotations

from dataclasses import replace

from backend.core.faces import FaceType
from backend.core.settings.older import H64Settings, H128Settings, Liaef128Settings, OlderSettings, SaeSettings
from backend.models.older_parts import OlderShape

_H64 = OlderShape(64, (128, 256, 512, 1024), 1024, 1024, 512, faces=(512, 256, 128), masks=(256, 128, 64))
_H64_LIGHT = OlderShape(64, (128, 256, 512, 768), 512, 512, 256, faces=(256, 128, 64), masks=(256, 128, 64))
_H128 = OlderShape(128, (128, 256, 512, 1024), 512, 512, 512, faces=(512, 256, 128), masks=(512, 256, 128))
_H128_LIGHT = OlderShape(128, (128, 256, 512, 1024), 256, 256, 256, faces=(256, 128, 64), masks=(256, 128, 64))
_LIAEF128 = replace(_H128, bottleneck=256, is_liae=True)

VG_BLOCKS = 16
LIGHT_VG_BLOCKS = 8
LIGHT_SEPARABLE = (1, 3)
"""The second and fourth convolution of SAE's lightweight encoder are separable."""
RESIDUALS = 2
VG_RESIDUALS = 1


def older_shape(settings: OlderSettings) -> OlderShape:
    """Sizes of the network that these settings, resolved, ask for."""
    if isinstance(settings, SaeSettings):
        shape = _sae(settings)
    elif isinstance(settings, H64Settings):
        shape = _H64_LIGHT if settings.lightweight else _H64
    elif isinstance(settings, H128Settings):
        shape = _H128_LIGHT if settings.lightweight else _H128
    else:
        shape = _LIAEF128 if isinstance(settings, Liaef128Settings) else _H128
    face_type = FaceType.from_letter(settings.face_type)
    return replace(shape, channels=settings.channels, face_type=face_type)


def _sae(settings: SaeSettings) -> OlderShape:
    """The widths count for each of three colours, a gray network's too; the mask's decoder is a third as wide."""
    vg, liae, light = settings.archi == "vg", settings.archi == "liae", settings.lightweight_encoder
    first = 3 * settings.e_ch_dims
    if vg:
        first -= first % 4  # its pixels are folded back out of four channels each
    code = settings.ae_dims * (2 if liae else 1)
    decoder, mask = 3 * settings.d_ch_dims, settings.d_ch_dims
    return OlderShape(
        resolution=settings.resolution,
        widths=(first, first * 2, first * 4, first * 8),
        bottleneck=settings.ae_dims,
        code_channels=code,
        up_channels=code,
        faces=(decoder * 8, decoder * 4, decoder * 2),
        masks=(mask * 8, mask * 4, mask * 2) if settings.learn_mask else (),
        residuals=VG_RESIDUALS if vg else RESIDUALS * settings.residual_blocks,
        separable=LIGHT_SEPARABLE if light and not vg else (),
        deep=(LIGHT_VG_BLOCKS if light else VG_BLOCKS) if vg else 0,
        multiscale=settings.multiscale_decoder,
        reflect=settings.remove_gray_border,
        conv_aware=settings.ca_weights,
        is_liae=liae,
    )
