"""Convolution-aware weights: orthogonal in the Fourier domain, of He's variance, from torch's generator."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from backend.models import conv_aware
from backend.models.conv_aware import conv_aware_, draw_conv_aware_, orthogonal_bases


def test_bases_are_orthonormal_and_differ() -> None:
    torch.manual_seed(1)
    bases = orthogonal_bases(50, 6)
    assert torch.allclose(bases @ bases.mT, torch.eye(6).expand(50, 6, 6), atol=1e-5)
    assert float((bases[0] - bases[1]).abs().max()) > 0.1
    assert float(bases.diagonal(dim1=1, dim2=2).mean()) == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize(("kernel", "spectrum"), [(3, 6), (5, 15)])
def test_filters_of_an_output_are_orthogonal_in_the_half_spectrum(
    monkeypatch: pytest.MonkeyPatch, kernel: int, spectrum: int
) -> None:
    torch.manual_seed(1)
    monkeypatch.setattr(conv_aware, "NOISE", 0.0)
    weight = torch.empty(4, spectrum + 2, kernel, kernel)
    draw_conv_aware_(weight)
    real = torch.fft.rfft2(weight).real.flatten(2)
    imaginary = torch.fft.rfft2(weight).imag
    assert float(imaginary.abs().max()) < 1e-5
    # of a conjugate pair in the first column the inverse transform keeps the mean: only free rows stay orthogonal
    own = real[:, :spectrum].view(4, spectrum, kernel, kernel // 2 + 1)[..., 1:].flatten(2)
    gram = own.mT @ own
    expected = torch.eye(gram.shape[-1]) * gram.diagonal(dim1=1, dim2=2).mean()
    assert torch.allclose(gram, expected.expand_as(gram), atol=1e-4 * float(expected.max()))


def test_variance_is_hes_and_the_generator_torchs() -> None:
    drawn = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        weight = torch.empty(64, 40, 3, 3)
        draw_conv_aware_(weight)
        drawn.append(weight)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert float(drawn[0].var(correction=0)) == pytest.approx(2 / (40 * 9), rel=1e-4)
    assert abs(float(drawn[0].mean())) < 0.1 * float(drawn[0].std())


def test_pieces_of_the_work_cover_every_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conv_aware, "_AT_ONCE", 5)
    weight = torch.full((7, 9, 3, 3), torch.nan)
    draw_conv_aware_(weight)
    assert bool(weight.isfinite().all())


def test_which_layers_are_drawn() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 5), nn.Linear(2, 2)
    )
    before = [p.detach().clone() for p in network.parameters()]
    conv_aware_(network)
    changed = [not torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True)]
    assert changed == [True, False, False, False, False, False, True, False, False, False]
    with torch.device("meta"):
        conv_aware_(nn.Conv2d(3, 4, 3))
