"""``glasspool doctor -- COMMAND``: starts a program, has its processes examine themselves, and ends it.

Each Python of the program loads ``hook/sitecustomize.py``, as ``opentelemetry-instrument`` loads its own.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from .finding import Finding, ok, problem, warning
from .words import error_text, plain

__all__ = ["examine_command"]

_CHECK = "command"
_HOOK = str(Path(__file__).with_name("hook"))
_PAUSE = 0.05
_END_SECONDS = 5.0
"""For the program, from SIGTERM on; what is left is killed."""

_START_SECONDS = 20.0
"""For the first Python to begin: what has none by then is taken for another kind of program."""

_REPORT_SECONDS = 30.0
"""For imports and the examination, beside the time of its attempts: it runs while the program works."""


def examine_command(command: Sequence[str], *, seconds: float, timeout: float) -> list[Finding]:
    """Run the command for some time, and give what its processes have found about themselves.

    What the program writes goes to stderr; it has no input.

    :param command: the program and its arguments.
    :param seconds: how long it runs before it is examined; less if it ends by itself.
    :param timeout: seconds for each attempt of an examination to reach something.
    """
    with tempfile.TemporaryDirectory(prefix="glasspool-doctor-") as folder:
        begun = time.monotonic()
        try:
            process = _start(command, folder, seconds, timeout)
        except OSError as error:
            return [
                problem(
                    _CHECK, f"{plain(command[0])} cannot be started: {error_text(error)}.", "Nothing was examined.",
                    "Write the command as in a shell, such as: glasspool doctor -- python app.py",
                )
            ]  # fmt: skip
        try:
            _wait(process, Path(folder), seconds, timeout)
            ran = time.monotonic() - begun
            by_itself = process.poll()
        finally:
            killed = _end(process, Path(folder))
        reports = _reports(Path(folder))
        withouts = [plain(each.read_text(encoding="utf-8")) for each in Path(folder).glob("*.without")]
    findings = [_what_was_done(command, ran, by_itself, process.returncode, killed, len(reports))]
    findings += _without_findings(reports, withouts, by_itself)
    findings += _merged([each for each in reports if each["uses"]])
    return sorted(findings, key=lambda finding: ("problem", "warning", "ok").index(finding.level))


def _start(command: Sequence[str], folder: str, seconds: float, timeout: float) -> subprocess.Popen[bytes]:
    path = os.environ.get("PYTHONPATH")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([_HOOK, path]) if path else _HOOK,
        "GLASSPOOL_DOCTOR_FOLDER": folder,
        "GLASSPOOL_DOCTOR_SECONDS": str(seconds),
        "GLASSPOOL_DOCTOR_TIMEOUT": str(timeout),
    }
    return subprocess.Popen(  # noqa: S603 - what the user has asked for
        list(command), env=environment, stdin=subprocess.DEVNULL, stdout=sys.stderr.fileno(),
        start_new_session=os.name == "posix",
    )  # fmt: skip


def _wait(process: subprocess.Popen[bytes], folder: Path, seconds: float, timeout: float) -> None:
    """Until every process that has begun has reported, or is gone."""
    shared = folder / "until"  # made by the first Python, so that its own start takes nothing of the time
    due = time.time() + seconds + _START_SECONDS
    begun = False
    while time.time() < due + (_REPORT_SECONDS + 6 * timeout if begun else 0):
        ended = process.poll() is not None
        if not begun and shared.exists():
            begun, due = True, float(shared.read_text(encoding="utf-8"))
        pending = [pid for pid in _begun(folder) if not (folder / f"{pid}.json").exists()]
        waiting = any(_lives(pid) for pid in pending if pid != process.pid or not ended)
        if not waiting and (ended or (begun and time.time() >= due)):
            return
        time.sleep(_PAUSE)


def _begun(folder: Path) -> list[int]:
    return [int(each.stem) for each in folder.glob("*.begun")]


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0) if os.name == "posix" else None
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:  # one that has ended and that nobody waits for
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return os.name == "posix"


def _end(process: subprocess.Popen[bytes], folder: Path) -> bool:
    """End the program and all its processes; True if it had to be killed."""
    killed = False
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            killed = True
    if os.name == "posix":
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        for pid in _begun(folder):  # those that have left the group, as daemons do
            if pid != process.pid and _lives(pid):
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
    if killed:
        process.kill()
    process.wait()
    return killed


def _reports(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(each.read_text(encoding="utf-8")) for each in sorted(folder.glob("*.json"))]


def _what_was_done(
    command: Sequence[str], ran: float, by_itself: int | None, status: int, killed: bool, reports: int
) -> Finding:
    # Not the arguments: there may be a password among them.
    name = plain(os.path.basename(command[0]))
    examined = f"{reports} process{'es' if reports != 1 else ''} examined"
    if by_itself is None and killed:
        return warning(
            _CHECK,
            f"{name} ran for {ran:.1f} s, {examined}; it did not end by SIGTERM within {_END_SECONDS:g} s: killed.",
            "A server that is stopped so loses its last interval of telemetry.",
            "See docs/signals.md for an orderly end.",
        )  # fmt: skip
    if by_itself is None:
        return ok(_CHECK, f"{name} ran for {ran:.1f} s, {examined}; then it was ended by SIGTERM ({_status(status)}).")
    if by_itself == 0:
        return ok(_CHECK, f"{name} ended by itself after {ran:.1f} s, {examined}.")
    return problem(
        _CHECK, f"{name} ended by itself after {ran:.1f} s ({_status(by_itself)}), {examined}.",
        "What it would have done later was not examined.", "See above what it wrote, and correct that first.",
    )  # fmt: skip


def _status(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"


def _without_findings(reports: list[dict[str, Any]], withouts: list[str], by_itself: int | None) -> list[Finding]:
    if any(each["uses"] for each in reports):
        return []
    if withouts:
        return [
            problem(
                "program", f"The Python of the program, {withouts[0]}, has no glasspool, or another version of it.",
                "The program records nothing, or cannot be examined from here.",
                f"{withouts[0]} -m pip install 'glasspool[all]'",
            )
        ]  # fmt: skip
    if reports:
        return [
            problem(
                "program", "The program does not use glasspool.", "Nothing of it is recorded.",
                "Start it by opentelemetry-instrument, or call glasspool_instrumentation.instrument() in it; if it "
                "imports glasspool later, give --seconds.",
            )
        ]  # fmt: skip
    why = "It may be no Python program, or run Python with -I, -E or -S, or have been killed before its report."
    fix = "Name the Python program itself, and give --seconds" + (
        " less than it lives." if by_itself is not None else "."
    )
    return [problem("program", "No Python process has reported.", why, fix)]


def _merged(reports: list[dict[str, Any]]) -> list[Finding]:
    """Each finding once; where not all processes have it, with the ids of those that have."""
    pids: dict[Finding, list[int]] = {}
    for report in reports:
        for each in report["findings"]:
            pids.setdefault(Finding(**each), []).append(report["pid"])
    merged: list[Finding] = []
    for finding, where in pids.items():
        if len(where) < len(reports):
            named = f"process{'es' if len(where) > 1 else ''} {', '.join(map(str, sorted(where)))}"
            finding = Finding(finding.check, finding.level, f"{named}: {finding.found}", finding.why, finding.fix)
        merged.append(finding)
    return merged
