"""Runs of the machines on each backend: a fixed number that is the same every time, or as many as requested."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from .iterations import IterationMachine
from .machine import ExecutorMachine
from .piles import PileMachine

EXAMPLES = int(os.environ.get("GLASSPOOL_STATEFUL_EXAMPLES", "0"))
"""How many random runs each machine takes; 0: the same few each time."""

MACHINES: dict[type[RuleBasedStateMachine], int] = {ExecutorMachine: 100, PileMachine: 60, IterationMachine: 60}
"""The number of runs by default."""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.__name__)
def test_the_executor_agrees_with_the_account_after_every_step(machine, backend):
    on_backend = type(f"{machine.__name__}On{backend.title()}", (machine,), {"backend": backend})
    run_state_machine_as_test(
        on_backend,
        settings=settings(
            max_examples=EXAMPLES or MACHINES[machine],
            derandomize=not EXAMPLES,
            database=None,
            deadline=None,
            stateful_step_count=40,
            suppress_health_check=list(HealthCheck),
            print_blob=False,
        ),
    )
