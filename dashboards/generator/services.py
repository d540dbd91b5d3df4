"""The drill-down's row about services: whether they run, how often they crash, how long they take to be ready."""

from __future__ import annotations

from dashboards.generator.chosen import FILTER, WINDOW, per_second
from dashboards.generator.marks import service_states
from dashboards.generator.panels import NO_SERVICES, NONE_SEEN, Panel, Target
from glasspool._monitoring.expressions import bucket, by, events, label, match, quantile, series, top
from glasspool.telemetry.catalog import SERVICE_READY, SERVICE_RESTARTS, SERVICE_STATE, Key

__all__ = ["services"]

_SERVICES = 10
"""The most services in a panel."""


def services() -> tuple[Panel, ...]:
    """What runs beside the tasks."""
    name, state, error = label(Key.SERVICE_NAME), label(Key.SERVICE_STATE), label(Key.ERROR_TYPE)
    away = series(SERVICE_STATE, *FILTER, match(Key.SERVICE_STATE, "starting", "backoff", "failed"))
    restarts = per_second(by((name, error), events(series(SERVICE_RESTARTS, *FILTER), WINDOW)))
    ready = quantile(0.95, events(bucket(SERVICE_READY, *FILTER), WINDOW), name)
    return (
        Panel(
            title="Services by state",
            question="Do the services of this executor run?",
            action="backoff: one has crashed and is about to start again. starting for long: it is never ready; look at"
            " what it waits for. failed: it has crashed more often than its restarts allow, and has ended the"
            " executor's block.",
            targets=(Target(by((state,), series(SERVICE_STATE, *FILTER)), f"{{{{{state}}}}}"),),
            marks=service_states(),
            empty=NO_SERVICES,
            unit="short",
            stacked=True,
        ),
        Panel(
            title="Services that do not run",
            question="Which services should run and do not?",
            action="A short peak is a restart. A line that stays up is a service that does not become ready, or has"
            " failed: its log says why.",
            targets=(Target(top(_SERVICES, by((name,), away), away, (name,)), f"{{{{{name}}}}}"),),
            empty=NO_SERVICES,
            unit="short",
        ),
        Panel(
            title="Service restarts",
            question="How often do services end and start again, and why?",
            action="The type of the error says by what it has crashed; without one it has ended normally. Now and then"
            " is what restarts are for; again and again is a fault that restarts hide.",
            targets=(Target(restarts, f"{{{{{name}}}}} {{{{{error}}}}}"),),
            empty=NO_SERVICES,
            unit="ops",
            bars=True,
            stacked=True,
        ),
        Panel(
            title="Time to readiness, p95",
            question="How long do services take from their start until they are ready?",
            action="Rising: what they connect to has become slow, or is hardly reachable.",
            targets=(Target(ready, f"{{{{{name}}}}}"),),
            empty=NONE_SEEN,
            unit="s",
        ),
    )
