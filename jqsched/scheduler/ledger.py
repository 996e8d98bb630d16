"""The ledger: decisions become durable, then visible, then effective.

In: steps of the core, and notes of attempts, files and settings. Out: batches for the store, the visible queue, and
calls of what was given to `after`.
Rule: decisions are taken on `head`, which runs ahead of the store and is visible to the loop alone. Every effect of a
decision is given to `after`, and happens when the batch that holds its events is durable, in the order of decisions.
One batch is under way at a time; later decisions go into the next (group commit).
"""

from collections.abc import Callable, Mapping, Sequence

from attrs import frozen

from jqsched.core.event import Event
from jqsched.core.evolve import evolve
from jqsched.core.fold import Step
from jqsched.core.job import Array, Job, Outcome, OwnName, Progress
from jqsched.core.policy import outcome_of
from jqsched.core.queue import Queue, advanced, find
from jqsched.ports import ArrayRow, Attempt, Batch, Store
from jqsched.scheduler.atom import Atom

EVENTS_MAX = 2_048  # of a batch that is not due yet: some 50 ms of the store's time

Act = Callable[[], None]
Observe = Callable[[Batch], None]


@frozen
class _UnderWay:
    number: int
    batch: Batch
    acts: tuple[Act, ...]


class Ledger:
    """The decisions that are not durable yet, and the queue that they lead to."""

    def __init__(
        self, store: Store, queue: Queue, observe: Observe, follow: Callable[[Sequence[Event]], None] = lambda _: None
    ) -> None:
        """`observe` is called with what is durable, `follow` with each decision at once."""
        self.head = queue
        self.visible: Atom[Queue] = Atom(queue)
        self._store, self._observe, self._follow = store, observe, follow
        self._under_way: _UnderWay | None = None
        self._settling: dict[int, Outcome] = {}
        self._settling_arrays: dict[int, Progress] = {}
        self._spent = queue.last_id
        self._begin()

    def _begin(self) -> None:
        self._events: list[Event] = []
        self._finished: dict[int, Job] = {}
        self._attempts: dict[int, Attempt] = {}
        self._over: dict[tuple[int, int], None] = {}
        self._files: dict[int, str] = {}
        self._arrays: list[ArrayRow] = []
        self._settings: dict[str, str] = {}
        self._purged: list[int] = []
        self._acts: list[Act] = []
        self._sync_spool = False
        self.urgent = False

    # -- deciding

    def apply(self, step: Step) -> None:
        """Take a step: its queue is the head from now on."""
        arrays, self.head = self.head.arrays, step.queue
        self._events += step.events
        for job in step.finished:
            self._finished[job.id] = job
            self._settling[job.id] = outcome_of(job)
            if job.spec.element is not None:
                self._settle_element(arrays, job, job.spec.element.array)
        self._follow(step.events)

    def _settle_element(self, before: Mapping[int, Progress], job: Job, array: Array) -> None:
        """Note how far an array was when one of its elements ended; `before`: the arrays before this step."""
        known = self._settling_arrays.get(array.id) or before.get(array.id)
        self._settling_arrays[array.id] = advanced(known or Progress(array), arrives=array.id not in before, job=job)

    def post(self, queue: Queue, events: Sequence[Event] = ()) -> None:
        """Take a queue and the events that led to it, where there is no step."""
        self.head = queue
        self._events += events
        self._follow(events)

    def record(self, attempt: Attempt) -> None:
        """Note an attempt: a permit or a process, even if the same batch has forgotten it before."""
        self._attempts[attempt.id] = attempt
        self._over.pop((attempt.id, attempt.attempt), None)

    def forget(self, id_: int, attempt: int) -> None:
        """Drop the note of an attempt that is over, or will never start."""
        noted = self._attempts.get(id_)
        if noted is not None and noted.attempt == attempt:
            del self._attempts[id_]
        self._over[id_, attempt] = None

    def file(self, id_: int, text: str) -> None:
        """Note a job file as accepted; its folder is to be synced first."""
        self._files[id_] = text
        self._sync_spool = True

    def array(self, row: ArrayRow) -> None:
        """Note an array whose elements are accepted."""
        self._arrays.append(row)

    def file_text(self, id_: int) -> str | None:
        """Return the text of a job's file if it was accepted so lately that the store may not have it."""
        under_way = dict(self._under_way.batch.files) if self._under_way is not None else {}
        return self._files.get(id_) or under_way.get(id_)

    def sync_spool(self) -> None:
        """Note that files were moved."""
        self._sync_spool = True

    def setting(self, key: str, value: str) -> None:
        """Note a durable setting."""
        self._settings[key] = value

    def purge(self, ids: Sequence[int]) -> None:
        """Note finished jobs whose history is dropped; the highest numbers are kept.

        The folders are synced first: a job file that a power cut brought back would be taken for a new drop.
        """
        self._purged += ids
        self._sync_spool = True
        last_id = max(self.head.last_id, self._spent)
        for key, value in (("seq", self.head.seq), ("last_us", self.head.last_us), ("last_id", last_id)):
            self._settings[key] = str(value)

    def spend(self, id_: int) -> None:
        """Note that an id was given to a job that was then refused, so that it is not given again."""
        self._spent = max(self._spent, id_)
        self._settings["last_id"] = str(max(self.head.last_id, self._spent))

    def after(self, act: Act, *, urgent: bool = False) -> None:
        """Call `act` when all decisions so far are durable; `urgent`: a client waits for it."""
        self._acts.append(act)
        self.urgent = self.urgent or urgent

    def outcomes(self, ids: set[int], names: set[OwnName]) -> dict[int | OwnName, Outcome]:
        """Return the outcomes of finished jobs, those included whose end is not durable yet."""
        known = self._store.outcomes(ids, names) if ids or names else {}
        for outcome in self._settling.values():
            if outcome.id in ids:
                known[outcome.id] = outcome
            newest = known.get(outcome.own_name)
            if outcome.own_name in names and (newest is None or newest.id < outcome.id):
                known[outcome.own_name] = outcome
        for key, outcome in known.items():
            array = outcome.element.array if outcome.element is not None else None
            if array is not None and (not isinstance(key, int) or key == array.id):
                progress = self._settling_arrays.get(array.id)
                if progress is not None and progress.is_over:
                    known[key] = evolve(outcome, whole=progress)
        return known

    def events_of(self, id_: int) -> list[Event]:
        """Return the event log of a job, with the events that are not durable yet."""
        stored = self._store.events(id_)
        decided = (*(self._under_way.batch.events if self._under_way is not None else ()), *self._events)
        last_us = stored[-1].t_us if stored else 0  # a batch under way may be in the store already
        return [*stored, *(event for event in decided if event.jobid == id_ and event.t_us > last_us)]

    def is_ending(self, id_: int) -> bool:
        """Whether a job has ended, and that is not durable yet."""
        return id_ in self._settling

    # -- making durable, then visible, then acting

    @property
    def is_idle(self) -> bool:
        """Whether all decisions are durable."""
        return self._under_way is None and not self.has_more

    @property
    def is_busy(self) -> bool:
        """Whether a batch is under way."""
        return self._under_way is not None

    @property
    def has_more(self) -> bool:
        """Whether there is anything for the next batch."""
        return bool(self._events or self._acts or self._attempts or self._over or self._settings or self._files)

    @property
    def is_full(self) -> bool:
        """Whether the next batch is as large as one should be: a larger one would keep others waiting."""
        return len(self._events) >= EVENTS_MAX

    def flush(self) -> None:
        """Send the pending decisions to the store as a batch, unless one is under way."""
        if self.is_busy or not self.has_more:
            return
        batch, acts = self._batch(), tuple(self._acts)
        self._begin()
        self._under_way = _UnderWay(self._store.submit(batch), batch, acts)

    def _batch(self) -> Batch:
        jobs: list[Job] = []
        for id_ in {event.jobid: None for event in self._events}:
            job = self._finished.get(id_) or find(self.head, id_)
            if job is not None:
                jobs.append(job)
        return Batch(
            queue=self.head,
            first_seq=self.head.seq - len(self._events) + 1,
            events=tuple(self._events),
            jobs=tuple(jobs),
            attempts=tuple(self._attempts.values()),
            over=tuple(self._over),
            files=tuple(self._files.items()),
            settings=tuple(self._settings.items()),
            purged=tuple(self._purged),
            sync_spool=self._sync_spool,
            arrays=tuple(self._arrays),
        )

    def durable(self, number: int) -> None:
        """Make visible what is durable up to this batch, then call its acts. Called by the store."""
        done = self._under_way
        if done is None or done.number > number:
            return
        self._under_way = None
        self.visible.swap(done.batch.queue)
        for job in done.batch.jobs:
            if job.t_inactive_us:
                self._settling.pop(job.id, None)
                if job.spec.element is not None and job.spec.element.array.id not in done.batch.queue.arrays:
                    self._settling_arrays.pop(job.spec.element.array.id, None)
        for act in done.acts:  # before observers are called: an order among the acts may have a slot waiting for it
            act()
        self._observe(done.batch)
