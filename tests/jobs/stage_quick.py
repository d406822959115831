"""Ends at once with a result that has to be made plain."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np


def run(settings, ctx):
    sys.stdout.write("printed by the stage\n")
    ctx.log("a sentence")
    ctx.progress(3, 3, "things", 1.5, "over")
    return {"path": Path("x/y"), "array": np.arange(3), "bad": float("nan"), "count": np.int64(4)}
