from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from backend.core.errors import BadInputError, ModelBusyError
from backend.core.settings import SaehdSettings
from backend.storage.model_folder import ModelFolder, ModelInfo, frozen_mismatch, resume_settings

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
    assert info.train_settings() == SaehdSettings()


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
    code = "import sys, backend.storage.model_folder; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=60)
