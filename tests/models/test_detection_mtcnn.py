"""The fast networks of MTCNN against the same networks written plainly, and the parts of the search."""

from __future__ import annotations

from pathlib import Path

import cv2
import joblib
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from backend.models.detection import mtcnn as mtcnn_module
from backend.models.detection.mtcnn import Mtcnn, _cut, _halves, _keep_best, _keep_outermost, _stacked
from backend.models.detection.mtcnn_nets import Output, Proposal, Refine, _Pool, filled
from backend.storage.weights import obtain

POOLS = {"pnet": (2,), "rnet": (3, 3), "onet": (3, 3, 2)}
FACE = {"pnet": 1, "rnet": 1, "onet": 2}


@pytest.fixture(scope="module")
def files() -> dict[str, Path]:
    return {path.stem: path for path in obtain("mtcnn", Path("nowhere"))}


def plainly(path: Path, bgr_nhwc: np.ndarray) -> list[torch.Tensor]:
    """What the heads of a network give, straight from its file: RGB, -1..1, PyTorch's own layers."""
    arrays = [torch.from_numpy(np.asarray(a, np.float32)) for a in joblib.load(path)]
    pools = list(POOLS[path.stem])
    x = (torch.from_numpy(bgr_nhwc[..., ::-1].copy()).permute(0, 3, 1, 2).float() - 127.5) / 128
    heads = []
    while arrays:
        weight, bias = arrays.pop(0), arrays.pop(0)
        is_head = weight.shape[-1] in (2, 4) or (weight.shape[-1] == 10 and weight.ndim == 2)
        if weight.ndim == 4:
            y = F.conv2d(x, weight.permute(3, 2, 0, 1), bias)
        else:
            x = x.permute(0, 3, 2, 1).flatten(1) if x.ndim == 4 else x
            y = x @ weight + bias
        if is_head:
            heads.append(y)
            continue
        x = F.prelu(y, arrays.pop(0).flatten())
        if pools and weight.ndim == 4:
            x = F.max_pool2d(x, pools.pop(0), 2, ceil_mode=True)
    return heads


@pytest.mark.parametrize(("name", "net", "side"), [("rnet", Refine, 24), ("onet", Output, 48)])
def test_the_fast_networks_compute_the_same(files, name: str, net: type[nn.Module], side: int, rng) -> None:
    windows = rng.integers(0, 256, (3, side, side, 3), dtype=np.uint8)
    heads = plainly(files[name], windows)
    with torch.inference_mode():
        found = filled(net(), files[name])(torch.from_numpy(windows))
    expected = [F.softmax(heads[-1], dim=1)[:, 1], *heads[:-1]]
    assert len(found) == len(expected)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("shape_hw", [(31, 44), (12, 12), (40, 27)])
def test_the_proposals_are_the_cells_above_the_threshold(files, shape_hw: tuple[int, int], rng) -> None:
    picture = cv2.GaussianBlur(rng.integers(0, 256, (*shape_hw, 3), dtype=np.uint8), (0, 0), 2)[None]
    box, face = plainly(files["pnet"], picture)
    probability = F.softmax(face, dim=1)[0, 1]
    threshold = float(probability.median()) + 1e-4
    with torch.inference_mode():
        place, score, correction = filled(Proposal(), files["pnet"])(torch.from_numpy(picture), threshold)
    rows, columns = np.nonzero(probability.numpy() > threshold)
    np.testing.assert_array_equal(place.numpy(), np.stack([rows, columns], axis=1))
    torch.testing.assert_close(score, probability[rows, columns], atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(correction, box[0][:, rows, columns].T, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("window", [2, 3])
@pytest.mark.parametrize("shape_hw", [(10, 10), (9, 8), (22, 21), (4, 3)])
def test_pooling_is_that_of_torch(window: int, shape_hw: tuple[int, int], rng) -> None:
    x = torch.from_numpy(rng.normal(size=(2, 5, *shape_hw)).astype(np.float32))
    before = x.clone()
    expected = F.max_pool2d(x, window, 2, ceil_mode=True)
    torch.testing.assert_close(_Pool(window)(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), expected, rtol=0, atol=0)
    torch.testing.assert_close(x, before, rtol=0, atol=0)


def test_levels_on_one_sheet_give_the_cells_of_each(files, rng, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mtcnn_module, "_P_THRESHOLD", 0.02)
    detector = Mtcnn(list(files.values()))
    levels = [
        cv2.GaussianBlur(rng.integers(0, 256, (*size, 3), dtype=np.uint8), (0, 0), 2) for size in [(40, 52), (28, 36)]
    ]
    sheet, tops = _stacked(levels)
    assert sheet.shape == (68, 52, 3)
    assert tops == [0, 40]
    with torch.inference_mode():
        together = detector._propose_on(levels, (80, 104))
        apart = np.concatenate([detector._propose_on([level], (80, 104)) for level in levels])
    assert len(apart) > 10
    np.testing.assert_allclose(together, apart, atol=1e-3)
    assert {40.0, 28.0} == set(together[:, 9])


@pytest.mark.parametrize("box", [(40, 30, 100, 90), (100.5, 20.25, 420.5, 340.25), (-30, -20, 170, 180)])
def test_a_window_shows_the_place_it_was_cut_from(box) -> None:
    y, x = np.mgrid[:400, :500]
    frame = np.stack([x / 2, y / 2, np.full_like(x, 200)], axis=-1).astype(np.uint8)
    out = np.empty((24, 24, 3), np.uint8)
    _cut(_halves(frame), np.array(box, np.float32), out)
    side = box[2] - box[0]
    middles = (np.arange(24) + 0.5) * side / 24 - 0.5
    inside_x, inside_y = (np.flatnonzero(box[i] + middles > side / 24) for i in (0, 1))
    grid = np.ix_(inside_y, inside_x)
    np.testing.assert_allclose(out[..., 0][grid], np.tile((box[0] + middles[inside_x]) / 2, (len(inside_y), 1)), atol=2)
    np.testing.assert_allclose(out[..., 1][grid][:, 0], (box[1] + middles[inside_y]) / 2, atol=2)
    assert (out[..., 2][grid] == 200).all()
    if box[0] < 0:
        assert not out[:2].any()
        assert not out[:, :3].any()


def test_suppression() -> None:
    boxes = np.array([(0, 0, 10, 10), (1, 0, 11, 10), (30, 0, 40, 10), (2, 2, 6, 6)], np.float32)
    scores = np.array([0.8, 0.9, 0.7, 0.95], np.float32)
    assert _keep_best(boxes, scores, 0.5).tolist() == [3, 1, 2]
    assert _keep_best(boxes, scores, 0.5, np.array([1, 2, 1, 1], np.float32)).tolist() == [3, 1, 0, 2]
    assert _keep_outermost(boxes, scores, 0.5).tolist() == [3, 2]
    assert _keep_best(boxes[:0], scores[:0], 0.5).tolist() == []
