"""Binding: what each dependency of new or edited jobs means, and whether they would wait for themselves in a circle.

In: arrivals (valid job files with the id each would get), the queue, and what the store says of finished jobs. Out: the
dependencies as they stand in `dependency-add`; errors, by id.
Rule: a dependency on a name is bound once, to a job or to a whole array. Source: docs/reference/job-file.md; RFC 26.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from typing import TypeAlias

from attrs import evolve, frozen

from jqsched.core import order
from jqsched.core import queue as queues
from jqsched.core.evolve import evolve as fast_evolve
from jqsched.core.job import (
    Array,
    ArrayId,
    Dependency,
    Draft,
    Element,
    Outcome,
    OwnName,
    Progress,
    Scheme,
    describe,
    describe_begin_time,
    is_ours,
    read_wait,
    unsupported,
)
from jqsched.core.order import Order
from jqsched.core.policy import (
    Verdict,
    antecedents,
    judge_array,
    judge_live,
    judge_live_array,
    judge_outcome,
    why_array_not,
    why_not,
)
from jqsched.core.queue import Queue, find, namesakes, singleton_key

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

    @property
    def element(self) -> Element | None:
        """Return which element of which array it is to be; None: a job by itself."""
        return self.draft.spec.element

    @property
    def unit(self) -> int:
        """Return the id by which others depend on it by name: its own, or its array's."""
        return self.element.array.id if self.element is not None else self.id


def arrivals_of(id_: int, draft: Draft, userid: int) -> list[Arrival]:
    """Make the arrival of a draft, or one for each element where it is an array's: they take the ids from `id_` on."""
    if not draft.elements:
        return [Arrival(id_, draft, userid)]
    array: Array | None = None
    arrivals: list[Arrival] = []
    for at, spec in enumerate(draft.elements):
        assert spec.element is not None
        array = array or evolve(spec.element.array, id=id_)
        own = fast_evolve(spec, element=fast_evolve(spec.element, array=array))
        arrivals.append(Arrival(id_ + at, Draft(own, draft.urgency, draft.pin, draft.requeue_of), userid))
    return arrivals


@frozen
class Bound:
    """A dependency after binding: its description, the antecedent's id if it has one (an array's is that of its first
    element), and whether it is met.
    """

    description: str
    antecedent: int | None = None
    met: bool = False


class Binding:
    """The dependencies of a batch of arrivals, each bound to what it names; `errors` for those that cannot be."""

    def __init__(
        self, queue: Queue, arrivals: Sequence[Arrival], known: Known, now_us: int, *, plugged: bool = False
    ) -> None:
        self.queue, self.known, self.now_us, self.plugged = queue, known, now_us, plugged
        self.arrivals = {arrival.id: arrival for arrival in arrivals}
        self.named: dict[OwnName, list[int]] = {}
        self.units: dict[OwnName, list[int]] = {}
        for arrival in arrivals:
            self.named.setdefault(arrival.own_name, []).append(arrival.id)
            if arrival.unit == arrival.id:
                self.units.setdefault(arrival.own_name, []).append(arrival.id)
        self.is_edit = any(find(queue, arrival.id) is not None for arrival in arrivals)
        self.errors: dict[int, str] = {}
        self.bound: dict[int, list[Bound]] = {}
        for arrival in arrivals:
            try:
                self.bound[arrival.id] = self.bind_all(arrival)
            except _CannotBind as reason:
                self.errors[arrival.id] = str(reason)

    def bind_all(self, arrival: Arrival) -> list[Bound]:
        """Bind the dependencies of an arrival; the elements of an array share all but `singleton`."""
        ours = self.ours(arrival.draft.spec.dependencies)
        first = self.bound.get(arrival.unit)
        if first is None or any(dependency.scheme == Scheme.SINGLETON.value for dependency in ours):
            return [self.bind(arrival, dependency) for dependency in ours]
        return first

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
        if wanted in (id_, self.unit_of(id_)):
            raise _CannotBind(f"dependency: {scheme.value}: a job cannot depend on itself")
        progress = self.queue.arrays.get(wanted)
        if progress is not None:
            return self.bind_array(scheme, wanted, progress)
        job = find(self.queue, wanted)
        if job is not None:
            met = judge_live(scheme, job) is Verdict.SATISFIED
            return Bound(describe(scheme, wanted), wanted, met)
        if wanted in self.arrivals:
            return self.bind_arrival(scheme, wanted, wanted)
        outcome = self.known.get(wanted)
        if outcome is None:
            raise _CannotBind(f"dependency: {scheme.value}: job {wanted} is unknown (purged, or never given out)")
        if _judge(scheme, outcome) is Verdict.NEVER:
            raise _CannotBind(f"dependency: {scheme.value}: {_why_not(scheme, outcome, wanted)}")
        return Bound(_describe_known(scheme, wanted, outcome), wanted, met=True)

    def unit_of(self, id_: int) -> int:
        """Return the id of an arrival's array, or its own."""
        arrival = self.arrivals.get(id_)
        return arrival.unit if arrival is not None else id_

    def bind_arrival(self, scheme: Scheme, wanted: int | str, id_: int) -> Bound:
        """Bind to an arrival of the same commit; to the array, where its first element is meant."""
        other = self.arrivals[id_]
        is_array = other.element is not None and other.unit == id_
        return Bound(describe(scheme, wanted, ArrayId(id_) if is_array else id_), id_)

    def bind_array(self, scheme: Scheme, wanted: int | str, progress: Progress) -> Bound:
        """Bind to an array that is not over. Raises _CannotBind when it can never meet this."""
        id_ = progress.array.id
        verdict = judge_live_array(scheme, self.queue, progress)
        if verdict is Verdict.NEVER:
            raise _CannotBind(f"dependency: {scheme.value}: array {id_} {why_array_not(scheme)}")
        return Bound(describe(scheme, wanted, ArrayId(id_)), id_, met=verdict is Verdict.SATISFIED)

    def bind_name(self, id_: int, scheme: Scheme, wanted: OwnName, *, next_only: bool) -> Bound:
        _, name = wanted
        beside = [other for other in self.units.get(wanted, ()) if other != self.unit_of(id_)]
        if beside:
            return self.bind_arrival(scheme, name, beside[-1])
        newest = order.last(self.others_named(wanted, id_))
        if newest is not None:
            job = find(self.queue, newest[0])
            assert job is not None
            if job.spec.element is not None:
                progress = self.queue.arrays[job.spec.element.array.id]
                verdict = judge_live_array(scheme, self.queue, progress)
                bound = describe(scheme, name, ArrayId(progress.array.id))
                return Bound(bound, progress.array.id, verdict is Verdict.SATISFIED)
            met = judge_live(scheme, job) is Verdict.SATISFIED
            return Bound(describe(scheme, name, job.id), job.id, met)
        outcome = self.known.get(wanted)
        if outcome is not None and not next_only and _judge(scheme, outcome) is Verdict.SATISFIED:
            return Bound(_describe_known(scheme, name, outcome), outcome.id, met=True)
        return Bound(describe(scheme, name))

    def others_named(self, wanted: OwnName, id_: int) -> Order:
        """Return the live jobs of a name, without the one (at an edit: the array's elements) that is bound."""
        others = order.discard(namesakes(self.queue, wanted), (id_,))
        job = find(self.queue, id_) if self.is_edit else None
        if job is None or job.spec.element is None:
            return others
        for sibling in queues.elements(self.queue, job.spec.element.array):
            others = order.discard(others, (sibling.id,))
        return others

    # -- cycles

    def cycle(self) -> dict[int, str]:
        """Return the refusal of the first arrival that closes a cycle; empty when none does.

        Only the first: once it is refused, later arrivals may be bound differently, so the caller binds again.
        """
        for id_, arrival in self.arrivals.items():
            path = self.path_back(id_) if arrival.unit == id_ or arrival.unit not in self.arrivals else None
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
        if name in self.queue.dependents or len(self.units.get(name, ())) > 1:
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
            same_name = chain(
                self.units.get(name, ()), (other for (other,) in order.ascending(namesakes(self.queue, name)))
            )
            yield from (other for other in same_name if other < id_)

    @cached_property
    def is_awaited_outside(self) -> bool:
        """Whether a live job can wait for any of these: if not, no cycle leads through live jobs."""
        names_and_ids = chain(self.named, self.arrivals, map(singleton_key, self.named) if self.is_edit else ())
        return any(key in self.queue.dependents for key in names_and_ids)

    def name_of(self, id_: int) -> str:
        arrival, job = self.arrivals.get(id_), find(self.queue, id_)
        return arrival.draft.spec.name if arrival else job.spec.name if job else str(id_)


def _judge(scheme: Scheme, outcome: Outcome) -> Verdict:
    """Judge what is finished: a job, or the array whose first element was asked for."""
    return judge_outcome(scheme, outcome) if outcome.whole is None else judge_array(scheme, outcome.whole)


def _why_not(scheme: Scheme, outcome: Outcome, wanted: int) -> str:
    if outcome.whole is not None:
        return f"array {wanted} {why_array_not(scheme)}"
    return f"job {wanted} {why_not(scheme, outcome)}"


def _describe_known(scheme: Scheme, wanted: int | str, outcome: Outcome) -> str:
    return describe(scheme, wanted, outcome.id if outcome.whole is None else ArrayId(outcome.whole.array.id))


class _CannotBind(Exception):
    """Leaves `bind` early; its text becomes the refusal."""


def _walk(came_from: dict[int, int], start: int, here: int) -> list[int]:
    path = [here]
    while path[-1] != start:
        path.append(came_from[path[-1]])
    return path[::-1]
