"""What ``glasspool doctor`` finds: settings and set-ups that lose telemetry, each with its fix.

examination.py   doctor(): this process; examine_environment(): its variables and packages
command.py       runs a program that examines itself: hook/ is loaded into it, reporter.py reports from within
process_page.py  what the /metrics of a running process says
the others       one group of checks each; probes, listeners, scraping and targets are what they use
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from glasspool._lazy import lazy

if TYPE_CHECKING:
    from .command import examine_command
    from .examination import doctor, examine_environment
    from .finding import Finding
    from .process_page import examine_page

__all__ = ["Finding", "doctor", "examine_command", "examine_environment", "examine_page"]

_HOME = {
    "Finding": "finding",
    "doctor": "examination",
    "examine_command": "command",
    "examine_environment": "examination",
    "examine_page": "process_page",
}

if not TYPE_CHECKING:  # for a type checker, a name that is misspelt is an error
    __getattr__, __dir__ = lazy(__name__, _HOME)
