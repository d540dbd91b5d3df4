"""Tests of the protocol's model: all reachable states are searched, and every mistake put into it is found."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from .mutations import MUTATIONS, Mutation
from .tlc import search

HERE = Path(__file__).parent
MODEL = (HERE / "Executor.tla").read_text()
CONFIGURATIONS = {path.stem: path.read_text() for path in sorted(HERE.glob("*.cfg"))}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_the_protocol_keeps_its_promises_in_every_state(name, tmp_path, capsys):
    began = time.monotonic()
    found = search(MODEL, CONFIGURATIONS[name], tmp_path)
    with capsys.disabled():
        print(f"\n{name}: {found.states} states, depth {found.depth}, {time.monotonic() - began:.0f} s", end=" ")
    assert found.violated is None, found.output
    assert found.complete, found.output


@pytest.mark.parametrize("mutation", MUTATIONS, ids=[mutation.mistake for mutation in MUTATIONS])
def test_a_mistake_breaks_the_promise_that_names_it(mutation: Mutation, tmp_path):
    found = search(mutation.apply(MODEL), _asking_only(mutation), tmp_path)
    temporal = mutation.breaks in ("EveryTaskEnds", "EveryProducerIsServedOrTold", "AShutdownEnds")
    assert found.violated == ("Temporal properties" if temporal else mutation.breaks), found.output


def test_every_promise_is_broken_by_a_mistake():
    promised = set()
    for configuration in CONFIGURATIONS.values():
        for names in re.findall(r"(?:INVARIANTS|PROPERTIES) (.*)", configuration):
            promised.update(names.split())
    assert promised == {mutation.breaks for mutation in MUTATIONS}


def _asking_only(mutation: Mutation) -> str:
    """The mutation's configuration with its one promise, so that no other one that breaks as well hides it."""
    asked, count = re.subn(r"(?m)^(INVARIANTS|PROPERTIES) .*\n", "", CONFIGURATIONS[mutation.configuration])
    assert count > 0
    kind = (
        "INVARIANT" if re.search(rf"(?m)^INVARIANTS .*\b{mutation.breaks}\b", CONFIGURATIONS["Slots"]) else "PROPERTY"
    )
    return f"{asked}{kind} {mutation.breaks}\n"
