"""Trained weights of the encoders: which are here, and how to get the rest. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from backend.core.encoder_sources import AS_DESIGNED, EncoderWeights, Variant, pretrained_source, why_untrained
from backend.core.encoders import why_missing
from backend.core.errors import WeightsMissingError
from backend.storage.download import WeightFile, download, is_absent

FOLDER = "encoders"
"""Below the weights folder."""

_ENDINGS = (".safetensors", ".bin", ".pth")


@dataclass(frozen=True)
class EncoderState:
    """What a page says about an encoder.

    Attributes:
        available: whether it can be built here.
        weights: "none" are published, "present" in the folder, or to be "fetched".
        words: for the user: why it cannot be built, else about its weights; one or two sentences.
    """

    available: bool
    weights: Literal["none", "present", "fetched"]
    words: str


def encoder_state(name: str, weights_dir: Path, variant: Variant = AS_DESIGNED) -> EncoderState:
    """Whether an encoder can be built, and where its trained weights are. Looks at file names only.

    Args:
        name: key of backend.core.encoders.ENCODERS.
        weights_dir: folder of downloaded weights.
        variant: counts for the MobileNets.
    """
    missing = why_missing(name)
    source = pretrained_source(name, variant)
    path = None if source is None else find_encoder_weights(source, weights_dir)
    if name == "fs_original":
        words = "It learns from scratch."
    elif source is None:
        words = why_untrained(name, variant)
    elif path is not None:
        words = f"Its trained weights are here: {path.name}."
    else:
        words = f"Its trained weights are fetched when a new model wants them. {how_to_get(source, weights_dir)}"
    weights = "none" if source is None else "fetched" if path is None else "present"
    return EncoderState(not missing, weights, missing or words)


def how_to_get(source: EncoderWeights, weights_dir: Path) -> str:
    """How to bring trained weights by hand, a sentence with address, file and folder."""
    wanted = _wanted(source, source.urls[0])
    return f"By hand: download {wanted.url} and save it as {wanted.file} in the folder {encoders_folder(weights_dir)}."


def encoders_folder(weights_dir: Path) -> Path:
    """Where weights of encoders lie."""
    return weights_dir / FOLDER


def find_encoder_weights(source: EncoderWeights, weights_dir: Path) -> Path | None:
    """The file with these weights, None when it is not here; safetensors come first."""
    paths = [encoders_folder(weights_dir) / f"{source.stem}{ending}" for ending in _ENDINGS]
    return next((path for path in paths if path.is_file()), None)


def obtain_encoder_weights(name: str, source: EncoderWeights, weights_dir: Path) -> Path:
    """The file with these weights, downloaded when it is not here.

    Args:
        name: of the encoder, for messages.
        source: what is wanted.
        weights_dir: folder of downloaded weights; created when a download needs it.

    Raises:
        WeightsMissingError: they are not here and cannot be downloaded; it names the first address.
        DiskFullError: the disk has no room for them.
    """
    path = find_encoder_weights(source, weights_dir)
    if path is not None:
        return path
    failures: list[WeightsMissingError] = []
    for url in source.urls:
        wanted = _wanted(source, url)
        path = encoders_folder(weights_dir) / wanted.file
        try:
            download(name, wanted, path)
        except WeightsMissingError as error:
            failures.append(error)
            if not is_absent(error):
                break
        else:
            return path
    raise failures[0]


def _wanted(source: EncoderWeights, url: str) -> WeightFile:
    return WeightFile(source.stem + Path(urlsplit(url).path).suffix, url)
