"""Rules and alerts as the YAML that Prometheus and its relatives load."""

from __future__ import annotations

from typing import Any

import yaml

from dashboards.alerts import Alert, alerts
from dashboards.options import RuleOptions
from dashboards.recording import recording_groups

__all__ = ["rule_files"]

_HEAD = "# Generated from the metrics catalog by `python -m dashboards`; change the generator, not this file.\n"


def rule_files(options: RuleOptions) -> dict[str, str]:
    """File name to content: the recording rules, and the alerts that read them."""
    recording = []
    for group in recording_groups(options):
        entry: dict[str, Any] = {"name": group.name}
        if group.interval:
            entry["interval"] = group.interval
        entry["rules"] = [{"record": rule.record, "expr": rule.expr} for rule in group.rules]
        recording.append(entry)
    alerting = [
        {
            "name": f"glasspool-{severity}s",
            "rules": [_alert(a, options) for a in alerts(options) if a.severity == severity],
        }
        for severity in ("page", "ticket")
    ]
    return {
        "glasspool.rules.yaml": _text(recording),
        "glasspool.alerts.yaml": _text(alerting),
    }


def _alert(alert: Alert, options: RuleOptions) -> dict[str, Any]:
    return {
        "alert": alert.name,
        "expr": alert.expr,
        "for": alert.hold,
        "labels": {"severity": alert.severity},
        "annotations": {
            "summary": alert.summary,
            "description": f"Look first at the panel “{alert.panel}”, then follow the runbook.",
            "dashboard": alert.link(options),
            "runbook_url": f"{options.runbook_url.rstrip('/')}/{alert.runbook}.md",
        },
    }


def _text(groups: list[dict[str, Any]]) -> str:
    return _HEAD + yaml.safe_dump({"groups": groups}, sort_keys=False, allow_unicode=True, width=1000)
