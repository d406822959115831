"""Trained weights of encoders in the weights folder: what is here, what is fetched, what is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.core.encoder_sources import EncoderWeights, Variant, pretrained_source
from backend.core.errors import WeightsMissingError
from backend.storage.encoder_weights import encoder_state, find_encoder_weights, obtain_encoder_weights
from tests.storage.range_server import serving


def test_the_page_learns_what_is_here_and_how_to_get_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "encoders"
    state = encoder_state("resnet50", tmp_path)
    assert (state.available, state.weights) == (True, "fetched")
    for part in ("https://huggingface.co/microsoft/resnet-50/", "save it as resnet50.safetensors", str(folder)):
        assert part in state.words
    folder.mkdir()
    (folder / "resnet50.bin").touch()
    state = encoder_state("resnet50", tmp_path)
    assert (state.weights, state.words) == ("present", "Its trained weights are here: resnet50.bin.")
    assert encoder_state("fs_original", tmp_path).weights == "none"
    assert "width of 0.75 or 1" in encoder_state("mobilenet_v3_small", tmp_path, Variant(0.5)).words
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    state = encoder_state("vgg16", tmp_path)
    assert not state.available
    assert state.weights == "fetched"
    assert "pip install timm torchvision" in state.words
    assert "fetched" not in state.words


def test_safetensors_come_first(tmp_path: Path) -> None:
    source = pretrained_source("resnet50")
    assert source is not None
    assert find_encoder_weights(source, tmp_path) is None
    (tmp_path / "encoders").mkdir()
    for ending in (".pth", ".bin", ".safetensors"):
        (tmp_path / "encoders" / f"resnet50{ending}").touch()
        assert obtain_encoder_weights("resnet50", source, tmp_path).suffix == ending


def test_the_next_address_is_asked_where_the_first_has_no_such_file(tmp_path: Path) -> None:
    with serving({"/pytorch_model.bin": b"weights"}) as shelf:
        urls = tuple(f"{shelf.address}/{file}" for file in ("model.safetensors", "pytorch_model.bin"))
        path = obtain_encoder_weights("net", EncoderWeights("net", urls), tmp_path)
        assert path == tmp_path / "encoders" / "net.bin"
        assert path.read_bytes() == b"weights"
        assert [asked for asked, _ in shelf.asked] == ["/model.safetensors", "/pytorch_model.bin"]
        shelf.files.clear()
        path.unlink()
        with pytest.raises(WeightsMissingError, match=r"Not Found.*model\.safetensors and save it as net\.safetensors"):
            obtain_encoder_weights("net", EncoderWeights("net", urls), tmp_path)
    shelf.asked.clear()
    with pytest.raises(WeightsMissingError, match=r"refused.*model\.safetensors"):
        obtain_encoder_weights("net", EncoderWeights("net", urls), tmp_path)
