"""DFM files of the networks that torch traces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from backend.core.errors import BadInputError
from backend.core.faces import FaceType
from backend.core.settings import PhazeASettings, TrainSettings
from backend.core.settings.older import SaeSettings
from backend.models import dfm
from backend.models.dfm import dfm_model
from backend.models.dfm_network import DfmNetwork, check_dfm
from backend.models.dfm_traced import area_weights
from backend.models.registry import build_model

SAE = {"resolution": 64, "ae_dims": 32, "e_ch_dims": 21, "d_ch_dims": 10}
PHAZE: dict[str, Any] = {
    "output_size": 64,
    "enc_scaling": 3,
    "bottleneck_size": 128,
    "fc_min_filters": 128,
    "fc_max_filters": 128,
    "fc_upsample_filters": 128,
    "fc_gblock_min_nodes": 128,
    "fc_gblock_max_nodes": 128,
    "dec_min_filters": 16,
    "dec_max_filters": 256,
    "dec_filter_slope": -0.9,
    "dec_output_kernel": 3,
    "fs_original_min_filters": 16,
    "fs_original_max_filters": 256,
}


@pytest.mark.parametrize(
    "settings",
    [
        SaeSettings(**SAE, archi="df"),
        SaeSettings(**SAE, archi="liae", channels=1),
        PhazeASettings(**PHAZE, enable_gblock=False, learn_mask=True),
        PhazeASettings(**{**PHAZE, "enc_scaling": 4, "output_size": 96}, enable_gblock=False),
        PhazeASettings(**PHAZE, split_fc=True, shared_fc="half", enable_gblock=True, split_decoders=True),
    ],
    ids=["sae-df", "sae-liae gray", "phaze-a", "phaze-a shrinks", "phaze-a split"],
)
def test_it_swaps_as_its_model(tmp_path: Path, settings: TrainSettings) -> None:
    model = build_model(settings, seed=4).eval()
    for parameter in model.parameters() if isinstance(settings, SaeSettings) else ():
        parameter.data *= 1.6  # a fresh one draws nearly plain gray
    proto = dfm_model(model, False, {"model": "anna"})
    onnx.checker.check_model(proto, full_check=True)
    assert [(each.domain, each.version) for each in proto.opset_import] == [("", 12)]
    assert (proto.producer_name, proto.metadata_props[0].value) == ("Lookalike", "anna")
    data = proto.SerializeToString()
    for place in (b"/home", b"/tmp", b".py", b"site-packages", str(Path(__file__).parents[2]).encode()):
        assert place not in data
    (tmp_path / "a.dfm").write_bytes(data)
    check_dfm(tmp_path / "a.dfm")
    network = DfmNetwork(tmp_path / "a.dfm", "cpu", FaceType.WHOLE)
    side = model.resolution
    faces = torch.rand(3, 3, side, side, generator=torch.Generator().manual_seed(1))
    weights = torch.tensor(dfm.GRAY_OF_BGR).view(1, 3, 1, 1)
    with torch.inference_mode():
        made = network.swap(faces)
        wanted = model.swap((faces * weights).sum(1, keepdim=True) if model.channels == 1 else faces)
    assert wanted.face.std() > 1e-3
    assert made.face.shape == (3, 3, side, side)
    for name in ("face", "mask", "dst_mask"):
        one, other = getattr(wanted, name), getattr(made, name)
        np.testing.assert_allclose(other.numpy(), np.broadcast_to(one.numpy(), other.shape), atol=1e-5)


@pytest.mark.parametrize(("size", "smaller"), [(128, 112), (64, 48), (384, 380), (96, 32), (5, 5)])
def test_area_weights_are_those_of_torch(size: int, smaller: int, rng: np.random.Generator) -> None:
    picture = torch.from_numpy(rng.random((1, 3, size, size), np.float32))
    weights = area_weights(size, smaller)
    wanted = torch.nn.functional.interpolate(picture, size=(smaller, smaller), mode="area")
    torch.testing.assert_close(weights @ picture @ weights.t(), wanted, atol=1e-6, rtol=0)


def test_what_cannot_be_written_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build_model(SaeSettings(**SAE), seed=4).eval()
    with pytest.raises(BadInputError, match="half precision"):
        dfm_model(model, True, {})
    monkeypatch.setattr(dfm, "_MAX_BYTES", 10_000)
    with pytest.raises(BadInputError, match="too large"):
        dfm_model(model, False, {})
