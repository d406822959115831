"""Writing our models in DeepFaceLab's layout."""

from __future__ import annotations

import io
import pickle
import pickletools
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from backend.core.errors import BadInputError, StopRequested
from backend.core.settings import ModelFileSettings, SaehdSettings, TrainSettings
from backend.pipeline.predictor import load_model
from backend.pipeline.stages import load_stage
from backend.storage.checkpoint import Generation, load_latest
from backend.storage.dfl_model import read_tensors
from backend.storage.model_folder import ModelFolder
from backend.storage.workspace import Project
from tests.pipeline.dfl_models import OPTIONS, SIZES, judges, moments, networks_of
from tests.pipeline.stage_bench import bench, stop_after
from tests.pipeline.stored_model import store_model, tiny_amp
from tests.pipeline.training_project import tiny_settings
from tests.storage.dfl_folders import write_dfl

HISTORY = [[1 / i, 2 / i] for i in range(1, 71)]
FULL = {**OPTIONS, "gan_power": 0.1, "gan_patch_size": 16, "gan_dims": 4, "true_face_power": 0.01}


class OldPython(pickle.Unpickler):
    """Knows only what DeepFaceLab's Python and numpy 1 know; everything else is an error."""

    def find_class(self, module: str, name: str) -> Any:
        known = {
            ("numpy.core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
            ("numpy.core.multiarray", "scalar"): np._core.multiarray.scalar,  # type: ignore[attr-defined]
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
        }
        return known[module, name]


def strictly(data: bytes) -> Any:
    """What an old program reads of a pickle."""
    protocol = max(opcode.proto for opcode, _, _ in pickletools.genops(data))
    assert protocol <= 4
    return OldPython(io.BytesIO(data)).load()


def stage(ctx: Any, action: str, **given: Any) -> dict[str, Any]:
    return load_stage("model")(ModelFileSettings(action=action, **given), ctx)


def contents(project: Project, result: dict[str, Any]) -> dict[str, Any]:
    with zipfile.ZipFile(project.path / result["path"]) as archive:
        assert archive.testzip() is None
        read = {name: archive.read(name) for name in archive.namelist()}
    return {name: strictly(data) if name.endswith((".npy", ".dat")) else data.decode() for name, data in read.items()}


def newest(project: Project, name: str) -> Generation:
    found = load_latest(ModelFolder(project.model_dir(name)).generations_dir)
    assert found is not None
    return found


def brought(tmp_path: Path) -> tuple[Project, Any, dict[str, Any]]:
    """A project with the model "anna" as DeepFaceLab left it, and its files."""
    files = {**networks_of(SaehdSettings(**SIZES, archi="df-ud")), **judges()}
    project, ctx, _ = bench(tmp_path)
    write_dfl(tmp_path / "dfl", "anna_SAEHD", files, FULL, iter=70, loss_history=HISTORY)
    stage(ctx, "import", file=str(tmp_path / "dfl"))
    return project, ctx, files


def test_an_old_program_reads_what_came_in(tmp_path: Path) -> None:
    project, ctx, files = brought(tmp_path)
    result = stage(ctx, "dfl", model="anna")
    assert (result["path"], result["iteration"]) == ("results/anna-SAEHD.zip", 70)
    found = contents(project, result)
    assert set(found) == {f"anna_SAEHD_{part}.npy" for part in files} | {
        "anna_SAEHD_data.dat",
        "anna_SAEHD_summary.txt",
    }
    for part, tensors in files.items():
        written = found[f"anna_SAEHD_{part}.npy"]
        assert list(written) == list(tensors), part
        for name, array in tensors.items():
            assert np.asarray(written[name]).dtype == np.asarray(array).dtype
            assert np.array_equal(written[name], array), name
    data = found["anna_SAEHD_data.dat"]
    assert data["iter"] == 70
    assert {name: data["options"][name] for name in FULL} == FULL
    np.testing.assert_allclose(data["loss_history"], HISTORY, rtol=1e-6)
    assert type(data["loss_history"][0][0]) is float
    assert "archi: df-ud" in found["anna_SAEHD_summary.txt"]
    assert str(tmp_path) not in found["anna_SAEHD_summary.txt"]


def test_what_comes_back_is_equal_to_the_last_bit(tmp_path: Path) -> None:
    project, ctx, _ = brought(tmp_path)
    result = stage(ctx, "dfl", model="anna")
    stage(ctx, "import", file=str(project.path / result["path"]), name="again")
    one, two = newest(project, "anna"), newest(project, "again")
    assert set(one.tensors) == {"weights", "optimizer", "gan", "gan_optimizer", "true_face", "true_face_optimizer"}
    for name, tensors in one.tensors.items():
        assert set(two.tensors[name]) == set(tensors)
        assert all(torch.equal(two.tensors[name][key], tensor) for key, tensor in tensors.items())
    assert one.state.rest == two.state.rest
    same = {**one.state.info.settings, "model": "again"}
    assert two.state.info.settings == same
    folders = [ModelFolder(project.model_dir(name)) for name in ("anna", "again")]
    assert folders[0].losses.records()["src"].tolist() == folders[1].losses.records()["src"].tolist()


@pytest.mark.parametrize(
    ("settings", "stem", "nets"),
    [
        (tiny_settings(archi="liae-udt"), "tiny_SAEHD", ("encoder", "inter_AB", "inter_B", "decoder")),
        (tiny_settings(channels=1), "tiny_SAEHDBW", ("encoder", "inter", "decoder_src", "decoder_dst")),
        (tiny_amp(model="my_amp"), "my-amp_AMP", ("encoder", "inter_src", "inter_dst", "decoder")),
    ],
)
def test_other_families(tmp_path: Path, settings: TrainSettings, stem: str, nets: tuple[str, ...]) -> None:
    project, ctx, reports = bench(tmp_path)
    weights = store_model(project, settings, lambda found: {name: value * 0.5 for name, value in found.items()})
    result = stage(ctx, "dfl", model=settings.model)
    found = contents(project, result)
    assert set(found) == {f"{stem}_{part}.npy" for part in nets} | {f"{stem}_data.dat", f"{stem}_summary.txt"}
    assert "average of the weights stays behind" in reports.words()
    stage(ctx, "import", file=str(project.path / result["path"]), name="again")
    again = newest(project, "again")
    assert all(torch.equal(again.weights[name], weight) for name, weight in weights.items())
    assert again.state.info.train_settings().face_type == settings.face_type  # type: ignore[attr-defined]
    crop = np.random.default_rng(1).random((64, 64, 3), np.float32)
    assert load_model(project, "again", "cpu").predict(crop).face.shape[:2] == (64, 64)


def test_the_layout_is_that_of_its_own_files(golden: Path, tmp_path: Path) -> None:
    """Names, order, shapes and types as in files that DeepFaceLab wrote; sizes differ."""
    project, ctx, _ = bench(tmp_path)
    store_model(project, tiny_settings(archi="df-udt"))
    found = contents(project, stage(ctx, "dfl", model="tiny"))
    for part in ("encoder", "inter", "decoder_src", "decoder_dst"):
        theirs = dict(read_tensors(golden / "dfl_networks" / "df-udt" / f"{part}.npy"))
        ours = found[f"tiny_SAEHD_{part}.npy"]
        assert list(ours) == list(theirs)
        assert all(ours[name].ndim == array.ndim and ours[name].dtype == array.dtype for name, array in theirs.items())
        kernels = [(ours[name].shape[:2], array.shape[:2]) for name, array in theirs.items() if array.ndim == 4]
        assert all(one == other for one, other in kernels)


def test_an_optimiser_that_it_does_not_have_stays_behind(tmp_path: Path) -> None:
    project, ctx, reports = bench(tmp_path)
    model = SaehdSettings(**SIZES, archi="df")
    files = networks_of(model, ())
    files["src_dst_opt"] = moments({}, ())
    write_dfl(tmp_path / "dfl", "anna_SAEHD", files, {**OPTIONS, "archi": "df"}, iter=5)
    stage(ctx, "import", file=str(tmp_path / "dfl"))
    found = contents(project, stage(ctx, "dfl", model="anna"))
    assert "anna_SAEHD_src_dst_opt.npy" not in found
    store_model(project, tiny_settings(model="lion", optimizer="lion"))
    assert contents(project, stage(ctx, "dfl", model="lion"))["lion_SAEHD_data.dat"]["options"]["adabelief"] is True
    assert "has no lion" in reports.words()


def test_what_it_cannot_express_is_refused(tmp_path: Path) -> None:
    project, ctx, _ = bench(tmp_path)
    store_model(project, tiny_amp(model="gray", channels=1))
    with pytest.raises(BadInputError, match=r"no model like 'gray' \(amp with one channel\)"):
        stage(ctx, "dfl", model="gray")
    write_dfl(
        tmp_path / "dfl",
        "new_SAEHD",
        networks_of(SaehdSettings(**SIZES, archi="df"), ()),
        OPTIONS | {"archi": "df"},
        iter=0,
    )
    stage(ctx, "import", file=str(tmp_path / "dfl"))
    with pytest.raises(BadInputError, match="has learned nothing yet"):
        stage(ctx, "dfl", model="new")
    with pytest.raises(BadInputError, match="no model 'nobody'"):
        stage(ctx, "dfl", model="nobody")
    assert not list(project.results_dir.glob("*"))


@pytest.mark.parametrize("calls", [0, 2, 20])
def test_a_stop_leaves_nothing(tmp_path: Path, calls: int) -> None:
    project, _, _ = bench(tmp_path)
    store_model(project, tiny_settings())
    _, ctx, _ = bench(tmp_path, stop_after(calls))
    with pytest.raises(StopRequested):
        stage(ctx, "dfl", model="tiny")
    assert not list(project.results_dir.glob("*"))
