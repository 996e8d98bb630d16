"""Decisions about accepted jobs: commands, news of processes, and the scheduling pass.

Rule: a decision is `Step = f(queue, ..., now_us)`: the next queue, the events that lead there, and the effects to carry
out when they are durable. How jobs arrive, run or are stored is not known here. Source: RFC 21;
docs/reference/events.md (other courses); Ganeti's dequeueJob and setJobPriority.
"""

from collections.abc import Callable, Mapping
from typing import TypeAlias

from attrs import frozen

from jqsched.core import backfill, policy, retries
from jqsched.core import queue as queues
from jqsched.core.backfill import Settled
from jqsched.core.event import RETRY, Event
from jqsched.core.fold import (
    RELEASE,
    AlreadyStarted,
    Changed,
    Dequeued,
    Fact,
    Fold,
    Refused,
    Step,
    Stop,
    UnknownJob,
    advance_to_sched,
    end_if_hopeless,
    end_unstarted,
    ended,
    exception,
    pinned,
    satisfy,
    settle,
    settle_array,
    waits_on,
)
from jqsched.core.job import (
    URGENCY_HOLD,
    ArrayId,
    Job,
    OnInterrupt,
    Outcome,
    OwnName,
    Scheme,
    State,
    describe_begin_time,
    read_wait,
)
from jqsched.core.json import Json, JsonObject
from jqsched.core.policy import Limits
from jqsched.core.queue import Queue, find, waiters

Known: TypeAlias = Mapping[int | OwnName, Outcome]

ONE_CORE: JsonObject = {"annotations": {"sched": {"resource_summary": "1 core"}}}
TIMEOUT_NOTE = "resource allocation expired"


# ---- commands -----------------------------------------------------------------------------------------------------


def dequeue(queue: Queue, id_: int, limits: Limits, now_us: int, *, userid: int, note: str = "") -> Step:
    """Cancel a job.

    Answers:  Dequeued if it had not started; AlreadyStarted(stopping) if it runs and is ended now; UnknownJob.
    Source:   Ganeti's dequeueJob; docs/reference/events.md (other courses).
    """
    job = find(queue, id_)
    if job is None:
        return Step(queue, answer=UnknownJob(id_))
    fold = Fold(queue, limits, now_us)
    if job.state < State.RUN:
        end_unstarted(fold, job, "cancel", note, userid)
        return fold.step(Dequeued(id_))
    if not job.fatal:
        fold.post(id_, exception(job, "cancel", 0, note, userid))
    fold.effects.append(Stop(id_, job.attempt))
    return fold.step(AlreadyStarted(id_, stopping=True))


def set_urgency(queue: Queue, id_: int, urgency: int, limits: Limits, now_us: int, *, userid: int) -> Step:
    """Change what the user asks for: 0 holds, 31 expedites. Source: flux-core, job-manager/urgency.c."""

    def post(fold: Fold, job: Job) -> None:
        changed = fold.post(job.id, ("urgency", {"userid": userid, "urgency": urgency}))
        assert changed is not None
        advance_to_sched(fold, changed)

    return _change_queued(queue, id_, limits, now_us, post)


def set_priority(queue: Queue, id_: int, pin: int | None, limits: Limits, now_us: int) -> Step:
    """Pin a queued job's priority, or (None) leave it to the plugin again.

    Answers:  Changed, AlreadyStarted, or UnknownJob: three distinct values.
    Source:   Ganeti JQScheduler.hs setJobPriority.
    """

    def post(fold: Fold, job: Job) -> None:
        fold.post(job.id, pinned(fold, job, pin))

    return _change_queued(queue, id_, limits, now_us, post)


def unhold(queue: Queue, id_: int, limits: Limits, now_us: int, *, userid: int) -> Step:
    """Undo a hold: the urgency before it, and a pin of 0 removed. A job that is not held is left as it is."""
    job = find(queue, id_)
    if job is None or job.state >= State.RUN:
        return _change_queued(queue, id_, limits, now_us, lambda *_: None)
    step = Step(queue, answer=Changed(job))
    if job.pin == 0:
        step = set_priority(queue, id_, None, limits, now_us)
    if job.urgency == URGENCY_HOLD:
        after = set_urgency(step.queue, id_, job.urgency_before, limits, now_us, userid=userid)
        step = Step(after.queue, step.events + after.events, answer=after.answer, finished=after.finished)
    return step


def _change_queued(queue: Queue, id_: int, limits: Limits, now_us: int, post: Callable[[Fold, Job], None]) -> Step:
    job = find(queue, id_)
    if job is None:
        return Step(queue, answer=UnknownJob(id_))
    if job.state >= State.RUN:
        return Step(queue, answer=AlreadyStarted(id_))
    fold = Fold(queue, limits, now_us)
    post(fold, job)
    after = find(fold.queue, id_)
    return fold.step(Changed(after if after is not None else job))


def requeue(queue: Queue, id_: int, limits: Limits, now_us: int, *, userid: int) -> Step:
    """End a running attempt and queue the job again; a job that is queued already is left as it is.

    Source: docs/reference/states.md.
    """
    job = find(queue, id_)
    if job is None:
        return Step(queue, answer=UnknownJob(id_))
    if job.state < State.RUN:
        return Step(queue, answer=Changed(job))
    if job.state is State.CLEANUP:
        return Step(queue, answer=Refused(f"job {id_} is just ending: requeue it when it has"))
    fold = Fold(queue, limits, now_us)
    if not job.requeuing:
        fold.post(id_, exception(job, "requeue", 2, "", userid))
    fold.effects.append(Stop(id_, job.attempt))
    return fold.step(AlreadyStarted(id_, stopping=True))


# ---- news of processes --------------------------------------------------------------------------------------------


def started(queue: Queue, id_: int, attempt: int, limits: Limits, now_us: int, *, start_us: int = 0) -> Step:
    """Record that an attempt's process runs: `alloc` (unless it was posted before) and `start`. Repeatable.

    `start_us`: when it started by the executor's clock, 0 = not known. The events have this time, where it is later
    than that of the last event. With backfill it is kept besides for a job with a time limit, which counts from it.
    """
    fold = Fold(queue, limits, now_us)
    _note_start(fold, id_, attempt, start_us)
    return fold.step()


def _note_start(fold: Fold, id_: int, attempt: int, start_us: int = 0) -> Job | None:
    """Post `alloc` and `start` unless they are posted; None when this is not the job's present attempt."""
    job = find(fold.queue, id_)
    if job is None or job.attempt != attempt or job.state < State.SCHED:
        return None
    if job.started:
        return job
    start_us = min(start_us, fold.now_us)  # its clock was set back since
    is_planned = fold.limits.backfill is not None and job.spec.time_limit_us is not None
    start: Fact = ("start", {"start_us": start_us}) if start_us and is_planned else "start"
    facts: list[Fact] = [start] if job.state >= State.RUN else [("alloc", allocation(job)), start]
    running = fold.post(id_, *facts, last_at_us=start_us or None)
    assert running is not None
    _meet_by_start(fold, id_)
    if running.spec.element is not None:
        _meet_by_start(fold, ArrayId(running.spec.element.array.id))
    if running.fatal or running.requeuing:
        fold.effects.append(Stop(id_, attempt))  # it was ended before it started
    return running


def _meet_by_start(fold: Fold, antecedent: int | ArrayId) -> None:
    """Resolve the dependencies that wait for no more than a start of this job, or of an element of this array."""
    for waiting in waiters(fold.queue, antecedent):
        other = find(fold.queue, waiting)
        if other is None:
            continue  # it ended because of one before it
        met = [wait.description for wait in waits_on(other, antecedent) if policy.is_met_by_start(wait.scheme)]
        if met:
            satisfy(fold, other, met)


def allocation(job: Job) -> JsonObject:
    """The context of `alloc`: we bind no cores, so the summary says how many."""
    if job.spec.cores == 1:
        return ONE_CORE
    return {"annotations": {"sched": {"resource_summary": f"{job.spec.cores} cores"}}}


def finished(
    queue: Queue,
    id_: int,
    attempt: int,
    status: int,
    limits: Limits,
    now_us: int,
    *,
    error: str | None = None,
    start_us: int = 0,
    end_us: int = 0,
) -> Step:
    """Record that an attempt ended with a known status: the job ends, or is queued again if that was asked for, or if
    the attempt failed and is retried. That is decided before its end is posted: a job has one `finish`.

    `start_us` and `end_us`: when it started and ended by the executor's clock, 0 = not known. The events have these
    times, where they are later than that of the last event; a delay counts from the end.
    """
    fold = Fold(queue, limits, now_us)
    job = _note_start(fold, id_, attempt, start_us)
    if job is None:
        return fold.step()
    fold.now_us = min(end_us, now_us) or now_us
    fold.effects.clear()  # nothing to stop any more
    if error is not None and not job.fatal:
        job = fold.post(id_, exception(job, "exec", 0, error))
        assert job is not None
    if job.state is State.RUN and not job.requeuing:
        job = _retry(fold, job, retries.note_of_failure(job, status))
    if job.requeuing and job.state is State.RUN:
        _back_to_queue(fold, job, status)
    else:
        ended(
            fold,
            job,
            (_finish(fold, job, status, end_us - start_us if start_us else 0), ("release", RELEASE), "free", "clean"),
        )
    return fold.step()


def _finish(fold: Fold, job: Job, status: int, ran_us: int) -> Fact:
    """Write `finish`, with how long the attempt ran where the events' times say less: the start was heard of late."""
    context: dict[str, Json] = {"status": status}
    if not job.t_cleanup_us and max(fold.now_us, fold.queue.last_us + 1) - job.t_run_us < ran_us:
        context["ran_us"] = ran_us
    return ("finish", context)


def interrupted(
    queue: Queue, id_: int, attempt: int, limits: Limits, now_us: int, *, note: str = "", counts: bool = True
) -> Step:
    """Queue a job again or end it, as its `on_interrupt` says: its attempt is gone, and how it ended is unknown.

    Shape:    a job that a user asked to requeue or to end does that instead; it does not count as interrupted. After
              `limits.interruptions_max` interruptions that count the job is held.
    Source:   docs/reference/states.md.
    """
    fold = Fold(queue, limits, now_us)
    job = _without_attempt(fold, id_, attempt)
    if job is not None and job.spec.on_interrupt is OnInterrupt.FAIL:
        ended(fold, job, (exception(job, "interrupted", 0, note), ("release", RELEASE), "free", "clean"))
    elif job is not None:
        told = fold.post(id_, exception(job, "interrupted", 2, note, **({} if counts else {"counts": False})))
        assert told is not None
        _back_to_queue(fold, told)
        if told.interruptions > job.interruptions:
            _hold_after_too_many(fold, id_)
    return fold.step()


def put_off(queue: Queue, id_: int, attempt: int, note: str, limits: Limits, now_us: int) -> Step:
    """Queue a job again, not to start before a delay: its attempt was not begun, for want of something that may be
    there later. That holds for jobs that run at most once, too.
    """
    fold = Fold(queue, limits, now_us)
    job = _without_attempt(fold, id_, attempt)
    if job is not None:
        told = fold.post(id_, exception(job, retries.PUT_OFF, 3, note))
        assert told is not None
        _back_to_queue(fold, told, delay_us=retries.put_off_us(told))
    return fold.step()


def _without_attempt(fold: Fold, id_: int, attempt: int) -> Job | None:
    """Allocate a job whose attempt is gone unless it is; None: it is not the present attempt, or a user asked for the
    job's end or return to the queue, which is decided then.
    """
    job = find(fold.queue, id_)
    if job is None or job.attempt != attempt or job.state < State.SCHED:
        return None
    if job.state is State.SCHED:
        job = fold.post(id_, ("alloc", allocation(job)))
        assert job is not None
    if job.state is State.CLEANUP and fold.limits.plugged:
        return None  # `plugin_stages.proceed` goes on
    if job.state is State.CLEANUP:
        ended(fold, job, (("release", RELEASE), "free", "clean"))
        return None
    if job.requeuing:
        _back_to_queue(fold, job)
        return None
    return job


def _retry(fold: Fold, job: Job, note: str | None) -> Job:
    """Announce that the present attempt is followed by another; without a note it is not, and nothing is posted."""
    if note is None:
        return job
    told = fold.post(job.id, exception(job, RETRY, 2, note, **{RETRY: job.retried + 1}))
    assert told is not None
    return told


def _back_to_queue(fold: Fold, job: Job, status: int | None = None, *, delay_us: int = 0) -> None:
    """End an attempt without ending its job. After a failure the log says its status, and there may be a delay."""
    context: dict[str, Json] = {"attempt": job.attempt + 1}
    if job.retrying and status is not None:
        context["status"] = status
    facts: list[Fact] = [("release", RELEASE), "free", ("requeue", context)]
    if job.retrying:
        delay_us = retries.delay_us(job)
    if delay_us:
        facts.append(("dependency-add", {"description": describe_begin_time(fold.now_us + delay_us)}))
    again = fold.post(job.id, *facts)
    assert again is not None
    advance_to_sched(fold, again)


def _hold_after_too_many(fold: Fold, id_: int) -> None:
    job = find(fold.queue, id_)
    if job is None or job.state >= State.RUN or job.interruptions < fold.limits.interruptions_max:
        return
    held = fold.post(id_, ("urgency", {"userid": job.userid, "urgency": URGENCY_HOLD}))
    assert held is not None
    advance_to_sched(fold, held)


def expired(queue: Queue, id_: int, attempt: int, limits: Limits, now_us: int) -> Step:
    """End a running attempt that has used up its time limit: a `timeout` exception, fatal unless it is retried."""
    fold = Fold(queue, limits, now_us)
    job = find(queue, id_)
    if job is not None and job.attempt == attempt and job.state is State.RUN and job.spec.time_limit_us is not None:
        note = retries.note_of_timeout(job)
        if not job.retrying:  # else it expired before, and is told again
            fold.post(id_, exception(job, "timeout", 2 if note else 0, TIMEOUT_NOTE))
            _retry(fold, job, note)
        fold.effects.append(Stop(id_, attempt))
    return fold.step()


def release_due_jobs(queue: Queue, limits: Limits, now_us: int) -> Step:
    """Release the jobs whose begin time has come."""
    fold = Fold(queue, limits, now_us)
    for id_ in policy.due(queue, now_us):
        job = find(fold.queue, id_)
        if job is None:
            continue  # it ended because of one before it
        past = [
            wait.description
            for wait in filter(None, map(read_wait, job.waits))
            if wait.scheme is Scheme.BEGIN_TIME and isinstance(wait.target, int) and wait.target <= now_us
        ]
        satisfy(fold, job, past)
    return fold.step()


def end_if_infeasible(queue: Queue, id_: int, limits: Limits, now_us: int) -> Step:
    """End a job that has not started and never can: too large for these limits (`policy.infeasible`), or rejected by a
    rule (`policy.rejected`). All others are left alone.
    """
    fold = Fold(queue, limits, now_us)
    job = find(queue, id_)
    if job is not None and job.state < State.RUN:
        rule = policy.rejecting(queue, queues.gates_known(queue, id_))
        if rule is not None:
            end_unstarted(fold, job, "cancel", f"rejected by {policy.rule_name(rule)}")
        else:
            end_if_hopeless(fold, job)
    return fold.step()


def resolve_missing_antecedents(queue: Queue, known: Known, limits: Limits, now_us: int) -> Step:
    """Resolve the dependencies on jobs that are over already; those on unknown jobs can never be met.

    In a running scheduler no job waits for one that is over (law 6), but in a restored or rebuilt store one may.
    """
    fold = Fold(queue, limits, now_us)
    gone = sorted(id_ for id_ in queue.dependents if isinstance(id_, int) and find(queue, id_) is None)
    for id_ in gone:
        settle(fold, known.get(id_) or Outcome(id_, "", 0, success=False, ran=False))
    for key in sorted(key for key in queue.dependents if isinstance(key, ArrayId) and key.id not in queue.arrays):
        outcome = known.get(key.id)
        settle_array(fold, key.id, outcome.whole if outcome is not None else None)
    return fold.step()


# ---- starting -----------------------------------------------------------------------------------------------------


@frozen
class Schedule:
    """What a scheduling pass decided: `permits` may start (in this order), of them `allocated` only once it is
    durable that they do; `recalled` permits are to be asked back first. `settled` is for the next pass.
    """

    queue: Queue
    events: tuple[Event, ...] = ()
    permits: tuple[int, ...] = ()
    recalled: tuple[int, ...] = ()
    settled: Settled | None = None


def schedule(queue: Queue, limits: Limits, now_us: int, last: Settled | None = None) -> Schedule:
    """Make one scheduling pass: recall the permits that were overtaken, and permit what `backfill.choose` chooses.

    `last`: the previous pass's record that a pass would choose nothing; while it holds, none is made.
    Cost: O(k log n) for k chosen or recalled, and that of the choice.
    """
    if last is not None and last.holds(queue, limits, now_us):
        return Schedule(queue, settled=last)
    recalled = policy.overtaken(queue, limits)
    for id_ in recalled:
        queue = queues.recall(queue, id_)
    choice = backfill.choose(queue, limits, now_us)
    if not choice.ids:
        return Schedule(queue, recalled=recalled, settled=backfill.settled(queue, limits, now_us))
    fold = Fold(queue, limits, now_us)
    passed = dict(choice.passed)
    for id_ in choice.ids:
        job = queue.enqueued[id_]
        if job.spec.on_interrupt is OnInterrupt.FAIL or limits.plugged:  # plugins may have something to do before
            fold.post(id_, ("alloc", allocation(job)))
        else:
            fold.queue = queues.permit(fold.queue, id_, passed=passed.get(id_, 0))
    return Schedule(fold.queue, tuple(fold.events), choice.ids, recalled)


def note_refused_edit(queue: Queue, id_: int, note: str, limits: Limits, now_us: int) -> Step:
    """Log that an edit of a job's file was refused: an exception of severity 5, which changes nothing."""
    fold = Fold(queue, limits, now_us)
    job = find(queue, id_)
    if job is not None:
        fold.post(id_, exception(job, "edit", 5, note))
    return fold.step()
