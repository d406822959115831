"""``python -m backend STAGE --project NAME ...``: every job without the page."""

from __future__ import annotations

import sys

from backend.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
