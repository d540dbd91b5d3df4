"""The services of one executor, from their start to the closing, which ends them after the tasks, the latest first."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from typing import Any

import anyio

from glasspool._foreign.guarded import interrupt_in, text
from glasspool.errors import NestedWait

from .backend import to_the_end
from .engine import Engine
from .functions import is_async
from .restarts import Restarts
from .service_reporter import ServiceReporter, name_of
from .supervision import Supervision, current_service
from .task_context import context_without_span

__all__ = ["Services"]


class Services:
    """The services of one executor."""

    def __init__(self, engine: Engine) -> None:
        self.host = engine.host
        self.backend = engine.backend
        self._engine = engine
        self._reporter = ServiceReporter(engine.reporter)
        # All mutable state; touched on the event loop only.
        self.running: dict[Supervision, None] = {}  # those that have not ended, in the order of their starts
        self._left: list[Supervision] = []  # have ended by an error when they were stopped
        self._closed: anyio.Event | None = None  # set when all have ended for good; None: there was none

    async def start(
        self, fn: Callable[..., Awaitable[object]], args: tuple[Any, ...], name: str | None, restarts: Restarts
    ) -> Supervision:
        """Start a service and wait until it is ready.

        :raises ExecutorClosed: the executor is closing, or has closed meanwhile.
        :raises BaseException: what the service has raised instead of becoming ready.
        """
        self.host.check_caller("start_service")
        _check(fn, args)
        name = name_of(fn, args) if name is None else name
        self._check_open(name)
        service = Supervision(self, name, fn, args, context_without_span(), restarts)
        if self._closed is None:
            self._closed = anyio.Event()
            begun = anyio.Event()
            self._engine.closing.when_begun[begun.set] = None
            self._engine.nursery.start_watch(lambda: self._end_all(begun))
        self.running[service] = None
        self._reporter.starts(service)
        service.start()
        await service.until_ready()
        if not service.was_ready:
            self._check_open(name)
            raise RuntimeError(f"service {name!r} was cancelled before it was ready")
        return service

    def check_outside(self, what: str) -> None:
        """Refuse a service that would wait for the end of its executor's services.

        :raises NestedWait: the caller is one of them.
        """
        service = current_service()
        if service is not None and service in self.running:
            raise NestedWait(
                f"{what} on executor {self.host.name!r} waits for its services, and is called by one, "
                f"{service.name!r}: have the block's own code call it, for instance when it waits for an event"
            )

    async def until_ended(self) -> None:
        """Wait until all services have ended, which they do when the executor closes and has no tasks left."""
        if self._closed is not None:
            await self._closed.wait()

    def pass_on(self) -> None:
        """Have the block raise the errors by which services have ended, and which nobody has received."""
        for service in self._left:
            error, service.error = service.error, None
            if error is None:
                continue
            interrupt = interrupt_in(error)
            if interrupt is not None:
                self._engine.failures.crashed(interrupt)
            else:
                self._engine.failures.failed(error, "services")
        self._left.clear()

    async def _end_all(self, begun: anyio.Event) -> None:
        # Shielded: whatever the nursery is cancelled by, the tasks end first.
        await to_the_end(begun.wait)
        await to_the_end(self._engine.idle.wait)
        while self.running:
            last = next(reversed(self.running))
            last.ask()
            await last.until_ended()
        if self._closed is not None:
            self._closed.set()

    def _check_open(self, name: str) -> None:
        closing = self._engine.closing
        if closing.reason is not None:
            state = "is closed" if closing.closed else "is closing"
            raise closing.refusal(
                f"service {name!r} cannot start: executor {self.host.name!r} {state}; start it before leaving the block"
            )

    # -- what the services tell ----------------------------------------------------------------------------------------

    def run(self, body: Callable[[], Coroutine[Any, Any, None]], context: Context, name: str) -> None:
        """See supervision.Owner, as for all that follows."""
        self._engine.nursery.start_body(body, context, name)

    def moved(self, service: Supervision, before: str) -> None:
        self._reporter.moved(service, before)

    def ready(self, service: Supervision, seconds: float) -> None:
        self._reporter.ready(service, seconds)

    def restarts(self, service: Supervision, error: BaseException | None, wait: float) -> None:
        self._reporter.restarts(service, error, wait)

    def went(self, service: Supervision) -> None:
        self._reporter.went(service)

    def failed(self, service: Supervision, error: BaseException) -> None:
        self._reporter.failed(service, error)
        self._engine.failures.failed(error, "services")
        if not self._engine.closing.closed:
            self._engine.abort("sibling_failure", cancel_nursery=True)

    def crashed(self, error: BaseException) -> None:
        self._engine.crashed(error)

    def ended(self, service: Supervision) -> None:
        del self.running[service]
        if service.was_ready and service.error is not None:
            self._reporter.left(service, service.error)
            self._left.append(service)


def _check(fn: Callable[..., Any], args: tuple[Any, ...]) -> None:
    if not is_async(fn, "start_service"):
        raise TypeError(
            f"fn must be a coroutine function, not {text(fn)}: a service runs on the event loop; write "
            f"`async def serve(..., *, task_status): ...`"
        )
    try:
        found = inspect.signature(fn)
    except Exception:  # noqa: BLE001 - it does not say what it takes: the call will show
        return
    try:
        found.bind(*args, task_status=None)
    except TypeError as error:
        raise TypeError(
            f"fn cannot be called with these arguments and task_status=, got {text(fn)} ({error}): write "
            f"`async def serve(..., *, task_status): ...` and call task_status.started() when it is ready"
        ) from None
