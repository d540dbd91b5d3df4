"""Pools that run a function again, or examine its result, see the user's function and result."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

import glasspool_instrumentation as gi
from glasspool._foreign.pool_parts import client_of

from . import work
from .work import LIMIT

loky = pytest.importorskip("loky")
distributed = pytest.importorskip("distributed")

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def fail_twice(path: str) -> int:
    """In any process: fails at its first two runs."""
    with open(path, "a+") as file:
        file.write("x")
        file.flush()
        if file.tell() < 3:
            raise OSError(file.tell())
        return file.tell()


def retry(fn: Callable[..., Any], *args: Any) -> Any:
    for _ in range(3):
        try:
            return fn(*args) + 1  # so it is a number, and nothing around one
        except OSError as error:
            last = error if vars(error) == {} else RuntimeError("changed by somebody")
    raise last


class Retrying:
    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        return super().submit(retry, fn, *args, **kwargs)  # type: ignore[misc]


class Threads(Retrying, ThreadPoolExecutor):
    pass


class Processes(Retrying, ProcessPoolExecutor):
    pass


class Loky(Retrying, loky.ProcessPoolExecutor):
    pass


class Own(Retrying, work.Inline):
    pass


class Dask(Retrying, distributed.cfexecutor.ClientExecutor):
    pass


def _dask() -> Executor:
    cluster = distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0", protocol="inproc://"
    )
    made: Executor = Dask(distributed.Client(cluster))
    return made


POOLS: dict[str, Callable[[], Any]] = {
    "threads": lambda: Threads(1),
    "forked": lambda: Processes(1, mp_context=get_context("fork")),
    "spawned": lambda: Processes(1, mp_context=get_context("spawn")),
    "loky": lambda: Loky(1),
    "own": Own,
    "dask": _dask,
}


@pytest.mark.parametrize("how", ["wrapped", "patched", "wrapped and patched"])
@pytest.mark.parametrize("way", ["submit", "run_in_executor"])
@pytest.mark.parametrize("kind", POOLS)
def test_a_pool_that_retries_gets_its_result(kind: str, way: str, how: str, tmp_path: Path) -> None:
    if "patched" in how:
        gi.instrument()
    pool = POOLS[kind]()
    if "wrapped" in how:
        gi.wrap_executor(pool, "pool")
    path = str(tmp_path / "runs")

    async def main() -> int:
        if way == "submit":
            return int(await asyncio.wrap_future(pool.submit(fail_twice, path)))
        return int(await asyncio.get_running_loop().run_in_executor(pool, fail_twice, path))

    try:
        assert asyncio.run(asyncio.wait_for(main(), LIMIT)) == 4
    finally:
        pool.shutdown()
        if kind == "dask":
            client_of(pool).cluster.close()
            client_of(pool).close()
    if "wrapped" in how:
        assert work.outcomes("pool") == {"success": 1}
