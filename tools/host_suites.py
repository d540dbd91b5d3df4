"""Run the host projects' own test suites, plain and with every instrumentor on, and compare what passed.

    python tools/host_suites.py cpython-futures --python ~/.pyenv/versions/3.13.0/bin/python
    python tools/host_suites.py anyio trio --instrumented --monitor

The CPython suites are those of the interpreter given (it must have its ``test`` package; some distributions leave it
out). anyio's and trio's come from the source distributions of the versions that pip finds. Everything runs in virtual
environments made under ``--work`` (default: a temporary directory). In the instrumented run every Python process that
is started in them, including isolated ones (``-I``), turns on a copy of ``glasspool_instrumentation`` before anything
else is imported. A run that reaches ``--timeout`` is ended: each of its processes logs its stacks, and the results so
far are printed. Exits with 1 if a test fails instrumented and passes plain, or a run does not finish.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

PTH = "import os, sys; d = os.environ.get('GLASSPOOL_SUITE'); d and (sys.path.append(d), __import__('suite_start'))\n"
"""A line for a ``.pth`` file, which every start of an environment's Python executes."""

START = """
import glasspool_instrumentation as gi

options = {{"monitor": {monitor}}}
if {spans}:
    from opentelemetry import context, trace
    from opentelemetry.sdk.trace import TracerProvider

    trace.set_tracer_provider(TracerProvider())
    context.attach(trace.set_span_in_context(trace.get_tracer("suite").start_span("suite")))  # all else is in its trace
    options["spans"] = "*"
for name in {instrumentors!r}:
    if getattr(gi, name).available():
        getattr(gi, name)().instrument(**(options if name != "FuturesInstrumentor" else {{}}))
"""

ALL = ("FuturesInstrumentor", "AsyncioInstrumentor", "AnyioInstrumentor", "TrioInstrumentor")


@dataclass(frozen=True)
class Suite:
    """One suite: the packages to install besides glasspool's dependencies, the command to run, and its directory."""

    packages: tuple[str, ...]
    command: tuple[str, ...]
    targets: tuple[str, ...]
    unittest: bool = False
    sdist: str = ""


REGRTEST = ("-X", "faulthandler", "-m", "test", "-v")
PYTEST = ("-m", "pytest", "-v", "-rfE", "-p", "no:cacheprovider", "--no-header", "-o", "faulthandler_timeout=120")

SUITES = {
    "cpython-futures": Suite((), REGRTEST, ("test_concurrent_futures",), unittest=True),
    "cpython-asyncio": Suite((), REGRTEST, ("test_asyncio",), unittest=True),
    "anyio": Suite(
        ("pytest", "trio", "exceptiongroup", "psutil", "hypothesis", "trustme", "truststore", "coverage", "blockbuster",
         "pytest-mock", "pytest-timeout", "uvloop"),
        (*PYTEST, "-m", "not network"),  # which need DNS and a package index
        ("tests",),
        sdist="anyio",
    ),
    "trio": Suite(
        ("pytest", "trio", "trustme", "pyopenssl", "astor", "jedi", "pylint", "async_generator", "pyright", "mypy"),
        (*PYTEST, "-p", "trio._tests.pytest_plugin", "--run-slow", "--skip-optional-imports", "--pyargs"),
        ("trio",),
        sdist="trio",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """The result of one run: counts, the names of failed tests, and whether it finished."""

    passed: int
    failed: int
    skipped: int
    names: frozenset[str]
    seconds: float = 0
    finished: bool = True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="+", choices=sorted(SUITES))
    parser.add_argument("--python", default=sys.executable, help="the interpreter (default: this one)")
    parser.add_argument("--work", type=Path, help="a directory for environments and logs, kept (default: temporary)")
    parser.add_argument("--only", nargs="*", default=[], help="these tests instead of the whole suite")
    parser.add_argument("--leave-out", nargs="*", default=[], metavar="TEST", help="test functions not to run")
    parser.add_argument("--monitor", action="store_true", help="with event-loop monitors, timers in asyncio's loops")
    parser.add_argument("--spans", action="store_true", help="with an SDK, and a recorded span for every task and call")
    parser.add_argument("--timeout", type=float, default=1800, help="seconds for one run")
    one = parser.add_mutually_exclusive_group()
    one.add_argument("--plain", action="store_true", help="only the plain run")
    one.add_argument("--instrumented", action="store_true", help="only the instrumented run")
    options = parser.parse_args()
    # Background jobs of a shell ignore Ctrl-C, their children inherit that, and the suites test what Ctrl-C does.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    ways = [False] if options.plain else [True] if options.instrumented else [False, True]

    with tempfile.TemporaryDirectory() as temporary:
        work = (options.work or Path(temporary)).resolve()
        work.mkdir(parents=True, exist_ok=True)
        worse = False
        for name in options.suites:
            found = {way: run(name, work, options, instrumented=way) for way in ways}
            plain = found[False].names if False in found else None
            ours = found[True].names if True in found else None
            if plain is None or ours is None:
                for test in sorted(plain or ours or ()):
                    print(f"    failed: {test}")
                plain = ours = frozenset()
            for test in sorted(ours - plain):
                print(f"    only instrumented: {test}")
            for test in sorted(plain - ours):
                print(f"    only plain: {test}")
            worse = worse or bool(ours - plain) or not all(outcome.finished for outcome in found.values())
    return 1 if worse else 0


def run(name: str, work: Path, options: argparse.Namespace, *, instrumented: bool) -> Outcome:
    """One run of one suite; prints its counts."""
    suite = SUITES[name]
    python, version = environment(work, options.python, name)
    extras = "-monitored" * options.monitor + "-spans" * options.spans
    label = f"instrumented{extras}" if instrumented else "plain"
    env = dict(os.environ, PYTHONDONTWRITEBYTECODE="1", PYTHONPATH="", GLASSPOOL_SUITE="")
    if instrumented:
        env["GLASSPOOL_SUITE"] = str(copied(work / f"{name}-{version}-{label}", python, options))
    log = work / f"{name}-{version}-{label}.log"
    left_out = [f"--ignore={test}" for test in options.leave_out]
    if options.leave_out and not suite.unittest:
        left_out = ["-k", " and ".join(f"not {test}" for test in options.leave_out)]
    command = [str(python), *suite.command, *left_out, *(options.only or suite.targets)]
    directory = sources(work, suite, python) if suite.sdist else work
    begun = time.monotonic()
    with log.open("w") as out:
        # A session of its own, so that the processes a suite leaves behind can be ended with it.
        process = subprocess.Popen(
            command, cwd=directory, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
        try:
            finished = process.wait(options.timeout) is not None
        except subprocess.TimeoutExpired:
            finished = False
            os.killpg(process.pid, signal.SIGABRT)  # faulthandler writes the stacks
            time.sleep(2)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    text = log.read_text(errors="replace")
    found = _unittest(text) if suite.unittest else _pytest(text)
    finished = finished and found.passed + found.failed > 0  # it may have ended before its first test
    found = replace(found, seconds=time.monotonic() - begun, finished=finished)
    print(
        f"{name:16} {version:8} {label:12} {found.passed} passed, {found.failed} failed, {found.skipped} skipped, "
        f"{found.seconds:.0f} s{'' if finished else ' (NOT FINISHED; see ' + log.name + ')'}",
        flush=True,
    )
    return found


def copied(site: Path, python: Path, options: argparse.Namespace) -> Path:
    """A directory with a copy of this checkout's packages (which may be edited meanwhile) and the file that turns them
    on."""
    shutil.rmtree(site, ignore_errors=True)
    for package in (ROOT / "src" / "glasspool", ROOT / "instrumentation" / "glasspool_instrumentation"):
        shutil.copytree(package, site / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    (site / "suite_start.py").write_text(START.format(instrumentors=ALL, monitor=options.monitor, spans=options.spans))
    # The suites start hundreds of processes, all of which import it, and some are timed.
    subprocess.run([str(python), "-m", "compileall", "-q", str(site)], check=True)
    return site


def environment(work: Path, python: str, name: str) -> tuple[Path, str]:
    """A virtual environment with glasspool's dependencies and the suite's, made once; and the Python's version."""
    ask = [os.path.expanduser(python), "-c", "import platform; print(platform.python_version())"]
    version = subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()
    directory = work / f"venv-{'cpython' if SUITES[name].unittest else name}-{version}"
    found = directory / "bin" / "python"
    if not found.exists():
        subprocess.run([ask[0], "-m", "venv", str(directory)], check=True)
        install = [str(found), "-m", "pip", "install", "-q", "anyio", "opentelemetry-sdk", *SUITES[name].packages]
        subprocess.run(install, check=True)
    next(directory.glob("lib/*/site-packages")).joinpath("glasspool-suite.pth").write_text(PTH)
    return found, version


def sources(work: Path, suite: Suite, python: Path) -> Path:
    """The unpacked source distribution of the version that is installed."""
    show = [str(python), "-c", f"import importlib.metadata as m; print(m.version({suite.sdist!r}))"]
    version = subprocess.run(show, capture_output=True, text=True, check=True).stdout.strip()
    directory = work / f"{suite.sdist}-{version}"
    if not directory.exists():
        download = [str(python), "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", "-d", str(work)]
        subprocess.run([*download, f"{suite.sdist}=={version}"], check=True)
        with tarfile.open(next(work.glob(f"{suite.sdist}-{version}.tar.gz"))) as archive:
            archive.extractall(work)
    # The suite must test the installed package, not the one beside it.
    shutil.rmtree(directory / "src", ignore_errors=True)
    return directory


def _unittest(text: str) -> Outcome:
    if re.search(r"^Total duration", text, re.M):  # of the whole run, the last line but one
        names = frozenset(re.findall(r"^(?:FAIL|ERROR): (.*)$", text, re.M))
        ran = sum(map(int, re.findall(r"^Ran (\d+) tests?", text, re.M)))
        skipped = sum(map(int, re.findall(r"^(?:OK|FAILED) \(.*?skipped=(\d+)", text, re.M)))
        return Outcome(ran - len(names) - skipped, len(names), skipped, names)
    # The run ended before its summary: read the lines of the single tests. A test without a result was running.
    tests = re.split(r"^(?=\w+ \([\w.]+\))", text, flags=re.M)[1:]
    ends = [re.search(r"(?:\.\.\. |s |^)(ok|skipped|FAIL|ERROR|expected failure)\b", test, re.M) for test in tests]
    said = [end.group(1) if end else "" for end in ends]
    names = frozenset(
        test.split(" ... ")[0] for test, end in zip(tests, said, strict=True) if end in ("FAIL", "ERROR", "")
    )
    return Outcome(said.count("ok"), said.count("FAIL") + said.count("ERROR"), said.count("skipped"), names)


def _pytest(text: str) -> Outcome:
    ends = re.findall(r"^(\S*::.+?) (PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b", text, re.M)

    def names(*words: str) -> set[str]:
        return {name.rpartition("site-packages/")[2] for name, word in ends if word in words}

    bad = names("FAILED", "ERROR")
    return Outcome(len(names("PASSED") - bad), len(bad), len(names("SKIPPED")), frozenset(bad))


if __name__ == "__main__":
    sys.exit(main())
