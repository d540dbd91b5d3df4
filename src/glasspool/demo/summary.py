"""The summary of a run: compares independent counts of the same tasks.

Each executor is counted by ``stats()``, the metrics registry and an observer; deliveries are also counted by the HTTP
client, the service and the pipeline.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from glasspool import ExecutorStats
from glasspool.telemetry import TaskEvent

from .client import Client
from .service import Service

__all__ = ["Account", "Check", "Summary", "Tally", "checks_of"]

COUNTED = ("submitted", "success", "error", "timeout", "cancelled", "rejected")


class Tally:
    """An observer that only counts."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = dict.fromkeys(COUNTED, 0)

    def __call__(self, event: TaskEvent, /) -> None:
        """Count one event; starts are not counted."""
        if event.kind == "settled":
            self.counts[event.outcome] += 1
        elif event.kind != "started":
            self.counts[event.kind] += 1


@dataclass(frozen=True)
class Account:
    """The three counts of one executor, after its end."""

    stats: ExecutorStats
    metrics: Mapping[str, int]
    observed: Mapping[str, int]

    @property
    def counts(self) -> dict[str, int]:
        """The counts of ``stats()``, by the catalog's outcomes."""
        stats = self.stats
        figures = (
            stats.submitted, stats.succeeded, stats.failed, stats.timed_out, stats.cancelled, stats.rejected
        )  # fmt: skip
        return dict(zip(COUNTED, figures, strict=True))


@dataclass(frozen=True)
class Check:
    """Two figures that must be equal (``=``), or the left one at least the right one (``≥``)."""

    what: str
    left: int
    right: int
    relation: str = "="

    @property
    def ok(self) -> bool:
        """Whether it holds."""
        return self.left == self.right if self.relation == "=" else self.left >= self.right


@dataclass(frozen=True)
class Summary:
    """How a run ended. ``seconds`` is its length, ``signal`` the number of the signal that ended it early, if any."""

    backend: str
    seconds: float
    signal: int | None
    metrics_url: str | None
    otlp: bool
    accounts: Mapping[str, Account]
    sent: int
    received: int
    checks: list[Check] = field(default_factory=list[Check])

    @property
    def adds_up(self) -> bool:
        """Whether every check holds."""
        return all(check.ok for check in self.checks)

    def as_dict(self) -> dict[str, Any]:
        """The summary as an object for JSON."""
        return {
            "backend": self.backend,
            "seconds": round(self.seconds, 3),
            "signal": self.signal,
            "metrics_url": self.metrics_url,
            "otlp": self.otlp,
            "executors": {
                name: {**account.counts, "abandoned": account.stats.abandoned}
                for name, account in self.accounts.items()
            },
            "requests": {"sent": self.sent, "received": self.received},
            "checks": [{**asdict(check), "ok": check.ok} for check in self.checks],
            "adds_up": self.adds_up,
        }

    def lines(self) -> list[str]:
        """The summary as text."""
        how = "to its end" if self.signal is None else f"until signal {self.signal}, then drained"
        out = [f"Ran {self.seconds:.1f} s on {self.backend}, {how}.", ""]
        out.append(f"{'executor':<10}" + "".join(f"{name:>11}" for name in (*COUNTED, "abandoned")))
        for name, account in self.accounts.items():
            figures = (*account.counts.values(), account.stats.abandoned)
            out.append(f"{name:<10}" + "".join(f"{figure:>11,}" for figure in figures))
        out.append("")
        for check in self.checks:
            mark = "✓" if check.ok else "✗ WRONG:"
            out.append(f"{mark} {check.what}: {check.left:,} {check.relation} {check.right:,}")
        out.append("")
        out.append("The numbers add up." if self.adds_up else "The numbers do not add up; see the lines marked WRONG.")
        return out


def checks_of(
    accounts: Mapping[str, Account], client: Client, service: Service, *, handed_on: int, full: int, hurried: bool
) -> list[Check]:
    """All comparisons. ``hurried``: the run was cut short, so some results of ``parse`` may not have been delivered."""
    checks: list[Check] = []
    for name, account in accounts.items():
        counts = account.counts
        ended = sum(counts[outcome] for outcome in ("success", "error", "timeout", "cancelled"))
        checks += [
            Check(f"{name}: submitted = sum of outcomes", counts["submitted"], ended),
            Check(f"{name}: still queued or in flight", account.stats.queued + account.stats.in_flight, 0),
            _alike(f"{name}: figures on which /metrics agrees with stats()", account.metrics, counts),
            _alike(f"{name}: figures on which an observer agrees with stats()", account.observed, counts),
        ]
    parse, deliver = accounts["parse"].counts, accounts["deliver"].counts
    answers, others = client.answers, sum(client.answers.values()) - client.answers[200]
    return [
        *checks,
        Check("files parsed, handed on to deliver", parse["success"], handed_on, "≥" if hurried else "="),
        Check("deliver: rejected, of these QueueFull to the bursts", deliver["rejected"], full, "≥"),
        Check("deliver: success = answers 200 that the client read", deliver["success"], answers[200]),
        Check("deliver: errors, of these other answers that the client read", deliver["error"], others, "≥"),
        Check("requests sent = answers read + given up waiting", client.sent, answers.total() + client.gave_up),
        Check("requests sent by the client = received by the service", client.sent, service.received),
        Check(
            "requests received = answers written + never answered",
            service.received,
            service.answered.total() + service.unanswered,
        ),
        Check("answers written by the service, read by the client", service.answered.total(), answers.total(), "≥"),
    ]


def _alike(what: str, one: Mapping[str, int], other: Mapping[str, int]) -> Check:
    return Check(what, sum(one[key] == other[key] for key in COUNTED), len(COUNTED))
