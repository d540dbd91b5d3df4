"""The processes of one user that share a Prometheus port: their numbers, the serving process, and their sockets.

They use a directory that only this user can enter. Each process has a lock and a socket there, by number. The kernel
holds the lock for the process and not for its forked children: the lock of a process that has ended is free, however it
ended.

The import fails on a platform that has no such locks.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
import stat
import tempfile
from pathlib import Path

from glasspool.errors import ConfigurationError

__all__ = ["Siblings"]

_MOST = 1000  # processes behind one port: the label that tells them apart has so many values at most
_WAITING = 64  # connections that may wait to be answered


class Siblings:
    """This process among those that share ``port`` of ``host`` for a service.

    ``number`` is the lowest that was free, from 0. The others send requests to ``listener``. Raises
    ``ConfigurationError`` if the directory cannot be used.
    """

    def __init__(self, port: int, host: str, service: str) -> None:
        whose = f"{host}\0{service}\0{_network()}"
        name = f"{port}-{hashlib.blake2b(whose.encode(), digest_size=6).hexdigest()}"
        self._files: list[int] = []
        try:
            self._folder = _private(_private(Path(tempfile.gettempdir(), f"glasspool-{os.geteuid()}")) / name)
            self._port = self._open("port")
            self.number = self._take_number()
            self.path = self._folder / f"{self.number}.socket"
            self.path.unlink(missing_ok=True)  # of one that was killed
            self.listener = _listener(self.path)
        except (OSError, ConfigurationError) as error:
            self._close_files()
            raise ConfigurationError(f"they cannot meet in {tempfile.gettempdir()}: {error}") from error

    def lead(self) -> bool:
        """Whether this process is the one that may serve the port now; it stays so until ``follow`` or its end."""
        return _locked(self._port)

    def follow(self) -> None:
        """Let another one serve the port."""
        fcntl.lockf(self._port, fcntl.LOCK_UN)

    def others(self) -> dict[int, Path]:
        """The sockets of all other numbers, of those that have ended too."""
        found = {int(path.stem): path for path in self._folder.glob("*.socket") if path.stem.isdecimal()}
        found.pop(self.number, None)
        return found

    def stay(self) -> None:
        """Touch our files, so that cleaners of old temporary files leave them."""
        for file in self._files:
            os.utime(file)

    def leave(self) -> None:
        """Release the number and the lock."""
        self.path.unlink(missing_ok=True)  # while the number is still ours
        self.abandon()

    def abandon(self) -> None:
        """Close what a forked child has inherited; nothing of the parent's changes."""
        self.listener.close()
        self._close_files()

    def _take_number(self) -> int:
        for number in range(_MOST):
            if _locked(self._open(f"{number}.lock")):
                return number
            os.close(self._files.pop())
        raise ConfigurationError(f"{_MOST} processes share this port already")

    def _open(self, name: str) -> int:
        self._files.append(os.open(self._folder / name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600))
        return self._files[-1]

    def _close_files(self) -> None:
        while self._files:
            os.close(self._files.pop())


def _locked(file: int) -> bool:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _private(path: Path) -> Path:
    try:
        path.mkdir(0o700)
    except FileExistsError:
        pass
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise ConfigurationError(f"{path} must be a directory of this user that is closed to all others (mode 0700)")
    return path


def _listener(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.bind(str(path))
        made.listen(_WAITING)
    except OSError:
        made.close()
        raise
    return made


def _network() -> str:
    # Containers may share a directory for temporary files and have ports of their own.
    try:
        return str(Path("/proc/self/ns/net").stat().st_ino)
    except OSError:
        return ""
