"""Reading the store from any process of the owner, with the daemon running or down.

Rule: never writes, never waits for the writer (WAL readers see a committed snapshot), never changes a file.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from jqsched.adapters.store import codec
from jqsched.adapters.store.schema import FORMAT_VERSION, StoreRefused, connect, damage_refused, port_errors, store_path
from jqsched.adapters.store.writer import SELECT_EVENTS, SELECT_JOBS
from jqsched.core.event import Event
from jqsched.core.filters import Rules, kept_rules
from jqsched.core.job import Job
from jqsched.ports import RULES


class StoreReader:
    """Committed jobs and events of the store in `folder`. Raises FileNotFoundError when there is none."""

    def __init__(self, folder: str) -> None:
        self.path = store_path(folder)
        if not Path(self.path).exists():
            raise FileNotFoundError(self.path)
        try:
            self._connection = connect(self.path, read_only=True)
            try:
                self.is_empty = self._version() == 0
            except BaseException:  # nobody gets this reader, so nobody else would close it
                self._connection.close()
                raise
        except sqlite3.DatabaseError as error:
            raise StoreRefused(f"{self.path}: cannot be read ({error})") from error

    def _version(self) -> int:
        version: int = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version > FORMAT_VERSION:
            raise StoreRefused(f"{self.path}: written by a newer jqsched (format {version})")
        return version

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _rows(self, sql: str, arguments: Sequence[object] = ()) -> Iterator[codec.Row]:
        if self.is_empty:
            return
        with port_errors("read the store", self.path):
            yield from self._connection.execute(sql, arguments)

    # -- jobs

    def active(self) -> Iterator[Job]:
        """All jobs that are not finished, by id."""
        return map(codec.job_from_row, self._rows(f"{SELECT_JOBS} WHERE state < 64 ORDER BY id"))

    def finished(self, *, since_us: int = 0, most: int = -1) -> Iterator[Job]:
        """Finished jobs, the last to end first; ended after `since_us`, at most `most` (negative: all). By index."""
        sql = f"{SELECT_JOBS} WHERE state = 64 AND t_inactive_us > ? ORDER BY t_inactive_us DESC, id DESC LIMIT ?"
        return map(codec.job_from_row, self._rows(sql, (since_us, most)))

    def jobs(self, ids: Iterable[int]) -> dict[int, Job]:
        """Those of these jobs that are known."""
        found: dict[int, Job] = {}
        for id_ in ids:
            for row in self._rows(f"{SELECT_JOBS} WHERE id = ?", (id_,)):
                found[id_] = codec.job_from_row(row)
        return found

    def named(self, name: str) -> Iterator[Job]:
        """All jobs of a name, by id."""
        return map(codec.job_from_row, self._rows(f"{SELECT_JOBS} WHERE name = ? ORDER BY id", (name,)))

    def last_id(self) -> int:
        """The highest id of a job, 0 when there is none."""
        return next((row[0] for row in self._rows("SELECT coalesce(max(id), 0) FROM jobs")), 0)

    def permitted(self) -> list[int]:
        """The jobs that may start, or have started, and are not over; by id."""
        return [row[0] for row in self._rows("SELECT id FROM attempts ORDER BY id")]

    def counts(self) -> dict[int, int]:
        """How many jobs there are in each state."""
        return dict(self._rows("SELECT state, count(*) FROM jobs GROUP BY state"))

    # -- events

    def events(self, jobid: int, *, after_seq: int = 0) -> Iterator[tuple[int, Event]]:
        """The event log of a job, with the seqs."""
        sql = f"{SELECT_EVENTS} WHERE jobid = ? AND seq > ? ORDER BY seq"
        return map(codec.event_from_row, self._rows(sql, (jobid, after_seq)))

    def journal(self, *, after_seq: int = 0, since_us: int = 0) -> Iterator[tuple[int, Event]]:
        """The events of all jobs, in order, after a seq and a time."""
        sql = f"{SELECT_EVENTS} WHERE seq > ? AND t_us > ? ORDER BY seq"
        return map(codec.event_from_row, self._rows(sql, (after_seq, since_us)))

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
