"""The documentation agrees with the code, and its examples run."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from glasspool.telemetry import catalog
from tests.telemetry.support import LIMIT, ROOT, clean_environment

GENERATED = (
    "README.md", "docs/metrics.md", "docs/tutorial.md", "tools/generate_docs.py",
    "examples/quickstart.py", "examples/tutorial.py",
)  # fmt: skip


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a program of this checkout."""
    return subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, timeout=LIMIT, env=clean_environment()
    )


def test_nothing_generated_is_stale() -> None:
    done = run(ROOT / "tools" / "generate_docs.py", "--check")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("stale", "word"),
    [
        ("README.md", "def checksum(path: Path)"),
        ("docs/metrics.md", catalog.TASK_ACTIVE.prometheus_name),
        ("docs/tutorial.md", "def count_lines(path: Path)"),
    ],
)
def test_what_is_stale_is_said_and_mended(tmp_path: Path, stale: str, word: str) -> None:
    for name in GENERATED:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    path, generator = tmp_path / stale, tmp_path / "tools" / "generate_docs.py"
    fresh = path.read_text()
    assert word in fresh
    path.write_text(fresh.replace(word, "something_else"))
    done = run(generator, "--check")
    assert done.returncode == 1
    assert done.stdout.strip() == f"stale: {stale}"
    assert run(generator).returncode == 0
    assert path.read_text() == fresh


def test_every_metric_and_span_attribute_is_in_its_page_and_in_no_other_table() -> None:
    def rows(page: Path) -> set[str]:
        return set(re.findall(r"^\| `(glasspool\.[\w.]+)`", page.read_text(encoding="utf-8"), re.MULTILINE))

    names = {metric.name for metric in catalog.ALL_METRICS}
    names |= {attribute.key for attribute in catalog.SPAN_ATTRIBUTES if attribute.key.startswith("glasspool.")}
    assert names <= rows(ROOT / "docs" / "metrics.md")
    assert rows(ROOT / "README.md") == set()


def test_every_link_within_the_documentation_leads_somewhere() -> None:
    pages = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "dashboards/README.md")]
    broken = [
        f"{page.name}: {target}"
        for page in [*pages, *(ROOT / "docs").rglob("*.md")]
        for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8"))
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert broken == []


def test_the_quickstart_runs() -> None:
    done = run(ROOT / "examples" / "quickstart.py")
    assert done.returncode == 0, done.stderr
    *files, stats = done.stdout.splitlines()
    there = sorted(path.name for path in Path(anyio.__file__).parent.rglob("*.py"))
    assert sorted(line.split()[1] for line in files) == there
    assert f"succeeded={len(there)}, failed=0" in stats


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_tutorial_runs_and_prints_what_its_page_says(backend: str) -> None:
    start = f"import anyio, tutorial; anyio.run(tutorial.main, backend={backend!r})"
    done = subprocess.run(
        [sys.executable, "-c", start], capture_output=True, text=True, timeout=LIMIT, env=clean_environment(),
        cwd=ROOT / "examples",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr

    def comparable(text: str) -> list[str]:  # counts of lines and files differ from one Python to another, and so on
        return re.sub(r"\d+(\.\d+)?|\w+\.py", "…", text).splitlines()

    page = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    shown = [line for block in re.findall(r"```text\n(.*?)```", page, re.DOTALL) for line in comparable(block)]
    printed = comparable(done.stdout)
    assert [line for line in shown if line not in printed] == []


def test_the_table_of_contexts_is_what_its_tool_prints() -> None:
    for package in ("loky", "distributed"):
        pytest.importorskip(package)
    done = run(ROOT / "tools" / "context_matrix.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in (ROOT / "docs" / "instrumentation.md").read_text(encoding="utf-8")


def test_the_benchmark_of_wrapped_pools_runs() -> None:
    done = run(ROOT / "benchmarks" / "wrap_overhead.py", "--tasks", "20", "--rounds", "1")
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()].count("traced") == 2


def test_the_benchmark_of_pools_beside_other_instrumentation_runs() -> None:
    done = run(ROOT / "benchmarks" / "pool_cost.py", "--tasks", "20", "--rounds", "1")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert sum("bare" in line for line in lines) == sum("wrapped, traced" in line for line in lines) == 2


@pytest.mark.parametrize("backend", ["asyncio", "uvloop", "trio"])
def test_the_benchmark_of_the_executor_runs(backend: str) -> None:
    ours = ("no SDK", "Prometheus", "SDK metrics", "SDK's Prometheus", "sampled out", "traced")
    cases = [*(f"glasspool, {case}" for case in ours), "threads: glasspool, traced", "threads: anyio.to_thread"]
    if backend == "asyncio":
        cases += ["naive, traced", "opentelemetry's, traced", "threads: run_in_executor"]
    for case in cases:
        options = ("--tasks", "20", "--rounds", "1", "--cpu", "--case", case, backend)
        done = run(ROOT / "benchmarks" / "executor_cost.py", *options)
        assert done.returncode == 0, done.stderr
        assert float(done.stdout) > 0


@pytest.mark.parametrize("what", ["--growth", "--memory", "--delay", None])
def test_the_benchmark_of_shapes_of_work_runs(what: str | None) -> None:
    if what is None:
        pytest.importorskip("aiometer")
        pytest.importorskip("aiojobs")
    done = run(
        ROOT / "benchmarks" / "executor_shapes.py",
        "--tasks",
        "80",
        "--seconds",
        "0.2",
        "--rounds",
        "1",
        *([what] if what else []),
    )
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines() if line].count("trio") >= 1


def test_the_benchmark_of_policies_runs() -> None:
    done = run(ROOT / "benchmarks" / "policies.py", "--tasks", "200", "--rounds", "1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("MiB") == 7


def test_the_fan_out_runs() -> None:
    done = run(ROOT / "examples" / "llm_fan_out.py")
    assert done.returncode == 0, done.stderr
    plan, draft, executor = done.stdout.splitlines()
    assert plan.startswith("plan: ")
    assert sum(map(int, re.findall(r"\d+", draft))) == 40
    submitted, *ended = map(int, re.findall(r"\d+", executor))
    assert submitted == sum(ended)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_client_of_a_model_keeps_to_its_limits_and_pauses_where_it_is_refused(backend: str) -> None:
    printed = run_example("llm_rate_limits", backend)
    line = r"^window \d+: +(\d+) requests, +(\d+) answered, (\d+) refused with 429, +(\d+) tokens$"
    windows = re.findall(line, printed, re.MULTILINE)
    requests, answered, refused, tokens = ([*map(int, column)] for column in zip(*windows, strict=True))
    assert requests == [sum(pair) for pair in zip(answered, refused, strict=True)]
    assert max(answered) <= 30
    assert max(tokens) <= 3000
    questions, tasks, attempts = map(int, re.findall(r"\d+", printed.splitlines()[-1]))
    assert (questions, sum(answered)) == (36, 36 + 3)  # somebody else's three
    assert (tasks, sum(refused)) == (36, attempts - 36 + 1)
    assert attempts > 36


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_orders_at_a_flaky_server_are_placed_once_whatever_tries_them_again(backend: str) -> None:
    pytest.importorskip("stamina")
    pytest.importorskip("tenacity")
    orders = "9 orders in 15 requests, 9 placed; while three waited"
    assert run_example("retries", backend).splitlines() == [
        f"retry=: {orders}, 0 slots were in use, and 3 tasks were shown as waiting",
        f"stamina: {orders}, 3 slots were in use, and 0 tasks were shown as waiting",
        f"tenacity: {orders}, 3 slots were in use, and 0 tasks were shown as waiting",
    ]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_crawler_opens_two_connections_to_each_host(backend: str) -> None:
    printed = run_example("crawler", backend)
    assert re.match(r"80 pages in .* s, 80 of them different\n", printed)
    assert re.findall(r"^host (\d): (\d+) requests, at most (\d+) connections", printed, re.MULTILINE) == [
        (str(number), "20", "2") for number in range(1, 5)
    ]


def test_the_walk_through_a_tree_counts_every_file(tmp_path: Path) -> None:
    folder = tmp_path
    for depth in range(30):
        (folder / "file").write_bytes(b"x" * depth)
        for name in ("a", "b"):
            (folder / name).mkdir()
        folder /= "a"
    done = run(ROOT / "examples" / "tree_walk.py", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{sum(range(30))} bytes in {tmp_path}: 122 tasks on 4 slots\n")
    assert int(re.findall(r"at most (\d+) tasks", done.stdout)[0]) >= 30


def test_the_benchmark_of_nested_work_runs() -> None:
    done = run(ROOT / "benchmarks" / "nesting.py", "--parents", "100", "--rounds", "1")
    assert done.returncode == 0, done.stderr
    assert int(re.findall(r"^suspended at a time: (\d+)", done.stdout, re.MULTILINE)[0]) <= 4


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_consumer_starts_again_and_the_store_is_closed_last(backend: str) -> None:
    first, last, _, stored = run_example("consumer_service", backend).splitlines()
    assert first == "connection 1: <Service 'consumer' running>"
    assert last == "connection 4: <Service 'consumer' running>"
    assert stored == "300 orders are stored; the store is closed"


def run_example(name: str, backend: str) -> str:
    """What its ``main`` prints."""
    pytest.importorskip("httpx")
    start = f"import anyio, {name}; anyio.run({name}.main, backend={backend!r})"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", start], capture_output=True, text=True, timeout=LIMIT,
        env=clean_environment(), cwd=ROOT / "examples",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_benchmark_of_rates_runs() -> None:
    options = ("--seconds", "0.3", "--rounds", "1", "--counts", "50", "--bursts", "1", "5")
    done = run(ROOT / "benchmarks" / "start_rates.py", *options)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["asyncio"] * 2 + ["uvloop"] * 2 + ["trio"] * 2
