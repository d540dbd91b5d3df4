"""The command's own behaviour: words, width, colours, JSON, exit status, and what it does not take."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.backends.support import free_port
from tests.telemetry.support import LIMIT, clean_environment

from .support import COMMAND, QUIET, run

REFUSED = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://u:s3cret@127.0.0.1:{free_port()}"}


def test_to_a_pipe_a_finding_is_a_line_without_colours():
    done = run(**REFUSED)
    lines = done.stdout.splitlines()
    assert done.returncode == 1
    assert lines[0].startswith("problem  otlp: traces: http://127.0.0.1:") or "127.0.0.1" in lines[0]
    assert all(line.startswith(("problem  ", "warning  ", "ok       ")) for line in lines[:-1])
    assert lines[-1].startswith("2 problems, ")
    assert "Fix: " in lines[0]
    assert "\x1b" not in done.stdout
    assert "s3cret" not in done.stdout + done.stderr
    assert done.stderr == ""


def test_without_a_problem_the_exit_status_is_0():
    done = run("--json", **QUIET)
    assert done.returncode == 0
    assert {tuple(each) for each in json.loads(done.stdout)} == {("check", "level", "found", "why", "fix")}


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("colours", [True, False])
@pytest.mark.parametrize("columns", [40, 72])
def test_on_a_terminal(columns, colours):
    import pty

    leader, follower = pty.openpty()
    environment = clean_environment(
        **REFUSED, COLUMNS=str(columns), TERM="xterm", **({} if colours else {"NO_COLOR": "1"})
    )
    process = subprocess.Popen(COMMAND, stdout=follower, stderr=follower, stdin=follower, env=environment)
    os.close(follower)
    text = b""
    try:
        while piece := os.read(leader, 65536):
            text += piece
    except OSError:  # the other side is closed
        pass
    os.close(leader)
    assert process.wait(LIMIT) == 1
    shown = text.decode()
    assert ("\x1b[1;31mproblem" in shown) == colours, shown
    if not colours:
        assert max(map(len, shown.splitlines())) <= columns
        assert "\x1b[3" not in shown


@pytest.mark.parametrize(
    "arguments", [["python", "app.py"], ["nonsense"], ["--seconds", "0"], ["--timeout", "x"], ["http://a", "http://b"]]
)
def test_arguments_that_it_does_not_take(arguments):
    done = run(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_port_alone_is_an_address():
    done = run(f"localhost:{free_port()}")
    assert done.returncode == 1
    assert "nothing can be reached there: Connection refused" in done.stdout


def test_versions_that_are_too_old_or_do_not_fit(tmp_path):
    for name, version in (("anyio", "4.1.0"), ("opentelemetry-sdk", "1.20.0"), ("trio", "99.0")):
        info = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    found = run("--json", **QUIET, PYTHONPATH=os.pathsep.join([str(tmp_path), *filter(None, sys.path)]))
    texts = [each["found"] for each in json.loads(found.stdout) if each["check"] == "versions"]
    assert any(text.startswith("anyio 4.1.0 is older than 4.9") for text in texts), texts
    assert any("opentelemetry-sdk 1.20.0 does not belong to opentelemetry-api" in text for text in texts)
    assert any("Newer than the tests have run with: trio 99.0" in text for text in texts)


def test_extras_that_are_missing():
    code = "import sys; sys.modules['trio'] = None\nimport glasspool._doctor.versions as v; print(*v.check_extras())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=clean_environment())
    assert "not installed: trio (pip install 'glasspool[trio]')" in done.stdout, done.stderr


def test_a_free_threaded_build():
    free = next((name for name in ("python3.14t", "python3.13t") if _is_here(name)), None)
    if free is None:
        pytest.skip("no free-threaded Python on this machine")
    code = "import glasspool._doctor.versions as v; print(*v.check_build())"
    done = subprocess.run([free, "-c", code], capture_output=True, text=True, env=clean_environment())
    assert "free-threaded build" in done.stdout, done.stderr


def _is_here(name: str) -> bool:
    import shutil

    return shutil.which(name) is not None
