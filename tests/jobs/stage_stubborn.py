"""Never looks at the wish to stop."""

from __future__ import annotations

import time


def run(settings, ctx):
    time.sleep(120)
    return {}
