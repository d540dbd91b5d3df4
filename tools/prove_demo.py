"""Run the demo, and compare its own summary with the figures in a real Collector and a real Prometheus.

It needs prometheus and otelcol (or PyPI's rotel); CONTRIBUTING.md explains how to install them. It writes a table to
stdout and, with ``--out``, to a file, and exits with a non-zero status if the three disagree.

    python -m tools.prove_demo [--backend trio] [--seconds 8] [--protocol http/protobuf] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from glasspool.telemetry import catalog
from glasspool.telemetry.catalog import Key, prometheus_label
from tests.backends.collectors import Collector, collector
from tests.backends.stores import Store, prometheus
from tests.backends.support import free_port, total, wait_for

OUTCOMES = ("success", "error", "timeout", "cancelled")


def counts(found: Any, name: str) -> dict[str, float]:
    """The figures of one executor in a set of series."""
    executor = {prometheus_label(Key.EXECUTOR_NAME): name}
    outcome = prometheus_label(Key.TASK_OUTCOME)
    figures = {"submitted": total(found, catalog.TASK_SUBMITTED, **executor)}
    for each in OUTCOMES:
        try:
            figures[each] = total(found, catalog.TASK_COMPLETED, **executor, **{outcome: each})
        except AssertionError:  # an outcome that never occurred need not have a series
            figures[each] = 0.0
    figures["rejected"] = total(found, catalog.TASK_REJECTED, **executor)
    return figures


def spans(received: Any, name: str) -> dict[str, float]:
    """The same from the executor's spans."""
    own = [span["attributes"] for span in received.spans if span["attributes"].get(Key.EXECUTOR_NAME) == name]
    return {"submitted": float(len(own))} | {
        each: float(sum(span.get(Key.TASK_OUTCOME) == each for span in own)) for each in OUTCOMES
    }


def demo(args: argparse.Namespace, directory: Path, store: Store, port: int, target: Collector) -> Any:
    """Run the demo. Returns its summary, and the series of it in Prometheus before it ended."""
    summary = directory / "summary.json"
    env = os.environ | {
        "OTEL_EXPORTER_OTLP_ENDPOINT": target.http if args.protocol.startswith("http") else target.grpc,
        "OTEL_EXPORTER_OTLP_PROTOCOL": args.protocol,
    }
    command = [
        sys.executable, "-c", "from glasspool.cli import main; main()", "demo", "--no-live", "--linger", "30",
        "--backend", args.backend, "--seconds", str(args.seconds), "--port", str(port), "--summary-json", str(summary),
    ]  # fmt: skip
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wait_for(summary.exists, "summary of the demo", args.seconds + 60)
    told = wait_for(lambda: json.loads(summary.read_text() or "null"), "whole summary")
    names = list(told["executors"])

    def scraped_after_the_end() -> Any:
        # The last tasks end after the last submission; a scrape between the two is not the last one.
        found = store.series()
        ended = {name: counts(found, name) for name in names}
        over = all(sum(figures[each] for each in OUTCOMES) == figures["submitted"] for figures in ended.values())
        return (
            found if over and all(ended[n]["submitted"] == told["executors"][n]["submitted"] for n in names) else None
        )

    try:
        found = wait_for(scraped_after_the_end, "last scrape", 25)
    finally:
        process.send_signal(2)  # no more need to linger; this also flushes the exporters
        output = process.communicate(timeout=60)[0]
    return told, found, output


def main() -> None:
    """Run, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", default="asyncio")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--protocol", default="grpc", choices=["grpc", "http/protobuf"])
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory, port = Path(name), free_port()
        with collector(directory) as target, prometheus(directory, port) as store:
            told, scraped, output = demo(args, directory, store, port, target)
            executors = list(told["executors"])
            wait_for(
                lambda: len(target.received().spans) >= sum(told["executors"][each]["submitted"] for each in executors),
                "spans in the Collector",
            )
            received = target.received()
    print(output)
    lines = [
        f"`glasspool demo --backend {args.backend} --seconds {args.seconds:g}`, exported by {args.protocol}:",
        "",
        "| executor | figure | the demo's summary | Collector, metrics | Collector, spans | Prometheus |",
        "|---|---|---|---|---|---|",
    ]
    agree = True
    for each in executors:
        own = told["executors"][each]
        by_otlp, by_span, by_scrape = counts(received.series(), each), spans(received, each), counts(scraped, each)
        for figure in ("submitted", *OUTCOMES, "rejected"):
            row = [own[figure], by_otlp[figure], by_span.get(figure), by_scrape[figure]]
            agree &= len({float(value) for value in row if value is not None}) == 1
            shown = " | ".join("–" if value is None else f"{value:g}" for value in row)
            lines.append(f"| {each} | {figure} | {shown} |")
    lines += ["", "All agree." if agree else "THEY DISAGREE."]
    text = "\n".join(lines) + "\n"
    print(text)
    if args.out:
        args.out.write_text(text, encoding="utf-8")
    sys.exit(not agree)


if __name__ == "__main__":
    main()
