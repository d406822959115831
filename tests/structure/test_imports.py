"""Who may import whom. The rooms of the house stay apart only while this passes."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

ALLOWED: dict[str, set[str]] = {
    "core": set(),
    "environment": set(),
    "storage": {"core"},
    "ops": {"core"},
    "models": {"core", "ops"},
    "training": {"core", "ops", "models", "storage"},
    "devices": {"core", "environment"},
    "pipeline": {"core", "ops", "models", "training", "storage", "devices", "environment"},
    "jobs": {"core", "storage", "devices", "environment"},
    "ui_tabs": {"core", "storage", "jobs", "devices", "environment"},
    "cli": {"core", "storage", "jobs", "devices", "environment"},
    "__main__": {"cli"},
}
CHILDREN = {"backend/jobs/worker.py", "backend/jobs/warm_child.py", "backend/jobs/face_child.py"}
"""Entry points of child processes: the only files of jobs that may import the stages."""

FORBIDDEN_PACKAGES = {
    "core": {"torch", "cv2", "gradio", "scipy", "av"},
    "ops": {"torch", "gradio", "av"},
    "models": {"gradio"},
    "training": {"gradio"},
    "pipeline": {"gradio"},
    "storage": {"gradio"},
    "ui_tabs": {"torch", "safetensors"},
    "jobs": {"gradio"},
}


def sources() -> list[Path]:
    """Every source file of the program."""
    return sorted([*ROOT.glob("backend/**/*.py"), *ROOT.glob("ui_tabs/**/*.py"), ROOT / "webui.py"])


def room_of(dotted: str) -> str | None:
    """Room of a dotted module name, None for other people's packages."""
    parts = dotted.split(".")
    if parts[0] == "ui_tabs":
        return "ui_tabs"
    if parts[0] != "backend":
        return None
    return parts[1] if len(parts) > 1 else ""


def imported(path: Path) -> Iterator[tuple[str, int]]:
    """(module, line) of every import statement, at any depth."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} relative import"
            names = [f"{node.module}.{a.name}" for a in node.names] if node.module == "backend" else [node.module or ""]
            for name in names:
                yield name, node.lineno


def dotted_name(path: Path) -> str:
    """Module name of a source file."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_only_allowed_rooms_are_imported(path: Path) -> None:
    """Left may import right, never back."""
    here = room_of(dotted_name(path))
    if here is None or here in ("", "__init__"):
        return
    allowed = set(ALLOWED[here]) | {here}
    if str(path.relative_to(ROOT)) in CHILDREN:
        allowed |= {"pipeline"}
    for module, line in imported(path):
        room = room_of(module)
        if room in (None, "", "__version__"):
            assert module.split(".")[0] not in FORBIDDEN_PACKAGES.get(here, set()), f"{path}:{line} imports {module}"
            continue
        assert room in allowed, f"{path}:{line} {here} imports {module}"


def test_page_is_built_without_torch() -> None:
    """The web process never holds torch."""
    code = (
        "import sys, tempfile, webui\n"
        "from pathlib import Path\n"
        "webui.build(Path(tempfile.mkdtemp()))\n"
        "bad = [m for m in ('torch', 'face_alignment', 'safetensors.torch') if m in sys.modules]\n"
        "assert not bad, bad\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-3000:]
