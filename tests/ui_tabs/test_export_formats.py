"""Format cards, which fields count for which file, the estimate, and what this computer can do."""

from __future__ import annotations

import threading
from fractions import Fraction
from pathlib import Path

import pytest

from backend.core.frames import FrameRef, FrameTable, VideoInfo
from backend.core.settings import ExportSettings
from backend.core.settings.export import CODECS
from ui_tabs.export_abilities import AbilityTests, Signers
from ui_tabs.export_estimate import estimate, estimate_html, range_fault
from ui_tabs.export_form import TESTING, Abilities, encoder_words
from ui_tabs.export_formats import (
    CARDS,
    GIF_HEIGHT,
    acting,
    card_of,
    card_values,
    cards_html,
    chosen_card,
    codec_choices,
    codec_of,
    put_right,
)


def raw(**changes: object) -> dict[str, object]:
    return {**ExportSettings().model_dump(), **changes}


def a_table(frames: int = 50, width: int = 64, height: int = 48) -> FrameTable:
    info = VideoInfo(
        path=Path("a.mp4"), width=width, height=height, fps=Fraction(25), frame_count=frames, duration_s=frames / 25
    )
    found = tuple(FrameRef(file=f"{i + 1:05}.png", index=i, time_s=i / 25) for i in range(frames))
    return FrameTable(video=info, frames=found, end_s=frames / 25)


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.key)
@pytest.mark.parametrize("height", [0, 48, 1080])
def test_each_card_is_an_export_without_contradiction_and_is_recognised(card, height) -> None:
    values = card_values(card, height)
    assert ExportSettings(**values)
    assert chosen_card(raw(**values, name="other", audio="none", first_frame=7), height) == card.key
    assert put_right(raw(**values)) == {}
    assert f'data-card="{card.key}" aria-pressed="true"' in cards_html(card.key)


def test_a_card_is_left_as_soon_as_one_of_its_fields_differs() -> None:
    assert chosen_card(raw(), 720) == "mp4"
    assert chosen_card(raw(crf=18), 720) == ""
    assert 'aria-pressed="true"' not in cards_html("")
    assert card_of("nothing") is None


def test_a_gif_is_made_smaller_but_never_larger() -> None:
    gif = card_of("gif")
    assert gif is not None
    assert card_values(gif, 1080)["height"] == GIF_HEIGHT and card_values(gif, 300)["height"] == 0


def test_only_codecs_that_the_file_can_hold_are_offered() -> None:
    for container, codecs in CODECS.items():
        assert [value for _, value in codec_choices(container)] == ["auto", *codecs]
    assert put_right(raw(container="mp4", codec="ffv1")) == {"codec": "auto"}


@pytest.mark.parametrize(
    ("changes", "codec"),
    [
        ({}, "h264"),
        ({"container": "webm"}, "vp9"),
        ({"container": "mov", "content": "alpha"}, "prores4444"),
        ({"container": "mov", "content": "alpha", "rate": "lossless"}, "png"),
        ({"container": "mp4", "content": "alpha"}, ""),
        ({"container": "webm", "codec": "ffv1"}, "vp9"),
        ({"container": "gif"}, ""),
    ],
)
def test_what_auto_takes(changes, codec) -> None:
    assert codec_of(raw(**changes)) == codec


@pytest.mark.parametrize(
    ("changes", "shown", "hidden"),
    [
        ({}, {"crf", "speed", "encoder", "audio"}, {"bitrate_mbit", "label_text", "certificate"}),
        ({"rate": "bitrate"}, {"bitrate_mbit"}, {"crf"}),
        ({"rate": "lossless"}, {"rate", "speed"}, {"crf", "bitrate_mbit", "encoder"}),
        ({"container": "mkv", "codec": "ffv1"}, {"codec"}, {"rate", "crf", "speed", "encoder"}),
        ({"container": "mov", "content": "alpha", "rate": "lossless"}, {"rate"}, {"crf"}),
        ({"container": "gif"}, set(), {"codec", "rate", "crf", "audio", "audio_tracks"}),
        ({"container": "mkv"}, set(), {"sign"}),
        ({"audio": "none"}, {"audio"}, {"audio_tracks"}),
        ({"label": True, "sign": True}, {"label_text", "label_corner", "certificate", "private_key"}, set()),
        ({"label": True, "content": "mask"}, set(), {"label", "label_text"}),
    ],
)
def test_fields_come_and_go_with_what_they_do(changes, shown, hidden) -> None:
    found = acting(raw(**changes))
    assert {name for name in shown if not found[name]} == set()
    assert {name for name in hidden if found[name]} == set()


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"container": "gif", "codec": "vp9", "rate": "lossless"}, {"codec": "auto", "rate": "quality"}),
        ({"container": "mkv", "codec": "ffv1", "rate": "bitrate"}, {"rate": "quality"}),
        ({"container": "mov", "codec": "prores4444", "rate": "lossless"}, {"rate": "quality"}),
        ({"container": "webm", "codec": "vp9", "encoder": "nvenc"}, {"encoder": "software"}),
        ({"container": "mkv", "codec": "ffv1", "rate": "lossless"}, {}),
    ],
)
def test_what_a_hidden_field_would_contradict_is_put_right(changes, wanted) -> None:
    values = raw(**changes)
    assert put_right(values) == wanted
    assert ExportSettings.model_validate({**values, **wanted})


def test_the_estimate_counts_the_range_the_preview_and_the_picture(tmp_path: Path) -> None:
    table = a_table()
    whole = estimate(table, ExportSettings(), tmp_path / "not" / "there")
    assert (whole.frames, whole.seconds, whole.width, whole.height) == (50, 2.0, 64, 48)
    part = estimate(table, ExportSettings(first_frame=11, last_frame=30, preview_s=0.4, content="compare"), tmp_path)
    assert (part.first, part.last, part.frames, part.width) == (11, 20, 10, 128)
    assert part.seconds == pytest.approx(0.4)
    small = estimate(table, ExportSettings(height=24), tmp_path)
    assert (small.width, small.height) == (32, 24)
    rate = estimate(table, ExportSettings(rate="bitrate", bitrate_mbit=8), tmp_path)
    assert rate.bytes == 2_000_000
    assert estimate(table, ExportSettings(crf=23), tmp_path).bytes == pytest.approx(whole.bytes / 2, rel=0.01)
    assert estimate(table, ExportSettings(container="mkv", codec="ffv1"), tmp_path).bytes > 5 * whole.bytes


def test_the_estimate_in_words_warns_of_a_full_disk(tmp_path: Path) -> None:
    found = estimate(a_table(1), ExportSettings(), tmp_path)
    assert "1 frame (1 to 1), 0.0 s, 64 x 48 px" in estimate_html(found) and "are free." in estimate_html(found)
    full = type(found)(**{**vars(found), "bytes": 10**15})
    assert "lk-notice" in estimate_html(full) and "has only" in estimate_html(full)


def test_a_range_beyond_the_clip_is_named_at_its_field() -> None:
    table = a_table()
    assert range_fault(table, ExportSettings(last_frame=50)) == "" == range_fault(None, ExportSettings(last_frame=99))
    assert range_fault(table, ExportSettings(last_frame=51)).startswith("Last frame: ")
    assert range_fault(table, ExportSettings(first_frame=51)).startswith("First frame: ")


def test_this_computer_is_tested_once_beside_the_page() -> None:
    go, asked = threading.Event(), []

    def fault(name: str, codec: str) -> str:
        go.wait(10)
        asked.append((name, codec))
        if name == "amf":
            raise RuntimeError("driver")
        return "" if name == "nvenc" else "not here"

    tests = AbilityTests(fault, lambda: "")
    assert tests.get("h264").broken is None
    go.set()
    tests._encoders["h264"].result(10)
    able = tests.get("h264")
    assert able.encoders == ("nvenc",) and able.credentials == "" and "driver" in (able.broken or {})["amf"]
    assert len(asked) == 4 and tests.get("h264") == able and len(asked) == 4
    assert tests.get("ffv1").broken is not None and len(asked) == 4


def test_words_about_hardware_encoders() -> None:
    able = Abilities({"nvenc": "no card.", "amf": "no card."}, "")
    assert encoder_words(Abilities(), "software") == TESTING
    assert encoder_words(able, "software") == "Tested on this computer and left out: NVENC, AMF. no card."
    assert encoder_words(able, "nvenc") == "It does not work here: no card."
    assert encoder_words(able, "qsv").startswith("Tested") and encoder_words(Abilities({}, ""), "qsv") == ""


def test_a_certificate_is_tried_and_its_fault_told(tmp_path: Path) -> None:
    certificates = pytest.importorskip("tests.storage.certificates", reason="cryptography is not installed")
    pytest.importorskip("c2pa", reason="the optional package c2pa-python is not installed")
    chain, key = certificates.make_chain(tmp_path)
    signers = Signers()
    said, fault = signers.look(ExportSettings(sign=True, certificate=chain, private_key=key))
    assert said.startswith("Signs as ") and fault == ""
    said, fault = signers.look(ExportSettings(sign=True, certificate=key, private_key=key))
    assert said == "" and "private key" in fault
    said, fault = signers.look(ExportSettings(sign=True, certificate=tmp_path, private_key=key))
    assert said == "" and fault.endswith("is not a file.")
    assert signers.look(ExportSettings(certificate=tmp_path / "gone", private_key=key)) == ("", "")
