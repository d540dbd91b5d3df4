"""The event-loop policy, and the class of the loop that runs."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator

from glasspool._foreign.asyncio_ import policy

from .finding import Finding, ok, warning
from .living import instances
from .words import plain

__all__ = ["check_loops"]

_TESTED = ("asyncio.", "uvloop")


def check_loops() -> Iterator[Finding]:
    """One finding about the policy, and one for each class of loop that the tests do not know."""
    found = policy()
    module = type(found).__module__
    if found is not None and not module.startswith(_TESTED):
        yield warning(
            "event-loop", f"The event-loop policy is {plain(f'{module}.{type(found).__name__}')}.",
            "The tests have run with asyncio's and uvloop's only; policies end with Python 3.16.",
            "Use asyncio's, or pass the loop: asyncio.run(main(), loop_factory=…).",
        )  # fmt: skip
    kinds: set[type] = {
        type(each) for each in instances("asyncio", asyncio.AbstractEventLoop.__name__) if not each.is_closed()
    }
    strange = sorted(f"{kind.__module__}.{kind.__name__}" for kind in kinds if not kind.__module__.startswith(_TESTED))
    for name in strange:
        yield warning(
            "event-loop", f"A loop of the class {plain(name)} is open.", "The tests have not run on it.",
            "Use asyncio's or uvloop's, or trio.",
        )  # fmt: skip
    if (found is None or module.startswith(_TESTED)) and not strange:
        which = "uvloop" if module.startswith("uvloop") or any(k.__module__ == "uvloop" for k in kinds) else "asyncio"
        trio = " and trio" if "trio" in sys.modules else ""
        yield ok("event-loop", f"The event loops are {which}'s{trio}: tested.")
