"""The shipped alerts on series of real programs: healthy ones raise none, sick ones the right one and only that.

Programs that wait for nothing but time run here, three hours on a mock clock; the others were recorded in real time
(`make record-alerts` does it anew) and are replayed against the rules of today.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from glasspool._monitoring import RuleOptions, rule_files
from tests.dashboards.support.backend_tools import need

from .recording import Recording
from .replay import KNOWN, Expectation, metrics_read, replay
from .situations import SICK, WELL, Sick, Well

HERE = Path(__file__).resolve().parent
HOURS = 3 * 3600
FIRING = 'ALERTS{alertstate="firing"}'
EVER = f"group by (job, alertname) (count_over_time({FIRING}[4h]))"


def recorded(name: str) -> Recording:
    return Recording.read(HERE / "recorded" / f"{name}.series.gz")


def on_a_mock_clock(name: str) -> Recording:
    command = [sys.executable, str(HERE / "programs" / "virtual.py"), name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return Recording(name, found["seconds"], found["scrapes"], found["series"])


def three_hours(program: Well) -> Recording:
    if program.steady is None:
        return on_a_mock_clock(program.name)
    return recorded(program.name).extended(HOURS, program.steady)


@pytest.fixture(scope="module")
def well() -> list[Recording]:
    need("promtool")
    pytest.importorskip("trio")
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(three_hours, WELL))


@pytest.mark.parametrize("thinned", [1, 4])
def test_healthy_programs_raise_no_alert_in_three_hours(tmp_path: Path, well: list[Recording], thinned: int) -> None:
    assert all(each.length >= HOURS - each.seconds for each in well)
    nothing = Expectation(EVER, HOURS, ())
    replay(tmp_path, [each.thinned(thinned) for each in well], [nothing], RuleOptions())


def test_each_healthy_program_does_what_could_be_taken_for_trouble(tmp_path: Path, well: list[Recording]) -> None:
    traps = [
        Expectation(f"group by (job) (count_over_time(({each.trap})[3h:15s]))", HOURS, ({"job": each.name},))
        for each in WELL
    ]
    replay(tmp_path, well, traps)


def test_the_same_series_raise_what_they_should_once_somebody_waits_for_the_tasks(
    tmp_path: Path, well: list[Recording]
) -> None:
    """The silence above is the rules' judgement: with an objective for every name, these batches and fan-outs burn."""
    burning = ("GlasspoolWaitObjectiveBurning", "GlasspoolWaitObjectiveBurningSlowly")
    full = ("GlasspoolSaturated", "GlasspoolQueueFilling", "GlasspoolProducersStuck", "GlasspoolNotStarting")
    raised = {
        "as-completed": burning,
        "fan-out": burning,
        "etl-batch": (*burning, *full),
        "etl-pools": (*burning, "GlasspoolSaturated"),
        "service": (),
        "nobody": (),
    }
    expected = tuple({"job": name, "alertname": alert} for name, alerts in raised.items() for alert in alerts)
    chosen = [each.thinned(4) for each in well if each.name in raised]
    options = RuleOptions(wait_objectives=((".*", 0.5),))
    replay(tmp_path, chosen, [Expectation(EVER, HOURS, expected)], options)


def test_sick_programs_raise_the_right_alert_within_ten_minutes_and_no_other(tmp_path: Path) -> None:
    named = "group by (job, alertname, glasspool_executor_name, glasspool_eventloop_name)"
    expected = []
    for each in SICK:
        firing = f'ALERTS{{alertstate="firing", job="{each.name}"}}'
        right = {"job": each.name, "alertname": each.alert}
        who = tuple({**right, each.named_by: name} for name in each.who)
        expected += [
            Expectation(firing, each.onset, ()),
            Expectation(f"{named} ({firing})", each.onset + 600, who),
            Expectation(f"{named} (count_over_time({firing}[1h]))", recorded(each.name).length, who),
        ]
    replay(tmp_path, [recorded(each.name) for each in SICK], expected, RuleOptions())


def test_a_wrong_expectation_is_noticed(tmp_path: Path) -> None:
    first = SICK[0]
    quiet = Expectation(EVER, recorded(first.name).length, ())
    with pytest.raises(AssertionError, match=first.alert):
        replay(tmp_path, [recorded(first.name)], [quiet], RuleOptions())


def test_the_recordings_are_of_todays_metrics() -> None:
    files = sorted(path.name for path in (HERE / "recorded").iterdir())
    assert files == sorted(f"{each.name}.series.gz" for each in (*WELL, *SICK) if getattr(each, "steady", 1))
    for file in files:
        names = names_of(recorded(file.removesuffix(".series.gz")))
        assert names <= KNOWN, f"{file}: {names - KNOWN} are unknown; record anew"


def test_some_program_shows_every_metric_that_a_rule_reads(well: list[Recording]) -> None:
    programs = [*well, *(recorded(each.name) for each in SICK)]
    shown = {name for program in programs for name in names_of(program)}
    assert metrics_read(rule_files(RuleOptions()).values()) <= shown


def names_of(recording: Recording) -> set[str]:
    return {series.partition("{")[0] for series in recording.series}


def test_the_recordings_are_small() -> None:
    assert sum(path.stat().st_size for path in (HERE / "recorded").iterdir()) < 1_000_000


@pytest.mark.parametrize("program", [*WELL, *SICK], ids=lambda program: program.name)
def test_recordings_are_long_enough(program: Well | Sick) -> None:
    if isinstance(program, Sick):
        assert recorded(program.name).length >= program.onset + 600
    elif program.steady is not None:
        assert recorded(program.name).length > program.steady


def test_every_alert_that_a_situation_names_is_shipped() -> None:
    shipped = set(re.findall(r"alert: (\w+)", rule_files(RuleOptions())["glasspool.alerts.yaml"]))
    assert {each.alert for each in SICK} <= shipped
