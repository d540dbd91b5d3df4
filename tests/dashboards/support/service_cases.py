"""Situations of services, and the alerts that must fire in each."""

from __future__ import annotations

from collections.abc import Iterator

from glasspool.telemetry import catalog as c
from glasspool.telemetry.catalog import Key

from .curves import ABSENT, NONE, A, B, C, Case, Curve, M, Series, const, ramp, steps

__all__ = ["service_cases"]


def states(name: str, instance: str = A, **counts: Curve) -> tuple[Series, ...]:
    """How many services of this name are in each state."""
    return tuple(
        Series(
            c.SERVICE_STATE, counts.get(state, NONE), {Key.SERVICE_NAME: name, Key.SERVICE_STATE: state},
            instance=instance,
        )
        for state in c.SERVICE_STATES
    )  # fmt: skip


def restarts(crashes: Curve, ends: Curve = NONE, name: str = "consume", instance: str = A) -> tuple[Series, ...]:
    """Restarts of a service after crashes and after normal ends."""
    label = {Key.SERVICE_NAME: name}
    return (
        Series(c.SERVICE_RESTARTS, ends, label, instance=instance),
        Series(c.SERVICE_RESTARTS, crashes, {**label, Key.ERROR_TYPE: "ValueError"}, instance=instance),
    )


def service_cases() -> Iterator[Case]:
    """All of them."""
    yield from _gone()
    yield from _restarting()


def _gone() -> Iterator[Case]:
    name = "GlasspoolServiceGone"
    one, since = const(1), steps((0, 0), (5 * M, 1))
    until = steps((0, 1), (5 * M, 0))
    yield Case("a service runs", states("consume", running=one), 20 * M, {})
    yield Case("a service has failed", states("consume", running=until, failed=since), 6 * M, {name: (A,)})
    yield Case("a service had failed before it was first seen", states("consume", failed=one), 2 * M, {name: (A,)})
    again = states("consume", running=steps((0, 0), (9 * M, 1)), failed=steps((0, 1), (9 * M, 0)))
    yield Case("a service has failed and runs again", again, 11 * M, {})
    yield Case("a service was stopped", states("consume", running=until, stopped=since), 30 * M, {})
    yield Case("an executor with a service was closed", states("consume", running=until), 30 * M, {})
    yield Case("a service starts for four minutes", states("consume", running=until, starting=since), 9 * M, {})
    yield Case("a service starts for six", states("consume", running=until, starting=since), 12 * M, {name: (A,)})
    new = states("consume", starting=steps((2 * M, 1)))
    yield Case("a new service starts for four minutes", new, 6 * M, {})
    yield Case("a new service starts for seven", new, 9 * M, {name: (A,)})
    on, off = [], []
    for minute in range(30):
        on.append((minute * M, minute % 2))
        off.append((minute * M, 1 - minute % 2))
    never = states("consume", starting=steps(*on), backoff=steps(*off))
    yield Case("a service starts and crashes before it is ready", never, 20 * M, {name: (A,)})
    yield Case("a service crashes every other minute", states("consume", running=steps(*on), backoff=steps(*off)),
               20 * M, {})  # fmt: skip
    moment = states("consume", running=steps((0, 0), (9 * M, 1), (10 * M, 0)),
                    starting=steps((0, 1), (9 * M, 0), (10 * M, 1)))  # fmt: skip
    yield Case("a service ran for a minute, three minutes ago", moment, 13 * M, {})
    yield Case("one of two services", (*states("consume", running=one), *states("sync", failed=one)), 6 * M,
               {name: (A,)})  # fmt: skip
    yield Case("in one instance of three",
               (*states("consume", running=one), *states("consume", B, failed=one), *states("consume", C, running=one)),
               6 * M, {name: (B,)})  # fmt: skip


def _restarting() -> Iterator[Case]:
    name, end = "GlasspoolServiceRestarting", 20 * M
    yield Case("three crashes in a quarter of an hour", restarts(steps((0, 0), (8 * M, 3))), end, {name: (A,)})
    yield Case("two crashes", restarts(steps((0, 0), (8 * M, 2))), end, {})
    yield Case("three first crashes", restarts(steps((8 * M, 3))), end, {name: (A,)})
    yield Case("three crashes, half an hour ago", restarts(steps((0, 0), (3 * M, 3))), 33 * M, {})
    yield Case("a crash every two minutes", restarts(ramp(1 / 120)), end, {name: (A,)})
    yield Case("a crash every ten minutes", restarts(ramp(1 / 600)), 40 * M, {})
    yield Case("many normal ends", restarts(ABSENT, ramp(1)), end, {})
    types = (
        *restarts(steps((0, 0), (8 * M, 2))),
        Series(c.SERVICE_RESTARTS, steps((10 * M, 1)), {Key.SERVICE_NAME: "consume", Key.ERROR_TYPE: "KeyError"}),
    )
    yield Case("crashes of several types", types, end, {name: (A,)})
    two = (*restarts(steps((0, 0), (8 * M, 2))), *restarts(steps((0, 0), (8 * M, 2)), name="sync"))
    yield Case("two crashes of each of two services", two, end, {})
    yield Case("in one instance of two",
               (*restarts(NONE), *restarts(steps((0, 0), (8 * M, 5)), instance=B)), end, {name: (B,)})  # fmt: skip
