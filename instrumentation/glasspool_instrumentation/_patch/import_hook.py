"""Runs callbacks when the application imports a module, without importing it.

A finder at the front of ``sys.meta_path`` lets the other finders find the module, and runs the callbacks after the
module was executed. It is installed only while a callback waits for an import.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from glasspool._foreign.starting import is_initializing

__all__ = ["cancel", "when_imported"]

logger = logging.getLogger("glasspool")

Callback = Callable[[ModuleType], None]

_waiting: dict[str, list[Callback]] = {}


def when_imported(name: str, callback: Callback) -> None:
    """Call ``callback`` with the module ``name``: now if it is imported already, else when it has been.

    If another thread is importing it, that is waited for: the caller must hold no lock that ``callback`` takes. And the
    callback may be called twice.
    """
    _waiting.setdefault(name, []).append(callback)  # before looking: it may be imported at any moment
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    module = _made(name)
    if module is not None:
        cancel(name, callback)
        callback(module)


def cancel(name: str, callback: Callback) -> None:
    """Stop waiting for this import. Idempotent."""
    callbacks = _waiting.get(name, [])
    with contextlib.suppress(ValueError):
        callbacks.remove(callback)
    if not callbacks:
        _waiting.pop(name, None)
    _remove_finder()


def _made(name: str) -> ModuleType | None:
    """The complete module, if it has been imported or another thread is importing it."""
    if is_initializing(name):
        try:
            importlib.import_module(name)  # it waits for the other thread
        except Exception:  # noqa: BLE001 - raised in the other thread too, where the import is wanted
            return None
    return sys.modules.get(name)


class _Finder(MetaPathFinder):
    """Finds nothing itself: it puts a loader that tells us around the one that the others find.

    Who asks for a spec does not import the module, or not now, or fails to: what waits goes on waiting until then.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in _waiting:
            return None
        spec = _found_by_others(fullname, path, target)
        if spec is not None and hasattr(spec.loader, "exec_module"):
            spec.loader = _Loader(spec.loader)
        return spec


def _found_by_others(name: str, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
    for finder in list(sys.meta_path):
        find = None if finder is _finder else getattr(finder, "find_spec", None)
        spec: ModuleSpec | None = find(name, path, target) if find is not None else None
        if spec is not None:
            return spec
    return None


class _Loader(Loader):
    """The module's own loader, and then the callbacks."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        made: ModuleType | None = self._loader.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        callbacks = _waiting.pop(module.__name__, ())
        _remove_finder()
        for callback in callbacks:
            try:
                callback(module)
            except Exception:
                # The import itself has worked: the application must not fail because it cannot be observed.
                logger.exception("%s could not be instrumented", module.__name__)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


_finder = _Finder()


def _remove_finder() -> None:
    """Unless something waits for an import."""
    if not _waiting:
        with contextlib.suppress(ValueError):  # another thread has done it
            sys.meta_path.remove(_finder)
