"""Run the executor with the core dependencies only, and check that the error for each missing extra names it.

It is for an environment that has only glasspool; the full environment runs the tests.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import anyio
from anyio.lowlevel import checkpoint

from glasspool import HybridExecutor
from glasspool._monitoring import RuleOptions, provisioning
from glasspool.telemetry import configure
from glasspool.telemetry.recording.registry import REGISTRY

ABSENT = ("opentelemetry.sdk", "prometheus_client", "rich", "typer", "trio", "yaml", "grafana_foundation_sdk")


def absent(module: str) -> bool:
    """Whether the module cannot be imported here."""
    try:
        return importlib.util.find_spec(module) is None
    except ModuleNotFoundError:
        return True


async def work(number: int) -> int:
    """A function for the tasks."""
    await checkpoint()
    return number


async def main() -> None:
    """Run a hundred tasks and a few threads, then use the missing extras."""
    async with HybridExecutor("smoke", max_in_flight=8) as executor:
        values = [value async for value in executor.map(work, range(100))]
        assert values == list(range(100)), values
        assert await executor.run(divmod, 7, 2) == (3, 1)
    submitted = REGISTRY.collect().points["glasspool.task.submitted"]
    assert [point.value for point in submitted] == [101], submitted
    notes = configure(prometheus_port=0).notes
    assert any("glasspool[" in note for note in notes), notes


def exports() -> None:
    """Make rules and dashboards with options, which need only the contents of the wheel."""
    options = RuleOptions(wait_objectives=(("web-.*", 0.5),), queue_fill=0.7)
    rules = provisioning.rules(options)
    assert "web-.*" in rules["glasspool.rules.yaml"], rules
    shown = [provisioning.adapted(each, options, "jaeger") for each in provisioning.dashboards()]
    assert len(shown) == 3, shown
    assert all("tempo" not in each.text for each in shown)


if __name__ == "__main__":
    present = [module for module in ABSENT if not absent(module)]
    assert not present, f"not the core alone: {present}"
    anyio.run(main)
    exports()
    command = subprocess.run(
        [sys.executable, "-c", "from glasspool.cli import main; main()"], capture_output=True, text=True, check=False
    )
    assert command.returncode != 0, command
    assert "glasspool[cli]" in command.stderr + command.stdout, command
    print("the core works alone and names what is missing")
