"""Two users ask the same model many questions at once, through one executor with eight slots.

Each user has a pile with its own tasks and outcomes. One needs all answers or none, the other takes the answers that
exist after half a second. The program prints the outcomes of each user, then the figures of the executor.
"""

import random

import anyio

from glasspool import HybridExecutor, Outcome

chance = random.Random(7)


async def ask(question: str) -> str:
    """A model that takes its time, and sometimes refuses."""
    await anyio.sleep(chance.uniform(0.02, 0.2))
    if chance.random() < 0.1:
        raise ConnectionError(f"no answer to {question!r}")
    return question.upper()


async def all_or_nothing(executor: HybridExecutor) -> None:
    async with executor.pile(fail_fast=True) as pile:
        for number in range(10):
            await pile.include(ask, f"plan {number}", name="plan", timeout=1.0)
        drained = await pile.drain()
    # drained.raise_errors() would raise them all as one ExceptionGroup.
    errors = sorted({type(completed.error).__name__ for completed in drained if completed.error})
    print(f"plan: {len(drained.values())} answers{', then ' + ' and '.join(errors) if errors else ''}")


async def whatever_there_is(executor: HybridExecutor) -> None:
    deadline = anyio.current_time() + 0.5
    async with executor.pile() as pile:
        for number in range(40):
            await pile.include(ask, f"draft {number}", name="draft", deadline=deadline)
        outcomes = [completed.outcome async for completed in pile]
    counts = {outcome.value: outcomes.count(outcome) for outcome in Outcome}
    print(f"draft: {counts}")


async def main() -> None:
    async with HybridExecutor("llm", max_in_flight=8, max_queued=100) as executor:
        async with anyio.create_task_group() as users:
            users.start_soon(all_or_nothing, executor)
            users.start_soon(whatever_there_is, executor)
        stats = executor.stats()
    print(f"executor: {stats.submitted} submitted, {stats.succeeded} succeeded, {stats.failed} failed, ", end="")
    print(f"{stats.timed_out} timed out, {stats.cancelled} cancelled")


anyio.run(main)
