"""The check of private names finds what it is to find, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.check_private_names import accesses


@pytest.mark.parametrize(
    ("program", "found"),
    [
        ("import a\na._b", 1),
        ("import a\na.c()._b = 1", 1),
        ("import a\ndel a._b", 1),
        ("from a import _b", 1),
        ("from a import _b as b", 1),
        ("import a\na._b  # private: there is no other way", 0),
        ("class A:\n    def __init__(self, other):\n        self._b = other._b", 0),
        ("class A:\n    __slots__ = ('_b',)\ndef f(a):\n    return a._b", 0),
        ("class A:\n    def f(self):\n        return self._b.c", 0),
        ("from glasspool import _version", 0),
        ("import os\nos._exit(1)\nx._replace(y=1)\nx.__dict__", 0),
    ],
)
def test_accesses(program: str, found: int, tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    path.write_text(program, encoding="utf-8")
    assert len(list(accesses(path, tmp_path))) == found


@pytest.mark.parametrize("folder", ["src/glasspool/_foreign", "src/glasspool/_core/backend"])
def test_where_the_private_names_of_libraries_are_touched(folder: str, tmp_path: Path) -> None:
    path = tmp_path / folder / "parts.py"
    path.parent.mkdir(parents=True)
    path.write_text("import a\na._b", encoding="utf-8")
    assert list(accesses(path, tmp_path)) == []
