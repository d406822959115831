"""Expected errors. Each says what happened and where, and how to fix it; only these are shown without a traceback."""

from __future__ import annotations

from pathlib import Path


class LookalikeError(Exception):
    """An expected failure with a sentence for the user.

    Args:
        what: what happened and where, one sentence.
        fix: how to get on, one sentence; may be empty when nothing can be done.
    """

    def __init__(self, what: str, fix: str = "") -> None:
        super().__init__(what, fix)
        self.what = what
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.what} {self.fix}".strip()


class BadInputError(LookalikeError):
    """Something the user gave cannot be used: a file, a path, a setting, a project name."""


class DamagedFileError(LookalikeError):
    """A file of ours or of another program fails its checks and was not read."""


class ModelBusyError(LookalikeError):
    """Another process is writing this model folder."""


class DiskFullError(LookalikeError):
    """Less free disk than the job needs."""


class MemoryShortError(LookalikeError):
    """The device has too little memory for these settings."""


class DeviceError(LookalikeError):
    """The wanted device is not there or does not answer."""


class WeightsMissingError(LookalikeError):
    """Weights of a detector or landmarker are not present and could not be downloaded.

    Args:
        name: what needs them, for example "s3fd".
        url: where the file can be had.
        path: where the file has to be put.
        reason: why the download failed.
    """

    def __init__(self, name: str, url: str, path: Path, reason: str = "") -> None:
        self.name = name
        self.url = url
        self.path = path
        because = f" ({reason})" if reason else ""
        super().__init__(
            f"The weights of '{name}' are not here and could not be downloaded{because}.",
            f"Download {url} and save it as {path.name} in the folder {path.parent}.",
        )


class StopRequested(Exception):  # noqa: N818 - it is a request, not an error
    """Raised inside a stage to leave it after a stop request; the job ends as 'stopped'."""
