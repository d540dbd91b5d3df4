"""The Prometheus port that ``configure()`` was asked for in this process, and what has become of it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from glasspool.telemetry import providers
from glasspool.telemetry.configuration import configured
from glasspool.telemetry.export.shared_port import NO_ENDPOINT

__all__ = ["AskedPort", "asked_port"]

_PLACE = re.compile(r"cannot listen on (\S+):(\d+) ")


@dataclass(frozen=True)
class AskedPort:
    """One of three: the port is shown, it is the parent's and comes later, or it was refused."""

    shown: int | None = None
    """The port that shows this process's series."""
    later: bool = False
    """Whether this process was forked, and shares its parent's port as soon as it has figures."""
    refusal: str = ""
    """What ``configure()`` noted when it could not serve the port."""

    @property
    def place(self) -> tuple[str, int] | None:
        """Host and port where it could not listen; None if it was refused for another reason."""
        found = _PLACE.search(self.refusal)
        return (found[1], int(found[2])) if found else None


def asked_port() -> AskedPort | None:
    """What has become of the port; None if there is none, since nobody asked for it or it was given up."""
    handle = configured()
    if handle is None:
        return None
    if handle.prometheus_port is not None:
        return AskedPort(shown=handle.prometheus_port)
    if providers.first_use is not None:
        return AskedPort(later=True)
    refusals = [note.removeprefix(NO_ENDPOINT) for note in handle.notes if note.startswith(NO_ENDPOINT)]
    return AskedPort(refusal=refusals[-1]) if refusals else None
