"""The report that a signal asks a program for: see ``glasspool.signals.dump_on_signal``.

The handler only puts a request into a queue, and a thread writes the report. So the stack of the main thread is that of
the program, and no lock is waited for that the interrupted code holds.
"""

from __future__ import annotations

import os
import signal as signal_module
import sys
import threading
from collections.abc import Callable
from queue import SimpleQueue
from signal import Signals
from types import FrameType
from typing import Any

from .telemetry.live.report import report

__all__ = ["dump_on_signal"]


def dump_on_signal(number: Signals) -> Callable[[], None]:
    """Write a report to stderr whenever this signal arrives: executors, event loops, the oldest tasks and their stacks.

    ``kill -USR1 PID`` then asks a program that hangs what it is stuck on, without an endpoint, also while its event
    loop is blocked. The report has names, files, lines and functions, and never a value. Python handles signals in the
    main thread between two of its instructions: a call of C that does not return to Python delays the report.

    A handler of Python's that was installed before is called as well. Call this in the main thread of the process::

        dump_on_signal(signal.SIGUSR1)

    :param number: the signal, such as ``signal.SIGUSR1``.
    :returns: a function that installs the earlier handler again.
    :raises TypeError: ``number`` is no ``signal.Signals``.
    :raises ValueError: called outside the main thread, or the signal cannot be handled.
    """
    if not isinstance(number, Signals):
        raise TypeError(f"number must be a signal such as signal.SIGUSR1, not {number!r}")
    if threading.current_thread() is not threading.main_thread():
        raise ValueError("dump_on_signal() must be called in the main thread of the process, which handles signals")
    return _Dump(number).remove


class _Dump:
    """One installed handler."""

    def __init__(self, number: Signals) -> None:
        self._number = number
        self._requests: SimpleQueue[bool] = SimpleQueue()  # its put may interrupt itself
        self._pid = os.getpid()
        try:
            self._earlier: Any = signal_module.signal(number, self._handle)
        except (OSError, ValueError) as error:  # SIGKILL and SIGSTOP cannot be handled
            raise ValueError(f"{number.name} cannot be handled: {error}; use signal.SIGUSR1") from error
        threading.Thread(target=self._write, name="glasspool-dump", daemon=True).start()

    def remove(self) -> None:
        """Install the earlier handler again, if this one is still installed. Idempotent."""
        if signal_module.getsignal(self._number) == self._handle:
            signal_module.signal(self._number, self._earlier)
        self._requests.put(False)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() == self._pid:
            self._requests.put(True)
        else:  # a forked child does not have the thread
            _write_report()
        if callable(self._earlier):
            self._earlier(number, frame)

    def _write(self) -> None:
        while self._requests.get():
            _write_report()


def _write_report() -> None:
    try:
        text = report()
    except Exception as error:  # noqa: BLE001 - whoever asks is to hear why there is none
        text = f"glasspool: no report: {type(error).__name__}: {error}\n"
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except (AttributeError, OSError, RuntimeError, ValueError):  # there is none, it is closed, or is being written to
        pass
