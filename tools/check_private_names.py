"""No module reads or writes another's underscore names, and none imports them: ``python tools/check_private_names.py``.

A name with one underscore belongs to the module that defines it. What other libraries keep private is touched in
``_core/backend`` and ``_foreign`` only; a test that cannot do without says why, in a comment that begins ``private:``.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOOKED_AT = ("src", "instrumentation", "tests", "tools", "benchmarks", "dashboards", "examples")
MAY = ("src/glasspool/_core/backend", "src/glasspool/_foreign")
"""Where the private names of other libraries are touched."""

OF_THE_LANGUAGE = {"_asdict", "_exit", "_fields", "_make", "_replace"}
"""Documented names that begin with an underscore: of named tuples, and of ``os``."""


def main() -> int:
    """Print every access, and return 1 if there is one."""
    found = [line for folder in LOOKED_AT for path in sorted((ROOT / folder).rglob("*.py")) for line in accesses(path)]
    print("\n".join(found) or "no module touches another's underscore names")
    return int(bool(found))


def accesses(path: Path, root: Path = ROOT) -> Iterator[str]:
    """The accesses of one file to names that it does not define."""
    shown = path.relative_to(root).as_posix()
    if shown.startswith(MAY) or "node_modules" in shown or "/build/" in shown:
        return
    text = path.read_text(encoding="utf-8")
    lines, tree = text.splitlines(), ast.parse(text)
    own = set(_defined(tree))
    for node in ast.walk(tree):
        for name in _touched(node):
            if name not in own and "# private:" not in lines[node.lineno - 1]:  # type: ignore[attr-defined]
                yield f"{shown}:{node.lineno}: {name} is private to another module"  # type: ignore[attr-defined]


def _touched(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Attribute) and not _is_self(node.value):
        names = [node.attr]
    elif isinstance(node, ast.ImportFrom) and node.module is not None:
        names = [alias.name for alias in node.names if not _is_module(node, alias.name)]
    else:
        return []
    return [name for name in names if _is_private(name)]


def _is_module(node: ast.ImportFrom, name: str) -> bool:
    """Is it a module that is imported? Which of those may be is said by the import contracts."""
    package = (node.module or "").replace(".", "/")
    return any((ROOT / base / package / f"{name}.py").exists() or (ROOT / base / package / name).is_dir()
               for base in ("src", "instrumentation", "."))  # fmt: skip


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in OF_THE_LANGUAGE


def _is_self(value: ast.expr) -> bool:
    return isinstance(value, ast.Name) and value.id in ("self", "cls")


def _defined(tree: ast.Module) -> Iterator[str]:
    """The names that a module defines: its own, and those of its classes' and their objects' attributes."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and _is_self(node.value):
            yield node.attr
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Assign) and "__slots__" in [getattr(target, "id", "") for target in node.targets]:
            constants = [each for each in ast.walk(node.value) if isinstance(each, ast.Constant)]
            yield from (each.value for each in constants if isinstance(each.value, str))


if __name__ == "__main__":
    sys.exit(main())
