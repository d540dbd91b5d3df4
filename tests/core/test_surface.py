"""The public interface of the package: exports and representations."""

from __future__ import annotations

import importlib
import pkgutil
import types

import anyio
import pytest

import glasspool
from glasspool import HybridExecutor, TaskTimeout

from .support import Gate, echo

PUBLIC = sorted(
    module.name
    for module in pkgutil.walk_packages(glasspool.__path__, "glasspool.")
    if not any(part.startswith("_") for part in module.name.split(".")) and not module.name.startswith("glasspool.cli")
)


def rank(name: str) -> tuple[int, str]:
    """Constants, then classes, then the rest, each by name: the order that ruff keeps."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


@pytest.mark.parametrize("name", ["glasspool", *PUBLIC])
def test_exports_are_sorted_and_true(name):
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as missing:
        pytest.skip(f"{name} needs {missing.name}, an optional dependency (install glasspool[all])")
    exported = getattr(module, "__all__", None)
    if module.__spec__ is not None and module.__spec__.submodule_search_locations is not None and exported is None:
        return  # a package that only holds modules
    assert exported is not None, f"{name} has no __all__"
    assert list(exported) == sorted(exported, key=rank)
    assert len(set(exported)) == len(exported)
    for export in exported:
        assert hasattr(module, export)
    for export in exported:
        thing = getattr(module, export)
        if isinstance(thing, (type, types.FunctionType)) and str(thing.__module__).startswith("glasspool"):
            assert thing.__doc__, f"{name}.{export} has no docstring"


def test_every_public_name_is_documented():
    for name in glasspool.__all__:
        thing = getattr(glasspool, name)
        if name != "__version__":
            assert thing.__doc__, name


@pytest.mark.anyio
async def test_representations_are_status_lines():
    gate = Gate()
    executor = HybridExecutor("mail", max_in_flight=1)
    assert repr(executor) == "<HybridExecutor 'mail' new>"
    assert executor.name == "mail"
    async with executor:
        first, second = executor.submit_nowait(gate.hold, name="send"), executor.submit_nowait(gate.hold, name="send")
        assert repr(executor) == "<HybridExecutor 'mail' open · 1 in flight · 1 queued>"
        assert repr(first) == f"<TaskHandle {first.id} 'send' active>"
        assert repr(second) == f"<TaskHandle {second.id} 'send' queued>"
        async with executor.pile() as pile:
            await pile.include(echo, 1)
            assert repr(pile) == "<Pile 0 in flight · 1 queued · 0 untaken>"
            gate.open()
        assert repr(pile) == "<Pile 0 in flight · 0 queued · 1 untaken>"
        assert repr(await first.outcome()) == "<Completed 'send' success: NoneType>"
        late = await (await executor.submit(anyio.sleep_forever, timeout=0, name="late")).outcome()
        assert isinstance(late.error, TaskTimeout)
        assert repr(late).startswith("<Completed 'late' timeout: TaskTimeout(")
    assert repr(executor) == "<HybridExecutor 'mail' closed · 0 in flight · 0 queued>"
