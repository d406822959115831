"""Size and form of the source. A budget that hurts a reader is raised here, with a reason, not dodged."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.structure.test_imports import ROOT, sources

FILE_LINES = 400
FUNCTION_LINES = 60
PARAMETERS = 6
SHARE_OF_SHORT_FUNCTIONS = 0.90
SHORT = 36

LONGER_FILES: dict[str, str] = {}
LONGER_FUNCTIONS: dict[str, str] = {}
MORE_PARAMETERS: dict[str, str] = {
    "backend/core/settings/base.py:setting": "the facts of one setting are read together at its declaration",
}
ENVIRONMENT_READERS = {"backend/environment.py"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def tree_of(path: Path) -> ast.Module:
    """Parsed source."""
    return ast.parse(path.read_text(encoding="utf-8"))


def functions(path: Path) -> list[Function]:
    """Every function and method of a file."""
    return [n for n in ast.walk(tree_of(path)) if isinstance(n, Function)]


def name_of(path: Path) -> str:
    """Path as written in the exception tables."""
    return path.relative_to(ROOT).as_posix()


def length(node: Function) -> int:
    """Lines of a function, decorators left out."""
    return (node.end_lineno or node.lineno) - node.lineno + 1


each_file = pytest.mark.parametrize("path", sources(), ids=name_of)


@each_file
def test_file_is_short(path: Path) -> None:
    """A file is one thought."""
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= FILE_LINES or name_of(path) in LONGER_FILES, f"{name_of(path)} has {lines} lines"


@each_file
def test_functions_are_short_and_take_few_parameters(path: Path) -> None:
    """Long functions and long signatures hide what they do."""
    for node in functions(path):
        key = f"{name_of(path)}:{node.name}"
        assert length(node) <= FUNCTION_LINES or key in LONGER_FUNCTIONS, f"{key} has {length(node)} lines"
        arguments = [
            a for a in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs] if a.arg not in ("self", "cls")
        ]
        assert len(arguments) <= PARAMETERS or key in MORE_PARAMETERS, f"{key} takes {len(arguments)} parameters"


@each_file
def test_everything_is_typed_and_documented(path: Path) -> None:
    """Types on every parameter and return; a docstring on every public function, class and module."""
    tree = tree_of(path)
    assert ast.get_docstring(tree) or not tree.body, f"{name_of(path)} has no docstring"
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{name_of(path)}:{node.name} has no docstring"
        if not isinstance(node, Function):
            continue
        key = f"{name_of(path)}:{node.name}"
        assert node.returns is not None, f"{key} has no return type"
        for a in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]:
            assert a.annotation is not None or a.arg in ("self", "cls"), f"{key}({a.arg}) has no type"


@each_file
def test_no_hidden_state(path: Path) -> None:
    """No global, no bare except, no star import, no mutable module state, one reader of the environment."""
    tree = tree_of(path)
    for node in ast.walk(tree):
        assert not isinstance(node, ast.Global), f"{name_of(path)}:{node.lineno} global"
        assert not (isinstance(node, ast.ExceptHandler) and node.type is None), (
            f"{name_of(path)}:{node.lineno} bare except"
        )
        assert not (isinstance(node, ast.ImportFrom) and any(a.name == "*" for a in node.names)), name_of(path)
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv", "putenv"):
            assert name_of(path) in ENVIRONMENT_READERS, f"{name_of(path)}:{node.lineno} reads the environment"
    for node in tree.body:
        value = getattr(node, "value", None) if isinstance(node, ast.Assign | ast.AnnAssign) else None
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        names = [t.id for t in targets if isinstance(t, ast.Name)]
        if isinstance(value, ast.List | ast.Set | ast.ListComp | ast.SetComp | ast.DictComp):
            assert names == ["__all__"], f"{name_of(path)}:{node.lineno} mutable module state"
        if isinstance(value, ast.Dict):
            assert all(n.isupper() or n.startswith("_") for n in names), (
                f"{name_of(path)}:{node.lineno} mutable module state"
            )


def test_most_functions_are_very_short() -> None:
    """Nine of ten fit a glance."""
    lengths = sorted(length(f) for path in sources() for f in functions(path))
    short = sum(n <= SHORT for n in lengths)
    assert short >= SHARE_OF_SHORT_FUNCTIONS * len(lengths)
