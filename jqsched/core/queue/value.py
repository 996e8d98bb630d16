"""The queue: all live jobs as one frozen value, with the indexes that make each decision cost O(log n).

Rule: `evolve(queue, event)` is the only way in which a queue changes. Beside it there are only `claim`/`release` (a job
taken out while it is changed, and put back), `permit`/`withdraw` (the durable note that an enqueued job may start), and
`set_rules` and `load` of `rebuild`; nothing of a claim or a permit is an event, so `settled` drops both before a queue
is compared with a fold (under the same rules: they are not events of jobs either). Indexes are derived: `_place` keeps
them, `rebuild.check` verifies them. Source: Ganeti JQScheduler/Types.hs (Queue).
"""

from collections.abc import Iterable, Iterator
from functools import reduce
from itertools import groupby
from operator import attrgetter
from typing import TypeAlias, TypedDict

from attrs import field, frozen
from pyrsistent import PMap, pmap

from jqsched.core import admission as admissions
from jqsched.core import order
from jqsched.core.admission import ABSENT, OPEN, Admission, Gates, Position, gates_of
from jqsched.core.event import Event, IllegalEvent, advance
from jqsched.core.evolve import evolve as changed
from jqsched.core.filters import Rules
from jqsched.core.idmap import IdMap
from jqsched.core.job import Array, Job, OwnName, State, read_wait
from jqsched.core.order import Key, Order
from jqsched.core.queue.arrays import Arrays, taken_in
from jqsched.core.queue.keys import (
    Awaited,
    Ids,
    as_order,
    awaited,
    end_key,
    holds_slot,
    ids_with,
    ids_without,
    is_ready,
    rank_key,
)

Jobs: TypeAlias = IdMap[Job]
Names: TypeAlias = PMap[str, Ids]


_NO_NAMES: Names = pmap()


@frozen
class Claim:
    """A job that is out of the queue while it is changed, and where it came from.

    `permitted`: it had a permit, and may start all the same until the executor answers.
    """

    job: Job
    from_running: bool
    permitted: bool = False

    @property
    def admitted(self) -> bool:
        """Whether the job keeps its places at its gates: while it may start, no other job may take them."""
        return self.from_running or self.permitted


@frozen
class Permit:
    """The durable note that an attempt may start; `recalled` while the executor is asked to give it back.

    `passed`: the job of higher rank that waits for resources, and that this one was let past (0: none).
    """

    attempt: int
    recalled: bool = False
    passed: int = 0


@frozen
class Queue:
    """All live jobs. A job is in exactly one of `enqueued`, `running` and `manipulated`, or finished and gone.

    `ready`: keys of the enqueued jobs that nothing holds back but slots and cores; those that have gates to pass
    besides are in `admission`, made by `rules` and by the jobs' own rate limits. `permits`: those that may start at any
    moment, `permitted` their keys, `cores_permitted` what they ask for together. `names`: by user, the ids of the live
    jobs of a name. `dependents`: the jobs that wait for an id, a name of the same user, or (`+NAME`) a free name.
    `timers`: (begin time, id). `cores_used`: by running jobs, manipulated ones from running included. `ends`: (end of
    its time, id) of those of them that have a time limit. `arrays`: how far each array is that has live elements, by
    its id. `seq` and `last_us`: number and time of the last event; `last_id`: the highest id ever given out.
    """

    seq: int = 0
    last_us: int = 0
    last_id: int = 0
    enqueued: Jobs = field(factory=IdMap)
    running: Jobs = field(factory=IdMap)
    manipulated: IdMap[Claim] = field(factory=IdMap)
    ready: Order = None
    rules: Rules = ()
    admission: Admission = admissions.EMPTY
    permits: IdMap[Permit] = field(factory=IdMap)
    permitted: Order = None
    cores_permitted: int = 0
    names: IdMap[Names] = field(factory=IdMap)
    dependents: PMap[Awaited, Ids] = field(factory=pmap)
    timers: Order = None
    cores_used: int = 0
    ends: Order = None
    arrays: Arrays = field(factory=IdMap)

    @property
    def busy(self) -> int:
        """How many jobs take a slot: running, and manipulated ones that came from running."""
        return len(self.running) + sum(claim.from_running for claim in self.manipulated.values())

    def settled(self) -> "Queue":
        """The queue with claimed jobs back where they came from and permits dropped: what a fold of events gives."""
        queue = self
        for id_ in sorted(self.manipulated):
            queue = release(queue, id_)
        for id_ in sorted(queue.permits):
            queue = withdraw(queue, id_)
        return queue


EMPTY = Queue()


def find(queue: Queue, id_: int) -> Job | None:
    """The live job of that id, wherever it is. O(log n)."""
    claim = queue.manipulated.get(id_)
    if claim is not None:
        return claim.job
    return queue.enqueued.get(id_) or queue.running.get(id_)


def live(queue: Queue) -> Iterator[Job]:
    """All live jobs by id. O(n log n)."""
    ids = sorted((*queue.enqueued, *queue.running, *queue.manipulated))
    for id_ in ids:
        job = find(queue, id_)
        assert job is not None
        yield job


def waiters(queue: Queue, key: Awaited) -> list[int]:
    """The ids of the jobs that wait for this, ascending."""
    return [id_ for (id_,) in order.ascending(as_order(queue.dependents.get(key)))]


def has_file(queue: Queue, id_: int) -> bool:
    """Whether `jobs/ID.json` is the file of live jobs: of a job that is no array's element, or of a live array."""
    if id_ in queue.arrays:
        return True
    job = find(queue, id_)
    return job is not None and job.spec.element is None


def file_of(job: Job) -> int:
    """The id by which the file of a job is called: its own, or its array's."""
    return job.spec.element.array.id if job.spec.element is not None else job.id


def elements(queue: Queue, array: Array) -> Iterator[Job]:
    """The live elements of an array, by id. O(elements that it ever had)."""
    for id_ in range(array.id, array.id + array.count):
        job = find(queue, id_)
        if job is not None:
            yield job


def namesakes(queue: Queue, name: OwnName) -> Order:
    """The live jobs of a name of one user, as keys `(id,)`."""
    return as_order(queue.names.get(name[0], _NO_NAMES).get(name[1]))


# ---- the fold -----------------------------------------------------------------------------------------------------


def evolve(queue: Queue, event: Event) -> Queue:
    """Apply one event. The only way a queue changes.

    Shape:    `seq` grows by one; the job moves to where its state belongs, unless it is claimed.
    Raises:   IllegalEvent if the event is older than the last or its job's state does not allow it.
    Cost:     O(log n).
    Source:   RFC 21 (replay).
    """
    return _evolve_run(queue, event.jobid, (event,))


def evolve_all(queue: Queue, events: Iterable[Event]) -> Queue:
    """Fold events over a queue, one step for each run of events of one job; equal to `evolve` one by one."""
    for jobid, run in groupby(events, attrgetter("jobid")):
        queue = _evolve_run(queue, jobid, tuple(run))
    return queue


def _evolve_run(queue: Queue, jobid: int, run: tuple[Event, ...]) -> Queue:
    claim = queue.manipulated.get(jobid)
    old = claim.job if claim is not None else queue.enqueued.get(jobid) or queue.running.get(jobid)
    new, known, last_us = old, old, queue.last_us
    for event in run:
        if event.t_us <= last_us:
            raise IllegalEvent(f"job {jobid}: {event.name} at {event.t_us} is not after {last_us}")
        last_us = event.t_us
        new = advance(new, event)
        known = new or known
    last = new
    if new is not None and new.state is State.INACTIVE:
        new = None
    if len(run) > 1 and jobid in queue.permits and new is not None and is_ready(new):
        return reduce(evolve, run, queue)  # on the way it may have lost its permit
    fields: _Fields = {"seq": queue.seq + len(run), "last_us": last_us, "last_id": max(queue.last_id, jobid)}
    if claim is not None:
        _reclaim(queue, claim, new, fields)
    else:
        _place(queue, old, new, fields)
    if known is not None and known.spec.element is not None and (old is None or new is None):
        fields["arrays"] = taken_in(queue.arrays, known.spec.element, arrives=old is None, job=last)
    return changed(queue, **fields)


class _Fields(TypedDict, total=False):
    """The fields of a queue that a step changes: gathered, so that one new value is made and not one for each."""

    seq: int
    last_us: int
    last_id: int
    enqueued: Jobs
    running: Jobs
    manipulated: IdMap[Claim]
    ready: Order
    admission: Admission
    permits: IdMap[Permit]
    permitted: Order
    cores_permitted: int
    names: IdMap[Names]
    dependents: PMap[Awaited, Ids]
    timers: Order
    cores_used: int
    ends: Order
    arrays: Arrays


def _reclaim(queue: Queue, claim: Claim, new: Job | None, fields: _Fields) -> None:
    """A claimed job stays claimed while events change it; when it ends it is gone."""
    _index_name(queue, claim.job, new, fields)
    _index_waits(queue, claim.job, new, fields)
    gates = gates_known(queue, claim.job.id)
    before = Position(gates, admitted=claim.admitted)
    after = ABSENT if new is None else Position(_gates_after(queue, claim.job, new), admitted=claim.admitted)
    _move(queue, claim.job.id, before, after, fields)
    if claim.from_running:
        _index_slots(queue, claim.job, new, fields)
    if new is None:
        fields["manipulated"] = queue.manipulated.remove(claim.job.id)
    else:
        fields["manipulated"] = queue.manipulated.set(new.id, changed(claim, job=new))


def _place(queue: Queue, old: Job | None, new: Job | None, fields: _Fields) -> None:
    """File the new form of a job by its state, and update every index."""
    if old is None and new is None:
        return
    was_running, is_running = old is not None and holds_slot(old), new is not None and holds_slot(new)
    if old is not None and (new is None or was_running != is_running):
        fields["running" if was_running else "enqueued"] = (queue.running if was_running else queue.enqueued).remove(
            old.id
        )
    if new is not None:
        fields["running" if is_running else "enqueued"] = (queue.running if is_running else queue.enqueued).set(
            new.id, new
        )
    if was_running or is_running:
        _index_slots(queue, old if was_running else None, new if is_running else None, fields)
    _index_ready(queue, old, new, fields)
    _index_name(queue, old, new, fields)
    _index_waits(queue, old, new, fields)


def _index_slots(queue: Queue, old: Job | None, new: Job | None, fields: _Fields) -> None:
    """Update `cores_used` and `ends`: `old` and `new` are the forms of a job that hold a slot, if they do."""
    before, after = (job.spec.cores if job is not None else 0 for job in (old, new))
    fields["cores_used"] = queue.cores_used - before + after
    end_before, end_after = end_key(old), end_key(new)
    if end_before != end_after:
        ends = order.discard(queue.ends, end_before) if end_before is not None else queue.ends
        fields["ends"] = order.add(ends, end_after) if end_after is not None else ends


def _index_ready(queue: Queue, old: Job | None, new: Job | None, fields: _Fields) -> None:
    """Keep `ready`, `admission` and permits; a job that changes its rank or its gates, or starts, loses its permit."""
    job = new or old
    assert job is not None
    id_ = job.id
    before = position_of(old, gates_known(queue, id_), permitted=id_ in queue.permits)
    gates = _gates_after(queue, old, new) if new is not None else OPEN
    if id_ in queue.permits:
        assert old is not None
        if new is not None and is_ready(new) and rank_key(old) == rank_key(new) and gates == before.gates:
            return
        _drop_permit(queue, old, rank_key(old), fields)
    _move(queue, id_, before, position_of(new, gates), fields)


def gates_known(queue: Queue, id_: int) -> Gates:
    """The gates of a live job. O(log n)."""
    return queue.admission.gates.get(id_, OPEN)


def _gates_after(queue: Queue, old: Job | None, new: Job) -> Gates:
    """The gates of a job that was changed: only another spec can have changed them."""
    if old is not None and old.spec is new.spec:
        return gates_known(queue, new.id)
    return gates_of(queue.rules, new)


def position_of(job: Job | None, gates: Gates, *, permitted: bool = False) -> Position:
    """The position of an unclaimed job: it waits where it is ready, and is admitted where it runs or has a permit."""
    if job is None:
        return ABSENT
    if permitted or holds_slot(job):
        return Position(gates, admitted=True)
    return Position(gates, rank_key(job) if is_ready(job) else None)


def _move(queue: Queue, id_: int, before: Position, after: Position, fields: _Fields) -> None:
    """Move a job in `ready` and `admission` from one position to another."""
    if before == after:
        return
    ready = queue.ready
    if before.key is not None and not before.gates:
        ready = order.discard(ready, before.key)
    if after.key is not None and not after.gates:
        ready = order.add(ready, after.key)
    fields["ready"] = ready
    if before.gates or after.gates:
        fields["admission"] = admissions.move(queue.admission, id_, before, after)


def _drop_permit(queue: Queue, job: Job, key: Key, fields: _Fields) -> None:
    fields["permits"] = queue.permits.remove(job.id)
    fields["permitted"] = order.discard(queue.permitted, key)
    fields["cores_permitted"] = queue.cores_permitted - job.spec.cores


def _index_name(queue: Queue, old: Job | None, new: Job | None, fields: _Fields) -> None:
    if old is not None and new is not None:
        return  # a name never changes
    job = new or old
    assert job is not None
    name, names = job.spec.name, queue.names.get(job.userid, _NO_NAMES)
    ids = ids_with(names.get(name), job.id) if new else ids_without(names.get(name), job.id)
    names = names.set(name, ids) if ids is not None else names.discard(name)
    fields["names"] = queue.names.set(job.userid, names) if names else queue.names.discard(job.userid)


def _index_waits(queue: Queue, old: Job | None, new: Job | None, fields: _Fields) -> None:
    before, after = old.waits if old else (), new.waits if new else ()
    if before == after:
        return
    dependents, timers = queue.dependents, queue.timers
    for job, waits, put in ((old, before, False), (new, after, True)):
        for wait in filter(None, map(read_wait, waits)):
            assert job is not None
            key = awaited(job, wait)
            if key is None:
                assert isinstance(wait.target, int)
                timers = (order.add if put else order.discard)(timers, (wait.target, job.id))
                continue
            ids = (ids_with if put else ids_without)(dependents.get(key), job.id)
            dependents = dependents.set(key, ids) if ids is not None else dependents.discard(key)
    fields["dependents"], fields["timers"] = dependents, timers


# ---- claims and permits -------------------------------------------------------------------------------------------


def claim(queue: Queue, id_: int) -> tuple[Queue, Job] | None:
    """Take a job out while it is changed; None when it is unknown or taken already.

    Shape:    it is in `manipulated`, remembers where it came from, cannot be chosen, and still blocks its dependents.
    Cost:     O(log n).   Source: Ganeti JQScheduler.hs setJobPriority, manipulateRunningJob.
    """
    job = queue.enqueued.get(id_)
    if job is not None:
        permitted = id_ in queue.permits
        fields: _Fields = {
            "enqueued": queue.enqueued.remove(id_),
            "manipulated": queue.manipulated.set(id_, Claim(job, from_running=False, permitted=permitted)),
        }
        before = position_of(job, gates_known(queue, id_), permitted=permitted)
        if permitted:
            _drop_permit(queue, job, rank_key(job), fields)
        _move(queue, id_, before, Position(before.gates, admitted=permitted), fields)
        return changed(queue, **fields), job
    job = queue.running.get(id_)
    if job is None:
        return None
    out = changed(queue, running=queue.running.remove(id_))
    return changed(out, manipulated=queue.manipulated.set(id_, Claim(job, from_running=True))), job


def release(queue: Queue, id_: int) -> Queue:
    """Put a claimed job where its state belongs, changed or not; one that ended meanwhile is gone already."""
    held = queue.manipulated.get(id_)
    if held is None:
        return queue
    fields: _Fields = {"manipulated": queue.manipulated.remove(id_)}
    holds = holds_slot(held.job)
    fields["running" if holds else "enqueued"] = (queue.running if holds else queue.enqueued).set(id_, held.job)
    _index_slots(queue, held.job if held.from_running else None, held.job if holds else None, fields)
    gates = gates_known(queue, id_)
    _move(queue, id_, Position(gates, admitted=held.admitted), position_of(held.job, gates), fields)
    return changed(queue, **fields)


def permit(queue: Queue, id_: int, *, passed: int = 0) -> Queue:
    """Note that a ready job may start at any moment: it is not chosen again. `passed`: as in `Permit`."""
    job = queue.enqueued[id_]
    key, gates = rank_key(job), gates_known(queue, id_)
    waiting = queue.admission.groups.get(gates) if gates else queue.ready
    assert order.contains(waiting, key), f"job {id_} is not ready"
    fields: _Fields = {
        "permits": queue.permits.set(id_, Permit(job.attempt, passed=passed)),
        "permitted": order.add(queue.permitted, key),
        "cores_permitted": queue.cores_permitted + job.spec.cores,
    }
    _move(queue, id_, Position(gates, key), Position(gates, admitted=True), fields)
    return changed(queue, **fields)


def recall(queue: Queue, id_: int) -> Queue:
    """Note that the executor is asked to give a permit back; until it answers, the job may still start."""
    return changed(queue, permits=queue.permits.set(id_, changed(queue.permits[id_], recalled=True)))


def withdraw(queue: Queue, id_: int) -> Queue:
    """Take a permit back: the job can be chosen again. Without a permit nothing changes."""
    if id_ not in queue.permits:
        return queue
    job = queue.enqueued[id_]
    key, gates = rank_key(job), gates_known(queue, id_)
    fields: _Fields = {}
    _drop_permit(queue, job, key, fields)
    _move(queue, id_, Position(gates, admitted=True), Position(gates, key), fields)
    return changed(queue, **fields)
