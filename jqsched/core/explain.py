"""Explanations: every reason why a job does not run, what would remove it, and the job's position in the order.

Rule: a reason is named if and only if it alone would keep the job from starting; so removing all of them starts the
job, and leaving any one does not. The answers come from the scheduler's own functions (`policy.candidates`,
`queue.admission`), not from a second implementation of its rules.
"""

from bisect import bisect_left
from collections.abc import Container, Iterator
from enum import Enum
from itertools import islice
from typing import TypeAlias

from attrs import evolve, field, frozen

from jqsched.core import admission as admissions
from jqsched.core import backfill, order
from jqsched.core import queue as queues
from jqsched.core.admission import Gate, GateKind
from jqsched.core.backfill import Left, Prospects, ends_by, needs_of
from jqsched.core.event import effective_priority
from jqsched.core.job import ArrayId, Job, Scheme, State, Wait, read_wait
from jqsched.core.order import Key
from jqsched.core.policy import UUID_SHOWN, Limits, antecedents, candidates, is_admitted, rule_name, rule_of
from jqsched.core.queue import Queue, elements, find, gates_known, rank_key
from jqsched.core.retries import describe_backoff

CHAIN_MAX = 100  # so many jobs are told of those that a job waits for in turn
SHOWN_MAX = 10  # so many ids are named in one reason


class Why(Enum):
    """What kinds of reasons there are."""

    DEPENDENCY = "dependency"
    RETRY = "retry"
    HELD = "held"
    CHANGING = "changing"
    PRIORITY = "priority"
    RULE = "rule"
    RATE_LIMIT = "rate-limit"
    ARRAY = "array"
    DRAINED = "drained"
    RESERVATION = "reservation"
    UNSERVED = "unserved"
    STALLED = "stalled"
    LOG_FULL = "log-full"
    SLOTS = "slots"
    CORES = "cores"


@frozen
class Obstacle:
    """One reason why a job does not run: `text` says what, `help` what would lift it, `on` which jobs it is about,
    `wait` and `gate` which dependency or gate it is, `until_us` when it is expected to be gone (None: not known).
    """

    why: Why
    text: str
    help: str
    on: tuple[int, ...] = ()
    wait: str | None = None
    gate: Gate | None = None
    until_us: int | None = None


CHANGING = Obstacle(Why.CHANGING, "being changed", "the change is made, in a moment")
UNSERVED = Obstacle(Why.UNSERVED, "no scheduler serves this spool", "`jqsched run` is started")
LOG_FULL = Obstacle(
    Why.LOG_FULL, "the store's log is full", "the reader that `jqsched status` names ends its transaction"
)


def stalled(text: str) -> Obstacle:
    """The reason of every job while the executor does not answer, as `text` says."""
    return Obstacle(Why.STALLED, text, "it answers again, or is replaced")


@frozen
class Link:
    """One of the jobs that a job waits for in turn: directly (depth 1), or behind another of them."""

    depth: int
    job: Job
    obstacles: tuple[Obstacle, ...]


@frozen
class Explanation:
    """Why one job does not run. `ahead`: how many jobs would start before it if nothing but slots were lacking.

    `permitted` says that it was handed to the executor: it waits for nothing but a slot and cores.
    """

    job: Job
    obstacles: tuple[Obstacle, ...]
    ahead: int
    permitted: bool
    chain: tuple[Link, ...]


# ---- what is computed once for all jobs of a queue ----------------------------------------------------------------


@frozen
class Snapshot:
    """A queue and its limits, with what is ahead of a job of any rank.

    `queue` is without permits: a permitted job waits for slots and cores as all others do, ahead of those behind it.
    `permitted` are the jobs that have one. `general`: reasons of every job that has not started.
    `passing`: keys of the jobs with gates that would start if slots were not lacking, `entering` the same by gate.
    `first` are the keys of the first candidates, up to the one that finds too few cores; `cores_before` the cores that
    all before each of them take together, and last, those of all of them. `none_free`: what every job waits for, if
    no slot is free. `prospects`: of jobs behind the reservation, with backfill (`now_us` is when that was).
    """

    queue: Queue
    limits: Limits
    passing: list[Key] = field(repr=False)
    entering: dict[Gate, list[Key]] = field(repr=False)
    first: list[Key] = field(repr=False)
    cores_before: list[int] = field(repr=False)
    none_free: "Obstacle | None"
    prospects: Prospects | None = field(repr=False)
    now_us: int
    permitted: Container[int] = ()
    general: tuple[Obstacle, ...] = ()

    @property
    def slots_free(self) -> int:
        """Return how many more jobs may run; negative when a limit was lowered."""
        return self.limits.max_running - self.queue.busy

    @property
    def cores_free(self) -> int:
        """Return how many cores are not taken."""
        return self.limits.cores - self.queue.cores_used


def take_snapshot(queue: Queue, limits: Limits, now_us: int = 0, general: tuple[Obstacle, ...] = ()) -> Snapshot:
    """Prepare to say why jobs of a queue do not run. `now_us`: for backfill and retries; `general`: as in `Snapshot`.

    Cost: O(g log n) for g jobs that have gates and could pass them, and O(cores); then each `obstacles` costs O(log n).
    """
    permitted = queue.permits
    for id_ in sorted(permitted):
        queue = queues.withdraw(queue, id_)
    prospects = backfill.prospects(queue, evolve(limits, ahead=0), now_us)
    passing = list(admissions.passing(queue.admission)) if prospects is None else _entering(queue, prospects)
    entering: dict[Gate, list[Key]] = {}
    for key in passing:
        for gate in gates_known(queue, key[-1]):
            entering.setdefault(gate, []).append(key)
    first: list[Key] = []
    cores_before, cores_free = [0], limits.cores - queue.cores_used
    for id_ in candidates(queue):
        job = queue.enqueued[id_]
        first.append(rank_key(job))
        cores_before.append(cores_before[-1] + job.spec.cores)
        if cores_before[-1] > cores_free:
            break
    none_free = _none_free(queue, limits.max_running)
    return Snapshot(
        queue, limits, passing, entering, first, cores_before, none_free, prospects, now_us, permitted, general
    )


def _entering(queue: Queue, prospects: Prospects) -> list[Key]:
    """The keys of the jobs that take places at gates: those that start now, and the one that holds the reservation."""
    ids = (*prospects.starting, prospects.reserved.id)
    return sorted(rank_key(queue.enqueued[id_]) for id_ in ids if gates_known(queue, id_))


def ahead(snapshot: Snapshot, job: Job) -> int:
    """How many jobs would start before this one if nothing but slots were lacking, and it had nothing to wait for."""
    key = _wished_key(job)
    return order.rank(snapshot.queue.ready, key) + bisect_left(snapshot.passing, key)


def _wished_key(job: Job) -> Key:
    """Return the rank key that a job would have if it were not held and did not wait."""
    if job.priority > 0:
        return rank_key(job)
    urgency = job.urgency or job.urgency_before
    return rank_key(evolve(job, priority=effective_priority(urgency, job.pin or None, urgency)))


# ---- the reasons --------------------------------------------------------------------------------------------------


def obstacles(snapshot: Snapshot, job: Job) -> list[Obstacle]:
    """Every reason why a job does not run now; empty when it may start, or has, or is over."""
    if job.state >= State.RUN:
        return []
    if job.id in snapshot.queue.manipulated:  # what it takes itself, and will give back, delays no job
        released = queues.release(snapshot.queue, job.id)
        free = take_snapshot(released, snapshot.limits, snapshot.now_us, snapshot.general)
        return [CHANGING, *obstacles(free, job)]
    return [
        *_waits(snapshot.queue, job, snapshot.now_us),
        *_held(job),
        *_unprioritized(job),
        *_drained(snapshot),
        *_gates(snapshot, job),
        *(
            _slots_and_cores(snapshot, job)
            if (left := _left_for(snapshot, job)) is None
            else _behind(snapshot, job, left)
        ),
        *snapshot.general,
    ]


def reasons(snapshot: Snapshot, job: Job) -> list[str]:
    """The texts of all `obstacles`."""
    return [obstacle.text for obstacle in obstacles(snapshot, job)]


def _waits(queue: Queue, job: Job, now_us: int) -> Iterator[Obstacle]:
    for description in job.waits:
        backoff = describe_backoff(job, description, now_us)
        if backoff is not None:
            yield Obstacle(Why.RETRY, backoff, "its time comes", wait=description)
            continue
        wait = read_wait(description)
        text, remedy, on = _open_wait(queue, job, wait) if wait is not None else _PLUGIN_S
        yield Obstacle(Why.DEPENDENCY, f"dependency {description}{text}", remedy, on, wait=description)


_WHEN = {
    Scheme.AFTER: "has started",
    Scheme.AFTERSTART: "has started",
    Scheme.AFTEREXCEPT: "has ended by an exception",
    Scheme.AFTERANY: "is over",
    Scheme.AFTEROK: "has ended well",
    Scheme.AFTERNOTOK: "has failed",
}

_Said: TypeAlias = tuple[str, str, tuple[int, ...]]

_PLUGIN_S: _Said = ("", "the plugin that it belongs to says so", ())


def _open_wait(queue: Queue, job: Job, wait: Wait) -> _Said:
    if wait.scheme is Scheme.BEGIN_TIME:
        return "", "its begin time comes", ()
    if wait.scheme is Scheme.SINGLETON:
        elders = tuple(islice(antecedents(queue, evolve(job, waits=("singleton",))), SHOWN_MAX))
        named = f" ({_jobs(elders)})" if elders else ""
        return "", f"every older job named {job.spec.name}{named} is over", elders
    if isinstance(wait.target, str):
        return f": no job named {wait.target} was dropped yet", f"a job named {wait.target} is dropped", ()
    assert wait.target is not None
    if isinstance(wait.target, ArrayId):
        return _open_array(queue, wait.scheme, wait.target.id)
    antecedent = find(queue, wait.target)
    name = f" ({antecedent.spec.name})" if antecedent is not None else ""
    return "", f"job {wait.target}{name} {_WHEN[wait.scheme]}", (wait.target,)


def _open_array(queue: Queue, scheme: Scheme, id_: int) -> _Said:
    """Say how many elements of an array are awaited, where that is known."""
    progress = queue.arrays.get(id_)
    if progress is None:
        return "", f"array {id_} {_WHEN[scheme]}", ()
    on = tuple(job.id for job in islice(elements(queue, progress.array), SHOWN_MAX))
    return f": {progress.left} of {progress.array.count} are not over", f"array {id_} {_WHEN[scheme]}", on


def _unprioritized(job: Job) -> Iterator[Obstacle]:
    """Only where plugins have a say does a job stay in PRIORITY."""
    if job.state is State.PRIORITY:
        yield Obstacle(Why.PRIORITY, "has no priority yet: a plugin gives it one", "the plugin gives it a priority")


def _held(job: Job) -> Iterator[Obstacle]:
    if job.urgency == 0:
        yield Obstacle(Why.HELD, "held (urgency 0)", f"it is released (`jqsched release {job.id}`)")
    elif job.pin == 0 or job.priority == 0:
        yield Obstacle(Why.HELD, "held (priority 0)", f"it is released (`jqsched release {job.id}`)")


def _drained(snapshot: Snapshot) -> Iterator[Obstacle]:
    if snapshot.limits.draining:
        yield Obstacle(Why.DRAINED, "the queue is drained", "starts are allowed again (`jqsched resume`)")


def _gates(snapshot: Snapshot, job: Job) -> Iterator[Obstacle]:
    gates = gates_known(snapshot.queue, job.id)
    key = _wished_key(job) if gates else ()
    for gate in gates:
        through = admissions.places(snapshot.queue.admission, gate)
        before = bisect_left(snapshot.entering.get(gate, []), key)
        if through + before >= gate.limit:
            yield _stopped(snapshot.queue, gate, through, before)


def _stopped(queue: Queue, gate: Gate, through: int, before: int) -> Obstacle:
    rule = rule_of(queue, gate)
    if rule is not None and gate.limit == 0:
        says = "rejects it" if gate.kind is GateKind.REJECT else "pauses it"
        return Obstacle(Why.RULE, f"{rule_name(rule)} {says}", _lift(gate), gate=gate)
    said = f"{through} of {gate.limit} taken" + (f", {before} ahead of it" if before else "")
    on = _through(queue, gate)
    waits_for = f"{_one_of(on)} over" if on and not before else "those ahead of it are over"
    if gate.kind is GateKind.ARRAY:
        return Obstacle(Why.ARRAY, f"array {gate.key}: {said}", waits_for, on, gate=gate)
    if rule is not None:
        return Obstacle(
            Why.RULE, f"{rule_name(rule)} limits it: {said}", f"{waits_for}, or {_lift(gate)}", on, gate=gate
        )
    return Obstacle(Why.RATE_LIMIT, f"rate-limit:{gate.key}: {said}", waits_for, on, gate=gate)


def _lift(gate: Gate) -> str:
    return f"the rule is gone (`jqsched filter remove {gate.key[:UUID_SHOWN]}`)"


def _through(queue: Queue, gate: Gate) -> tuple[int, ...]:
    through = {*queue.running, *queue.manipulated}
    held = [job for id_ in through if (job := find(queue, id_)) is not None and is_admitted(queue, job)]
    return tuple(sorted(job.id for job in held if gate in gates_known(queue, job.id)))


def _slots_and_cores(snapshot: Snapshot, job: Job) -> Iterator[Obstacle]:
    yield from _slots(snapshot, job)
    yield from _cores(snapshot, job)


def _left_for(snapshot: Snapshot, job: Job) -> Left | None:
    """What is left for a job behind the reservation; None where it is not behind one."""
    prospects, key = snapshot.prospects, _wished_key(job)
    if prospects is None or key <= prospects.left[0].key:
        return None
    return prospects.left[bisect_left(prospects.left, key, key=lambda left: left.key) - 1]


def _behind(snapshot: Snapshot, job: Job, left: Left) -> Iterator[Obstacle]:
    """Why a job behind the reservation does not pass it."""
    assert snapshot.prospects is not None
    assert snapshot.limits.backfill is not None
    prospects, needs = snapshot.prospects, needs_of(job)
    holder, at_us = prospects.reserved.id, prospects.reserved.at_us
    if snapshot.none_free is not None:
        yield snapshot.none_free
    elif needs.slots > left.free.slots:
        text = f"slots: {snapshot.slots_free} of {snapshot.limits.max_running} free, taken by those ahead of it"
        yield Obstacle(Why.SLOTS, text, "one of those ahead of it is over, or more may run")
    if needs.cores > left.free.cores:
        text = f"cores: {needs.cores} wanted, {max(0, left.free.cores)} of {snapshot.limits.cores} free"
        running = tuple(snapshot.queue.running)
        yield Obstacle(Why.CORES, text, "running jobs are over, or there are more cores", running)
    if not needs.fits(left.spare) and not ends_by(prospects.reserved, job, snapshot.limits.backfill, snapshot.now_us):
        help_ = f"job {holder} has started, or its time limit is short enough"
        yield Obstacle(Why.RESERVATION, f"would delay job {holder}", help_, (holder,), until_us=at_us)
    if prospects.last is not None and prospects.last < _wished_key(job):
        text = f"backfill looks at {snapshot.limits.backfill.depth} jobs behind job {holder}: it is further back"
        yield Obstacle(Why.RESERVATION, text, f"job {holder} has started", (holder,))


def _slots(snapshot: Snapshot, job: Job) -> Iterator[Obstacle]:
    if snapshot.none_free is not None:
        yield snapshot.none_free
        return
    before, free = ahead(snapshot, job), snapshot.slots_free
    if before >= free:
        text = f"slots: {free} of {snapshot.limits.max_running} free, {before} ahead of it"
        yield Obstacle(Why.SLOTS, text, f"{before - free + 1} of those ahead of it are over, or more may run")


def _none_free(queue: Queue, limit: int) -> Obstacle | None:
    """Return the obstacle of all waiting jobs when no slot is left."""
    if queue.busy < limit:
        return None
    running = tuple(queue.running)
    remedy = f"{_one_of(running)} over, or more than {limit} may run" if running else f"more than {limit} may run"
    return Obstacle(Why.SLOTS, f"slots: {queue.busy} of {limit} taken", remedy, running)


def _cores(snapshot: Snapshot, job: Job) -> Iterator[Obstacle]:
    wanted, free = job.spec.cores, max(0, snapshot.cores_free)  # negative when a limit was lowered
    before = snapshot.cores_before[bisect_left(snapshot.first, _wished_key(job))]
    if before > free:
        blocking = snapshot.first[-1][-1]
        text = f"cores: job {blocking} is ahead of it and waits for {snapshot.queue.enqueued[blocking].spec.cores}"
        yield Obstacle(Why.CORES, text, f"job {blocking} has started and cores are free", (blocking,))
    elif before + wanted > free:
        taken = f", {before} for those ahead of it" if before else ""
        text = f"cores: {wanted} wanted, {free} of {snapshot.limits.cores} free{taken}"
        reserved = snapshot.prospects.reserved if snapshot.prospects is not None else None
        at_us = reserved.at_us if reserved is not None and reserved.id == job.id else None
        help_, on = "running jobs are over, or there are more cores", tuple(snapshot.queue.running)
        yield Obstacle(Why.CORES, text, help_, on, until_us=at_us)


# ---- one job ------------------------------------------------------------------------------------------------------


def explain(snapshot: Snapshot, job: Job) -> Explanation:
    """Explain why a job does not run: every reason, and those of the jobs that it waits for, in turn.

    Cost: O(log n) for each reason, and the length of the chain, of which CHAIN_MAX are told.
    """
    why = tuple(obstacles(snapshot, job))
    permitted = job.id in snapshot.permitted and not snapshot.general
    return Explanation(job, why, ahead(snapshot, job), permitted, tuple(_chain(snapshot, why)))


def _chain(snapshot: Snapshot, why: tuple[Obstacle, ...]) -> Iterator[Link]:
    told: set[int] = set()
    todo = [(1, id_) for id_ in reversed(_depends_on(why))]
    while todo and len(told) < CHAIN_MAX:
        depth, id_ = todo.pop()
        job = find(snapshot.queue, id_)
        if job is None or id_ in told:
            continue
        told.add(id_)
        its = tuple(obstacles(snapshot, job))
        yield Link(depth, job, its)
        todo += [(depth + 1, other) for other in reversed(_depends_on(its))]


def _depends_on(why: tuple[Obstacle, ...]) -> list[int]:
    return [id_ for reason in why if reason.why is Why.DEPENDENCY for id_ in reason.on]


# ---- wording ------------------------------------------------------------------------------------------------------


def _one_of(ids: tuple[int, ...]) -> str:
    return f"job {ids[0]} is" if len(ids) == 1 else f"one of {_jobs(ids)} is"


def _jobs(ids: tuple[int, ...]) -> str:
    if len(ids) == 1:
        return f"job {ids[0]}"
    more = f" and {len(ids) - SHOWN_MAX} more" if len(ids) > SHOWN_MAX else ""
    return f"jobs {', '.join(map(str, ids[:SHOWN_MAX]))}{more}"
