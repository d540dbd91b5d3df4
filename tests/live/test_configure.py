"""``configure()`` serves the page: where, to whom, and until when."""

from __future__ import annotations

import pytest

from glasspool.telemetry import configure
from tests.telemetry.support import run_python

ASK = """
import sys, threading, urllib.error, urllib.request
from glasspool.telemetry import configure

handle = configure(service_name="page", prometheus_port=0, live_page={live_page})

def status(path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{{handle.prometheus_port}}{{path}}") as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code

print(status("/"), status("/live.json"), status("/metrics"))
looking = any(thread.name == "glasspool-live" for thread in threading.enumerate())
handle.shutdown()
left = any(thread.name == "glasspool-live" for thread in threading.enumerate())
print(looking, left)
"""


@pytest.mark.parametrize(
    ("host", "live_page", "answers"),
    [
        ("127.0.0.1", "None", "200 200 200"),
        ("127.0.0.1", "True", "200 200 200"),
        ("127.0.0.1", "False", "403 403 200"),
        ("0.0.0.0", "None", "403 403 200"),
        ("0.0.0.0", "True", "200 200 200"),
    ],
)
def test_the_page_is_served_where_it_may_be(host: str, live_page: str, answers: str) -> None:
    done = run_python(ASK.format(live_page=live_page), OTEL_EXPORTER_PROMETHEUS_HOST=host)
    said, threads = done.out.splitlines()
    assert said == answers
    looked = answers.startswith("200")
    assert threads == f"{looked} False"  # shutdown() ends the thread that takes samples


def test_what_is_no_choice_is_refused() -> None:
    with pytest.raises(TypeError, match="live_page='yes': True, False, or None"):
        configure(live_page="yes")  # type: ignore[arg-type]
