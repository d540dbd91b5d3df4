"""Controls a Chromium that opens the dashboards one after the other."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from playwright.sync_api import Page, sync_playwright
from playwright.sync_api import TimeoutError as NotInTime

from .checks import Drawn

__all__ = ["Eye", "chromium", "opened"]

WIDTH, SCREEN = 1600, 900
"""Size of the first screen in pixels."""

_SECONDS = 120
_DRAWN = """() => {
  const panels = Object.values(window.look?.panels ?? {});
  return panels.length >= COUNT && panels.every((panel) => ['Done', 'Error'].includes(panel.state));
}"""


@dataclass
class Eye:
    """One page of a browser, on a server that ``serving`` has started."""

    page: Page
    url: str
    models: Mapping[str, Any]

    def look(self, uid: str, start: float, end: float, scrape: str, **variables: str) -> Drawn:
        """Open a dashboard over a range of time (seconds) and wait until every panel has drawn."""
        count = sum(panel["type"] != "row" for panel in self.models[uid]["panels"])
        chosen = {f"var-{name}": value for name, value in variables.items()}
        since, until = (datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ") for at in (start, end))
        address = {"uid": uid, "from": since, "to": until, "scrape": scrape, **chosen}
        self.page.set_viewport_size({"width": WIDTH, "height": SCREEN})
        self.page.goto(f"{self.url}/?{urlencode(address)}")
        try:
            self.page.wait_for_function(_DRAWN.replace("COUNT", str(count)), timeout=_SECONDS * 1000)
        except NotInTime:
            pass  # the checks name the panels that have not drawn
        settled = self._settle()
        found = self.page.evaluate("() => window.look ?? { panels: {}, problems: ['the page did not start'] }")
        problems = found["problems"] + ([] if settled else ["the page goes on changing"])
        return Drawn({panel["title"]: panel for panel in found["panels"].values()}, problems)

    def screen(self, path: Path) -> None:
        """A picture of the part that is visible without scrolling."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=path)

    def whole(self, path: Path) -> None:
        """A picture of the dashboard from top to bottom."""
        height = self.page.evaluate(
            "() => Math.max(...[...document.querySelectorAll('.react-grid-layout')]"
            ".map((grid) => grid.getBoundingClientRect().bottom + scrollY), 400)"
        )
        self.page.set_viewport_size({"width": WIDTH, "height": int(height) + 24})
        self._settle()
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=path)
        self.page.set_viewport_size({"width": WIDTH, "height": SCREEN})

    def panel(self, title: str, path: Path) -> None:
        """A picture of one panel."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.locator(f'section[data-testid="data-testid Panel header {title}"]').screenshot(path=path)

    def _settle(self) -> bool:
        """Wait until two successive pictures are equal, since graphs are painted after their data have arrived."""
        before = b""
        for _ in range(40):
            self.page.wait_for_timeout(400)
            now = self.page.screenshot()
            if now == before:
                return True
            before = now
        return False


def chromium() -> str | None:
    """Path of the browser: $CHROMIUM, else the one on the path."""
    return os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


@contextmanager
def opened(url: str, models: Mapping[str, Any]) -> Iterator[Eye]:
    """The browser, without a window."""
    with sync_playwright() as playwright:
        flags = ["--font-render-hinting=none", "--force-color-profile=srgb", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=chromium(), args=flags, chromium_sandbox=False)
        try:
            yield Eye(browser.new_page(), url, models)
        finally:
            browser.close()
