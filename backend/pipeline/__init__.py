"""One stage per file. Each has ``run(settings, ctx) -> dict``."""
