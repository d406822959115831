"""Reading the folders that DeepFaceLab writes, and refusing what is none."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.core.errors import BadInputError, DamagedFileError
from backend.storage.dfl_archive import name_in, unpack_model
from backend.storage.dfl_model import find_data, read_model, read_tensors
from tests.models.dfl_files import ARCHIS, read_weights
from tests.storage.dfl_folders import write_dfl

WEIGHTS = {"down1/downs_0/conv1/weight:0": np.arange(24, dtype=np.float32).reshape(2, 2, 3, 2), "b:0": np.zeros(2)}
OPTIONS = {"resolution": np.int64(64), "archi": "df", "gan_power": np.float64(0.1), "random_warp": True}


class Evil:
    """Runs something when a plain unpickler meets it."""

    def __reduce__(self) -> Any:
        return print, ("ran",)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_is_read(tmp_path: Path, protocol: int) -> None:
    history = [[1.0, 2.0], [np.float32(0.5), 0.25]]
    data = write_dfl(tmp_path, "anna_SAEHD", {"encoder": WEIGHTS}, OPTIONS, protocol, iter=9, loss_history=history)
    model = read_model(data)
    assert (model.name, model.kind, model.iteration) == ("anna", "SAEHD", 9)
    assert model.options == {"resolution": 64, "archi": "df", "gan_power": 0.1, "random_warp": True}
    assert type(model.options["resolution"]) is int
    assert model.losses.tolist() == [[1.0, 2.0], [0.5, 0.25]]
    found = dict(read_tensors(model.files["encoder"]))
    assert list(found) == list(WEIGHTS)
    assert all(np.array_equal(found[name], WEIGHTS[name]) for name in WEIGHTS)


def test_old_and_new_names_of_numpy_are_read(tmp_path: Path) -> None:
    new = pickle.dumps(WEIGHTS, 4)
    assert b"numpy._core.multiarray" in new
    old = new.replace(b"\x8c\x16numpy._core.multiarray", b"\x8c\x15numpy.core.multiarray")
    (tmp_path / "x.npy").write_bytes(old[:2] + old[11:])  # without its frame, whose length is another now
    assert np.array_equal(dict(read_tensors(tmp_path / "x.npy"))["b:0"], WEIGHTS["b:0"])


def test_the_files_it_wrote_itself(golden: Path) -> None:
    for archi in (*ARCHIS[:2], "amp", "gan"):
        for file in (golden / "dfl_networks" / archi).glob("*.npy"):
            twin = read_weights(file.with_suffix(".weights.npz"))
            found = dict(read_tensors(file))
            assert list(found) == list(twin)
            assert all(np.array_equal(found[name], twin[name]) and found[name].dtype == "f4" for name in twin)
    steps = dict(read_tensors(golden / "dfl_networks" / "optimizers" / "adabelief_state.npy"))
    assert int(steps["iters:0"]) == 20


def test_losses_are_those_of_the_newest_iterations(tmp_path: Path) -> None:
    history = [[float(i), 0.0] for i in range(12)]
    model = read_model(write_dfl(tmp_path, "a_AMP", {}, {}, iter=3, loss_history=history))
    assert model.losses[:, 0].tolist() == [9, 10, 11]
    assert len(read_model(write_dfl(tmp_path, "a_AMP", {}, {}, iter=0, loss_history=history)).losses) == 0


def test_files_of_other_models_beside_it_are_left_alone(tmp_path: Path) -> None:
    write_dfl(tmp_path, "my_face_SAEHD", {"encoder": WEIGHTS, "src_dst_opt": WEIGHTS}, OPTIONS)
    data = write_dfl(tmp_path, "face_SAEHD", {"inter_AB": WEIGHTS, "GAN": WEIGHTS}, OPTIONS)
    write_dfl(tmp_path, "SAEHD", {"decoder": WEIGHTS}, OPTIONS)
    assert set(read_model(data).files) == {"inter_AB", "GAN"}
    assert set(read_model(tmp_path / "SAEHD_data.dat").files) == {"decoder"}
    assert read_model(tmp_path / "my_face_SAEHD_data.dat").name == "my_face"


def test_the_only_model_of_a_folder_is_found(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no file or folder"):
        find_data(tmp_path / "none")
    with pytest.raises(BadInputError, match="holds no model"):
        find_data(tmp_path)
    (tmp_path / "XSeg_data.dat").write_bytes(b"")
    with pytest.raises(BadInputError, match="only XSeg_data"):
        find_data(tmp_path)
    data = write_dfl(tmp_path / "model", "anna_SAEHD", {}, OPTIONS)
    assert find_data(tmp_path) == find_data(data) == data
    write_dfl(tmp_path, "bert_AMP", {}, OPTIONS)
    with pytest.raises(BadInputError, match=r"2 models: bert_AMP, anna_SAEHD.*for example .*bert_AMP_data\.dat"):
        find_data(tmp_path)
    with pytest.raises(BadInputError, match="no model of DeepFaceLab"):
        find_data(tmp_path / "XSeg_data.dat")


@pytest.mark.parametrize(
    "stored",
    [
        [1, 2],
        {"iter": -1, "options": {}},
        {"iter": 1.5, "options": {}},
        {"iter": 1, "options": [1]},
        {"iter": 1, "options": {}, "loss_history": {"a": 1}},
        {"iter": 1, "options": {}, "loss_history": [["a", "b"]]},
        {"iter": 1, "options": {}, "loss_history": [[1.0]]},
        {"iter": 1, "options": {}, "loss_history": np.ones((2, 2))},
        {"iter": 1, "options": {"a": Evil()}},
    ],
)
def test_a_data_file_that_is_none_is_refused(tmp_path: Path, stored: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a_SAEHD_data.dat"
    path.write_bytes(pickle.dumps(stored, 4))
    with pytest.raises(DamagedFileError, match=r"a_SAEHD_data\.dat is damaged or no file of DeepFaceLab"):
        read_model(path)
    assert "ran" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "stored",
    [{"a:0": Evil()}, {"a:0": "text"}, {1: WEIGHTS["b:0"]}, {"a:0": np.zeros((1,) * 5)}, {"a:0": np.array(["x"])}, [1]],
)
def test_a_file_of_tensors_that_is_none_is_refused(tmp_path: Path, stored: Any) -> None:
    path = tmp_path / "a_SAEHD_encoder.npy"
    path.write_bytes(pickle.dumps(stored, 4))
    with pytest.raises(DamagedFileError, match=r"a_SAEHD_encoder\.npy is damaged"):
        dict(read_tensors(path))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.99])
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, share: float) -> None:
    whole = pickle.dumps(WEIGHTS, 4)
    path = tmp_path / "a_SAEHD_encoder.npy"
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(DamagedFileError, match="is damaged"):
        dict(read_tensors(path))


def zipped(path: Path, *entries: tuple[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return path


def test_an_archive_is_taken_out_by_names_alone(tmp_path: Path) -> None:
    data = pickle.dumps({"iter": 4, "options": {}}, 4)
    weights = pickle.dumps(WEIGHTS, 4)
    archive = zipped(
        tmp_path / "a.zip",
        ("../../x/anna_SAEHD_data.dat", data),
        ("../../x/anna_SAEHD_encoder.npy", weights),
        ("../../x/run_me.py", b""),
        ("other/anna_SAEHD_inter.npy", weights),
        ("../../x/anna_SAEHD_autobackups/01/anna_SAEHD_encoder.npy", b""),
    )
    target = tmp_path / "deep" / "down" / "here"
    target.mkdir(parents=True)
    assert name_in(archive) == "anna"
    told: list[int] = []
    assert unpack_model(archive, target, told.append) == target / "anna_SAEHD_data.dat"
    assert sorted(p.name for p in target.iterdir()) == ["anna_SAEHD_data.dat", "anna_SAEHD_encoder.npy"]
    assert sum(told) == len(data) + len(weights)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zip", "deep"]


def test_archives_that_are_none_are_refused(tmp_path: Path) -> None:
    data = pickle.dumps({"iter": 4, "options": {}}, 4)
    two = zipped(tmp_path / "two.zip", ("a_SAEHD_data.dat", data), ("b_AMP_data.dat", data))
    with pytest.raises(BadInputError, match="2 models: a_SAEHD, b_AMP"):
        name_in(two)
    with pytest.raises(BadInputError, match="no model of a kind"):
        name_in(zipped(tmp_path / "none.zip", ("readme.txt", b"")))
    with pytest.warns(UserWarning, match="Duplicate"):
        twice = zipped(tmp_path / "twice.zip", ("a_AMP_data.dat", data), ("a_AMP_x.npy", b"1"), ("a_AMP_x.npy", b"2"))
    with pytest.raises(DamagedFileError, match="twice"):
        name_in(twice)
    with pytest.raises(DamagedFileError, match="longer than it can be"):
        name_in(zipped(tmp_path / "long.zip", (f"{'a' * 300}_AMP_data.dat", data)))
    (tmp_path / "cut.zip").write_bytes(two.read_bytes()[:-30])
    with pytest.raises(DamagedFileError, match="cut off"):
        name_in(tmp_path / "cut.zip")
    whole = zipped(tmp_path / "whole.zip", ("a_AMP_data.dat", data * 50))
    (tmp_path / "bent.zip").write_bytes(whole.read_bytes().replace(data[20:24], b"\0\0\0\0"))
    (tmp_path / "out").mkdir()
    with pytest.raises(DamagedFileError, match="cut off"):
        unpack_model(tmp_path / "bent.zip", tmp_path / "out")


def test_an_option_that_is_no_plain_value_becomes_a_word_for_its_kind(tmp_path: Path) -> None:
    given = {"ct_mode": np.zeros(2), "archi": ["df"], "lr": np.float32(0.5), "batch_size": None, "model": {"a": 1}}
    found = read_model(write_dfl(tmp_path, "a_SAEHD", {}, given)).options
    assert found == {"ct_mode": "a ndarray", "archi": "a list", "lr": 0.5, "batch_size": None, "model": "a dict"}


@pytest.mark.parametrize("how", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damage_inside_a_compressed_archive_is_said(tmp_path: Path, how: int) -> None:
    noise = np.random.default_rng(0).bytes(20_000)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", how) as archive:
        archive.writestr("a_AMP_data.dat", pickle.dumps({"iter": 4, "options": {}}, 4))
        archive.writestr("a_AMP_encoder.npy", noise)
    whole = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(whole[:5000] + bytes(500) + whole[5500:])
    (tmp_path / "out").mkdir()
    with pytest.raises(DamagedFileError, match="cut off"):
        unpack_model(tmp_path / "a.zip", tmp_path / "out")


@pytest.mark.skipif(os.name == "nt", reason="names are always text there")
def test_a_name_that_is_no_text_is_said(tmp_path: Path) -> None:
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/na\xffme_SAEHD_data.dat"))).write_bytes(b"")
    with pytest.raises(BadInputError, match="name of a file or folder is no text"):
        find_data(tmp_path)
