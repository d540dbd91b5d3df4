"""A library that is imported after the instrumentation is observed, even if it was looked up before."""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import pkgutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from glasspool_instrumentation._patch.import_hook import cancel, when_imported

from .work import LIMIT

_numbers = itertools.count()


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a module that was not imported. Its import fails while its file ``broken`` exists."""
    name = f"library_{next(_numbers)}"
    text = f"from pathlib import Path\nassert not Path({str(tmp_path / 'broken')!r}).exists()\nvalue = 1\n"
    (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    before = list(sys.meta_path)
    yield name
    sys.modules.pop(name, None)
    assert sys.meta_path == before


def spec_of(name: str) -> Any:
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.loader is not None
    return spec


def find(name: str) -> None:
    spec_of(name)


def find_twice_in_threads(name: str) -> None:
    threads = [threading.Thread(target=find, args=(name,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)


def list_modules(name: str) -> None:
    assert name in {module.name for module in pkgutil.iter_modules()}


def make_and_drop(name: str) -> None:
    assert not hasattr(importlib.util.module_from_spec(spec_of(name)), "value")


def read_source(name: str) -> None:
    assert "value = 1" in spec_of(name).loader.get_source(name)


BEFORE: dict[str, Callable[[str], None]] = {
    "nothing": lambda name: None,
    "find_spec": find,
    "find_spec in threads": find_twice_in_threads,
    "iter_modules": list_modules,
    "module_from_spec": make_and_drop,
    "get_source": read_source,
}


@pytest.mark.parametrize("before", BEFORE)
def test_looking_for_a_module_is_not_importing_it(library: str, before: str) -> None:
    told: list[ModuleType] = []
    when_imported(library, told.append)
    BEFORE[before](library)
    assert told == []
    module = importlib.import_module(library)
    assert told == [module]
    assert module.value == 1
    assert type(module.__loader__).__name__ == "SourceFileLoader"
    assert module.__spec__ is not None
    assert module.__spec__.loader is module.__loader__
    assert importlib.reload(module) is module
    assert told == [module]


def test_an_import_that_fails_may_be_tried_again(library: str, tmp_path: Path) -> None:
    told: list[ModuleType] = []
    when_imported(library, told.append)
    (tmp_path / "broken").touch()
    with pytest.raises(AssertionError):
        importlib.import_module(library)
    assert told == []
    (tmp_path / "broken").unlink()
    assert told == [importlib.import_module(library)] == [sys.modules[library]]


def test_a_lazy_module_is_observed_when_it_is_used(library: str) -> None:
    told: list[ModuleType] = []
    when_imported(library, told.append)
    spec = spec_of(library)
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = sys.modules[library] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert told == []
    assert module.value == 1
    assert told == [module]


def test_what_no_longer_waits_is_not_told(library: str) -> None:
    told: list[ModuleType] = []
    other: list[ModuleType] = []
    when_imported(library, told.append)
    when_imported(library, other.append)
    find(library)
    cancel(library, told.append)
    module = importlib.import_module(library)
    assert (told, other) == ([], [module])


def test_who_found_it_before_may_still_use_what_was_found(library: str) -> None:
    told: list[ModuleType] = []
    when_imported(library, told.append)
    spec = spec_of(library)
    cancel(library, told.append)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (module.value, told) == (1, [])


def test_a_module_that_is_not_there_is_not_there() -> None:
    told: list[ModuleType] = []
    when_imported("no_such_library", told.append)
    assert importlib.util.find_spec("no_such_library") is None
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("no_such_library")
    cancel("no_such_library", told.append)
