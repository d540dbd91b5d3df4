"""Source: one address whose executors and tasks are shown."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast
from urllib.parse import quote, urlsplit, urlunsplit

from glasspool._doctor.addresses import shown_url
from glasspool._doctor.exposition import read
from glasspool._doctor.scraping import TRY_AGAIN, Page, address, fetch
from glasspool._doctor.words import plain
from glasspool.telemetry.live import figures
from glasspool.telemetry.live.flat import LOOP
from glasspool.telemetry.live.history import History

from .rows import LoopRow, Row, TaskRow, Unreadable
from .scraped import Origins, entities

__all__ = ["Answer", "Look", "Source", "Tasks"]

VERSION = 1
"""Of the JSON that is read."""

SERVE = "Serve the live page there: configure(prometheus_port=…), or glasspool.telemetry.live.asgi_app()."
SWITCH_ON = "It shows the names and stacks of tasks to whoever reaches it; ask for it with configure(live_page=True)."


@dataclass(frozen=True)
class Answer:
    """What one address answered. ``trouble``: why it showed nothing; ``note``: why it showed less.

    ``fix``: what to do about either.
    """

    source: str
    trouble: str = ""
    fix: str = ""
    note: str = ""

    @property
    def said(self) -> str:
        """The trouble or the note in a line; empty if there is none."""
        what = self.trouble or self.note
        return f"{self.source}: {what}{f'. {self.fix}' if self.fix else ''}" if what else ""


@dataclass(frozen=True)
class Look(Answer):
    """Its executors and event loops; ``raw`` is what ``--json`` writes of them."""

    rows: tuple[Row, ...] = ()
    loops: tuple[LoopRow, ...] = ()
    raw: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class Tasks(Answer):
    """Its oldest tasks, and ``raw``, what ``--json`` writes of each."""

    tasks: tuple[TaskRow, ...] = ()
    raw: tuple[Mapping[str, Any], ...] = ()


class Source:
    """One address, which may be that of metrics or of a live page. Not thread-safe.

    :param given: the address; without a scheme it is http, without a path /metrics.
    :param timeout: seconds for each answer.
    """

    def __init__(self, given: str, timeout: float) -> None:
        self.url = address(given)
        self.shown = shown_url(self.url)
        self._timeout = timeout
        self._origins = Origins()
        self._scraped = History(dict)  # of a page of metrics; a live page has a history of its own

    def look(self) -> Look:
        """What it shows now. Nothing raises."""
        page = fetch(_beside(self.url, "live.json"), self._timeout)
        lack = fix = ""
        if _is_object(page):
            try:
                return self._live(_json(page))
            except Unreadable as error:
                lack, fix = f"its live page cannot be read: {error}", error.fix
        elif not page.answered:
            return Look(self.shown, trouble=page.trouble, fix=page.fix)
        elif page.text is None and page.status != 404:
            page = self._explained(page)
            lack, fix = f"/live.json: {page.trouble}", page.fix
        return self._metrics(lack, fix)

    def tasks(self, executor: str | None = None) -> Tasks:
        """Its oldest tasks; if any, those of the executors of this name, else maybe those of others. Nothing raises."""
        url = _beside(self.url, "tasks.json")
        page = fetch(url if executor is None else f"{url}?name={quote(executor, safe='')}", self._timeout)
        if not page.answered:
            return Tasks(self.shown, trouble=page.trouble, fix=page.fix)
        if not _is_object(page):
            if page.text is not None or page.status == 404:
                why = f": /tasks.json: {page.trouble}" if page.text is None else ""
                return Tasks(self.shown, trouble=f"it shows no tasks{why}", fix=SERVE)
            page = self._explained(page)
            return Tasks(self.shown, trouble=f"it shows no tasks: /tasks.json: {page.trouble}", fix=page.fix)
        try:
            found = _json(page)
            tasks = _list(found, "tasks")
            rows = tuple(TaskRow.of(self.shown, task) for task in tasks)
        except Unreadable as error:
            return Tasks(self.shown, trouble=f"its /tasks.json cannot be read: {error}", fix=error.fix)
        if executor is not None and not rows:  # a name may be shown otherwise than it is
            return self.tasks()
        unknown = found.get("unknown_processes")
        note = "not all of its processes answered" if unknown else ""
        return Tasks(self.shown, tasks=rows, note=note, raw=tuple({"url": self.shown, **task} for task in tasks))

    def _explained(self, page: Page) -> Page:
        """A page that did not come, with what to do as far as its answer tells that."""
        target = _shown_target(page)
        if target == self.shown:
            return replace(page, trouble=f"it answers {page.status} and sends to itself")
        if target:
            trouble = f"it answers {page.status} and sends to {target}"
            return replace(page, trouble=trouble, fix="Ask that address.")
        if "live_page" in page.said:
            return replace(page, fix=SWITCH_ON)
        return replace(page, fix=f"It says: {page.said}") if page.said else page

    def _live(self, found: dict[str, Any]) -> Look:
        executors, loops = _list(found, "executors"), _list(found, "loops")
        silent = [each for each in _list(found, "processes") if each.get("answered") is False]
        return Look(
            self.shown,
            rows=tuple(Row.of(self.shown, each) for each in executors),
            loops=tuple(LoopRow.of(self.shown, each) for each in loops),
            note=f"{len(silent)} of its processes did not answer" if silent else "",
            raw={"executors": executors, "loops": loops},
        )  # fmt: skip

    def _metrics(self, lack: str, fix: str) -> Look:
        """What its metrics show. ``lack``: why its live page shows nothing, with ``fix``; empty if it has none."""
        page = fetch(self.url, self._timeout)
        if page.text is None or page.trouble:
            page = self._explained(page) if page.text is None and page.answered else page
            return self._neither(lack, fix, page.trouble, page.fix)
        scrape = read(page.text)
        if not scrape.names():
            port = "Is this the right port? Series begin with the first executor that is open or observed."
            return self._neither(lack, fix, "it serves metrics, but none of glasspool's", port)
        found, history = entities(scrape, self._origins), self._scraped
        now = time.monotonic()
        executors: list[dict[str, Any]] = []
        loops: list[dict[str, Any]] = []
        rows: list[Row] = []
        loop_rows: list[LoopRow] = []
        with history.lock:
            history.add(now, found)
            for entity, flat in found.items():
                process = self._origins.name(entity.process)
                if entity.type == LOOP:
                    loops.append(figures.event_loop(history, entity, flat, now))
                    loop_rows.append(LoopRow.of(self.shown, loops[-1], process))
                elif figures.is_executor(entity, flat):
                    executors.append(figures.executor(history, entity, flat, now))
                    rows.append(Row.of(self.shown, executors[-1], process))
        raw = {"executors": executors, "loops": loops}
        note = f"metrics only: {lack}" if lack else "metrics only"
        return Look(self.shown, rows=tuple(rows), loops=tuple(loop_rows), note=note, fix=fix, raw=raw)

    def _neither(self, lack: str, fix: str, trouble: str, otherwise: str) -> Look:
        if lack and not lack.endswith(f": {trouble}"):
            trouble = f"{lack}; {urlsplit(self.url).path}: {trouble}"
        return Look(self.shown, trouble=trouble, fix=fix or otherwise)


def _shown_target(page: Page) -> str:
    """Where it sends to, without the name of the file: ``/app/tasks.json`` is shown by ``/app/``."""
    if not page.target:
        return ""
    parts = urlsplit(page.target)
    before, _, last = parts.path.rpartition("/")
    path = f"{before}/" if last in ("live.json", "tasks.json") else parts.path
    return shown_url(urlunsplit((parts.scheme, parts.netloc, path, parts.query, "")))


def _beside(url: str, name: str) -> str:
    """The address of a file of the live page: beside ``metrics``, else below the path."""
    parts = urlsplit(url)
    before, _, last = parts.path.rpartition("/")
    path = before if last in ("", "metrics") else parts.path
    return urlunsplit((parts.scheme, parts.netloc, f"{path}/{name}", "", ""))


def _is_object(page: Page) -> bool:
    """Whether it may be a JSON object. Many servers of metrics give them for every path."""
    return page.text is not None and page.text.lstrip()[:1] == "{"


def _json(page: Page) -> dict[str, Any]:
    text = (page.text or "").rstrip()
    try:
        found: Any = json.loads(text)
    except json.JSONDecodeError as error:
        if error.pos >= len(text) or not text.endswith("}"):
            raise Unreadable(f"it breaks off after {len(text)} characters", TRY_AGAIN) from None
        raise Unreadable("it is no JSON", "") from None
    except (ValueError, RecursionError):
        raise Unreadable("it is no JSON", "") from None
    if not isinstance(found, dict) or "version" not in found:
        raise Unreadable("it is not glasspool's", "")
    made = cast("dict[str, Any]", found)
    version = made["version"]
    if version != VERSION:
        problem = f"it is of version {plain(str(version), 20)}, and this command reads {VERSION}"
        if not isinstance(version, int):
            raise Unreadable(problem)
        raise Unreadable(problem, f"Update glasspool {'here' if version > VERSION else 'there'}.")
    return made


def _list(found: dict[str, Any], name: str) -> list[dict[str, Any]]:
    entries = found.get(name)
    if not isinstance(entries, list) or not all(isinstance(each, dict) for each in cast("list[object]", entries)):
        raise Unreadable(f"it has no {name}")
    return cast("list[dict[str, Any]]", entries)
