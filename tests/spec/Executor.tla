------------------------------ MODULE Executor ------------------------------
(* The protocol of one executor: who has a slot, who waits, and how each task ends. One action is one step of the event
   loop, in which nothing else of the loop runs, or one step of a thread under its lock. README.md says where each one
   is in the code. *)
EXTENDS Integers, Sequences, FiniteSets, TLC

CONSTANTS Count,     \* tasks; they are submitted in the order of their numbers
          Slots,     \* slots that there are at first
          Resizes,   \* what the number of slots is changed to, each once, in any order
          Places,    \* places in the queue
          Producers, \* producers that may be blocked at one time
          Burst      \* queued tasks that may start between two turns of the loop

Tasks == 1..Count
Nobody == 0

VARIABLES e,         \* the engine
          thread,    \* of each task: none, busy, done; and if it is left behind: left, ending, posted
          leaving,   \* the task whose thread is being left behind in this very step of the loop, or Nobody
          closing,   \* open, draining, cutting, closed
          resized    \* the members of Resizes that have had their turn
vars == <<e, thread, leaving, closing, resized>>

Init ==
  /\ e = [state |-> [t \in Tasks |-> "new"],  \* its producer: blocked, granted, back, away, refused;
                                              \* itself: queued, active, running, asked (to end), ended
          line |-> <<>>, granted |-> <<>>,    \* producers without and with a promise of room, in their order
          woken |-> {},                       \* producers that will look what has become of them
          queue |-> <<>>, used |-> 0, limit |-> Slots,
          more |-> FALSE,                     \* the dispatch goes on in the next turn of the loop
          left |-> {},                        \* tasks that say that their thread goes on without them
          ends |-> [t \in Tasks |-> 0],       \* how often the task was settled
          counts |-> [submitted |-> 0, queued |-> 0, active |-> 0, ended |-> 0, abandoned |-> 0]]
  /\ thread = [t \in Tasks |-> "none"] /\ leaving = Nobody /\ closing = "open" /\ resized = {}

Without(line, t) == SelectSeq(line, LAMBDA u : u # t)
Members(line) == {line[i] : i \in DOMAIN line}
In(states) == {t \in Tasks : e.state[t] \in states}
InFlight == In({"active", "running", "asked"})
Accepted == In({"queued", "active", "running", "asked", "ended"})
One(condition) == IF condition THEN 1 ELSE 0

-----------------------------------------------------------------------------
(* The engine: what it makes of its state g within a step. *)

Room(g) == LET places == Places - Len(g.queue) - Len(g.granted)
               free == g.limit - g.used
           IN places > 0 \/ (free > 0 /\ g.queue = <<>> /\ free + places > 0)
Fits(g) == Len(g.queue) < Places \/ (g.queue = <<>> /\ g.used < g.limit)
CanAccept(g) == g.line = <<>> /\ g.granted = <<>> /\ Room(g)

Accept(g, t) ==
  LET queued == g.queue # <<>> \/ g.used >= g.limit
  IN [g EXCEPT !.state[t] = IF queued THEN "queued" ELSE "active",
               !.queue = IF queued THEN Append(@, t) ELSE @,
               !.used = @ + One(~queued),
               !.counts.submitted = @ + 1, !.counts.queued = @ + One(queued), !.counts.active = @ + One(~queued)]

RECURSIVE Grant(_)
Grant(g) ==
  IF g.line = <<>> \/ ~Room(g) THEN g
  ELSE LET t == Head(g.line)
       IN Grant([g EXCEPT !.state[t] = "granted", !.line = Tail(@), !.granted = Append(@, t), !.woken = @ \cup {t}])

RECURSIVE AcceptGranted(_)
AcceptGranted(g) ==
  IF g.granted = <<>> \/ g.state[Head(g.granted)] # "back" \/ ~Fits(g) THEN g
  ELSE AcceptGranted(Accept([g EXCEPT !.granted = Tail(@)], Head(g.granted)))

RECURSIVE Start(_, _)
Start(g, burst) ==
  IF g.queue = <<>> \/ g.used >= g.limit THEN g
  ELSE IF burst = 0 THEN [g EXCEPT !.more = TRUE]
  ELSE Start([g EXCEPT !.used = @ + 1, !.queue = Tail(@), !.state[Head(g.queue)] = "active",
                       !.counts.queued = @ - 1, !.counts.active = @ + 1], burst - 1)

Dispatch(g) == Grant(AcceptGranted(Start(g, Burst)))

Settle(g, t, keepsSlot) ==
  LET queued == g.state[t] = "queued"
  IN Dispatch([g EXCEPT !.state[t] = "ended", !.ends[t] = @ + 1,
                        !.queue = Without(@, t), !.used = @ - One(~queued /\ ~keepsSlot),
                        !.counts.queued = @ - One(queued), !.counts.active = @ - One(~queued),
                        !.counts.ended = @ + 1, !.counts.abandoned = @ + One(keepsSlot)])

-----------------------------------------------------------------------------
(* Steps of producers. *)

Submit(t) ==
  /\ closing = "open" /\ e.state[t] = "new" /\ (\A u \in 1..(t - 1) : e.state[u] # "new")
  /\ IF CanAccept(e) THEN e' = Accept(e, t)
     ELSE /\ Cardinality(In({"blocked", "granted", "back", "away"})) < Producers
          /\ e' = Grant([e EXCEPT !.state[t] = "blocked", !.line = Append(@, t)])
  /\ UNCHANGED <<thread, closing, resized>>

ComeBack(t) ==
  /\ e.state[t] = "granted" /\ t \in e.woken
  /\ e' = AcceptGranted([e EXCEPT !.state[t] = "back", !.woken = @ \ {t}])
  /\ UNCHANGED <<thread, closing, resized>>

GiveUp(t) ==  \* cancelled, or its deadline has passed
  /\ e.state[t] \in {"blocked", "granted", "back"}
  /\ LET gone == [e EXCEPT !.state[t] = "refused", !.woken = @ \ {t},
                           !.line = Without(@, t), !.granted = Without(@, t)]
     IN e' = IF t \in Members(e.granted) THEN AcceptGranted(Grant(gone)) ELSE gone
  /\ UNCHANGED <<thread, closing, resized>>

GoAway(t) ==
  /\ e.state[t] = "away" /\ t \in e.woken
  /\ e' = [e EXCEPT !.state[t] = "refused", !.woken = @ \ {t}]
  /\ UNCHANGED <<thread, closing, resized>>

-----------------------------------------------------------------------------
(* Steps of tasks. *)

Begin(t) ==  \* on the loop or in a thread
  /\ e.state[t] = "active"
  /\ e' = [e EXCEPT !.state[t] = "running"]
  /\ thread' \in {thread, [thread EXCEPT ![t] = "busy"]}
  /\ UNCHANGED <<closing, resized>>

End(t) ==
  /\ e.state[t] \in {"running", "asked"} /\ thread[t] \in {"none", "done"}
  /\ e' = Settle(e, t, FALSE)
  /\ thread' = [thread EXCEPT ![t] = "none"]
  /\ UNCHANGED <<closing, resized>>

Ask(t) ==  \* cancelled, or its timeout or deadline has passed
  /\ e.state[t] \in {"queued", "active", "running"}
  /\ e' = IF e.state[t] = "running" THEN [e EXCEPT !.state[t] = "asked"] ELSE Settle(e, t, FALSE)
  /\ UNCHANGED <<thread, closing, resized>>

Leave(t) ==  \* with SettleLeft one step of the loop, but its thread may take steps between the two
  /\ leaving = Nobody /\ e.state[t] = "asked" /\ thread[t] = "busy"
  /\ thread' = [thread EXCEPT ![t] = "left"]
  /\ e' = [e EXCEPT !.left = @ \cup {t}]
  /\ leaving' = t
  /\ UNCHANGED <<closing, resized>>

SettleLeft ==
  /\ leaving # Nobody
  /\ e' = Settle(e, leaving, leaving \in e.left)
  /\ leaving' = Nobody
  /\ UNCHANGED <<thread, closing, resized>>

NextTurn ==
  /\ e.more
  /\ e' = Dispatch([e EXCEPT !.more = FALSE])
  /\ UNCHANGED <<thread, closing, resized>>

Resize(limit) ==
  /\ limit \notin resized
  /\ e' = Dispatch([e EXCEPT !.limit = limit])
  /\ resized' = resized \cup {limit}
  /\ UNCHANGED <<thread, closing>>

-----------------------------------------------------------------------------
(* Steps of threads, and what the last one has posted to the loop. *)

ThreadEnds(t) ==
  /\ thread[t] \in {"busy", "left"}
  /\ thread' = [thread EXCEPT ![t] = IF @ = "busy" THEN "done" ELSE "ending"]
  /\ UNCHANGED <<e, leaving, closing, resized>>

ThreadFreed(t) ==
  /\ thread[t] = "ending"
  /\ LET settled == e.state[t] = "ended"  \* if it is not yet, its settling finds the slot free
     IN /\ e' = [e EXCEPT !.left = @ \ {t}, !.counts.abandoned = @ - One(settled)]
        /\ thread' = [thread EXCEPT ![t] = IF settled THEN "posted" ELSE "none"]
  /\ UNCHANGED <<leaving, closing, resized>>

SlotFreed(t) ==
  /\ thread[t] = "posted"
  /\ e' = Dispatch([e EXCEPT !.used = @ - 1])
  /\ thread' = [thread EXCEPT ![t] = "none"]
  /\ UNCHANGED <<closing, resized>>

-----------------------------------------------------------------------------
(* Steps of closing. *)

Shutdown ==
  /\ closing = "open" /\ closing' = "draining"
  /\ LET away == Members(e.line) \cup Members(e.granted)
     IN e' = [e EXCEPT !.state = [t \in Tasks |-> IF t \in away THEN "away" ELSE @[t]],
                       !.line = <<>>, !.granted = <<>>, !.woken = @ \cup away]
  /\ UNCHANGED <<thread, resized>>

GraceIsOver ==
  /\ closing = "draining" /\ closing' = "cutting" /\ (e.queue # <<>> \/ InFlight # {})
  /\ LET unstarted == In({"active"})
         cut == In({"queued"}) \cup unstarted
     IN e' = [e EXCEPT !.state = [t \in Tasks |-> IF t \in cut THEN "ended"
                                                  ELSE IF @[t] = "running" THEN "asked" ELSE @[t]],
                       !.ends = [t \in Tasks |-> @[t] + One(t \in cut)],
                       !.queue = <<>>, !.used = @ - Cardinality(unstarted), !.counts.queued = 0,
                       !.counts.active = @ - Cardinality(unstarted), !.counts.ended = @ + Cardinality(cut)]
  /\ UNCHANGED <<thread, resized>>

Closed ==
  /\ closing \in {"draining", "cutting"} /\ closing' = "closed" /\ e.queue = <<>> /\ InFlight = {}
  /\ UNCHANGED <<e, thread, resized>>

-----------------------------------------------------------------------------

OnLoop(step) == leaving = Nobody /\ step /\ UNCHANGED leaving

(* What goes on by itself; the functions of tasks, which end or obey; and what may or may not happen. *)
Going ==
  \/ \E t \in Tasks : OnLoop(ComeBack(t)) \/ OnLoop(GoAway(t)) \/ OnLoop(Begin(t)) \/ OnLoop(SlotFreed(t))
  \/ \E t \in Tasks : Leave(t) \/ ThreadFreed(t)
  \/ SettleLeft \/ OnLoop(NextTurn) \/ OnLoop(Closed)
Ending == \E t \in Tasks : OnLoop(End(t)) \/ ThreadEnds(t)
Obeying == \E t \in Tasks : OnLoop(e.state[t] = "asked" /\ End(t))
Next ==
  \/ Going \/ Ending
  \/ \E t \in Tasks : OnLoop(Submit(t)) \/ OnLoop(GiveUp(t)) \/ OnLoop(Ask(t))
  \/ \E limit \in Resizes : OnLoop(Resize(limit))
  \/ OnLoop(Shutdown) \/ OnLoop(GraceIsOver)

Steps == Init /\ [][Next]_vars
(* No step can be taken for ever, so fairness to all of them together is fairness to each. *)
FunctionsEnd == Steps /\ WF_vars(Going \/ Ending)
FunctionsObey == Steps /\ WF_vars(Going \/ Obeying \/ OnLoop(GraceIsOver))

-----------------------------------------------------------------------------
(* What always holds. *)

NoLostCompletion ==  \* whoever has not ended is in the queue or holds a slot, and nobody is left when all is closed
  /\ \A t \in Accepted : e.ends[t] > 0 \/ t \in Members(e.queue) \cup InFlight
  /\ closing = "closed" => \A t \in Accepted : e.ends[t] > 0

NoDoubleFinish == \A t \in Tasks : e.ends[t] <= 1

Holding == InFlight \cup {t \in Tasks : thread[t] \in {"busy", "left"}}
BoundedInFlight ==  \* a task gets a slot only if no more are in flight or left behind then than there are slots
  [][(\E t \in Tasks : e'.state[t] = "active" /\ e.state[t] # "active") => Cardinality(Holding') <= e'.limit]_vars

BoundedQueue ==  \* whoever was accepted and has neither ended nor a slot has a place
  Cardinality(Accepted \ (InFlight \cup In({"ended"}))) <= Places

Conservation ==
  LET behind == {t \in In({"ended"}) : thread[t] \in {"left", "ending"}}
  IN /\ e.counts = [submitted |-> Cardinality(Accepted), queued |-> Len(e.queue), active |-> Cardinality(InFlight),
                    ended |-> Cardinality(In({"ended"})), abandoned |-> Cardinality(behind)]
     /\ e.counts.submitted = e.counts.queued + e.counts.active + e.counts.ended

NoLostSlot ==  \* every slot that counts as used has a holder
  e.used = Cardinality(InFlight \cup {t \in Tasks : thread[t] \in {"left", "ending", "posted"}})

NoIdleSlot == e.queue # <<>> /\ e.used < e.limit => e.more
NoForgottenProducer == e.line # <<>> => ~Room(e)
NoLostWakeUp == In({"granted", "away"}) \subseteq e.woken

Waiting(g) == {t \in Tasks : g.state[t] \in {"blocked", "granted", "back"}}
NobodyOvertakes ==  \* accepted in the order of submission, started in the order of acceptance
  [][\A t \in Tasks : e'.state[t] # e.state[t] =>
       /\ t \in Accepted' \ Accepted => \A u \in 1..(t - 1) : u \notin Waiting(e')
       /\ e'.state[t] = "active" => \A u \in 1..(t - 1) : e'.state[u] # "queued"]_vars

NothingAfterClosing == [][closing # "open" => e'.counts.submitted = e.counts.submitted]_vars

(* What comes at last. *)

Unended == (Accepted # In({"ended"}))
EveryTaskEnds == Unended ~> ~Unended
EveryProducerIsServedOrTold == In({"blocked", "granted", "back", "away"}) # {} ~> Waiting(e) \cup In({"away"}) = {}
AShutdownEnds == closing = "draining" ~> closing = "closed"

-----------------------------------------------------------------------------
(* For a complete search of what always holds, states are the same that differ only in which of two tasks, neither of
   which waits in any line, is where. *)
Alike ==
  LET where == TLCEval([t \in Tasks |-> <<e.state[t], thread[t], t \in e.woken, t \in e.left, t = leaving, e.ends[t]>>])
  IN <<{<<place, Cardinality({t \in Tasks : where[t] = place})>> : place \in {where[t] : t \in Tasks}},
       [i \in DOMAIN e.granted |-> e.state[e.granted[i]]], Len(e.queue), Len(e.line), e.used, e.limit, e.more,
       e.counts, closing, resized>>
=============================================================================
