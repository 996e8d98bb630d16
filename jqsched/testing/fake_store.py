"""A store in memory, whose commits come when a test wants them, and whose disk outlives a crash.

Rule: it keeps the contract of `ports.Store` as the real one does (`jqsched.testing.contracts.store`): what was handed
over is nowhere to be seen until it is durable, and all batches of one commit are durable or none.
"""

from collections.abc import Callable, Iterable

from attrs import define, evolve, field

from jqsched.core.event import Event
from jqsched.core.filters import kept_rules
from jqsched.core.job import Array, Draft, Job, Outcome, OwnName, Progress, State
from jqsched.core.policy import known_outcomes
from jqsched.core.queue import load, progress_of
from jqsched.ports import RULES, Attempt, Batch, PortError, Store, Stored, files_over

Deliver = Callable[[int | PortError], None]


@define
class Disk:
    """What is durable: events by seq, jobs (finished ones too), attempts by job, files, settings."""

    events: dict[int, Event] = field(factory=dict)
    jobs: dict[int, Job] = field(factory=dict)
    attempts: dict[int, Attempt] = field(factory=dict)
    files: dict[int, str] = field(factory=dict)
    settings: dict[str, str] = field(factory=dict)

    def copy(self) -> "Disk":
        """What a crash at this moment leaves."""
        return Disk(dict(self.events), dict(self.jobs), dict(self.attempts), dict(self.files), dict(self.settings))

    def progress(self, array: Array) -> Progress:
        """How far an array is."""
        ids = range(array.id, array.id + array.count)
        return progress_of(array, [self.jobs[id_] for id_ in ids if id_ in self.jobs])

    def live_arrays(self) -> set[int]:
        """The ids of the arrays that are not over."""
        return {array.id for array in _arrays_of(job for job in self.jobs.values() if job.state is not State.INACTIVE)}

    def write(self, batch: Batch) -> None:
        """Make one batch durable."""
        assert not self.events or not batch.events or batch.first_seq > max(self.events), (
            "an event of this seq is there"
        )
        self.events |= dict(enumerate(batch.events, batch.first_seq))
        self.jobs |= {job.id: job for job in batch.jobs}
        self.attempts |= {attempt.id: evolve(attempt, cores=1) for attempt in batch.attempts}
        for id_, attempt_number in batch.over:
            if id_ in self.attempts and self.attempts[id_].attempt == attempt_number:
                del self.attempts[id_]
        self.files |= dict(batch.files)
        for id_ in files_over(batch):
            self.files.pop(id_, None)
        gone = {id_ for id_ in batch.purged if id_ in self.jobs and self.jobs[id_].state is State.INACTIVE}
        self.jobs = {id_: job for id_, job in self.jobs.items() if id_ not in gone}
        self.events = {seq: event for seq, event in self.events.items() if event.jobid not in gone}
        self.settings |= dict(batch.settings)


def _arrays_of(jobs: Iterable[Job]) -> set[Array]:
    return {job.spec.element.array for job in jobs if job.spec.element is not None}


def _array_id(job: Job) -> int | None:
    return job.spec.element.array.id if job.spec.element is not None else None


class MemoryStore:
    """Batches become durable at `commit`, or (`automatic`) as soon as they are handed over and it was started.

    A commit that holds batch number `fails_at` fails: it delivers a PortError, and nothing is ever written again.
    """

    def __init__(
        self,
        sync_spool: Callable[[], None] = lambda: None,
        *,
        automatic: bool = False,
        fails_at: int | None = None,
        disk: Disk | None = None,
    ) -> None:
        self.disk = disk or Disk()
        self.fails_at, self.automatic = fails_at, automatic
        self.batches: list[Batch] = []  # all that were handed over
        self.has_failed = False
        self.spacing_us, self.is_log_full = 0, False
        self._sync_spool = sync_spool
        self._durable = 0
        self._deliver: Deliver | None = None

    # ---- for tests and simulations --------------------------------------------------------------------------------

    @property
    def pending(self) -> int:
        """How many batches were handed over and are not durable."""
        return len(self.batches) - self._durable

    def commit(self) -> None:
        """Make durable what was handed over, in one commit, and tell. Nothing to do: nothing is told."""
        if self._deliver is None or self.has_failed or not self.pending:
            return
        todo = self.batches[self._durable :]
        try:
            self._write(todo)
        except PortError as error:
            self.has_failed = True
            self._deliver(error)
            return
        self._durable = len(self.batches)
        self._deliver(self._durable)

    def _write(self, todo: list[Batch]) -> None:
        if any(batch.sync_spool for batch in todo):
            self._sync_spool()
        if self.fails_at is not None and self.fails_at <= len(self.batches):
            raise PortError("commit to the store", "memory", None, "SQLITE_FULL: as the test wanted it")
        for batch in todo:
            self.disk.write(batch)

    def crash(self, sync_spool: Callable[[], None] = lambda: None) -> "MemoryStore":
        """The store as the next scheduler finds it: with what was durable at this moment, and nothing else."""
        return MemoryStore(sync_spool, automatic=self.automatic, disk=self.disk.copy())

    # ---- the port -------------------------------------------------------------------------------------------------

    def load(self) -> Stored:
        """Return the live jobs, their attempts and files, and the settings."""
        disk, settings = self.disk, self.disk.settings
        live = [job for _, job in sorted(disk.jobs.items()) if job.state is not State.INACTIVE]
        queue = load(
            live,
            seq=max([*disk.events, int(settings.get("seq", 0))]),
            last_us=max([int(settings.get("last_us", 0)), *(event.t_us for event in disk.events.values())]),
            last_id=max([int(settings.get("last_id", 0)), *disk.jobs]),
            rules=kept_rules(settings.get(RULES)),
            arrays={array.id: disk.progress(array) for array in _arrays_of(live)},
        )
        attempts = tuple(attempt for _, attempt in sorted(disk.attempts.items()))
        return Stored(queue, attempts, dict(disk.files), dict(settings))

    def start(self, deliver: Deliver) -> None:
        """Begin to write; until then batches wait."""
        self._deliver = deliver
        if self.automatic:
            self.commit()

    def submit(self, batch: Batch) -> int:
        """Hand over a batch; returns its number."""
        self.batches.append(batch)
        number = len(self.batches)
        if self.automatic:
            self.commit()
        return number

    def outcomes(self, ids: Iterable[int], names: Iterable[OwnName]) -> dict[int | OwnName, Outcome]:
        """What is known of finished jobs: by id, and for each name the newest."""
        finished = [job for _, job in sorted(self.disk.jobs.items()) if job.state is State.INACTIVE]
        live = self.disk.live_arrays()
        known = {
            key: outcome
            if outcome.element is None or outcome.element.array.id not in live
            else evolve(outcome, whole=None)
            for key, outcome in known_outcomes(finished).items()
        }
        return {key: known[key] for key in (*ids, *names) if key in known}

    def spec(self, id_: int) -> Draft | None:
        """What a job is, with the urgency and pin that it had last."""
        job = self.disk.jobs.get(id_)
        if job is None:
            return None
        return Draft(evolve(job.spec, element=None), job.urgency, job.pin, requeue_of=id_)

    def events(self, id_: int) -> list[Event]:
        """The event log of a job, oldest first."""
        return [event for _, event in sorted(self.disk.events.items()) if event.jobid == id_]

    def userid(self, id_: int) -> int | None:
        """Whose job it is."""
        job = self.disk.jobs.get(id_)
        return None if job is None else job.userid

    def file(self, id_: int) -> str | None:
        """The text of a live job's file as last accepted."""
        return self.disk.files.get(id_)

    def is_finished(self, id_: int) -> bool:
        """Whether the store knows this job as finished."""
        return id_ in self.disk.jobs and self.disk.jobs[id_].state is State.INACTIVE

    def finished_count(self) -> int:
        """How many jobs are finished, purged ones included."""
        return sum(self.is_finished(id_) for id_ in self.disk.jobs) + int(self.disk.settings.get("purged", 0))

    def finished_before(self, before_us: int, most: int) -> list[int]:
        """The ids of jobs that ended before this time, oldest first; negative `most`: all."""
        ended = sorted((job.t_inactive_us, id_) for id_, job in self.disk.jobs.items() if self.is_finished(id_))
        live = self.disk.live_arrays()
        ids = [id_ for t_us, id_ in ended if t_us < before_us and _array_id(self.disk.jobs[id_]) not in live]
        return ids if most < 0 else ids[:most]

    def check(self) -> None:
        """It is never taken away."""

    def warnings(self) -> list[str]:
        """What is wrong around it: only what a test says."""
        return []

    def close(self) -> None:
        """Make durable what was handed over, and end."""
        self.commit()
        self._deliver = None


_PORT: type[Store] = MemoryStore  # for mypy: it has the port's methods
