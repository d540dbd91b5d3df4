"""Check that a wheel has everything a user needs and nothing else. Usage: python tools/check_wheel.py WHEEL"""

from __future__ import annotations

import sys
import zipfile

WANTED = [
    "glasspool/__init__.py",
    "glasspool/py.typed",
    "glasspool/assets/dashboards/",
    "glasspool/assets/rules/",
    "glasspool/assets/thresholds.json",
    "glasspool/_monitoring/rulefiles.py",
    "glasspool/telemetry/live/page/index.html",
    "glasspool/telemetry/live/page/page.css",
    "glasspool/telemetry/live/page/page.js",
    "glasspool/telemetry/live/page/chart.js",
    "glasspool_instrumentation/__init__.py",
    "glasspool_instrumentation/py.typed",
]
ALLOWED = ("glasspool/", "glasspool_instrumentation/", "glasspool-")


def main() -> None:
    """Report missing files, and files that do not belong to the wheel."""
    with zipfile.ZipFile(sys.argv[1]) as wheel:
        names = wheel.namelist()
        entry_points = next(wheel.read(name).decode() for name in names if name.endswith("entry_points.txt"))
        metadata = next(wheel.read(name).decode() for name in names if name.endswith(".dist-info/METADATA"))
        version = wheel.read("glasspool/_version.py").decode().partition('__version__ = "')[2].partition('"')[0]
    problems = [f"missing: {want}" for want in WANTED if not any(name.startswith(want) for name in names)]
    problems += [f"does not belong: {name}" for name in names if not name.startswith(ALLOWED)]
    problems += [
        f"no entry points of the group {group}"
        for group in ("console_scripts", "opentelemetry_instrumentor")
        if f"[{group}]" not in entry_points
    ]
    if f"\nVersion: {version}\n" not in metadata:
        problems.append(f"the metadata's version is not that of glasspool/_version.py, {version}")
    problems += [
        f"no project URL: {url}"
        for url in ("Source", "Documentation", "Issues", "Changelog")
        if f"URL: {url}, " not in metadata
    ]
    if problems:
        sys.exit("\n".join(problems))
    print(f"{sys.argv[1]}: {len(names)} files, as it should be")


if __name__ == "__main__":
    main()
