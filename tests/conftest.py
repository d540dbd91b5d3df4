"""Fixtures for all tests: the backends as a parameter, and a time limit for every asynchronous test."""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from glasspool import HybridExecutor


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--eager", action="store_true", help="give asyncio loops the eager task factory (Python 3.12 and later)"
    )
    parser.addoption("--shared", action="store_true", help="executors that do not say otherwise have isolate=False")
    # Far above what any test needs on a loaded machine.
    parser.addoption("--limit", type=float, default=300.0, help="seconds after which an asynchronous test has hung")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--eager") and sys.version_info < (3, 12):
        raise pytest.UsageError("--eager needs asyncio.eager_task_factory, which Python has from 3.12 on")
    if config.getoption("--shared"):
        HybridExecutor.__init__.__kwdefaults__["isolate"] = False


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
            item.obj = _limited(item.obj, config.getoption("--limit"))


def _limited(test: Callable[..., Any], limit: float) -> Callable[..., Any]:
    @functools.wraps(test)
    async def limited(*args: Any, **kwargs: Any) -> None:
        with anyio.fail_after(limit):
            await test(*args, **kwargs)

    return limited


def _eager_loop(new_event_loop: Callable[[], asyncio.AbstractEventLoop]) -> asyncio.AbstractEventLoop:
    loop = new_event_loop()
    loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]  # checked in pytest_configure
    return loop


@pytest.fixture(params=["asyncio", "uvloop", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """asyncio, asyncio on uvloop, and trio; used by every test marked ``anyio``."""
    if request.param == "trio":
        pytest.importorskip("trio")
        return "trio", {}
    new_event_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    if request.param == "uvloop" and request.config.getoption("--eager"):
        pytest.skip("uvloop hands task factories an argument that asyncio's eager one does not take")
    if request.param == "uvloop":
        new_event_loop = pytest.importorskip("uvloop").new_event_loop
    if request.config.getoption("--eager"):
        return "asyncio", {"loop_factory": functools.partial(_eager_loop, new_event_loop)}
    return "asyncio", {"loop_factory": new_event_loop}
