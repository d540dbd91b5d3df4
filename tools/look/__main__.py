"""Draw the shipped dashboards over real series, and fail if one does not show what it must.

    make dashboards-look [ARGS="--docs"]

writes build/pictures: each dashboard over all recorded programs at once, the first screen for each program in trouble,
each dashboard and each situation of the run of tools/prove_dashboards.py, and for each alert the panel that it names.
``--docs`` writes the pictures of the documentation to docs/images. It takes five minutes, and needs Node 20.11,
Chromium and the back ends; `make` installs the rest.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / part) for part in ("", "src", "instrumentation")]

from glasspool._monitoring import provisioning  # noqa: E402
from glasspool._monitoring.alerts import DRILLDOWN_UID, OVERVIEW_UID, RUNTIME_UID  # noqa: E402
from tests.alerting.situations import SICK, Sick  # noqa: E402
from tests.dashboards.support.backend_tools import PROGRAMS, find  # noqa: E402
from tests.dashboards.support.expectations import CALLS, CRAWL  # noqa: E402
from tests.dashboards.support.judging import FOR_ONE_EXECUTOR, OF_CRAWL, OF_RETRIES  # noqa: E402
from tests.dashboards.support.proof_run import run  # noqa: E402
from tests.dashboards.support.situation_table import SITUATIONS  # noqa: E402
from tests.dashboards.support.stores import SCRAPE_SECONDS  # noqa: E402
from tools.look.backend import BUNDLE, serving  # noqa: E402
from tools.look.browser import Eye, chromium, opened  # noqa: E402
from tools.look.checks import Drawn, empty_panels, faults  # noqa: E402
from tools.look.expected import SEEN, Seen, by_name  # noqa: E402
from tools.look.replayed import MINUTES, ODD_JOB, ODD_NAMES, replayed  # noqa: E402

PICTURES = ROOT / "build" / "pictures"
DOCUMENTED = {
    "programs/overview.png": "dashboard-overview.png",
    "programs/sick-limiter-executor.png": "dashboard-executor.png",
    "programs/sick-blocked-loop-runtime.png": "dashboard-runtime.png",
}
"""The pictures for docs/images with their names there; those of alerts go to docs/images/alerts."""


class Look:
    """Draws dashboards and collects problems."""

    def __init__(self, eye: Eye, where: str, start: float, end: float, scrape: str) -> None:
        self.eye, self.where, self.start, self.end, self.scrape = eye, where, start, end, scrape
        self.wrong: list[str] = []

    def at(self, uid: str, what: str, **variables: str) -> Drawn:
        """Draw a dashboard and check it for errors that no dashboard may show."""
        drawn = self.eye.look(uid, self.start, self.end, self.scrape, **variables)
        self.wrong += [f"{what}, {uid}: {fault}" for fault in faults(drawn, self.eye.models[uid])]
        return drawn

    def path(self, name: str) -> Path:
        return PICTURES / self.where / f"{name}.png"

    def alerts(self, jobs: bool) -> None:
        """Draw the panel of each alert that is raised here."""
        for name, (alert, seen) in by_name().items():
            if bool(seen.job) != jobs:
                continue
            drawn = self.at(alert.dashboard, alert.name, **_variables(alert.dashboard, seen))
            fault = seen.wrong(drawn.panels[alert.panel])
            self.wrong += [f"{alert.name}: {alert.panel}: {fault}"] if fault else []
            self.eye.panel(alert.panel, PICTURES / "alerts" / f"{name}.png")


def _variables(uid: str, seen: Seen) -> dict[str, str]:
    chosen = {"job": seen.job} if seen.job else {}
    return chosen | ({"executor": seen.executor, "type": seen.kind} if uid == DRILLDOWN_UID else {})


def programs(models: dict[str, Any], directory: Path) -> list[str]:
    """The recorded programs: all at once, then the first screen for each of those in trouble."""
    with (
        replayed(directory) as (store, end),
        serving(models, store) as url,
        opened(url, models) as eye,
    ):
        look = Look(eye, "programs", end - MINUTES * 60, end, "15s")
        for uid, chosen in ((OVERVIEW_UID, {}), (DRILLDOWN_UID, {"executor": "deliveries"}), (RUNTIME_UID, {})):
            look.at(uid, "all programs", **chosen)
            eye.screen(look.path(_short(uid)))
            eye.whole(look.path(f"{_short(uid)}-whole"))
        kinds = {seen.executor: seen.kind for seen in SEEN.values()}
        for sick in SICK:
            overview = look.at(OVERVIEW_UID, sick.name, job=sick.name)
            eye.screen(look.path(f"{sick.name}-overview"))
            look.wrong += _not_named(sick, overview)
            uid = DRILLDOWN_UID if sick.named_by == "glasspool_executor_name" else RUNTIME_UID
            who = {"executor": sick.who[0], "type": kinds.get(sick.who[0], "hybrid")} if uid == DRILLDOWN_UID else {}
            look.at(uid, sick.name, job=sick.name, **who)
            eye.screen(look.path(f"{sick.name}-{_short(uid)}"))
        for name in ODD_NAMES:
            drawn = look.at(DRILLDOWN_UID, name, executor=name, type="hybrid")
            if "Waits against runs" in empty_panels(drawn):
                look.wrong.append(f"an executor named {name!r} has no waits and runs")
        overview = look.at(OVERVIEW_UID, ODD_JOB, job=ODD_JOB)
        eye.screen(look.path(ODD_JOB))
        if "Pressure" in empty_panels(overview):
            look.wrong.append(f"{ODD_JOB}: no pressure")
        look.alerts(jobs=True)
        return look.wrong


def _not_named(sick: Sick, overview: Drawn) -> Iterator[str]:
    """The overview must show that the alert fires, and which executor it is about."""
    cells = {line["name"]: line["cells"] for line in overview.panels["Alerts"]["lines"]}
    who = cells.get("Executor" if sick.named_by == "glasspool_executor_name" else "Event loop", [])
    found = sorted(zip(cells.get("State", ()), cells.get("Alert", ()), who, strict=True))
    wanted = sorted(("firing", sick.alert, name) for name in sick.who)
    if found != wanted:
        yield f"{sick.name}: the overview names {found}, not {wanted}"


def situations(models: dict[str, Any], directory: Path) -> list[str]:
    """One program that passes through every situation, so that no panel of any dashboard is empty."""
    with (
        run(directory) as finished,
        serving(models, finished.stores[0].url) as url,
        opened(url, models) as eye,
    ):
        look = Look(eye, "situations", finished.account["idle_from"], finished.at, f"{SCRAPE_SECONDS}s")
        titles = {title for situation in SITUATIONS for title in situation.panels}
        others = {CRAWL: ("held tasks", {title for title, _ in OF_CRAWL}), CALLS: ("retries", OF_RETRIES)}
        elsewhere = {title for _, panels in others.values() for title in panels}
        for uid in models:
            drawn = look.at(uid, "situations", **FOR_ONE_EXECUTOR.get(uid, {}))
            empty = empty_panels(drawn) - elsewhere
            look.wrong += [f"situations, {uid}: nothing in {title!r}" for title in empty]
            eye.whole(look.path(_short(uid)))
            for title in (titles & drawn.panels.keys()) - elsewhere:
                eye.panel(title, look.path(f"{_short(uid)}-{title}"))
        for executor, (what, panels) in others.items():
            drawn = look.at(DRILLDOWN_UID, "situations", executor=executor, type="hybrid")
            look.wrong += [f"situations, {what}: nothing in {title!r}" for title in empty_panels(drawn) & panels]
            eye.whole(look.path(f"executor-{what.replace(' ', '-')}"))
            for title in panels:
                eye.panel(title, look.path(f"executor-{title}"))
        look.alerts(jobs=False)
        return look.wrong


def _short(uid: str) -> str:
    return uid.removeprefix("glasspool-")


def document() -> None:
    """Copy the pictures of the documentation."""
    images = ROOT / "docs" / "images"
    for source, name in DOCUMENTED.items():
        shutil.copyfile(PICTURES / source, images / name)
    (images / "alerts").mkdir(exist_ok=True)
    for picture in (PICTURES / "alerts").glob("*.png"):
        shutil.copyfile(picture, images / "alerts" / picture.name)


def main() -> int:
    """Returns 1 if a dashboard has a problem, 2 if a program that is needed to draw is missing."""
    missing = [
        f"{name} is missing: run `tools/install_backends.sh DIR` and set GLASSPOOL_BACKENDS=DIR"
        for name in PROGRAMS
        if not find(name)
    ]
    if not chromium():
        missing.append("chromium is missing: install the Debian package `chromium`, or set CHROMIUM to its path")
    if not (BUNDLE / "bundle.js").exists():
        missing.append("the front end is not built: run `make dashboards-look`")
    if missing:
        print("\n".join(missing), file=sys.stderr)
        return 2
    shutil.rmtree(PICTURES, ignore_errors=True)
    models = {dashboard.uid: json.loads(dashboard.text) for dashboard in provisioning.dashboards()}
    wrong = []
    for part in (programs, situations):
        with tempfile.TemporaryDirectory() as directory:
            wrong += part(models, Path(directory))
    for fault in wrong:
        print(fault, file=sys.stderr)
    drawn = sum(1 for _ in PICTURES.rglob("*.png"))
    print(f"{drawn} pictures in {PICTURES.relative_to(ROOT)}, {len(wrong)} faults")
    if wrong:
        return 1
    if "--docs" in sys.argv[1:]:
        document()
    return 0


if __name__ == "__main__":
    sys.exit(main())
