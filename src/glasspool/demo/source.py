"""The input: the source files of the Python standard library, which come with Python."""

from __future__ import annotations

import ast
import random
import sysconfig
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Parsed", "parse_file", "source_files"]

_NOT_OURS = {"site-packages", "dist-packages", "__pycache__"}

# CPython (3.11 at least) counts the depth of a tree in a place that all threads share, and now and then one that parses
# beside others fails by "SystemError: AST constructor recursion depth mismatch". Reading and walking go on in parallel.
_one_parser = threading.Lock()


@dataclass(frozen=True)
class Parsed:
    """The result for one file, which is delivered."""

    path: str
    bytes: int
    functions: int
    classes: int
    imports: int


def source_files(root: Path | None = None) -> list[Path]:
    """Every source file below ``root`` (default: the standard library), shuffled, but always in the same order.

    :raises FileNotFoundError: there is none, as where the library is a zip file.
    """
    root = Path(sysconfig.get_path("stdlib")) if root is None else root
    found = sorted(path for path in root.rglob("*.py") if _NOT_OURS.isdisjoint(path.relative_to(root).parts))
    if not found:
        raise FileNotFoundError(f"no Python source files below {root}: the demo needs a standard library in files")
    random.Random(len(found)).shuffle(found)  # noqa: S311 - so that large, small and broken files take turns
    return found


def parse_file(path: Path) -> Parsed:
    """Read and parse one file. Runs in a thread. Files that are broken on purpose raise ``SyntaxError``."""
    text = path.read_bytes()
    with _one_parser:
        tree = ast.parse(text, filename=str(path))
    nodes = Counter(type(node) for node in ast.walk(tree))
    return Parsed(
        str(path),
        len(text),
        nodes[ast.FunctionDef] + nodes[ast.AsyncFunctionDef],
        nodes[ast.ClassDef],
        nodes[ast.Import] + nodes[ast.ImportFrom],
    )
