"""Recording rules and alerts as code over the metrics catalog, in the wheel so that an installation can choose.

=================  =====================================================================================
`options`          what an installation may choose, checked
`expressions`      PromQL from catalog entries: the only place where names become query text
`recording`        the recording rules
`alerts`           the alerts
`rulefiles`        rules and alerts as YAML
`retouching`       what the options change in the dashboards, which are made before and shipped as JSON
=================  =====================================================================================

``glasspool rules export`` and ``glasspool dashboards export`` are their user; so is the generator of the dashboards and
of the files in the repository, ``python -m dashboards.generator``.
"""

from __future__ import annotations

from .options import OptionError, RuleOptions
from .retouching import retouched
from .rulefiles import rule_files

__all__ = ["OptionError", "RuleOptions", "retouched", "rule_files"]
