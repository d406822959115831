"""Which hardware encoders work on this computer: found out by encoding a few frames in a short-lived child.

FFmpeg lists encoders of drivers and cards that are not there, so the list says nothing; a driver that hangs must not
hang the program, so the trial runs elsewhere.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from backend.storage.video_formats import CODECS, HARDWARE, HARDWARE_CODECS, VideoFormat, hardware_encoder

TIMEOUT_S = 20.0
SIZE = 256
"""Sides of the trial's frames: some encoders refuse very small ones."""

FRAMES = 5
_LONGEST_REASON = 300


def working(hardware: str, codec: str) -> str:
    """Why a hardware encoder cannot be used here; "" when a trial succeeded. Asked once, then known to this process.

    Args:
        hardware: "nvenc", "qsv", "amf" or "videotoolbox".
        codec: "h264", "h265" or "av1".
    """
    return _tried(hardware, codec)


def first_working(codec: str) -> str:
    """The first kind of hardware encoder that works here for a codec, "" when none does."""
    return next((hardware for hardware in HARDWARE if not working(hardware, codec)), "")


def trial(hardware: str, codec: str, timeout_s: float = TIMEOUT_S, command: Sequence[str] = ()) -> str:
    """Encode a few frames in a child process; "" when that worked, else why not.

    Args:
        hardware, codec: as for working().
        timeout_s: how long the child may take.
        command: what to run instead of ``python -m backend.storage.hardware_encoders HARDWARE CODEC``.
    """
    name = hardware_encoder(hardware, codec)
    if not name:
        return f"There is no {hardware} encoder for {codec}."
    if not _is_listed(name):
        return f"This build of FFmpeg has no {name}."
    command = list(command) or [sys.executable, "-m", "backend.storage.hardware_encoders", hardware, codec]
    try:
        done = subprocess.run(
            command,
            check=False,
            cwd=Path(__file__).resolve().parents[2],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired:
        return f"{name} did not answer within {timeout_s:.0f} s."
    except OSError as error:
        return f"The trial of {name} could not be started: {error}."
    if done.returncode == 0:
        return ""
    return f"{name} does not work here: {_reason(done.stderr, name).rstrip('.')}."


@lru_cache(maxsize=len(HARDWARE) * len(CODECS))
def _tried(hardware: str, codec: str) -> str:
    return trial(hardware, codec)


def _reason(said: str, name: str) -> str:
    """The first thing the encoder itself complained of, else the last thing that was said."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    own = [line.partition("] ")[2] for line in lines if line.startswith(f"[{name} ")]
    return (own[0] if own else lines[-1] if lines else "it gave no reason.")[:_LONGEST_REASON]


def _is_listed(name: str) -> bool:
    import av

    try:
        av.Codec(name, "w")
    except av.codec.codec.UnknownCodecError:
        return False
    return True


def _encode(hardware: str, codec: str) -> None:
    """The trial itself: a few gray frames into a file that is read back."""
    from fractions import Fraction

    import av
    import numpy as np

    from backend.storage.video import frame_times
    from backend.storage.video_writer import Picture, VideoWriter, frame_clock

    av.logging.restore_default_callback()
    clock = frame_clock([number / 25 for number in range(FRAMES)], FRAMES / 25, Fraction(25))
    picture = Picture(SIZE, SIZE, kind=VideoFormat("mp4", codec, hardware=hardware))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trial.mp4"
        with VideoWriter(path, picture, clock) as writer:
            for number in range(FRAMES):
                writer.write(np.full((SIZE, SIZE, 3), 40 * number, np.uint8))
        if len(frame_times(path)) != FRAMES:
            raise RuntimeError("frames are missing in the file it made")


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in HARDWARE or sys.argv[2] not in HARDWARE_CODECS:
        raise SystemExit("which encoder: HARDWARE CODEC")
    try:
        _encode(sys.argv[1], sys.argv[2])
    except Exception as error:  # whatever it is, it is the answer
        raise SystemExit(str(error)) from error
