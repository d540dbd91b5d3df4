"""An observed pool is used as a bare one: its methods take what they took, and it is hashed and copied alike."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

import glasspool_instrumentation as gi

from .work import LIMIT


class Plain(Executor):
    def __init__(self, label: str = "plain") -> None:
        self.label = label

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future

    def shutdown(self, wait: bool = True, cancel_futures: bool = False) -> None:
        self.ended = wait, cancel_futures


@dataclass
class Unhashable(Plain):
    label: str = "unhashable"


class Equal(Plain):
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Equal) and other.label == self.label

    def __hash__(self) -> int:
        return hash(self.label)


class WithNew(Plain):
    def __new__(cls, label: str, *, size: int) -> WithNew:
        made = super().__new__(cls)
        made.size = size  # type: ignore[attr-defined]
        return made

    def __init__(self, label: str, *, size: int) -> None:
        super().__init__(label)

    def __getnewargs_ex__(self) -> tuple[tuple[str], dict[str, int]]:
        return (self.label,), {"size": 3}


class Positional(WithNew):
    def __new__(cls, label: str, size: int = 3) -> Any:
        return super().__new__(cls, label, size=size)

    def __init__(self, label: str, size: int = 3) -> None:
        super().__init__(label, size=size)

    __getnewargs_ex__ = None  # type: ignore[assignment]

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Positional, (self.label, 3)


class Meta(type):
    pass


class WithMeta(Plain, metaclass=Meta):
    pass


@dataclass
class UnhashableThreads(ThreadPoolExecutor):
    size: int = 1

    def __post_init__(self) -> None:
        super().__init__(self.size)


def _loky() -> Executor:
    made: Executor = pytest.importorskip("loky").ProcessPoolExecutor(1)
    return made


CUSTOM: dict[str, Callable[[], Any]] = {
    "plain": Plain,
    "a dataclass": Unhashable,
    "equality of its own": Equal,
    "arguments of __new__": lambda: WithNew("new", size=3),
    "a reduction of its own": lambda: Positional("positional"),
    "a metaclass": WithMeta,
}
ALL = {
    **CUSTOM,
    "threads": lambda: ThreadPoolExecutor(1),
    "a dataclass of threads": UnhashableThreads,
    "processes": lambda: ProcessPoolExecutor(1),
    "loky": _loky,
}
WRAPPED = {True: lambda pool: gi.wrap_executor(pool, "pool"), False: lambda pool: pool}


@pytest.fixture(params=["wrapped", "patched", "wrapped and patched"])
def observe(request: pytest.FixtureRequest) -> Callable[[Callable[[], Any]], Any]:
    if "patched" in request.param:
        gi.FuturesInstrumentor().instrument()
        gi.LokyInstrumentor().instrument()
    return lambda make: WRAPPED["wrapped" in request.param](make())


Observe = Callable[[Callable[[], Any]], Any]


@pytest.mark.parametrize("kind", ALL)
def test_methods_take_what_they_took(kind: str, observe: Observe) -> None:
    bare = ALL[kind]()
    cls = type(bare)
    methods = {name: inspect.signature(getattr(cls, name)) for name in ("submit", "map", "shutdown", "__init__")}
    bare.shutdown()
    with observe(ALL[kind]) as pool:
        for name, signature in methods.items():
            assert inspect.signature(getattr(type(pool), name)) == signature, name
            assert getattr(type(pool), name).__name__ == getattr(cls, name).__name__
            assert getattr(type(pool), name).__doc__ == getattr(cls, name).__doc__
        assert isinstance(pool, cls)
        assert type(pool).__qualname__ == cls.__qualname__
        assert type(type(pool)) is type(cls)


@pytest.mark.parametrize("kind", ALL)
def test_a_pool_is_shut_down_as_it_likes(kind: str, observe: Observe) -> None:
    pool = observe(ALL[kind])
    assert pool.submit(abs, -1).result(LIMIT) == 1
    positional = sum(p.kind is p.POSITIONAL_OR_KEYWORD for p in inspect.signature(pool.shutdown).parameters.values())
    assert positional == (1 if isinstance(pool, (ThreadPoolExecutor, ProcessPoolExecutor)) else 2)
    with pytest.raises(TypeError):
        pool.shutdown(True, True, True)
    with pytest.raises(TypeError):
        pool.shutdown(wait_long=True)
    assert pool.submit(abs, -2).result(LIMIT) == 2  # it was no shutdown
    pool.shutdown(*[True, False][:positional])
    if isinstance(pool, Plain):
        assert pool.ended == (True, False)
        pool.shutdown(False, True)
        assert pool.ended == (False, True)


@pytest.mark.parametrize("kind", ALL)
def test_hash_and_equality_are_the_pools(kind: str, observe: Observe) -> None:
    with ALL[kind]() as bare, observe(ALL[kind]) as pool, observe(ALL[kind]) as other:
        assert (type(pool).__hash__ is None) == (type(bare).__hash__ is None)
        if type(pool).__hash__ is not None:
            assert hash(pool) == hash(pool)
            assert {pool: 1}[pool] == 1
        assert pool == pool
        assert (pool == other) == (kind in ("a dataclass", "a dataclass of threads") or kind == "equality of its own")


@pytest.mark.parametrize("kind", CUSTOM)
@pytest.mark.parametrize(
    "way",
    [*(lambda pool, p=p: pickle.loads(pickle.dumps(pool, p)) for p in range(2, 6)), copy.copy, copy.deepcopy],
    ids=["pickle 2", "pickle 3", "pickle 4", "pickle 5", "copy", "deepcopy"],
)
def test_a_copy_is_a_bare_pool(kind: str, way: Callable[[Any], Any], observe: Observe) -> None:
    bare = CUSTOM[kind]()
    pool = observe(CUSTOM[kind])
    copied = way(pool)
    assert copied is not pool
    assert type(copied) is type(bare)
    assert vars(copied) == vars(way(bare))
    assert copied.submit(abs, -1).result(LIMIT) == 1
    assert gi.wrap_executor(copied, "the copy").submit(abs, -1).result(LIMIT) == 1


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_what_cannot_be_pickled_says_the_same(kind: str, observe: Observe) -> None:
    with ALL[kind]() as bare, observe(ALL[kind]) as pool:
        with pytest.raises(TypeError) as without:
            pickle.dumps(bare)
        with pytest.raises(TypeError) as observed:
            pickle.dumps(pool)
        assert str(observed.value) == str(without.value)
