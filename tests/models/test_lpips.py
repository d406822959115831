"""LPIPS: its networks, their files, and what it computes, with random weights."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from backend.core.errors import BadInputError, DamagedFileError
from backend.core.lpips_files import LPIPS_FILES, lpips_paths, why_missing
from backend.models.losses.lpips import SCALE, SHIFT, Lpips, load_lpips

PARAMETERS = {"lpips_alex": 2_469_696, "lpips_squeeze": 722_496, "lpips_vgg16": 14_714_688}
"""Of the layers before the classifier, as torchvision publishes the networks."""

Store = Callable[[dict[str, Tensor], Path], None]


def store(name: str, folder: Path, save: Store = torch.save) -> Lpips:
    """A network with random weights, and files that hold them under torchvision's and LPIPS's names."""
    torch.manual_seed(3)
    loss = Lpips(name)
    network, own = lpips_paths(name, folder)
    network.parent.mkdir(parents=True, exist_ok=True)
    more = {"classifier.6.weight": torch.zeros(2, 2)}
    save({f"features.{key}": value for key, value in loss.features.state_dict().items()} | more, network)
    save({f"lin{i}.model.1.weight": weight.detach() for i, weight in enumerate(loss.weights)}, own)
    return loss


def faces(channels: int = 3, side: int = 64) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(5)
    target = F.interpolate(torch.rand(2, channels, 8, 8, generator=draw), size=(side, side), mode="bilinear")
    return target, (target + 0.1 * torch.rand(2, channels, side, side, generator=draw)).clamp(0, 1)


@pytest.mark.parametrize("name", PARAMETERS)
def test_networks_have_the_published_sizes(name: str) -> None:
    with torch.device("meta"):
        loss = Lpips(name)
    assert sum(p.numel() for p in loss.features.parameters()) == PARAMETERS[name]
    assert not any(p.requires_grad for p in loss.parameters())
    widths = {"lpips_alex": 1152, "lpips_squeeze": 2240, "lpips_vgg16": 1472}
    assert sum(p.numel() for p in loss.weights) == widths[name]


@pytest.mark.parametrize("name", PARAMETERS)
def test_shapes_alone_are_enough(name: str) -> None:
    with FakeTensorMode():
        loss, seen = Lpips(name), torch.rand(2, 3, 64, 64, requires_grad=True)
        found = loss(torch.rand(2, 3, 64, 64), seen)
        assert found.shape == (2, 1, 64, 64)
        found.sum().backward()


@pytest.mark.parametrize("name", ["lpips_alex", "lpips_squeeze"])
@pytest.mark.parametrize("channels", [3, 1])
def test_equal_faces_cost_nothing_and_a_step_brings_them_nearer(name: str, channels: int) -> None:
    torch.manual_seed(1)
    loss = Lpips(name)
    target, seen = faces(channels)
    for picture in (target, torch.zeros_like(target)):
        same = picture.clone().requires_grad_()
        found = loss(picture, same)
        assert found.shape == (2, 1, 64, 64)
        assert float(found.detach().abs().max()) == 0
        found.sum().backward()
        assert same.grad is not None
        assert bool(same.grad.isfinite().all())
    moving = seen.clone().requires_grad_()
    loss(target, moving).sum().backward()
    assert moving.grad is not None
    assert float((moving.grad * (target - seen)).sum()) < 0


def test_alex_step_by_step() -> None:
    """The same from single calls: red first, -1..1, ImageNet's scale, unit features, rings repeated, enlarged."""
    torch.manual_seed(2)
    loss = Lpips("lpips_alex")
    target, seen = faces(side=96)
    state = loss.features.state_dict()

    def features(bgr: Tensor) -> list[Tensor]:
        rgb = bgr[:, [2, 1, 0]] * 2 - 1
        x = torch.stack([(rgb[:, i] - SHIFT[i]) / SCALE[i] for i in range(3)], dim=1)
        maps = []
        for layer, (stride, padding, pooled) in zip(
            (0, 3, 6, 8, 10), ((4, 2, False), (1, 2, True), (1, 1, True), (1, 1, False), (1, 1, False)), strict=True
        ):
            x = F.max_pool2d(x, 3, 2) if pooled else x
            x = F.relu(F.conv2d(x, state[f"{layer}.weight"], state[f"{layer}.bias"], stride, padding))
            maps.append(x / x.norm(dim=1, keepdim=True).clamp(min=1e-6))
        return maps

    expected = torch.zeros(2, 1, 96, 96)
    for one, other, weight in zip(features(target), features(seen), loss.weights, strict=True):
        found = F.conv2d((one - other) ** 2, weight.view(1, -1, 1, 1))
        found = F.pad(found[:, :, 1:-1, 1:-1], (1, 1, 1, 1), mode="replicate")
        expected += F.interpolate(found, size=(96, 96), mode="bilinear")
    assert torch.allclose(loss(target, seen), expected, rtol=1e-3, atol=1e-5)


def test_missing_files_are_named_with_address_and_folder(tmp_path: Path) -> None:
    for name, addresses in LPIPS_FILES.items():
        words = why_missing(name, tmp_path)
        assert str(tmp_path / "lpips") in words
        for address, path in zip(addresses, lpips_paths(name, tmp_path), strict=True):
            assert address in words
            assert path.name in words
        with pytest.raises(BadInputError, match=r"lpips_\w+ needs weights in the folder") as refused:
            load_lpips(name, tmp_path)
        assert str(refused.value) == words
    assert why_missing("ssim", tmp_path) == ""
    store("lpips_squeeze", tmp_path)
    lpips_paths("lpips_squeeze", tmp_path)[0].unlink()
    words = why_missing("lpips_squeeze", tmp_path)
    assert "squeezenet1_1-b8a52dc0.pth" in words
    assert "save it as squeeze.pth" not in words


def test_weights_come_from_files_of_both_kinds(tmp_path: Path) -> None:
    target, seen = faces()

    def tensors(state: dict[str, Tensor], path: Path) -> None:
        save_file({key: value.contiguous() for key, value in state.items()}, path.with_suffix(".safetensors"))

    for folder, save in ((tmp_path / "a", torch.save), (tmp_path / "b", tensors)):
        wanted = store("lpips_squeeze", folder, save)
        torch.manual_seed(9)
        found = load_lpips("lpips_squeeze", folder)
        assert torch.equal(found(target, seen), wanted(target, seen))
        assert not any(p.requires_grad for p in found.parameters())


class Harm:
    """What a hostile file would run."""

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return (open, ("harm was done", "w"))


def test_other_files_are_refused_and_run_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store("lpips_squeeze", tmp_path)
    network, own = lpips_paths("lpips_squeeze", tmp_path)
    good = own.read_bytes()
    torch.save({"lin0.model.1.weight": torch.zeros(1, 3, 1, 1)}, own)
    with pytest.raises(DamagedFileError, match=r"squeeze\.pth"):
        load_lpips("lpips_squeeze", tmp_path)
    torch.save([1, 2], own)
    with pytest.raises(DamagedFileError, match=r"squeeze\.pth"):
        load_lpips("lpips_squeeze", tmp_path)
    own.write_bytes(good)
    for broken in (b"", b"no weights", network.read_bytes()[:5000], pickle.dumps(Harm(), 2)):
        network.write_bytes(broken)
        with pytest.raises(DamagedFileError, match="squeezenet1_1"):
            load_lpips("lpips_squeeze", tmp_path)
    assert not (tmp_path / "harm was done").exists()
