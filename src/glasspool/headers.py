"""What the headers of a response ask of the client: how long to wait."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from ._foreign.guarded import text

__all__ = ["retry_after"]


def retry_after(headers: Mapping[str, str]) -> float | None:
    """How many seconds a server asks to wait: its ``Retry-After`` header (RFC 9110, section 10.2.3).

    :param headers: the headers of a response; any mapping, whatever the case of its keys. A value may be bytes.
    :returns: seconds, 0 for a date that has passed; None if there is no such header or it cannot be understood.
    :raises TypeError: ``headers`` is not a mapping.
    """
    if not issubclass(type(headers), Mapping):
        raise TypeError(f"headers must be a mapping of names to values, not {text(headers)}")
    for name, value in headers.items():
        if _as_text(name).lower() == "retry-after":
            return _seconds_of(_as_text(value).strip())
    return None


def _as_text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _seconds_of(value: str) -> float | None:
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        seconds = float(value)  # not in the standard, but some servers send fractions
    except ValueError:
        pass
    else:
        return seconds if 0 <= seconds < math.inf else None
    try:
        then = parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    return max(0.0, then.timestamp() - time.time())
