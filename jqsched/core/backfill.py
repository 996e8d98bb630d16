"""Backfill: which jobs may start before one of higher rank that waits for resources, because they do not delay it.

Rule: the first job in order that waits for shared resources (slots, cores) holds the one reservation of the queue: the
first moment at which, by the time limits of those that run, all that it needs is free. A job behind it may start now
if it fits now, and either ends by then or needs no more than is spare then. So while the same job holds the
reservation, and limits, rules and ranks stay, the reservation never moves to a later time.
Source: EASY. Lifka, The ANL/IBM SP Scheduling System (1995); Mu'alem and Feitelson, IEEE TPDS 12:6 (2001), section 2.
"""

from collections.abc import Iterable, Iterator
from heapq import merge
from typing import NamedTuple

from attrs import frozen

from jqsched.core import order, policy
from jqsched.core.job import Job, OnInterrupt
from jqsched.core.order import Key
from jqsched.core.policy import Backfill, Limits, candidates
from jqsched.core.queue import Queue, find, gates_known, rank_key


class Amounts(NamedTuple):
    """An amount of each shared resource: taken, free, needed or spare."""

    slots: int
    cores: int

    def fits(self, room: "Amounts") -> bool:
        """Whether no resource is exceeded; not `<=`, which for tuples compares the first difference alone."""
        return self.slots <= room.slots and self.cores <= room.cores

    def plus(self, other: "Amounts") -> "Amounts":
        """Return the sum."""
        return Amounts(self.slots + other.slots, self.cores + other.cores)

    def minus(self, other: "Amounts") -> "Amounts":
        """Return the difference; negative where the other is larger."""
        return Amounts(self.slots - other.slots, self.cores - other.cores)


LEAST = Amounts(1, 1)  # what every job needs


@frozen
class Reservation:
    """What the first job that waits for shared resources is promised.

    `at_us`: the shadow time, when by the time limits of others all that the job needs is free; None: never, for jobs
    without a time limit hold some of it. `spare`: what is free then (without a shadow time: now) beyond what it needs.
    """

    id: int
    at_us: int | None
    spare: Amounts


@frozen
class Choice:
    """The jobs that get a permit now, in the order in which they are to start; `passed`: of those that were let past
    the job that holds the reservation, its id.
    """

    ids: tuple[int, ...] = ()
    passed: tuple[tuple[int, int], ...] = ()


@frozen
class Left:
    """The resources that remain for the jobs behind a key: `free` now, and `spare` beside the reservation."""

    key: Key
    free: Amounts
    spare: Amounts


@frozen
class Prospects:
    """What jobs behind the reservation can hope for.

    `starting`: the jobs that start now, those before the holder and those that pass it. `left`: from the holder's key
    on, one for each that passes. `last`: the key of the last job that is looked at, None: all are.
    """

    reserved: Reservation
    starting: tuple[int, ...]
    left: tuple[Left, ...]
    last: Key | None


def choose(queue: Queue, limits: Limits, now_us: int) -> Choice:
    """Choose the jobs that get a permit now; without backfill what `policy.select` says.

    Shape:    before the holder of the reservation a prefix of the candidates, behind it those that do not delay it.
              A job is permitted ahead of a free slot only where it waits for nothing else.
    Cost:     O(k log n) for k chosen; where anything is free beside the reservation also O(log n) for each running job
              that is to end before it, and for each of the `backfill.depth` jobs behind it.
    """
    if limits.backfill is None:
        return Choice(policy.select(queue, limits))
    top = _from_the_top(queue, limits)
    if top.holder is None or not LEAST.fits(top.free):
        return Choice(tuple(top.chosen))
    found = _look_behind(queue, limits, top, reserve(queue, limits, top, top.holder, now_us), now_us)
    behind = found.starting[len(top.chosen) :]
    return Choice(found.starting, tuple((id_, found.reserved.id) for id_ in behind))


@frozen
class Settled:
    """The record that a pass chose nothing; nor will another over the same parts of a queue until a job is overdue.

    Shape:    parts are compared by identity, which a persistent value keeps where nothing was changed.
    """

    basis: tuple[object, ...]
    until_us: int | None

    def holds(self, queue: Queue, limits: Limits, now_us: int) -> bool:
        """Whether another pass can be saved. O(1)."""
        same = all(one is other for one, other in zip(self.basis, _basis(queue, limits), strict=True))
        return same and (self.until_us is None or now_us < self.until_us)


def settled(queue: Queue, limits: Limits, now_us: int) -> Settled | None:
    """Record that a pass chose nothing; None without backfill, where a new pass costs as little as looking it up."""
    if limits.backfill is None:
        return None
    grace_us = limits.backfill.grace_us
    due = (end_us + grace_us for end_us, _ in order.ascending(queue.ends) if end_us + grace_us > now_us)
    return Settled(_basis(queue, limits), next(due, None))


def _basis(queue: Queue, limits: Limits) -> tuple[object, ...]:
    return (
        queue.enqueued, queue.running, queue.manipulated, queue.permits, queue.ready, queue.admission, limits
    )  # fmt: skip


def prospects(queue: Queue, limits: Limits, now_us: int) -> Prospects | None:
    """What jobs behind the reservation can hope for; None without backfill, and when no job waits for resources."""
    if limits.backfill is None:
        return None
    top = _from_the_top(queue, limits)
    if top.holder is None:
        return None
    return _look_behind(queue, limits, top, reserve(queue, limits, top, top.holder, now_us), now_us)


# ---- up to the holder of the reservation --------------------------------------------------------------------------


class Top(NamedTuple):
    """The front of the queue: the jobs that start in order, the first one that waits, what is free, and the rest."""

    chosen: list[int]
    holder: Job | None
    free: Amounts
    rest: Iterator[int]
    passed_over: set[int]


def _from_the_top(queue: Queue, limits: Limits) -> Top:
    """Let jobs start in order until one waits for cores, or for a slot that it is not permitted ahead of."""
    free = Amounts(
        limits.max_running - queue.busy - len(queue.permits), limits.cores - queue.cores_used - queue.cores_permitted
    )
    ahead = limits.ahead + min(free.slots, 0)
    chosen: list[int] = []
    passed_over: set[int] = set()
    rest = candidates(queue, passed_over)
    for id_ in () if limits.draining else rest:
        job = queue.enqueued[id_]
        if job.spec.cores > free.cores:
            return Top(chosen, job, free, rest, passed_over)
        if free.slots <= 0:
            if ahead <= 0 or job.spec.on_interrupt is OnInterrupt.FAIL or gates_known(queue, id_):
                return Top(chosen, job, free, rest, passed_over)
            ahead -= 1
        chosen.append(id_)
        free = free.minus(needs_of(job))
    return Top(chosen, None, free, rest, passed_over)


def needs_of(job: Job) -> Amounts:
    """What a job takes of the shared resources while it runs."""
    return Amounts(1, job.spec.cores)


# ---- the reservation ----------------------------------------------------------------------------------------------


def reserve(queue: Queue, limits: Limits, top: Top, holder: Job, now_us: int) -> Reservation:
    """Find the first moment at which all that the holder needs is free, and what is spare then.

    Cost: O(log n) for each job that has a time limit, runs, and is to end by then.
    """
    needs, free, at_us = needs_of(holder), top.free, now_us
    met = needs.fits(free)
    for end_us, freed in _ends(queue, limits, top.chosen, now_us):
        if met and end_us > at_us:
            break
        free, at_us = free.plus(freed), max(at_us, end_us)
        met = met or needs.fits(free)
    if not met:
        return Reservation(holder.id, None, top.free.minus(needs))
    return Reservation(holder.id, at_us, free.minus(needs))


def _ends(queue: Queue, limits: Limits, chosen: Iterable[int], now_us: int) -> Iterator[tuple[int, Amounts]]:
    """When jobs that run, or are about to, give back what they take: by time, those without a limit left out.

    A job that is overdue ends now; one that has a permit or gets one starts now.
    """
    grace_us = limits.backfill.grace_us if limits.backfill is not None else 0
    starting = (queue.enqueued[id_] for id_ in (*queue.permits, *chosen))
    soon = sorted((limit_us + now_us, job.id) for job in starting if (limit_us := job.spec.time_limit_us) is not None)
    keys: Iterable[Key] = merge(order.ascending(queue.ends), soon)
    for end_us, id_ in keys:
        job = find(queue, id_)
        assert job is not None, "an end of a job that is not there"
        yield max(now_us, end_us + grace_us), needs_of(job)


# ---- behind it ----------------------------------------------------------------------------------------------------


def _look_behind(queue: Queue, limits: Limits, top: Top, reserved: Reservation, now_us: int) -> Prospects:
    """Find the jobs behind the holder that start now without delaying it, in order."""
    assert limits.backfill is not None
    assert top.holder is not None
    free, spare = top.free, reserved.spare
    starting, left, last = list(top.chosen), [Left(rank_key(top.holder), free, spare)], None
    for nth, id_ in enumerate(top.rest if LEAST.fits(free) else (), 1):
        job = queue.enqueued[id_]
        needs, in_time = needs_of(job), ends_by(reserved, job, limits.backfill, now_us)
        if needs.fits(free) and (in_time or needs.fits(spare)):
            free = free.minus(needs)
            spare = spare if in_time else spare.minus(needs)
            starting.append(id_)
            left.append(Left(rank_key(job), free, spare))
            if not LEAST.fits(free):
                break
        else:
            top.passed_over.add(id_)  # it takes no place at its gates
        if nth == limits.backfill.depth:
            last = rank_key(job)
            break
    return Prospects(reserved, tuple(starting), tuple(left), last)


def ends_by(reserved: Reservation, job: Job, how: Backfill, now_us: int) -> bool:
    """Whether a job that starts now ends, by its time limit, when the reservation begins or before."""
    limit_us = job.spec.time_limit_us
    return reserved.at_us is not None and limit_us is not None and now_us + limit_us + how.grace_us <= reserved.at_us
