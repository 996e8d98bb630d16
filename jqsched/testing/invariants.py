"""The laws (docs/reference/laws.md), checked from outside: on queue, store, spool and processes, after every step.

Rule: nothing is changed here, and what must hold is worked out from the jobs alone, by looking at all of them. `Laws`
remembers what was durable once; it outlives every scheduler. A breach is an AssertionError.
"""

from collections.abc import Iterator
from itertools import takewhile

from attrs import evolve

from jqsched.core import policy
from jqsched.core import queue as queues
from jqsched.core.admission import buckets, gates_of
from jqsched.core.event import Event
from jqsched.core.filters import kept_rules
from jqsched.core.job import Draft, Job, Scheme, State, read_wait
from jqsched.core.policy import Limits
from jqsched.core.queue import EMPTY, Queue, find
from jqsched.ports import RULES, Batch, Start
from jqsched.testing.fake_spool import IN_ITS_PLACE
from jqsched.testing.harness import Key, Rig

Rank = tuple[int, int]


class Laws:
    """What must hold of a rig, now and from one moment to the next."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.journal: list[Event] = []
        self.replayed: Queue = EMPTY
        self.accepted: set[int] = set()
        self.finished: set[int] = set()
        self.purged: set[int] = set()
        self.interruptions = 0
        self._attempts: dict[int, int] = {}
        self._begun: set[Key] = set()
        self._requeued: set[int] = set()
        self._backoffs: dict[int, int] = {}  # by id, when the backoff ends
        self.backoffs_at_boot = 0  # how many schedulers started while a backoff was under way
        self._permitted_at: dict[Key, int] = {}
        self._on_the_way: dict[str, int] = {}
        self._seen_taken: dict[str, int] = {}
        self._checked: tuple[Queue | None, Queue | None] = (None, None)
        self._cores_least = rig.limits.cores  # the lowest limit that was ever configured
        rig.executor.on_launch = self.launched

    # ---- what is durable ------------------------------------------------------------------------------------------

    def durable(self, batches: list[Batch]) -> None:
        """A commit is done, with these batches: laws 2, 3 and 6 for its events."""
        self._cores_least = min(self._cores_least, self.rig.limits.cores)
        disk = self.rig.store.disk
        new: list[Event] = []
        while (event := disk.events.get(self.replayed.seq + len(new) + 1)) is not None:
            new.append(event)
        assert not disk.events or next(reversed(disk.events)) <= self.replayed.seq + len(new), "a seq was left out"
        last_us = self.replayed.last_us
        for event in new:
            assert event.t_us > last_us, f"time stands still: {event.name} of job {event.jobid}"
            last_us = event.t_us
            self._event(event)
        self.replayed = queues.evolve_all(self.replayed, new)
        self.journal += new
        executor = self.rig.executor
        for batch in batches:
            for attempt in batch.attempts:
                self._permitted_at.setdefault((attempt.id, attempt.attempt), executor.known_deaths)
            self._purge(batch.purged)
        live = {*self.replayed.enqueued, *self.replayed.running}
        assert not live & self.finished, f"finished and live: {sorted(live & self.finished)}"
        assert live | self.finished == self.accepted, "accepted is not live and finished (law 2)"
        assert len(disk.jobs) == len(self.accepted) - len(self.purged), "the store lost a job, or made one up (law 2)"

    def _event(self, event: Event) -> None:
        """Law 3, for one event that is durable now."""
        id_ = event.jobid
        assert id_ not in self.finished, f"{event.name} of job {id_}, which is over (law 3)"
        attempt = self._attempts.get(id_, 1)
        key = (id_, attempt)
        self._backoff(event)
        if event.name == "submit":
            assert id_ not in self.accepted, f"id {id_} was given twice"
            self.accepted.add(id_)
        elif event.name == "start":
            assert key not in self._begun, f"attempt {attempt} of job {id_} starts again (law 3)"
            assert key in self.rig.executor.launched, f"attempt {attempt} of job {id_} never started"
            self._begun.add(key)
        elif event.name == "finish":
            self._status(key, event)
        elif event.name == "exception":
            self._exception(key, event)
        elif event.name == "requeue":
            self._is_over(key)
            assert event.context["attempt"] == attempt + 1, f"job {id_}: attempts are not counted up (law 3)"
            self._attempts[id_] = attempt + 1
        elif event.name == "invalidate":
            self.accepted.discard(id_)
        elif event.name == "clean":
            self._is_over(key)
            self.finished.add(id_)

    def _backoff(self, event: Event) -> None:
        """A job is not started before its backoff is over, whatever dies meanwhile."""
        id_ = event.jobid
        if event.name == "requeue":
            self._requeued.add(id_)
        elif event.name == "dependency-add" and id_ in self._requeued:
            wait = read_wait(str(event.context["description"]))
            if wait is not None and wait.scheme is Scheme.BEGIN_TIME and isinstance(wait.target, int):
                self._backoffs[id_] = wait.target
        elif event.name == "depend":
            until_us = self._backoffs.pop(id_, 0)
            assert event.t_us >= until_us, f"job {id_} left its backoff {until_us - event.t_us} us early"
        elif event.name == "clean":
            self._backoffs.pop(id_, None)
        if event.name != "requeue":
            self._requeued.discard(id_)  # what is added later, an edit asks for

    def _is_over(self, key: Key) -> None:
        assert key not in self.rig.executor.running(), f"attempt {key[1]} of job {key[0]} goes on (law 3)"

    def _status(self, key: Key, event: Event) -> None:
        truth = self.rig.executor.statuses.get(key)
        assert truth is not None, f"job {key[0]}: nobody can know how attempt {key[1]} ended"
        assert event.context["status"] == truth, f"job {key[0]} ended with {truth}, not {event.context['status']}"

    def _exception(self, key: Key, event: Event) -> None:
        if event.context["type"] == "interrupted":
            self.interruptions += 1
            since = self._permitted_at.get(key, 0)
            assert self.rig.executor.deaths > since, f"job {key[0]} was interrupted, and no executor died"
        elif event.context["type"] == "alloc":
            job = self.rig.store.disk.jobs[key[0]]
            assert job.spec.cores > self._cores_least, f"job {key[0]} ended as too large, and there was always room"

    def _purge(self, ids: tuple[int, ...]) -> None:
        for id_ in ids:
            assert id_ in self.finished, f"job {id_} was purged, and is not over (law 2)"
            assert id_ not in self.rig.spool.files.jobs, f"job {id_} was purged before its file"
            self.purged.add(id_)

    def loaded(self, queue: Queue) -> None:
        """What a restart finds is what a replay gives, and the rules that were kept (law 6)."""
        assert queue.rules == kept_rules(self.rig.store.disk.settings.get(RULES)), (
            "the rules are not those that were kept"
        )
        assert self._is_replay(queue), "the job table is no replay (law 6)"
        self.backoffs_at_boot += bool(self._backoffs)

    def _is_replay(self, queue: Queue) -> bool:
        """Whether this is what the durable events lead to; ids that were spent on refused files count as given."""
        assert queue.last_id >= self.replayed.last_id, "an id would be given twice"
        if self.replayed.rules != queue.rules:  # they are in no event
            self.replayed = queues.set_rules(self.replayed, queue.rules)
        return queues.same(evolve(queue, last_id=self.replayed.last_id), self.replayed)

    # ---- processes ------------------------------------------------------------------------------------------------

    def launched(self, order: Start) -> None:
        """A process starts: laws 3 and 7. Its permit is durable, and it fits."""
        executor, limits, disk = self.rig.executor, self.rig.limits, self.rig.store.disk
        known = disk.attempts.get(order.id)
        assert known is not None, f"job {order.id} was started without a durable permit (law 3)"
        assert known.attempt == order.attempt, f"job {order.id} was started with another attempt's permit (law 3)"
        running = [id_ for id_, _ in executor.running()]
        specs = [disk.jobs[id_].spec for id_ in running if id_ in disk.jobs]
        cores = sum(spec.cores for spec in specs)
        assert len(running) < limits.max_running, f"job {order.id} is one too many (law 7)"
        assert cores + order.spec.cores <= limits.cores, f"job {order.id}: {cores} cores are taken (law 7)"
        for bucket in buckets(order.spec.reasons):
            taken = sum(bucket in buckets(spec.reasons) for spec in specs)
            assert taken < bucket.limit, f"job {order.id}: {bucket.key} is full (law 7)"

    # ---- the scheduler --------------------------------------------------------------------------------------------

    def check(self) -> None:
        """What holds at any moment: laws 1, 2, 5 and 6."""
        self._cores_least = min(self._cores_least, self.rig.limits.cores)
        self._check_files()
        head, visible = self.rig.head, self.rig.visible
        if head is not self._checked[0]:
            queues.check(head)
        if visible is not self._checked[1]:
            assert visible.seq <= self.replayed.seq, "what is visible is not durable"
            if visible.seq == self.replayed.seq:
                assert self._is_replay(visible.settled()), "what is visible is no replay (law 6)"
        self._checked = (head, visible)
        self._check_orders(head)

    def _check_orders(self, head: Queue) -> None:
        """Law 5: what the executor may start at any moment is queued, unchanged, and not asked back."""
        for id_, attempt in self.rig.executor.waiting():
            job, permit = find(head, id_), head.permits.get(id_)
            may_start = permit is not None and permit.attempt == attempt and not permit.recalled
            allocated = job is not None and job.state >= State.RUN and job.attempt == attempt and not job.started
            assert may_start or allocated, f"job {id_} may start at any moment, and should not (law 5)"

    def _check_files(self) -> None:
        """Law 2: a file that left the drop zone is in the store, in `rejected/`, or in `jobs/`."""
        spool, jobs = self.rig.spool, self.rig.store.disk.jobs
        for name, (_, why) in spool.files.rejected.items():
            assert IN_ITS_PLACE not in why, f"{name} was set aside for another job's file (law 2)"
        if spool.taken != self._seen_taken:
            self._on_the_way = {name: id_ for name, id_ in spool.taken.items() if id_ not in self.accepted}
            self._seen_taken = dict(spool.taken)
        for name, id_ in list(self._on_the_way.items()):
            if name not in spool.taken or id_ in jobs:
                del self._on_the_way[name]  # undone by a power cut, or accepted
            else:
                assert id_ in spool.files.jobs or _aside(spool.files.rejected, name, id_), f"{name} is lost (law 2)"

    def turned(self, before: Queue) -> None:
        """A pass was made: laws 4, 7 and 8 for what it decided. `before`: the queue before the turn."""
        head, limits = self.rig.head, self.rig.scheduler.dispatch.limits
        if self.rig.scheduler.dispatch.executor_lost is not None:
            return
        waiting = policy.admit(head, sorted(startable(head), key=_rank))
        # A job that lost its permit in this pass is admitted in the next one, and so is one that waited for its place.
        taken_back = {id_ for id_ in before.permits if id_ in head.enqueued and id_ not in head.permits}
        freed = {gate for id_ in taken_back for gate in gates_of(head.rules, head.enqueued[id_])}
        in_time = (job for job in waiting if job.id not in taken_back and not freed & {*gates_of(head.rules, job)})
        best = next(map(_rank, in_time), None)
        chosen = [job for job in map(head.enqueued.get, _kept(head)) if job is not None]
        chosen += [job for job in head.running.values() if not job.started and job.id in before.enqueued]
        for job in sorted(chosen, key=_rank):
            assert best is None or _rank(job) < best, f"job {job.id} goes before job {best[1]} (law 4)"
        if limits.draining:
            assert not any(_kept(head)), "a permit is out while the queue is drained"
            return
        _fits(before, head, limits)
        if waiting and not taken_back:
            _is_work_conserving(head, waiting[0], limits)

    # ---- the end --------------------------------------------------------------------------------------------------

    def at_rest(self) -> None:
        """Check a world at rest, without further faults: a job that is left waits for what cannot happen by itself."""
        self.check()
        rig, head = self.rig, self.rig.head
        disk = rig.store.disk
        assert not head.running, f"jobs {sorted(head.running)} never end"
        assert not head.permits, f"jobs {sorted(head.permits)} may start, and do not"
        assert not head.manipulated, f"jobs {sorted(head.manipulated)} are never put back"
        assert not rig.executor.waiting(), "there are orders left"
        assert not rig.executor.running(), "there are processes left"
        assert not rig.executor._finished, "an end was never acknowledged"  # noqa: SLF001  # a fake, and we its test
        assert not disk.attempts, f"attempts of jobs {sorted(disk.attempts)} are never over"
        assert not rig.spool.files.drops, "files are left in the drop zone"
        for job in queues.live(head):
            assert _waits_for_somebody(head, job), f"job {job.id} could run, and does not"
        self._files_at_rest(head)
        self.loaded(rig.store.load().queue)
        assert self._is_replay(head.settled()), "what is decided is no replay (law 6)"
        assert rig.store.finished_count() == len(self.finished), "finished jobs are not counted"
        never = [name for name, id_ in self._on_the_way.items() if id_ in rig.spool.files.jobs]
        assert not never, f"{never} are never accepted (law 2)"

    def _files_at_rest(self, head: Queue) -> None:
        files, accepted = self.rig.spool.files, self.rig.store.disk.files
        live = {job.id for job in queues.live(head)}
        assert set(files.jobs) <= live, f"files of jobs {sorted(set(files.jobs) - live)} are left (law 2)"
        for id_ in sorted(files.jobs):
            good = files.jobs[id_] == accepted.get(id_) or id_ in files.reasons
            assert good, f"an edit of job {id_} is neither accepted nor refused"
        for job in queues.live(head):
            draft = self.rig.spool.parse(accepted.get(job.id, ""))
            obeyed = isinstance(draft, Draft) and draft.spec == job.spec
            assert obeyed or job.id not in accepted, f"job {job.id} is not what its accepted file says"


def _aside(rejected: dict[str, tuple[str, str]], name: str, id_: int) -> bool:
    """Whether a file was set aside: under its name, or, taken up after a crash, under its id."""
    return name in rejected or f"{id_}.json" in rejected


def _rank(job: Job) -> Rank:
    return (-job.priority, job.id)


def _kept(queue: Queue) -> Iterator[int]:
    """The permits that were not asked back. A fresh iterator at each call."""
    return (id_ for id_ in sorted(queue.permits) if not queue.permits[id_].recalled)


def startable(queue: Queue) -> list[Job]:
    """The jobs that lack nothing but a slot and cores, rules and rate limits apart, by looking at each."""
    return [
        job
        for job in queue.enqueued.values()
        if job.state is State.SCHED and job.priority > 0 and job.id not in queue.permits
    ]


def _taken(queue: Queue) -> list[Job]:
    """The jobs that take a slot: running, claimed while they ran, or permitted."""
    claimed = [claim.job for claim in queue.manipulated.values() if claim.from_running]
    return [*queue.running.values(), *claimed, *(queue.enqueued[id_] for id_ in queue.permits)]


def _fits(before: Queue, after: Queue, limits: Limits) -> None:
    """Return whether law 7 holds: after a pass that admitted a job, no more are admitted than the limits allow."""
    let_through = [id_ for id_ in _kept(after) if id_ not in before.permits]
    if let_through:
        most = limits.max_running + limits.ahead
        assert len(_taken(after)) <= most, f"{len(_taken(after))} jobs run or may start; at most {most} may (law 7)"


def _is_work_conserving(queue: Queue, first: Job, limits: Limits) -> None:
    """Law 8: the first in order does not wait while there is a slot and cores for it."""
    taken = _taken(queue)
    slot = len(taken) < limits.max_running
    cores = sum(job.spec.cores for job in taken) + first.spec.cores <= limits.cores
    assert not (slot and cores), f"job {first.id} waits, and there is room for it (law 8)"


def _waits_for_somebody(queue: Queue, job: Job) -> bool:
    """Whether a job that is left has a reason to be: it is held, or waits for a job that is left, or for a name."""
    if not job.waits:
        return job.priority == 0
    return all(_is_open(queue, job, description) for description in job.waits)


def _is_open(queue: Queue, job: Job, description: str) -> bool:
    wait = read_wait(description)
    assert wait is not None, description
    others = [other for other in queues.live(queue) if other.id != job.id]
    if wait.scheme is Scheme.SINGLETON:
        elders = takewhile(lambda other: other.id < job.id, others)
        return any(other.spec.name == job.spec.name for other in elders)
    if wait.scheme is Scheme.BEGIN_TIME:
        return False  # at rest, all times have come
    if isinstance(wait.target, int):
        return find(queue, wait.target) is not None
    return not any(other.spec.name == wait.target for other in others)
