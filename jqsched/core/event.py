"""Events, and what each does to its job: the only place where a job changes.

Rule: `advance(job, event)` is total for every event that was accepted, and refuses one that does not fit with
`IllegalEvent`, which means a bug in jqsched. It knows one job at a time, no queue, no policy.
Source: RFC 21 (states and events), RFC 18 (format). Ours beyond RFC 21: `requeue` (RUN -> PRIORITY) and its `status`,
the key `pin` of `priority`, `pin` and `requeue_of` of `submit`, `start_us` of `start`, `ran_us` of `finish`, `retry` of
an exception of the type `retry`, and `dependency-add` for a job that was queued already (an edit, a backoff), which
leads back to DEPEND.
"""

from collections.abc import Callable, Mapping

from attrs import frozen

from jqsched.core.evolve import evolve
from jqsched.core.job import (
    PRIORITY_MAX,
    URGENCY_DEFAULT,
    URGENCY_EXPEDITE,
    URGENCY_HOLD,
    Job,
    JobException,
    Spec,
    State,
)
from jqsched.core.json import Json, JsonObject

NO_CONTEXT: JsonObject = {}
RETRY = "retry"  # the type of an exception that announces another attempt, and the key of that retry's number
LAST_EVENTS = ("clean", "invalidate")  # of a job's log: one of them ends it


@frozen
class Event:
    """One entry of a job's event log. `spec` comes with `submit` and `jobspec-update` only."""

    jobid: int
    t_us: int
    name: str
    context: JsonObject = NO_CONTEXT
    spec: Spec | None = None


class IllegalEvent(AssertionError):
    """An event that the job's state does not allow; the text has the job's last state and the event."""


def integer(context: JsonObject, key: str) -> int:
    """Read an integer of a context; anything else is an IllegalEvent."""
    value = context.get(key)
    if isinstance(value, bool) or not isinstance(value, int):
        raise IllegalEvent(f"context {dict(context)!r}: {key} is no integer")
    return value


def text(context: JsonObject, key: str) -> str:
    """Read a string of a context; anything else is an IllegalEvent."""
    value = context.get(key)
    if not isinstance(value, str):
        raise IllegalEvent(f"context {dict(context)!r}: {key} is no string")
    return value


def effective_priority(urgency: int, pin: int | None, computed: int) -> int:
    """The priority that orders the queue: hold and expedite win over a pin, a pin over what a plugin computed.

    Source: docs/reference/states.md (Priorities).
    """
    if urgency == URGENCY_HOLD:
        return 0
    if urgency == URGENCY_EXPEDITE:
        return PRIORITY_MAX
    return pin if pin is not None else computed


def submitted(event: Event) -> Job:
    """Make the job of a `submit` event."""
    assert event.spec is not None, "a submit event carries the spec"
    urgency = integer(event.context, "urgency")
    return Job(
        id=event.jobid,
        spec=event.spec,
        userid=integer(event.context, "userid"),
        urgency=urgency,
        urgency_before=urgency or URGENCY_DEFAULT,
        pin=_pin(event.context, None),
        t_submit_us=event.t_us,
    )


def _pin(context: JsonObject, present: int | None) -> int | None:
    pin: Json = context.get("pin", present)
    assert pin is None or isinstance(pin, int)
    return pin


def _validate(job: Job, event: Event) -> Job:
    return evolve(job, state=State.DEPEND, t_depend_us=event.t_us)


def _dependency_add(job: Job, event: Event) -> Job:
    description = text(event.context, "description")
    state = job.state if job.state in (State.NEW, State.DEPEND) else State.DEPEND
    if description in job.waits:
        return evolve(job, state=state)
    return evolve(job, state=state, waits=(*job.waits, description))


def _dependency_remove(job: Job, event: Event) -> Job:
    description = text(event.context, "description")
    return evolve(job, waits=tuple(wait for wait in job.waits if wait != description))


def _depend(job: Job, event: Event) -> Job:
    return evolve(job, state=State.PRIORITY, t_priority_us=job.t_priority_us or event.t_us)


def _priority(job: Job, event: Event) -> Job:
    pin = _pin(event.context, job.pin)
    if job.state is State.DEPEND or ("pin" in event.context and "priority" not in event.context):
        return evolve(job, pin=pin)
    priority = integer(event.context, "priority")
    return evolve(job, pin=pin, priority=priority, state=State.SCHED, t_sched_us=job.t_sched_us or event.t_us)


def _back_to_priority(job: Job) -> State:
    return State.PRIORITY if job.state is State.SCHED else job.state


def _urgency(job: Job, event: Event) -> Job:
    urgency = integer(event.context, "urgency")
    before = job.urgency if job.urgency != URGENCY_HOLD else job.urgency_before
    return evolve(job, urgency=urgency, urgency_before=before, state=_back_to_priority(job))


def _jobspec_update(job: Job, event: Event) -> Job:
    assert event.spec is not None, "a jobspec-update event carries the new spec"
    return evolve(job, spec=event.spec, state=_back_to_priority(job))


def _alloc(job: Job, event: Event) -> Job:
    return evolve(job, state=State.RUN, t_run_us=event.t_us)


def _start(job: Job, event: Event) -> Job:
    start_us = integer(event.context, "start_us") if "start_us" in event.context else event.t_us
    return evolve(job, t_start_us=start_us)


def _finish(job: Job, event: Event) -> Job:
    end_us, status = job.t_cleanup_us or event.t_us, integer(event.context, "status")
    if "ran_us" not in event.context:
        return evolve(job, state=State.CLEANUP, status=status, t_cleanup_us=end_us)
    run_us = min(job.t_run_us, end_us - integer(event.context, "ran_us"))
    return evolve(job, state=State.CLEANUP, status=status, t_cleanup_us=end_us, t_run_us=run_us)


def _exception(job: Job, event: Event) -> Job:
    severity, kind = integer(event.context, "severity"), text(event.context, "type")
    if severity == 0 and job.state is State.NEW:
        raise IllegalEvent(f"job {job.id} is in NEW: no fatal exception {dict(event.context)!r} there")
    told = job.exception
    if told is None or severity < told.severity:
        told = JobException(kind, severity, text(event.context, "note"))
    if severity == 0 and not job.t_cleanup_us:
        return evolve(job, exception=told, fatal=True, state=State.CLEANUP, t_cleanup_us=event.t_us, waits=())
    interrupted = kind == "interrupted" and not job.t_cleanup_us
    asked = kind == "requeue" and job.state is State.RUN
    # An exception that a user or a plugin raises may have this type, but not the key.
    retry = kind == RETRY and RETRY in event.context and job.state is State.RUN
    return evolve(
        job,
        exception=told,
        interruptions=job.interruptions + (interrupted and job.started and _counts(event)),
        requeuing=job.requeuing or asked or interrupted or retry,
        retrying=job.retrying or retry,
        retried=integer(event.context, RETRY) if retry else job.retried,
    )


def _counts(event: Event) -> bool:
    """Whether an interruption brings a job nearer to being held; what had only a permit lost nothing anyway."""
    return event.context.get("counts") is not False


def _requeue(job: Job, event: Event) -> Job:
    return evolve(
        job,
        state=State.PRIORITY,
        attempt=integer(event.context, "attempt"),
        requeuing=False,
        retrying=False,
        status=None,
        t_run_us=0,
        t_start_us=0,
        t_cleanup_us=0,
    )


def _clean(job: Job, event: Event) -> Job:
    return evolve(job, state=State.INACTIVE, t_inactive_us=event.t_us)


def _data(job: Job, _: Event) -> Job:
    return job


N, D, P, S, R, C = State.NEW, State.DEPEND, State.PRIORITY, State.SCHED, State.RUN, State.CLEANUP
_UNTIL_OVER = frozenset((N, D, P, S, R, C))

# name -> (states in which it may come, what it does). Names that are not here are data, until the job is over.
TRANSITIONS: Mapping[str, tuple[frozenset[State], Callable[[Job, Event], Job]]] = {
    "validate": (frozenset((N,)), _validate),
    "dependency-add": (frozenset((N, D, P, S)), _dependency_add),
    "dependency-remove": (frozenset((N, D)), _dependency_remove),
    "depend": (frozenset((D,)), _depend),
    "priority": (frozenset((D, P, S)), _priority),
    "urgency": (frozenset((D, P, S)), _urgency),
    "jobspec-update": (frozenset((N, D, P, S, R)), _jobspec_update),
    "alloc": (frozenset((S,)), _alloc),
    "start": (frozenset((R, C)), _start),
    "finish": (frozenset((R, C)), _finish),
    "exception": (_UNTIL_OVER, _exception),
    "release": (frozenset((R, C)), _data),
    "free": (frozenset((R, C)), _data),
    "requeue": (frozenset((R,)), _requeue),
    "clean": (frozenset((C,)), _clean),
}


def advance(job: Job | None, event: Event) -> Job | None:
    """Apply one event to its job: None becomes a job by `submit`, and `invalidate` makes it None again.

    Raises: IllegalEvent when the state does not allow it.  Source: RFC 21; Flux event.c event_job_update.
    """
    if job is None:
        if event.name != "submit":
            raise IllegalEvent(f"job {event.jobid}: {event.name} before submit")
        return submitted(event)
    if event.name == "invalidate" and job.state is State.NEW:
        return None
    allowed, apply = TRANSITIONS.get(event.name, (_UNTIL_OVER, _data))
    if job.state not in allowed:
        raise IllegalEvent(f"job {job.id} is in {job.state.name}: no {event.name} {dict(event.context)!r} there")
    return apply(job, event)
