"""What is answered to whom: the page, its parts, and its JSON, with the headers that keep it to itself."""

from __future__ import annotations

import json
import logging
import time
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from . import figures
from .detail import history_of
from .flat import LOOP, Entity
from .history import History
from .processes import Processes

__all__ = ["FILES", "PATHS", "Answer", "Live", "refusal"]

logger = logging.getLogger("glasspool")

VERSION = 1
"""Of the JSON. It grows when a field changes its meaning or goes; new fields do not change it."""

FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/chart.js": ("chart.js", "text/javascript; charset=utf-8"),
}
PATHS = frozenset((*FILES, "/live.json", "/tasks.json"))

_HEADERS = [
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy",
     "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
     "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
]  # fmt: skip


class Answer(NamedTuple):
    """A status such as ``200 OK``, headers, and the body, which a HEAD request does not get."""

    status: str
    headers: list[tuple[str, str]]
    body: bytes


def refusal(status: str, text: str, *more: tuple[str, str]) -> Answer:
    """An answer that is one sentence."""
    return _answer(status, "text/plain; charset=utf-8", f"{text}\n".encode(), *more)


class Live:
    """The page of some processes. Its answers may be asked for from any thread.

    :param processes: whose figures and tasks are shown; default this process's.
    """

    def __init__(self, processes: Processes | None = None) -> None:
        self._processes = Processes() if processes is None else processes
        self.history = History(self._processes.figures)

    def close(self) -> None:
        """Keep no history any more."""
        self.history.close()

    def answer(self, method: str, path: str, query: str) -> Answer:
        """The answer to a request whose sender may see everything."""
        if method not in ("GET", "HEAD"):
            return refusal("405 Method Not Allowed", "Only GET and HEAD are answered here.", ("Allow", "GET, HEAD"))
        if path in FILES:
            name, kind = FILES[path]
            return _answer("200 OK", kind, _file(name))
        if path not in PATHS:
            return refusal("404 Not Found", "There is no such page: see / for the live page.")
        asked = {key: values[-1] for key, values in parse_qs(query).items()}
        try:
            found = self._live(asked) if path == "/live.json" else self._tasks(asked)
            return _answer("200 OK", "application/json", json.dumps(found, separators=(",", ":")).encode())
        except Exception:
            logger.exception("the live page could not be answered")
            return refusal("500 Internal Server Error", "This failed; the program's log says how.")

    def _live(self, asked: dict[str, str]) -> dict[str, Any]:
        history = self.history
        now, found = history.look()
        executors: list[dict[str, Any]] = []
        loops: list[dict[str, Any]] = []
        with history.lock:
            for entity, flat in found.items():
                if entity.type == LOOP:
                    loops.append(figures.event_loop(history, entity, flat, now))
                elif figures.is_executor(entity, flat):
                    executors.append(figures.executor(history, entity, flat, now))
            chosen = _chosen(asked, found)
            detail = None if chosen is None else history_of(history, chosen, now)
        executors.sort(key=lambda shown: (-shown["pressure"], shown["name"], shown["process"]))
        loops.sort(key=lambda shown: (-shown["stall"], shown["name"], shown["process"]))
        shown: dict[str, Any] = {
            "version": VERSION, "at": round(time.time(), 3), "processes": self._processes.shown(),
            "executors": executors, "loops": loops,
        }  # fmt: skip
        if detail is not None:
            shown["history"] = detail
        return shown

    def _tasks(self, asked: dict[str, str]) -> dict[str, Any]:
        name, kind = asked.get("name"), asked.get("type")

        def wanted(executor: str, type: str) -> bool:
            return (name is None or executor == name) and (kind is None or type == kind)

        tasks, unknown = self._processes.tasks(wanted)
        process = asked.get("process")
        if process is not None:
            tasks = [task for task in tasks if str(task["process"]) == process]
        return {"version": VERSION, "at": round(time.time(), 3), "tasks": tasks, "unknown_processes": unknown}


def _chosen(asked: dict[str, str], found: dict[Entity, Any]) -> Entity | None:
    """The executor whose history is asked for, if there is such a one."""
    if "name" not in asked:
        return None
    for entity in found:
        if entity.name == asked["name"] and asked.get("type", entity.type) == entity.type and (
            asked.get("process", str(entity.process)) == str(entity.process)
        ):  # fmt: skip
            return entity
    return None


def _answer(status: str, kind: str, body: bytes, *more: tuple[str, str]) -> Answer:
    return Answer(status, [("Content-Type", kind), ("Content-Length", str(len(body))), *_HEADERS, *more], body)


@cache
def _file(name: str) -> bytes:
    return files("glasspool.telemetry.live").joinpath("page").joinpath(name).read_bytes()
