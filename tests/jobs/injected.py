"""A worker whose stages are the small ones of this folder: ``python -m tests.jobs.injected JOB_DIR``."""

from __future__ import annotations

import sys

from backend.jobs.worker import main

STAGES = {
    "sort": "tests.jobs.stage_patient",
    "create": "tests.jobs.stage_quick",
    "export": "tests.jobs.stage_failing",
    "sample": "tests.jobs.stage_stubborn",
    "extract-frames": "tests.jobs.stage_quick",
    "train": "tests.jobs.stage_patient",
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], STAGES))
