"""What came of a job, in one sentence, for every stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from backend.jobs.store import JobRecord
from ui_tabs.header import size
from ui_tabs.labels import SIDES, choice_label
from ui_tabs.steps import count
from ui_tabs.tool_words import result_sentence


def result_words(record: JobRecord) -> str:
    """The result of a finished job in one sentence; "" when it has none."""
    result = record.status.result
    if not result:
        return ""
    known = _RESULTS.get(record.request.stage)
    try:
        if known is not None:
            return known(result)
    except (KeyError, TypeError, ValueError):
        pass
    told = result_sentence(record.request.stage, result)
    if told:
        return told.removesuffix(".")
    plain = [(key, value) for key, value in result.items() if isinstance(value, (str, int, float)) and value != ""]
    return ", ".join(f"{key.replace('_', ' ')} {_figure(value)}" for key, value in plain[:6])


def _figure(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _create(result: Mapping[str, Any]) -> str:
    clips = [
        f"{SIDES[side].lower()} {facts['width']} x {facts['height']}, {count(int(facts['frames']), 'frame')}"
        for side, facts in result.items()
        if side in SIDES
    ]
    return "; ".join(clips)


def _extract_frames(result: Mapping[str, Any]) -> str:
    text = f"{count(int(result['frames']), 'frame')}, {float(result['seconds']):.1f} s of the clip"
    damaged = int(result.get("damaged_frames", 0))
    return f"{text}, {damaged:,} damaged" if damaged else text


def _edit_clip(result: Mapping[str, Any]) -> str:
    if result.get("restored"):
        return f"{result['restored']} is back"
    size = f"{int(result['width'])} x {int(result['height'])}"
    return f"{size}, {float(result['seconds']):.2f} s from {float(result['starts_at_s']):.2f} s on"


def _denoise_frames(result: Mapping[str, Any]) -> str:
    if "undone" in result:
        return f"{count(int(result['undone']), 'frame')} as they were"
    text = count(int(result["frames"]), "frame")
    if result.get("noise_before") is not None:
        text += f", noise {float(result['noise_before']):.1f} before, {float(result['noise_after']):.1f} after"
    unreadable = int(result.get("unreadable", 0))
    return f"{text}, {unreadable:,} unreadable" if unreadable else text


def _persons(result: Mapping[str, Any]) -> str:
    text = f"{count(int(result['persons']), 'person')} in {count(int(result['faces']), 'face')}"
    trashed = int(result.get("trashed", 0))
    return f"{text}, {trashed:,} faces of others to the trash" if trashed else text


def _extract_faces(result: Mapping[str, Any]) -> str:
    text = f"{count(int(result['faces']), 'face')} in {count(int(result['frames']), 'frame')}"
    lost = len(result.get("without_face", ()))
    text += f", {lost:,} without a face" if lost else ""
    tools = [str(result[name]) for name in ("detector", "landmarker") if result.get(name)]
    return f"{text} ({' and '.join(tools)})" if tools else text


def _sort(result: Mapping[str, Any]) -> str:
    text = f"{count(int(result['faces']), 'face')}, {choice_label('by', result['by'])}"
    left = int(result.get("left_out", 0))
    if left:
        text += f", {left:,} {'to the trash' if result.get('trashed') else 'put last'}"
    return f"{text}, files renamed" if result.get("renamed") else text


def _train(result: Mapping[str, Any]) -> str:
    words = [f"iteration {int(result['iteration']):,}"]
    losses = [result.get("src_loss"), result.get("dst_loss")]
    if all(isinstance(loss, (int, float)) for loss in losses):
        words.append(f"loss {losses[0]:.4f} src, {losses[1]:.4f} dst")
    scores = [result.get("ssim_src"), result.get("ssim_dst")]
    if all(isinstance(score, (int, float)) for score in scores):
        words.append(f"SSIM {scores[0]:.3f} src, {scores[1]:.3f} dst")
    return ", ".join(words)


def _merge(result: Mapping[str, Any]) -> str:
    text = f"{count(int(result['merged']), 'frame')} merged"
    further = (
        ("reused", "up to date already"),
        ("passed_through", "passed through without a face"),
        ("left", "faces left as they are"),
        ("empty_masks", "faces with an empty mask"),
        ("seamless_failed", "faces laid over where seamless was not possible"),
    )
    for name, words in further:
        number = int(result.get(name, 0))
        text += f", {number:,} {words}" if number else ""
    return f"{text}, model at iteration {int(result['iteration']):,}{_flicker(result.get('flicker') or {})}"


def _flicker(found: Mapping[str, Any]) -> str:
    """How much masks and colours trembled before and after they were steadied; "" where nothing was measured."""
    parts = [
        f"{words} {float(found[f'{name}_before']):.2f}{unit} before, {float(found[f'{name}_after']):.2f}{unit} after"
        for name, words, unit in (("mask", "flicker of the masks", " %"), ("color", "of the colours", ""))
        if found.get(f"{name}_before") is not None and found.get(f"{name}_after") is not None
    ]
    return f"; {'; '.join(parts)}" if parts else ""


def _export(result: Mapping[str, Any]) -> str:
    sound = "no sound" if result.get("audio") == "none" else "with sound"
    mark = "marked as AI-manipulated" if result.get("mark") else "without a mark"
    frames = count(int(result["frames"]), "frame")
    text = f"{result['video']}, {frames}, {float(result['seconds']):.1f} s, {sound}, {mark}"
    text += ", signed" if result.get("signed") else ""
    return f"{text}, {size(float(result['bytes']))}" if result.get("bytes") else text


def _render(result: Mapping[str, Any]) -> str:
    passed = int(result.get("passed_through", 0))
    text = f"{_export(result)}, model at iteration {int(result['iteration']):,}"
    text += f", {passed:,} frames passed through without a face" if passed else ""
    return text + _flicker(result.get("flicker") or {})


def _verify(result: Mapping[str, Any]) -> str:
    return f"{result['file']}: {str(result['verdict']).removesuffix('.')}"


def _summary(result: Mapping[str, Any]) -> str:
    millions = int(result["parameters"]) / 1e6
    return f"{millions:.1f} million parameters, needs {float(result['need_mb']):,.0f} MB"


def _evaluate(result: Mapping[str, Any]) -> str:
    figures = [
        f"{row['name']} {', '.join(f'{row[side]:.3g} {side}' for side in ('src', 'dst', 'swap') if row.get(side))}"
        for row in result["rows"][:3]
    ]
    return "; ".join(figures)


def _model(result: Mapping[str, Any]) -> str:
    done = {
        "copy": "copied to",
        "export": "written as one file:",
        "dfm": "written as DFM:",
        "dfl": "written for DeepFaceLab:",
        "import": "read in as",
        "restore": "restored:",
    }
    what = done.get(str(result["action"]), "backed up:")
    place = result.get("path") or result["model"]
    return f"{what} {place}, {int(result['bytes']) / 1e6:,.0f} MB" if result.get("bytes") else f"{what} {place}"


_RESULTS: Mapping[str, Callable[[Mapping[str, Any]], str]] = MappingProxyType(
    {
        "create": _create,
        "sample": lambda result: (
            f"two clips of {float(result['seconds']):.1f} s, {count(int(result['frames']), 'frame')} each"
        ),
        "edit-clip": _edit_clip,
        "extract-frames": _extract_frames,
        "denoise-frames": _denoise_frames,
        "extract-faces": _extract_faces,
        "persons": _persons,
        "sort": _sort,
        "train": _train,
        "summary": _summary,
        "evaluate": _evaluate,
        "timelapse": lambda result: f"{result['video']}, {count(int(result['frames']), 'preview')}",
        "model": _model,
        "merge": _merge,
        "export": _export,
        "render": _render,
        "verify": _verify,
    }
)
