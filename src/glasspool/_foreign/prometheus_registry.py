"""What prometheus_client's registry has no public name for."""

from __future__ import annotations

from typing import Any

__all__ = ["collectors_of"]


def collectors_of(registry: Any) -> list[Any]:
    """The collectors that are registered; none where the registry keeps them elsewhere.

    The copy is one step, so the registry's lock, which a fork may leave locked for ever, is not needed.
    """
    return list(getattr(registry, "_collector_to_names", ()))
