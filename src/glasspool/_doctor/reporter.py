"""Examines the process that it is loaded into, and reports to ``glasspool doctor -- COMMAND`` by a file.

That happens at the instant that the command sets, or when the main thread has ended: before the functions that run at
exit, since one of them shuts telemetry down.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from glasspool._foreign.starting import imports

from . import provider_log
from .launching import is_launched

__all__ = ["begin"]

_PAUSE = 0.02  # seconds between two looks at the main thread; a fork waits for one of them at most
_IMPORT_SECONDS = 10.0
"""Longer, at most, for a main thread that is importing: on a slow machine the program has not begun."""

_USERS = ("glasspool.telemetry.recording.registry", "glasspool_instrumentation.instrumentor")
"""Modules that are loaded in each process that records something."""


class _Reporter:
    def __init__(self, folder: str, hook: str) -> None:
        self._folder = Path(folder)
        self._hook = hook
        self._until = _agreed(self._folder, float(os.environ["GLASSPOOL_DOCTOR_SECONDS"]))
        self._timeout = float(os.environ["GLASSPOOL_DOCTOR_TIMEOUT"])
        self._parked = threading.Event()
        self._reporting = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Say that this process will report, and wait for the time to do so in a thread of its own."""
        if not self._folder.is_dir() or time.time() > self._until:
            return
        self._parked.clear()
        self._reporting = False
        self._file("begun").touch()
        # No daemon: the interpreter waits for it when the main thread has ended.
        self._thread = threading.Thread(target=self._attend, args=(threading.main_thread(),), name="glasspool-doctor")
        try:
            self._thread.start()
        except RuntimeError:  # forked while the interpreter ends
            self._thread = None

    def park(self) -> None:
        """Before a fork: Python warns of a fork while there are threads, and the program has none of its own."""
        if self._thread is not None and not self._reporting:
            self._parked.set()
            self._thread.join()

    def go_on(self) -> None:
        """After a fork, in the parent."""
        if self._parked.is_set():
            self.start()

    def keep_first(self, event: str, arguments: tuple[Any, ...]) -> None:
        """A launcher that puts itself first on the path, and becomes the program, must not hide the hook."""
        if event == "os.exec" and arguments[2] is None:
            path = [each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each != self._hook]
            os.environ["PYTHONPATH"] = os.pathsep.join([self._hook, *filter(None, path)])

    def _attend(self, main: threading.Thread) -> None:
        last = self._until + _IMPORT_SECONDS
        while main.is_alive() and (time.time() < self._until or (imports(main) and time.time() < last)):
            main.join(_PAUSE)
            if self._parked.is_set():
                return
        self._reporting = True
        self._report()

    def _report(self) -> None:
        uses = any(name in sys.modules for name in _USERS) or is_launched()
        report: dict[str, Any] = {"pid": os.getpid(), "uses": uses, "findings": []}
        if uses:
            from .examination import doctor

            report["findings"] = [dataclasses.asdict(each) for each in doctor(timeout=self._timeout)]
        written = self._file("writing")
        try:
            written.write_text(json.dumps(report), encoding="utf-8")
            written.rename(self._file("json"))  # whole, or not there
        except OSError:  # the command has given up and removed the folder
            pass

    def _file(self, kind: str) -> Path:
        return self._folder / f"{os.getpid()}.{kind}"


def _agreed(folder: Path, seconds: float) -> float:
    """When all processes of the program report: so long after the first of them has begun."""
    own, shared = folder / f"{os.getpid()}.until", folder / "until"
    own.write_text(str(time.time() + seconds), encoding="utf-8")
    try:
        os.link(own, shared)  # whole, or not there
    except FileExistsError:
        pass
    return float(shared.read_text(encoding="utf-8"))


def begin(folder: str, hook: str) -> None:
    """Watch this process, and those that it forks.

    :param folder: where the report goes.
    :param hook: the directory that loads this into each Python.
    """
    reporter = _Reporter(folder, hook)
    # By name: glasspool itself is below the instrumentation.
    when_imported = importlib.import_module("glasspool_instrumentation._patch.import_hook").when_imported
    for module in provider_log.MODULES:
        when_imported(module, provider_log.watch)
    sys.addaudithook(reporter.keep_first)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=reporter.park, after_in_parent=reporter.go_on, after_in_child=reporter.start)
    reporter.start()
