"""``glasspool dashboards`` and ``glasspool rules``, as a user runs them, against files and a real HTTP server."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

import glasspool
from glasspool._monitoring import RuleOptions, provisioning, rule_files
from glasspool._monitoring.options import flag
from glasspool._monitoring.retouching import TRACES
from glasspool.cli.dashboards import dashboards_app, rules_app
from tests.dashboards.support.fake_grafana import EDITOR, VIEWER, FakeGrafana, serving

ASSETS = Path(glasspool.__file__).parent / "assets"
UIDS = ["glasspool-executor", "glasspool-overview", "glasspool-runtime"]


@pytest.fixture
def grafana() -> Iterator[FakeGrafana]:
    with serving() as running:
        yield running


def run(*arguments: str, token: str | None = None) -> Result:
    environment = {"GRAFANA_TOKEN": token, "COLUMNS": "200"}
    return CliRunner().invoke(dashboards_app, list(arguments), env=environment)


def push(grafana: FakeGrafana, *arguments: str, token: str | None = EDITOR) -> Result:
    return run("push", "--grafana", grafana.url, *arguments, token=token)


def test_list_names_every_dashboard() -> None:
    shown = run("list")
    assert shown.exit_code == 0
    assert [line.split()[0] for line in shown.stdout.splitlines()] == UIDS
    assert "Executors overview" in shown.stdout


def test_export_writes_what_is_shipped(tmp_path: Path) -> None:
    target = tmp_path / "new" / "dir"
    assert run("export", str(target)).exit_code == 0
    assert sorted(path.name for path in target.iterdir()) == [f"{uid}.json" for uid in UIDS]
    for shipped in provisioning.dashboards():
        assert (target / shipped.file_name).read_text(encoding="utf-8") == shipped.text
        assert (target / shipped.file_name).stat().st_mode & 0o777 == 0o644


def test_export_again_replaces(tmp_path: Path) -> None:
    (tmp_path / "glasspool-runtime.json").write_text("old")
    assert run("export", str(tmp_path), "runtime").exit_code == 0
    assert json.loads((tmp_path / "glasspool-runtime.json").read_text())["uid"] == "glasspool-runtime"
    assert len(list(tmp_path.iterdir())) == 1


def test_rules_export(tmp_path: Path) -> None:
    shown = CliRunner().invoke(rules_app, ["export", str(tmp_path)])
    assert shown.exit_code == 0
    names = {
        rule.get("record") or rule.get("alert")
        for path in tmp_path.iterdir()
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
    }
    assert {"glasspool:slot_utilization:ratio", "GlasspoolNotStarting"} <= names


def rules(directory: Path, *options: str) -> Result:
    return CliRunner().invoke(rules_app, ["export", str(directory), *options], env={"COLUMNS": "200"})


def test_rules_without_options_are_the_shipped_ones(tmp_path: Path) -> None:
    assert rules(tmp_path).exit_code == 0
    for path in sorted(tmp_path.iterdir()):
        assert path.read_text(encoding="utf-8") == (ASSETS / "rules" / path.name).read_text(encoding="utf-8")


def test_every_option_of_the_rules_is_on_the_command_line_with_its_help(tmp_path: Path) -> None:
    shown = CliRunner().invoke(rules_app, ["export", "--help"], env={"COLUMNS": "500"})
    again = run("export", "--help")
    for field in fields(RuleOptions):
        assert f"{flag(field.name)} " in shown.stdout
        assert field.metadata["help"] in shown.stdout
        assert f"{flag(field.name)} " in again.stdout


def test_rules_with_options(tmp_path: Path) -> None:
    options = ["--wait-objective", "web-.*=0.5", "--wait-objective", "a=b=1", "--in-time-share", "0.995"]
    options += ["--reject-reason", "queue_full", "--grafana-url", "https://grafana.example.org", "--wait-floor", "7"]
    done = rules(tmp_path, *options)
    assert done.exit_code == 0, done.stderr
    chosen = RuleOptions(
        wait_objectives=(("web-.*", 0.5), ("a=b", 1.0)),
        in_time_share=0.995,
        reject_reasons=("queue_full",),
        grafana_url="https://grafana.example.org",
        wait_floor=7,
    )
    for name, text in rule_files(chosen).items():
        assert (tmp_path / name).read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--wait-objective", "web=0.3"), "'--wait-objective': 0.3 s is no bucket bound"),
        (("--wait-objective", "web"), "'--wait-objective': 'web': write NAME=SECONDS, such as 'web-.*=0.5'"),
        (("--wait-objective", "web=soon"), "'--wait-objective': 'web=soon': write NAME=SECONDS"),
        (("--wait-objective", "=0.5"), "'--wait-objective': a name is missing"),
        (("--queue-fill", "80"), "'--queue-fill': must lie between 0 and 1, both excluded; got 80.0"),
        (("--event-window", "quarter"), "'--event-window': 'quarter' is no duration"),
        (("--reject-reason", "full"), "'--reject-reason': must be among queue_full"),
        (("--wait-floor", "x"), "'--wait-floor'"),
        (("--wait-seconds", "1"), "No such option"),
    ],
)
def test_options_that_cannot_work_write_nothing(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    for done in (rules(tmp_path, *options), run("export", str(tmp_path), *options)):
        assert done.exit_code == 2
        assert message in " ".join(done.stderr.replace("│", " ").split())
    assert list(tmp_path.iterdir()) == []


def test_dashboards_draw_the_thresholds_of_the_options(tmp_path: Path) -> None:
    done = run("export", str(tmp_path), "--error-ratio", "0.005", "--producer-seconds", "90", "--tick-seconds", "2.5")
    assert done.exit_code == 0, done.stderr
    panels = {
        (path.stem, panel["title"]): panel
        for path in tmp_path.iterdir()
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]
    }

    def steps(board: str, title: str) -> list[float | None]:
        panel = panels[f"glasspool-{board}", title]
        return [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]]

    assert steps("overview", "Errors and timeouts") == [None, 0.005, 0.005], "a warning does not come after its alarm"
    assert steps("executor", "Longest-blocked producer") == [None, 10, 90]
    assert steps("runtime", "Event loop delay") == [None, 2.5, 2.5]
    assert steps("overview", "Queue against capacity") == [None, 0.5, 0.8]


@pytest.mark.filterwarnings("ignore:Prefer using dashboardv2:DeprecationWarning")
@pytest.mark.parametrize("traces", TRACES)
def test_a_dashboard_that_is_adapted_is_the_one_that_would_be_generated(traces: str) -> None:
    """The generator's SDK is not in the wheel; what is done to its result must come to the same."""
    pytest.importorskip("grafana_foundation_sdk", reason="grafana-foundation-sdk needs Python 3.11 or later")
    from dashboards.generator.boards import build_board
    from dashboards.generator.catalogue import boards

    options = RuleOptions(queue_fill=0.7, saturated_share=0.95, error_ratio=0.1, in_time_share=0.98, stall_seconds=3)
    generated = {board.uid: build_board(board, traces) for board in boards(options.lines())}
    for shipped in provisioning.dashboards():
        assert provisioning.adapted(shipped, options, traces).text == generated[shipped.uid]


def test_dashboards_for_jaeger(tmp_path: Path) -> None:
    assert run("export", str(tmp_path), "executor", "--traces", "jaeger").exit_code == 0
    text = (tmp_path / "glasspool-executor.json").read_text(encoding="utf-8")
    sources = {v["name"]: v["query"] for v in json.loads(text)["templating"]["list"] if v["type"] == "datasource"}
    assert sources == {"datasource": "prometheus", "traces": "jaeger"}
    assert "tempo" not in text
    refused = run("export", str(tmp_path), "--traces", "zipkin")
    assert refused.exit_code == 2
    assert "'zipkin'" in refused.stderr


def test_unknown_dashboard_names_the_known_ones(tmp_path: Path) -> None:
    shown = run("export", str(tmp_path), "overview", "nonsense")
    assert shown.exit_code == 1
    assert "'nonsense'" in shown.stderr
    assert all(uid in shown.stderr for uid in UIDS)
    assert list(tmp_path.iterdir()) == []


def test_directory_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    shown = run("export", str(tmp_path / "taken"))
    assert shown.exit_code == 1
    assert "taken" in shown.stderr
    assert "Nothing was written" in shown.stderr
    assert (tmp_path / "taken").read_text() == "mine"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a file system that nobody may write to")
def test_unwritable_directory() -> None:
    shown = run("export", "/proc/glasspool")
    assert shown.exit_code == 1
    assert "'/proc/glasspool'" in shown.stderr
    assert "choose a directory that you may write to" in shown.stderr


def test_failing_export_leaves_nothing_half_written(tmp_path: Path) -> None:
    (tmp_path / "glasspool-runtime.json").mkdir()  # the last of the three cannot be written
    shown = run("export", str(tmp_path))
    assert shown.exit_code == 1
    assert "Nothing was written" in shown.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["glasspool-runtime.json"]


def test_push_makes_the_folder_and_is_idempotent(grafana: FakeGrafana) -> None:
    first = push(grafana)
    assert first.exit_code == 0, first.stderr
    assert grafana.folders == {"glasspool": "Glasspool"}
    assert first.stdout.split() == [f"{grafana.url}/d/{uid}/slug" for uid in UIDS]
    before = {uid: saved["model"] for uid, saved in grafana.saved.items()}

    assert push(grafana).exit_code == 0
    assert {uid: saved["model"] for uid, saved in grafana.saved.items()} == before
    assert grafana.versions == dict.fromkeys(UIDS, 2)
    assert grafana.requests.count("POST /api/folders") == 1
    shipped = {dashboard.uid: json.loads(dashboard.text) for dashboard in provisioning.dashboards()}
    assert before == {uid: {**model, "id": None} for uid, model in shipped.items()}


def test_push_one_into_a_folder_of_its_own(grafana: FakeGrafana) -> None:
    assert push(grafana, "overview", "--folder", "On call / EU").exit_code == 0
    assert grafana.folders == {"on-call-eu": "On call / EU"}
    assert grafana.saved["glasspool-overview"]["folder"] == "on-call-eu"
    assert list(grafana.saved) == ["glasspool-overview"]


@pytest.mark.parametrize("token", [None, "expired"])
def test_push_without_a_valid_token(grafana: FakeGrafana, token: str | None) -> None:
    shown = push(grafana, token=token)
    assert shown.exit_code == 1
    assert "401" in shown.stderr
    assert "GRAFANA_TOKEN" in shown.stderr
    assert not grafana.folders
    assert not grafana.saved


def test_push_with_a_token_without_rights(grafana: FakeGrafana) -> None:
    shown = push(grafana, token=VIEWER)
    assert shown.exit_code == 1
    assert "403" in shown.stderr
    assert "dashboards:write" in shown.stderr
    assert not grafana.saved


def test_push_says_what_was_written_before_a_refusal(grafana: FakeGrafana) -> None:
    grafana.reserved.add("glasspool-overview")
    shown = push(grafana)
    assert shown.exit_code == 1
    assert "'glasspool-overview' was not written" in shown.stderr
    assert "412" in shown.stderr
    assert "plugin" in shown.stderr
    assert "Written before: glasspool-executor." in shown.stderr


def test_push_to_a_grafana_that_hangs(grafana: FakeGrafana) -> None:
    grafana.hung.clear()
    shown = push(grafana, "--timeout", "0.2")
    assert shown.exit_code == 1
    assert "did not answer within 0.2 s" in shown.stderr


def test_push_to_nobody() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        shown = run("push", "--grafana", f"http://127.0.0.1:{free.getsockname()[1]}")
    assert shown.exit_code == 1
    assert "cannot reach Grafana" in shown.stderr


def test_push_does_not_carry_the_token_along_a_redirect(grafana: FakeGrafana) -> None:
    with serving() as elsewhere:
        grafana.moved_to = elsewhere.url
        shown = push(grafana)
        assert elsewhere.requests == []
    assert shown.exit_code == 1
    assert f"it moved to {elsewhere.url}" in shown.stderr


def test_push_to_a_login_page(grafana: FakeGrafana) -> None:
    grafana.login_page = True
    shown = push(grafana)
    assert shown.exit_code == 1
    assert "did not answer as Grafana does" in shown.stderr


@pytest.mark.parametrize("url", ["grafana:3000", "ftp://grafana", "http://"])
def test_push_to_no_address(url: str) -> None:
    shown = run("push", "--grafana", url)
    assert shown.exit_code == 1
    assert f"'{url}'" in shown.stderr
    assert "https://" in shown.stderr


def test_token_of_two_lines_is_refused_before_it_is_sent(grafana: FakeGrafana) -> None:
    shown = push(grafana, token="one\ntwo")
    assert shown.exit_code == 1
    assert "GRAFANA_TOKEN" in shown.stderr
    assert grafana.requests == []
