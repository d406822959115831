from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from backend.core.errors import BadInputError, ModelBusyError
from backend.core.settings import SaehdSettings
from backend.storage.model_folder import (
    NOTES_CHARACTERS,
    ModelFolder,
    ModelInfo,
    frozen_mismatch,
    preview_iteration,
    resume_settings,
)

ROOT = Path(__file__).resolve().parents[2]

HOLDER = """
import sys, time
from pathlib import Path
from backend.storage.model_folder import ModelFolder
with ModelFolder(Path(sys.argv[1])).lock("job held-elsewhere"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_info_survives_writing_and_reading(tmp_path: Path) -> None:
    folder = ModelFolder(tmp_path / "first")
    assert folder.info() is None
    folder.write_info(ModelInfo(model_class="saehd", settings=SaehdSettings().model_dump(mode="json"), iteration=12))
    info = folder.info()
    assert info is not None
    assert info.iteration == 12
    assert info.train_settings() == SaehdSettings(model="first")


def test_a_renamed_folder_names_its_model(tmp_path: Path) -> None:
    folder = ModelFolder(tmp_path / "first")
    folder.write_info(ModelInfo(model_class="saehd", settings={"model": "first", "resolution": 96}))
    folder.path.rename(tmp_path / "second")
    info = ModelFolder(tmp_path / "second").info()
    assert info is not None
    assert info.settings == {"model": "second", "resolution": 96}


def test_pages_and_series_of_previews(tmp_path: Path) -> None:
    folder = ModelFolder(tmp_path / "first")
    assert folder.pages() == []
    assert folder.preview() is None
    folder.history_dir.mkdir(parents=True)
    for name in ("preview.jpg", "preview_morph.jpg", "other.jpg"):
        (folder.path / name).touch()
    for name in ("0000200_faces.jpg", "0000100_faces.jpg", "10000000_faces.jpg", "0000100_masked.jpg", "x_faces.jpg"):
        (folder.history_dir / name).touch()
    assert folder.pages() == ["faces", "masked", "morph"]
    assert folder.preview() == folder.path / "preview.jpg"
    assert folder.preview("morph") == folder.path / "preview_morph.jpg"
    assert folder.preview("masked") is None
    assert [preview_iteration(path) for path in folder.previews()] == [100, 200, 10_000_000]
    assert [path.name for path in folder.previews("masked")] == ["0000100_masked.jpg"]
    assert folder.previews("morph") == []
    with pytest.raises(BadInputError, match="no preview page"):
        folder.preview("../model")


def test_notes_are_kept_and_have_a_limit(tmp_path: Path) -> None:
    folder = ModelFolder(tmp_path / "first")
    assert folder.notes() == ""
    with pytest.raises(BadInputError, match="no model"):
        folder.write_notes("before there is a model")
    folder.path.mkdir()
    folder.write_notes("Grün, später schärfer\n")
    assert folder.notes() == "Grün, später schärfer\n"
    folder.write_notes("n" * NOTES_CHARACTERS)
    with pytest.raises(BadInputError, match="Shorten"):
        folder.write_notes("n" * (NOTES_CHARACTERS + 1))
    assert len(folder.notes()) == NOTES_CHARACTERS
    assert [path.name for path in folder.path.iterdir()] == ["notes.txt"]


def test_second_writer_is_refused_with_the_owners_name(tmp_path: Path) -> None:
    folder = ModelFolder(tmp_path / "first")
    with folder.lock("job 20240101-train"):
        owner = folder.owner()
        assert owner is not None
        assert owner.name == "job 20240101-train"
        with pytest.raises(ModelBusyError, match="job 20240101-train"), ModelFolder(folder.path).lock("job two"):
            pytest.fail("two writers")
    assert folder.owner() is None
    with folder.lock("job three") as vanished:
        assert vanished is None


def test_lock_of_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    folder = ModelFolder(tmp_path / "first")
    code = [sys.executable, "-c", textwrap.dedent(HOLDER), str(folder.path)]
    with subprocess.Popen(code, cwd=ROOT, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline().strip() == "held"
        with pytest.raises(ModelBusyError, match="held-elsewhere"), folder.lock("job mine"):
            pytest.fail("two writers")
        holder.kill()
    assert folder.owner() is None
    with folder.lock("job mine") as vanished:
        assert vanished is not None
        assert vanished.name == "job held-elsewhere"


def test_frozen_settings_are_compared_when_given() -> None:
    saved = SaehdSettings(resolution=96, archi="df-ud").model_dump(mode="json")
    assert frozen_mismatch(saved, SaehdSettings(batch_size=4)) == []
    wrong = frozen_mismatch(saved, SaehdSettings(resolution=128, channels=1))
    assert [(m.field, m.saved, m.given) for m in wrong] == [("resolution", 96, 128), ("channels", 3, 1)]


def test_resuming_keeps_frozen_settings_and_takes_the_others() -> None:
    saved = SaehdSettings(resolution=96, archi="df-ud", batch_size=8).model_dump(mode="json")
    resumed = resume_settings(saved, SaehdSettings(batch_size=4, model="first"))
    assert isinstance(resumed, SaehdSettings)
    assert (resumed.resolution, resumed.archi, resumed.batch_size, resumed.model) == (96, "df-ud", 4, "first")
    with pytest.raises(BadInputError, match=r"resolution 96.*another model name"):
        resume_settings(saved, SaehdSettings(resolution=128))


def test_no_torch_is_needed() -> None:
    rooms = ("model_folder", "model_operations", "model_backups", "model_file", "model_import", "taken_names")
    names = ", ".join(f"backend.storage.{room}" for room in rooms)
    code = f"import sys, {names}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=60)


@pytest.mark.parametrize("stored", [10, 12])
def test_a_width_that_is_left_to_a_rule_asks_for_nothing(stored: int) -> None:
    saved = SaehdSettings(d_dims=32, d_mask_dims=stored).model_dump(mode="json")
    given = SaehdSettings(d_dims=32, d_mask_dims=0)
    assert frozen_mismatch(saved, given) == []
    assert resume_settings(saved, given).model_dump()["d_mask_dims"] == stored
    [wrong] = frozen_mismatch(saved, SaehdSettings(d_dims=32, d_mask_dims=22))
    assert (wrong.field, wrong.saved, wrong.given) == ("d_mask_dims", stored, 22)
