"""Checks of what callers hand in: each error names the parameter, the value and the fix."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from concurrent.futures import Executor as FuturesExecutor
from typing import Any, cast

from ._foreign.guarded import as_float, is_a, text

__all__ = [
    "amount",
    "choice",
    "count",
    "flag",
    "message",
    "metadata",
    "name",
    "runner",
    "seconds",
    "wait_objective",
]


def count(parameter: str, value: Any, *, least: int, unbounded: bool = False) -> int | None:
    """A whole number of at least ``least``, or None where that means no bound."""
    if value is None and unbounded:
        return None
    if is_a(value, bool) or not is_a(value, int):
        also = " or None (no bound)" if unbounded else ""
        raise TypeError(f"{parameter} must be an int{also}, not {text(value)}")
    found = int.__int__(cast("int", value))
    if found < least:
        raise ValueError(f"{parameter} must be at least {least}, not {text(value)}")
    if found > sys.maxsize:
        also = "; None means no bound" if unbounded else ""
        raise ValueError(f"{parameter} must be at most {sys.maxsize}, not {text(value)}{also}")
    return found


_MOST = 1e15  # more than anyone counts, and exact in billionths


def amount(parameter: str, value: Any, *, least: float = 0.0, unit: str = "") -> float:
    """A finite number above 0, or of at least ``least``; as it was given."""
    if is_a(value, bool) or not is_a(value, (int, float)):
        raise TypeError(f"{parameter} must be a number{unit and f' of {unit}'}, not {text(value)}")
    if not (value >= least if least else value > 0) or not value <= _MOST:  # NaN neither
        wanted = f"at least {least:g}" if least else "above 0"
        raise ValueError(f"{parameter} must be {wanted} and at most {_MOST:g}, got {text(value)}")
    return cast("float", value)


def seconds(parameter: str, value: Any, *, instant: bool = False) -> float | None:
    """Seconds (or an instant of ``anyio.current_time()``), not negative and not NaN; None means none."""
    if value is None:
        return None
    if is_a(value, bool) or not is_a(value, (int, float)):
        raise TypeError(f"{parameter} must be a number of seconds or None, not {text(value)}")
    try:
        found = as_float(value)
    except OverflowError:
        raise ValueError(f"{parameter} is too large a number, got {text(value)}; None means none") from None
    if math.isnan(found):
        raise ValueError(f"{parameter} must not be NaN; leave it out for none")
    if found < 0 and not instant:
        raise ValueError(f"{parameter} must not be negative, got {text(value)}; 0 means at once, None means none")
    return found


def name(parameter: str, value: object) -> str:
    """A non-empty string, as a plain one: a subclass may do anything when it is used."""
    found = string(parameter, value)
    if not found.strip():
        raise ValueError(f"{parameter} must not be empty, got {found!r}; give the name that metrics should show")
    return found


def string(parameter: str, value: Any) -> str:
    """A string, as a plain one."""
    if not is_a(value, str):
        raise TypeError(f"{parameter} must be a str, not {text(value)}")
    return str.__str__(value)


def message(value: Any) -> str | None:
    """The free text of a request to cancel, or None."""
    if value is None:
        return None
    if not is_a(value, str):
        raise TypeError(f"message must be a str or None, not {text(value)}")
    return str.__str__(value)


def choice(parameter: str, value: Any, allowed: tuple[str, ...]) -> str:
    """One of a few strings."""
    found = str.__str__(value) if is_a(value, str) else None
    if found is None or found not in allowed:
        wanted = ", ".join(map(repr, allowed))
        raise (TypeError if found is None else ValueError)(f"{parameter} must be one of {wanted}, not {text(value)}")
    return found


def flag(parameter: str, value: object) -> bool:
    """True or False, and nothing that is taken for it."""
    if not is_a(value, bool):
        raise TypeError(f"{parameter} must be a bool, not {text(value)}")
    return value is True


def metadata(value: object) -> Mapping[str, Any] | None:
    """A mapping of the submitter's own, or None."""
    if value is not None and not issubclass(type(value), Mapping):
        raise TypeError(f"metadata must be a mapping or None, not {text(value)}")
    return cast("Mapping[str, Any] | None", value)


def runner(value: Any) -> str | FuturesExecutor | None:
    """``None`` (by the function), ``"inline"``, ``"thread"`` or a ``concurrent.futures`` executor."""
    if value is None or isinstance(value, FuturesExecutor):
        return value
    found = str.__str__(value) if is_a(value, str) else None
    if found in ("inline", "thread"):
        return found
    error = TypeError if found is None else ValueError
    raise error(f"runner must be 'inline', 'thread' or a concurrent.futures.Executor, not {text(value)}")


def wait_objective(value: Any, parameter: str = "wait_objective") -> float | None:
    """Seconds above 0, or None for no objective. Raises TypeError, ValueError for anything else."""
    if value is None:
        return None
    if is_a(value, bool) or not is_a(value, (int, float)):
        raise TypeError(f"{parameter} must be a number of seconds or None, not {text(value)}")
    if not 0 < value <= sys.float_info.max:  # NaN neither
        raise ValueError(
            f"{parameter} must be above 0 and finite, got {text(value)}: the seconds that a task may wait before it is "
            "late; None (the default) means that tasks of this executor may wait"
        )
    return as_float(value)
