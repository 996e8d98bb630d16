"""The queue: all live jobs as one frozen value, with the indexes that make each decision cost O(log n).

Rule: `evolve(queue, event)` is the only way in which a queue changes. Beside it there are only `claim`/`release` (a job
taken out while it is changed, and put back), `permit`/`withdraw` (the durable word that an enqueued job may start) and
`load`; nothing of a claim or a permit is an event, so `settled` drops both before a queue is compared with a fold.
Indexes are derived: `_place` keeps them, `check` proves them. Source: Ganeti JQScheduler/Types.hs (Queue).
"""

from collections.abc import Iterable, Iterator
from functools import reduce
from itertools import groupby
from operator import attrgetter
from typing import TypeAlias, TypedDict

from attrs import evolve as changed
from attrs import field, frozen
from pyrsistent import PMap, pmap

from jqsched.core import order
from jqsched.core.event import Event, IllegalEvent, advance
from jqsched.core.job import Job, Scheme, State, Wait, read_wait
from jqsched.core.order import Key, Order

Jobs: TypeAlias = PMap[int, Job]
_NO_JOBS: Jobs = pmap()  # shared by all defaults: a PMap is immutable
Awaited: TypeAlias = int | str


@frozen
class Claim:
    """A job that is out of the queue while it is changed, and where it came from."""

    job: Job
    from_running: bool


@frozen
class Permit:
    """The durable word that an attempt may start; `recalled` while the executor is asked to give it back."""

    attempt: int
    recalled: bool = False


@frozen
class Queue:
    """All live jobs. A job is in exactly one of `enqueued`, `running` and `manipulated`, or finished and gone.

    `ready`: keys of the enqueued jobs that nothing holds back but slots and cores; `permits`: those that may start at
    any moment, `permitted` their keys, `cores_permitted` what they ask for together. `names`: ids of the live jobs of a
    name. `dependents`: who waits for an id, a name, or (`singleton=NAME`) for a name to be free. `timers`: (begin time,
    id). `cores_used`: by running jobs, manipulated ones from running included. `seq` and `last_us`: number and time of
    the last event; `last_id`: the highest id ever given out.
    """

    seq: int = 0
    last_us: int = 0
    last_id: int = 0
    enqueued: Jobs = _NO_JOBS
    running: Jobs = _NO_JOBS
    manipulated: PMap[int, Claim] = field(factory=pmap)
    ready: Order = None
    permits: PMap[int, Permit] = field(factory=pmap)
    permitted: Order = None
    cores_permitted: int = 0
    names: PMap[str, Order] = field(factory=pmap)
    dependents: PMap[Awaited, Order] = field(factory=pmap)
    timers: Order = None
    cores_used: int = 0

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


def rank_key(job: Job) -> Key:
    """The one order of starting: highest priority first, then lowest id."""
    return (-job.priority, job.id)


def _is_ready(job: Job) -> bool:
    return job.state is State.SCHED and job.priority > 0


def _holds_slot(job: Job) -> bool:
    return job.state in (State.RUN, State.CLEANUP)


def awaited(job: Job, wait: Wait) -> Awaited | None:
    """Under what a wait is filed in `dependents`; None for a begin time."""
    if wait.scheme is Scheme.SINGLETON:
        return singleton_key(job.spec.name)
    return None if wait.scheme is Scheme.BEGIN_TIME else wait.target


def singleton_key(name: str) -> str:
    """Where those are filed that wait for a name to be free; no name contains `=`."""
    return f"singleton={name}"


def waiters(queue: Queue, key: Awaited) -> list[int]:
    """The ids of the jobs that wait for this, ascending."""
    return [id_ for (id_,) in order.ascending(queue.dependents.get(key))]


def namesakes(queue: Queue, name: str) -> Order:
    """The live jobs of a name, as keys `(id,)`."""
    return queue.names.get(name)


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
    new, last_us = old, queue.last_us
    for event in run:
        if event.t_us <= last_us:
            raise IllegalEvent(f"job {jobid}: {event.name} at {event.t_us} is not after {last_us}")
        last_us = event.t_us
        new = advance(new, event)
    if new is not None and new.state is State.INACTIVE:
        new = None
    if len(run) > 1 and jobid in queue.permits and new is not None and _is_ready(new):
        return reduce(evolve, run, queue)  # on the way it may have lost its permit
    fields: _Fields = {"seq": queue.seq + len(run), "last_us": last_us, "last_id": max(queue.last_id, jobid)}
    if claim is not None:
        _reclaim(queue, claim, new, fields)
    else:
        _place(queue, old, new, fields)
    return changed(queue, **fields)


class _Fields(TypedDict, total=False):
    """The fields of a queue that a step changes: gathered, so that one new value is made and not one for each."""

    seq: int
    last_us: int
    last_id: int
    enqueued: Jobs
    running: Jobs
    manipulated: PMap[int, Claim]
    ready: Order
    permits: PMap[int, Permit]
    permitted: Order
    cores_permitted: int
    names: PMap[str, Order]
    dependents: PMap[Awaited, Order]
    timers: Order
    cores_used: int


def _reclaim(queue: Queue, claim: Claim, new: Job | None, fields: _Fields) -> None:
    """A claimed job stays claimed while events change it; when it ends it is gone."""
    _index_name(queue, claim.job, new, fields)
    _index_waits(queue, claim.job, new, fields)
    if claim.from_running:
        fields["cores_used"] = queue.cores_used - claim.job.spec.cores + (new.spec.cores if new is not None else 0)
    if new is None:
        fields["manipulated"] = queue.manipulated.remove(claim.job.id)
    else:
        fields["manipulated"] = queue.manipulated.set(new.id, Claim(new, claim.from_running))


def _place(queue: Queue, old: Job | None, new: Job | None, fields: _Fields) -> None:
    """Put the new form of a job where it belongs, and every index in line with it."""
    if old is None and new is None:
        return
    was_running, is_running = old is not None and _holds_slot(old), new is not None and _holds_slot(new)
    if old is not None and (new is None or was_running != is_running):
        fields["running" if was_running else "enqueued"] = (queue.running if was_running else queue.enqueued).remove(
            old.id
        )
    if new is not None:
        fields["running" if is_running else "enqueued"] = (queue.running if is_running else queue.enqueued).set(
            new.id, new
        )
    if was_running or is_running:
        before = old.spec.cores if old is not None and was_running else 0
        after = new.spec.cores if new is not None and is_running else 0
        fields["cores_used"] = queue.cores_used - before + after
    _index_ready(queue, old, new, fields)
    _index_name(queue, old, new, fields)
    _index_waits(queue, old, new, fields)


def _index_ready(queue: Queue, old: Job | None, new: Job | None, fields: _Fields) -> None:
    """Keep `ready`; a job that changes its rank, or starts, loses its permit."""
    before = rank_key(old) if old is not None and _is_ready(old) else None
    after = rank_key(new) if new is not None and _is_ready(new) else None
    if before == after:
        return
    ready = queue.ready
    if before is not None:
        assert old is not None
        if old.id in queue.permits:
            _drop_permit(queue, old, before, fields)
        else:
            ready = order.discard(ready, before)
    fields["ready"] = ready if after is None else order.add(ready, after)


def _drop_permit(queue: Queue, job: Job, key: Key, fields: _Fields) -> None:
    fields["permits"] = queue.permits.remove(job.id)
    fields["permitted"] = order.discard(queue.permitted, key)
    fields["cores_permitted"] = queue.cores_permitted - job.spec.cores


def _index_name(queue: Queue, old: Job | None, new: Job | None, fields: _Fields) -> None:
    if old is not None and new is not None:
        return  # a name never changes
    job = new or old
    assert job is not None
    name, key = job.spec.name, (job.id,)
    namesakes = order.add(queue.names.get(name), key) if new else order.discard(queue.names.get(name), key)
    fields["names"] = queue.names.set(name, namesakes) if namesakes is not None else queue.names.discard(name)


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
            ids = (order.add if put else order.discard)(dependents.get(key), (job.id,))
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
        fields: _Fields = {
            "enqueued": queue.enqueued.remove(id_),
            "manipulated": queue.manipulated.set(id_, Claim(job, from_running=False)),
        }
        _index_ready(queue, job, None, fields)
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
    if _holds_slot(held.job):
        fields["running"] = queue.running.set(id_, held.job)
        fields["cores_used"] = queue.cores_used + (0 if held.from_running else held.job.spec.cores)
    else:
        fields["enqueued"] = queue.enqueued.set(id_, held.job)
        fields["cores_used"] = queue.cores_used - (held.job.spec.cores if held.from_running else 0)
        _index_ready(queue, None, held.job, fields)
    return changed(queue, **fields)


def permit(queue: Queue, id_: int) -> Queue:
    """Note that a ready job may start at any moment: it is no longer chosen, and stays enqueued until it starts."""
    job = queue.enqueued[id_]
    key = rank_key(job)
    assert order.contains(queue.ready, key), f"job {id_} is not ready"
    return changed(
        queue,
        ready=order.discard(queue.ready, key),
        permits=queue.permits.set(id_, Permit(job.attempt)),
        permitted=order.add(queue.permitted, key),
        cores_permitted=queue.cores_permitted + job.spec.cores,
    )


def recall(queue: Queue, id_: int) -> Queue:
    """Note that the executor is asked to give a permit back; until it answers, the job may still start."""
    return changed(queue, permits=queue.permits.set(id_, changed(queue.permits[id_], recalled=True)))


def withdraw(queue: Queue, id_: int) -> Queue:
    """Take a permit back: the job can be chosen again. Without a permit nothing changes."""
    if id_ not in queue.permits:
        return queue
    job = queue.enqueued[id_]
    key = rank_key(job)
    fields: _Fields = {"ready": order.add(queue.ready, key)}
    _drop_permit(queue, job, key, fields)
    return changed(queue, **fields)


# ---- load and check -----------------------------------------------------------------------------------------------


def load(jobs: Iterable[Job], *, seq: int, last_us: int, last_id: int) -> Queue:
    """Make the queue of stored live jobs, with no claim and no permit; equal to the fold of their events.

    Cost: O(n log n), bulk-built.
    """
    enqueued: dict[int, Job] = {}
    running: dict[int, Job] = {}
    ready: list[Key] = []
    timers: list[Key] = []
    names: dict[str, list[Key]] = {}
    dependents: dict[Awaited, list[Key]] = {}
    cores_used = 0
    for job in jobs:
        names.setdefault(job.spec.name, []).append((job.id,))
        if _holds_slot(job):
            running[job.id] = job
            cores_used += job.spec.cores
        else:
            enqueued[job.id] = job
        if _is_ready(job):
            ready.append(rank_key(job))
        for wait in filter(None, map(read_wait, job.waits)):
            key = awaited(job, wait)
            if key is not None:
                dependents.setdefault(key, []).append((job.id,))
            elif isinstance(wait.target, int):
                timers.append((wait.target, job.id))
    return Queue(
        seq=seq,
        last_us=last_us,
        last_id=last_id,
        enqueued=pmap(enqueued),
        running=pmap(running),
        ready=order.build(ready),
        names=pmap({name: _ids(ids) for name, ids in names.items()}),
        dependents=pmap({key: _ids(ids) for key, ids in dependents.items()}),
        timers=order.build(timers),
        cores_used=cores_used,
    )


def _ids(ids: list[Key]) -> Order:
    """An order of ids; of one, as most names have, without more ado."""
    return order.add(None, ids[0]) if len(ids) == 1 else order.build(ids)


def same(one: Queue, other: Queue) -> bool:
    """Whether two queues hold the same, however their trees are balanced."""
    return _plain(one) == _plain(other)


def _plain(queue: Queue) -> tuple[object, ...]:
    def keys(tree: Order) -> tuple[Key, ...]:
        return tuple(order.ascending(tree))

    return (
        (queue.seq, queue.last_us, queue.last_id, queue.cores_used, queue.cores_permitted),
        (queue.enqueued, queue.running, queue.manipulated, queue.permits),
        (keys(queue.ready), keys(queue.permitted), keys(queue.timers)),
        {name: keys(ids) for name, ids in queue.names.items()},
        {key: keys(ids) for key, ids in queue.dependents.items()},
    )


def check(queue: Queue) -> None:
    """Assert every invariant of a queue by rebuilding its indexes from its jobs. O(n log n); for tests and doubt."""
    places = (*queue.enqueued, *queue.running, *queue.manipulated)
    assert len(places) == len(set(places)), "a job is in two places"
    assert all(not _holds_slot(job) for job in queue.enqueued.values()), "a started job is enqueued"
    assert all(_holds_slot(job) for job in queue.running.values()), "an enqueued job is in running"
    fresh = load(live(queue.settled()), seq=queue.seq, last_us=queue.last_us, last_id=queue.last_id)
    assert same(fresh, queue.settled()), "an index is not what the jobs say"
    assert set(queue.permits) == {id_ for _, id_ in order.ascending(queue.permitted)}, "permits differ from their order"
    assert not set(queue.permits) - set(queue.enqueued), "a permit for a job that is not enqueued"
