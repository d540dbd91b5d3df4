"""Checks a drawn dashboard for problems."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

__all__ = ["Drawn", "empty_panels", "faults"]


@dataclass(frozen=True)
class Drawn:
    """The contents of a drawn dashboard: lines, links and errors by panel title, and errors outside of panels."""

    panels: dict[str, dict[str, Any]]
    problems: list[str]


def faults(drawn: Drawn, model: dict[str, Any]) -> Iterator[str]:
    """Panels that were not drawn, queries that were refused, links with no executor or a wrong one."""
    yield from drawn.problems
    for panel in model["panels"]:
        if panel["type"] == "row":
            continue
        seen = drawn.panels.get(panel["title"])
        if seen is None or seen["state"] != "Done":
            yield f"{panel['title']}: not drawn ({seen and seen['errors']})"
            continue
        yield from (f"{panel['title']}: {error}" for error in seen["errors"])
        yield from (f"{panel['title']}: {fault}" for fault in _links(seen))


def empty_panels(drawn: Drawn) -> set[str]:
    """Titles of the panels that show no point."""
    return {title for title, panel in drawn.panels.items() if not any(line["points"] for line in panel["lines"])}


_LOST = set("+&%#")
"""Grafana decodes a link before it gives it to the browser, whatever the dashboard has encoded (`sanitizeUrl` of
@grafana/data). Names with these characters do not arrive."""


def _links(panel: dict[str, Any]) -> Iterator[str]:
    cells = {line["name"]: line["cells"] for line in panel["lines"] if "cells" in line}
    for line in panel["lines"]:
        for row, links in enumerate(line["links"]):
            if cells and not cells[line["name"]][row].strip():
                continue  # an empty cell: there is nothing to click
            if line["name"] == "Executor" and cells and not links:
                yield f"{cells['Executor'][row]}: no link"
            for link in links:
                given = parse_qs(urlsplit(link).query, keep_blank_values=True)
                unresolved = "${__" in link or "%24%7B__" in link
                if unresolved or any("" in values for name, values in given.items() if name.startswith("var-")):
                    yield f"{line['name']}: a link with a variable that is not filled in: {link}"
                elif "var-executor" in given and "Executor" in cells and not _LOST & set(cells["Executor"][row]):
                    wanted = [cells["Executor"][row]], [cells["Type"][row]]
                    if (given["var-executor"], given["var-type"]) != wanted:
                        yield f"{line['name']}: opens {given['var-executor']} instead of {wanted}"
