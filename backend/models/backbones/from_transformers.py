"""Backbones whose layers the library transformers brings. Imported only when one of them is built: that takes seconds.

Each class is the library's own with a forward pass that stops at the last map, so that its checkpoints fit by name.
What the ports of TensorFlow networks have kept of TensorFlow's conventions is put right here: the momentum of batch
norms, padding that depends on the picture's size, stochastic depth per face.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, cast

from torch import Tensor, nn
from transformers.models.clip.configuration_clip import CLIPVisionConfig
from transformers.models.clip.modeling_clip import CLIPVisionModelWithProjection
from transformers.models.convnext.configuration_convnext import ConvNextConfig
from transformers.models.convnext.modeling_convnext import ConvNextModel
from transformers.models.efficientnet.configuration_efficientnet import EfficientNetConfig
from transformers.models.efficientnet.modeling_efficientnet import EfficientNetModel
from transformers.models.mobilenet_v1.configuration_mobilenet_v1 import MobileNetV1Config
from transformers.models.mobilenet_v1.modeling_mobilenet_v1 import MobileNetV1ConvLayer, MobileNetV1Model
from transformers.models.mobilenet_v2.configuration_mobilenet_v2 import MobileNetV2Config
from transformers.models.mobilenet_v2.modeling_mobilenet_v2 import MobileNetV2Model
from transformers.models.resnet.configuration_resnet import ResNetConfig
from transformers.models.resnet.modeling_resnet import ResNetModel

from backend.models.backbones.base import (
    CLIP,
    HALF,
    IMAGENET,
    BackboneOptions,
    DropPath,
    Normalisation,
    SamePad,
    begin_batch_norms,
    begin_convolutions,
    halved,
)

_EFFICIENTNETS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "efficientnet_b0": (1.0, 1.0),
        "efficientnet_b1": (1.0, 1.1),
        "efficientnet_b2": (1.1, 1.2),
        "efficientnet_b3": (1.2, 1.4),
        "efficientnet_b4": (1.4, 1.8),
        "efficientnet_b5": (1.6, 2.2),
        "efficientnet_b6": (1.8, 2.6),
        "efficientnet_b7": (2.0, 3.1),
    }
)
"""Name -> factors of width and depth (Tan and Le 2019)."""

_CONVNEXTS: Mapping[str, tuple[int, int]] = MappingProxyType(
    {
        "convnext_tiny": (96, 9),
        "convnext_small": (96, 27),
        "convnext_base": (128, 27),
        "convnext_large": (192, 27),
        "convnext_extra_large": (256, 27),
    }
)
"""Name -> channels of the first stage, layers of the third (Liu et al. 2022)."""

_RESNETS: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3), "resnet152": (3, 8, 36, 3)}
)
"""Name -> layers of each stage (He et al. 2016)."""

_CLIPS: Mapping[str, tuple[int, bool]] = MappingProxyType(
    {
        "clipv_vit-b-16": (16, False),
        "clipv_vit-b-32": (32, False),
        "clipv_vit-l-14": (14, True),
        "clipv_vit-l-14-336px": (14, True),
        "clipv_farl-b-16-16": (16, False),
        "clipv_farl-b-16-64": (16, False),
    }
)
"""Name -> side of a patch, whether it is the large one (Radford et al. 2021, Zheng et al. 2022)."""


class _EfficientNet(EfficientNetModel):
    """Gives (B, C, px/32, px/32)."""

    def __init__(self, config: EfficientNetConfig) -> None:
        super().__init__(config)
        del self.pooler
        stem: Any = self.embeddings
        stem.padding = SamePad(3, 2)
        blocks: Any = self.encoder.blocks
        for block in blocks:
            depthwise = block.depthwise_conv
            if depthwise.stride == 2:
                depthwise.depthwise_conv_pad = SamePad(depthwise.depthwise_conv.kernel_size[0], 2)
            block.projection.dropout = DropPath(block.projection.dropout.p)
        begin_convolutions(self)
        begin_batch_norms(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embeddings(x)
        for block in self.encoder.blocks:
            x = block(x)
        return self.encoder.top_activation(self.encoder.top_bn(self.encoder.top_conv(x)))


class _ConvNext(ConvNextModel):
    """Gives (B, C, px/32, px/32); the last norm stands on the map, there being no pooling before it."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.embeddings(x)
        for stage in self.encoder.stages:
            x = stage(x)
        return self.layernorm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class _ResNet(ResNetModel):
    """Gives (B, 2048, px/32, px/32)."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.embedder(x)
        for stage in self.encoder.stages:
            x = stage(x)
        return x


class _MobileNetV1(MobileNetV1Model):
    """Gives (B, C, px/32, px/32)."""

    def __init__(self, config: MobileNetV1Config, filters_per_channel: int, dropout: float) -> None:
        super().__init__(config, add_pooling_layer=False)
        if filters_per_channel > 1:
            _deepen(config, self.layer, filters_per_channel)
        self.out_channels = _convolution(self.layer[-1]).out_channels
        self.dropout = nn.Dropout2d(dropout)
        begin_convolutions(self)
        begin_batch_norms(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_stem(x)
        for layer in self.layer:
            x = layer(x)
        return self.dropout(x)


class _MobileNetV2(MobileNetV2Model):
    """Gives (B, C, px/32, px/32)."""

    def __init__(self, config: MobileNetV2Config) -> None:
        super().__init__(config, add_pooling_layer=False)
        begin_convolutions(self)
        begin_batch_norms(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_stem(x)
        for layer in self.layer:
            x = layer(x)
        return self.conv_1x1(x)


class _ClipVision(CLIPVisionModelWithProjection):
    """Gives (B, n): the class token, normed and projected."""

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.vision_model.pre_layrnorm(self.vision_model.embeddings(x))
        for layer in self.vision_model.encoder.layers:
            tokens = layer(tokens, attention_mask=None)
        return self.visual_projection(self.vision_model.post_layernorm(tokens[:, 0]))


def build(name: str, px: int, options: BackboneOptions) -> tuple[nn.Module, Normalisation, tuple[int, ...]]:
    """A network with fresh weights, what it expects, and the shape of what it gives.

    Args:
        name: of an encoder whose source is "transformers".
        px: side of its pictures.
        options: of the MobileNets.
    """
    if name in _EFFICIENTNETS:
        return _efficientnet(name, px)
    if name in _CONVNEXTS:
        return _convnext(name, px)
    if name in _CLIPS:
        return _clip(name, px)
    if name in _RESNETS:
        net = _ResNet(ResNetConfig(depths=list(_RESNETS[name])))
        del net.pooler
        return net, IMAGENET, (2048, halved(px), halved(px))
    if name == "mobilenet_v2":
        return _mobilenet_v2(px, options)
    return _mobilenet(px, options)


def _efficientnet(name: str, px: int) -> tuple[nn.Module, Normalisation, tuple[int, ...]]:
    width, depth = _EFFICIENTNETS[name]
    channels = int(1280 * width + 4) // 8 * 8
    config = EfficientNetConfig(width_coefficient=width, depth_coefficient=depth, hidden_dim=channels)
    return _EfficientNet(config), IMAGENET, (channels, halved(px), halved(px))


def _convnext(name: str, px: int) -> tuple[nn.Module, Normalisation, tuple[int, ...]]:
    first, third = _CONVNEXTS[name]
    sizes = [first * 2**i for i in range(4)]
    config = ConvNextConfig(hidden_sizes=sizes, depths=[3, 3, third, 3], layer_norm_eps=1e-6)
    return _ConvNext(config), IMAGENET, (sizes[-1], px // 32, px // 32)


def _mobilenet(px: int, options: BackboneOptions) -> tuple[nn.Module, Normalisation, tuple[int, ...]]:
    config = MobileNetV1Config(depth_multiplier=options.mobilenet_width)
    net = _MobileNetV1(config, options.mobilenet_depth, options.mobilenet_dropout)
    return net, HALF, (net.out_channels, halved(px), halved(px))


def _mobilenet_v2(px: int, options: BackboneOptions) -> tuple[nn.Module, Normalisation, tuple[int, ...]]:
    net = _MobileNetV2(MobileNetV2Config(depth_multiplier=options.mobilenet_width))
    return net, HALF, (net.conv_1x1.convolution.out_channels, halved(px), halved(px))


def _clip(name: str, px: int) -> tuple[nn.Module, Normalisation, tuple[int, ...]]:
    patch, large = _CLIPS[name]
    config = CLIPVisionConfig(
        hidden_size=1024 if large else 768,
        intermediate_size=4096 if large else 3072,
        num_hidden_layers=24 if large else 12,
        num_attention_heads=16 if large else 12,
        projection_dim=768 if large else 512,
        image_size=px,
        patch_size=patch,
    )
    return _ClipVision(config), CLIP, (config.projection_dim,)


def _deepen(config: MobileNetV1Config, layers: nn.ModuleList, filters_per_channel: int) -> None:
    """Let the depthwise convolutions make several maps of each channel, and those behind them take them."""
    for i in range(0, len(layers), 2):
        depthwise, pointwise = _convolution(layers[i]), _convolution(layers[i + 1])
        inputs = depthwise.in_channels
        wide = inputs * filters_per_channel
        layers[i] = MobileNetV1ConvLayer(config, inputs, wide, 3, stride=depthwise.stride[0], groups=inputs)
        layers[i + 1] = MobileNetV1ConvLayer(config, wide, pointwise.out_channels, 1)


def _convolution(layer: nn.Module) -> nn.Conv2d:
    return cast(MobileNetV1ConvLayer, layer).convolution
