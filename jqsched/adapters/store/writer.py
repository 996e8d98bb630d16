"""The writer: events and projection in one transaction, on a thread of its own.

Rule: batches become durable in the order in which they were handed over; the first error ends everything, and nothing
is tried again on the same file (after a failed fsync it is unknown what the disk holds).
"""

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from pathlib import Path

from jqsched.adapters.store import codec
from jqsched.adapters.store.presence import StoreFiles
from jqsched.adapters.store.schema import (
    INCREMENTAL,
    check_log,
    damage_refused,
    is_busy,
    open_store,
    port_errors,
    store_path,
)
from jqsched.core.event import Event
from jqsched.core.evolve import evolve
from jqsched.core.filters import kept_rules
from jqsched.core.idmap import id_map
from jqsched.core.job import Array, Draft, Job, Outcome, OwnName, Progress, State
from jqsched.core.policy import outcome_of
from jqsched.core.queue import Queue, find, load, progress_of
from jqsched.ports import RULES, Attempt, Batch, PortError, Stored, files_over


def _insert(how: str, table: str) -> str:
    columns = (*codec.COLUMNS[table], "crc")
    return f"{how} INTO {table} ({','.join(columns)}) VALUES ({','.join('?' * len(columns))})"


PUT_EVENT = _insert("INSERT", "events")
PUT_JOB, PUT_ATTEMPT, PUT_FILE, PUT_SETTING, PUT_ARRAY = (
    _insert("INSERT OR REPLACE", table) for table in ("jobs", "attempts", "files", "meta", "arrays")
)
# A row that is there stays where it is, and the index over the names as it is: each page that a commit touches is
# written whole. Only `submit` and `jobspec-update`, the events with a spec, give a job a name.
_KEPT_COLUMNS = ("id", "name", "userid")
UPDATE_JOB = f"{_insert('INSERT', 'jobs')} ON CONFLICT (id) DO UPDATE SET " + ",".join(
    f"{column} = excluded.{column}" for column in (*codec.JOB_COLUMNS, "crc") if column not in _KEPT_COLUMNS
)
SELECT_JOBS = f"SELECT {','.join(codec.JOB_COLUMNS)} FROM jobs"
SELECT_SUMMED = {table: f"SELECT {','.join(columns)},crc FROM {table}" for table, columns in codec.COLUMNS.items()}
SELECT_EVENTS = f"SELECT {','.join(codec.EVENT_COLUMNS)} FROM events"
PURGED_EVENTS = "purged_events"  # the key in `meta` that counts the events that were purged

_ELEMENTS = "SELECT 1 FROM jobs WHERE id >= arrays.id AND id < arrays.id + arrays.count"
# Whether a job is an element of an array of which another element is not over: probes of indexes only.
_OF_LIVE_ARRAY = """EXISTS (SELECT 1 FROM arrays WHERE arrays.id = (SELECT max(id) FROM arrays WHERE id <= jobs.id)
    AND jobs.id < arrays.id + arrays.count AND EXISTS (SELECT 1 FROM jobs AS other INDEXED BY jobs_live
    WHERE other.state < 64 AND other.id >= arrays.id AND other.id < arrays.id + arrays.count))"""

FREE_PAGES_KEPT = 1_000  # 4 MB that the store may use again before space is given back to the file system
GIVE_BACK_S = 0.005  # of each transaction that does it: 150 pages, or a few where very many are free
LOG_KEPT_BYTES = 16 << 20  # a log that had to grow longer is cut back to this when it begins anew
LOG_LONG_BYTES = 32 << 20  # usually it begins anew at 4 MB, unless a reader keeps a transaction open
LOG_BYTES_PER_US = 64  # a commit writes whole pages: at 16 MiB one in 0.26 s, at 64 MiB one in a second
SPACING_MAX_US = 2_000_000
LOG_MAX_BYTES = 512 << 20  # read in about five seconds at the next start
LOCKED_OUT_S = 2.0  # waiting for the write lock so long is worth a word

Deliver = Callable[[int | PortError], None]


class SqliteStore:
    """The Store port on a database in `folder`.

    `sync_spool` is called on the writer's thread before a commit that needs it; `deliver` from there with the number
    of the last durable batch (they count from 1), or once with the PortError that ended it all.
    """

    def __init__(self, folder: str, sync_spool: Callable[[], None], *, used_before: bool = False) -> None:
        self.path = store_path(folder)
        self.doubt = check_log(self.path)  # what is to be said of the log that the last one left; mostly nothing
        self._sync_spool = sync_spool
        self._connection = open_store(self.path, used_before=used_before)
        if self.doubt:
            with port_errors("clear the store's log", self.path):
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._connection.execute(f"PRAGMA journal_size_limit={LOG_KEPT_BYTES}")
        self._deliver: Deliver = lambda _: None
        self._todo: list[Batch] = []
        self._handed = self._durable = 0
        self._wake = threading.Condition()
        self._closing = False
        self._folder_synced = False
        self._locked_out_s: float | None = None  # since when the write lock is waited for (monotonic)
        self._gives_back = self._is_incremental()  # else the store was made before, and uses its space again
        self._may_shrink = self._gives_back and self._free_pages() > FREE_PAGES_KEPT
        self._files = StoreFiles(self.path)
        self._files.check()
        self._thread = threading.Thread(target=self._run, name="jqsched-store", daemon=True)
        with port_errors("open the store", self.path):
            self._reading = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)

    # -- at start

    def load(self) -> Stored:
        """Read the live jobs, their attempts and files, and the settings; each row as it was written. O(live jobs)."""
        with damage_refused("load the store", self.path):
            settings: dict[str, str] = dict(self._rows("meta"))
            seq, _, last_us, *_ = next(self._rows("events", "ORDER BY seq DESC LIMIT 1"), (0, 0, 0))
            highest, *_ = next(self._rows("jobs", "ORDER BY id DESC LIMIT 1"), (0,))
            arrays = set[Array]()
            queue = load(
                _noting_arrays(self._live(), arrays),
                seq=max(seq, int(settings.get("seq", 0))),
                last_us=max(last_us, int(settings.get("last_us", 0))),
                last_id=max(highest, int(settings.get("last_id", 0))),
                rules=kept_rules(settings.get(RULES)),
            )
            if arrays:
                queue = evolve(queue, arrays=id_map({array.id: self._progress(array) for array in arrays}))
            attempts = tuple(Attempt(*row) for row in self._rows("attempts", "ORDER BY id"))
            files: dict[int, str] = dict(self._rows("files"))
            self._look_for_lost(queue, files.keys() | {attempt.id for attempt in attempts})
            return Stored(queue, attempts, files, settings)

    def _live(self) -> Iterator[Job]:
        last_id = 0
        for job in map(codec.job_from_row, self._rows("jobs", "WHERE state < 64")):
            if job.id <= last_id or job.state is State.INACTIVE:
                raise codec.Damaged(f"job {job.id}: not in its place among the live ones")
            last_id = job.id
            yield job

    def _progress(self, array: Array) -> Progress:
        """Read how far an array is. O(elements)."""
        rows = self._rows("jobs", "WHERE id >= ? AND id < ?", (array.id, array.id + array.count))
        return progress_of(array, map(codec.job_from_row, rows))

    def _look_for_lost(self, queue: Queue, ids: AbstractSet[int]) -> None:
        """Look for live jobs that the index lacks: it has no checksums, so it may be damaged without notice.

        A file of a job that has no row at all proves nothing: a refused job may leave one.
        """
        for id_ in sorted(id_ for id_ in ids if find(queue, id_) is None):
            job = self._job(id_)
            if job is not None and job.state is not State.INACTIVE:
                raise codec.Damaged(f"job {id_}: not found among the live ones")

    def _rows(self, table: str, rest: str = "", values: Sequence[object] = ()) -> Iterator[codec.Row]:
        """Rows as they were written: a decision rests on each. Raises: codec.Damaged."""
        whole = partial(codec.whole, table)
        return map(whole, self._reading.execute(f"{SELECT_SUMMED[table]} {rest}", values))

    def start(self, deliver: Deliver) -> None:
        """Begin to write; until then batches wait."""
        self._deliver = deliver
        self._thread.start()

    # -- writing

    def submit(self, batch: Batch) -> int:
        """Hand over a batch; returns its number. Does not wait."""
        with self._wake:
            self._todo.append(batch)
            self._handed += 1
            self._wake.notify()
            return self._handed

    def close(self) -> None:
        """Make durable what was handed over, then close. Raises no error that was not delivered before."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join()
        self._reading.close()
        self._connection.close()

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._todo or self._closing or self._may_shrink)
                batches, self._todo = self._todo, []
                if not batches and self._closing:
                    return
            try:
                if batches:
                    self._write(batches)
                else:
                    self._may_shrink = self._shrink()
            except PortError as error:
                self._deliver(error)
                return
            except Exception as error:  # a value that SQLite cannot hold, say: a thread that dies unheard stops it all
                self._deliver(PortError("commit to the store", self.path, None, f"{type(error).__name__}: {error}"))
                return
            if batches:
                self._durable += len(batches)
                self._deliver(self._durable)

    def _write(self, batches: Sequence[Batch]) -> None:
        if any(batch.sync_spool for batch in batches):
            self._sync_spool()
        with port_errors("commit to the store", self.path):
            connection = self._connection
            self._begin()
            for batch in batches:
                _write_batch(connection, batch)
            if any(batch.purged for batch in batches) and self._gives_back:
                self._may_shrink = self._give_back()
            connection.execute("COMMIT")
        self._files.check()  # what is written to a file without a name is kept nowhere
        if not self._folder_synced:
            self._folder_synced = True
            _sync_folder(self.path)

    def _begin(self) -> None:
        """Begin a transaction, waiting for another process to release the write lock."""
        self._locked_out_s = time.monotonic()
        while True:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if not is_busy(error):
                    raise
                self._files.check()
            else:
                self._locked_out_s = None
                return

    def _shrink(self) -> bool:
        """Give a little of the space that purged jobs left back to the file system; whether there is more."""
        with port_errors("give space back", self.path):
            self._begin()
            has_more = self._give_back()
            self._connection.execute("COMMIT")
        self._files.check()
        return has_more

    def _is_incremental(self) -> bool:
        with port_errors("open the store", self.path):
            (mode,) = self._connection.execute("PRAGMA auto_vacuum").fetchone()
        return bool(mode == INCREMENTAL)

    def _free_pages(self) -> int:
        with port_errors("look at the store", self.path):
            return int(self._connection.execute("PRAGMA freelist_count").fetchone()[0])

    def _give_back(self) -> bool:
        """Give pages back, within a transaction; whether there are more.

        Best done with the purge that leaves them: the more pages are free, the longer SQLite looks for the last one.
        """
        free = self._free_pages()
        end_s = time.monotonic() + GIVE_BACK_S
        while free > FREE_PAGES_KEPT:
            self._connection.execute("PRAGMA incremental_vacuum(1)")  # of any number, Python's module would give back 1
            free -= 1
            if time.monotonic() >= end_s:
                break
        return free > FREE_PAGES_KEPT

    # -- what goes on around it; any thread

    def check(self) -> None:
        """Raise PortError when the store's files are not those that were opened."""
        self._files.check()

    @property
    def spacing_us(self) -> int:
        """The time between two commits; in proportion to a log that a reader's long transaction makes grow."""
        log_bytes = self._files.log_bytes
        return min(log_bytes // LOG_BYTES_PER_US, SPACING_MAX_US) if log_bytes > LOG_KEPT_BYTES else 0

    @property
    def is_log_full(self) -> bool:
        """Whether the log is so long that as little as possible is to be written."""
        return self._files.log_bytes > LOG_MAX_BYTES

    def warnings(self) -> list[str]:
        """Return warnings about the store, each with the process that causes it."""
        found, since_s = list[str](), self._locked_out_s
        if since_s is not None and time.monotonic() - since_s > LOCKED_OUT_S:
            found.append(
                f"{self.path}: {_those(self._files.writers())} the write lock: nothing is accepted or started until it"
                " lets go; jobs that run are not touched"
            )
        if self._files.log_bytes > LOG_LONG_BYTES:
            full = "; until then nothing is accepted or started" if self.is_log_full else ""
            found.append(
                f"{self.path}-wal: {self._files.log_bytes >> 20} MiB long, because"
                f" {_those(self._files.readers())} a read transaction: end it, and the log is written back{full}"
            )
        return found

    # -- reading on the loop's thread

    def outcomes(self, ids: Iterable[int], names: Iterable[OwnName]) -> dict[int | OwnName, Outcome]:
        """Return the outcomes of finished jobs: by id, and for each name the newest. Committed ones only."""
        found: dict[int | OwnName, Outcome] = {}
        with damage_refused("read the store", self.path):
            for id_ in ids:
                self._find(found, id_, "id = ?", (id_,))
            for name in names:
                self._find(found, name, "userid = ? AND name = ?", name)
        return found

    def _find(
        self, found: dict[int | OwnName, Outcome], key: int | OwnName, where: str, values: tuple[int | str, ...]
    ) -> None:
        newest = f"WHERE {where} AND state = {State.INACTIVE.value} ORDER BY id DESC LIMIT 1"
        for row in self._rows("jobs", newest, values):
            job = codec.job_from_row(row)
            element, outcome = job.spec.element, outcome_of(job)
            if element is not None and (key == element.array.id or not isinstance(key, int)):
                progress = self._progress(element.array)
                outcome = evolve(outcome, whole=progress if progress.is_over else None)
            found[key] = outcome

    def spec(self, id_: int) -> Draft | None:
        """Return a job's spec, with the urgency and pin that it had last; None when unknown."""
        with damage_refused("read the store", self.path):
            job = self._job(id_)
        if job is None:
            return None
        return Draft(evolve(job.spec, element=None), job.urgency, job.pin, requeue_of=id_)

    def _job(self, id_: int) -> Job | None:
        return next(map(codec.job_from_row, self._rows("jobs", "WHERE id = ?", (id_,))), None)

    def events(self, id_: int) -> list[Event]:
        """The event log of a job, oldest first. Committed ones only."""
        with damage_refused("read the store", self.path):
            rows = self._rows("events", "WHERE jobid = ? ORDER BY seq", (id_,))
            return [event for _, event in map(codec.event_from_row, rows)]

    def userid(self, id_: int) -> int | None:
        """Return the user of a job; None when unknown or purged."""
        with damage_refused("read the store", self.path):
            job = self._job(id_)
        return None if job is None else job.userid

    def file(self, id_: int) -> str | None:
        """The text of a live job's file as last accepted; None when there is none."""
        with damage_refused("read the store", self.path):
            return next((str(text) for _, text in self._rows("files", "WHERE id = ?", (id_,))), None)

    def finished_count(self) -> int:
        """How many jobs are finished, purged ones included."""
        with port_errors("read the store", self.path):
            row = self._reading.execute("SELECT count(*) FROM jobs WHERE state = 64").fetchone()
            purged = self._reading.execute("SELECT value FROM meta WHERE key = 'purged'").fetchone()
        return int(row[0]) + (int(purged[0]) if purged else 0)

    def finished_before(self, before_us: int, most: int) -> list[int]:
        """The ids of jobs that ended before this time, oldest first."""
        sql = f"""SELECT id FROM jobs WHERE state = 64 AND t_inactive_us < ? AND NOT {_OF_LIVE_ARRAY}
            ORDER BY t_inactive_us, id LIMIT ?"""
        with port_errors("read the store", self.path):
            return [id_ for (id_,) in self._reading.execute(sql, (before_us, most))]

    def is_finished(self, id_: int) -> bool:
        """Whether the store knows this job as finished."""
        with damage_refused("read the store", self.path):
            job = self._job(id_)
        return job is not None and job.state is State.INACTIVE


def _noting_arrays(jobs: Iterable[Job], arrays: set[Array]) -> Iterator[Job]:
    """Pass jobs on, and note of which arrays they are."""
    for job in jobs:
        if job.spec.element is not None:
            arrays.add(job.spec.element.array)
        yield job


def _those(processes: Sequence[str]) -> str:
    return f"{', '.join(processes) or 'another process'} {'hold' if len(processes) > 1 else 'holds'}"


def _sync_folder(path: str) -> None:
    """Make the names of a store's files durable: SQLite does it too when it makes its log, but hides a failure."""
    folder = os.path.dirname(path)
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise PortError("sync the store's folder", folder, error.errno, error.strerror or str(error)) from error


def _write_batch(connection: sqlite3.Connection, batch: Batch) -> None:
    seqs = range(batch.first_seq, batch.first_seq + len(batch.events))
    connection.executemany(PUT_EVENT, map(codec.summed, map(codec.event_to_row, seqs, batch.events)))
    named = {event.jobid for event in batch.events if event.spec is not None}
    for statement, jobs in (
        (PUT_JOB, [job for job in batch.jobs if job.id in named]),
        (UPDATE_JOB, [job for job in batch.jobs if job.id not in named]),
    ):
        connection.executemany(statement, map(codec.summed, map(codec.job_to_row, jobs)))
    if batch.attempts:
        attempts = [(a.id, a.attempt, a.pid, a.start_ticks, a.boot_id) for a in batch.attempts]
        connection.executemany(PUT_ATTEMPT, map(codec.summed, attempts))
    if batch.over:
        connection.executemany("DELETE FROM attempts WHERE id = ? AND attempt = ?", batch.over)
    if batch.arrays:
        arrays = [(array.id, array.count, array.indexes) for array in batch.arrays]
        connection.executemany(PUT_ARRAY, map(codec.summed, arrays))
    if batch.files:
        connection.executemany(PUT_FILE, map(codec.summed, batch.files))
    done = [(id_,) for id_ in files_over(batch)]
    if done:
        connection.executemany("DELETE FROM files WHERE id = ?", done)
    if batch.purged:
        _purge(connection, batch.purged)
    if batch.settings:
        connection.executemany(PUT_SETTING, map(codec.summed, batch.settings))


def _purge(connection: sqlite3.Connection, ids: Iterable[int]) -> None:
    """Delete all of these that are finished, and count the events that go: the audit misses all others."""
    finished = "SELECT id FROM jobs WHERE id = ? AND state = 64"
    gone = [(id_,) for id_ in ids]
    count = connection.executemany(f"DELETE FROM events WHERE jobid IN ({finished})", gone).rowcount
    connection.executemany("DELETE FROM jobs WHERE id = ? AND state = 64", gone)
    connection.execute(f"DELETE FROM arrays WHERE NOT EXISTS ({_ELEMENTS})")
    before = connection.execute("SELECT value FROM meta WHERE key = ?", (PURGED_EVENTS,)).fetchone() or (0,)
    connection.execute(PUT_SETTING, codec.summed((PURGED_EVENTS, str(int(before[0]) + count))))


def boot_id() -> str:
    """The id of this boot of the machine; empty where there is none."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text(encoding="ascii").strip() if os.access(path, os.R_OK) else ""
