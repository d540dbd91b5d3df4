"""Decorators of another module than the functions that they decorate."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any


def kept(function: Callable[..., Any]) -> Callable[..., Any]:
    """Keeps the name."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def unnamed(function: Callable[..., Any]) -> Callable[..., Any]:
    """Says what it wraps, and has its own name."""

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    wrapper.__wrapped__ = function  # type: ignore[attr-defined]  # as functools.wraps does
    return wrapper


def kept_async(function: Callable[..., Any]) -> Callable[..., Any]:
    """Keeps the name of a coroutine function."""

    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return await function(*args, **kwargs)

    return wrapper


def dropping(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same, and lets go of the argument before it has ended."""

    @functools.wraps(function)
    async def wrapper(argument: Any) -> Any:
        coro = function(argument)
        del argument
        return await coro

    return wrapper
