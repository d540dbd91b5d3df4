"""Runs the checks: of this process, or of what its environment says about a process that is to be started."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator

from . import launching, loops, pools, providers, series, servers, versions
from .asked_port import asked_port
from .contradictions import check_variables
from .finding import Finding, ok, warning
from .otlp import check_otlp
from .ports import check_port
from .targets import Target, from_environment
from .variables import given

__all__ = ["doctor", "examine_environment"]

Check = Callable[[], Iterable[Finding]]


def doctor(*, send: bool = True, timeout: float = 3.0) -> list[Finding]:
    """Examine this process: versions, variables, providers, exporters, ports, servers, forks, pools and event loops.

    Each OTLP endpoint gets an export without spans and metrics, and what has the Prometheus port is asked for a page.
    In an asynchronous program call it in a thread, since it waits for answers::

        for finding in await asyncio.to_thread(glasspool.doctor):
            if finding.level != "ok":
                print(finding.found, finding.why, finding.fix)

    It changes nothing, and raises nothing but for its arguments.

    :param send: whether to try the OTLP endpoints and the port; default True.
    :param timeout: seconds for each attempt; default 3.
    :returns: the findings, problems first.
    :raises ValueError: ``timeout`` is not above 0.
    """
    _check_timeout(timeout)
    checks: list[Check] = [
        *_ALWAYS,
        providers.check_providers,
        providers.check_notes,
        launching.check_launch,
        servers.check_servers,
        servers.check_forks,
        pools.check_pools,
        pools.check_rivals,
        loops.check_loops,
        lambda: check_port(asked_port(), timeout if send else None),
    ]
    if send:
        checks += [lambda: check_otlp(_targets(), timeout)]
    return _run(checks)


def examine_environment(*, timeout: float = 3.0) -> list[Finding]:
    """Examine what a program would find that is started with these variables and this Python.

    :param timeout: seconds for each attempt to reach something; default 3.
    :returns: the findings, problems first.
    :raises ValueError: ``timeout`` is not above 0.
    """
    _check_timeout(timeout)
    return _run(
        [
            *_ALWAYS,
            pools.check_installed_rivals,
            lambda: check_otlp(() if _disabled() else from_environment(), timeout),
            lambda: check_port(None, timeout),
            lambda: [ok("unseen", "Providers, pools, servers and forks are a program's: glasspool doctor -- COMMAND.")],
        ]
    )


_ALWAYS: tuple[Check, ...] = (
    versions.check_versions,
    versions.check_build,
    versions.check_extras,
    check_variables,
    series.check_duplicates,
    series.check_temporality,
    series.check_multiprocess,
    series.check_exemplars,
    series.check_sampler,
)
_ORDER = ("problem", "warning", "ok")


def _run(checks: Iterable[Check]) -> list[Finding]:
    found: dict[Finding, None] = {}
    for check in checks:
        found.update(dict.fromkeys(_guarded(check)))
    return sorted(found, key=lambda finding: _ORDER.index(finding.level))


def _guarded(check: Check) -> Iterator[Finding]:
    try:
        yield from check()
    except Exception as error:  # noqa: BLE001 - it looks at objects of any library and any version
        name = getattr(check, "__name__", "check").removeprefix("check_")
        yield warning(
            "doctor", f"The check of {name} has failed ({type(error).__name__}).", "What it looks for is not known.",
            "Report it with the versions above.",
        )  # fmt: skip


def _targets() -> Iterator[Target]:
    """Where this process exports to, each place once; variables count where nothing is set up yet, or ask for it."""
    if _disabled():
        return
    by_program = list(providers.program_targets())
    places = {(each.signal, each.protocol, each.place) for each in by_program}
    named: set[object] = set()
    for target in from_environment():
        key = (target.signal, target.protocol, target.place)
        used = key in places
        if used or (target.wanted and not by_program) or not providers.telemetry_is_set_up():
            named.add(key)
            yield dataclasses.replace(target, wanted=target.wanted or used)
    for target in by_program:
        key = (target.signal, target.protocol, target.place)
        if key not in named:
            named.add(key)
            yield target


def _disabled() -> bool:
    return given("OTEL_SDK_DISABLED").lower() == "true"


def _check_timeout(timeout: float) -> None:
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout < math.inf:
        raise ValueError(f"timeout={timeout!r}: a number of seconds above 0")
