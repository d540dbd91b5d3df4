"""Variables of OpenTelemetry: those that contradict each other, or that others make ineffective, and all of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

from .addresses import shown_url
from .finding import Finding, ok, problem, warning
from .targets import Target, from_environment
from .variables import check_single, given, listed

__all__ = ["check_variables"]

_CHECK = "variables"
_IGNORED = "One of the two has no effect."


def check_variables() -> Iterator[Finding]:
    """All findings about variables, single ones and those beside others; and whether each is read."""
    found = [*check_single(), *_contradictions()]
    yield from found
    if not found:
        count = sum(name.startswith("OTEL_") for name in os.environ)
        many = "1 OTEL_* variable is set, and it is" if count == 1 else f"{count} OTEL_* variables are set, and each is"
        yield ok(_CHECK, f"{many} read." if count else "No OTEL_* variable is set.")
    if not given("OTEL_SERVICE_NAME") and not any(_service_names()):
        yield ok(
            _CHECK, "No variable names the service: configure(service_name=…) does, else it is the program's name."
        )


def _contradictions() -> Iterator[Finding]:
    yield from _disabled()
    yield from _service()
    yield from _exporters()
    yield from _endpoints()
    for target in from_environment():
        yield from _transport(target)
    yield from _sampler()
    yield from _batches()


def _disabled() -> Iterator[Finding]:
    if given("OTEL_SDK_DISABLED").lower() == "true":
        exports = sorted(name for name in os.environ if name.startswith("OTEL_EXPORTER_"))
        yield problem(
            _CHECK, f"OTEL_SDK_DISABLED=true{f', beside {exports[0]}' if exports else ''}.",
            "The SDK is off: no span and no metric is exported by OTLP.", "Unset OTEL_SDK_DISABLED.",
        )  # fmt: skip


def _service() -> Iterator[Finding]:
    named = _service_names()
    if named and given("OTEL_SERVICE_NAME") not in ("", named[-1]):
        yield warning(
            _CHECK, f"OTEL_SERVICE_NAME is {given('OTEL_SERVICE_NAME')[:60]!r}, and service.name in "
            f"OTEL_RESOURCE_ATTRIBUTES is {named[-1][:60]!r}.", "The first one wins; who looks for the other finds "
            "nothing.", "Remove service.name from OTEL_RESOURCE_ATTRIBUTES.",
        )  # fmt: skip


def _service_names() -> list[str]:
    """What the attributes of the resource call the service."""
    pairs = [part.partition("=") for part in listed("OTEL_RESOURCE_ATTRIBUTES")]
    return [unquote(value).strip() for key, _, value in pairs if unquote(key).strip() == "service.name"]


def _exporters() -> Iterator[Finding]:
    for signal in ("TRACES", "METRICS"):
        chosen, endpoint = f"OTEL_{signal}_EXPORTER", f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"
        exporters = [each.lower() for each in listed(chosen)]
        if given(endpoint) and exporters and "otlp" not in exporters:
            yield warning(
                _CHECK, f"{endpoint} is set, but {chosen}={given(chosen)[:60]} does not name otlp.",
                f"No {signal.lower()} are sent there.", f"Set {chosen}=otlp, or unset {endpoint}.",
            )  # fmt: skip
        if "none" in exporters and len(exporters) > 1:
            yield warning(_CHECK, f"{chosen}={given(chosen)[:60]} names none beside others.", _IGNORED, "Remove none.")
    if given("OTEL_EXPORTER_PROMETHEUS_PORT") and "prometheus" not in listed("OTEL_METRICS_EXPORTER"):
        yield warning(
            _CHECK, "OTEL_EXPORTER_PROMETHEUS_PORT is set, but OTEL_METRICS_EXPORTER does not name prometheus.",
            "The port has no effect: configure(prometheus_port=…) serves its own.",
            "Set OTEL_METRICS_EXPORTER=prometheus, or unset the port.",
        )  # fmt: skip


def _endpoints() -> Iterator[Finding]:
    both = [f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT" for signal in ("TRACES", "METRICS")]
    if given("OTEL_EXPORTER_OTLP_ENDPOINT") and all(map(given, both)):
        yield warning(
            _CHECK, f"OTEL_EXPORTER_OTLP_ENDPOINT is set beside {both[0]} and {both[1]}.",
            "For traces and metrics it has no effect.", "Keep the one or the other two.",
        )  # fmt: skip


def _transport(target: Target) -> Iterator[Finding]:
    """What the parts of one export's settings say against each other."""
    if target.variable is None:
        return
    signal = target.signal.upper()
    insecure = next(
        (name for name in (f"OTEL_EXPORTER_OTLP_{signal}_INSECURE", "OTEL_EXPORTER_OTLP_INSECURE") if given(name)), None
    )
    endpoint = given(target.variable)
    scheme = urlsplit(endpoint).scheme if "://" in endpoint else ""
    if insecure and target.protocol != "grpc":
        yield warning(
            _CHECK, f"{insecure} is set, but {target.signal} go over {target.protocol}.",
            "It has no effect: over HTTP the scheme of the address decides.", f"Unset {insecure}.",
        )  # fmt: skip
    elif insecure and given(insecure).lower() == "true" and scheme == "https":
        yield warning(
            _CHECK, f"{insecure}=true, but {target.variable} begins with https://.",
            "The scheme wins: the export uses TLS.", f"Unset {insecure}, or write http://.",
        )  # fmt: skip
    elif insecure and given(insecure).lower() == "false" and scheme == "http":
        yield problem(
            _CHECK, f"{insecure}=false, but {target.variable} begins with http://.",
            "Over gRPC the export uses TLS, although the address says that there is none.", f"Unset {insecure}.",
        )  # fmt: skip
    if target.certificate and not target.secure:
        yield warning(
            _CHECK, f"A certificate is set for {target.signal}, but {shown_url(endpoint)} is without TLS.",
            "The certificate has no effect, and data travel unencrypted.", f"Write https:// in {target.variable}.",
        )  # fmt: skip


def _sampler() -> Iterator[Finding]:
    if given("OTEL_TRACES_SAMPLER_ARG") and given("OTEL_TRACES_SAMPLER") in (
        "", "always_on", "always_off", "parentbased_always_on", "parentbased_always_off",
    ):  # fmt: skip
        chosen = given("OTEL_TRACES_SAMPLER") or "parentbased_always_on, the default"
        yield warning(
            _CHECK, f"OTEL_TRACES_SAMPLER_ARG is set, but the sampler is {chosen}.",
            "It has no effect: this sampler takes no argument.", "Set OTEL_TRACES_SAMPLER=parentbased_traceidratio.",
        )  # fmt: skip


def _batches() -> Iterator[Finding]:
    size, batch = given("OTEL_BSP_MAX_QUEUE_SIZE") or "2048", given("OTEL_BSP_MAX_EXPORT_BATCH_SIZE") or "512"
    if size.isdecimal() and batch.isdecimal() and int(batch) > int(size):
        yield problem(
            _CHECK, f"OTEL_BSP_MAX_EXPORT_BATCH_SIZE is {batch}, more than OTEL_BSP_MAX_QUEUE_SIZE, which is {size}.",
            "OpenTelemetry's SDK refuses that.", "Make the batch at most as large as the queue.",
        )  # fmt: skip
