"""Which OpenTelemetry providers are set in this process, by whom and in which order, and where they export to."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from multiprocessing import process
from typing import Any

from opentelemetry import metrics, trace

from glasspool._foreign.otel_sdk import exporter_of, processors_of, readers_of, settings_of
from glasspool.telemetry import providers
from glasspool.telemetry.configuration import configured
from glasspool.telemetry.export.shared_port import NO_ENDPOINT
from glasspool.telemetry.recording.registry import REGISTRY

from . import provider_log
from .asked_port import asked_port
from .finding import Finding, ok, problem, warning
from .launching import is_launched
from .targets import Target
from .variables import listed
from .words import plain

__all__ = ["check_notes", "check_providers", "exporters", "program_targets", "readers", "telemetry_is_set_up"]

_CHECK = "providers"
_OTLP = "opentelemetry.exporter.otlp.proto."
_SAID_ELSEWHERE = (
    "traces: the application", "metrics: the application",  # who has set the provider
    "OTEL_SDK_DISABLED", "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",  # variables
    NO_ENDPOINT,  # the port
)  # fmt: skip
"""Beginnings of notes of ``configure()`` whose matter another check looks at."""


def telemetry_is_set_up() -> bool:
    """Whether this process has a provider, or has called ``configure()``."""
    return configured() is not None or providers.has_meter_provider() or providers.has_tracer_provider()


def check_providers() -> Iterator[Finding]:
    """Who has set the providers, and what goes out by them."""
    for signal, present, provider, parts in (
        ("traces", providers.has_tracer_provider(), trace.get_tracer_provider, exporters("traces")),
        ("metrics", providers.has_meter_provider(), metrics.get_meter_provider, [*readers()]),
    ):
        if not present:
            yield from _absent(signal)
            continue
        whose = _whose(signal, provider())
        if parts:
            outs = ", ".join(sorted({_shown(part) for part in parts}))
            yield ok(_CHECK, f"{signal}: the provider was set by {whose}; it exports by {outs}.")
        elif _unwanted(signal):
            none = f"it has no exporter, as {_variable(signal)}=none says"
            yield ok(_CHECK, f"{signal}: the provider was set by {whose}; {none}.")
        else:
            yield warning(
                _CHECK, f"{signal}: the provider was set by {whose}, and no exporter of it can be seen.",
                f"If it has none, {signal} do not leave the process.",
                "Add an exporter to it, or leave the set-up to glasspool.telemetry.configure().",
            )  # fmt: skip
    yield from _refused()


def _absent(signal: str) -> Iterator[Finding]:
    asked = asked_port()
    without = f"{signal}: no OpenTelemetry provider is set"
    if asked is not None and signal == "metrics":
        if asked.shown is not None:
            yield ok(_CHECK, f"{without}; /metrics is served without one.")
        elif asked.later:
            yield ok(_CHECK, f"{without}; what this process records is in the /metrics of its parent's port.")
    elif asked is not None:
        yield ok(_CHECK, f"{without}, so there are no {signal}.")
    elif _unwanted(signal):
        yield ok(_CHECK, f"{without}, and {_variable(signal)}=none asks for none.")
    elif configured() is not None:
        yield warning(
            _CHECK, f"{without}, although configure() was called.", f"No {signal} leave this process: configure() had "
            "no exporter to set up, or its handle was shut down.",
            "Name an endpoint in OTEL_EXPORTER_OTLP_ENDPOINT, or pass otlp=True; and see other findings about it.",
        )  # fmt: skip
    elif process.parent_process() is not None and not REGISTRY.holders():
        if not is_launched():  # else its set-up has failed: check_launch
            yield ok(_CHECK, f"{without} in this child of multiprocessing, which has recorded nothing itself.")
    else:
        yield warning(
            _CHECK, f"{without}.", f"No {signal} are exported by OTLP.",
            "Call glasspool.telemetry.configure() at the start, or run the program under opentelemetry-instrument.",
        )  # fmt: skip


def _variable(signal: str) -> str:
    return f"OTEL_{signal.upper()}_EXPORTER"


def _unwanted(signal: str) -> bool:
    """Whether the variable says that this signal has no exporter."""
    return [each.lower() for each in listed(_variable(signal))] == ["none"]


def _whose(signal: str, provider: Any) -> str:
    kind = f"{type(provider).__module__.partition('.')[0]}'s {type(provider).__name__}"
    seen = [each for each in provider_log.entries if each.signal == signal and each.accepted]
    if seen:
        order = f" (call {provider_log.entries.index(seen[0]) + 1} of {len(provider_log.entries)})"
        return f"{seen[0].caller}{order}"
    if signal in providers.own:
        return "glasspool.telemetry.configure()"
    if "opentelemetry.instrumentation.auto_instrumentation" in sys.modules and kind.startswith("opentelemetry"):
        return "opentelemetry-instrument or the application"
    return f"the application ({plain(kind)})"


def _refused() -> Iterator[Finding]:
    for entry in provider_log.entries:
        if not entry.accepted:
            yield problem(
                _CHECK, f"{entry.signal}: {entry.caller} set a provider when one was set already.",
                "OpenTelemetry keeps the first: the exporters of the second get nothing.",
                "Set the provider once; let glasspool.telemetry.configure() come after the application's own set-up.",
            )  # fmt: skip


def check_notes() -> Iterator[Finding]:
    """What ``configure()`` has noted, but for what other checks say."""
    handle = configured()
    for note in () if handle is None else handle.notes:
        if not note.startswith(_SAID_ELSEWHERE):
            yield warning(
                "configure", f"configure() noted: {plain(note, 300)}.", "Something of its set-up does not work.",
                "See the note.",
            )  # fmt: skip


def readers() -> Iterator[Any]:
    """The readers of the meter provider."""
    if providers.has_meter_provider():
        yield from readers_of(metrics.get_meter_provider())


def exporters(signal: str) -> list[Any]:
    """The exporters of a signal's provider, inside glasspool's wrappers."""
    if signal == "metrics":
        parts = list(readers())
    else:
        parts = list(processors_of(trace.get_tracer_provider())) if providers.has_tracer_provider() else []
    return [found for part in parts if (found := _inner(part)) is not None]


def _inner(part: Any) -> Any:
    exports = getattr(part, "exports", None)  # ours
    renewed = getattr(exports, "renewed", None)
    return renewed.exporter if renewed is not None else exporter_of(part)


def _shown(part: Any) -> str:
    inner = _inner(part) or part
    return _PLAIN.get(
        type(inner).__module__.partition(".trace")[0].partition(".metric")[0],
        type(inner).__name__.removeprefix("_Auto"),
    )


_PLAIN = {f"{_OTLP}grpc": "OTLP (grpc)", f"{_OTLP}http": "OTLP (http/protobuf)"}


def program_targets() -> Iterator[Target]:
    """Where the OTLP exporters of this process send to."""
    for signal in ("traces", "metrics"):
        for exporter in exporters(signal):
            module = type(exporter).__module__
            endpoint, insecure, headers, certificate = settings_of(exporter)
            if module.startswith(_OTLP) and endpoint is not None:
                grpc = module.startswith(f"{_OTLP}grpc")
                yield Target(
                    signal, "grpc" if grpc else "http/protobuf", endpoint,
                    not insecure if grpc else endpoint.startswith("https:"), None, True, tuple(headers.items()),
                    certificate, by_program=True,
                )  # fmt: skip
