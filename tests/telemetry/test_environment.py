"""Every variable of OpenTelemetry's SDK with invalid values: the program runs and exports what it can."""

from __future__ import annotations

import re
from pathlib import Path

import opentelemetry.environment_variables
import opentelemetry.sdk.environment_variables
import pytest

from glasspool.telemetry.catalog import TASK_SUBMITTED

from .receiver import PROTOCOLS, receiver
from .support import run_python

VALUES = {"wrong type": "abc", "negative": "-1", "huge": "9" * 23, "endless": "inf", "empty": "", "blank": " "}
NAMES = sorted(
    {
        name
        for module in (opentelemetry.environment_variables, opentelemetry.sdk.environment_variables)
        for name in re.findall(r'"(OTEL_[A-Z_]+)"', Path(str(module.__file__)).read_text())
    }
)
# Where, how and whether to export: a wrong one leaves nothing to export to, and the program goes on.
WAYS = re.compile(
    r".*_(ENDPOINT|PROTOCOL|CERTIFICATE|CLIENT_KEY|EXPORTER|CONFIG_FILE|CREDENTIAL_PROVIDER)|OTEL_SDK_DISABLED"
)
IGNORED = re.compile(
    r"OTEL_(?!EXPORTER_(ZIPKIN|JAEGER)).*_(LIMIT|TIMEOUT|COMPRESSION|EXEMPLAR_FILTER|INSECURE|PREFERENCE|ERROR_CODES)"
)

PROGRAM = """
import anyio, logging
logging.basicConfig(format="LOG %(levelname)s %(name)s %(message)s", level=logging.INFO)
from glasspool import HybridExecutor
from glasspool.telemetry import configure

handle = configure(service_name="odd")

async def main():
    async with HybridExecutor("mail", max_in_flight=1) as executor:
        assert await executor.run(abs, -1) == 1

anyio.run(main)
print("flushed", handle.force_flush(60 if {patient} else 0))
print("notes", handle.notes)
"""


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("given", VALUES.values(), ids=VALUES)
def test_settings_that_make_no_sense_cost_no_more_than_themselves(given, protocol):
    settings = {name: given for name in NAMES if not WAYS.fullmatch(name)}
    assert len(settings) > 30
    with receiver(protocol) as collector:
        done = run_python(
            PROGRAM.format(patient=True),
            **settings,
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint,
            OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
        )
        assert list(done.lines("flushed")) == ["True"]
        assert collector.points[TASK_SUBMITTED.name] == 1
        assert len(collector.spans) == 1
    (notes,) = done.lines("notes")
    for name in filter(IGNORED.fullmatch, settings):
        said = f"{name}={given!r} is n"
        assert notes.count(said) == done.err.count(said) == bool(given.strip())
    if given.strip():
        assert done.err.count(f"OTEL_PROPAGATORS={given!r}") == 1


@pytest.mark.parametrize("given", VALUES.values(), ids=VALUES)
def test_the_program_runs_whatever_they_say(given):
    done = run_python(PROGRAM.format(patient=False), **dict.fromkeys(NAMES, given))
    assert len(list(done.lines("flushed"))) == 1


@pytest.mark.parametrize("given", ["abc", "tracecontext,abc", ""])
def test_propagators_that_can_be_had_are_used(given):
    code = """
import logging, os
logging.basicConfig()
from glasspool.telemetry.tracing.propagation import inject
from glasspool.telemetry.tracing.spans import attach
from opentelemetry import baggage, propagate
attach(baggage.set_baggage("user", "1"))
print("carried", sorted(inject()), os.environ["OTEL_PROPAGATORS"] == {given!r})
"""
    done = run_python(code.format(given=given), OTEL_PROPAGATORS=given)
    carried = [] if given.startswith("trace") else ["baggage"]
    assert list(done.lines("carried")) == [f"{carried} True"]
    assert ("OTEL_PROPAGATORS" in done.err) is bool(given)
