"""Rules and alerts as the YAML that Prometheus, vmalert and Mimir load."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .alerts import Alert, alerts
from .options import RuleOptions
from .recording import recording_groups

__all__ = ["rule_files"]

_HEAD = "# Written by `glasspool rules export`, which takes thresholds and objectives as options.\n"


def rule_files(options: RuleOptions) -> dict[str, str]:
    """File name to content: the recording rules, and the alerts that read them."""
    recording: list[dict[str, Any]] = []
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
    annotations = {
        "summary": alert.summary,
        "description": f"Look first at the panel “{alert.panel}”, then follow the runbook.",
        "runbook_url": f"{options.runbook_url.rstrip('/')}/{alert.runbook}.md",
    }
    if options.grafana_url:
        annotations["dashboard"] = alert.link(options)
    return {
        "alert": alert.name,
        "expr": alert.expr,
        "for": alert.hold,
        "labels": {"severity": alert.severity},
        "annotations": annotations,
    }


def _text(groups: list[dict[str, Any]]) -> str:
    return _HEAD + "\n".join(_lines({"groups": groups})) + "\n"


# Rules consist of mappings, lists and strings only, so users need not install a YAML library.


def _lines(value: Mapping[str, Any] | Sequence[Any]) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if isinstance(inner, str):
                yield f"{key}: {_scalar(inner)}"
            else:
                yield f"{key}:"
                yield from (f"  {line}" for line in _lines(inner))
    else:
        for item in value:
            for number, line in enumerate(_lines(item)):
                yield ("- " if number == 0 else "  ") + line


def _scalar(text: str) -> str:
    if re.fullmatch(r"[A-Za-z_][\w:./-]*", text):
        return text
    return "'" + text.replace("'", "''") + "'"
