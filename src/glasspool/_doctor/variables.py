"""Variables of OpenTelemetry that are misspelt, that nobody reads, or that have values that cannot be used."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points

from glasspool.telemetry.export import environment

from .finding import Finding, problem, warning
from .variable_names import closest, is_of_another_language, is_read, known, looks_meant

__all__ = ["check_single", "given", "listed", "names_of"]

_CHECK = "variables"
_SAMPLERS = (
    "always_on", "always_off", "traceidratio", "parentbased_always_on", "parentbased_always_off",
    "parentbased_traceidratio",
)  # fmt: skip
_DISABLED = "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"
_PROTOCOLS = ("grpc", "http/protobuf")


def given(name: str) -> str:
    """The value of a variable, stripped; empty if it is not set."""
    return os.environ.get(name, "").strip()


def listed(name: str) -> list[str]:
    """The members of a list that is separated by commas."""
    return [each.strip() for each in given(name).split(",") if each.strip()]


def names_of(group: str) -> set[str]:
    """What the installed packages offer under this entry point."""
    return {entry.name for entry in entry_points(group=group)}


def check_single() -> Iterator[Finding]:
    """All findings about single variables."""
    yield from _unread(known())
    yield from _unusable()
    yield from _unknown_values()
    yield from _malformed()
    yield from _files()


def _unread(names: frozenset[str]) -> Iterator[Finding]:
    # Values of unknown variables are not shown: they may be headers with passwords.
    for name in sorted(os.environ):
        if not looks_meant(name) or is_read(name, names):
            continue
        real = closest(name, names)
        if real is not None:
            also = f", which is set, too: remove {name}" if real in os.environ else f": rename it to {real}"
            yield problem(
                _CHECK, f"{name} is no variable that anything reads.", "It has no effect, and nothing says so.",
                f"The closest real name is {real}{also}.",
            )  # fmt: skip
        elif is_of_another_language(name):
            yield warning(
                _CHECK, f"{name} is read by OpenTelemetry for another language, or by an exporter that Python no "
                "longer has.", "It has no effect in Python.", "Remove it here; exporters speak OTLP today.",
            )  # fmt: skip
        elif name.upper().startswith("OTEL_"):
            yield warning(
                _CHECK, f"{name} is not known, and no known name is close to it.", "Probably nothing reads it.",
                "Remove it, or look it up in the documentation of what should read it.",
            )  # fmt: skip


def _unusable() -> Iterator[Finding]:
    for name, value, wrong in environment.unusable():
        yield problem(
            _CHECK, f"{name}={value[:100]!r} is {wrong}.",
            "configure() ignores it; OpenTelemetry's own set-up may fail because of it.", f"Correct or unset {name}.",
        )  # fmt: skip
    for name in ("OTEL_METRIC_EXPORT_INTERVAL", "OTEL_BSP_SCHEDULE_DELAY"):
        if given(name) and not _is_number(given(name), above=0):
            yield problem(
                _CHECK, f"{name}={given(name)[:100]!r} is no number of milliseconds above 0.",
                "It is ignored, and the default applies.", f"Write a whole number, such as {name}=5000.",
            )  # fmt: skip
    if given("OTEL_SDK_DISABLED").lower() not in ("", "true", "false"):
        yield problem(
            _CHECK, f"OTEL_SDK_DISABLED={given('OTEL_SDK_DISABLED')[:100]!r} is neither true nor false.",
            "It counts as false: the SDK is on.", "Write OTEL_SDK_DISABLED=true, or unset it.",
        )  # fmt: skip


def _unknown_values() -> Iterator[Finding]:
    choices: list[tuple[str, Callable[[], set[str]]]] = [
        ("OTEL_TRACES_SAMPLER", lambda: {*_SAMPLERS, *names_of("opentelemetry_traces_sampler")}),
        ("OTEL_TRACES_EXPORTER", lambda: {"otlp", "none", "console", *names_of("opentelemetry_traces_exporter")}),
        ("OTEL_METRICS_EXPORTER", lambda: {"otlp", "none", "console", *_metric_exporters()}),
        ("OTEL_PROPAGATORS", lambda: {"none", *names_of("opentelemetry_propagator")}),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", lambda: set(_PROTOCOLS)),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", lambda: set(_PROTOCOLS)),
        ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", lambda: set(_PROTOCOLS)),
        (_DISABLED, lambda: {"*", *names_of("opentelemetry_instrumentor")}),
    ]
    for name, offered in choices:
        for value in listed(name):
            if value not in (choice := offered()):
                near = _closest_of(value, choice)
                if near is None and name == _DISABLED:  # of an instrumentation that is not installed: no harm
                    continue
                meant = f"Write {name}={near}." if near else f"Choose among: {', '.join(sorted(choice))}."
                yield problem(
                    _CHECK, f"{name} names {value[:60]!r}, which is not installed or does not exist.",
                    "OpenTelemetry ignores it, falls back to its default, or does not start.", meant,
                )  # fmt: skip
    argument = given("OTEL_TRACES_SAMPLER_ARG")
    if "ratio" in given("OTEL_TRACES_SAMPLER") and argument and not _is_number(argument, above=-1e-9, most=1):
        yield problem(
            _CHECK, f"OTEL_TRACES_SAMPLER_ARG={argument[:60]!r} is no number from 0 to 1.",
            "It is ignored: every trace is sampled.", "Write the share, such as OTEL_TRACES_SAMPLER_ARG=0.1.",
        )  # fmt: skip


def _closest_of(value: str, choices: set[str]) -> str | None:
    """The choice that this value was meant to be."""
    by_lower = {each.lower(): each for each in sorted(choices)}
    near = difflib.get_close_matches(value.lower(), by_lower, n=1, cutoff=0.8)
    return by_lower[near[0]] if near else None


def _metric_exporters() -> set[str]:
    # configure() serves "prometheus" itself; under opentelemetry-instrument a package must offer it: check_extras.
    return {"prometheus", *names_of("opentelemetry_metrics_exporter")}


def _malformed() -> Iterator[Finding]:
    lists = [f"OTEL_EXPORTER_OTLP_{signal}HEADERS" for signal in ("", "TRACES_", "METRICS_")]
    for name in ("OTEL_RESOURCE_ATTRIBUTES", *lists):
        for number, part in enumerate(listed(name), 1):
            key, equals, _ = part.partition("=")
            if not equals or not key.strip() or any(sign in key for sign in ": ") or '"' in key:
                yield problem(
                    _CHECK, f"Part {number} of {name} is not key=value.", "It is left out of every export.",
                    f"Write {name}=key=value,key2=value2; a comma or a space in a value is %2C or %20.",
                )  # fmt: skip


def _files() -> Iterator[Finding]:
    for signal in ("", "TRACES_", "METRICS_"):
        for word in ("CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"):
            name = f"OTEL_EXPORTER_OTLP_{signal}{word}"
            if given(name) and not os.access(given(name), os.R_OK):
                yield problem(
                    _CHECK, f"{name} names a file that cannot be read.",
                    "The exporter cannot be made, or does not trust the collector.", "Correct the path, or its rights.",
                )  # fmt: skip


def _is_number(text: str, *, above: float, most: float = 2**31) -> bool:
    try:
        return above < float(text) <= most
    except ValueError:
        return False
