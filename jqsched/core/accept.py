"""Acceptance: make jobs of job files, bind their dependencies, refuse what can never run, and apply edits.

In: drafts (valid job files with the id each would get) and the queue. Out: a `Step` with the events of the new or
edited jobs; what is refused is a value with the reason, by id. Like `decide`, it reads nothing but its arguments.
Rule: a dependency on a name is bound once: when the job that depends is accepted, or when the first job of that name
arrives. Source: docs/reference/job-file.md; RFC 26.
"""

from collections.abc import Iterable, Sequence

from attrs import evolve, frozen

from jqsched.core import queue as queues
from jqsched.core.admission import gates_of
from jqsched.core.binding import Arrival, Binding, Bound, Known
from jqsched.core.event import effective_priority
from jqsched.core.fold import (
    AlreadyStarted,
    Changed,
    Fact,
    Fold,
    Refused,
    SetTimeLimit,
    Step,
    UnknownJob,
    end_if_hopeless,
    pinned,
    satisfy,
)
from jqsched.core.job import (
    ARROW,
    ArrayId,
    Dependency,
    Draft,
    Job,
    Scheme,
    Spec,
    State,
    describe,
    describe_begin_time,
    is_ours,
    read_wait,
)
from jqsched.core.jobspec import to_jobspec
from jqsched.core.jobspec.key import Edit
from jqsched.core.jobspec.keys import OF_SPEC
from jqsched.core.json import Json
from jqsched.core.policy import (
    Limits,
    rejecting,
    rule_name,
)
from jqsched.core.queue import Queue, find, waiters
from jqsched.core.retries import is_backoff


@frozen
class Accepted:
    """The result for a batch of arrivals: a step, and the refusals by id. All other arrivals are jobs now."""

    step: Step
    refused: dict[int, str]


# ---- acceptance ---------------------------------------------------------------------------------------------------


def accept(queue: Queue, arrivals: Sequence[Arrival], known: Known, limits: Limits, now_us: int) -> Accepted:
    """Make jobs of the arrivals of one commit, in the order of their ids.

    Shape:    names are looked for among the same user's arrivals first, then among its live jobs, then in `known`
              (what the store says of finished jobs; see `policy.lookups`). A file whose dependencies can never
              be met, or which would close a cycle with those that came before it, is refused with the reason; an array
              is refused whole.
    Cost:     O(k log n), and O(what is reachable) for an arrival that another job waits for by name.
    """
    refused = _whole_arrays(arrivals, _refused_by_rule(queue, arrivals, now_us))
    while True:
        accepted = [arrival for arrival in arrivals if arrival.id not in refused]
        binding = Binding(queue, accepted, known, now_us, plugged=limits.plugged)
        errors = binding.errors or binding.cycle()
        if not errors:
            break
        refused |= _whole_arrays(arrivals, errors)
    fold = Fold(queue, limits, now_us)
    for arrival in accepted:
        _enter(fold, arrival, binding.bound[arrival.id])
    for arrival in accepted:
        _bind_waiting(fold, arrival)
    for arrival in accepted:  # only now: those that wait for one of them are there
        job = find(fold.queue, arrival.id)
        if job is not None:
            end_if_hopeless(fold, job)
    return Accepted(fold.step(), refused)


def _whole_arrays(arrivals: Iterable[Arrival], refused: dict[int, str]) -> dict[int, str]:
    """Refuse all elements of an array for the reason for which one is refused."""
    if not refused:
        return refused
    reasons = {arrival.unit: refused[arrival.id] for arrival in arrivals if arrival.id in refused}
    return {arrival.id: reasons[arrival.unit] for arrival in arrivals if arrival.unit in reasons}


def _refused_by_rule(queue: Queue, arrivals: Iterable[Arrival], now_us: int) -> dict[int, str]:
    """Return the refusals of the arrivals that a REJECT rule applies to; they do not become jobs."""
    if not queue.rules:
        return {}
    refused: dict[int, str] = {}
    for arrival in arrivals:
        gates = gates_of(queue.rules, Job(arrival.id, arrival.draft.spec, arrival.userid, t_submit_us=now_us))
        rule = rejecting(queue, gates)
        if rule is not None:
            refused[arrival.id] = f"rejected by {rule_name(rule)}"
    return refused


def _enter(fold: Fold, arrival: Arrival, bounds: Sequence[Bound]) -> None:
    """Post the first events of a job."""
    facts: list[Fact] = [("submit", _submit_context(arrival), arrival.draft.spec)]
    facts += [("dependency-add", {"description": bound.description}) for bound in bounds]
    facts += [("dependency-remove", {"description": bound.description}) for bound in bounds if bound.met]
    if fold.limits.plugged:  # `plugin_stages.proceed` validates it when no plugin has rejected it
        fold.post(arrival.id, *facts)
        return
    facts.append("validate")
    if all(bound.met for bound in bounds):
        urgency, pin = arrival.draft.urgency, arrival.draft.pin
        facts += ["depend", ("priority", {"priority": effective_priority(urgency, pin, urgency)})]
    fold.post(arrival.id, *facts)


def _submit_context(arrival: Arrival) -> dict[str, Json]:
    draft = arrival.draft
    context: dict[str, Json] = {"userid": arrival.userid, "urgency": draft.urgency, "flags": 0, "version": 1}
    if draft.pin is not None:
        context["pin"] = draft.pin
    if draft.requeue_of is not None:
        context["requeue_of"] = draft.requeue_of
    return context


def _bind_waiting(fold: Fold, arrival: Arrival) -> None:
    """Bind the jobs that waited for a job of this name to it."""
    if arrival.unit != arrival.id:
        return  # bound to the array when its first element came
    name = arrival.draft.spec.name
    antecedent = arrival.id if arrival.element is None else ArrayId(arrival.id)
    for id_ in waiters(fold.queue, arrival.own_name):
        job = find(fold.queue, id_)
        if job is None or queues.file_of(job) == arrival.id:
            continue
        facts: list[Fact] = []
        for wait in filter(None, map(read_wait, job.waits)):
            if wait.target == name and wait.scheme is not Scheme.SINGLETON:
                bound = describe(wait.scheme, name, antecedent)
                facts += [
                    ("dependency-add", {"description": bound}),
                    ("dependency-remove", {"description": wait.description}),
                ]
        fold.post(id_, *facts)


# ---- edits --------------------------------------------------------------------------------------------------------


def update(
    queue: Queue, id_: int, was: Draft, now: Draft, known: Known, limits: Limits, now_us: int, *, userid: int
) -> Step:
    """Apply an edit of a job's file: what differs from the file as last accepted becomes events.

    Answers:  Changed; Refused (the job keeps its last good form); AlreadyStarted when it runs and more than the time
              limit was changed; UnknownJob.
    Source:   docs/reference/job-file.md (Editing).
    """
    job = find(queue, id_)
    if job is None:
        return Step(queue, answer=UnknownJob(id_))
    if now.spec.name != was.spec.name:
        return Step(queue, answer=Refused(f"name: cannot be changed (it is {was.spec.name!r})"))
    fold = Fold(queue, limits, now_us)
    if job.state >= State.RUN:
        return _update_running(fold, job, was, now)
    rejecting_rule = rejecting(queue, gates_of(queue.rules, evolve(job, spec=now.spec)))
    if rejecting_rule is not None:
        return Step(queue, answer=Refused(f"rejected by {rule_name(rejecting_rule)}"))
    if was.spec.dependencies != now.spec.dependencies:
        added = tuple(new for new in now.spec.dependencies if new not in was.spec.dependencies)
        gone = [old for old in was.spec.dependencies if old not in now.spec.dependencies]
        if not all(map(is_ours, (*added, *gone))):
            return Step(queue, answer=Refused("dependencies: those of plugins cannot be changed"))
        edited = evolve(now, spec=evolve(now.spec, dependencies=added))
        binding = Binding(queue, [Arrival(id_, edited, job.userid)], known, now_us)
        refusal = binding.errors or binding.cycle()
        if refusal:
            return Step(queue, answer=Refused(refusal[id_]))
        kept = [old for old in now.spec.dependencies if old in was.spec.dependencies and is_ours(old)]
        _update_dependencies(fold, job, kept, binding.bound[id_])
    if was.urgency != now.urgency:
        fold.post(id_, ("urgency", {"userid": userid, "urgency": now.urgency}))
    if was.spec != now.spec:
        fold.post(id_, ("jobspec-update", spec_changes(was.spec, now.spec), now.spec))
    _settle(fold, id_, was, now)
    after = find(fold.queue, id_)
    return fold.step(Changed(after if after is not None else job))


_CHANGEABLE_WHILE_RUNNING = (*(key.fills for key in OF_SPEC if key.edit is Edit.RUNNING), "jobspec")


def _update_running(fold: Fold, job: Job, was: Draft, now: Draft) -> Step:
    changeable = {field: getattr(now.spec, field) for field in _CHANGEABLE_WHILE_RUNNING}
    limited = evolve(was, spec=evolve(was.spec, **changeable))
    if now != limited or (now != was and job.state is State.CLEANUP):
        return fold.step(AlreadyStarted(job.id))
    if now.spec != was.spec:
        changed = fold.post(job.id, ("jobspec-update", spec_changes(was.spec, now.spec), now.spec))
        assert changed is not None
        job = changed
        fold.effects.append(SetTimeLimit(job.id, job.attempt, now.spec.time_limit_us))
    return fold.step(Changed(job))


def _update_dependencies(fold: Fold, job: Job, kept: Iterable[Dependency], bounds: Iterable[Bound]) -> None:
    """Add the dependencies that an edit added, remove those that it removed; the others stay bound as they are."""
    wanted = [bound.description for bound in bounds if not bound.met]
    facts: list[Fact] = [("dependency-add", {"description": new}) for new in wanted if new not in job.waits]
    asked = {_asked(dependency) for dependency in kept}
    ours = [wait for wait in job.waits if read_wait(wait) is not None and not is_backoff(job, wait)]
    gone = [wait for wait in ours if wait.partition(ARROW)[0] not in asked and wait not in wanted]
    facts += [("dependency-remove", {"description": old}) for old in gone]
    if facts:
        fold.post(job.id, *facts)


def _asked(dependency: Dependency) -> str:
    """The description of a dependency before it is bound."""
    scheme, value = Scheme(dependency.scheme), dependency.value
    if scheme is Scheme.SINGLETON or value is None:
        return "singleton"
    if scheme is Scheme.BEGIN_TIME and isinstance(value, int):
        return describe_begin_time(value)
    return describe(scheme, value)


def _settle(fold: Fold, id_: int, was: Draft, now: Draft) -> None:
    """Release an edited job to the state where it belongs, with its new job file recorded."""
    job = find(fold.queue, id_)
    assert job is not None
    if was.pin != now.pin:
        job = fold.post(id_, pinned(fold, job, now.pin))
        assert job is not None
    satisfy(fold, job, ())


def spec_changes(was: Spec, now: Spec) -> dict[str, Json]:
    """The context of a `jobspec-update`: dotted keys and new values; of the environment only that it changed."""
    changes: dict[str, Json] = {}
    if was.command != now.command or was.tasks != now.tasks:
        changes["tasks"] = to_jobspec(now)["tasks"]
    for key in OF_SPEC:
        if getattr(was, key.fills) != getattr(now, key.fills) and key.name != "command":
            changes[key.place] = key.changed(getattr(now, key.fills))
    return changes
