"""Fetching a file: checked before it counts, and continued where a connection broke."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.core.errors import DamagedFileError, WeightsMissingError
from backend.storage.atomic import move_over, read_json, require_free_disk, write_json
from backend.storage.file_lock import try_lock

_TIMEOUT_S = 10.0
_BLOCK = 1 << 18


@dataclass(frozen=True)
class WeightFile:
    """One file that has to be downloaded.

    Attributes:
        file: name in the weights folder.
        url: where it can be had.
        sha256: checksum, empty where none is known.
    """

    file: str
    url: str
    sha256: str = ""


def download(name: str, wanted: WeightFile, path: Path) -> None:
    """Fetch a file, check it, and only then put it in its place.

    What has come of it stays in a file beside it (``.part``) when the connection breaks and the server can tell whether
    its file is still the same; the next call asks for the rest alone.

    Args:
        name: what needs it, for the message.
        wanted: where it is.
        path: where it goes; the folder is created.

    Raises:
        WeightsMissingError: it could not be fetched, or is not what was wanted.
        DiskFullError: the disk has no room for it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _fetch(name, wanted, path)
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise WeightsMissingError(name, wanted.url, path, " ".join(str(reason).split())) from error


def file_sha256(path: Path) -> str:
    """Checksum of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_absent(error: WeightsMissingError) -> bool:
    """Whether the server answered that it has no such file, instead of not answering at all."""
    return isinstance(error.__cause__, urllib.error.HTTPError) and error.__cause__.code in (404, 410)


class _Part:
    """What has come of a file, and the mark by which the server knows whether its file is still the same."""

    def __init__(self, path: Path, url: str) -> None:
        self.path = path.with_name(f"{path.name}.part")
        self.url = url
        self._mark_path = path.with_name(f"{path.name}.part.json")

    def begun(self) -> tuple[int, str]:
        """(bytes, mark) of a beginning that can be continued, (0, "") without one."""
        try:
            known = read_json(self._mark_path)
            if known["url"] == self.url and known["mark"]:
                return self.path.stat().st_size, str(known["mark"])
        except (OSError, DamagedFileError, KeyError, TypeError):
            pass
        return 0, ""

    def begin(self, mark: str) -> None:
        """Remember what a file that begins anew is marked with."""
        self.drop()
        if mark:
            write_json(self._mark_path, {"url": self.url, "mark": mark})

    def drop(self) -> None:
        """Remove both files."""
        for path in (self.path, self._mark_path):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def give_up(self) -> None:
        """Keep what can be continued, remove the rest."""
        if not self.begun()[0]:
            self.drop()


def _fetch(name: str, wanted: WeightFile, path: Path) -> None:
    part = _Part(path, wanted.url)
    try:
        with _open(part) as answer:
            have = _continued_at(answer, part.begun()[0])
            if not have:
                part.begin(_mark(answer.headers))
            length = answer.headers.get("Content-Length")
            require_free_disk(path, int(length or 0))
            got = _receive(answer, part.path, have)
        if length is not None and got != int(length):
            raise WeightsMissingError(name, wanted.url, path, "the connection broke")
    except BaseException:
        part.give_up()
        raise
    if wanted.sha256 and file_sha256(part.path) != wanted.sha256:
        part.drop()
        raise WeightsMissingError(name, wanted.url, path, "what was downloaded has a wrong checksum")
    move_over(part.path, path)
    part.drop()


def _open(part: _Part) -> Any:
    """The server's answer: the rest of the file if it can be had, else all of it."""
    have, mark = part.begun()
    if not have:
        return urllib.request.urlopen(part.url, timeout=_TIMEOUT_S)
    rest = urllib.request.Request(part.url, headers={"Range": f"bytes={have}-", "If-Range": mark})
    try:
        return urllib.request.urlopen(rest, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
    part.drop()
    return urllib.request.urlopen(part.url, timeout=_TIMEOUT_S)


def _continued_at(answer: Any, have: int) -> int:
    """How many bytes the answer leaves out because they are here; 0 when it is the whole file."""
    if getattr(answer, "status", http.client.OK) != http.client.PARTIAL_CONTENT:
        return 0
    if not (answer.headers.get("Content-Range") or "").startswith(f"bytes {have}-"):
        raise http.client.HTTPException("the server sent another part than it was asked for")
    return have


def _mark(headers: Mapping[str, str]) -> str:
    """The server's mark of this version of the file, "" without one that allows to continue."""
    tag = headers.get("ETag") or ""
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified") or ""


def _receive(answer: Any, path: Path, have: int) -> int:
    """Write the answer behind the bytes that are here; the number of bytes that came."""
    got = 0
    with path.open("ab") as file:
        if not try_lock(file.fileno()):
            raise OSError("another process is fetching it")
        file.truncate(have)
        while block := answer.read(_BLOCK):
            file.write(block)
            got += len(block)
        file.flush()
        os.fsync(file.fileno())
    return got
