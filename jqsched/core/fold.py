"""The parts of a decision: the step it returns, the fold that builds it, and the moves that all decisions share.

The shared moves are on to SCHED when no dependency is open, and to the end together with all that depends on it.
Rule: every event is posted through `Fold.post`, which stamps it and folds it over the queue at once, so the queue that
a decision returns is the one that a replay of its events gives. Refusals are values. Source: RFC 21;
docs/reference/events.md.
"""

from collections.abc import Callable, Iterable
from functools import reduce
from typing import TypeAlias

from attrs import frozen

from jqsched.core import order
from jqsched.core import queue as queues
from jqsched.core.event import Event, advance, effective_priority
from jqsched.core.job import ArrayId, Job, Outcome, Progress, Scheme, Spec, State, Wait, read_wait
from jqsched.core.json import Json, JsonObject
from jqsched.core.policy import (
    Limits,
    Verdict,
    is_feasible,
    judge_array,
    judge_outcome,
    may_start,
    outcome_of,
    rejecting,
    rule_name,
    singleton_waits,
)
from jqsched.core.queue import Queue, advanced, as_order, elements, find, gates_known, singleton_key, waiters

RELEASE: JsonObject = {"ranks": "all", "final": True}

Fact: TypeAlias = str | tuple[str, JsonObject] | tuple[str, JsonObject, Spec]


# ---- what a decision returns --------------------------------------------------------------------------------------


@frozen
class Stop:
    """Effect: end this attempt (TERM, grace, KILL). Repeatable."""

    id: int
    attempt: int


@frozen
class SetTimeLimit:
    """Effect: the running attempt has another time limit."""

    id: int
    attempt: int
    time_limit_us: int | None


@frozen
class EndHopeless:
    """Effect: end these jobs, which are not to start any more, unless they start before their permits are given back.

    Repeatable; a start finds them again (`policy.infeasible`).
    """

    ids: tuple[int, ...]


Effect: TypeAlias = Stop | SetTimeLimit | EndHopeless


@frozen
class Dequeued:
    """Answer: the job was taken out of the queue before it started."""

    id: int


@frozen
class Changed:
    """Answer: the job as it is after the change."""

    job: Job


@frozen
class AlreadyStarted:
    """Answer: the job was handed over already; `stopping` when it is being ended because of this."""

    id: int
    stopping: bool = False


@frozen
class UnknownJob:
    """Answer: no live job has this id."""

    id: int


@frozen
class Refused:
    """Answer: no, and why."""

    text: str


Answer: TypeAlias = Dequeued | Changed | AlreadyStarted | UnknownJob | Refused


@frozen
class Step:
    """A decision: the queue after it, the events that lead there, and what to do when they are durable.

    `finished`: the jobs that ended in it, in their last form (the queue does not hold them any more).
    """

    queue: Queue
    events: tuple[Event, ...] = ()
    effects: tuple[Effect, ...] = ()
    answer: Answer | None = None
    finished: tuple[Job, ...] = ()


class Fold:
    """The builder of a step: posts events, stamps them strictly increasing, and folds them at once."""

    def __init__(self, queue: Queue, limits: Limits, now_us: int) -> None:
        self.queue, self.limits, self.now_us = queue, limits, now_us
        self.events: list[Event] = []
        self.effects: list[Effect] = []
        self.finished: list[Job] = []

    def post(self, jobid: int, *facts: Fact, last_at_us: int | None = None) -> Job | None:
        """Post one or more events of a job. Returns the job after them, None when it is finished.

        `last_at_us`: the time of the last of them, where it is another than now and later than what was posted before.
        """
        first_us = self.now_us if last_at_us is None else last_at_us - len(facts) + 1
        t_us = max(first_us, self.queue.last_us + 1)
        events: list[Event] = []
        for fact in facts:
            events.append(Event(jobid, t_us, fact) if isinstance(fact, str) else Event(jobid, t_us, *fact))
            t_us += 1
        before = find(self.queue, jobid)
        self.queue = queues.evolve_all(self.queue, events)
        self.events += events
        after = find(self.queue, jobid)
        if after is None:
            last = reduce(advance, events, before)
            if last is not None:  # else it was never a job
                self.finished.append(last)
        return after

    def step(self, answer: Answer | None = None) -> Step:
        """Return the step built so far."""
        return Step(self.queue, tuple(self.events), tuple(self.effects), answer, tuple(self.finished))


# ---- moves: from DEPEND to SCHED, and to the end ------------------------------------------------------------------


def advance_to_sched(fold: Fold, job: Job) -> None:
    """Take a job without open dependencies on to SCHED, and end one that can never run."""
    end_if_hopeless(fold, _advance(fold, job))


def _advance(fold: Fold, job: Job) -> Job:
    if fold.limits.plugged:  # on by `plugin_stages.proceed`, and with the priority that a plugin gives
        return job
    if job.state is State.DEPEND and not job.waits:
        facts: list[Fact] = ["depend", ("priority", {"priority": default_priority(job)})]
    elif job.state is State.PRIORITY:
        facts = [("priority", {"priority": default_priority(job)})]
    else:
        return job
    scheduled = fold.post(job.id, *facts)
    assert scheduled is not None
    return scheduled


def end_if_hopeless(fold: Fold, job: Job) -> None:
    """End a job in SCHED that a REJECT rule applies to, as Ganeti does, or that could never run here, as Flux does."""
    last = _if_hopeless(fold, job)
    if last:
        ended(fold, job, last)


def _if_hopeless(fold: Fold, job: Job) -> tuple[Fact, ...]:
    if job.state is not State.SCHED:
        return ()
    rule = rejecting(fold.queue, gates_known(fold.queue, job.id))
    if rule is not None:
        return (exception(job, "cancel", 0, f"rejected by {rule_name(rule)}"), "clean")
    if not is_feasible(job, fold.limits):
        return (exception(job, "alloc", 0, infeasible(job, fold.limits)), "clean")
    progress = array_of(fold.queue, job)
    if progress is not None and progress.is_spent:
        return (exception(job, "cancel", 0, spent(progress)), "clean")
    return ()


def default_priority(job: Job) -> int:
    """The priority of the built-in plugin `.priority-default`: the urgency, unless pinned."""
    return effective_priority(job.urgency, job.pin, job.urgency)


def pinned(fold: Fold, job: Job, pin: int | None) -> Fact:
    """Write the `priority` event that pins a job, or (None) leaves it to the plugin again, which is asked then."""
    context: dict[str, Json] = {"pin": pin}
    if job.state is not State.DEPEND and (pin is not None or not fold.limits.plugged):
        context["priority"] = effective_priority(job.urgency, pin, job.urgency)
    return ("priority", context)


def infeasible(job: Job, limits: Limits) -> str:
    """Say why a job could never run here."""
    if job.spec.nodes > 1:
        return f"unsatisfiable request: need {job.spec.nodes} nodes, there is 1"
    return f"unsatisfiable request: need {job.spec.cores} core(s), there are {limits.cores}"


def spent(progress: Progress) -> str:
    """Say why no other element of an array is to start."""
    return f"{progress.failed} of {progress.array.count} failed (max_failures = {progress.array.max_failures})"


def end_unstarted(fold: Fold, job: Job, kind: str, note: str, userid: int | None = None) -> None:
    """End a job that never started: post `exception` and `clean`, and resolve the dependencies on it."""
    ended(fold, job, (exception(job, kind, 0, note, userid), "clean"))


def exception(job: Job, kind: str, severity: int, note: str, userid: int | None = None, **more: Json) -> Fact:
    """Write an exception event; `more` of our own. Source: RFC 21."""
    user = job.userid if userid is None else userid
    context: dict[str, Json] = {"type": kind, "severity": severity, "note": note, "userid": user}
    return ("exception", context | more)


def ended(fold: Fold, job: Job, facts: Iterable[Fact]) -> None:
    """Post the last events of a job (`clean` last), then resolve every dependency on it, and so on in turn.

    Where plugins have a say, the first of them alone: `plugin_stages.proceed` goes on to the end.
    """
    _end_all(fold, [(job, _for_now(fold, tuple(facts)))])


def finish(fold: Fold, job: Job, facts: Iterable[Fact]) -> None:
    """Post the last events of a job as `ended` does, all at once, also with plugins: they have been called already."""
    _end_all(fold, [(job, tuple(facts))])


def _for_now(fold: Fold, last: tuple[Fact, ...]) -> tuple[Fact, ...]:
    return last[:1] if fold.limits.plugged else last


def settle(fold: Fold, outcome: Outcome) -> None:
    """Resolve every dependency on a job that is over, and so on in turn."""
    _end_all(fold, _resolve(fold, outcome))


def _end_all(fold: Fold, todo: list[tuple[Job, tuple[Fact, ...]]]) -> None:
    for here, last in todo:  # grows while it is walked: jobs that can never run are appended
        if find(fold.queue, here.id) is None:
            continue
        before = array_of(fold.queue, here)
        if fold.post(here.id, *last) is None:
            ended_well = fold.finished and fold.finished[-1].id == here.id
            never = Outcome(here.id, here.spec.name, here.userid, success=False, ran=False, is_fatal=True)
            todo += _resolve(fold, outcome_of(fold.finished[-1]) if ended_well else never)
            if before is not None:
                after = advanced(before, arrives=False, job=fold.finished[-1] if ended_well else None)
                todo += _resolve_array(fold, before, after)


def array_of(queue: Queue, job: Job) -> Progress | None:
    """How far the array of a job is; None for a job that is no element of one."""
    return queue.arrays.get(job.spec.element.array.id) if job.spec.element is not None else None


_Doomed: TypeAlias = list[tuple[Job, tuple[Fact, ...]]]


def _resolve(fold: Fold, outcome: Outcome) -> _Doomed:
    """Resolve the dependencies on a finished job; returns the jobs that can never run, with their last events.

    No job is ended here, so that each job that waits is still in the queue when its dependency is resolved.
    """
    doomed = _judge_waiters(fold, outcome.id, lambda scheme: judge_outcome(scheme, outcome))
    eldest = order.first(as_order(fold.queue.dependents.get(singleton_key(outcome.own_name))))
    if eldest is not None and not singleton_waits(fold.queue, outcome.own_name, eldest[0]):
        job = find(fold.queue, eldest[0])
        assert job is not None
        doomed += _move_on(fold, job, ["singleton"])
    return doomed


def _resolve_array(fold: Fold, before: Progress, after: Progress) -> _Doomed:
    """Resolve what an element's end means for its array: the others are canceled once too many have failed, and what
    waits for the array is looked at when something has changed for it.
    """
    doomed: _Doomed = []
    if after.is_spent and not before.is_spent:
        permitted: list[int] = []
        for job in elements(fold.queue, after.array):
            if may_start(fold.queue, job.id):
                permitted.append(job.id)
            elif job.state < State.RUN:
                doomed.append((job, _for_now(fold, (exception(job, "cancel", 0, spent(after)), "clean"))))
        if permitted:
            fold.effects.append(EndHopeless(tuple(permitted)))
    if after.is_over or after.spoiled != before.spoiled:
        doomed += _judge_waiters(fold, ArrayId(after.array.id), lambda scheme: judge_array(scheme, after))
    return doomed


def settle_array(fold: Fold, array_id: int, progress: Progress | None) -> None:
    """Resolve every dependency on an array that is over, and so on in turn; None: nothing is known of it."""
    never = Verdict.NEVER
    _end_all(
        fold,
        _judge_waiters(
            fold, ArrayId(array_id), lambda scheme: judge_array(scheme, progress) if progress is not None else never
        ),
    )


def take_back(fold: Fold, job: Job) -> None:
    """Remove a job that is not to become one; for the jobs that wait for it, it has failed."""
    before = array_of(fold.queue, job)
    fold.post(job.id, "invalidate")
    doomed = _resolve(fold, Outcome(job.id, job.spec.name, job.userid, success=False, ran=False))
    if before is not None:
        doomed += _resolve_array(fold, before, advanced(before, arrives=False, job=None))
    _end_all(fold, doomed)


def _judge_waiters(fold: Fold, key: int | ArrayId, judge: Callable[[Scheme], Verdict]) -> _Doomed:
    """Judge every dependency on a job or an array; what is still open stays."""
    doomed: _Doomed = []
    for id_ in waiters(fold.queue, key):
        job = find(fold.queue, id_)
        assert job is not None
        verdicts = [(wait, judge(wait.scheme)) for wait in waits_on(job, key)]
        never = next((wait for wait, verdict in verdicts if verdict is Verdict.NEVER), None)
        met = [wait.description for wait, verdict in verdicts if verdict is Verdict.SATISFIED]
        if never is not None:
            note = f"dependency {never.description} can never be satisfied"
            last = (exception(job, "dependency", 0, note), "clean")
            doomed.append((job, ("invalidate",) if job.state is State.NEW else _for_now(fold, last)))
        elif met:
            doomed += _move_on(fold, job, met)
    return doomed


def _move_on(fold: Fold, job: Job, met: Iterable[str]) -> _Doomed:
    """Remove met dependencies; a job that can never run all the same is not ended at once: the chain of those behind it
    may be long.
    """
    moved = _satisfy(fold, job, met)
    last = _if_hopeless(fold, moved)
    return [(moved, _for_now(fold, last))] if last else []


def waits_on(job: Job, antecedent: int | ArrayId) -> list[Wait]:
    """The waits of a job that are bound to this antecedent."""
    return [wait for wait in filter(None, map(read_wait, job.waits)) if _is_on(wait, antecedent)]


def _is_on(wait: Wait, antecedent: int | ArrayId) -> bool:
    return wait.scheme not in (Scheme.BEGIN_TIME, Scheme.SINGLETON) and wait.target == antecedent


def satisfy(fold: Fold, job: Job, descriptions: Iterable[str]) -> None:
    """Remove met dependencies from a job, and move it on when none is left."""
    end_if_hopeless(fold, _satisfy(fold, job, descriptions))


def _satisfy(fold: Fold, job: Job, descriptions: Iterable[str]) -> Job:
    freed = fold.post(job.id, *(("dependency-remove", {"description": met}) for met in descriptions))
    assert freed is not None
    return _advance(fold, freed)
