"""A new network's backbone and its first weights: from a file, fetched, or said why not."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import cast

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from backend.core.encoder_sources import EncoderWeights
from backend.core.errors import DamagedFileError
from backend.core.settings import PhazeASettings
from backend.models.backbones import Backbone, BackboneOptions, build_backbone
from backend.models.base import FaceSwapModel
from backend.models.registry import build_model
from backend.pipeline import backbone_weights, train
from backend.pipeline.backbone_weights import begin_with_pretrained, read_weights
from backend.storage.checkpoint import load_latest
from tests.models import timm_names
from tests.pipeline.training_project import Watched, drawn_project
from tests.storage.range_server import serving

NAME = "mobilenet_v3_small"
SMALL = MappingProxyType(
    {
        "output_size": 64,
        "bottleneck_size": 128,
        "fc_min_filters": 128,
        "fc_max_filters": 128,
        "dec_max_filters": 256,
        "enable_gblock": False,
        "split_decoders": True,
    }
)
"""About the smallest model builder's network."""


class Said:
    """A log."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def __call__(self, sentence: str, level: str) -> None:
        self.lines.append((level, sentence))


def settings(**changes: object) -> PhazeASettings:
    return PhazeASettings.model_validate({"enc_architecture": NAME, "enc_scaling": 29, **changes})


def network(width: float = 1.0) -> tuple[FaceSwapModel, Backbone]:
    """As much of a network as is looked at."""
    backbone = build_backbone(NAME, 64, 3, BackboneOptions(width))
    return cast(
        FaceSwapModel, SimpleNamespace(freezable=lambda: {"encoder": nn.Identity(), "keras_encoder": backbone})
    ), backbone


def published() -> dict[str, Tensor]:
    shapes = timm_names.mobilenet_v3(timm_names.V3_SMALL, 1.0, 1024)
    return {name: torch.full(shape, 0.25) if shape else torch.tensor(3) for name, shape in shapes.items()}


def holds(backbone: Backbone) -> bool:
    return all(bool((p == 0.25).all()) for p in backbone.parameters())


@pytest.mark.parametrize("ending", [".safetensors", ".pth", ".bin"])
def test_a_file_in_the_folder_is_taken(tmp_path: Path, ending: str) -> None:
    path = tmp_path / "encoders" / f"{NAME}{ending}"
    path.parent.mkdir()
    if ending == ".safetensors":
        save_file(published(), path)
    else:
        torch.save({"epoch": 16, "state_dict": published()} if ending == ".pth" else published(), path)
    model, backbone = network()
    said = Said()
    begin_with_pretrained(model, settings(), tmp_path, said)
    assert holds(backbone)
    assert said.lines == [("info", f"The encoder {NAME} begins with the trained weights in {path.name}.")]


def test_they_are_fetched_when_they_are_not_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_file(published(), tmp_path / "there")
    with serving({"/model.safetensors": (tmp_path / "there").read_bytes()}) as shelf:
        source = EncoderWeights(NAME, (f"{shelf.address}/model.safetensors",))
        monkeypatch.setattr(backbone_weights, "pretrained_source", lambda *_: source)
        model, backbone = network()
        begin_with_pretrained(model, settings(), tmp_path / "weights", Said())
        assert holds(backbone)
        model, backbone = network()
        begin_with_pretrained(model, settings(), tmp_path / "weights", Said())
        assert holds(backbone)
        assert len(shelf.asked) == 1


def test_without_them_it_learns_from_scratch_and_says_how_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "http://127.0.0.1:9/model.safetensors"
    monkeypatch.setattr(backbone_weights, "pretrained_source", lambda *_: EncoderWeights(NAME, (url,)))
    model, backbone = network()
    before = backbone.state_dict()["net.conv_stem.weight"].clone()
    said = Said()
    begin_with_pretrained(model, settings(), tmp_path, said)
    assert torch.equal(before, backbone.state_dict()["net.conv_stem.weight"])
    ((level, sentence),) = said.lines
    assert level == "warning"
    for part in (NAME, url, f"save it as {NAME}.safetensors", str(tmp_path / "encoders"), "learns from scratch"):
        assert part in sentence
    assert "frozen" not in sentence
    said = Said()
    begin_with_pretrained(model, settings(freeze_weights=True), tmp_path, said)
    assert "It is frozen and would never learn" in said.lines[0][1]


def test_a_width_without_weights_says_so(tmp_path: Path) -> None:
    model, _ = network(0.5)
    said = Said()
    begin_with_pretrained(model, settings(mobilenet_width=0.5), tmp_path, said)
    wanted = f"Trained weights of {NAME} have a width of 0.75 or 1. The encoder learns from scratch."
    assert said.lines == [("warning", wanted)]


def test_other_networks_and_other_wishes_are_left_alone(tmp_path: Path) -> None:
    said = Said()
    begin_with_pretrained(network()[0], settings(enc_load_weights=False), tmp_path, said)
    own = cast(FaceSwapModel, SimpleNamespace(freezable=lambda: {"encoder": nn.Identity()}))
    begin_with_pretrained(own, PhazeASettings(), tmp_path, said)
    assert said.lines == []


def test_files_that_hold_something_else_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "encoders" / f"{NAME}.safetensors"
    path.parent.mkdir()
    path.write_bytes(b"no tensors at all")
    with pytest.raises(DamagedFileError, match="cannot be read as weights"):
        begin_with_pretrained(network()[0], settings(), tmp_path, Said())
    save_file({"conv_stem.weight": torch.ones(2)}, path)
    with pytest.raises(DamagedFileError, match=rf"{path.name} does not hold the weights of {NAME}"):
        begin_with_pretrained(network()[0], settings(), tmp_path, Said())


class Trap:
    """Runs code when it is unpickled without care."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("trapped",)


def test_pickled_files_run_no_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "net.pth"
    torch.save({"state_dict": published(), "extra": Trap()}, path)
    with pytest.raises(DamagedFileError, match="cannot be read as weights"):
        read_weights(path)
    for nothing in ({"epoch": 3}, [torch.ones(1)]):
        torch.save(nothing, path)
        with pytest.raises(DamagedFileError, match="holds no weights"):
            read_weights(path)
    path.write_bytes(b"")
    with pytest.raises(DamagedFileError, match="cannot be read as weights"):
        read_weights(path)
    assert "trapped" not in capsys.readouterr().out


def test_the_model_builder_gets_them(tmp_path: Path) -> None:
    path = tmp_path / "encoders" / f"{NAME}.safetensors"
    path.parent.mkdir()
    save_file(published(), path)
    chosen = settings(**SMALL)
    model = build_model(chosen, seed=1)
    begin_with_pretrained(model, chosen, tmp_path, Said())
    backbone = model.freezable()["keras_encoder"]
    assert isinstance(backbone, Backbone)
    assert holds(backbone)
    model.freeze(["keras_encoder"])
    assert not any(p.requires_grad for p in backbone.parameters())
    assert not any(norm.training for norm in model.train().modules() if isinstance(norm, nn.BatchNorm2d))


def test_a_run_fetches_freezes_keeps_and_resumes_a_backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The frozen backbone is after the training what the file holds, its running values too."""
    folder = tmp_path / "weights" / "encoders"
    folder.mkdir(parents=True)
    save_file(published(), folder / f"{NAME}.safetensors")
    monkeypatch.setenv("LOOKALIKE_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setattr(train, "require_memory", lambda settings, device, ranks: settings)
    watched = Watched(drawn_project(tmp_path, faces=4))
    chosen = settings(
        **SMALL,
        model="tiny",
        face_type="wf",
        batch_size=2,
        precision="fp32",
        device="cpu",
        target_iterations=1,
        seed=5,
        freeze_weights=True,
    )
    train.run(chosen, watched.context)
    assert f"begins with the trained weights in {NAME}.safetensors" in watched.text
    train.run(chosen.model_copy(update={"target_iterations": 2}), watched.context)
    assert watched.text.count("begins with the trained weights") == 1
    saved = load_latest(watched.folder().generations_dir)
    assert saved is not None
    kept = {name.split("network.net.")[1]: value for name, value in saved.weights.items() if "network.net." in name}
    wanted = published()
    assert saved.state.iteration == 2
    assert set(kept) <= set(wanted)
    assert all(torch.equal(value, wanted[name]) for name, value in kept.items())
