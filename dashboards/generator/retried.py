"""The drill-down's row about tasks that run again after a failure, and about the budget of such retries."""

from __future__ import annotations

from dashboards.generator.chosen import FILTER, WINDOW, of_executor, per_second
from dashboards.generator.marks import OUTCOMES, Mark
from dashboards.generator.panels import NO_RETRIES, NONE_SEEN, Panel, Target
from glasspool._monitoring.expressions import bucket, by, events, label, match, quantile, series
from glasspool.telemetry.catalog import ATTEMPT_DURATION, RETRY_BUDGET, RETRY_STOPPED, TASK_RETRIES, Key, Metric

__all__ = ["retried"]


def retried() -> tuple[Panel, ...]:
    """How much is tried again and why, what the budget allows, why tasks give up, and how long attempts take."""
    error, stop, outcome = label(Key.ERROR_TYPE), label(Key.RETRY_STOP), label(Key.TASK_OUTCOME)

    def happened(metric: Metric, *matchers: str) -> str:
        return events(series(metric, *FILTER, *matchers), WINDOW)

    refused = per_second(f"sum({happened(RETRY_STOPPED, match(Key.RETRY_STOP, 'budget'))})")
    return (
        Panel(
            title="Retries against budget",
            question="After which errors are tasks tried again, how often, and does the budget refuse some?",
            action="Bars now and then: the retries do their work. Bars all the time: what is called is slow or ill, and"
            " each retry is one more call; look at it. Red: the budget is spent, so more fails than retries can make"
            " up for. Do not raise the budget then: it keeps the load off what is failing.",
            targets=(
                Target(per_second(by((error,), happened(TASK_RETRIES))), f"{{{{{error}}}}}"),
                Target(refused, "refused by the budget"),
            ),
            marks=(Mark("refused by the budget", "red"),),
            empty=NO_RETRIES,
            unit="ops",
            bars=True,
            stacked=True,
            link="traces",
        ),
        Panel(
            title="Retries that the budget allows",
            question="How many more retries does the budget allow now? (the process that has least)",
            action="At its floor or above: there is room. At 0: a task that fails is not tried again. It fills up with"
            " first attempts, and as earlier retries leave the budget's window.",
            targets=(Target(of_executor(RETRY_BUDGET, "min"), "allowed"),),
            empty=NO_RETRIES,
            unit="short",
        ),
        Panel(
            title="Tasks that are not tried again",
            question="Why do tasks fail for good, though their error was one to try again after?",
            action="attempts: they have had all of them; what is called is down for longer than the delays last."
            " budget: too many fail at once. deadline: the next attempt would begin too late; make the delays shorter"
            " or the deadline later. closing: the executor closed meanwhile.",
            targets=(Target(per_second(by((stop,), happened(RETRY_STOPPED))), f"{{{{{stop}}}}}"),),
            marks=(Mark("budget", "red"),),
            empty=NO_RETRIES,
            unit="ops",
            bars=True,
            stacked=True,
            link="traces",
        ),
        Panel(
            title="Time of an attempt, p95",
            question="How long do single attempts take, by how they end?",
            action="Failed attempts that take as long as the timeout: what is called does not answer. Failed ones that"
            " are short: it refuses at once. Run times of tasks are the sums of their attempts.",
            targets=(
                Target(
                    quantile(0.95, events(bucket(ATTEMPT_DURATION, *FILTER), WINDOW), outcome),
                    f"{{{{{outcome}}}}}",
                    exemplar=True,
                ),
            ),
            marks=OUTCOMES,
            empty=NONE_SEEN,
            unit="s",
            link="traces",
        ),
    )
