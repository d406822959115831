from __future__ import annotations

import json
import resource
from pathlib import Path

import pytest

from backend.core.errors import BadInputError
from backend.core.settings import SummarySettings
from backend.pipeline import summary as stage
from backend.storage.model_folder import ModelFolder, ModelInfo
from tests.pipeline.training_project import Watched, drawn_project, tiny_settings


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(drawn_project(tmp_path, faces=0))


def test_a_model_that_does_not_exist_yet(watched: Watched) -> None:
    wanted = {**tiny_settings().model_dump(), "batch_size": 4}
    found = stage.run(SummarySettings(train=wanted), watched.context)
    json.dumps(found, allow_nan=False)
    assert [part["name"] for part in found["parts"]] == ["encoder", "inter", "decoder_src", "decoder_dst"]
    assert found["parts"][-1]["output"] == "3 x 64 x 64, 1 x 64 x 64"
    assert found["parameters"] == sum(part["parameters"] for part in found["parts"])
    assert found["megabytes"] == pytest.approx(found["parameters"] * 4 / 1e6, abs=0.1)
    assert 0 < found["need_mb"] < found["free_mb"]
    assert found["largest_batch"] > 4
    assert (found["device"], found["precision"]) == ("cpu", "fp32")
    twice = stage.run(SummarySettings(train={**wanted, "batch_size": 8}), watched.context)
    assert twice["gflop"] == pytest.approx(2 * found["gflop"], rel=0.15)
    assert twice["need_mb"] > found["need_mb"]
    assert not list(watched.project.model_dir("tiny").parent.glob("tiny*"))


def test_a_stored_model_with_another_batch(watched: Watched) -> None:
    settings = tiny_settings(archi="liae", batch_size=3)
    folder = ModelFolder(watched.project.model_dir("tiny"))
    folder.write_info(ModelInfo(model_class="saehd", settings=settings.model_dump(mode="json")))
    found = stage.run(SummarySettings(model="tiny", train={"batch_size": 7}), watched.context)
    assert found["batch_size"] == 7
    assert {part["name"] for part in found["parts"]} >= {"inter_AB", "inter_B"}


def test_a_network_larger_than_any_memory_takes_none(watched: Watched) -> None:
    sizes = {"output_size": 1024, "enc_scaling": 100, "fc_dimensions": 16, "bottleneck_size": 4096}
    widths = {"fc_min_filters": 5120, "fc_max_filters": 5120, "fc_upsample_filters": 5120, "shared_fc": "full"}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = stage.run(SummarySettings(train={"model_class": "phaze_a", **sizes, **widths}), watched.context)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 19
    assert found["parameters"] > 10**10
    assert found["megabytes"] == pytest.approx(found["parameters"] * 4 / 1e6, rel=0.01)
    assert found["need_mb"] > found["megabytes"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (SummarySettings(model="nobody"), "no model 'nobody'"),
        (SummarySettings(train={"model_class": "none"}), "no model class 'none'"),
        (SummarySettings(train={"resolution": 70}), "resolution: .*multiple"),
        (SummarySettings(train={"archi": "liae", "true_face_power": 0.1}), "true face needs a df"),
    ],
)
def test_what_cannot_be_described_is_refused(watched: Watched, settings: SummarySettings, words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        stage.run(settings, watched.context)
