"""``glasspool doctor -- COMMAND``: what is run, examined, ended, and said of it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.backends.support import free_port, wait_for

from .support import QUIET, command, none, one

if os.name != "posix":
    pytest.skip("processes are ended by signals", allow_module_level=True)

PYTHON = ("--", sys.executable, "-c")
WAITS = "import time; time.sleep(600)"
USES = "import glasspool.telemetry as t; t.configure(prometheus_port=0)\n"


def ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        return False


def test_a_program_that_runs_for_ever_is_ended(tmp_path):
    file = tmp_path / "pid"
    code = f"import os, pathlib; pathlib.Path({str(file)!r}).write_text(str(os.getpid()))\n{USES}{WAITS}"
    findings = command("--seconds", "3", *PYTHON, code, **QUIET)
    assert "1 process examined; then it was ended by SIGTERM (SIGTERM)" in one(findings, "command", "ran for").found
    assert "are served on 127.0.0.1" in one(findings, "port", "").found
    none(findings, "variables")  # those of the doctor itself are none
    wait_for(lambda: ended(int(file.read_text())), "end")


def test_a_program_that_ends_by_itself_is_examined_before_its_exit_functions():
    findings = command("--seconds", "60", *PYTHON, USES, **QUIET)
    assert "ended by itself" in one(findings, "command", "1 process examined").found
    assert "are served on 127.0.0.1" in one(findings, "port", "").found


def test_a_program_that_still_imports_gets_more_time(tmp_path):
    (tmp_path / "slow.py").write_text("import time; time.sleep(3)")
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    findings = command("--seconds", "0.5", *PYTHON, f"import slow\n{USES}", PYTHONPATH=path, **QUIET)
    assert "are served on 127.0.0.1" in one(findings, "port", "").found


def test_who_has_set_the_providers_and_in_which_order():
    code = """
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
metrics.set_meter_provider(MeterProvider())
import glasspool.telemetry
glasspool.telemetry.configure(otlp=True)
trace.set_tracer_provider(TracerProvider())
"""
    findings = command(*PYTHON, code, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    assert "<string>:5 (call 1 of 3)" in one(findings, "providers", "metrics: the provider was set by").found
    assert "configure() (call 2 of 3)" in one(findings, "providers", "traces: the provider was set by").found
    assert one(findings, "providers", "traces: <string>:8 set a provider when one was set already").level == "problem"


def test_under_opentelemetry_instrument():
    launcher = Path(sys.executable).with_name("opentelemetry-instrument")
    if not launcher.exists():
        pytest.skip("opentelemetry-instrument is not installed")
    findings = command(
        "--seconds", "60", "--", str(launcher), sys.executable, "-c", "pass",
        OTEL_METRICS_EXPORTER="console", OTEL_TRACES_EXPORTER="console", OTEL_LOGS_EXPORTER="none",
    )  # fmt: skip
    assert "set by opentelemetry-instrument (call" in one(findings, "providers", "traces: the provider").found
    assert one(findings, "rivals", "threading instrumentation is on").level == "warning"
    assert "FuturesInstrumentor" in one(findings, "pools", "On:").found


def test_a_sitecustomize_of_the_users_still_runs(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import builtins; builtins.customized = True")
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    findings = command("--seconds", "60", *PYTHON, f"assert customized\n{USES}", PYTHONPATH=path, **QUIET)
    assert one(findings, "command", "ended by itself").level == "ok"


def test_a_program_that_fails():
    findings = command("--seconds", "60", *PYTHON, USES + "raise SystemExit(3)", status=1, **QUIET)
    assert one(findings, "command", "(exit status 3), 1 process examined").level == "problem"


def test_a_program_that_does_not_end_by_sigterm_is_killed():
    code = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{USES}{WAITS}"
    findings = command("--seconds", "3", *PYTHON, code, **QUIET)
    assert one(findings, "command", "killed").level == "warning"


def test_no_program_and_no_python():
    missing = command("--", "no-such-program-here", status=1)
    assert one(missing, "command", "cannot be started: No such file").level == "problem"
    shell = command("--seconds", "0.5", "--", "sleep", "60", status=1)
    assert one(shell, "program", "No Python process has reported").level == "problem"


def test_programs_without_glasspool(tmp_path):
    unused = command("--seconds", "60", *PYTHON, "pass", status=1)
    assert one(unused, "program", "does not use glasspool").level == "problem"
    (tmp_path / "glasspool").mkdir()
    (tmp_path / "glasspool" / "__init__.py").write_text("raise ImportError('not here')")
    hidden = command(
        "--seconds", "60", "--", "env", f"PYTHONPATH={HOOK}:{tmp_path}", sys.executable, "-c", "pass", status=1
    )
    assert "has no glasspool" in one(hidden, "program", "").found


HOOK = Path(__file__).parents[2] / "src" / "glasspool" / "_doctor" / "hook"


def test_arguments_are_not_shown():
    assert "s3cret" not in str(command("--seconds", "60", *PYTHON, USES, "--password", "s3cret", **QUIET))


SDK = """
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
metrics.set_meter_provider(MeterProvider())
"""
APP = """
import glasspool.telemetry, glasspool_instrumentation
glasspool_instrumentation.instrument()
{set_up}
async def app(scope, receive, send): ...
def wsgi(environ, start_response): ...
"""


def test_gunicorn_that_loads_the_application_before_it_forks(tmp_path):
    pytest.importorskip("gunicorn")
    server = (sys.executable, "-m", "gunicorn", "-b", f"127.0.0.1:{free_port()}", "-w", "2", "--preload", "app:wsgi")
    for set_up, text in ((SDK, "had set its provider of metrics"), (CONFIGURE, "")):
        (tmp_path / "app.py").write_text(APP.format(set_up=set_up))
        path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
        findings = command("--seconds", "4", "--", *server, PYTHONPATH=path, OTEL_TRACES_EXPORTER="none")
        assert (
            "3 processes examined; then it was ended by SIGTERM (exit status 0)" in one(findings, "command", "").found
        )
        servers = [each for each in findings if each.check == "servers"]
        assert all("gunicorn (sync) with 2 workers and --preload" in each.found for each in servers)
        if text:
            assert one(findings, "forks", text).level == "problem"
            assert one(findings, "servers", "set up in the master").level == "warning"
        else:
            none(findings, "servers")
            assert "processes" in one(findings, "forks", "forked after configure()").found


CONFIGURE = "glasspool.telemetry.configure(prometheus_port=0, otlp=True)"


def test_uvicorn_whose_workers_need_one_port_each(tmp_path):
    pytest.importorskip("uvicorn")
    (tmp_path / "app.py").write_text(
        APP.format(set_up="import glasspool.telemetry.prometheus as p; p.register(); import prometheus_client as c\n"
                   f"try: c.start_http_server({free_port()})\nexcept OSError: pass")
    )  # fmt: skip
    server = (
        sys.executable,
        "-m",
        "uvicorn",
        "--port",
        str(free_port()),
        "--workers",
        "2",
        "--lifespan",
        "off",
        "app:app",
    )
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    findings = command("--seconds", "6", "--", *server, PYTHONPATH=path, **QUIET)
    problems = [each for each in findings if each.check == "servers" and each.level == "problem"]
    assert len(problems) == 1
    assert "uvicorn with 2 workers" in problems[0].found
    assert "listens on one port" in problems[0].found
