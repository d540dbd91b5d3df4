"""An observed pool works like a bare one: the same arguments of methods, hashing and copying."""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
import pickle
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import pytest

import glasspool_instrumentation as gi

from .work import LIMIT, outcomes

T = TypeVar("T")


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


class WithSlots(Plain):
    __slots__ = ("size",)

    def __init__(self) -> None:
        super().__init__("slots")
        self.size = 3

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__


class Abstract(Plain, ABC):
    @abstractmethod
    def run(self) -> None: ...


class Concrete(Abstract):
    def run(self) -> None: ...


class Typed(Plain, Generic[T]):
    pass


class Wanting(Plain):
    """Its subclasses give an argument and are listed."""

    listed: ClassVar[list[type]] = []

    def __init_subclass__(cls, *, flavour: str, **options: Any) -> None:
        super().__init_subclass__(**options)
        Wanting.listed.append(cls)


class Given(Wanting, flavour="sweet"):
    pass


class Registry(type):
    """Its classes give an argument and have names of their own."""

    classes: ClassVar[dict[str, type]] = {}

    def __new__(meta, name: str, bases: Any, space: Any, *, key: int) -> Any:
        assert name not in meta.classes
        return meta.classes.setdefault(name, super().__new__(meta, name, bases, space))

    def __init__(cls, name: str, bases: Any, space: Any, *, key: int) -> None:
        super().__init__(name, bases, space)


class Registered(Plain, metaclass=Registry, key=1):
    pass


@dataclass(frozen=True, eq=False)
class Frozen(Executor):
    label: str = "frozen"

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        return Plain().submit(fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, cancel_futures: bool = False) -> None: ...


class Strict(Plain):
    def __setattr__(self, name: str, value: object) -> None:
        if name not in ("label", "ended"):
            raise AttributeError(name)
        super().__setattr__(name, value)


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
    "slots": WithSlots,
    "abstract": Concrete,
    "generic": Typed[int],
    "wants of its subclasses": Given,
    "wants of its metaclass": Registered,
    "frozen": Frozen,
    "a __setattr__ of its own": Strict,
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
    assert Wanting.listed == [Given]
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


def _run(fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
    return Plain().submit(fn, *args, **kwargs)


class Static(Plain):
    submit = staticmethod(_run)  # type: ignore[assignment]


class OfTheClass(Plain):
    @classmethod
    def submit(cls, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        assert issubclass(cls, OfTheClass)
        return _run(fn, *args, **kwargs)


class Property(Plain):
    @property
    def submit(self) -> Any:
        assert self.label == "plain"
        return _run


class Renamed(Plain):
    def run(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        return _run(fn, *args, **kwargs)

    submit = run


class Partial(Plain):
    submit = functools.partialmethod(Renamed.run)  # type: ignore[assignment,arg-type]


@pytest.mark.parametrize("how", ["wrapped", "patched", "wrapped and patched"])
@pytest.mark.parametrize("cls", [Static, OfTheClass, Property, Renamed, Partial])
def test_a_submit_that_is_no_plain_function_of_its_class(cls: type[Plain], how: str) -> None:
    if "patched" in how:
        gi.instrument()
    pool = cls()
    if "wrapped" in how:
        gi.wrap_executor(pool, __name__)

    async def main() -> int:
        return int(await asyncio.get_running_loop().run_in_executor(pool, abs, -1))

    assert asyncio.run(main()) == 1
    assert outcomes(__name__) == {"success": 1}
    assert pool.submit(abs, -2).result(LIMIT) == 2
    pool.shutdown()


def test_a_submit_that_was_set_on_the_pool_is_refused() -> None:
    pool = Plain()
    pool.submit = _run  # type: ignore[method-assign]
    with pytest.raises(TypeError, match="has one in the object itself"):
        gi.wrap_executor(pool, "pool")
    assert pool.submit(abs, -1).result(LIMIT) == 1
