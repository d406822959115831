"""Bringing in what DeepFaceLab trained."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from backend.core.errors import BadInputError, DamagedFileError, LookalikeError, StopRequested
from backend.core.settings import AmpSettings, ModelFileSettings, Quick96Settings, SaehdSettings
from backend.models.dfl_names import load_dfl_weights
from backend.models.registry import build_model
from backend.pipeline.predictor import load_model
from backend.pipeline.stages import load_stage
from backend.storage.checkpoint import load_latest
from backend.storage.dfl_model import read_tensors
from backend.storage.model_folder import ModelFolder
from backend.storage.workspace import Project
from tests.models.dfl_files import ARCHIS, drawn_weights, stored_model
from tests.pipeline.dfl_models import OPTIONS, SIZES, judges, moments, networks_of, write_model
from tests.pipeline.stage_bench import Reports, bench, stop_after
from tests.pipeline.training_project import Watched, briskly, drawn_project
from tests.storage.dfl_folders import write_dfl
from tests.storage.models import content

SETTINGS = SaehdSettings(**{k: v for k, v in OPTIONS.items() if k != "adabelief"})
HISTORY = [[1 / i, 2 / i] for i in range(1, 71)]


def bring(ctx: Any, file: Path, **given: Any) -> dict[str, Any]:
    return load_stage("model")(ModelFileSettings(action="import", file=str(file), **given), ctx)


def warnings(reports: Reports) -> str:
    return " ".join(each["message"] for each in reports.of("log") if each.get("level") == "warning")


def test_golden_weights_are_read_as_they_are(golden: Path) -> None:
    """The small stored networks have dims that no settings allow: their files fill a network built by hand."""
    for archi in ARCHIS:
        folder = golden / "dfl_networks" / archi
        model, twin = stored_model(folder), stored_model(folder)
        for name, part in model.parts().items():
            torch.nn.init.zeros_(next(part.parameters()))
            load_dfl_weights(part, dict(read_tensors(folder / f"{name}.npy")))
        for name, weight in twin.state_dict().items():
            assert torch.equal(model.state_dict()[name], weight), name


@pytest.mark.parametrize("archi", [*ARCHIS, "amp"])
def test_golden_networks_swap_as_they_did(tmp_path: Path, golden: Path, archi: str) -> None:
    folder = golden / "dfl_networks" / archi
    recipe = json.loads((folder / "recipe_16.json").read_text())
    networks = {name: drawn_weights(network) for name, network in recipe["networks"].items()}
    options = {name: recipe[name] for name in (*SIZES, "inter_dims", "archi") if name in recipe and archi != name}
    kind, ends = ("AMP", "_100_") if archi == "amp" else ("SAEHD", "_")
    project, ctx, _ = bench(tmp_path)
    data = write_dfl(tmp_path / "dfl", f"gold_{kind}", networks, {"face_type": "wf", **options})
    result = bring(ctx, data)
    assert (result["model"], result["kind"], result["iteration"]) == ("gold", "deepfacelab", 7)
    with np.load(folder.parent / "inputs_64.npz") as inputs:
        made = load_model(project, "gold", "cpu").predict(inputs["input_dst"][0])
    with np.load(folder / "io_16.npz") as expected:
        assert np.abs(made.face - expected[f"swap{ends}face"][0]).max() <= 1e-5
        assert np.abs(made.mask - expected[f"swap{ends}mask"][0, ..., 0]).max() <= 1e-5
        assert np.abs(made.dst_mask - expected["dst_dst_mask"][0, ..., 0]).max() <= 1e-5


def test_everything_that_maps_is_taken_over(tmp_path: Path) -> None:
    options = {**OPTIONS, "gan_power": 0.1, "gan_patch_size": 16, "gan_dims": 4, "true_face_power": 0.01}
    files = {**networks_of(SETTINGS), **judges()}
    data = write_dfl(tmp_path / "dfl", "anna_SAEHD", files, options, iter=70, loss_history=HISTORY)
    project, ctx, reports = bench(tmp_path)
    result = bring(ctx, tmp_path / "dfl", name="here")
    assert (result["model"], result["iteration"], result["bytes"]) == ("here", 70, folder_size(data.parent))
    assert not warnings(reports)
    folder = ModelFolder(project.model_dir("here"))
    info, saved = folder.info(), load_latest(folder.generations_dir)
    assert info is not None
    assert saved is not None
    assert (info.iteration, saved.state.iteration, info.settings["gan_patch_size"]) == (70, 70, 16)
    assert "DeepFaceLab SAEHD 'anna'" in info.origin
    assert "DeepFaceLab SAEHD 'anna'" in saved.state.provenance.software
    assert info.src_loss == pytest.approx(np.mean([row[0] for row in HISTORY]))
    records = folder.losses.records()
    assert records["iteration"].tolist() == list(range(1, 71))
    np.testing.assert_allclose(records["dst"], np.array(HISTORY)[:, 1], rtol=1e-6)
    weights = build_model(SETTINGS, seed=3).state_dict()
    assert all(torch.equal(saved.weights[name], weight) for name, weight in weights.items())
    check_moments(saved.tensors["optimizer"], saved.state.rest["optimizer"], files["src_dst_opt"], "encoder", 70)
    gan = dict(judges()["GAN"])
    assert np.array_equal(saved.tensors["gan"]["convs.0.bias"].numpy(), gan["convs_0/bias:0"])
    assert saved.state.rest["gan_optimizer"]["optimizer"]["param_groups"][0]["iterations"] == 11
    assert saved.state.rest["true_face_optimizer"]["optimizer"]["param_groups"][0]["iterations"] == 12


def folder_size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def check_moments(tensors: Any, rest: Any, stored: dict[str, Any], network: str, steps: int) -> None:
    """The first weight's averages, in our layout and in our order; and the number of steps."""
    assert rest["kind"] == "adabelief"
    assert rest["optimizer"]["param_groups"][0]["iterations"] == steps
    name = f"{network}/down1/downs_0/conv1/weight_0:0"
    for ours, theirs in (("m", "ms"), ("v", "vs")):
        assert np.array_equal(tensors[f"0/{ours}"].numpy(), stored[f"{theirs}_{name}"].transpose(3, 2, 0, 1))


def test_training_goes_on_with_the_optimiser_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    briskly(monkeypatch)
    project = drawn_project(tmp_path / "workspace")
    seen = Watched(project)
    options = {**OPTIONS, "gan_power": 0.1, "gan_patch_size": 16, "gan_dims": 4, "true_face_power": 0.01}
    write_dfl(tmp_path / "dfl", "anna_SAEHD", {**networks_of(SETTINGS), **judges()}, options, iter=70)
    bring(seen.context, tmp_path / "dfl")
    info = ModelFolder(project.model_dir("anna")).info()
    assert info is not None
    settings = info.train_settings().model_copy(update={"target_iterations": 72, "device": "cpu", "precision": "fp32"})
    assert load_stage("train")(settings, seen.context)["iteration"] == 72
    saved = load_latest(ModelFolder(project.model_dir("anna")).generations_dir)
    assert saved is not None
    steps = [
        saved.state.rest[name]["optimizer"]["param_groups"][0]["iterations"]
        for name in ("optimizer", "gan_optimizer", "true_face_optimizer")
    ]
    assert steps == [72, 13, 14]
    assert saved.state.info.origin
    assert "anew" not in seen.text


def test_other_kinds(tmp_path: Path) -> None:
    project, ctx, reports = bench(tmp_path)
    amp, gray = AmpSettings(**SIZES, inter_dims=32), SETTINGS.model_copy(update={"channels": 1})
    write_model(tmp_path / "g", gray, {**OPTIONS, "random_hsv_power": 0.05, "ct_mode": "rct"}, "anna_SAEHDBW")
    bring(ctx, tmp_path / "g")
    assert "no hue" in warnings(reports)
    write_model(tmp_path / "a", amp, {**SIZES, "inter_dims": 32, "morph_factor": 0.4}, "anna_AMP")
    bring(ctx, tmp_path / "a")
    for name, settings in (("anna", gray), ("anna-2", amp)):
        folder = ModelFolder(project.model_dir(name))
        info, saved = folder.info(), load_latest(folder.generations_dir)
        assert info is not None
        assert saved is not None
        assert info.train_settings().model_class == settings.model_class
        assert info.settings["channels"] == settings.channels  # type: ignore[attr-defined]
        assert len(saved.tensors["optimizer"]) == 2 * len(list(build_model(settings).parameters()))
        assert load_model(project, name, "cpu").predict(np.zeros((64, 64, 3), np.float32)).face.any()
    assert info.settings["morph_factor"] == 0.4


def test_quick96(tmp_path: Path) -> None:
    project, ctx, reports = bench(tmp_path)
    networks = networks_of(Quick96Settings(), ())
    write_dfl(tmp_path / "q", "Quick96", {**networks, "src_dst_opt": {"iters:0": np.int64(3)}}, {"batch_size": 6})
    assert bring(ctx, tmp_path / "q")["model"] == "imported"
    info = ModelFolder(project.model_dir("imported")).info()
    assert info is not None
    assert (info.model_class, info.settings["batch_size"], info.settings["optimizer"]) == ("quick96", 6, "rmsprop")
    assert "begins anew" in warnings(reports)
    made = load_stage("model")(ModelFileSettings(action="dfl", model="imported"), ctx)
    with zipfile.ZipFile(project.path / made["path"]) as archive:
        names = {f"imported_Quick96_{part}.npy" for part in networks if part != "src_dst_opt"}
        assert set(archive.namelist()) == names | {"imported_Quick96_data.dat", "imported_Quick96_summary.txt"}


def test_what_an_optimiser_lacks_is_said(tmp_path: Path) -> None:
    """DeepFaceLab's AMP does not train its inters; an old model may have another optimiser than its option says."""
    _, ctx, reports = bench(tmp_path)
    amp = AmpSettings(**SIZES, inter_dims=32)
    files, model = networks_of(amp), build_model(amp)
    files["src_dst_opt"] = moments({name: model.parts()[name] for name in ("encoder", "decoder")})
    write_dfl(tmp_path / "a", "anna_AMP", files, {**SIZES, "inter_dims": 32})
    bring(ctx, tmp_path / "a")
    assert "anew for 4 of" in warnings(reports)
    assert "inter_src, inter_dst" in warnings(reports)
    write_dfl(tmp_path / "r", "anna_SAEHD", networks_of(SETTINGS, ("a",)), OPTIONS)
    bring(ctx, tmp_path / "r", name="other")
    assert "another kind's" in warnings(reports)


def test_the_optimiser_names_itself_where_no_option_does(tmp_path: Path) -> None:
    project, ctx, _ = bench(tmp_path)
    old = {name: value for name, value in OPTIONS.items() if name != "adabelief"}
    write_dfl(tmp_path / "r", "anna_SAEHD", networks_of(SETTINGS, ("a",)), old)
    bring(ctx, tmp_path / "r")
    saved = load_latest(ModelFolder(project.model_dir("anna")).generations_dir)
    assert saved is not None
    assert saved.state.rest["optimizer"]["kind"] == "rmsprop"
    assert "0/a" in saved.tensors["optimizer"]


def test_a_discriminator_of_another_size_begins_anew(tmp_path: Path) -> None:
    project, ctx, reports = bench(tmp_path)
    options = {**OPTIONS, "gan_power": 0.1, "gan_patch_size": 32, "gan_dims": 16}
    write_dfl(tmp_path / "d", "anna_SAEHD", {**networks_of(SETTINGS), **judges()}, options)
    bring(ctx, tmp_path / "d")
    saved = load_latest(ModelFolder(project.model_dir("anna")).generations_dir)
    assert saved is not None
    assert "gan" not in saved.tensors
    assert "true_face" in saved.tensors
    assert "GAN.npy begins anew" in warnings(reports)


def test_an_archive_and_a_name_that_is_none(tmp_path: Path) -> None:
    project, ctx, _ = bench(tmp_path)
    data = write_model(tmp_path / "dfl", SETTINGS, OPTIONS, "..anna_SAEHD")
    with zipfile.ZipFile(tmp_path / "anna.zip", "w") as archive:
        for file in data.parent.iterdir():
            archive.write(file, f"model/{file.name}")
    assert bring(ctx, tmp_path / "anna.zip")["model"] == "imported"
    assert bring(ctx, data)["model"] == "imported-2"
    one, two = (content(project.model_dir(name)) for name in ("imported", "imported-2"))
    assert set(one) == set(two)
    assert [one[name] == two[name] for name in one if name.endswith("weights.safetensors")] == [True]


BIAS = "down1/downs_0/conv1/bias:0"


def spoil_files(folder: Path, what: str) -> None:
    """Take bytes away."""
    encoder = folder / "anna_SAEHD_encoder.npy"
    match what:
        case "missing":
            (folder / "anna_SAEHD_inter.npy").unlink()
        case "no encoder":
            encoder.unlink()
        case "cut":
            encoder.write_bytes(encoder.read_bytes()[:-100])
        case "state":
            (folder / "anna_SAEHD_src_dst_opt.npy").write_bytes(b"\x80\x04.")


def spoil_contents(folder: Path, what: str) -> None:
    """Write other tensors, or other options."""
    encoder, data = folder / "anna_SAEHD_encoder.npy", folder / "anna_SAEHD_data.dat"
    tensors, stored = dict(read_tensors(encoder)), pickle.loads(data.read_bytes())
    match what:
        case "name":
            tensors["more:0"] = tensors.pop(BIAS)
        case "shape":
            tensors[BIAS] = np.zeros(17, np.float32)
        case "whole numbers":
            tensors[BIAS] = np.zeros(16, np.int32)
        case "broken down":
            tensors[BIAS] = np.full(16, np.nan, np.float32)
        case "no picture":
            tensors = {"down1/downs_0/conv1/weight:0": np.zeros((5, 5, 7, 16), np.float32)}
        case "too large":
            stored["options"] |= {"resolution": 640, "ae_dims": 1024, "e_dims": 256}
        case "option":
            stored["options"]["archi"] = "df-xyz"
        case "strange option":
            stored["options"]["batch_size"] = {"a": [1]}
    encoder.write_bytes(pickle.dumps(tensors, 4))
    data.write_bytes(pickle.dumps(stored, 4))


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("missing", r"anna_SAEHD_inter\.npy is missing"),
        ("no encoder", r"anna_SAEHD_encoder\.npy is missing"),
        ("cut", r"encoder\.npy is damaged"),
        ("name", "lack down1"),
        ("shape", "have the shape"),
        ("whole numbers", "not floating point"),
        ("broken down", "no numbers: that training had broken down"),
        ("no picture", "one or three channels"),
        ("too large", "too small for a network"),
        ("option", "cannot be built here"),
        ("strange option", "cannot be built here"),
        ("state", r"src_dst_opt\.npy is damaged"),
    ],
)
def test_a_damaged_model_is_refused_and_leaves_nothing(tmp_path: Path, what: str, words: str) -> None:
    project, ctx, _ = bench(tmp_path)
    write_model(tmp_path / "dfl", SETTINGS, OPTIONS, "anna_SAEHD")
    change = spoil_files if what in ("missing", "no encoder", "cut", "state") else spoil_contents
    change(tmp_path / "dfl", what)
    with pytest.raises((BadInputError, DamagedFileError), match=words) as failure:
        bring(ctx, tmp_path / "dfl")
    assert isinstance(failure.value, LookalikeError)
    nothing_is_left(project)


def test_averages_that_are_no_numbers_begin_anew(tmp_path: Path) -> None:
    project, ctx, reports = bench(tmp_path)
    files = networks_of(SETTINGS)
    files["src_dst_opt"]["ms_encoder/down1/downs_0/conv1/bias_0:0"] = np.full(16, np.inf, np.float32)
    bring(ctx, write_dfl(tmp_path / "dfl", "anna_SAEHD", files, OPTIONS))
    assert "anew for 1 of" in warnings(reports)
    saved = load_latest(ModelFolder(project.model_dir("anna")).generations_dir)
    assert saved is not None
    assert all(tensor.isfinite().all() for tensor in saved.tensors["optimizer"].values())


def test_files_that_do_not_fit_into_memory_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project, ctx, _ = bench(tmp_path)
    data = write_model(tmp_path / "dfl", SETTINGS, OPTIONS, "anna_SAEHD")
    optimizer = tmp_path / "dfl" / "anna_SAEHD_src_dst_opt.npy"
    with optimizer.open("r+b") as file:
        file.truncate(1 << 36)  # of holes: it takes no disk
    with pytest.raises(LookalikeError, match="MiB of memory"):
        bring(ctx, data)
    nothing_is_left(project)


def test_names_with_accents_and_homes_that_are_not_known(tmp_path: Path) -> None:
    project, ctx, _ = bench(tmp_path)
    apart = "Jose\N{COMBINING ACUTE ACCENT}"
    assert bring(ctx, write_model(tmp_path / "dfl", SETTINGS, OPTIONS, f"{apart}_SAEHD"))["model"] == "Jos\xe9"
    with pytest.raises(BadInputError, match="home folder is not known"):
        bring(ctx, Path("~nobody-of-this-name/dfl"))
    with pytest.raises(BadInputError, match="xxx cannot be read: File name too long"):
        bring(ctx, Path("x" * 300))
    assert project.models() == ["Jos\xe9"]


def nothing_is_left(project: Project) -> None:
    assert not project.models()
    assert not list(project.model_root.glob("*"))
    assert not list(project.model_root.glob(".unfinished-*"))


@pytest.mark.parametrize("calls", [0, 3, 40])
def test_a_stop_leaves_nothing(tmp_path: Path, calls: int) -> None:
    project, ctx, _ = bench(tmp_path, stop_after(calls))
    write_model(tmp_path / "dfl", SETTINGS, OPTIONS, "anna_SAEHD")
    with pytest.raises(StopRequested):
        bring(ctx, tmp_path / "dfl")
    nothing_is_left(project)


def test_several_models_and_none_are_said(tmp_path: Path) -> None:
    _, ctx, _ = bench(tmp_path)
    write_dfl(tmp_path / "dfl", "anna_SAEHD", {}, OPTIONS)
    write_dfl(tmp_path / "dfl", "bert_AMP", {}, OPTIONS)
    with pytest.raises(BadInputError, match=r"2 models: anna_SAEHD, bert_AMP.*anna_SAEHD_data\.dat"):
        bring(ctx, tmp_path / "dfl")
    with pytest.raises(BadInputError, match="no model of DeepFaceLab"):
        bring(ctx, write_dfl(tmp_path, "x_XSeg", {"256": {}}, {}))
    with pytest.raises(BadInputError, match="no file or folder"):
        bring(ctx, tmp_path / "nothing_data.dat")
