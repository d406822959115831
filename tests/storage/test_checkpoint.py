from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from backend.core.errors import DamagedFileError
from backend.storage.checkpoint import (
    STATE,
    WEIGHTS,
    CheckpointState,
    generations,
    join_optimizer,
    load_latest,
    remove_unfinished,
    rng_from_text,
    rng_to_text,
    save_generation,
    split_optimizer,
)
from backend.storage.model_folder import ModelFolder, ModelInfo

ROOT = Path(__file__).resolve().parents[2]

SAVE_AND_DIE = """
import os, signal, sys
from pathlib import Path
import backend.storage.checkpoint as checkpoint
from tests.storage.test_checkpoint import save

step = sys.argv[2]
real = getattr(checkpoint, step)
def dying(*arguments, **named):
    if step != "save_file" or str(arguments[1]).endswith("optimizer.safetensors"):
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments, **named)
setattr(checkpoint, step, dying)
save(Path(sys.argv[1]), 20)
"""


def save(folder: Path, iteration: int, keep: int = 3) -> Path:
    value = float(iteration)
    state = CheckpointState(iteration=iteration, info=ModelInfo(model_class="saehd", settings={}, iteration=iteration))
    tensors = {"weights": {"a.weight": torch.full((3, 4), value)}, "optimizer": {"0/m": torch.zeros(2)}}
    return save_generation(folder, state, tensors, keep)


def flip_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 0xFF
    path.write_bytes(bytes(data))


def test_newest_is_loaded_and_three_are_kept(tmp_path: Path) -> None:
    for iteration in (1, 2, 3, 4):
        save(tmp_path, iteration)
    again = save(tmp_path, 4)
    assert [p.name for p in generations(tmp_path)] == ["000000003-0", "000000004-0", "000000004-1"]
    found = load_latest(tmp_path)
    assert found is not None
    assert found.path == again
    assert found.skipped == ()
    assert torch.equal(found.weights["a.weight"], torch.full((3, 4), 4.0))
    assert torch.equal(found.tensors["optimizer"]["0/m"], torch.zeros(2))
    assert load_latest(tmp_path / "nowhere") is None
    lean = load_latest(tmp_path, names=())
    assert lean is not None
    assert set(lean.tensors) == {WEIGHTS}


@pytest.mark.parametrize("file", ["weights.safetensors", "optimizer.safetensors", STATE])
def test_a_flipped_byte_falls_back_to_the_one_before(tmp_path: Path, file: str) -> None:
    save(tmp_path, 10)
    newest = save(tmp_path, 20)
    flip_byte(newest / file)
    found = load_latest(tmp_path)
    assert found is not None
    assert found.state.iteration == 10
    assert [s.name for s in found.skipped] == ["000000020-0"]
    assert file in found.skipped[0].reason


def test_a_missing_file_falls_back_and_no_whole_one_is_an_error(tmp_path: Path) -> None:
    older, newer = save(tmp_path, 10), save(tmp_path, 20)
    (newer / "weights.safetensors").unlink()
    found = load_latest(tmp_path)
    assert found is not None
    assert found.state.iteration == 10
    flip_byte(older / "weights.safetensors")
    with pytest.raises(DamagedFileError, match=r"000000020-0.*000000010-0"):
        load_latest(tmp_path)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize("step", ["save_file", "sha256_of", "write_json"])
def test_killed_while_saving_loses_nothing_that_was_saved(tmp_path: Path, step: str) -> None:
    folder = tmp_path / "generations"
    save(folder, 10)
    done = subprocess.run(
        [sys.executable, "-c", SAVE_AND_DIE, str(folder), step],
        cwd=ROOT,
        check=False,
        timeout=120,
        env=dict(os.environ),
    )
    assert done.returncode == -signal.SIGKILL
    found = load_latest(folder)
    assert found is not None
    assert found.state.iteration == 10
    assert found.skipped == ()
    assert remove_unfinished(folder) == ["000000020-0"]
    assert [p.name for p in folder.iterdir()] == ["000000010-0"]
    save(folder, 20)
    assert [p.name for p in generations(folder)] == ["000000010-0", "000000020-0"]


def test_info_is_read_from_a_generation_when_model_json_is_damaged(tmp_path: Path) -> None:
    folder = ModelFolder(tmp_path / "m")
    save(folder.generations_dir, 7)
    (folder.path / "model.json").write_text("{half")
    info = folder.info()
    assert info is not None
    assert info.iteration == 7
    shutil.rmtree(folder.generations_dir)
    assert folder.info() is None


def test_optimizer_state_goes_through_tensors_and_json() -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.RMSprop([weight], lr=0.1)
    weight.sum().backward()
    optimizer.step()
    tensors, rest = split_optimizer(optimizer.state_dict())
    other = torch.optim.RMSprop([torch.nn.Parameter(torch.ones(3))], lr=0.5)
    other.load_state_dict(join_optimizer(tensors, rest))
    assert torch.equal(other.state_dict()["state"][0]["square_avg"], optimizer.state_dict()["state"][0]["square_avg"])
    assert other.param_groups[0]["lr"] == 0.1


def test_random_numbers_go_on() -> None:
    first = torch.Generator().manual_seed(5)
    torch.rand(3, generator=first)
    text = rng_to_text(first)
    second = torch.Generator()
    rng_from_text(second, text)
    assert torch.equal(torch.rand(4, generator=first), torch.rand(4, generator=second))
