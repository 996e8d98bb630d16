"""What surrounds a simulated scheduler: arrivals instead of a folder, a table of figures instead of a database.

Rule: each keeps its port (`ports.Spool`, `ports.Store`) as far as a run without restarts, edits and purges asks for it,
and is as lean as a million jobs demand: of a job that ended, a row is left.
"""

from array import array
from collections.abc import Callable, Iterable, Sequence
from enum import IntEnum

from attrs import frozen

from jqsched.core.event import Event
from jqsched.core.job import Draft, Job, Outcome, OwnName, State
from jqsched.core.queue import Queue, live
from jqsched.ports import UNLIMITED, Batch, Clock, Edit, PortError, Room, ScanResult, Spool, Store, Stored, Taken
from jqsched.testing.runtimes import Run

NEVER = -(1 << 62)

Sink = Callable[[int, Sequence[Event]], None]  # the seq of the first, and the events
Past = Callable[[Iterable[int], Iterable[OwnName]], dict[int | OwnName, Outcome]]


@frozen
class Arrival:
    """A job that is dropped at a time (counted from the beginning of the simulation). `run` None: as `runs` says."""

    submit_us: int
    name: str
    draft: Draft
    run: Run | None = None


class End(IntEnum):
    """What became of a job: a result of the core's, or none yet, or refused when it came."""

    LEFT = 0
    COMPLETED = 1
    FAILED = 2
    CANCELED = 4
    TIMEOUT = 8
    REFUSED = 16


# ---- what is remembered of each job -------------------------------------------------------------------------------


class Table:
    """A row for each job, in columns; times count from the beginning, NEVER = not (yet).

    Rows are the jobs that were there at the beginning, by id, then the arrivals: their ids follow one another.
    """

    def __init__(self, start_us: int, queue: Queue) -> None:
        self.start_us = start_us
        self.names: list[str] = []
        self.submit_us, self.begin_us, self.end_us = array("q"), array("q"), array("q")
        self.cores, self.ends = array("l"), array("b")
        self.notes: dict[int, str] = {}  # by id: why it ended without success, where the status does not say it
        self._first_id = queue.last_id + 1
        self._old_ids: list[int] = []
        self._old_rows: dict[int, int] = {}
        for job in live(queue):
            self._old_rows[job.id] = len(self._old_ids)
            self._old_ids.append(job.id)
            self._add(min(0, job.t_submit_us - start_us), job.spec.name, job.spec.cores)
            if job.started:
                self.begin_us[-1] = min(0, job.t_start_us - start_us)

    def __len__(self) -> int:
        return len(self.names)

    def _add(self, submit_us: int, name: str, cores: int) -> None:
        self.names.append(name)
        self.submit_us.append(submit_us)
        self.begin_us.append(NEVER)
        self.end_us.append(NEVER)
        self.cores.append(cores)
        self.ends.append(End.LEFT)

    @property
    def there_at_start(self) -> int:
        """How many rows are jobs that were there at the beginning."""
        return len(self._old_ids)

    def id_of(self, row: int) -> int:
        """The id of the job of a row."""
        old = len(self._old_ids)
        return self._old_ids[row] if row < old else self._first_id + row - old

    def row_of(self, id_: int) -> int | None:
        """The row of a job, None for one that ended before the beginning."""
        if id_ < self._first_id:
            return self._old_rows.get(id_)
        row = len(self._old_ids) + id_ - self._first_id
        return row if row < len(self.names) else None

    def arrived(self, id_: int, arrival: Arrival) -> None:
        """A job was dropped."""
        assert id_ == self.id_of(len(self.names)), "ids follow one another"
        self._add(arrival.submit_us, arrival.draft.spec.name, arrival.draft.spec.cores)

    def refused(self, id_: int, errors: str) -> None:
        """A dropped job was refused."""
        self.ends[self._row(id_)] = End.REFUSED
        self.notes[id_] = errors

    def begun(self, id_: int, now_us: int) -> None:
        """A job's process has started."""
        self.begin_us[self._row(id_)] = now_us - self.start_us

    def over(self, id_: int, now_us: int) -> None:
        """A job's process has ended."""
        self.end_us[self._row(id_)] = now_us - self.start_us

    def finished(self, job: Job) -> None:
        """A job is finished."""
        row, result = self._row(job.id), job.result
        assert result is not None
        self.ends[row] = result
        if job.exception is not None and job.fatal:
            self.notes[job.id] = f"{job.exception.type}: {job.exception.note}"

    def _row(self, id_: int) -> int:
        row = self.row_of(id_)
        assert row is not None, f"job {id_} is not known"
        return row

    def outcome(self, row: int) -> Outcome | None:
        """What others remember of a job, but for its user; None while it is not finished."""
        end = self.ends[row]
        if end in (End.LEFT, End.REFUSED):
            return None
        ran, job = self.begin_us[row] != NEVER, self.id_of(row)
        return Outcome(job, self.names[row], 0, end == End.COMPLETED, ran, ran, job in self.notes)


# ---- the store ----------------------------------------------------------------------------------------------------


class TableStore:
    """Keeps `ports.Store` as far as a run without restarts needs it: all is durable at once, and events are passed on
    and forgotten. Of finished jobs there are their rows, and `past` for those of before.
    """

    def __init__(self, table: Table, stored: Stored, past: Past, sink: Sink | None) -> None:
        self._table, self._stored, self._past, self._sink = table, stored, past, sink
        self._newest: dict[OwnName, int] = {}
        self._batches = self._finished = 0
        self._deliver: Callable[[int | PortError], None] = lambda _: None

    def load(self) -> Stored:
        """The queue at the beginning."""
        return self._stored

    def start(self, deliver: Callable[[int | PortError], None]) -> None:
        """Begin; batches come only now."""
        self._deliver = deliver

    def submit(self, batch: Batch) -> int:
        """Take the figures of a batch, and pass its events on."""
        self._batches += 1
        if self._sink is not None and batch.events:
            self._sink(batch.first_seq, batch.events)
        for job in batch.jobs:
            if job.state is State.INACTIVE:
                self._finished += 1
                self._table.finished(job)
                self._newest[job.own_name] = max(job.id, self._newest.get(job.own_name, 0))
        self._deliver(self._batches)
        return self._batches

    def outcomes(self, ids: Iterable[int], names: Iterable[OwnName]) -> dict[int | OwnName, Outcome]:
        """What is known of finished jobs: by id, and for each name the newest."""
        ids, names = list(ids), list(names)
        known = self._past(ids, names)
        keys: list[tuple[int | OwnName, int]] = [(id_, id_) for id_ in ids]
        keys += [(name, self._newest[name]) for name in names if name in self._newest]
        for key, id_ in keys:
            row = self._table.row_of(id_)
            outcome = self._table.outcome(row) if row is not None else None
            if outcome is not None and (key == id_ or key not in known or known[key].id < id_):
                known[key] = outcome
        return known

    def spec(self, id_: int) -> Draft | None:  # noqa: ARG002  # no finished job is queued anew here
        """Nothing: specs are not kept."""
        return None

    def events(self, id_: int) -> list[Event]:  # noqa: ARG002  # only plugins ask, and none are loaded here
        """Nothing: events are not kept."""
        return []

    def userid(self, id_: int) -> int | None:  # noqa: ARG002  # as `spec`
        """Nothing, as there are no specs."""
        return None

    def file(self, id_: int) -> str | None:
        """The text of a live job's file, of those that were there at the beginning."""
        return self._stored.files.get(id_)

    def finished_count(self) -> int:
        """How many jobs have finished here."""
        return self._finished

    def finished_before(self, before_us: int, most: int) -> list[int]:  # noqa: ARG002  # nothing is purged here
        """None: nothing is purged."""
        return []

    spacing_us, is_log_full = 0, False

    def check(self) -> None:
        """It is never taken away."""

    def warnings(self) -> list[str]:
        """Nothing is around it."""
        return []

    def close(self) -> None:
        """Nothing is open."""


# ---- the spool ----------------------------------------------------------------------------------------------------


class Arrivals:
    """Keeps `ports.Spool` for jobs that are dropped at given times and never edited; there are no files."""

    def __init__(self, arrivals: Iterable[Arrival], table: Table, clock: Clock) -> None:
        self.runs: dict[int, Run] = {}  # of those that brought one and have not started
        self._coming, self._table, self._clock = iter(arrivals), table, clock
        self._next = next(self._coming, None)

    def intake(self, next_id: int, most: int, room: Room = UNLIMITED) -> ScanResult:  # noqa: ARG002  # no limit here
        """Take those whose time has come."""
        taken: list[Taken] = []
        while len(taken) < most and (arrival := self._due()) is not None:
            id_ = next_id + len(taken)
            self._table.arrived(id_, arrival)
            if arrival.run is not None:
                self.runs[id_] = arrival.run
            taken.append(Taken(id_, arrival.name, arrival.draft, ""))
            self._next = next(self._coming, None)
        return ScanResult(tuple(taken), more=self._due() is not None)

    def _due(self) -> Arrival | None:
        next_us = self.next_us
        return self._next if next_us is not None and next_us <= self._clock.now_us() else None

    @property
    def next_us(self) -> int | None:
        """When the next one comes, None: never. The driver of the scheduler rings then, as a watcher does."""
        return self._table.start_us + self._next.submit_us if self._next is not None else None

    def leftovers(self, live: Callable[[int], bool], finished: Callable[[int], bool], next_id: int) -> ScanResult:  # noqa: ARG002  # a crash left nothing
        """None; the first arrivals may be due."""
        return ScanResult(more=self._due() is not None)

    def refuse(self, id_: int, name: str, errors: str) -> None:  # noqa: ARG002  # the table has its name
        """Note that it was refused."""
        self.runs.pop(id_, None)
        self._table.refused(id_, errors)

    def parse(self, text: str, name: str = "") -> Draft | str:  # noqa: ARG002  # drafts come as such
        """There are no texts."""
        return "a simulation reads no job files"

    def write_out(self, draft: Draft) -> str:  # noqa: ARG002  # as `parse`
        """There are no texts."""
        return ""

    def write(self, id_: int, text: str, userid: int | None = None) -> None:
        """There are no files."""

    def edits(self, ids: Iterable[int], *, at_start: bool = False) -> list[Edit]:  # noqa: ARG002  # as `write`
        """No file is edited."""
        return []

    def strays(self, ids: Iterable[int]) -> list[tuple[str, str]]:  # noqa: ARG002  # as `write`
        """No file is edited."""
        return []

    def accepted(self, id_: int, text: str) -> None:
        """There are no files."""

    def complain(self, id_: int, errors: str) -> None:
        """There are no files."""

    def remove(self, ids: Iterable[int]) -> None:
        """There are no files."""

    def sync(self) -> None:
        """There are no files."""


_PORTS: tuple[type[Store], type[Spool]] = (TableStore, Arrivals)  # for mypy: they have the ports' methods
