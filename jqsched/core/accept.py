"""Acceptance: make jobs of job files, bind their dependencies, refuse what can never run, and apply edits.

In: drafts (valid job files with the id each would get) and the queue. Out: a `Step` with the events of the new or
edited jobs; what is refused is a value with the reason, by id. Like `decide`, it reads nothing but its arguments.
Rule: a dependency on a name is bound once: when the job that depends is accepted, or when the first job of that name
arrives. Source: docs/reference/job-file.md; RFC 26.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from typing import TypeAlias

from attrs import evolve, frozen

from jqsched.core import order
from jqsched.core.admission import gates_of
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
    Dependency,
    Draft,
    Job,
    Outcome,
    OwnName,
    Scheme,
    Spec,
    State,
    describe,
    describe_begin_time,
    is_ours,
    read_wait,
    unsupported,
)
from jqsched.core.jobspec import to_jobspec
from jqsched.core.jobspec.key import Edit
from jqsched.core.jobspec.keys import OF_SPEC
from jqsched.core.json import Json
from jqsched.core.policy import Limits, Verdict, antecedents, judge_live, judge_outcome, rejecting, rule_name, why_not
from jqsched.core.queue import Queue, find, namesakes, singleton_key, waiters
from jqsched.core.retries import is_backoff

Known: TypeAlias = Mapping[int | OwnName, Outcome]


@frozen
class Arrival:
    """A draft with the id that it would get and its owner."""

    id: int
    draft: Draft
    userid: int

    @property
    def own_name(self) -> OwnName:
        """Return the name by which other jobs of the same user may depend on this one."""
        return (self.userid, self.draft.spec.name)


@frozen
class Bound:
    """A dependency after binding: its description, the antecedent's id if it has one, and whether it is met."""

    description: str
    antecedent: int | None = None
    met: bool = False


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
              be met, or which would close a cycle with those that came before it, is refused with the reason.
    Cost:     O(k log n), and O(what is reachable) for an arrival that another job waits for by name.
    """
    refused = _refused_by_rule(queue, arrivals, now_us)
    while True:
        accepted = [arrival for arrival in arrivals if arrival.id not in refused]
        binding = _Binding(queue, accepted, known, now_us, plugged=limits.plugged)
        errors = binding.errors or binding.cycle()
        if not errors:
            break
        refused |= errors
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
    name = arrival.draft.spec.name
    for id_ in waiters(fold.queue, arrival.own_name):
        job = find(fold.queue, id_)
        if job is None or id_ == arrival.id:
            continue
        facts: list[Fact] = []
        for wait in filter(None, map(read_wait, job.waits)):
            if wait.target == name and wait.scheme is not Scheme.SINGLETON:
                bound = describe(wait.scheme, name, arrival.id)
                facts += [
                    ("dependency-add", {"description": bound}),
                    ("dependency-remove", {"description": wait.description}),
                ]
        fold.post(id_, *facts)


class _Binding:
    """The dependencies of a batch of arrivals, each bound to what it names; `errors` for those that cannot be."""

    def __init__(
        self, queue: Queue, arrivals: Sequence[Arrival], known: Known, now_us: int, *, plugged: bool = False
    ) -> None:
        self.queue, self.known, self.now_us, self.plugged = queue, known, now_us, plugged
        self.arrivals = {arrival.id: arrival for arrival in arrivals}
        self.named: dict[OwnName, list[int]] = {}
        for arrival in arrivals:
            self.named.setdefault(arrival.own_name, []).append(arrival.id)
        self.is_edit = any(find(queue, arrival.id) is not None for arrival in arrivals)
        self.errors: dict[int, str] = {}
        self.bound: dict[int, list[Bound]] = {}
        for arrival in arrivals:
            try:
                ours = self.ours(arrival.draft.spec.dependencies)
                self.bound[arrival.id] = [self.bind(arrival, dependency) for dependency in ours]
            except _CannotBind as reason:
                self.errors[arrival.id] = str(reason)

    def ours(self, dependencies: Iterable[Dependency]) -> list[Dependency]:
        """Return the dependencies that the scheduler resolves itself; where there are plugins, they add the others."""
        dependencies = list(dependencies)
        for dependency in dependencies:
            if not is_ours(dependency) and not self.plugged:
                raise _CannotBind(unsupported(dependency.scheme))
        return [dependency for dependency in dependencies if is_ours(dependency)]

    def bind(self, arrival: Arrival, dependency: Dependency) -> Bound:
        scheme = Scheme(dependency.scheme)
        if scheme is Scheme.BEGIN_TIME:
            assert isinstance(dependency.value, int)
            return Bound(describe_begin_time(dependency.value), met=dependency.value <= self.now_us)
        if scheme is Scheme.SINGLETON:
            return Bound("singleton", met=not any(self.elders(arrival.id, arrival.own_name)))
        if isinstance(dependency.value, int):
            return self.bind_id(arrival.id, scheme, dependency.value)
        assert isinstance(dependency.value, str)
        wanted = (arrival.userid, dependency.value)
        return self.bind_name(arrival.id, scheme, wanted, next_only=dependency.next_only)

    def elders(self, id_: int, name: OwnName) -> Iterator[int]:
        """Return the unfinished jobs of that name with a lower id."""
        yield from (other for other in self.named.get(name, ()) if other < id_)
        eldest = order.first(namesakes(self.queue, name))
        if eldest is not None and eldest < (id_,):
            yield eldest[0]

    def bind_id(self, id_: int, scheme: Scheme, wanted: int) -> Bound:
        if wanted == id_:
            raise _CannotBind(f"dependency: {scheme.value}: a job cannot depend on itself")
        job = find(self.queue, wanted)
        if job is not None:
            met = judge_live(scheme, job) is Verdict.SATISFIED
            return Bound(describe(scheme, wanted), wanted, met)
        if wanted in self.arrivals:
            return Bound(describe(scheme, wanted), wanted)
        outcome = self.known.get(wanted)
        if outcome is None:
            raise _CannotBind(f"dependency: {scheme.value}: job {wanted} is unknown (purged, or never given out)")
        if judge_outcome(scheme, outcome) is Verdict.NEVER:
            raise _CannotBind(f"dependency: {scheme.value}: job {wanted} {why_not(scheme, outcome)}")
        return Bound(describe(scheme, wanted), wanted, met=True)

    def bind_name(self, id_: int, scheme: Scheme, wanted: OwnName, *, next_only: bool) -> Bound:
        _, name = wanted
        beside = [other for other in self.named.get(wanted, ()) if other != id_]
        if beside:
            return Bound(describe(scheme, name, beside[-1]), beside[-1])
        newest = order.last(order.discard(namesakes(self.queue, wanted), (id_,)))
        if newest is not None:
            job = find(self.queue, newest[0])
            assert job is not None
            met = judge_live(scheme, job) is Verdict.SATISFIED
            return Bound(describe(scheme, name, job.id), job.id, met)
        outcome = self.known.get(wanted)
        if outcome is not None and not next_only and judge_outcome(scheme, outcome) is Verdict.SATISFIED:
            return Bound(describe(scheme, name, outcome.id), outcome.id, met=True)
        return Bound(describe(scheme, name))

    # -- cycles

    def cycle(self) -> dict[int, str]:
        """Return the refusal of the first arrival that closes a cycle; empty when none does.

        Only the first: once it is refused, later arrivals may be bound differently, so the caller binds again.
        """
        for id_ in self.arrivals:
            path = self.path_back(id_)
            if path is not None:
                names = " -> ".join(f"{self.name_of(member)} ({member})" for member in [*path, id_])
                return {id_: f"dependency: cycle: {names}"}
        return {}

    def path_back(self, start: int) -> list[int] | None:
        """Find a path from an arrival along its antecedents back to itself, through live jobs and earlier arrivals."""
        if not self.is_awaited(start):
            return None
        came_from: dict[int, int] = {}
        todo = [start]
        while todo:
            here = todo.pop()
            for there in self.antecedents(here):
                if there == start:
                    return _walk(came_from, start, here)
                if there not in came_from and (there < start or there not in self.arrivals):
                    came_from[there] = here
                    todo.append(there)
        return None

    def is_awaited(self, id_: int) -> bool:
        """Whether any job can wait for this arrival (or, at an edit, live job): only then can it close a cycle."""
        name = self.arrivals[id_].own_name
        if name in self.queue.dependents or len(self.named[name]) > 1:
            return True
        if self.is_edit and (id_ in self.queue.dependents or singleton_key(name) in self.queue.dependents):
            return True
        return any(bound.antecedent == id_ for bounds in self.bound.values() for bound in bounds)

    def antecedents(self, id_: int) -> Iterator[int]:
        if id_ in self.arrivals:
            awaited = self.awaited_by_arrival(id_)
            yield from awaited if self.is_awaited_outside else (other for other in awaited if other in self.arrivals)
            return
        job = find(self.queue, id_)
        if job is None:
            return
        yield from antecedents(self.queue, job)
        for wait in filter(None, map(read_wait, job.waits)):
            if isinstance(wait.target, str) and (job.userid, wait.target) in self.named:
                yield self.named[job.userid, wait.target][0]

    def awaited_by_arrival(self, id_: int) -> Iterator[int]:
        yield from (b.antecedent for b in self.bound[id_] if b.antecedent is not None and not b.met)
        if any(bound.description == "singleton" for bound in self.bound[id_]):
            name = self.arrivals[id_].own_name
            same_name = chain(self.named[name], (other for (other,) in order.ascending(namesakes(self.queue, name))))
            yield from (other for other in same_name if other < id_)

    @cached_property
    def is_awaited_outside(self) -> bool:
        """Whether a live job can wait for any of these: if not, no cycle leads through live jobs."""
        names_and_ids = chain(self.named, self.arrivals, map(singleton_key, self.named) if self.is_edit else ())
        return any(key in self.queue.dependents for key in names_and_ids)

    def name_of(self, id_: int) -> str:
        arrival, job = self.arrivals.get(id_), find(self.queue, id_)
        return arrival.draft.spec.name if arrival else job.spec.name if job else str(id_)


class _CannotBind(Exception):
    """Leaves `bind` early; its text becomes the refusal."""


def _walk(came_from: dict[int, int], start: int, here: int) -> list[int]:
    path = [here]
    while path[-1] != start:
        path.append(came_from[path[-1]])
    return path[::-1]


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
        binding = _Binding(queue, [Arrival(id_, edited, job.userid)], known, now_us)
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
