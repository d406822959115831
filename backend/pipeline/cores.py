"""Several frames at once, one core each."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import cv2


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Keep OpenCV, and torch where it is in use, from starting threads of their own: frames run side by side already.

    What holds for the whole process is put back at the end.
    """
    torch = sys.modules.get("torch")
    torch_threads, cv_threads = torch.get_num_threads() if torch else 0, cv2.getNumThreads()
    cv2.setNumThreads(1)
    if torch:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(cv_threads)
        if torch:
            torch.set_num_threads(torch_threads)
