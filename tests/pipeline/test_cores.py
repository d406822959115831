from __future__ import annotations

import cv2
import pytest
import torch

from backend.pipeline.cores import one_thread_each


def test_libraries_keep_to_one_thread_and_get_theirs_back() -> None:
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(2)
    cv2.setNumThreads(2)
    try:
        with pytest.raises(KeyError), one_thread_each():
            assert (torch.get_num_threads(), cv2.getNumThreads()) == (1, 1)
            raise KeyError
        assert (torch.get_num_threads(), cv2.getNumThreads()) == (2, 2)
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])
