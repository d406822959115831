"""What tells one state of a model from another."""

from __future__ import annotations

import json
from pathlib import Path

from backend.storage.model_stamp import model_stamp, stamp_of


def generation(folder: Path, name: str, text: str) -> None:
    (folder / "generations" / name).mkdir(parents=True)
    (folder / "generations" / name / "state.json").write_text(text)


def test_the_newest_readable_state_counts(tmp_path: Path) -> None:
    assert model_stamp(tmp_path) == ""
    generation(tmp_path, "000000007-0", json.dumps({"iteration": 7, "checksums": {"weights": "ab" * 32}}))
    assert model_stamp(tmp_path) == f"7-{'ab' * 8}"
    sums = {"weights": "ab" * 32, "average": "cd" * 32}
    generation(tmp_path, "000000009-0", json.dumps({"iteration": 9, "checksums": sums}))
    assert model_stamp(tmp_path) == f"9-{'cd' * 8}" == stamp_of(9, sums)
    for number, text in enumerate(("{", "[]", "{}", '{"iteration": "x", "checksums": {}}')):
        generation(tmp_path, f"00000002{number}-0", text)
    (tmp_path / "generations" / ".unfinished-000000030-0").mkdir()
    assert model_stamp(tmp_path).startswith("9-")
