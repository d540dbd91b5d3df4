"""The Python and the libraries that are here, against what is supported and tested."""

from __future__ import annotations

import platform
import re
import sys
import sysconfig
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec

from glasspool._version import __version__

from .finding import Finding, ok, problem, warning

__all__ = ["check_build", "check_extras", "check_versions", "installed"]

OLDEST, NEWEST = (3, 10), (3, 14)
_TESTED = {
    "anyio": "4.16",
    "trio": "0.35",
    "opentelemetry-api": "1.45",
    "opentelemetry-sdk": "1.45",
    "opentelemetry-exporter-otlp": "1.45",
    "prometheus-client": "0.26",
    "opentelemetry-instrumentation": "0.66b1",
}
"""The newest versions that the tests have run with."""

_EXTRAS = {
    "otlp": ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.grpc", "opentelemetry.exporter.otlp.proto.http"),
    "prometheus": ("prometheus_client",),
    "cli": ("rich", "typer"),
    "trio": ("trio",),
    "zero-code": ("opentelemetry.distro", "opentelemetry.exporter.prometheus"),
}
_OFFSET = 21  # OpenTelemetry 1.N belongs to the betas 0.(N + 21)bM


def installed(distribution: str) -> str | None:
    """The version of a distribution; None if it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def check_versions() -> Iterator[Finding]:
    """Python's version, and those of the libraries."""
    here = sys.version_info[:2]
    shown = f"glasspool {__version__} on {platform.python_implementation()} {platform.python_version()}"
    if here > NEWEST or platform.python_implementation() != "CPython":
        yield warning(
            "python", f"{shown}.", "The tests have not run on it.",
            f"Use CPython {_dotted(OLDEST)} to {_dotted(NEWEST)}, or expect surprises.",
        )  # fmt: skip
    else:
        yield ok("python", f"{shown}: supported and tested.")
    old = list(_too_old())
    yield from old
    yield from _mixed()
    found = {name: installed(name) for name in _TESTED}
    newer = [f"{name} {here}" for name, here in found.items() if here and _numbers(here) > _numbers(_TESTED[name])]
    listed = ", ".join(f"{name} {here}" for name, here in found.items() if here)
    if newer:
        yield ok("versions", f"Newer than the tests have run with: {', '.join(newer)}.")
    elif not old:
        yield ok("versions", f"Supported: {listed}.")


def _too_old() -> Iterator[Finding]:
    for requirement in _requirements():
        found = re.match(r"([\w.-]+)(?:\[[^]]*\])?\s*>=\s*([\w.]+)", requirement)
        here = installed(found[1]) if found else None
        if found and here and _numbers(here) < _numbers(found[2]):
            yield problem(
                "versions", f"{found[1]} {here} is older than {found[2]}, the oldest that is supported.",
                "What it lacks fails when it is used.", f"pip install '{found[1]}>={found[2]}'",
            )  # fmt: skip


def _requirements() -> list[str]:
    try:
        return requires("glasspool") or []
    except PackageNotFoundError:  # run from its sources
        return []


def _mixed() -> Iterator[Finding]:
    """OpenTelemetry's packages are released together, and fit each other only so."""
    api = installed("opentelemetry-api")
    if api is None:
        return
    minor = _numbers(api)[1]
    names = ("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-grpc", "opentelemetry-exporter-otlp-proto-http")
    expected = {**dict.fromkeys(names, (1, minor)), "opentelemetry-instrumentation": (0, minor + _OFFSET)}
    for name, want in expected.items():
        here = installed(name)
        if here is not None and _numbers(here)[:2] != want:
            yield warning(
                "versions", f"{name} {here} does not belong to opentelemetry-api {api}.",
                "They use each other's internals and may fail.", f"pip install --upgrade opentelemetry-api {name}",
            )  # fmt: skip


def check_extras() -> Iterator[Finding]:
    """Which extras are installed."""
    have = [extra for extra, modules in _EXTRAS.items() if all(map(_importable, modules))]
    missing = [extra for extra in _EXTRAS if extra not in have]
    there = f"Installed: {', '.join(have)}" if have else "None is installed"
    more = f"; not installed: {', '.join(missing)} (pip install 'glasspool[{','.join(missing)}]')" if missing else ""
    yield ok("extras", f"{there}{more}.")


def _importable(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):  # a parent is missing, or is a stand-in without a spec
        return False


def check_build() -> Iterator[Finding]:
    """Whether this Python is free-threaded."""
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        running = getattr(sys, "_is_gil_enabled", lambda: True)
        state = "on, as an extension module wants it" if running() else "off"
        yield warning(
            "build", f"This is the free-threaded build of Python; its GIL is {state}.",
            "The tests have not run on it: figures may be lost where threads meet.",
            "Use the standard build, or set PYTHON_GIL=1.",
        )  # fmt: skip


def _numbers(text: str) -> tuple[int, ...]:
    found = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(map(int, found[0].split(".")))[:2] if found else ()


def _dotted(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))
