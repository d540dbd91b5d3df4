"""Patches that can be removed, even if other code has patched the same attribute later.

A patch is a function that replaces an attribute. When it is removed and the attribute is still ours, the original is
restored. If a later patch covers ours, ours stays and passes everything through; when the instrumentation is turned on
again, it is reactivated instead of being applied a second time.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from .import_hook import cancel, when_imported

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
        self._replacement: Any = None

    def put_on(self) -> None:
        """Replace the attribute, or reactivate the existing replacement. Idempotent."""
        if not self._placed:
            self._own = vars(self.owner).get(self.attribute, _MISSING)
            own = self._own
            original = own.__func__ if isinstance(own, classmethod) else getattr(self.owner, self.attribute)
            made = functools.update_wrapper(self._make(self, original), original)
            self._replacement = classmethod(made) if isinstance(own, classmethod) else made
            setattr(self.owner, self.attribute, self._replacement)
            self._placed = True
        self.active = True

    def take_off(self) -> None:
        """Restore the original if no later patch covers ours; else pass through. Idempotent."""
        self.active = False
        if self._placed and vars(self.owner).get(self.attribute) is self._replacement:
            if self._own is _MISSING:
                delattr(self.owner, self.attribute)
            else:
                setattr(self.owner, self.attribute, self._own)
            self._placed = False


Make = Callable[[ModuleType], Sequence[Patch]]


class Patches:
    """The patches of some modules, put on and taken off together; counted, so that users of them can share them.

    ``modules`` gives, for each module, what makes its patches; a module that is not imported yet is patched when it
    is.
    """

    def __init__(self, modules: dict[str, Make]) -> None:
        self._modules = modules
        self._patches: dict[str, Sequence[Patch]] = {}
        self._users: set[object] = set()
        self._lock = threading.RLock()

    def put_on(self, user: object) -> None:
        """``user`` needs these patches. If one of them fails, none stays."""
        with self._lock:
            self._users.add(user)
        try:
            for name in self._modules:
                when_imported(name, self._patch)
        except BaseException:
            self.take_off(user)
            raise

    def take_off(self, user: object) -> None:
        """``user`` no longer needs them; the last user removes them. Idempotent."""
        with self._lock:
            self._users.discard(user)
            if self._users:
                return
            for name in self._modules:
                cancel(name, self._patch)
            for patches in reversed(list(self._patches.values())):
                for patch in reversed(patches):
                    patch.take_off()

    def used_by(self, user: object) -> bool:
        """Whether ``user`` uses these patches."""
        return user in self._users

    def _patch(self, module: ModuleType) -> None:
        with self._lock:
            if not self._users:
                return
            name = module.__name__
            if name not in self._patches:
                self._patches[name] = self._modules[name](module)
            for patch in self._patches[name]:
                patch.put_on()
