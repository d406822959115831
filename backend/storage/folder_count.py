"""Counting the files of folders that are looked at again and again."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

NameTest = Callable[[str], bool]

SETTLED_NS = 2_000_000_000
"""A folder changed less than this ago may change again without showing it in its time stamp."""


@dataclass(frozen=True)
class _Counted:
    stamp: int
    settled: bool
    stems: frozenset[str]
    files: int


class FolderCounts:
    """Numbers of files by folder, counted again only when the folder's modification time says so. Thread-safe."""

    def __init__(self) -> None:
        self._known: dict[tuple[Path, NameTest], _Counted] = {}

    def count(self, folder: Path, wanted: NameTest) -> int:
        """Files directly in a folder whose name passes; 0 when there is no folder."""
        return self._counted(folder, wanted).files

    def stems(self, folder: Path, wanted: NameTest) -> frozenset[str]:
        """Their names without suffix."""
        return self._counted(folder, wanted).stems

    def _counted(self, folder: Path, wanted: NameTest) -> _Counted:
        try:
            stamp = folder.stat().st_mtime_ns
            known = self._known.get((folder, wanted))
            if known is None or not known.settled or known.stamp != stamp:
                known = _count(folder, wanted, stamp)
                self._known[folder, wanted] = known
            return known
        except (FileNotFoundError, NotADirectoryError):
            return _Counted(0, False, frozenset(), 0)


def _count(folder: Path, wanted: NameTest, stamp: int) -> _Counted:
    with os.scandir(folder) as entries:
        names = [e.name for e in entries if wanted(e.name) and e.is_file()]
    settled = abs(time.time_ns() - stamp) > SETTLED_NS
    return _Counted(stamp, settled, frozenset(name.rpartition(".")[0] for name in names), len(names))
