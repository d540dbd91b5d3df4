"""The public view of a service: Service, its state (ServiceState), and the functions that can be one.

``_core/supervision.py`` keeps the state itself; a ``Service`` is a view of it.
"""

from __future__ import annotations

import enum
import sys
from collections.abc import Awaitable
from typing import Any, Protocol

from anyio.abc import TaskStatus

if sys.version_info >= (3, 11):
    from typing import TypeVarTuple, Unpack
else:
    from typing_extensions import TypeVarTuple, Unpack

__all__ = ["Service", "ServiceFunction", "ServiceState"]

Ts = TypeVarTuple("Ts")


class ServiceState(enum.Enum):
    """The state of a service."""

    STARTING = "starting"
    """Its function was called, and it is not ready yet. Next: any other."""
    RUNNING = "running"
    """It has called ``task_status.started()``. Next: BACKOFF, STOPPED, FAILED."""
    BACKOFF = "backoff"
    """It has ended and waits to be started again. Next: STARTING, STOPPED."""
    STOPPED = "stopped"
    """It was stopped or cancelled, or has ended and was not to be started again. It never moves again."""
    FAILED = "failed"
    """It has crashed too often, or before it was ready for the first time. It never moves again."""


class ServiceFunction(Protocol[Unpack[Ts]]):
    """A coroutine function that can be a service: it runs until it is cancelled, and says when it is ready."""

    def __call__(self, *args: Unpack[Ts], task_status: TaskStatus[Any]) -> Awaitable[object]:
        """Run; call ``task_status.started(value)`` once, when ready."""
        ...


class SupervisionView(Protocol):
    """The service, as its handle uses it."""

    @property
    def name(self) -> str:
        """What metrics and messages call it."""
        ...

    @property
    def state(self) -> str:
        """A value of ``ServiceState``."""
        ...

    @property
    def value(self) -> Any:
        """What it has handed over when it was ready the last time."""
        ...

    async def stop(self) -> None:
        """Cancel it and wait for its end."""


class Service:
    """A service of an executor. ``name``, ``state`` and ``value`` may be read from any thread."""

    __slots__ = ("__weakref__", "_service")

    def __init__(self, service: SupervisionView) -> None:
        self._service = service

    @property
    def name(self) -> str:
        """``name=``, else the function's qualified name."""
        return self._service.name

    @property
    def state(self) -> ServiceState:
        """The service's current state."""
        return ServiceState(self._service.state)

    @property
    def value(self) -> Any:
        """The value that it gave to ``task_status.started()`` when it was ready the last time."""
        return self._service.value

    async def stop(self) -> None:
        """Cancel the service and wait until it has ended, its cleanup included, even if the caller is cancelled.

        Idempotent. It does not start again.

        :raises BaseException: what the service has raised when it was cancelled; only one call raises it.
        :raises NestedWait: inside the service itself, or a task that it has submitted; and inside a service whose end
            this one waits for.
        :raises WrongThread: from another thread or event loop.
        """
        await self._service.stop()

    def __repr__(self) -> str:
        return f"<Service {self.name!r} {self._service.state}>"
