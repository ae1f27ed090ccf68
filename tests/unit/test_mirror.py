"""Each module with logic has its unit test in its place, and each unit test its module."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "vconnect"
UNIT = ROOT / "tests" / "unit"

#: Tests that are of no module of Python: of the pages, of the compiled core, and this one.
OF_NO_MODULE = {
    "test_docs.py",
    "test_mirror.py",
    "test_framing.py",  # _framing.pyx
    "wire/test_lane.py",  # _lane.pyx, in the classic dialect …
    "wire/test_lane_native.py",  # … and in the native one
    "wire/test_lane_budgets.py",  # what a peer may cost, in both
    "wire/test_stream.py",  # _stream.pyx
    "wire/test_latency.py",  # _latency.pyx
    "cli/test_docs.py",
    "cli/test_process.py",  # the command as a process of its own
}


def modules() -> Iterator[Path]:
    for file in sorted(SOURCE.rglob("*.py")):
        inside = file.relative_to(SOURCE)
        if file.name not in ("__init__.py", "__main__.py") and "templates" not in inside.parts:
            yield inside


def has_logic(module: Path) -> bool:
    """Tell whether a function or class of the module says more than what it is called."""
    tree = ast.parse((SOURCE / module).read_text())
    return any(has_body(node) for node in tree.body)


def has_body(node: ast.stmt) -> bool:
    """Tell whether there is more to a function or class than docstring, ``pass`` and ``...``."""
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return False
    if isinstance(node, ast.ClassDef) and _is_error(node):
        return any(isinstance(inner, ast.FunctionDef) for inner in node.body)
    return any(
        not isinstance(inner, ast.Pass)
        and not (isinstance(inner, ast.Expr) and isinstance(inner.value, ast.Constant))
        for inner in node.body
    )


def _is_error(node: ast.ClassDef) -> bool:
    return any(isinstance(base, ast.Name) and base.id.endswith("Error") for base in node.bases)


def place_of(module: Path) -> Path:
    return module.with_name(f"test_{module.name}")


def unit_files() -> list[Path]:
    return [file.relative_to(UNIT) for file in sorted(UNIT.rglob("test_*.py"))]


@pytest.mark.parametrize("module", [m for m in modules() if has_logic(m)], ids=str)
def test_a_module_with_logic_has_its_test(module):
    assert (UNIT / place_of(module)).is_file(), f"tests/unit/{place_of(module)} is missing"


@pytest.mark.parametrize("file", [f for f in unit_files() if str(f) not in OF_NO_MODULE], ids=str)
def test_a_test_is_of_a_module_that_exists(file):
    module = file.with_name(file.name.removeprefix("test_"))
    assert (SOURCE / module).is_file(), f"there is no src/vconnect/{module}"


def test_those_that_are_of_no_module_exist():
    assert {str(file) for file in unit_files()} >= OF_NO_MODULE


@pytest.mark.parametrize("file", unit_files(), ids=str)
def test_a_test_file_has_tests(file):
    tree = ast.parse((UNIT / file).read_text())
    functions = (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
    assert any(function.name.startswith("test_") for function in functions)


@pytest.mark.parametrize(
    ("code", "has_one"),
    [
        ("", False),
        ("X = 1\nY = frozenset({X})", False),
        ("from a import b", False),
        ("class AError(Exception):\n    'words'", False),
        ("class BError(AError):\n    'words'\n    code = 'b'", False),
        ("class P:\n    ...", False),
        ("def f():\n    'words'", False),
        ("def f():\n    return 1", True),
        ("async def f():\n    await g()", True),
        ("class S(Struct):\n    x: int", True),
        ("class AError(Exception):\n    def __init__(self):\n        self.x = 1", True),
    ],
)
def test_what_counts_as_logic(code, has_one):
    assert any(has_body(node) for node in ast.parse(code).body) is has_one


FOLDERS = sorted(path.parent for path in SOURCE.glob("*/**/__init__.py"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(SOURCE)))
def test_a_folders_docstring_says_what_each_file_is(folder: Path) -> None:
    told = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""
    files = {path.stem for pattern in ("*.py", "*.pyx") for path in folder.glob(pattern)}
    assert [name for name in sorted(files - {"__init__"}) if f"`{name}`" not in told] == []
