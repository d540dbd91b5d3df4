"""What a task's span says from its start."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from glasspool.telemetry.catalog import Key

__all__ = ["StartAttributes"]


class StartAttributes(Mapping[str, Any]):
    """What a task's span says from its start, as a mapping that is made when a sampler or an exporter looks at it."""

    __slots__ = ("_code", "_made", "_more", "_queue_size", "_runner", "_shared", "_task_id", "_task_name")

    def __init__(
        self, shared: Mapping[str, Any], runner: str, task_name: str, task_id: int, queue_size: int, code: str,
        more: Mapping[str, Any] | None,
    ) -> None:  # fmt: skip
        self._shared = shared
        self._runner = runner
        self._task_name = task_name
        self._task_id = task_id
        self._queue_size = queue_size
        self._code = code
        self._more = more
        self._made: dict[str, Any] | None = None

    def made(self) -> dict[str, Any]:
        """The same as a dict."""
        found = self._made
        if found is None:
            found = self._made = {
                **self._shared,
                Key.RUNNER: self._runner,
                Key.TASK_NAME: self._task_name,
                Key.TASK_ID: self._task_id,
                Key.QUEUE_SIZE: self._queue_size,
                Key.CODE_FUNCTION: self._code,
                **(self._more or {}),
            }
        return found

    def __getitem__(self, key: str) -> Any:
        return self.made()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.made())

    def __len__(self) -> int:
        return len(self.made())

    def __eq__(self, other: object) -> bool:
        return other is self or super().__eq__(other)

    __hash__ = None  # type: ignore[assignment]  # as other mappings
