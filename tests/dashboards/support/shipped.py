"""The dashboards as they are shipped."""

from __future__ import annotations

import json
from typing import Any

from glasspool._monitoring import provisioning

SHIPPED: dict[str, dict[str, Any]] = {
    dashboard.uid: json.loads(dashboard.text) for dashboard in provisioning.dashboards()
}
"""By uid."""

PANELS: dict[str, dict[str, Any]] = {
    f"{uid}: {panel['title']}": panel
    for uid, model in SHIPPED.items()
    for panel in model["panels"]
    if panel["type"] != "row"
}
"""All of them, rows left out, by what a test of one is called."""
