"""The sizes of all folders below a directory. Each folder is a task that waits for the tasks of the folders in it.

A task that waits for tasks of its own executor lends them its slot: four slots are enough for a tree of any depth.

    python examples/tree_walk.py [DIRECTORY]
"""

from __future__ import annotations

import sys
from pathlib import Path

import anyio

from glasspool import HybridExecutor


def read(folder: Path) -> tuple[int, list[Path]]:
    """The bytes of a folder's own files, and the folders in it. Runs in a thread."""
    own, folders = 0, []
    for entry in folder.iterdir():
        if entry.is_symlink():
            continue
        if entry.is_dir():
            folders.append(entry)
        elif entry.is_file():
            own += entry.stat().st_size
    return own, folders


class Walk:
    """One walk through a tree, in one executor."""

    def __init__(self, executor: HybridExecutor) -> None:
        self.executor = executor
        self.most_lent = 0

    async def size(self, folder: Path) -> int:
        """The bytes of all that is in the folder."""
        total, folders = await self.executor.run(read, folder)
        async with self.executor.pile(fail_fast=True) as pile:
            for each in folders:
                await pile.include(self.size, each, name="folder")
            self.most_lent = max(self.most_lent, self.executor.stats().lent)
            async for completed in pile:
                total += completed.unwrap()
        return total


async def main(directory: Path) -> None:
    async with HybridExecutor("tree", max_in_flight=4, max_queued=100) as executor:
        walk = Walk(executor)
        total = await executor.run(walk.size, directory, name="folder")
        stats = executor.stats()
    print(f"{total:,} bytes in {directory}: {stats.succeeded:,} tasks on {stats.slots_limit} slots")
    print(f"at most {walk.most_lent} tasks waited with their slot lent")


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1] if len(sys.argv) > 1 else "."))
