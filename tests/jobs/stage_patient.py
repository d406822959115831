"""Works until it is asked to stop, for at most a minute; counts the wishes to save and tells changed settings."""

from __future__ import annotations

import time


def run(settings, ctx):
    saves = 0
    for step in range(1200):
        ctx.check_stop()
        if ctx.take_request("save"):
            saves += 1
            ctx.milestone("saved", f"saved {saves}", step)
        changes = ctx.take_changes()
        if changes:
            ctx.milestone("settings", "changed", step, settings=changes)
        ctx.progress(step, 1200, "steps", 20.0, "working")
        time.sleep(0.05)
    return {"saves": saves}
