"""The base class of all instrumentors: ``instrument()`` and ``uninstrument()`` as OpenTelemetry expects them."""

from __future__ import annotations

import abc
import importlib.util
import logging
from collections.abc import Collection
from typing import ClassVar

from ._observe.naming import Selection

__all__ = ["Instrumentor"]

logger = logging.getLogger("glasspool")


class Instrumentor(abc.ABC):
    """Base of the instrumentors. All objects of one class share one state: on or off.

    ``include`` and ``exclude`` are name patterns (``fnmatch``, such as ``"myapp.*"``) or lists of them. Each
    instrumentor documents the names that they are matched against.
    """

    libraries: ClassVar[tuple[str, ...]] = ()
    """The libraries that are patched. If none of them is installed, the instrumentor logs that at debug level and does
    nothing."""

    requires: ClassVar[tuple[str, ...]] = ()
    """Requirements as OpenTelemetry's ``instrumentation_dependencies`` gives them."""

    _on: ClassVar[bool] = False

    def instrument(
        self,
        *,
        include: object = None,
        exclude: object = None,
        skip_dep_check: bool = False,
        raise_exception_on_conflict: bool = False,
        **options: object,
    ) -> None:
        """Begin to observe. A second call changes nothing and logs that. A missing library is not an error.

        :param include: patterns of the names to observe; default all.
        :param exclude: patterns of the names to leave out; default none.
        :param skip_dep_check: ignored; ``opentelemetry-instrument`` passes it.
        :param raise_exception_on_conflict: ignored; ``opentelemetry-instrument`` passes it.
        :param options: the options of the instrumentor; see its class.
        :raises TypeError: an option is unknown, or has the wrong type.
        :raises ValueError: an option has an invalid value.
        """
        cls = type(self)
        if cls._on:
            logger.info("%s is already on", cls.__name__)
            return
        if not cls.available():
            missing = " or ".join(cls.libraries)
            # opentelemetry-instrument turns on every instrumentor there is: most programs have not all libraries.
            logger.debug("%s: %s is not installed, so there is nothing to observe", cls.__name__, missing)
            return
        self._instrument(Selection(include, exclude), **options)
        cls._on = True

    def uninstrument(self, **_options: object) -> None:
        """Stop observing: patches are removed, gauges go to 0, counters stay. Idempotent."""
        cls = type(self)
        if cls._on:
            cls._on = False
            self._uninstrument()

    @classmethod
    def available(cls) -> bool:
        """Whether the library, or one of the libraries, is installed."""
        return any(importlib.util.find_spec(library) is not None for library in cls.libraries)

    @property
    def is_instrumented_by_opentelemetry(self) -> bool:
        """Whether it is on. (The name is OpenTelemetry's.)"""
        return self._on

    def instrumentation_dependencies(self) -> Collection[str]:
        """The supported versions of the library that is patched, as requirements."""
        return self.requires

    @abc.abstractmethod
    def _instrument(self, selection: Selection) -> None:
        """Put the patches on."""

    @abc.abstractmethod
    def _uninstrument(self) -> None:
        """Take them off."""
