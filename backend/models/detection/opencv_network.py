"""Networks that OpenCV runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from backend.models.detection.base import Image
from backend.models.detection.torch_weights import damaged

Make = Callable[[Image], Any]
"""make((n,) uint8 bytes of the file) -> the network."""


class NetworkOfThread:
    """One network of a file for every thread that asks: OpenCV's cannot be shared.

    Args:
        file: the weights.
        make: builds the network.

    Raises:
        DamagedFileError: the file is no such network.
    """

    def __init__(self, file: Path, make: Make) -> None:
        self._file = file
        self._make = make
        self._of_thread = threading.local()
        self()

    def __call__(self) -> Any:
        """This thread's network. DamagedFileError when it cannot be built."""
        network = getattr(self._of_thread, "network", None)
        if network is None:
            try:
                network = self._make(np.frombuffer(self._file.read_bytes(), np.uint8))
            except cv2.error as error:
                raise damaged(self._file, error) from error
            self._of_thread.network = network
        return network
