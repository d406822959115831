"""Reading back which marks a file carries: metadata, digital source type, signed credentials, sidecar, visible label.

Files come from anywhere. Nothing in them raises: what is damaged or foreign becomes a sentence in the report.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from backend.core.errors import BadInputError, LookalikeError
from backend.core.provenance import SYNTHETIC_SOURCE_TYPES
from backend.storage.content_credentials import read_credentials
from backend.storage.file_kind import file_kind
from backend.storage.mark_words import verdict
from backend.storage.png_mark import XMP_KEYWORD, jpeg_texts, png_texts
from backend.storage.results import Report, parse_sidecar, sha256_of, sidecar_of
from backend.storage.video_mark import gif_comment, read_xmp
from backend.storage.xmp import source_type_of

MAX_PICTURE_BYTES = 64 << 20
"""So much of a picture is searched for texts; marks stand at its beginning."""

_DEMUXERS: Mapping[str, str] = MappingProxyType(
    {"mp4": "mov", "mov": "mov", "mkv": "matroska", "webm": "matroska", "avi": "avi"}
)
"""Named outright: a file that only pretends to be a video could else be taken for a playlist that opens others."""

_MAX_TAGS, _MAX_TEXT = 24, 500


@dataclass(frozen=True)
class SidecarReport:
    """What lies beside the file.

    Attributes:
        name: file name of the sidecar, "" when there is none.
        matches: whether the file is byte for byte the one the sidecar was written for; None when that is not known.
        ai_manipulated: what it says about that.
        mark: whether the export marked the file itself.
        project, model, model_class, software, created: as written there.
        iteration: of the model.
        consent: whether a consent statement is written there.
        label: text of the visible label, "" when none was drawn.
    """

    name: str = ""
    matches: bool | None = None
    ai_manipulated: bool = False
    mark: bool = False
    project: str = ""
    model: str = ""
    model_class: str = ""
    iteration: int = 0
    software: str = ""
    created: str = ""
    consent: bool = False
    label: str = ""


@dataclass(frozen=True)
class MarksReport:
    """What was found.

    Attributes:
        file: its name.
        kind: mp4, mov, mkv, webm, avi, gif, png, jpg, or "" for others.
        bytes, sha256: size and checksum.
        tags: readable metadata, key -> text.
        tagged: whether these call the file AI-manipulated.
        source_type: name of the IPTC digital source type, "" when there is none.
        credentials: see backend.storage.content_credentials.read_credentials().
        sidecar: what lies beside it.
        notes: sentences about what could not be read.
        ai_manipulated: whether any mark that can be taken for the file's own says so.
        verdict: all this in a sentence or two.
    """

    file: str
    kind: str
    bytes: int
    sha256: str
    tags: dict[str, str] = field(default_factory=dict)
    tagged: bool = False
    source_type: str = ""
    credentials: dict[str, Any] = field(default_factory=dict)
    sidecar: SidecarReport = field(default_factory=SidecarReport)
    notes: tuple[str, ...] = ()
    ai_manipulated: bool = False
    verdict: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON."""
        return {**asdict(self), "notes": list(self.notes)}


def read_marks(path: Path, report: Report | None = None) -> MarksReport:
    """Look at one file.

    Args:
        path: a video or picture, anywhere.
        report: ``report(done, total)`` bytes while the checksum is computed; may raise to stop it.

    Raises:
        BadInputError: there is no such file, or it cannot be read.
    """
    try:
        if not path.is_file():
            what = "is a folder" if path.is_dir() else "is not there"
            raise BadInputError(f"The file {path.name or path} {what}.", "Choose a video or a picture.")
        digest, kind, size = sha256_of(path, report), file_kind(path), path.stat().st_size
    except OSError as error:
        raise BadInputError(
            f"The file {path.name} cannot be read: {error.strerror}.", "Check its permissions."
        ) from None
    notes: list[str] = []
    tags, packet = _texts(path, kind, notes)
    source_type = source_type_of(packet) or _tagged_type(tags)
    found = {
        "tags": tags,
        "tagged": any("AI-manipulated" in text for text in tags.values()),
        "source_type": source_type[:_MAX_TEXT],
        "credentials": _credentials(path, notes),
        "sidecar": _sidecar(path, kind, digest, notes),
    }
    if not size:
        notes.append("The file is empty.")
    elif not kind:
        notes.append("It is none of the kinds of file that can be searched: mp4, mov, mkv, webm, avi, gif, png, jpg.")
    ai, words = verdict(found)
    return MarksReport(path.name, kind, size, digest, **found, notes=tuple(notes), ai_manipulated=ai, verdict=words)


def _texts(path: Path, kind: str, notes: list[str]) -> tuple[dict[str, str], str]:
    """(tags, XMP packet) of the file."""
    try:
        if kind in ("png", "jpg"):
            with path.open("rb") as file:
                data = file.read(MAX_PICTURE_BYTES)
            texts = png_texts(data) if kind == "png" else jpeg_texts(data)
            packet = texts.pop(XMP_KEYWORD.decode(), "")
            return _short(texts), packet
        if kind == "gif":
            comment = gif_comment(path)
            return _short({"comment": comment} if comment else {}), read_xmp(path)
        if kind:
            return _short(_container_tags(path, kind, notes)), read_xmp(path)
    except LookalikeError as error:
        notes.append(f"Its metadata cannot be read: {error.what}")
    except OSError:
        notes.append("It cannot be read to its end.")
    return {}, ""


def _container_tags(path: Path, kind: str, notes: list[str]) -> dict[str, str]:
    """Metadata of a video; empty with a note when it cannot be opened."""
    import av

    options = {"protocol_whitelist": "file"}
    try:
        with av.open(str(path), format=_DEMUXERS[kind], options=options, metadata_errors="replace") as container:
            return {str(name).lower(): str(text) for name, text in container.metadata.items()}
    except (av.FFmpegError, ValueError):
        notes.append(f"It begins like {kind}, but cannot be opened: it is damaged or cut off.")
        return {}


def _short(texts: Mapping[str, str]) -> dict[str, str]:
    """At most so many tags and letters; what says most comes first."""
    first = ("comment", "description", "digital_source_type")
    names = sorted(texts, key=lambda name: (name.lower() not in first, name))
    return {name[:80]: texts[name][:_MAX_TEXT] for name in names[:_MAX_TAGS]}


def _tagged_type(tags: Mapping[str, str]) -> str:
    """The digital source type named in a tag; "" when there is none."""
    own = tags.get("digital_source_type", "").rsplit("/", 1)[-1]
    words = " ".join(tags.values())
    return own or next((name for name in SYNTHETIC_SOURCE_TYPES if f"digitalsourcetype/{name}" in words), "")


def _credentials(path: Path, notes: list[str]) -> dict[str, Any]:
    answer = read_credentials(path)
    if answer["state"] == "unreadable":
        notes.append(answer["sentence"])
    return answer


def _sidecar(path: Path, kind: str, digest: str, notes: list[str]) -> SidecarReport:
    place = sidecar_of(path, of_picture=kind in ("png", "jpg"))
    if place is None:
        return SidecarReport()
    told = parse_sidecar(place)
    if "digital_source_type" not in told:
        notes.append(f"The file {place.name} beside it is no sidecar, or it is damaged.")
        return SidecarReport()
    iteration = told.get("iteration")
    return SidecarReport(
        name=place.name,
        matches=_matches(told, path.name, digest),
        ai_manipulated=told.get("ai_manipulated") is True,
        mark=told.get("mark") is True,
        **{name: _text(told, name) for name in ("project", "model", "model_class", "software", "created")},
        iteration=iteration if isinstance(iteration, int) else 0,
        consent=bool(_text(told, "consent").strip()),
        label=_text(told, "label"),
    )


def _matches(told: Mapping[str, Any], name: str, digest: str) -> bool | None:
    wanted = _dict(told.get("pictures")).get(name, told.get("sha256"))
    return wanted.lower() == digest if isinstance(wanted, str) and wanted else None


def _text(source: Mapping[str, Any], name: str) -> str:
    value = source.get(name)
    return value[:_MAX_TEXT] if isinstance(value, str) else ""


def _dict(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
