"""The code stays small enough to be read in an afternoon: lines, files, import levels, and who knows whom."""

import ast
from functools import cache
from pathlib import Path

import pytest

from tinynet_core.study.presets import project_root

ROOT = project_root()
CORE, BOOK = ROOT / "tinynet_core", ROOT / "book" / "tinynet_book"


def modules(package: Path) -> dict[str, Path]:
    """Every module of a package by its full name."""
    names = {path: ".".join(path.relative_to(package.parent).with_suffix("").parts) for path in package.rglob("*.py")}
    return {name.removesuffix(".__init__"): path for path, name in names.items()}


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def imported(path: Path, everywhere: bool = False) -> set[str]:
    """What a module imports when it is loaded, not what type checkers see; ``everywhere``: in its functions too."""
    found, waiting = set(), [*ast.parse(path.read_text(encoding="utf-8")).body]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) and not everywhere:
            waiting += node.orelse
        elif everywhere or not isinstance(node, ast.FunctionDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)
    return found


@pytest.mark.parametrize(
    ("package", "most_lines", "most_files"),
    [
        pytest.param(CORE, 9_000, 60, marks=pytest.mark.xfail(strict=True, reason="the core is still being cut")),
        pytest.param(BOOK, 4_500, 40),
    ],
    ids=["core", "book"],
)
def test_a_package_has_so_many_lines_and_files_at_most(package, most_lines, most_files):
    paths = modules(package).values()
    assert len(paths) <= most_files
    assert sum(map(lines, paths)) <= most_lines


def test_no_module_of_the_core_is_longer_than_400_lines():
    assert [path.name for path in modules(CORE).values() if lines(path) > 400] == []


def test_the_core_has_at_most_12_levels_of_imports_and_no_circle():
    paths, under_way = modules(CORE), []

    @cache
    def level(name: str) -> int:
        assert name not in under_way, f"a circle: {' -> '.join([*under_way, name])}"
        under_way.append(name)
        used = {other if other in paths else other.rpartition(".")[0] for other in imported(paths[name])}
        found = 1 + max((level(other) for other in used if other in paths), default=0)
        under_way.pop()
        return found

    assert max(map(level, paths)) <= 12


def test_the_core_does_not_know_the_book():
    for path in modules(CORE).values():
        assert not any(name.partition(".")[0] == "tinynet_book" for name in imported(path, everywhere=True)), path
