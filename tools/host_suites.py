"""Run the host projects' own test suites, plain and with every instrumentor on, and compare what passed.

    python tools/host_suites.py cpython-futures cpython-asyncio --python ~/.pyenv/versions/3.13.0/bin/python
    python tools/host_suites.py anyio trio

The CPython suites are those of the interpreter given (it must have its ``test`` package; some distributions leave it
out). anyio's comes from its source distribution, trio's is in its wheel. Everything runs in virtual environments made
under ``--work`` (default: a temporary directory); the instrumented run turns on ``glasspool_instrumentation`` in a
``sitecustomize`` before anything else is imported. Exits with 1 when a test fails instrumented and not plain.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

SITECUSTOMIZE = """
import glasspool_instrumentation as gi

for name in {instrumentors!r}:
    options = {{}} if name in ("FuturesInstrumentor",) else {{"monitor": {monitor}}}
    if getattr(gi, name).available():
        getattr(gi, name)().instrument(**options)
"""

ALL = ("FuturesInstrumentor", "AsyncioInstrumentor", "AnyioInstrumentor", "TrioInstrumentor")


@dataclass(frozen=True)
class Suite:
    """One suite: what is installed besides glasspool's dependencies, and what is run in which directory."""

    packages: tuple[str, ...]
    command: tuple[str, ...]
    targets: tuple[str, ...]
    unittest: bool = False
    sdist: str = ""


# anyio's pytest plugin is imported before pytest can rewrite it, which pytest says and the suites make an error.
REWRITE = ("-W", "ignore::pytest.PytestAssertRewriteWarning")

SUITES = {
    "cpython-futures": Suite((), ("-m", "unittest", "-v"), ("test.test_concurrent_futures",), unittest=True),
    "cpython-asyncio": Suite((), ("-m", "unittest", "-v"), ("test.test_asyncio",), unittest=True),
    "anyio": Suite(
        ("pytest", "trio", "exceptiongroup", "psutil", "hypothesis", "trustme", "truststore", "coverage", "blockbuster",
         "pytest-mock", "pytest-timeout", "uvloop"),
        ("-m", "pytest", "-q", "-rfE", *REWRITE, "-p", "no:cacheprovider", "--no-header"),
        ("tests",),
        sdist="anyio",
    ),
    "trio": Suite(
        ("pytest", "trio", "trustme", "pyopenssl", "astor", "jedi", "pylint", "async_generator", "pyright", "mypy"),
        ("-m", "pytest", "-q", "-rfE", *REWRITE, "-p", "no:cacheprovider", "-p", "trio._tests.pytest_plugin",
         "--no-header", "--skip-optional-imports", "--pyargs"),
        ("trio._tests", "trio._core._tests"),
    ),
}  # fmt: skip


@dataclass
class Outcome:
    """What one run gave: counts, and the names of what failed."""

    passed: int
    failed: int
    skipped: int
    names: frozenset[str]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="+", choices=sorted(SUITES))
    parser.add_argument("--python", default=sys.executable, help="the interpreter (default: this one)")
    parser.add_argument("--work", help="a directory for environments and logs, kept (default: temporary)")
    parser.add_argument("--only", nargs="*", default=[], help="these tests instead of the whole suite")
    parser.add_argument("--monitor", action="store_true", help="with event-loop monitors, which add timers to loops")
    parser.add_argument("--timeout", type=float, default=1800, help="seconds for one run")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as temporary:
        work = Path(options.work or temporary)
        work.mkdir(parents=True, exist_ok=True)
        worse = False
        for name in options.suites:
            plain = run(name, work, options, instrumented=False)
            ours = run(name, work, options, instrumented=True)
            new = sorted(ours.names - plain.names)
            worse = worse or bool(new)
            for label, found in (("plain", plain), ("instrumented", ours)):
                print(f"{name:16} {label:13} {found.passed} passed, {found.failed} failed, {found.skipped} skipped")
            for test in new:
                print(f"    only instrumented: {test}")
            for test in sorted(plain.names - ours.names):
                print(f"    only plain: {test}")
    return 1 if worse else 0


def run(name: str, work: Path, options: argparse.Namespace, *, instrumented: bool) -> Outcome:
    """One run of one suite."""
    suite = SUITES[name]
    python = environment(work, options.python, suite.packages)
    directory = sources(work, suite, python) if suite.sdist else work
    env = dict(os.environ, PYTHONDONTWRITEBYTECODE="1", PYTHONPATH="")
    if instrumented:
        site = work / ("site-monitor" if options.monitor else "site")
        site.mkdir(exist_ok=True)
        text = SITECUSTOMIZE.format(instrumentors=ALL, monitor=options.monitor)
        (site / "sitecustomize.py").write_text(text)
        env["PYTHONPATH"] = os.pathsep.join(map(str, (site, ROOT / "src", ROOT / "instrumentation")))
    command = [str(python), *suite.command, *(options.only or suite.targets)]
    log = work / f"{name}-{'instrumented' if instrumented else 'plain'}.log"
    with log.open("w") as out:
        subprocess.run(
            command, cwd=directory, env=env, stdout=out, stderr=subprocess.STDOUT, timeout=options.timeout, check=False
        )
    text = log.read_text(errors="replace")
    return _unittest(text) if suite.unittest else _pytest(text)


def environment(work: Path, python: str, packages: tuple[str, ...]) -> Path:
    """A virtual environment with glasspool's dependencies and the suite's, made once."""
    version = subprocess.run([python, "-c", "import sys; print(*sys.version_info[:2])"], capture_output=True, text=True)
    directory = work / "-".join(["venv", *version.stdout.split(), str(abs(hash(packages)) % 10_000 if packages else 0)])
    found = directory / "bin" / "python"
    if not found.exists():
        subprocess.run([python, "-m", "venv", str(directory)], check=True)
        install = [str(found), "-m", "pip", "install", "-q", "anyio", "opentelemetry-api", *packages]
        subprocess.run(install, check=True)
    return found


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
    # The suite is to test the installed package, not the one beside it.
    subprocess.run(["rm", "-rf", str(directory / "src")], check=True)
    return directory


def _unittest(text: str) -> Outcome:
    ran = sum(map(int, re.findall(r"^Ran (\d+) tests?", text, re.M)))
    last = re.findall(r"^(?:OK|FAILED)(?: \((.*)\))?$", text, re.M)
    counts = dict(part.split("=") for part in (last[-1] if last else "").split(", ") if "=" in part)
    failed = int(counts.get("failures", 0)) + int(counts.get("errors", 0)) + (not ran)
    skipped = int(counts.get("skipped", 0))
    names = frozenset(re.findall(r"^(?:FAIL|ERROR): (.*)$", text, re.M))
    return Outcome(ran - failed - skipped, failed, skipped, names)


def _pytest(text: str) -> Outcome:
    tail = text[-3000:]

    def count(word: str) -> int:
        found = re.findall(rf"(\d+) {word}", tail)
        return int(found[-1]) if found else 0

    names = frozenset(re.findall(r"^(?:FAILED|ERROR) (\S+)", text, re.M))
    failed = count("failed") + count("errors?")
    return Outcome(count("passed"), failed, count("skipped"), names)


if __name__ == "__main__":
    sys.exit(main())
