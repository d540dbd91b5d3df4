"""Recording rules and alerts as code over the metrics catalog, in the wheel so that users can set options.

===============  ===========================================================================================
`options`        the options of the rules, checked
`expressions`    PromQL from catalog entries: the only place where names become query text
`holds`          what excludes tasks that are held on purpose from alerts, and the alerts about them
`services`       the alerts about services
`recording`      the recording rules
`alerts`         the alerts
`rulefiles`      rules and alerts as YAML
`retouching`     what the options change in the dashboards, which are made before and shipped as JSON
===============  ===========================================================================================

``glasspool rules export`` and ``glasspool dashboards export`` use them, and so does ``python -m dashboards.generator``,
which generates the dashboards and the files in the repository.
"""

from __future__ import annotations

from .options import OptionError, RuleOptions
from .retouching import retouched
from .rulefiles import rule_files

__all__ = ["OptionError", "RuleOptions", "retouched", "rule_files"]
