"""What every instrumentor has: on and off, idempotently, as ``opentelemetry-instrument`` expects it."""

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
    """Base of the instrumentors. All objects of one class are the same switch.

    ``include`` and ``exclude`` are name patterns (``fnmatch``, such as ``"myapp.*"``) or lists of them; what they
    are matched against is said by each instrumentor.
    """

    libraries: ClassVar[tuple[str, ...]] = ()
    """What is patched; the instrumentor does nothing when none of them is installed, and says so at debug level."""

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
        """Begin to observe. A second call changes nothing and says so.

        ``skip_dep_check`` and ``raise_exception_on_conflict`` are what ``opentelemetry-instrument`` passes; a
        missing library is never an error. Other ``options`` are those of the instrumentor; unknown ones raise
        ``TypeError``.
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
        """Observe no longer: patches come off, gauges go to 0, counters stay. Idempotent."""
        cls = type(self)
        if cls._on:
            cls._on = False
            self._uninstrument()

    @classmethod
    def available(cls) -> bool:
        """Is the library, or one of them, installed?"""
        return any(importlib.util.find_spec(library) is not None for library in cls.libraries)

    @property
    def is_instrumented_by_opentelemetry(self) -> bool:
        """Is it on? (The name is OpenTelemetry's.)"""
        return self._on

    def instrumentation_dependencies(self) -> Collection[str]:
        """Requirements of the library that is patched."""
        return self.requires

    @abc.abstractmethod
    def _instrument(self, selection: Selection) -> None:
        """Put the patches on."""

    @abc.abstractmethod
    def _uninstrument(self) -> None:
        """Take them off."""
