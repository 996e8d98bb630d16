"""Plugin stages: a job's life one move at a time, so that plugins can be called between two moves.

In: a queue, a job and what plugins asked for. Out: a `Step`, or a refusal as a value.
Rule: with `limits.plugged` a decision posts what was decided and stops. The scheduler calls the plugins and then
`proceed`, again and again until it returns nothing. No plugin is called from here.
Source: docs/reference/states.md, docs/reference/plugins.md; flux-core, job-manager/event.c (actions).
"""

from jqsched.core.event import TRANSITIONS, effective_priority
from jqsched.core.evolve import evolve
from jqsched.core.fold import (
    RELEASE,
    Changed,
    Dequeued,
    Fact,
    Fold,
    Refused,
    SetTimeLimit,
    Step,
    Stop,
    UnknownJob,
    advance_to_sched,
    end_if_hopeless,
    end_unstarted,
    exception,
    finish,
    take_back,
)
from jqsched.core.job import Job, Spec, State, read_wait
from jqsched.core.json import JsonObject
from jqsched.core.policy import Limits
from jqsched.core.queue import Queue, find

NOTE_MAX = 1024
SEVERITY_MAX = 7
NAME_STAYS = "attributes.system.job.name: cannot be changed: other jobs may wait for this name"


# ---- on its way ---------------------------------------------------------------------------------------------------


def proceed(
    queue: Queue, id_: int, limits: Limits, now_us: int, *, over: bool, released: bool = False, epilogs: bool = False
) -> Step:
    """Return the next move of a job: at most one event of its own, none while it waits for anything.

    `over`: nothing of its attempt is left, or nothing was ever begun. `released`: its `release` was posted. `epilogs`:
    some plugin is not done with the job that ended.
    """
    fold = Fold(queue, limits, now_us)
    job = find(queue, id_)
    match job.state if job is not None else None:
        case State.NEW:
            fold.post(id_, "validate")
        case State.DEPEND if job is not None and not job.waits:
            fold.post(id_, "depend")
        case State.SCHED if job is not None:
            end_if_hopeless(fold, job)
        case State.CLEANUP if job is not None and over:
            _to_the_end(fold, job, released=released, epilogs=epilogs)
    return fold.step()


def _to_the_end(fold: Fold, job: Job, *, released: bool, epilogs: bool) -> None:
    if job.started and not released:
        fold.post(job.id, ("release", RELEASE))
    elif not epilogs:
        finish(fold, job, ("free", "clean") if job.t_run_us else ("clean",))


def invalidate(queue: Queue, id_: int, limits: Limits, now_us: int) -> Step:
    """Remove a job that a plugin rejects while it is submitted; for the jobs that wait for it, it has failed."""
    job = find(queue, id_)
    assert job is not None, "only what was submitted can be rejected"
    fold = Fold(queue, limits, now_us)
    take_back(fold, job)
    return fold.step()


def prioritize(queue: Queue, id_: int, computed: int | None, limits: Limits, now_us: int) -> Step:
    """Give a job the priority that a plugin computed; None: it has none yet, and a job that was not pinned waits.

    Shape:   without effect but in PRIORITY and SCHED, and where it changes nothing in SCHED; hold, expedite and pins
             win.
    Source:  docs/reference/states.md (Priorities); flux-core, job-manager/prioritize.c.
    """
    fold = Fold(queue, limits, now_us)
    job = find(queue, id_)
    if job is None or job.state not in (State.PRIORITY, State.SCHED):
        return fold.step()
    wanted = computed if computed is not None else job.pin
    if wanted is not None:
        priority = effective_priority(job.urgency, job.pin, wanted)
        if job.state is State.PRIORITY or priority != job.priority:
            fold.post(id_, ("priority", {"priority": priority}))
    return fold.step()


def resume(queue: Queue, id_: int, limits: Limits, now_us: int, *, over: bool) -> Step:
    """Without plugins: take a job on that the plugins of an earlier scheduler had stopped."""
    fold = Fold(queue, limits, now_us)
    job = find(queue, id_)
    if job is not None and job.state is State.CLEANUP and over:
        _to_the_end(fold, job, released=True, epilogs=False)
    elif job is not None:
        advance_to_sched(fold, job)
    return fold.step()


# ---- what plugins and users may ask for ---------------------------------------------------------------------------


def raise_exception(
    queue: Queue, id_: int, kind: str, severity: int, note: str, limits: Limits, now_us: int, *, userid: int
) -> Step:
    """Raise an exception: of severity 0 it ends the job, of any other it is noted.

    Answers:  Changed; Dequeued when it ended before it started; UnknownJob; Refused.
    Source:   RFC 21; flux-core, job-manager/raise.c.
    """
    job = find(queue, id_)
    if job is None:
        return Step(queue, answer=UnknownJob(id_))
    wrong = _wrong_exception(job, kind, severity)
    if wrong:
        return Step(queue, answer=Refused(wrong))
    fold = Fold(queue, limits, now_us)
    note = note[:NOTE_MAX]
    if severity == 0 and job.state < State.RUN:
        end_unstarted(fold, job, kind, note, userid)
        return fold.step(Dequeued(id_))
    after = fold.post(id_, exception(job, kind, severity, note, userid))
    if severity == 0:
        fold.effects.append(Stop(id_, job.attempt))
    return fold.step(Changed(after if after is not None else job))


def is_bad_kind(kind: str) -> bool:
    """Whether this can be no exception's type: empty, or with white space or `=`. Source: RFC 21."""
    return not kind or any(char.isspace() or char == "=" for char in kind)


def _wrong_exception(job: Job, kind: str, severity: int) -> str | None:
    if is_bad_kind(kind):
        return "invalid exception type"
    if not 0 <= severity <= SEVERITY_MAX:
        return "invalid exception severity"
    if job.state is State.NEW and severity == 0:
        return "a job that is being submitted cannot be ended: reject it"
    return None


def note(queue: Queue, id_: int, name: str, context: JsonObject, limits: Limits, now_us: int) -> Step:
    """Log an event that is only data. Answers: Changed, UnknownJob, Refused for a name that means something to us."""
    job = find(queue, id_)
    if job is None:
        return Step(queue, answer=UnknownJob(id_))
    if not name or name in TRANSITIONS or name in ("submit", "invalidate"):
        return Step(queue, answer=Refused(f"{name!r} is an event of the scheduler's own"))
    fold = Fold(queue, limits, now_us)
    after = fold.post(id_, (name, context))
    return fold.step(Changed(after if after is not None else job))


def add_dependency(queue: Queue, id_: int, description: str, limits: Limits, now_us: int) -> Step:
    """Have a job wait for something that a plugin knows. Answers: Changed (nothing, where it waits already),
    UnknownJob, Refused. Source: docs/reference/plugins.md.
    """
    job = find(queue, id_)
    if job is None:
        return Step(queue, answer=UnknownJob(id_))
    if job.state not in (State.NEW, State.DEPEND):
        return Step(queue, answer=Refused("dependencies are added in NEW and DEPEND only"))
    if not description or looks_like_ours(description):
        return Step(queue, answer=Refused(f"{description!r} is how the scheduler writes a dependency of its own"))
    fold = Fold(queue, limits, now_us)
    if description not in job.waits:
        fold.post(id_, ("dependency-add", {"description": description}))
    return fold.step(Changed(job))


def looks_like_ours(description: str) -> bool:
    """Whether the scheduler would take a description for one of its own."""
    try:
        return read_wait(description) is not None
    except ValueError:  # begins as one of ours, and goes on differently
        return True


def remove_dependency(queue: Queue, id_: int, description: str, limits: Limits, now_us: int) -> Step:
    """Have a job wait no longer for something; `proceed` moves it on. Answers: as `add_dependency`; UnknownJob too
    when it does not wait for that.
    """
    job = find(queue, id_)
    if job is None or (job.state in (State.NEW, State.DEPEND) and description not in job.waits):
        return Step(queue, answer=UnknownJob(id_))
    if job.state not in (State.NEW, State.DEPEND):
        return Step(queue, answer=Refused("dependencies are removed in NEW and DEPEND only"))
    fold = Fold(queue, limits, now_us)
    fold.post(id_, ("dependency-remove", {"description": description}))
    return fold.step(Changed(job))


def update_spec(queue: Queue, id_: int, spec: Spec, changes: JsonObject, limits: Limits, now_us: int) -> Step:
    """Give a job another spec; `changes` are what the log shows. Of a job that runs only the time limit can be changed.

    Answers as `note`.
    """
    job = find(queue, id_)
    if job is None:
        return Step(queue, answer=UnknownJob(id_))
    if spec.name != job.spec.name:
        return Step(queue, answer=Refused(NAME_STAYS))
    limited = evolve(job.spec, time_limit_us=spec.time_limit_us, jobspec=spec.jobspec)
    if job.state is State.CLEANUP or (job.state is State.RUN and spec != limited):
        return Step(queue, answer=Refused("the job runs already: only its time limit can be changed"))
    fold = Fold(queue, limits, now_us)
    fact: Fact = ("jobspec-update", changes, spec)
    after = fold.post(id_, fact)
    assert after is not None
    advance_to_sched(fold, after)
    if job.state is State.RUN:
        fold.effects.append(SetTimeLimit(id_, job.attempt, spec.time_limit_us))
    return fold.step(Changed(after))
