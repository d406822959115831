"""Backbones: parameter counts as published, shapes, normalisation, padding, fresh weights, what can be had."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, cast

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from backend.core.encoders import ENCODERS, map_side, why_missing
from backend.core.errors import BadInputError
from backend.models.backbones import Backbone, BackboneOptions, build_backbone
from backend.models.backbones.base import CLIP, HALF, IMAGENET, DropPath, Normalisation, SamePad, same_padding

PLAIN = BackboneOptions()
HERE = {name for name, facts in ENCODERS.items() if facts.source != "timm" and name != "fs_original"}

IN_TORCHVISION = {
    "efficientnet_b0": 5_288_548,
    "efficientnet_b1": 7_794_184,
    "efficientnet_b2": 9_109_994,
    "efficientnet_b3": 12_233_232,
    "efficientnet_b4": 19_341_616,
    "efficientnet_b5": 30_389_784,
    "efficientnet_b6": 43_040_704,
    "efficientnet_b7": 66_347_960,
    "efficientnet_v2_s": 21_458_488,
    "efficientnet_v2_m": 54_139_356,
    "efficientnet_v2_l": 118_515_272,
    "convnext_tiny": 28_589_128,
    "convnext_small": 50_223_688,
    "convnext_base": 88_591_464,
    "convnext_large": 197_767_336,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "mobilenet_v2": 3_504_872,
}
"""num_params of torchvision's documentation, with a classifier of 1000 classes behind the last map."""

IN_KERAS = {
    "efficientnet_v2_b0": 5_919_312,
    "efficientnet_v2_b1": 6_931_124,
    "efficientnet_v2_b2": 8_769_374,
    "efficientnet_v2_b3": 12_930_622,
    "efficientnet_v2_s": 20_331_360,
    "efficientnet_v2_m": 53_150_388,
    "efficientnet_v2_l": 117_746_848,
    "mobilenet": 3_228_864,
    "mobilenet_v3_large": 2_996_352,
    "mobilenet_v3_small": 939_120,
    "nasnet_mobile": 4_269_716,
}
"""What Keras' summaries give without the classifier; running means and variances count."""

IN_OPENCLIP = {
    "clipv_vit-b-16": 86.19,
    "clipv_vit-b-32": 87.85,
    "clipv_vit-l-14": 303.97,
    "clipv_vit-l-14-336px": 304.29,
    "clipv_farl-b-16-16": 86.19,
    "clipv_farl-b-16-64": 86.19,
}
"""Millions in OpenCLIP's model profile, image tower at its own size; FaRL is the net of B-16."""


def shell(name: str, px: int = 64, channels: int = 3, options: BackboneOptions = PLAIN) -> Backbone:
    """A backbone whose weights take no memory."""
    with torch.device("meta"):
        return build_backbone(name, px, channels, options)


def learned(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def with_running(net: nn.Module) -> int:
    return learned(net) + sum(b.numel() for name, b in net.named_buffers() if "running" in name)


@pytest.mark.parametrize("name", IN_TORCHVISION)
def test_parameters_are_torchvisions_without_the_classifier(name: str) -> None:
    backbone = shell(name)
    assert learned(backbone) == IN_TORCHVISION[name] - (backbone.out_shape[0] + 1) * 1000
    assert backbone.out_shape[0] == ENCODERS[name].channels


@pytest.mark.parametrize("name", IN_KERAS)
def test_parameters_are_those_of_keras(name: str) -> None:
    backbone = shell(name)
    assert with_running(backbone) == IN_KERAS[name]
    assert backbone.out_shape[0] == ENCODERS[name].channels


@pytest.mark.parametrize("name", IN_OPENCLIP)
def test_parameters_are_those_of_clip(name: str) -> None:
    backbone = shell(name, ENCODERS[name].default_px)
    assert round(learned(backbone) / 1e6, 2) == IN_OPENCLIP[name]
    assert backbone.out_shape == (ENCODERS[name].channels,)


def test_every_backbone_that_is_here_is_counted() -> None:
    """ConvNeXt's largest is counted from timm: 350,196,968 with its classifier."""
    backbone = shell("convnext_extra_large")
    assert learned(backbone) == 350_196_968 - 2049 * 1000
    assert backbone.out_shape[0] == ENCODERS["convnext_extra_large"].channels
    assert {*IN_TORCHVISION, *IN_KERAS, *IN_OPENCLIP, "convnext_extra_large"} == HERE


@pytest.mark.parametrize(
    ("name", "options", "wanted"),
    [
        ("mobilenet_v2", BackboneOptions(0.35), 1_678_409 - 1281 * 1001),
        ("mobilenet_v2", BackboneOptions(0.75), 2_637_705 - 1281 * 1001),
        ("mobilenet", BackboneOptions(0.75), 1_832_976 - 2 * 8_208),
    ],
)
def test_narrow_mobilenets_have_the_published_sizes(name: str, options: BackboneOptions, wanted: int) -> None:
    """v2: the hub's checkpoints with their 1001 classes; v1: Keras' summary, running values left out."""
    assert learned(shell(name, options=options)) == wanted


@pytest.mark.parametrize(
    ("name", "options", "millions"),
    [
        ("mobilenet_v3_large", BackboneOptions(0.75), 3.99),
        ("mobilenet_v3_large", BackboneOptions(mobilenet_minimalistic=True), 3.92),
        ("mobilenet_v3_small", BackboneOptions(0.75), 2.04),
        ("mobilenet_v3_small", BackboneOptions(mobilenet_minimalistic=True), 2.04),
    ],
)
def test_variants_of_mobilenet_v3_have_the_published_sizes(
    name: str, options: BackboneOptions, millions: float
) -> None:
    """param_count of timm's tables; its classifier has 1280 or 1024 nodes before the 1000 classes."""
    net = shell(name, options=options)
    nodes = 1280 if "large" in name else 1024
    head = (net.out_shape[0] + 1) * nodes + (nodes + 1) * 1000
    assert round((learned(net) + head) / 1e6, 2) == millions


def test_depth_multiplies_the_filters_of_mobilenet_v1() -> None:
    """Each of its 13 depthwise convolutions gives twice the maps, and the pointwise one behind it takes them."""
    channels = [32, 64, 128, 128, 256, 256, *[512] * 6, 1024]
    outputs = [*channels[1:], 1024]
    more = sum(c * 9 + 2 * c + c * o for c, o in zip(channels, outputs, strict=True))
    doubled = BackboneOptions(mobilenet_depth=2)
    assert learned(shell("mobilenet", options=doubled)) - learned(shell("mobilenet")) == more


@pytest.mark.parametrize(
    "name",
    [
        "convnext_tiny",
        "efficientnet_b0",
        "efficientnet_b2",
        "efficientnet_v2_b3",
        "mobilenet",
        "mobilenet_v2",
        "mobilenet_v3_large",
        "mobilenet_v3_small",
        "nasnet_mobile",
        "resnet50",
        "clipv_vit-b-16",
        "clipv_vit-l-14-336px",
    ],
)
def test_the_shape_is_as_announced(name: str) -> None:
    """Also where 32 does not divide the side; without memory."""
    backbone = shell(name, 112, 1)
    out = backbone(torch.empty(2, 1, 112, 112, device="meta"))
    assert tuple(out.shape[1:]) == backbone.out_shape
    assert len(backbone.out_shape) == (1 if ENCODERS[name].vector else 3)
    assert ENCODERS[name].vector or backbone.out_shape[1:] == (map_side(name, 112),) * 2


@pytest.mark.parametrize(("wanted", "name"), [(IMAGENET, "resnet50"), (HALF, "mobilenet_v2"), (CLIP, "clipv_vit-b-32")])
def test_pictures_are_ordered_and_normalised_as_the_weights_want_them(wanted: Normalisation, name: str) -> None:
    bgr = torch.rand(2, 3, 4, 4)
    for channels in (3, 1):
        backbone = Backbone(name, nn.Identity(), wanted, channels, (3, 4, 4))
        seen = backbone(bgr[:, :channels])
        for i, (mean, std) in enumerate(zip(wanted.mean, wanted.std, strict=True)):
            plane = bgr[:, 2 - i if channels == 3 else 0]
            torch.testing.assert_close(seen[:, i], (plane - mean) / std)
    with torch.device("meta"):
        built = build_backbone(name, 64, 3, PLAIN)
    assert built.state_dict().keys() == {f"net.{key}" for key in built.net.state_dict()}


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("efficientnet_v2_b0", IMAGENET), ("efficientnet_v2_s", HALF), ("mobilenet_v3_small", HALF), ("mobilenet", HALF)],
)
def test_each_network_is_given_the_pictures_of_its_weights(name: str, wanted: Normalisation) -> None:
    backbone = build_backbone(name, 32, 3, BackboneOptions(0.25))
    torch.testing.assert_close(backbone.mean.flatten(), torch.tensor(wanted.mean))
    torch.testing.assert_close(1 / backbone.factor.flatten(), torch.tensor(wanted.std))


def test_padding_is_tensorflows() -> None:
    """The odd row goes behind the picture; of odd sides both get one."""
    assert [same_padding(*case) for case in ((8, 3, 2), (7, 3, 2), (8, 5, 2), (7, 5, 2), (8, 5, 1), (5, 1, 2))] == [
        (0, 1),
        (1, 1),
        (1, 2),
        (2, 2),
        (2, 2),
        (0, 0),
    ]
    padded = SamePad(3, 2)(torch.ones(1, 1, 4, 3))
    assert padded[0, 0].tolist() == [[0.0, 1.0, 1.0, 1.0, 0.0]] * 4 + [[0.0] * 5]


def test_padding_is_what_transformers_does_for_tensorflows_weights() -> None:
    from transformers.models.mobilenet_v2.modeling_mobilenet_v2 import apply_tf_padding

    for side in range(5, 10):
        for kernel, stride in ((3, 2), (5, 2), (5, 1)):
            x = torch.rand(1, 2, side, side + 1)
            wanted = apply_tf_padding(x, nn.Conv2d(2, 2, kernel, stride))
            assert torch.equal(SamePad(kernel, stride)(x), wanted)


def test_forward_passes_are_the_librarys_own() -> None:
    from transformers.models.mobilenet_v2.modeling_mobilenet_v2 import MobileNetV2Model

    x = torch.rand(1, 3, 48, 48)
    net = cast(Any, build_backbone("mobilenet_v2", 48, 3, BackboneOptions(0.25)).eval().net)
    assert torch.equal(net(x), cast(Any, MobileNetV2Model.forward)(net, x).last_hidden_state)
    net = cast(Any, build_backbone("efficientnet_b0", 48, 3, PLAIN).eval().net)
    assert torch.equal(net(x), net.encoder(net.embeddings(x)).last_hidden_state)
    net = cast(Any, build_backbone("resnet50", 48, 3, PLAIN).eval().net)
    assert torch.equal(net(x), net.encoder(net.embedder(x)).last_hidden_state)
    net = cast(Any, build_backbone("convnext_tiny", 64, 3, PLAIN).eval().net)
    hidden = net.encoder(net.embeddings(x)).last_hidden_state
    torch.testing.assert_close(net(x).mean((2, 3)), net.layernorm(hidden.movedim(1, -1)).mean((1, 2)))


def test_stochastic_depth_leaves_out_whole_faces() -> None:
    torch.manual_seed(1)
    drop = DropPath(0.25)
    out = drop(torch.ones(4000, 2, 1, 1))
    assert sorted(set(out.flatten().tolist())) == pytest.approx([0.0, 4 / 3])
    assert torch.equal(out[:, 0], out[:, 1])
    assert out.mean().item() == pytest.approx(1.0, abs=0.03)
    assert torch.equal(drop.eval()(out), out)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mobilenet", BackboneOptions(0.25, 2, 0.3)),
        ("mobilenet_v3_small", BackboneOptions(mobilenet_minimalistic=True)),
        ("efficientnet_b0", PLAIN),
        ("efficientnet_v2_b0", PLAIN),
    ],
)
def test_a_fresh_backbone_passes_signals_and_gradients(name: str, options: BackboneOptions) -> None:
    """Fresh norms are identities: what comes out is neither nothing nor too much, and every weight learns."""
    torch.manual_seed(2)
    backbone = build_backbone(name, 64, 3, options)
    out = backbone(torch.rand(4, 3, 64, 64).contiguous(memory_format=torch.channels_last))
    out.square().mean().backward()
    assert 0.2 < out.std().item() < 3
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in backbone.parameters())
    norms = [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert {norm.momentum for norm in norms} == {0.1 if "v2" in name else 0.01}
    first = backbone.eval()(torch.zeros(1, 3, 64, 64))
    assert torch.equal(first, backbone(torch.zeros(1, 3, 64, 64)))


def test_dropout_of_mobilenet_v1_leaves_out_whole_channels_while_training() -> None:
    torch.manual_seed(3)
    options = BackboneOptions(0.25, 1, 0.5)
    backbone = build_backbone("mobilenet", 64, 3, options)
    gone = (backbone(torch.rand(4, 3, 64, 64)).flatten(2) == 0).all(dim=2)
    assert 0.4 < gone.float().mean().item() < 0.7


def test_a_step_without_memory_in_half_precision() -> None:
    backbone = shell("mobilenet_v3_small").train()
    with FakeTensorMode(allow_non_fake_inputs=True):
        real = Backbone("x", backbone.net.to_empty(device="cpu"), HALF, 3, backbone.out_shape)
        with torch.autocast("cpu", torch.bfloat16):
            out = real(torch.empty(2, 3, 64, 64))
        out.float().mean().backward()
    assert out.dtype == torch.bfloat16
    assert tuple(out.shape) == (2, *backbone.out_shape)


def pretend(monkeypatch: pytest.MonkeyPatch, **installed: bool) -> None:
    """Let packages seem to be there, or not."""
    real = importlib.util.find_spec

    def find_spec(name: str, package: str | None = None) -> object:
        if name not in installed:
            return real(name, package)
        return ModuleSpec(name, None) if installed[name] else None

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)


def test_what_cannot_be_had_is_refused_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, timm=False, torchvision=False, transformers=False)
    with pytest.raises(BadInputError, match=r"timm and torchvision\. Run 'pip install timm torchvision torch=="):
        build_backbone("vgg16", 224, 3, PLAIN)
    with pytest.raises(BadInputError, match=r"requirements\.txt"):
        build_backbone("resnet50", 224, 3, PLAIN)
    assert why_missing("efficientnet_v2_b0") == ""
    assert why_missing("fs_original") == ""
    pretend(monkeypatch, timm=True, torchvision=False)
    assert "the package torchvision." in why_missing("xception")


def test_unknown_names_and_small_pictures_are_refused() -> None:
    with pytest.raises(BadInputError, match="no backbone 'fs_original'"):
        build_backbone("fs_original", 64, 3, PLAIN)
    with pytest.raises(BadInputError, match="at least 32"):
        build_backbone("resnet50", 16, 3, PLAIN)
    with pytest.raises(BadInputError, match="Lower the dropout of MobileNet"):
        build_backbone("mobilenet", 64, 3, BackboneOptions(mobilenet_dropout=1.5))


class FakeVgg(nn.Module):
    """As timm's: the wide layers behind the last map are kept apart, facts about the weights lie beside."""

    def __init__(self) -> None:
        super().__init__()
        self.pretrained_cfg = {"mean": (0.1, 0.2, 0.3), "url": "", "num_classes": 1000}
        self.features = nn.Sequential(nn.Conv2d(3, 5, 3, 32, 1), nn.ReLU())
        self.pre_logits = nn.Linear(5, 4096)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.features(x)


def test_timm_builds_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, object]] = []
    timm = ModuleType("timm")

    def create_model(name: str, **options: object) -> FakeVgg:
        asked.append((name, options))
        return FakeVgg()

    timm.create_model = create_model  # type: ignore[attr-defined]
    pretend(monkeypatch, timm=True, torchvision=True)
    monkeypatch.setitem(sys.modules, "timm", timm)
    backbone = build_backbone("vgg16", 96, 1, PLAIN)
    assert asked[0] == ("vgg16.tv_in1k", {"pretrained": False, "num_classes": 0, "global_pool": ""})
    assert backbone.out_shape == (5, 3, 3)
    assert backbone(torch.rand(2, 1, 96, 96)).shape == (2, 5, 3, 3)
    assert learned(backbone) == 5 * 27 + 5
    torch.testing.assert_close(backbone.mean.flatten(), torch.tensor([0.1, 0.2, 0.3]))

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    timm.create_model = broken  # type: ignore[attr-defined]
    with pytest.raises(BadInputError, match=r"nms does not exist\. Install the torchvision"):
        build_backbone("vgg16", 96, 1, PLAIN)


def test_libraries_wait_until_a_backbone_is_built() -> None:
    code = "import sys, backend.models.registry; assert not {'transformers', 'timm'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
