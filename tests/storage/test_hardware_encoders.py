from __future__ import annotations

import sys
import time

import pytest

from backend.storage import hardware_encoders
from backend.storage.hardware_encoders import first_working, trial, working


def child(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_a_trial_that_succeeds_says_nothing() -> None:
    assert trial("nvenc", "h264", command=child("")) == ""


def test_the_encoders_own_words_are_the_reason() -> None:
    said = "import sys; print('[h264_nvenc @ 0x1] Cannot load libcuda.so.1\\nlast', file=sys.stderr); sys.exit(1)"
    assert trial("nvenc", "h264", command=child(said)) == "h264_nvenc does not work here: Cannot load libcuda.so.1."
    assert "gave no reason" in trial("nvenc", "h264", command=child("import sys; sys.exit(3)"))
    assert "could not be started" in trial("nvenc", "h264", command=["/nowhere/python"])


def test_a_driver_that_hangs_is_given_up() -> None:
    began = time.monotonic()
    assert "did not answer" in trial("nvenc", "h264", timeout_s=0.3, command=child("import time; time.sleep(30)"))
    assert time.monotonic() - began < 5


def test_what_ffmpeg_lacks_needs_no_child() -> None:
    assert "There is no videotoolbox encoder for av1" in trial("videotoolbox", "av1", command=["/nowhere/python"])
    assert "There is no nvenc encoder for vp9" in trial("nvenc", "vp9", command=["/nowhere/python"])


def test_the_real_trial_answers_and_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this computer has: an answer comes, and the second one without another child."""
    hardware_encoders._tried.cache_clear()
    first = working("nvenc", "h264")
    monkeypatch.setattr(hardware_encoders, "trial", lambda *_: pytest.fail("asked again"))
    assert working("nvenc", "h264") == first
    hardware_encoders._tried.cache_clear()


def test_the_first_that_works_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware_encoders, "working", lambda hardware, codec: "" if hardware == "qsv" else "no")
    assert first_working("h264") == "qsv"
    monkeypatch.setattr(hardware_encoders, "working", lambda hardware, codec: "no")
    assert first_working("h264") == ""
