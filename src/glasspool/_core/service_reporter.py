"""The telemetry of an executor's services: their states, restarts and times to readiness, and what is logged."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from glasspool._foreign.guarded import log
from glasspool.telemetry.recording.call_names import function_name
from glasspool.telemetry.recording.error_types import error_type_of
from glasspool.telemetry.recording.service_record import ServiceRecord

from .reporter import Reporter
from .supervision import Supervision

__all__ = ["ServiceReporter", "name_of"]

logger = logging.getLogger("glasspool")


def name_of(fn: Callable[..., Any], args: tuple[Any, ...]) -> str:
    """What a service is called unless ``name=`` says otherwise: the function's qualified name."""
    return function_name(fn, args)


class ServiceReporter:
    """Reports what happens to the services of one executor to telemetry, and logs what is not as it should be."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._record = ServiceRecord(reporter.record)

    def starts(self, service: Supervision) -> None:
        """It starts for the first time."""
        self._reporter.fail_fast()  # from now on tasks may be cancelled because of a service
        self._record.starts(service.name)

    def moved(self, service: Supervision, before: str) -> None:
        """It has changed its state."""
        given_up = service.ended and not service.was_ready  # the caller of start_service has the error
        self._record.moved(service.name, before, "" if given_up else service.state)

    def ready(self, service: Supervision, seconds: float) -> None:
        """It is ready, so many seconds after the call of its function."""
        self._record.ready(service.name, seconds)

    def restarts(self, service: Supervision, error: BaseException | None, wait: float) -> None:
        """It has ended, by an error or normally, and will be started again after so many seconds."""
        self._record.restarts(service.name, "" if error is None else self._type_of(error))
        how = "has ended" if error is None else "has crashed"
        self._log(logger.warning, service, f"{how} and starts again in {wait:g} s", error)

    def went(self, service: Supervision) -> None:
        """It was cancelled by nobody who has told the executor."""
        self._log(logger.warning, service, "was cancelled from outside and does not start again")

    def failed(self, service: Supervision, error: BaseException) -> None:
        """It has ended too often."""
        self._log(logger.error, service, "has failed for good: it ends the executor's block", error)

    def left(self, service: Supervision, error: BaseException) -> None:
        """It has raised an error when it was stopped."""
        self._log(logger.error, service, "has raised an error when it was stopped", error)

    def _type_of(self, error: BaseException) -> str:
        try:
            return error_type_of(error)
        except BaseException as broken:  # noqa: BLE001 - an error of the user's class: the service goes on
            self._reporter.broken(broken)
            return ""

    def _log(
        self, say: Callable[..., None], service: Supervision, what: str, error: BaseException | None = None
    ) -> None:
        log(say, "service %r of executor %r %s", service.name, self._reporter.name, what, exc_info=error)
