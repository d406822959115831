"""What this computer can do for an export, found out beside the page: hardware encoders, signing, certificates."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from backend.core.errors import LookalikeError
from backend.core.settings import ExportSettings
from backend.storage.content_credentials import available, check_certificate
from backend.storage.hardware_encoders import working
from backend.storage.video_formats import HARDWARE, HARDWARE_CODECS
from ui_tabs.export_form import Abilities
from ui_tabs.gallery import modified

KEPT = 16


class AbilityTests:
    """Tests of this computer, each run once and only when it is asked for. Shared by all browser tabs.

    Args:
        encoder_fault: (hardware encoder, codec) -> why it does not work, "" when it does. Slow; called in a thread.
        credentials: why nothing can be signed, "" when it can. Called in the same thread.
    """

    def __init__(
        self, encoder_fault: Callable[[str, str], str] = working, credentials: Callable[[], str] = available
    ) -> None:
        self._encoder_fault = encoder_fault
        self._credentials = credentials
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="export-abilities")
        self._lock = threading.Lock()
        self._signing: Future[str] | None = None
        self._encoders: dict[str, Future[dict[str, str]]] = {}

    def get(self, codec: str) -> Abilities:
        """What is known by now for a codec; the first call starts the tests."""
        with self._lock:
            if self._signing is None:
                self._signing = self._pool.submit(self._credentials)
            if codec in HARDWARE_CODECS and codec not in self._encoders:
                self._encoders[codec] = self._pool.submit(self._broken, codec)
            signing, broken = self._signing, self._encoders.get(codec)
        credentials = signing.result() if signing.done() else None
        if broken is None:
            return Abilities(dict.fromkeys(HARDWARE, ""), credentials)
        return Abilities(broken.result() if broken.done() else None, credentials)

    def _broken(self, codec: str) -> dict[str, str]:
        faults = {name: self._fault(name, codec) for name in HARDWARE}
        return {name: fault for name, fault in faults.items() if fault}

    def _fault(self, name: str, codec: str) -> str:
        try:
            return self._encoder_fault(name, codec)
        except Exception as error:  # noqa: BLE001 - a test that fails in any way says that the encoder cannot be used
            return f"{name} could not be tested: {error}."


class Signers:
    """Certificates that were tried, kept until one of their files changes. Shared by all browser tabs."""

    def __init__(self) -> None:
        self._known: dict[Any, tuple[str, str]] = {}

    def look(self, settings: ExportSettings) -> tuple[str, str]:
        """(who signs, what is wrong); both "" when nothing is signed."""
        certificate, key = settings.certificate, settings.private_key
        if not settings.sign or certificate is None or key is None:
            return "", ""
        stamp = (certificate, _modified(certificate), key, _modified(key))
        if stamp not in self._known:
            if len(self._known) >= KEPT:
                self._known.clear()
            self._known[stamp] = _tried(certificate, key)
        return self._known[stamp]


def _tried(certificate: Path, key: Path) -> tuple[str, str]:
    odd = next((path for path in (certificate, key) if path.exists() and not path.is_file()), None)
    if odd is not None:
        return "", f"{odd} is not a file."
    try:
        facts = check_certificate(certificate, key)
    except (LookalikeError, OSError) as error:
        return "", str(error)
    return f"Signs as {facts.subject}; the certificate is valid until {facts.expires[:10]}.", ""


def _modified(path: Path) -> int:
    try:
        return modified(path)
    except OSError:
        return 0
