"""Fail if a public object has no docstring: ``python tools/check_docstrings.py``, a part of ``make site``.

Public are the modules that docs/reference/ shows (their ``::: name`` lines), the names in their ``__all__``, and of
classes among these the methods, properties and nested classes without a leading underscore.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import griffe

ROOT = Path(__file__).resolve().parent.parent


def shown() -> list[str]:
    """The names that the reference shows."""
    pages = sorted((ROOT / "docs" / "reference").glob("*.md"))
    return [name for page in pages for name in re.findall(r"^::: ([\w.]+)", page.read_text("utf-8"), re.MULTILINE)]


def without_docstring(thing: griffe.Object | griffe.Alias) -> Iterator[str]:
    """The paths of ``thing`` and its public members that have no docstring."""
    if thing.is_alias:
        try:
            thing = thing.final_target  # type: ignore[union-attr]  # is_alias says so
        except griffe.AliasResolutionError:
            return  # another library's: it is documented there
    if thing.is_attribute and "property" not in thing.labels:
        return  # fields and constants: their class or module explains them
    if not thing.has_docstring and not any(overload.docstring for overload in getattr(thing, "overloads", None) or ()):
        yield thing.path
    if thing.is_module or thing.is_class:
        wanted = thing.exports if thing.is_module else None
        members = thing.members if thing.is_module else thing.all_members  # what a class inherits is shown, too
        for name, member in members.items():
            if name in wanted if wanted is not None else not name.startswith("_"):
                yield from without_docstring(member)


def main() -> int:
    """Returns 1 when a docstring is missing."""
    loader = griffe.GriffeLoader(search_paths=[ROOT / "src", ROOT / "instrumentation"])
    for package in ("glasspool", "glasspool_instrumentation"):
        loader.load(package)
    loader.resolve_aliases(implicit=True, external=False)
    names = shown()
    missing = sorted({path for name in names for path in without_docstring(loader.modules_collection[name])})
    for path in missing:
        print(f"no docstring: {path}", file=sys.stderr)
    print(f"{len(names)} entries of the reference, {len(missing)} docstrings missing")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
