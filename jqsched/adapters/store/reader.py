"""Read the store, from any process of the owner, with the daemon running or down.

In: a folder, and ids, constraints or seqs. Out: committed jobs and events as values; PortError or StoreRefused.
Rule: never writes, never waits for the writer (WAL readers see a committed snapshot), never changes a file.
"""

import sqlite3
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

from attrs import evolve, frozen

from jqsched.adapters.store import codec, query
from jqsched.adapters.store.schema import (
    ARRAYS_SINCE,
    FORMAT_VERSION,
    UNREADABLE,
    StoreRefused,
    connect,
    damage_refused,
    port_errors,
    said,
    store_path,
)
from jqsched.adapters.store.writer import SELECT_EVENTS, SELECT_JOBS
from jqsched.core.constraint import Budget, Constraint, matches
from jqsched.core.event import NO_CONTEXT, Event
from jqsched.core.filters import Rules, kept_rules
from jqsched.core.job import Job, Progress
from jqsched.core.json import JsonObject
from jqsched.core.queue import progress_of
from jqsched.core.view import NOTES, notes_of
from jqsched.ports import PLUGGED, RULES, ArrayRow


@frozen
class Choice:
    """A selection of the journal's events; None: of all jobs, of all names, all. `since_us`: only later ones."""

    ids: Sequence[int] | None = None
    names: Sequence[str] | None = None
    allow: Sequence[str] | None = None
    deny: Sequence[str] = ()
    since_us: int = 0

    def of(self, ids: Sequence[int]) -> "Choice":
        """Return this selection restricted to these jobs."""
        return evolve(self, ids=ids)

    def sql(self) -> tuple[str, list[object]]:
        """Return the conditions for a WHERE clause."""
        clauses, values = "", list[object]()
        if self.ids is not None:
            clauses += f" AND jobid IN ({_numbers(self.ids)})"
        if self.names is not None:
            clauses += f" AND jobid IN (SELECT id FROM jobs WHERE name IN ({_marks(self.names)}))"
        if self.allow is not None:
            clauses += f" AND name IN ({_marks(self.allow)})"
        if self.deny:
            clauses += f" AND name NOT IN ({_marks(self.deny)})"
        values += [*(self.names or ()), *(self.allow or ()), *self.deny]
        if self.since_us:
            clauses += " AND t_us > ?"
            values.append(self.since_us)
        return clauses, values


def _numbers(ids: Iterable[int]) -> str:
    """Write ids as SQL text: there may be more of them than values that can be bound."""
    return ",".join(str(int(id_)) for id_ in ids)


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))


class StoreReader:
    """Committed jobs and events of the store in `folder`. Raises FileNotFoundError when there is none."""

    def __init__(self, folder: str) -> None:
        self.path = store_path(folder)
        if not Path(self.path).exists():
            raise FileNotFoundError(self.path)
        try:
            self._connection = connect(self.path, read_only=True)
            weakref.finalize(self, self._connection.close)  # for callers that end without closing: Python 3.13 warns
            try:
                self.is_empty = self._version() == 0
            except BaseException:  # the caller does not get this reader, so it could not close it
                self._connection.close()
                raise
        except UNREADABLE as error:
            raise StoreRefused(f"{self.path}: cannot be read ({said(error)})") from error

    def _version(self) -> int:
        version: int = self._connection.execute("PRAGMA user_version").fetchone()[0]
        tables: int = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if version < 1 and (version or tables):
            raise StoreRefused(f"{self.path}: damaged (format {version})")
        if version > FORMAT_VERSION:
            raise StoreRefused(f"{self.path}: written by a newer jqsched (format {version})")
        return version

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _rows(self, sql: str, arguments: Sequence[object] = ()) -> Iterator[codec.Row]:
        if self.is_empty:
            return
        with damage_refused("read the store", self.path):
            for row in self._connection.execute(sql, arguments):  # noqa: UP028 - it would close what is closed already
                yield row

    def _jobs(self, sql: str, arguments: Sequence[object] = ()) -> Iterator[Job]:
        with damage_refused("read the store", self.path):
            yield from map(codec.job_from_row, self._rows(sql, arguments))

    def _events(self, sql: str, arguments: Sequence[object] = ()) -> Iterator[tuple[int, Event]]:
        with damage_refused("read the store", self.path):
            yield from map(codec.event_from_row, self._rows(sql, arguments))

    # -- jobs

    def active(self) -> Iterator[Job]:
        """All jobs that are not finished, by id."""
        return self._jobs(f"{SELECT_JOBS} WHERE state < 64 ORDER BY id")

    def finished(self, *, since_us: int = 0, most: int = -1) -> Iterator[Job]:
        """Finished jobs, the last to end first; ended after `since_us`, at most `most` (negative: all). By index."""
        sql = f"{SELECT_JOBS} WHERE state = 64 AND t_inactive_us > ? ORDER BY t_inactive_us DESC, id DESC LIMIT ?"
        return self._jobs(sql, (since_us, most))

    def ended_after(self, end: tuple[int, int], most: int) -> list[Job]:
        """Finished jobs in the order of their ends (time and id), after one of these; read at once, at most so many."""
        where = "state = 64 AND (t_inactive_us, id) > (?, ?) ORDER BY t_inactive_us, id LIMIT ?"
        return list(self._jobs(f"{SELECT_JOBS} WHERE {where}", (*end, most)))

    def search(
        self, constraint: Constraint, *, since_us: int = 0, most: int = -1, budget: Budget, hostname: str
    ) -> Iterator[Job]:
        """The jobs that match, in the order of lists, at most `most` (negative: all); of one moment.

        Of finished jobs only those that ended after `since_us`. Raises: Excessive.
        Cost: live jobs are looked at where they may match; finished ones by index where it is on names or times, else
              each is looked at until there are `most`.
        """
        with self.snapshot():
            for part in (query.LIVE, query.FINISHED):
                for job in self._matching(part, constraint, since_us, most, budget, hostname):
                    most -= 1
                    yield job

    def _matching(
        self, part: query.Part, constraint: Constraint, since_us: int, most: int, budget: Budget, hostname: str
    ) -> Iterator[Job]:
        found = query.condition(constraint, part, hostname)
        if found.matches_none or most == 0:
            return iter(())
        sql, values = query.statement(SELECT_JOBS, part, constraint, since_us, found, self._count)
        if found.exact:
            return self._jobs(f"{sql} LIMIT ?", (*values, most))
        jobs = self._jobs(sql, values)
        chosen = (job for job in jobs if matches(constraint, job, budget, hostname))
        return islice(chosen, most) if most >= 0 else chosen

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Make all reads inside see one moment."""
        if self.is_empty or self._connection.in_transaction:
            yield
            return
        with port_errors("read the store", self.path):
            self._connection.execute("BEGIN")
        try:
            yield
        finally:
            with suppress(sqlite3.ProgrammingError):  # closed meanwhile
                self._connection.execute("COMMIT")

    def _count(self, sql: str, values: Sequence[object]) -> int:
        return next((int(row[0]) for row in self._rows(sql, values)), 0)

    def jobs(self, ids: Iterable[int]) -> dict[int, Job]:
        """Return the jobs with these ids that are in the store."""
        found: dict[int, Job] = {}
        for id_ in ids:
            for job in self._jobs(f"{SELECT_JOBS} WHERE id = ?", (id_,)):
                found[id_] = job
        return found

    def between(self, first: int, last: int) -> Iterator[Job]:
        """Return the jobs with ids from `first` to `last`, by id."""
        return self._jobs(f"{SELECT_JOBS} WHERE id BETWEEN ? AND ? ORDER BY id", (first, last))

    def known(self, ids: Iterable[int]) -> int:
        """Count the jobs with these ids that are in the store."""
        return next((row[0] for row in self._rows(f"SELECT count(*) FROM jobs WHERE id IN ({_numbers(ids)})")), 0)

    def first_ended(self, ids: Iterable[int]) -> Job | None:
        """The first of these jobs to end; None when none has."""
        sql = f"{SELECT_JOBS} WHERE state = 64 AND id IN ({_numbers(ids)}) ORDER BY t_inactive_us LIMIT 1"
        return next(self._jobs(sql), None)

    def named(self, name: str) -> Iterator[Job]:
        """All jobs of a name, by id."""
        return self._jobs(f"{SELECT_JOBS} WHERE name = ? ORDER BY id", (name,))

    def last_id(self) -> int:
        """The highest id of a job, 0 when there is none."""
        return next((row[0] for row in self._rows("SELECT coalesce(max(id), 0) FROM jobs")), 0)

    def permitted(self) -> list[int]:
        """The jobs that may start, or have started, and are not over; by id."""
        return [row[0] for row in self._rows("SELECT id FROM attempts ORDER BY id")]

    def counts(self) -> dict[int, int]:
        """Count the jobs in each state."""
        # in two parts, each of which is counted by its index: a fourth of the time
        live = "SELECT state, count(*) FROM jobs WHERE state < 64 GROUP BY state"
        rows = self._rows(f"{live} UNION ALL SELECT 64, count(*) FROM jobs WHERE state = 64")
        return {state: count for state, count in rows if count}

    # -- events

    def events(self, jobid: int, *, after_seq: int = 0) -> Iterator[tuple[int, Event]]:
        """The event log of a job, with the seqs."""
        sql = f"{SELECT_EVENTS} WHERE jobid = ? AND seq > ? ORDER BY seq"
        return self._events(sql, (jobid, after_seq))

    # -- arrays

    def array(self, id_: int) -> ArrayRow | None:
        """The array of this id; None when there is none."""
        if self.is_empty or self._version() < ARRAYS_SINCE:
            return None
        sql = "SELECT id, count, indexes FROM arrays WHERE id = ?"
        return next((ArrayRow(*row) for row in self._rows(sql, (id_,))), None)

    @property
    def has_arrays(self) -> bool:
        """Whether there is any array."""
        if self.is_empty or self._version() < ARRAYS_SINCE:
            return False
        return next(self._rows("SELECT 1 FROM arrays LIMIT 1"), None) is not None

    def progress(self) -> dict[int, Progress]:
        """How far each array is that is not over. O(elements)."""
        if self.is_empty or self._version() < ARRAYS_SINCE:
            return {}
        live = """SELECT id, count, indexes FROM arrays WHERE EXISTS (SELECT 1 FROM jobs INDEXED BY jobs_live
            WHERE state < 64 AND jobs.id >= arrays.id AND jobs.id < arrays.id + arrays.count)"""
        found: dict[int, Progress] = {}
        for id_, count, _ in list(self._rows(live)):
            jobs = list(self._jobs(f"{SELECT_JOBS} WHERE id >= ? AND id < ?", (id_, id_ + count)))
            array = next(job.spec.element.array for job in jobs if job.spec.element is not None)
            found[id_] = progress_of(array, jobs)
        return found

    def notes(self) -> Callable[[int], JsonObject]:
        """Return the function that reads what plugins noted of a job; without plugins there is nothing to read."""
        if self.setting(PLUGGED) is None:
            return lambda _: NO_CONTEXT
        sql = f"{SELECT_EVENTS} WHERE jobid = ? AND name IN ({_marks(NOTES)}) ORDER BY seq"
        return lambda id_: notes_of(event for _, event in self._events(sql, (id_, *NOTES)))

    def journal(self, *, after_seq: int = 0, since_us: int = 0) -> Iterator[tuple[int, Event]]:
        """The events of all jobs, in order, after a seq and a time."""
        sql = f"{SELECT_EVENTS} WHERE seq > ? AND t_us > ? ORDER BY seq"
        return self._events(sql, (after_seq, since_us))

    def stretch(self, after_seq: int, last_seq: int, choice: Choice, most: int) -> list[codec.EventRow]:
        """Return the selected events after one seq and up to another, in order, at most a number (negative: all)."""
        if self.is_empty:
            return []
        clauses, values = choice.sql()
        sql = f"{SELECT_EVENTS} WHERE seq > ? AND seq <= ?{clauses} ORDER BY seq LIMIT ?"
        with damage_refused("read the store", self.path):  # no generators: there are many readers of much
            return self._connection.execute(sql, (after_seq, last_seq, *values, most)).fetchall()

    def active_at(self, seq: int) -> list[int]:
        """Return the jobs that were active when this was the last event, in their present form; by id."""
        newest = "SELECT t_us FROM events WHERE seq <= ? ORDER BY seq DESC LIMIT 1"
        (now_us,) = next(self._rows(newest, (seq,)), (0,))
        sql = """SELECT id FROM jobs WHERE (state < 64 OR (state = 64 AND t_inactive_us > ?)) AND t_submit_us <= ?
            ORDER BY id"""
        return [row[0] for row in self._rows(sql, (now_us, now_us))]

    def last_seq(self) -> int:
        """The seq of the newest event, 0 when there is none."""
        return next((row[0] for row in self._rows("SELECT coalesce(max(seq), 0) FROM events")), 0)

    def last_us(self) -> int:
        """The time of the newest event, 0 when there is none."""
        return next((row[0] for row in self._rows("SELECT t_us FROM events ORDER BY seq DESC LIMIT 1")), 0)

    def setting(self, key: str) -> str | None:
        """One of the scheduler's durable settings."""
        return next((row[0] for row in self._rows("SELECT value FROM meta WHERE key = ?", (key,))), None)

    def rules(self) -> Rules:
        """The filter rules, in their order."""
        with damage_refused("read the filter rules", self.path):
            return kept_rules(self.setting(RULES))
