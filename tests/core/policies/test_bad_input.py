"""Every option that is wrong is refused by the call that has it, with its name, its value and what to do."""

from __future__ import annotations

import math

import anyio
import pytest

from glasspool import HybridExecutor, Limit, QueueFull, Rate, Retry, RetryBudget
from tests.core.support import echo

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("error", "message", "options"),
    [
        (ValueError, r"count must be at least 1e-09 and at most 1e\+15, got 0", {"count": 0}),
        (ValueError, r"count must be at least 1e-09 and at most 1e\+15, got -1", {"count": -1}),
        (ValueError, r"count must be at least 1e-09 and at most 1e\+15, got nan", {"count": math.nan}),
        (ValueError, r"count must be at least 1e-09 and at most 1e\+15, got inf", {"count": math.inf}),
        (TypeError, "count must be a number, not '5'", {"count": "5"}),
        (TypeError, "count must be a number, not True", {"count": True}),
        (ValueError, r"per must be above 0 and at most 1e\+15, got 0", {"count": 1, "per": 0}),
        (TypeError, "per must be a number of seconds, not None", {"count": 1, "per": None}),
        (ValueError, r"burst must be at least 1 and at most 1e\+15, got 0.5", {"count": 1, "burst": 0.5}),
        (ValueError, "of must be one of 'cost', 'starts', not 'requests'", {"count": 1, "of": "requests"}),
    ],
)
def test_rates(error, message, options):
    with pytest.raises(error, match=message):
        Rate(**options)


@pytest.mark.parametrize(
    ("error", "message", "options"),
    [
        (ValueError, r"Limit\(\) limits nothing: give in_flight=, rate= or max_queued=", {}),
        (ValueError, "in_flight must be at least 1, not 0", {"in_flight": 0}),
        (TypeError, r"in_flight must be an int or None \(no bound\), not 1.5", {"in_flight": 1.5}),
        (ValueError, "max_queued must be at least 1, not 0", {"max_queued": 0}),
        (TypeError, r"rate must be one or several glasspool.Rate, not 5; write Rate\(10\)", {"rate": 5}),
        (TypeError, r"rate must be one or several glasspool.Rate, not \[5\]", {"rate": [5]}),
        (TypeError, "rate must be one or several glasspool.Rate, not '5/s'", {"rate": "5/s"}),
        (ValueError, r"Limit\(\) limits nothing", {"rate": []}),
    ],
)
def test_limits(error, message, options):
    with pytest.raises(error, match=message):
        Limit(**options)


@pytest.mark.parametrize(
    ("error", "message", "options"),
    [
        (TypeError, "on must be subclasses of Exception, not <class 'BaseException'>", {"on": BaseException}),
        (TypeError, "on must be subclasses of Exception, not <class 'KeyboardInterrupt'>", {"on": KeyboardInterrupt}),
        (TypeError, "on must be subclasses of Exception, not <class 'int'>", {"on": int}),
        (TypeError, "on must be subclasses of Exception, not 'OSError'", {"on": (OSError, "OSError")}),
        (ValueError, r"on must name at least one exception type, got \(\)", {"on": ()}),
        (TypeError, "on must be an exception type, a tuple of them or a function of the error, not 503", {"on": 503}),
        (TypeError, "on must be an exception type, a tuple of them or a function of the error, not None", {"on": None}),
        (TypeError, "on must be a plain function, not the coroutine function <function echo", {"on": echo}),
        (ValueError, "attempts must be at least 1, not 0", {"on": OSError, "attempts": 0}),
        (TypeError, "attempts must be an int, not True", {"on": OSError, "attempts": True}),
        (ValueError, r"base must be above 0 and at most 1e\+15, got 0", {"on": OSError, "base": 0}),
        (ValueError, r"cap must be above 0 and at most 1e\+15, got inf", {"on": OSError, "cap": math.inf}),
        (ValueError, r"cap must be at least base \(30\), got 20.0; raise the cap", {"on": OSError, "base": 30}),
    ],
)
def test_retries(error, message, options):
    with pytest.raises(error, match=message):
        Retry(**options)


@pytest.mark.parametrize(
    ("error", "message", "options"),
    [
        (ValueError, r"ratio must be above 0 and at most 1e\+15, got -0.1", {"ratio": -0.1}),
        (ValueError, r"ratio must be above 0 and at most 1e\+15, got nan", {"ratio": math.nan}),
        (TypeError, "ratio must be a number, not '20%'", {"ratio": "20%"}),
        (TypeError, "ratio must be a number, not False", {"ratio": False}),
        (ValueError, "floor must be at least 0, not -1", {"floor": -1}),
        (TypeError, "floor must be an int, not 1.5", {"floor": 1.5}),
        (ValueError, r"window must be at least 0.001 and at most 1e\+15, got 0", {"window": 0}),
        (ValueError, r"window must be at least 0.001 .*, got 5e-324", {"window": 5e-324}),
    ],
)
def test_retry_budgets(error, message, options):
    with pytest.raises(error, match=message):
        RetryBudget(**options)


async def test_what_takes_a_retry():
    with pytest.raises(TypeError, match=r"retry must be a glasspool.Retry or None, not 3; write Retry\(on=ConnectionE"):
        HybridExecutor("bad", max_in_flight=1, retry=3)
    with pytest.raises(TypeError, match=r"retry_budget must be a glasspool.RetryBudget or None \(no bound\), not 0.2"):
        HybridExecutor("bad", max_in_flight=1, retry_budget=0.2)
    async with HybridExecutor("good", max_in_flight=1) as executor:
        for wrong in (True, OSError, Retry):
            with pytest.raises(TypeError, match=r"retry must be a glasspool\.Retry or None, not"):
                await executor.submit(echo, 1, retry=wrong)
            with pytest.raises(TypeError, match=r"retry must be a glasspool\.Retry or None, not"):
                executor.map(echo, [1], retry=wrong)
        assert executor.stats().submitted == 0


def test_a_limit_is_not_resized_to_nothing():
    limit = Limit(in_flight=1)
    with pytest.raises(ValueError, match=r"resize\(\) would leave no limit: give in_flight= or rate="):
        limit.resize(in_flight=None)
    with pytest.raises(ValueError, match="in_flight must be at least 1, not 0"):
        limit.resize(in_flight=0)
    assert limit.in_flight == 1


@pytest.mark.parametrize(
    ("error", "message", "options"),
    [
        (TypeError, "limits must be a mapping of keys to glasspool.Limit, not 8", {"limits": 8}),
        (TypeError, r"limits\['api'\] must be a glasspool.Limit, not 8; write Limit\(in_f", {"limits": {"api": 8}}),
        (TypeError, "a key of limits must be a str, not 1", {"limits": {1: Limit(in_flight=1)}}),
        (ValueError, "a key of limits must not be empty", {"limits": {"": Limit(in_flight=1)}}),
        (TypeError, "rate must be one or several glasspool.Rate, not 10", {"rate": 10}),
        (ValueError, "max_queued must be at least 1 with rate= or limits=", {"rate": Rate(1), "max_queued": 0}),
    ],
)  # fmt: skip
def test_executors(error, message, options):
    with pytest.raises(error, match=message):
        HybridExecutor("refused", max_in_flight=1, **options)


@pytest.mark.parametrize(
    ("error", "message", "options"),
    [
        (ValueError, r"key must be one that limits= names \('api', 'slow'\), got 'other'; '\*'", {"key": "other"}),
        (ValueError, r"key must be one that limits= names .*, got '\*'", {"key": "*"}),
        (TypeError, r"key must be hashable, such as a str, not \['api'\]", {"key": ["api"]}),
        (ValueError, "cost=2 is counted by no rate of this task", {"cost": 2}),
        (ValueError, "cost=2 is counted by no rate of this task", {"cost": 2, "key": "slow"}),
        (ValueError, r"cost must be at most the burst of Rate\(count=10, .*burst=5", {"cost": 6, "key": "api"}),
        (ValueError, r"cost must be above 0 and at most 1e\+15, got 0", {"cost": 0, "key": "api"}),
        (ValueError, r"cost must be above 0 and at most 1e\+15, got nan", {"cost": math.nan, "key": "api"}),
        (TypeError, "cost must be a number, not '3'", {"cost": "3", "key": "api"}),
    ],
)  # fmt: skip
async def test_tasks(error, message, options):
    limits = {"api": Limit(rate=Rate(10, burst=5)), "slow": Limit(rate=Rate(1, of="starts"))}
    async with HybridExecutor("refused", max_in_flight=1, limits=limits) as executor:
        with pytest.raises(error, match=message):
            await executor.submit(echo, 1, **options)
        with pytest.raises(error, match=message):
            executor.submit_nowait(echo, 1, **options)
        with pytest.raises(error, match=message):
            await executor.run(echo, 1, **options)
        async with executor.pile() as pile:
            with pytest.raises(error, match=message):
                await pile.include(echo, 1, **options)
        with pytest.raises(error, match=message):
            executor.map(echo, [1], **options)
        assert executor.stats().submitted == 0


async def test_functions_that_give_keys_and_costs():
    """What they give, or raise, for one item ends the iteration when the outcomes of those before have been given."""
    limits = {"api": Limit(rate=Rate(10, burst=5))}

    async def source():
        for number in range(3):
            yield number

    for items in ([0, 1, 2], source()):
        found = []
        async with HybridExecutor("functions", max_in_flight=1, limits=limits) as executor:
            with pytest.raises(ValueError, match=r"key must be one that limits= names \('api'\), got 'none'"):
                async for value in executor.map(echo, items, key=lambda number: "none" if number == 1 else "api"):
                    found.append(value)
            assert found == [0]
            with pytest.raises(ZeroDivisionError):
                async for _ in executor.as_completed(echo, [0], key="api", cost=lambda number: 1 / number):
                    pass
            assert executor.stats().submitted == 1


async def test_a_key_without_limits_has_no_effect():
    async with HybridExecutor("without", max_in_flight=1) as executor:
        assert await executor.run(echo, 1, key="anything") == 1
        assert [value async for value in executor.map(echo, [1, 2], key=lambda item: item)] == [1, 2]
        with pytest.raises(TypeError, match="key must be hashable"):
            await executor.run(echo, 1, key=[])
        with pytest.raises(ValueError, match="cost=1 is counted by no rate"):
            await executor.run(echo, 1, key="anything", cost=1)


@pytest.mark.parametrize(
    ("error", "message", "arguments", "options"),
    [
        (ValueError, "seconds must not be negative, got -1", (-1,), {}),
        (TypeError, "seconds must be a number of seconds, not None; 0 ends a pause", (None,), {}),
        (ValueError, "seconds must not be NaN", (math.nan,), {}),
        (ValueError, r"seconds must be at most 1e\+09, got inf", (math.inf,), {}),
        (ValueError, r"key must be one that limits= names \('api'\), got 'other'", (1,), {"key": "other"}),
    ],
)
async def test_pauses(error, message, arguments, options):
    async with HybridExecutor("refused", max_in_flight=1, limits={"api": Limit(in_flight=1)}) as executor:
        with pytest.raises(error, match=message):
            executor.pause(*arguments, **options)
        assert await executor.run(echo, 1) == 1


async def test_a_pause_of_a_key_that_has_no_limit():
    async with HybridExecutor("refused", max_in_flight=1) as executor:
        with pytest.raises(ValueError, match="key='api' has no limit: the executor was made without limits="):
            executor.pause(1, key="api")


async def test_resizing_nothing():
    async with HybridExecutor("refused", max_in_flight=1) as executor:
        with pytest.raises(TypeError, match=r"resize\(\) changes nothing: give max_in_flight or rate="):
            executor.resize()
        with pytest.raises(TypeError, match=r"rate must be one or several glasspool\.Rate, not 3"):
            executor.resize(2, rate=3)
        assert executor.stats().slots_limit == 1


async def test_a_full_queue_refuses_and_loses_nothing():
    async with HybridExecutor("full", max_in_flight=1, max_queued=2, rate=Rate(1, per=3600)) as executor:
        handles = [executor.submit_nowait(echo, number) for number in range(3)]
        with pytest.raises(QueueFull):
            executor.submit_nowait(echo, 3)
        assert await handles[0] == 0
        executor.resize(rate=())
        assert [await handle for handle in handles] == [0, 1, 2]


async def test_real_time():
    """On every event loop, uvloop too: no start is too early."""
    starts = []

    async def note() -> None:
        starts.append(anyio.current_time())

    async with HybridExecutor("real", max_in_flight=9, rate=Rate(100, per=1.0)) as executor:
        executor.pause(0.02)
        begun = anyio.current_time()
        for _ in range(5):
            await executor.submit(note)
    # A busy machine may let each of them start late, and the next one after it in time.
    assert all(at - begun >= 0.019 + 0.01 * number for number, at in enumerate(starts))
