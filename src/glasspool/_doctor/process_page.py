"""``glasspool doctor URL``: what the /metrics of a running process says."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from glasspool.telemetry import catalog
from glasspool.telemetry.catalog import prometheus_label

from .addresses import shown_url
from .exposition import Scrape, read
from .finding import Finding, ok, problem, warning
from .scraping import address, fetch
from .versions import NEWEST, OLDEST
from .words import plain

__all__ = ["examine_page"]

_ALWAYS = (catalog.TASK_SUBMITTED, catalog.TASK_ACTIVE, catalog.EXECUTOR_TIME)
"""Metrics that every executor has from the moment it opens."""

_KIND = prometheus_label(catalog.Key.FAILURE_KIND)
_FAILURES = {
    "observer": "See the program's log: an observer raised.",
    "export": "See the program's log; glasspool doctor, with the program's variables, tries its endpoint.",
    "callback": "See the program's log: a callback raised.",
    "name_cap": "Give executors fewer names, and none that contain numbers.",
    "label_cap": "Give tasks fewer names, or raise max_task_names.",
    "span_queue_full": "Raise OTEL_BSP_MAX_QUEUE_SIZE, or sample less.",
    "span_export": "Check the collector; glasspool doctor, with the program's variables, tries its endpoint.",
    "span_shutdown": "Shut telemetry down after the last task.",
    "point_export": "Check the collector: it refused points, or deltas were lost.",
    "port_taken": "Free the port, or choose another in configure(prometheus_port=…).",
    "process_silent": "Look at the process that does not answer: is it stopped, or out of memory?",
}


def examine_page(given: str, timeout: float) -> list[Finding]:
    """The findings about the process whose metrics this address serves.

    :param given: the address; without a scheme it is http, without a path /metrics.
    :param timeout: seconds for the answer.
    """
    url = address(given)
    page = fetch(url, timeout)
    where = shown_url(url)
    if page.text is None or page.trouble:
        return [problem("page", f"{where}: {page.trouble}.", "There are no metrics to look at.", page.fix)]
    scrape = read(page.text)
    if not scrape.names():
        return [_without_glasspool(where, scrape), *_python(scrape)]
    findings = [
        ok("page", f"{where} serves {len(scrape.names())} of glasspool's metrics."),
        *_python(scrape), *_versions(scrape), *_twice(scrape), *_failures(scrape), *_processes(scrape),
        *_losses(scrape),
    ]  # fmt: skip
    if page.openmetrics and not scrape.exemplars:
        findings.append(_without_exemplars(scrape))
    findings.append(
        ok(
            "unseen",
            "Metrics show neither variables, providers and versions of libraries nor pools that nobody observes: "
            "glasspool.doctor() in the program does, or glasspool doctor -- COMMAND.",
        )
    )  # fmt: skip
    return findings


def _without_glasspool(where: str, scrape: Scrape) -> Finding:
    families = sorted({name.partition("_")[0] for name, _, _ in scrape.samples})
    shown = plain(", ".join(f"{each}_*" for each in families[:5])) or "none"
    return problem(
        "page", f"{where} serves metrics, but none of glasspool's (it has: {shown}).",
        "Either it is another program, or nothing of it is recorded.",
        "Call configure(prometheus_port=…) or glasspool.telemetry.prometheus.register() there, and open an executor or "
        "call instrument(); series begin with the first executor.",
    )  # fmt: skip


def _python(scrape: Scrape) -> Iterator[Finding]:
    for labels, _ in scrape.values("python_info"):
        text = plain(labels.get("version", ""), 20)
        found = re.match(r"(\d+)\.(\d+)", text)
        if found is None:
            continue
        here = int(found[1]), int(found[2])
        if OLDEST <= here <= NEWEST:
            yield ok("python", f"It runs on {plain(labels.get('implementation', 'Python'), 20)} {text}: supported.")
        else:
            yield warning(
                "python", f"It runs on Python {text}.", "The tests have not run on it.",
                f"Use {OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}.",
            )  # fmt: skip


def _versions(scrape: Scrape) -> Iterator[Finding]:
    known = {metric.prometheus_name for metric in (*catalog.ALL_METRICS, *catalog.PORT_METRICS)}
    bare = {name for name in scrape.names() if not name.endswith("_created")}
    bare = {name if name in known else re.sub("_(bucket|count|sum)$", "", name) for name in bare}
    strange = sorted(bare - known)
    missing = [metric.prometheus_name for metric in _ALWAYS if metric.prometheus_name not in bare]
    only_loops = not any(name.startswith(("glasspool_task", "glasspool_executor", "glasspool_queue")) for name in bare)
    if strange:
        yield warning(
            "version", f"It has metrics that this command does not know: {plain(', '.join(strange[:3]))}.",
            "Its glasspool is of another version, so this examination is not complete.",
            "Install the same version here as there.",
        )  # fmt: skip
    if missing and not only_loops:
        yield warning(
            "version", f"It lacks metrics that each executor has in this version: {', '.join(missing)}.",
            "Its glasspool is older, or something on the way drops series: dashboards and alerts stay empty.",
            "Upgrade glasspool there, or look for metric_relabel_configs and views.",
        )  # fmt: skip


def _twice(scrape: Scrape) -> Iterator[Finding]:
    ours = sorted(name for name in scrape.twice if name.startswith("glasspool_"))
    if ours:
        yield problem(
            "duplicates", f"{len(ours)} metrics have the same series twice, such as {plain(ours[0])}.",
            "Prometheus refuses such a scrape, or keeps one of the two values.",
            "Export them once: remove the second reader from the registry.",
        )  # fmt: skip


def _failures(scrape: Scrape) -> Iterator[Finding]:
    kinds: Counter[str] = Counter()
    for labels, value in scrape.values(catalog.TELEMETRY_FAILURES.prometheus_name):
        kinds[labels.get(_KIND, "")] += int(value)
    for kind, count in sorted(kinds.items()):
        if count:
            words = f"Telemetry has failed {count} times: {plain(kind, 40)}."
            fix = _FAILURES.get(kind, "See the runbook of GlasspoolTelemetryUnhealthy.")
            if kind.endswith("_cap"):
                yield warning("failures", words, "Further names are folded into _OTHER.", fix)
            else:
                yield problem("failures", words, "Spans, points or figures are missing.", fix)
    if not any(kinds.values()):
        yield ok("failures", "It has counted no failure of telemetry.")


def _processes(scrape: Scrape) -> Iterator[Finding]:
    known, answered = (
        sum(value for _, value in scrape.values(metric.prometheus_name)) for metric in catalog.PORT_METRICS[:2]
    )
    if known > answered:
        yield problem(
            "processes", f"{answered:g} of {known:g} processes that share the port have answered.",
            "The figures of the others are missing from this scrape.", _FAILURES["process_silent"],
        )  # fmt: skip
    elif known > 1:
        yield ok("processes", f"{known:g} processes share the port, and all have answered.")


def _losses(scrape: Scrape) -> Iterator[Finding]:
    count = sum(value for _, value in scrape.values(catalog.CONTEXT_LOSSES.prometheus_name))
    if count:
        yield warning(
            "context", f"{count:g} calls have lost their trace context on the way.", "Their spans are in other traces.",
            "See the runbook of GlasspoolContextLosses.",
        )  # fmt: skip


def _without_exemplars(scrape: Scrape) -> Finding:
    if any("otel_scope_name" in labels for name, labels, _ in scrape.samples if name.startswith("glasspool_")):
        return warning(
            "exemplars", "OpenTelemetry's Prometheus exporter serves this page; it writes no exemplars.",
            "No figure of a dashboard leads to a trace.", "Serve it by configure(prometheus_port=…).",
        )  # fmt: skip
    return ok("exemplars", "There are no exemplars yet: no sampled trace, or they are off.")
