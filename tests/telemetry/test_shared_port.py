"""Several processes on one Prometheus port: a scrape shows all of them, or how many are missing."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import shutil
import signal
import socket
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from glasspool.telemetry import catalog
from glasspool.telemetry.catalog import Key, prometheus_label
from glasspool.telemetry.export import snapshot_json
from glasspool.telemetry.recording.registry import Registry
from tests.programs import Program

from .support import LIMIT, full_recorder, run_python, run_task, sampled_span
from .test_configure import SETUP

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot find each other here")

HERE = Path(__file__).parent
NUMBER = prometheus_label(Key.PROCESS_NUMBER)
SUBMITTED = catalog.TASK_SUBMITTED.prometheus_name
KNOWN, ANSWERED = (metric.prometheus_name for metric in catalog.PORT_METRICS)
TAKEN, SILENT = catalog.PORT_KINDS
OPENMETRICS = "application/openmetrics-text; version=1.0.0"

WORKER = (
    SETUP
    + """
port, count = map(int, sys.argv[1:3])
handle = configure(prometheus_port=port, service_name="web")
work(count)
print("ready", handle.prometheus_port)
for line in sys.stdin:
    exec(line)
"""
)


@pytest.fixture
def meeting() -> Iterator[str]:
    """A directory for temporary files with a path short enough for sockets."""
    made = tempfile.mkdtemp(prefix="gp")
    yield made
    shutil.rmtree(made)


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        found: int = free.getsockname()[1]
        return found


def fetch(port: int, query: str = "", **headers: str) -> bytes:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics{query}", headers=headers)
    with urllib.request.urlopen(request, timeout=LIMIT) as answer:
        found: bytes = answer.read()
        return found


def scrape(port: int) -> dict[str, dict[str, float]]:
    """By series name: the sums of its values by process number; empty while no process serves the port."""
    found: dict[str, dict[str, float]] = {}
    try:
        text = fetch(port).decode()
    except (urllib.error.URLError, ConnectionError):
        return found
    for family in parse_text(text):
        for sample in family.samples:
            values = found.setdefault(sample.name, {})
            number = sample.labels.get(NUMBER, "")
            values[number] = values.get(number, 0.0) + sample.value
    return found


def failures(port: int, kind: str) -> float:
    name = catalog.TELEMETRY_FAILURES.prometheus_name
    return sum(
        sample.value
        for family in parse_text(fetch(port).decode())
        for sample in family.samples
        if sample.name == name and sample.labels[prometheus_label(Key.FAILURE_KIND)] == kind
    )


def whole(known: int) -> dict[str, dict[str, float]]:
    return {KNOWN: {"": known}, ANSWERED: {"": known}}


def started(port: int, count: int, meeting: str, **env: str) -> Program:
    return Program("-c", WORKER, str(port), str(count), TMPDIR=meeting, **env)


def shows(port: int, **expected: dict[str, float]) -> bool:
    """A machine that is busy enough may not answer in time, and says so: what is expected is waited for."""
    found = scrape(port)
    return all(found.get(name) == values for name, values in expected.items())


def text_of_all(program: Program, port: int, processes: int, query: str = "", **headers: str) -> str:
    """A scrape that all of them are in."""
    texts = [""]

    def whole_text() -> bool:
        found = fetch(port, query, **headers)
        texts.append((gzip.decompress(found) if "Accept-Encoding" in headers else found).decode())
        return f"\n{ANSWERED} {float(processes)}\n" in f"\n{texts[-1]}"

    program.until(whole_text, f"{processes} processes in one scrape")
    return texts[-1]


def test_a_scrape_shows_every_process_in_either_form(port, meeting):
    with started(port, 10, meeting) as first:
        first.until_said(f"ready {port}")
        before = fetch(port).decode()
        assert NUMBER not in before, "one process is shown as if there were no others to come"
        with started(port, 20, meeting) as second:
            second.until_said(f"ready {port}")
            with started(port, 30, meeting) as third:
                third.until_said(f"ready {port}")
                first.until(lambda: shows(port, **{SUBMITTED: {"": 10, "1": 20, "2": 30}}, **whole(3)), "all three")
                text = text_of_all(first, port, 3)
                strict = text_of_all(first, port, 3, Accept=OPENMETRICS)
                packed = text_of_all(first, port, 3, **{"Accept-Encoding": "gzip"})
                part = text_of_all(first, port, 3, f"?name[]={SUBMITTED}&name[]={ANSWERED}")
                handled = [program.out.count("LOG WARNING") for program in (first, second, third)]
    for line in before.splitlines():
        if line.startswith(SUBMITTED):
            assert line in text.splitlines(), "its series stay what they were"
    headers = [line for line in text.splitlines() if line.startswith("#")]
    assert len(headers) == len(set(headers)), "one HELP and one TYPE per family"
    names = [family.name for family in parse_openmetrics(strict)]  # refuses what is there twice or in pieces
    assert len(names) == len(set(names))
    assert sum(line.startswith(f"{SUBMITTED}{{") for line in strict.splitlines()) == 3
    assert sum(line.startswith(f"{SUBMITTED}{{") for line in packed.splitlines()) == 3
    assert {line.split("{")[0].split(" ")[0] for line in part.splitlines() if not line.startswith("#")} == {
        SUBMITTED,
        ANSWERED,
    }
    assert handled == [0, 0, 0]


def test_exemplars_and_the_applications_own_series(port, meeting):
    own = "import prometheus_client as c; c.Counter('jobs', 'mine').inc(); print('counted')"
    traced = (
        "from tests.telemetry.support import sampled_span; "
        "run_task(full_recorder(REGISTRY), 't', span=sampled_span(0xAA, 0xBB)); print('traced')"
    )
    with started(port, 1, meeting) as first, started(port, 1, meeting) as second:
        for program in (first, second):
            program.until_said("ready")
            program.tell(own)
            program.tell(traced)
            program.until_said("traced")
        text = text_of_all(first, port, 2, Accept=OPENMETRICS)
    assert text.count("jobs_total 1.0") == 1, "the answering process's, as before"
    with_exemplar = [line for line in text.splitlines() if "# {" in line and f"{0xAA:032x}" in line]
    for expected in (False, True):
        assert any((f'{NUMBER}="1"' in line) is expected for line in with_exemplar)


def test_the_serving_process_is_killed_and_the_others_are_shown_again(port, meeting):
    with started(port, 1, meeting) as first:
        first.until_said("ready")
        with started(port, 2, meeting) as second, started(port, 3, meeting) as third:
            for program in (second, third):
                program.until_said("ready")
            number: dict[float, str] = {}

            def all_three() -> bool:
                number.update((value, shown) for shown, value in scrape(port)[SUBMITTED].items())
                return set(number) == {1.0, 2.0, 3.0}

            first.until(all_three, "all three")
            assert sorted(number.items())[0] == (1.0, "")
            first.send(signal.SIGKILL)
            rest = {number[2.0]: 2.0, number[3.0]: 3.0}
            second.until(lambda: shows(port, **{SUBMITTED: rest}, **whole(2)), "the other two")
            with started(port, 5, meeting) as fresh:
                fresh.until_said("ready")
                fresh.until(lambda: shows(port, **{SUBMITTED: {"": 5.0, **rest}}), "the number that is free again")


def test_a_process_that_leaves_makes_room_at_once_and_does_not_stay(port, meeting):
    with started(port, 1, meeting) as first, started(port, 2, meeting) as second:
        for program in (first, second):
            program.until_said("ready")
        first.tell("handle.shutdown(); import threading; print('threads', threading.active_count())")
        first.until_said("threads 1")
        second.until(lambda: shows(port, **whole(1)), "one")
        for program in (first, second):
            program.process.stdin.close()
            program.end(0)
    left = [path for path in Path(meeting).rglob("*") if path.suffix == ".socket"]
    assert left == []


def test_a_process_that_does_not_answer_is_known_and_counted(port, meeting):
    with started(port, 1, meeting) as first:
        first.until_said("ready")
        with started(port, 2, meeting) as second:
            second.until_said("ready")
            second.send(signal.SIGSTOP)
            first.until(
                lambda: shows(port, **{SUBMITTED: {"": 1}, KNOWN: {"": 2}, ANSWERED: {"": 1}}), "the first alone"
            )
            assert failures(port, SILENT) >= 1
            second.send(signal.SIGCONT)
            second.until(lambda: shows(port, **{SUBMITTED: {"": 1, "1": 2}}, **whole(2)), "both")
            second.send(signal.SIGKILL)
            second.process.wait()
            assert shows(port, **{SUBMITTED: {"": 1}}, **whole(1)), "who has ended is not missed"


def test_a_port_of_somebody_else_is_noted_counted_and_taken_when_it_is_free(port, meeting):
    with socket.socket() as foreign:
        foreign.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        foreign.bind(("127.0.0.1", port))
        foreign.listen()
        with started(port, 4, meeting) as program:
            program.until_said("ready None")
            assert f"the Prometheus endpoint cannot listen on 127.0.0.1:{port}" in program.err
            foreign.close()
            program.until(lambda: shows(port, **{SUBMITTED: {"": 4}}), "its series")
            assert failures(port, TAKEN) == 1
            assert program.err.count("LOG WARNING") == 1


def test_a_port_that_was_refused_is_had_by_way_of_another_process(port, meeting):
    with socket.socket() as foreign:
        foreign.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        foreign.bind(("127.0.0.1", port))
        foreign.listen()
        with started(port, 4, meeting) as first, started(port, 5, meeting) as second:
            for program in (first, second):
                program.until(lambda program=program: "cannot listen" in program.err, "saying so")
            foreign.close()
            first.until(lambda: sorted(scrape(port).get(SUBMITTED, {}).values()) == [4, 5], "both")
            for program in (first, second):
                program.tell("while handle.prometheus_port != port: time.sleep(0.01)")
                program.tell("print('shown')")
                program.until_said("shown")
            first.until(lambda: failures(port, TAKEN) == 2, "what each of them counted")


def test_another_service_on_the_port_is_somebody_else(port, meeting):
    with started(port, 1, meeting) as first:
        first.until_said("ready")
        with started(port, 2, meeting, OTEL_SERVICE_NAME="another") as second:
            second.until_said("ready None")
            assert "cannot listen" in second.err
            assert shows(port, **{SUBMITTED: {"": 1}}, **whole(1))


def test_where_processes_cannot_meet_the_scrape_does_not_say_how_many_there_are(port, meeting):
    folder = Path(meeting, f"glasspool-{os.geteuid()}")
    folder.mkdir()
    folder.chmod(0o777)
    with started(port, 1, meeting) as program:
        program.until_said(f"ready {port}")
        assert f"{folder} must be a directory of this user that is closed to all others (mode 0700)" in program.err
        found = scrape(port)
        assert KNOWN not in found
        assert found[ANSWERED] == {"": 1}
    assert list(folder.iterdir()) == []


def test_the_meeting_place_is_closed_to_others(port, meeting):
    with started(port, 1, meeting) as program:
        program.until_said("ready")
        modes = {path.stat().st_mode & 0o777 for path in Path(meeting).rglob("*") if path.is_dir()}
    assert modes == {0o700}


FORK = """
import os, urllib.request
def submitted(port):
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
    return sorted(float(l.split()[-1]) for l in text.splitlines() if l.startswith("glasspool_task_submitted_total"))
def until_submitted(*values):
    while submitted(sys.argv[1]) != list(values):
        time.sleep(0.01)
    return list(values)
def known(port):
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
    return [float(l.split()[-1]) for l in text.splitlines() if l.startswith("glasspool_processes_known ")]
handle = configure(prometheus_port=int(sys.argv[1]))
work(5)
sys.stdout.flush()
pid = os.fork()
if pid == 0:
    print("idle", handle.prometheus_port, known(sys.argv[1]))
    work(2)
    print("busy", handle.prometheus_port == int(sys.argv[1]), until_submitted(2.0, 5.0), known(sys.argv[1]))
    print("same", configure(prometheus_port=int(sys.argv[1])) is handle, known(sys.argv[1]))
    grand = os.fork()
    if grand == 0:
        work(7)
        print("grand", until_submitted(2.0, 5.0, 7.0))
        sys.stdout.flush()
        sys.exit(0)
    assert os.waitpid(grand, 0)[1] == 0
    sys.exit(0)
assert os.waitpid(pid, 0)[1] == 0
print("after", submitted(sys.argv[1]), known(sys.argv[1]))
"""


def test_a_forked_child_joins_when_it_first_has_something_to_show(port, meeting):
    done = run_python(SETUP + FORK, str(port), TMPDIR=meeting)
    assert list(done.lines("idle")) == ["None [1.0]"]
    assert list(done.lines("busy")) == ["True [2.0, 5.0] [2.0]"]
    assert list(done.lines("same")) == ["True [2.0]"]
    assert list(done.lines("grand")) == ["[2.0, 5.0, 7.0]"]
    assert list(done.lines("after")) == ["[5.0] [1.0]"]
    assert "LOG WARNING" not in done.err


def test_a_forked_child_may_have_a_port_of_its_own(port, meeting):
    child = """
    work(2)
    own = configure(prometheus_port=0).prometheus_port
    print("own", own != int(sys.argv[1]), submitted(own), known(sys.argv[1]))
    sys.exit(0)
"""
    code = SETUP + FORK.partition("    print(")[0] + child + "assert os.waitpid(pid, 0)[1] == 0"
    assert list(run_python(code, str(port), TMPDIR=meeting).lines("own")) == ["True [2.0] [1.0]"]


GUNICORN = ("-m", "gunicorn", "sharing_app:app", "-b", "unix:{socket}", "-w", "4", "-k", "uvicorn_worker.UvicornWorker")
SERVERS = {
    "uvicorn": ("-m", "uvicorn", "sharing_app:app", "--uds", "{socket}", "--workers", "4"),
    "gunicorn": GUNICORN,
    "gunicorn --preload": (*GUNICORN, "--preload"),
}


class Served:
    """A server with four workers, and what each of them said last."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.said: dict[int, dict[str, Any]] = {}

    def work(self, requests: int) -> bool:
        for _ in range(requests):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(LIMIT)
                try:
                    connection.connect(self.path)
                    connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
                    answer = HTTPResponse(connection)
                    answer.begin()
                    found = json.loads(answer.read())
                except (OSError, HTTPException):  # no process serves yet, or the one that had accepted it was killed
                    continue
            self.said[found["pid"]] = found
        return True

    def all_there(self) -> bool:
        """Work until each of four workers has had some."""
        return self.work(20) and len(self.said) >= 4

    def matches(self, port: int, processes: int) -> bool:
        """The scrape shows as many tasks as the workers did."""
        total = sum(found["done"] for found in self.said.values())
        found = scrape(port)
        return sum(found.get(SUBMITTED, {}).values()) == total and found.items() >= whole(processes).items()

    def kill(self, *, serving: bool) -> int | None:
        """Kill a worker that serves the port or one that does not."""
        for pid, found in self.said.items():
            if found["serves"] is serving:
                os.kill(pid, signal.SIGKILL)
                del self.said[pid]
                return pid
        return None


@pytest.mark.parametrize("name", SERVERS)
def test_all_workers_of_a_server_are_shown_whoever_dies(name, port, meeting):
    for package in ("uvicorn", "uvicorn_worker", "gunicorn"):
        if any(package in argument for argument in SERVERS[name]) and importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install {package}")
    path = f"{meeting}/web"
    arguments = [argument.format(socket=path) for argument in SERVERS[name]]
    processes = 5 if "preload" in name else 4  # the master has configured telemetry, too
    with Program(*arguments, cwd=HERE, TMPDIR=meeting, SHARED_PORT=str(port)) as program:
        program.until(lambda: Path(path).exists(), "its socket")
        server = Served(path)
        program.until(server.all_there, "four workers")
        program.until(lambda: server.matches(port, processes), "all of the work")
        assert set(scrape(port)[SUBMITTED]) <= {"", "1", "2", "3", "4"}
        for serving in (False, True):
            if server.kill(serving=serving) is None:
                assert serving
                assert "preload" in name, "only there the master serves, which does no work"
                continue
            program.until(server.all_there, "another worker")
            program.until(lambda: server.matches(port, processes), "all of the work again")
            assert set(scrape(port)[SUBMITTED]) <= {"", "1", "2", "3", "4"}, "numbers are given again"
        program.send(signal.SIGTERM)
        program.end(None)


@pytest.mark.parametrize(
    "answer",
    [
        b"not json\n",
        b"[]\n",
        b'{"points":{"another.metric":[[{},1]]},"histograms":{}}\n',
        b'{"points":{"glasspool.task.submitted":[[{"pickle":"1"},1]]},"histograms":{}}\n',
        b'{"points":{"glasspool.task.submitted":[[{},"many"]]},"histograms":{}}\n',
        b'{"points":{},"histograms":{"glasspool.task.duration":[[{},[1,2],3.0,[]]]}}\n',
        b'{"points":{',
        b"",
    ],
)
def test_an_answer_that_cannot_be_read_is_none(answer, port, meeting):
    with started(port, 3, meeting) as program, socket.socket(socket.AF_UNIX) as other:
        program.until_said("ready")
        (folder,) = Path(meeting, f"glasspool-{os.geteuid()}").iterdir()
        other.bind(str(folder / "7.socket"))
        other.listen()
        replied: list[bytes] = []
        over = False

        def reply() -> None:
            while not over:
                with other.accept()[0] as connection:
                    try:
                        connection.sendall(answer)
                        replied.append(answer)
                    except OSError:  # it only checked whether a process is here
                        pass

        thread = threading.Thread(target=reply)
        thread.start()
        try:
            said = "process 7 behind this Prometheus port is not shown"
            while not (said in program.err if answer.endswith(b"\n") else replied):
                found = scrape(port)
                assert (found[KNOWN], found[ANSWERED], found[SUBMITTED]) == ({"": 2}, {"": 1}, {"": 3})
            assert failures(port, SILENT) >= 1
        finally:
            over = True
            with socket.socket(socket.AF_UNIX) as last:
                last.connect(str(folder / "7.socket"))
            thread.join()


def test_snapshots_come_through_a_line_whole():
    registry = Registry()
    mail = full_recorder(registry)
    run_task(mail, "größe\n", span=sampled_span(0xAA << 100, 0xBB))
    run_task(mail, "b", "error", "ValueError")
    before = registry.collect()
    after = snapshot_json.from_line(snapshot_json.to_line(before), 0)
    assert after.points == {
        name: [replace(point, value=pytest.approx(point.value)) for point in points]
        for name, points in before.points.items()
    }
    assert {name: [replace(point, exemplars=()) for point in points] for name, points in after.histograms.items()} == {
        name: [replace(point, exemplars=()) for point in points] for name, points in before.histograms.items()
    }
    kept = [found for points in after.histograms.values() for point in points for found in point.exemplars if found]
    assert (0xAA << 100, 0xBB) in {(trace_id, span_id) for _, trace_id, span_id, _ in kept}
    numbered = snapshot_json.from_line(snapshot_json.to_line(before), 3)
    for points in (*numbered.points.values(), *numbered.histograms.values()):
        assert {point.attributes[Key.PROCESS_NUMBER] for point in points} == {"3"}


def test_beside_an_opentelemetry_reader_no_series_appears_twice_and_the_others_count_as_missing(port, meeting):
    pytest.importorskip("opentelemetry.exporter.prometheus", reason="pip install opentelemetry-exporter-prometheus")
    read = (
        "from opentelemetry import metrics; from opentelemetry.exporter.prometheus import PrometheusMetricReader; "
        "from opentelemetry.sdk.metrics import MeterProvider; "
        "metrics.set_meter_provider(MeterProvider([PrometheusMetricReader()])); work(1); print('taken over')"
    )
    with started(port, 1, meeting) as first, started(port, 2, meeting) as second:
        for program in (first, second):
            program.until_said("ready")
        # Whichever of them has the port.
        for program in (first, second):
            program.tell(read)
            program.until_said("taken over")
        found = scrape(port)
        assert (found[KNOWN], found[ANSWERED]) == ({"": 2}, {"": 1})
        lines = [line for line in fetch(port).decode().splitlines() if line.startswith(f"{SUBMITTED}{{")]
        assert len(lines) == 1
        assert NUMBER not in lines[0]
