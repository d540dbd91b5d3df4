"""Dask's futures are released as without observation: dropping the last reference to a future cancels its task."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import glasspool_instrumentation as gi

from . import work
from .keeping import FUNCTIONS, Boom, Compare, Run, Thing

distributed = pytest.importorskip("distributed")

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, processes=True, dashboard_address=":0", silence_logs=50
        ) as cluster,
        distributed.Client(cluster) as made,
    ):
        yield made


def _wait(bound: Thing, path: str) -> str:
    return work.wait_for_file(f"{path}/go")


CALLS: dict[str, Callable[..., Any]] = {**FUNCTIONS, "dropped": _wait, "cancelled": _wait}


@pytest.mark.parametrize(("through", "how"), [("executor", "wrapped"), ("executor", "patched"), ("client", "patched")])
@pytest.mark.parametrize("way", ["submit", "map"])
@pytest.mark.parametrize("outcome", CALLS)
def test_calls(client: Any, how: str, through: str, way: str, outcome: str, compare: Compare) -> None:
    def scenario(wraps: bool, run: Run) -> None:
        pool = client.get_executor(pure=False)
        if wraps:
            gi.wrap_executor(pool, "pool")
        by: Any = pool if through == "executor" else client
        options = {} if through == "executor" else {"pure": False}
        call = run.watch("function", functools.partial(CALLS[outcome], run.watch("bound", Thing())))
        argument: Any = run.watch("argument", Thing()) if outcome in FUNCTIONS else str(run.directory)
        try:
            with (
                run.span()
            ):  # tornado itself keeps contexts, of which nothing can be said: its sockets' handlers run in them
                given = argument if way == "submit" else [argument]
                kept: Any = getattr(by, way)(call, given, **options)
            run.watch("future", kept[0] if type(kept) is list else kept)
            del call, argument, given
            run.check("submitted")
            if outcome == "cancelled" and hasattr(kept, "cancel"):
                kept.cancel()
            elif outcome in FUNCTIONS:
                run.watch("error" if outcome == "failure" else "result", _end(kept))
                assert client.submit(work.add, 1, pure=False).result() == 2
            run.check("ended")
            del kept
            run.check("dropped")
        finally:
            (run.directory / "go").touch()

    compare(
        functools.partial(scenario, False),
        gi.DaskInstrumentor().instrument if how == "patched" else lambda: None,
        functools.partial(scenario, how == "wrapped"),
    )


def _end(kept: Any) -> Any:
    try:
        if hasattr(kept, "result"):
            return kept.result(work.LIMIT)
        return kept[0].result(work.LIMIT) if type(kept) is list else next(kept)
    except Boom as error:
        del kept  # the error leads to this frame
        return error
