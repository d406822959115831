"""The three networks of MTCNN, laid out for speed: pictures stay (n, height, width, channel) from end to end.

On a CPU PyTorch's pooling and PReLU cost more than the convolutions of networks this small; both are written here
for rows of whole pixels. The networks take BGR bytes: the change to RGB and the scaling to -1..1 are part of the first
convolution's weights.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from backend.core.errors import DamagedFileError

Tensors = tuple[torch.Tensor, ...]


class Proposal(nn.Module):
    """Fully convolutional first network: one cell of 12 px every 2 px."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(_Conv(3, 10, 3), _PReLU(10), _Pool(2)),
            *(_Conv(10, 16, 3), _PReLU(16)),
            *(_Conv(16, 32, 3), _PReLU(32)),
        )
        self.box = nn.Conv2d(32, 4, 1)
        self.face = nn.Conv2d(32, 2, 1)

    def forward(self, bgr_nhwc: torch.Tensor, threshold: float) -> Tensors:
        """(1, H, W, 3) uint8 -> cells above a face probability: place (n, 2) int64 as row, column; score (n,);
        box correction (n, 4)."""
        cells = self.body(bgr_nhwc)[0]
        logits = _face_logit(cells, self.face)
        places = (logits > float(np.log(threshold / (1 - threshold)))).nonzero()
        row, column = places.unbind(1)
        corrections = F.linear(cells[row, column], self.box.weight.flatten(1), self.box.bias)
        return places, logits[row, column].sigmoid(), corrections


class Refine(nn.Module):
    """Second network: score and box correction of 24 px windows."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(_Conv(3, 28, 3), _PReLU(28), _Pool(3)),
            *(_Conv(28, 48, 3), _PReLU(48), _Pool(3)),
            *(_Conv(48, 64, 2), _PReLU(64)),
        )
        self.dense = nn.Sequential(nn.Linear(576, 128), nn.PReLU(128))
        self.box = nn.Linear(128, 4)
        self.face = nn.Linear(128, 2)

    def forward(self, bgr_nhwc: torch.Tensor) -> Tensors:
        """(n, 24, 24, 3) uint8 -> score (n,), correction (n, 4)."""
        x = self.dense(_flat(self.body(bgr_nhwc)))
        return _face_logit(x, self.face).sigmoid(), self.box(x)


class Output(nn.Module):
    """Third network: score, box correction and five points of 48 px windows."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(_Conv(3, 32, 3), _PReLU(32), _Pool(3)),
            *(_Conv(32, 64, 3), _PReLU(64), _Pool(3)),
            *(_Conv(64, 64, 3), _PReLU(64), _Pool(2)),
            *(_Conv(64, 128, 2), _PReLU(128)),
        )
        self.dense = nn.Sequential(nn.Linear(1152, 256), nn.PReLU(256))
        self.box = nn.Linear(256, 4)
        self.points = nn.Linear(256, 10)
        self.face = nn.Linear(256, 2)

    def forward(self, bgr_nhwc: torch.Tensor) -> Tensors:
        """(n, 48, 48, 3) uint8 -> score (n,), correction (n, 4), points (n, 10) as x1..x5, y1..y5."""
        x = self.dense(_flat(self.body(bgr_nhwc)))
        return _face_logit(x, self.face).sigmoid(), self.box(x), self.points(x)


class _Conv(nn.Conv2d):
    """Convolution without a border, (n, h, w, c) in and out."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        planes = x.permute(0, 3, 1, 2).to(self.weight.dtype)
        return F.conv2d(planes, self.weight, self.bias).permute(0, 2, 3, 1)


class _PReLU(nn.PReLU):
    """PReLU over the last of four axes: with the slopes written out for a row of pixels it runs over whole rows."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.contiguous().flatten(0, 1).flatten(1)
        return F.prelu(rows, self.weight.repeat(x.shape[2])).view(x.shape)


class _Pool(nn.Module):
    """Maximum over windows two pixels apart; the last one may hang over the edge, as with Keras' padding "same"."""

    def __init__(self, window: int) -> None:
        super().__init__()
        self._window = window

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, h, w, c) -> (n, about h / 2, about w / 2, c)."""
        return self._along_rows(self._along_rows(x).transpose(1, 2)).transpose(1, 2)

    def _along_rows(self, x: torch.Tensor) -> torch.Tensor:
        count = (x.shape[1] - self._window + 1) // 2 + 1
        parts = [x[:, start::2][:, :count] for start in range(self._window)]
        full = [part for part in parts if part.shape[1] == count]
        highest = torch.maximum(full[0], full[1]) if len(full) > 1 else full[0].clone()
        for part in [*full[2:], *(part for part in parts if part.shape[1] < count)]:
            head = highest[:, : part.shape[1]]
            torch.maximum(head, part, out=head)
        return highest


def _face_logit(x: torch.Tensor, layer: nn.Conv2d | nn.Linear) -> torch.Tensor:
    """What a sigmoid turns into the second of a two-class softmax, over the last axis."""
    assert layer.bias is not None
    weight = layer.weight.flatten(1)
    return x @ (weight[1] - weight[0]) + (layer.bias[1] - layer.bias[0])


def _flat(x: torch.Tensor) -> torch.Tensor:
    """Flatten in the order width, height, channel, in which the dense layers were trained."""
    return x.transpose(1, 2).flatten(1)


def filled(net: nn.Module, path: Path) -> nn.Module:
    """Put the arrays of a weight file into a network whose parameters stand in the same order; set up for inference.

    Raises:
        DamagedFileError: the file does not hold the expected arrays.
    """
    import joblib

    arrays = joblib.load(path)
    parameters = list(net.parameters())
    if not isinstance(arrays, list) or len(arrays) != len(parameters):
        raise DamagedFileError(f"{path} does not hold the weights of MTCNN.", "Install the package mtcnn 1.0.0 again.")
    with torch.no_grad():
        for parameter, array in zip(parameters, arrays, strict=True):
            parameter.copy_(_as_torch(torch.from_numpy(np.asarray(array, np.float32)), parameter, path))
        _take_bytes(parameters[0], parameters[1])
    return net.requires_grad_(requires_grad=False).eval()


def _take_bytes(kernel: torch.Tensor, bias: torch.Tensor) -> None:
    """Let a first convolution trained on RGB (x - 127.5) / 128 take BGR bytes."""
    kernel.copy_(kernel.flip(1) / 128)
    bias.sub_(127.5 * kernel.sum(dim=(1, 2, 3)))


def _as_torch(array: torch.Tensor, parameter: torch.Tensor, path: Path) -> torch.Tensor:
    """Kernel (h, w, in, out) -> (out, in, h, w); dense (in, out) -> (out, in); vectors flat."""
    if array.ndim == 4:
        array = array.permute(3, 2, 0, 1)
    elif array.ndim == 2:
        array = array.T
    else:
        array = array.reshape(-1)
    if array.shape != parameter.shape:
        raise DamagedFileError(f"{path} holds weights of another network.", "Install the package mtcnn 1.0.0 again.")
    return array
