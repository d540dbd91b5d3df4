"""Patching that can be undone, even when somebody else has patched over it.

A patch is a function that replaces an attribute. When it is taken off and the attribute is still ours, the original
comes back; when another patcher sits on top, ours stays beneath it and passes everything through, and is switched on
again instead of being stacked when the instrumentation returns.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["Patch", "Patches"]

_MISSING = object()


class Patch:
    """One replaced attribute. ``active`` is read by the replacement: False means pass through."""

    def __init__(self, owner: Any, attribute: str, make: Callable[[Patch, Any], Any]) -> None:
        self.owner = owner
        self.attribute = attribute
        self.active = False
        self._make = make
        self._placed = False
        self._own: Any = _MISSING
        self.original: Any = None
        self._replacement: Any = None

    def put_on(self) -> None:
        """Replace the attribute, or wake the replacement that is still there. Idempotent."""
        if not self._placed:
            space = vars(self.owner)
            self._own = space.get(self.attribute, _MISSING)
            self.original = getattr(self.owner, self.attribute)
            method = self._own
            if isinstance(method, (classmethod, staticmethod)):
                made = self._make(self, method.__func__)
                functools.update_wrapper(made, method.__func__)
                self._replacement = type(method)(made)
            else:
                self._replacement = self._make(self, self.original)
                functools.update_wrapper(self._replacement, self.original)
            setattr(self.owner, self.attribute, self._replacement)
            self._placed = True
        self.active = True

    def take_off(self) -> None:
        """Bring the original back if nobody has patched over it; pass through otherwise. Idempotent."""
        self.active = False
        if self._placed and vars(self.owner).get(self.attribute) is self._replacement:
            if self._own is _MISSING:
                delattr(self.owner, self.attribute)
            else:
                setattr(self.owner, self.attribute, self._own)
            self._placed = False


class Patches:
    """The patches of one library, put on and taken off together; counted, so that users of it can share them."""

    def __init__(self, make: Callable[[], list[Patch]]) -> None:
        self._make = make
        self._patches: list[Patch] | None = None
        self._users: set[object] = set()
        self._lock = threading.RLock()

    def put_on(self, user: object) -> None:
        """``user`` needs these patches. What was put on is taken off again if one of them fails."""
        with self._lock:
            if self._patches is None:
                self._patches = self._make()
            try:
                for patch in self._patches:
                    patch.put_on()
            except BaseException:
                if not self._users:
                    self._off()
                raise
            self._users.add(user)

    def take_off(self, user: object) -> None:
        """``user`` needs them no longer; the last one takes them off."""
        with self._lock:
            self._users.discard(user)
            if not self._users:
                self._off()

    def used_by(self, user: object) -> bool:
        """Has ``user`` put these patches on?"""
        return user in self._users

    def _off(self) -> None:
        for patch in reversed(self._patches or ()):
            patch.take_off()
