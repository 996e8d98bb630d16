"""The queue as a whole: made at once of stored jobs, brought under other rules, compared and checked.

Rule: what is made here of the jobs is what `evolve` makes step by step; `check` proves it. It costs O(n), so
nothing here belongs into a decision about one job.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

from attrs import evolve as changed
from pyrsistent import pmap

from jqsched.core import admission as admissions
from jqsched.core import order
from jqsched.core.admission import Position, gates_of
from jqsched.core.filters import Rules
from jqsched.core.idmap import id_map
from jqsched.core.job import Job, Progress, read_wait
from jqsched.core.order import Key, Order
from jqsched.core.queue.keys import Awaited, Ids, as_order, awaited, end_key, holds_slot, is_ready, rank_key
from jqsched.core.queue.value import EMPTY, Queue, live, position_of


def set_rules(queue: Queue, rules: Rules) -> Queue:
    """The queue under other rules; `rules` in their order (`filters.in_order`). O(n times rules), once."""
    ready: list[Key] = []
    positions: list[tuple[int, Position]] = []
    for job in live(queue):
        held = queue.manipulated.get(job.id)
        gates = gates_of(rules, job)
        position = position_of(job, gates, permitted=job.id in queue.permits)
        if held is not None:
            position = Position(gates, admitted=held.admitted)
        if position.key is not None and not gates:
            ready.append(position.key)
        positions.append((job.id, position))
    return changed(queue, rules=rules, ready=order.build(ready), admission=admissions.build(positions))


def load(
    jobs: Iterable[Job],
    *,
    seq: int,
    last_us: int,
    last_id: int,
    rules: Rules = (),
    arrays: Mapping[int, Progress] = EMPTY.arrays,
) -> Queue:
    """Make the queue of stored live jobs, with no claim and no permit; equal to the fold of their events.

    `arrays`: how far each array is that is not over, as its elements that are over tell too (`progress_of`).
    Cost: O(n log n), bulk-built.
    """
    enqueued: dict[int, Job] = {}
    running: dict[int, Job] = {}
    ready: list[Key] = []
    positions: list[tuple[int, Position]] = []
    timers: list[Key] = []
    names: dict[int, dict[str, list[Key]]] = {}
    dependents: dict[Awaited, list[Key]] = {}
    ends: list[Key] = []
    cores_used = 0
    for job in jobs:
        names.setdefault(job.userid, {}).setdefault(job.spec.name, []).append((job.id,))
        if holds_slot(job):
            running[job.id] = job
            cores_used += job.spec.cores
            if (end := end_key(job)) is not None:
                ends.append(end)
        else:
            enqueued[job.id] = job
        gates = gates_of(rules, job)
        if gates:
            positions.append((job.id, position_of(job, gates)))
        elif is_ready(job):
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
        enqueued=id_map(enqueued),
        running=id_map(running),
        ready=order.build(ready),
        rules=rules,
        admission=admissions.build(positions),
        names=id_map({user: pmap({name: _ids(ids) for name, ids in own.items()}) for user, own in names.items()}),
        dependents=pmap({key: _ids(ids) for key, ids in dependents.items()}),
        timers=order.build(timers),
        cores_used=cores_used,
        ends=order.build(ends),
        arrays=id_map(arrays),
    )


def _ids(keys: list[Key]) -> Ids:
    if len(keys) == 1:
        return keys[0][0]
    ids = order.build(keys)
    assert ids is not None
    return ids


def same(one: Queue, other: Queue) -> bool:
    """Whether two queues hold the same, however their trees are balanced and their groups are filed."""
    return _plain(one) == _plain(other)


def _plain(queue: Queue) -> tuple[object, ...]:
    def keys(tree: Order) -> tuple[Key, ...]:
        return tuple(order.ascending(tree))

    return (
        (queue.seq, queue.last_us, queue.last_id, queue.cores_used, queue.cores_permitted, queue.rules),
        (queue.enqueued, queue.running, queue.manipulated, queue.permits),
        (keys(queue.ready), keys(queue.permitted), keys(queue.timers), keys(queue.ends)),
        queue.arrays,
        (queue.admission.gates, queue.admission.places),
        {gates: keys(group) for gates, group in queue.admission.groups.items()},
        {(user, name): keys(as_order(ids)) for user, own in queue.names.items() for name, ids in own.items()},
        {key: keys(as_order(ids)) for key, ids in queue.dependents.items()},
    )


def check(queue: Queue) -> None:
    """Assert every invariant of a queue by rebuilding its indexes from its jobs. O(n log n); for tests."""
    places = (*queue.enqueued, *queue.running, *queue.manipulated)
    assert len(places) == len(set(places)), "a job is in two places"
    assert all(not holds_slot(job) for job in queue.enqueued.values()), "a started job is enqueued"
    assert all(holds_slot(job) for job in queue.running.values()), "an enqueued job is in running"
    assert not set(queue.permits) - set(queue.enqueued), "a permit for a job that is not enqueued"
    settled = queue.settled()
    fresh = load(
        live(settled),
        seq=queue.seq,
        last_us=queue.last_us,
        last_id=queue.last_id,
        rules=queue.rules,
        arrays=queue.arrays,
    )
    left = Counter(job.spec.element.array for job in live(queue) if job.spec.element is not None)
    assert left == {progress.array: progress.left for progress in queue.arrays.values() if progress.left}, (
        "an array is not counted"
    )
    assert same(fresh, settled), "an index is not what the jobs say"
    assert same(set_rules(queue, queue.rules), queue), "rules and rate limits are not kept as the jobs say"
    admissions.check(queue.admission)
    assert set(queue.permits) == {id_ for _, id_ in order.ascending(queue.permitted)}, "permits differ from their order"
