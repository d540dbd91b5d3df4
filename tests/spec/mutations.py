"""Possible mistakes of the protocol's code: each is a change of the model and names the property that it breaks."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MUTATIONS", "Mutation"]


@dataclass(frozen=True)
class Mutation:
    """``changes``: what of the model becomes what. ``breaks``: the invariant or property that does not hold then.

    ``configuration``: the file whose specification and constants show it.
    """

    mistake: str
    breaks: str
    changes: dict[str, str]
    configuration: str = "Ends"

    def apply(self, model: str) -> str:
        """The model with the mistake in it."""
        for old, new in self.changes.items():
            if model.count(old) != 1:
                raise ValueError(f"{self.mistake}: the model has {model.count(old)} times {old!r}; once is right")
            model = model.replace(old, new)
        return model


MUTATIONS = [
    Mutation(
        "a task is taken out of the queue before there is a slot for it",
        "BoundedQueue",
        {
            r"IF g.queue = <<>> \/ g.used >= g.limit THEN g": "IF g.queue = <<>> THEN g",
            '!.used = @ + 1, !.queue = Tail(@), !.state[Head(g.queue)] = "active"': (
                '!.queue = Tail(@), !.state[Head(g.queue)] = "taken"'
            ),
            'Accepted == In({"queued",': 'Accepted == In({"taken", "queued",',
        },
    ),
    Mutation(
        "a task starts while all slots are in use",
        "BoundedInFlight",
        {r"IF g.queue = <<>> \/ g.used >= g.limit THEN g": r"IF g.queue = <<>> \/ g.used > g.limit THEN g"},
    ),
    Mutation(
        "a thread that is left behind gives its slot away",
        "BoundedInFlight",
        {r"Settle(e, leaving, leaving \in e.left)": "Settle(e, leaving, FALSE)"},
    ),
    Mutation(
        "the flag that a thread is left behind is set after the thread was told",
        "NoLostSlot",
        {
            r"/\ e' = [e EXCEPT !.left = @ \cup {t}]": r"/\ UNCHANGED e",
            r"Settle(e, leaving, leaving \in e.left)": r"Settle([e EXCEPT !.left = @ \cup {leaving}], leaving, TRUE)",
        },
    ),
    Mutation(
        "a thread that ends while it is being left behind frees its slot twice",
        "NoLostSlot",
        {'IF settled THEN "posted" ELSE "none"': '"posted"'},
    ),
    Mutation(
        "a task that has ended is settled again",
        "NoDoubleFinish",
        {
            r'e.state[t] \in {"running", "asked"} /\ thread[t] \in {"none", "done"}': (
                r'e.state[t] \in {"running", "asked", "ended"} /\ thread[t] \in {"none", "done"}'
            )
        },
    ),
    Mutation(
        "a cancelled task leaves the queue without being settled",
        "NoLostCompletion",
        {
            'THEN [e EXCEPT !.state[t] = "asked"] ELSE Settle(e, t, FALSE)': (
                'THEN [e EXCEPT !.state[t] = "asked"] ELSE IF e.state[t] = "queued" '
                "THEN Dispatch([e EXCEPT !.queue = Without(@, t)]) ELSE Settle(e, t, FALSE)"
            )
        },
    ),
    Mutation(
        "a task that ends in the queue is counted as active",
        "Conservation",
        {"!.counts.queued = @ - One(queued), !.counts.active = @ - One(~queued),": "!.counts.active = @ - 1,"},
    ),
    Mutation(
        "nothing is dispatched after a resize",
        "NoIdleSlot",
        {"e' = Dispatch([e EXCEPT !.limit = limit])": "e' = [e EXCEPT !.limit = limit]"},
    ),
    Mutation("the dispatch does not go on after a burst", "NoIdleSlot", {"[g EXCEPT !.more = TRUE]": "g"}, "Slots"),
    Mutation(
        "nothing is dispatched when a thread that was left behind has ended",
        "EveryTaskEnds",
        {"e' = Dispatch([e EXCEPT !.used = @ - 1])": "e' = [e EXCEPT !.used = @ - 1]"},
    ),
    Mutation(
        "blocked producers are forgotten when there is room again",
        "NoForgottenProducer",
        {"Dispatch(g) == Grant(AcceptGranted(Start(g, Burst)))": "Dispatch(g) == AcceptGranted(Start(g, Burst))"},
    ),
    Mutation(
        "a producer that gives up keeps the room that it was promised",
        "NoForgottenProducer",
        {"THEN AcceptGranted(Grant(gone)) ELSE gone": "THEN AcceptGranted(gone) ELSE gone"},
    ),
    Mutation(
        "a producer that is promised room is not woken",
        "NoLostWakeUp",
        {r"!.granted = Append(@, t), !.woken = @ \cup {t}])": "!.granted = Append(@, t)])"},
    ),
    Mutation(
        "a producer is not woken when the executor closes",
        "EveryProducerIsServedOrTold",
        {r"!.line = <<>>, !.granted = <<>>, !.woken = @ \cup away]": "!.line = <<>>, !.granted = <<>>]"},
    ),
    Mutation(
        "a submitter that need not wait takes the room that another one was promised",
        "NobodyOvertakes",
        {
            r"CanAccept(g) == g.line = <<>> /\ g.granted = <<>> /\ Room(g)": (
                r"CanAccept(g) == g.line = <<>> /\ Fits(g)"
            )
        },
    ),
    Mutation(
        "promised room is used in the order of waking",
        "NobodyOvertakes",
        {
            r"""e' = AcceptGranted([e EXCEPT !.state[t] = "back", !.woken = @ \ {t}])""": (
                r"e' = Accept([e EXCEPT !.granted = Without(@, t), !.woken = @ \ {t}], t)"
            )
        },
    ),
    Mutation(
        "a promise is used though a resize has taken the room",
        "BoundedQueue",
        {r"""Head(g.granted)] # "back" \/ ~Fits(g) THEN g""": """Head(g.granted)] # "back" THEN g"""},
        "Rendezvous",
    ),
    Mutation(
        "a promise is not counted and is used without a look",
        "BoundedQueue",
        {
            "Places - Len(g.queue) - Len(g.granted)": "Places - Len(g.queue)",
            r"""Head(g.granted)] # "back" \/ ~Fits(g) THEN g""": """Head(g.granted)] # "back" THEN g""",
        },
    ),
    Mutation(
        "a producer that was promised room is not turned away when the executor closes",
        "NothingAfterClosing",
        {
            r"LET away == Members(e.line) \cup Members(e.granted)": "LET away == Members(e.line)",
            "!.line = <<>>, !.granted = <<>>, !.woken": "!.line = <<>>, !.woken",
        },
    ),
    Mutation(
        "running tasks are not asked to end when the grace is over",
        "AShutdownEnds",
        {'ELSE IF @[t] = "running" THEN "asked" ELSE @[t]],\n': "ELSE @[t]],\n"},
        "EndsByGrace",
    ),
]
