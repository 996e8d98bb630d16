"""What only the SQLite store has: its format, what it refuses, its error, its audit, and readers beside a writer."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from jqsched.adapters.store import codec, schema
from jqsched.adapters.store.audit import audit, rebuild
from jqsched.adapters.store.reader import StoreReader
from jqsched.adapters.store.schema import FORMAT_VERSION, StoreRefused, store_path
from jqsched.adapters.store.writer import SqliteStore
from jqsched.core.event import Event
from jqsched.core.job import Dependency, Job, JobException, OnInterrupt, Reason, Spec, State
from jqsched.core.queue import EMPTY, evolve_all, same
from jqsched.ports import Attempt, Batch, PortError
from jqsched.testing.contracts.store import Author, Heard
from jqsched.testing.strategies import histories


def open_store(folder: Path, *, used_before: bool = False) -> SqliteStore:
    return SqliteStore(str(folder), lambda: None, used_before=used_before)


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def store(tmp_path: Path, heard: Heard) -> Iterator[SqliteStore]:
    made = open_store(tmp_path)
    made.start(heard)
    yield made
    made.close()


def make(folder: Path, *batches: Batch) -> None:
    """Leave a store with these batches behind."""
    made, heard = open_store(folder), Heard()
    made.start(heard)
    for batch in batches:
        made.submit(batch)
    made.close()
    assert heard.all == ([len(batches)] if batches else [])


def sql(folder: Path, *statements: str) -> None:
    """Change a store behind everybody's back."""
    with closing(sqlite3.connect(store_path(folder), isolation_level=None)) as connection:
        for statement in statements:
            changed = connection.execute(statement).rowcount
            assert changed != 0, f"nothing was changed by {statement}"


def sum_up(folder: Path) -> None:
    """Make the checksums right again: what stands in the store is then what a scheduler wrote, wrong as it may be."""
    with closing(sqlite3.connect(store_path(folder), isolation_level=None)) as connection:
        connection.create_function("checksum", -1, lambda *row: codec.checksum(row))
        for table, columns in codec.COLUMNS.items():
            connection.execute(f"UPDATE {table} SET crc = checksum({','.join(columns)})")


# ---- rows and values ----------------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
numbers = st.integers(0, 2**63 - 1)
times = st.integers(0, 2**53)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
contexts = st.dictionaries(texts, json_values, max_size=3)
specs = st.builds(
    Spec,
    command=st.lists(texts, min_size=1, max_size=3).map(tuple),
    name=texts,
    cwd=texts,
    env=st.dictionaries(texts, texts, max_size=3).map(lambda env: tuple(sorted(env.items()))),
    cores=numbers,
    tasks=numbers,
    nodes=numbers,
    time_limit_us=st.none() | numbers,
    output=st.none() | texts,
    error=st.none() | texts,
    on_interrupt=st.sampled_from(OnInterrupt),
    reasons=st.lists(st.builds(Reason, texts, texts, st.none() | numbers), max_size=2).map(tuple),
    dependencies=st.lists(
        st.builds(Dependency, texts, st.none() | numbers | texts, st.booleans()),
        max_size=2,
    ).map(tuple),
    jobspec=st.none() | contexts,
)
events = st.builds(Event, numbers, times, texts, contexts, st.none() | specs)
jobs = st.builds(
    Job,
    id=numbers,
    spec=specs,
    userid=numbers,
    state=st.sampled_from(State),
    urgency=numbers,
    urgency_before=numbers,
    pin=st.none() | numbers,
    priority=st.integers(-1, 2**32),
    waits=st.lists(texts, max_size=3).map(tuple),
    attempt=numbers,
    interruptions=numbers,
    requeuing=st.booleans(),
    fatal=st.booleans(),
    exception=st.none() | st.builds(JobException, texts, numbers, texts),
    status=st.none() | numbers,
    **{
        f"t_{what}_us": times
        for what in ("submit", "depend", "priority", "sched", "run", "start", "cleanup", "inactive")
    },
)


def through_sqlite(row: codec.Row) -> codec.Row:
    """What SQLite makes of the values of a row."""
    with closing(sqlite3.connect(":memory:")) as connection:
        return connection.execute(f"SELECT {','.join('?' * len(row))}", row).fetchone()


@given(specs)
def test_a_spec_reads_back_as_it_was_written(spec: Spec):
    """Every field, and its type with it."""
    back = codec.spec_from_json(codec.spec_to_json(spec))
    assert repr(back) == repr(spec)


def test_reasons_without_a_time_stand_as_they_always_did():
    """Pairs; so rows of before reasons had times still load, and new ones without times look the same."""
    spec = Spec(("x",), "x", "/", reasons=(Reason("me", "why"), Reason("me", "when", 5)))
    written = codec.spec_to_json(spec)
    assert '"reasons":[["me","why"],["me","when",5]]' in written
    assert codec.spec_from_json(written) == spec


@given(numbers, events)
def test_an_event_reads_back_as_it_was_written(seq: int, event: Event):
    """Through the database, with its seq."""
    back = codec.event_from_row(through_sqlite(codec.event_to_row(seq, event)))
    assert repr(back) == repr((seq, event))


@given(jobs)
def test_a_job_reads_back_as_it_was_written(job: Job):
    """Through the database; every column has its field."""
    row = codec.job_to_row(job)
    assert len(row) == len(codec.JOB_COLUMNS)
    assert repr(codec.job_from_row(through_sqlite(row))) == repr(job)


@pytest.mark.parametrize("field", [name for name in codec.JOB_COLUMNS if name not in ("name", "spec")])
def test_each_column_holds_the_field_of_its_name(field: str):
    """So that SQL over the job table means what it says."""
    job = Job(1, Spec(("true",), "n", "/"), 7)
    other: Any = {"state": State.RUN, "waits": ("x",), "exception": JobException("a", 0, "b"), "requeuing": True}
    changed = evolve(job, **{field: other.get(field, True if field == "fatal" else 55)})
    before, after = codec.job_to_row(job), codec.job_to_row(changed)
    assert [name for name, a, b in zip(codec.JOB_COLUMNS, before, after, strict=True) if a != b] == [field]


# ---- opening ------------------------------------------------------------------------------------------------------


def refused(folder: Path, *, used_before: bool = False) -> str:
    """Open and load; the text with which it is refused. Whatever was there is still there, byte for byte."""
    path = Path(store_path(folder))
    before = path.read_bytes() if path.exists() else None
    with pytest.raises(StoreRefused) as refusal, closing(open_store(folder, used_before=used_before)) as opened:
        opened.load()
    assert (path.read_bytes() if path.exists() else None) == before
    assert str(path) in str(refusal.value)
    return str(refusal.value)


def test_a_newer_format_is_refused(tmp_path: Path):
    """The way out: the newer program."""
    make(tmp_path, Author().job(1))
    sql(tmp_path, f"PRAGMA user_version={FORMAT_VERSION + 1}")
    assert "install that version, or put a backup in its place" in refused(tmp_path)


def is_open(path: str) -> bool:
    """Whether this process has the file open."""
    return path in [os.readlink(entry) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]


@pytest.mark.parametrize("wrong", ["a newer format", "random bytes"])
@pytest.mark.parametrize("opens", [StoreReader, lambda folder: open_store(Path(folder))], ids=["reading", "writing"])
def test_a_store_that_is_refused_is_closed_again(tmp_path: Path, wrong: str, opens: Callable[[str], object]):
    """By who opened it: nobody else can."""
    make(tmp_path)
    if wrong == "a newer format":
        sql(tmp_path, f"PRAGMA user_version={FORMAT_VERSION + 1}")
    else:
        Path(store_path(tmp_path)).write_bytes(random.Random(1).randbytes(5000))
    with pytest.raises(StoreRefused) as refusal:
        opens(str(tmp_path))
    assert not is_open(store_path(tmp_path))
    assert refusal.tb is not None  # which holds all that the opener held: only a close can have closed it


def test_a_database_of_others_is_refused(tmp_path: Path):
    """The way out: move it away."""
    with closing(sqlite3.connect(store_path(tmp_path))) as connection:
        connection.execute("CREATE TABLE mine (x)")
    assert "move it away, or name another folder with --store" in refused(tmp_path)


def test_random_bytes_are_refused(tmp_path: Path):
    """The way out: check-spool, or a backup."""
    Path(store_path(tmp_path)).write_bytes(random.Random(1).randbytes(5000))
    assert "jqsched check-spool" in refused(tmp_path)


@pytest.mark.parametrize("left", [1, 50, 100, 4096, 0.5, 0.9])
def test_a_truncated_store_is_refused(tmp_path: Path, left: float):
    """Wherever it was cut off."""
    author = Author()
    make(tmp_path, *(author.job(id_, "alloc") for id_ in range(1, 100)))
    path = Path(store_path(tmp_path))
    size = path.stat().st_size
    os.truncate(path, left if left >= 1 else int(size * left))
    assert "a backup" in refused(tmp_path, used_before=True)


def test_damage_inside_is_refused_when_it_is_met(tmp_path: Path):
    """Pages overwritten with random bytes behind a good first one: no traceback, no empty queue."""
    author = Author()
    make(tmp_path, *(author.job(id_, "alloc") for id_ in range(1, 100)))
    path = Path(store_path(tmp_path))
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(random.Random(2).randbytes(size - 4096))
    assert "jqsched check-spool" in refused(tmp_path)


@pytest.mark.parametrize("damage", ["spec = '{'", "spec = '[]'", "spec = '{}'", "state = 3", "waits = '7'"])
def test_values_that_nobody_wrote_are_refused(tmp_path: Path, damage: str):
    """A database that is whole, but does not hold what a scheduler writes."""
    make(tmp_path, Author().job(1, "alloc"))
    sql(tmp_path, f"UPDATE jobs SET {damage}")
    assert "jqsched check-spool" in refused(tmp_path)


def test_a_missing_store_where_there_was_one_is_never_started_empty(tmp_path: Path):
    """The way out: a backup, or to say that it is meant to be empty."""
    text = refused(tmp_path, used_before=True)
    assert "put it back from a backup" in text
    assert "jqsched.lock" in text


def test_an_empty_file_where_there_was_a_store_is_refused(tmp_path: Path):
    """As when it is missing: that is what a full disk or a careless `>` leaves."""
    Path(store_path(tmp_path)).touch()
    assert "put it back from a backup" in refused(tmp_path, used_before=True)


def test_a_store_whose_log_was_lost_is_never_started_empty(tmp_path: Path):
    """All tables are still in the -wal file, and somebody copied the .db file alone.

    Seen to fail: a database without tables was taken for a new one.
    """
    there, copied = tmp_path / "there", tmp_path / "copied"
    there.mkdir()
    copied.mkdir()
    with closing(open_store(there)):
        Path(store_path(copied)).write_bytes(Path(store_path(there)).read_bytes())
    assert Path(store_path(copied)).stat().st_size > 0
    assert "put it back from a backup" in refused(copied, used_before=True)


def test_the_files_of_a_store_are_for_its_owner_only(tmp_path: Path):
    """They hold the environment of jobs; `--store` may name a folder that others look into.

    Seen to fail: SQLite makes files as the umask says.
    """
    author, heard = Author(), Heard()
    with closing(open_store(tmp_path)) as opened:
        opened.start(heard)
        heard.wait_for_batch(opened.submit(author.job(1)))
        modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == dict.fromkeys(("jqsched.db", "jqsched.db-wal", "jqsched.db-shm"), 0o600)


def test_a_new_store_says_what_it_is(tmp_path: Path):
    """Application id and format version are what `file`, backups and later versions go by."""
    make(tmp_path)
    with closing(sqlite3.connect(store_path(tmp_path))) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (schema.APPLICATION_ID,)
        assert connection.execute("PRAGMA user_version").fetchone() == (FORMAT_VERSION,)


def test_an_old_format_is_migrated_step_by_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """From each version to the next, and the new number stays; what was there still is."""
    make(tmp_path, Author().job(1, "alloc"))
    monkeypatch.setattr(schema, "FORMAT_VERSION", FORMAT_VERSION + 2)
    steps = {
        FORMAT_VERSION: "CREATE TABLE first (x)",
        FORMAT_VERSION + 1: "INSERT INTO first VALUES (7)",
    }
    migrations = {old: _does(statement) for old, statement in steps.items()}
    monkeypatch.setattr(schema, "MIGRATIONS", migrations)
    with closing(open_store(tmp_path)) as opened:
        assert set(opened.load().queue.running) == {1}
    with closing(sqlite3.connect(store_path(tmp_path))) as connection:
        assert connection.execute("SELECT x FROM first").fetchall() == [(7,)]
        assert connection.execute("PRAGMA user_version").fetchone() == (FORMAT_VERSION + 2,)


VERSION_1 = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE events (
    seq INTEGER PRIMARY KEY, jobid INTEGER NOT NULL, t_us INTEGER NOT NULL, name TEXT NOT NULL, context TEXT, spec TEXT
);
CREATE INDEX events_of_job ON events (jobid, seq);
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, spec TEXT NOT NULL, userid INTEGER NOT NULL, state INTEGER NOT NULL,
    urgency INTEGER NOT NULL, urgency_before INTEGER NOT NULL, pin INTEGER, priority INTEGER NOT NULL, waits TEXT,
    attempt INTEGER NOT NULL, interruptions INTEGER NOT NULL, requeuing INTEGER NOT NULL, fatal INTEGER NOT NULL,
    exception TEXT, status INTEGER, t_submit_us INTEGER NOT NULL, t_depend_us INTEGER NOT NULL,
    t_priority_us INTEGER NOT NULL, t_sched_us INTEGER NOT NULL, t_run_us INTEGER NOT NULL,
    t_start_us INTEGER NOT NULL, t_cleanup_us INTEGER NOT NULL, t_inactive_us INTEGER NOT NULL
);
CREATE INDEX jobs_live ON jobs (id) WHERE state < 64;
CREATE INDEX jobs_inactive ON jobs (t_inactive_us, id) WHERE state = 64;
CREATE INDEX jobs_by_name ON jobs (name, id);
CREATE TABLE attempts (
    id INTEGER PRIMARY KEY, attempt INTEGER NOT NULL, pid INTEGER NOT NULL, start_ticks INTEGER NOT NULL,
    boot_id TEXT NOT NULL
);
CREATE TABLE files (id INTEGER PRIMARY KEY, text TEXT NOT NULL);
"""


def version_1(folder: Path, *batches: Batch) -> None:
    """Leave a store of format 1 with these batches behind."""
    there = folder / "there"
    there.mkdir()
    make(there, *batches)
    with closing(sqlite3.connect(store_path(folder), isolation_level=None)) as connection:
        connection.executescript(VERSION_1)
        connection.execute("ATTACH ? AS there", (store_path(there),))
        for table, columns in codec.COLUMNS.items():
            connection.execute(f"INSERT INTO {table} SELECT {','.join(columns)} FROM there.{table}")
        connection.execute(f"PRAGMA application_id={schema.APPLICATION_ID}")
        connection.execute("PRAGMA user_version=1")


def test_a_store_of_version_1_gets_checksums(tmp_path: Path):
    """Read and checked as it is before; after the first start every row has its checksum, and all is what it was."""
    author = Author()
    running = author.job(2, "start", attempts=(Attempt(2, 1, 77, 5, "boot"),), files=((2, "{}"),))
    version_1(tmp_path, author.job(1), running, author.job(3, "priority", settings=(("drained", "1"),)))
    assert audit(str(tmp_path)) == []
    with closing(StoreReader(str(tmp_path))) as reader:
        before = [*reader.journal(), *reader.active(), *reader.finished()]
    with closing(open_store(tmp_path, used_before=True)) as opened:
        stored = opened.load()
    assert (stored.attempts, stored.files, stored.settings) == (running.attempts, {2: "{}"}, {"drained": "1"})
    assert same(stored.queue, author.queue)
    assert audit(str(tmp_path)) == []
    with closing(StoreReader(str(tmp_path))) as reader:
        assert [*reader.journal(), *reader.active(), *reader.finished()] == before
    with closing(sqlite3.connect(store_path(tmp_path))) as connection:
        for table, columns in codec.COLUMNS.items():
            rows = connection.execute(f"SELECT {','.join(columns)}, crc FROM {table}").fetchall()
            assert rows
            assert all(map(codec.is_whole, rows)), table


def test_the_audit_of_a_store_of_version_1_finds_what_it_can(tmp_path: Path):
    """What the job table and its events tell of each other."""
    version_1(tmp_path, Author().job(1))
    sql(tmp_path, "UPDATE jobs SET status = 256")
    assert "job 1 is not in the job table as its events say" in audit(str(tmp_path))[0]
    assert rebuild(str(tmp_path)) == 1
    assert audit(str(tmp_path)) == []


def test_a_checksum_is_what_it_always_was():
    """Stores are full of them: another Python, or another way to sum up, must come to the same numbers."""
    row = (7, 3, 1_795_247_114_000_000, "exception", '{"note":"Größe \u2713"}', None)
    assert codec.checksum(row) == 255_087_138
    assert codec.checksum((1, "{}")) == 2_343_365_988


def _does(statement: str) -> Callable[[sqlite3.Connection], None]:
    def migrate(connection: sqlite3.Connection) -> None:
        connection.execute(statement)

    return migrate


def test_a_migration_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The step and its version number are one transaction."""
    make(tmp_path, Author().job(1, "alloc"))
    monkeypatch.setattr(schema, "FORMAT_VERSION", FORMAT_VERSION + 1)

    def migrate(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM jobs")
        connection.execute("no SQL at all")

    monkeypatch.setattr(schema, "MIGRATIONS", {FORMAT_VERSION: migrate})
    with pytest.raises(PortError, match="prepare the store"):
        open_store(tmp_path)
    monkeypatch.undo()
    with closing(open_store(tmp_path)) as opened:
        assert set(opened.load().queue.running) == {1}


# ---- writing ------------------------------------------------------------------------------------------------------


def test_the_writer_syncs_every_commit(store: SqliteStore):
    """WAL with synchronous=FULL, asked of the very connection that writes: at NORMAL a power cut takes commits back."""
    assert store._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert store._connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_batches_that_wait_become_durable_in_one_commit(tmp_path: Path, heard: Heard):
    """A hundred batches cost one sync, and are told once."""
    author = Author()
    with closing(open_store(tmp_path)) as waiting:
        statements: list[str] = []
        waiting._connection.set_trace_callback(statements.append)
        for id_ in range(1, 101):
            waiting.submit(author.job(id_))
        waiting.start(heard)
        heard.wait_for_batch(100)
    assert heard.all == [100]
    assert [statement for statement in statements if statement in ("BEGIN IMMEDIATE", "COMMIT")] == [
        "BEGIN IMMEDIATE",
        "COMMIT",
    ]


def fill_up(store: SqliteStore) -> None:
    """From now on the disk is full."""
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count={pages}")


def test_an_error_is_told_once_and_nothing_more_is_written(tmp_path: Path, heard: Heard):
    """A full disk: PortError with the path and SQLite's name for it; batches that come later are not tried."""
    author = Author()
    with closing(open_store(tmp_path)) as full:
        full.start(heard)
        full.submit(author.job(1))
        heard.wait_for_batch(1)
        fill_up(full)
        full.submit(author.job(2, spec=Spec(("x" * 100_000,), "big", "/")))
        heard.wait(lambda heard: len(heard) == 2)
        full._connection.execute("PRAGMA max_page_count=1000000")  # the disk has room again
        full.submit(author.job(3))
    error = heard.all[1]
    assert isinstance(error, PortError)
    assert (error.doing, error.path) == ("commit to the store", store_path(tmp_path))
    assert error.text.startswith("SQLITE_FULL")
    assert len(heard.all) == 2
    assert audit(str(tmp_path)) == []
    with closing(StoreReader(str(tmp_path))) as reader:
        assert [job.id for job in reader.finished()] == [1]


def test_a_failed_commit_is_whole_in_nothing(tmp_path: Path, heard: Heard):
    """All batches of it are absent, those that would have fitted too."""
    author = Author()
    with closing(open_store(tmp_path)) as full:
        fill_up(full)
        full.submit(author.job(1))
        full.submit(author.job(2, spec=Spec(("x" * 100_000,), "big", "/")))
        full.start(heard)
        heard.wait(len)
    assert isinstance(heard.all[0], PortError)
    with closing(StoreReader(str(tmp_path))) as reader:
        assert reader.last_seq() == 0


def test_a_sync_of_the_spool_that_fails_ends_it_as_well(tmp_path: Path, heard: Heard):
    """Nothing is committed that says that files are where they may not be."""

    def sync() -> None:
        raise PortError("syncing the spool", "/spool/jobs", 5, "Input/output error")

    with closing(SqliteStore(str(tmp_path), sync)) as opened:
        opened.start(heard)
        opened.submit(Author().job(1, sync_spool=True))
        heard.wait(len)
        assert opened.finished_count() == 0
    assert [str(error) for error in heard.all] == ["syncing the spool: /spool/jobs: Input/output error"]


def test_a_folder_that_cannot_be_synced_is_told(tmp_path: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch):
    """SQLite syncs it too when it makes its log, and hides it when that fails."""

    def failing(fd: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("jqsched.adapters.store.writer.os.fsync", failing)
    with closing(open_store(tmp_path)) as opened:
        opened.start(heard)
        opened.submit(Author().job(1))
        heard.wait(len)
    assert [str(error) for error in heard.all] == [f"sync the store's folder: {tmp_path}: Input/output error"]


def test_a_value_that_cannot_be_stored_is_an_error_and_no_silence(tmp_path: Path, heard: Heard):
    """A lone surrogate, which SQLite cannot hold: told as any other failed commit.

    Seen to fail: the writer's thread died of it unheard, and the scheduler waited for ever.
    """
    author = Author()
    note = {"type": "x", "severity": 5, "note": "\ud800", "userid": 1}
    with closing(open_store(tmp_path)) as opened:
        opened.start(heard)
        opened.submit(author.batch([*author.life(1, "alloc"), Event(1, 10**9, "exception", note)]))
        heard.wait(len)
    assert isinstance(heard.all[0], PortError)
    assert "UnicodeEncodeError" in heard.all[0].text


# ---- readers ------------------------------------------------------------------------------------------------------


def test_a_reader_beside_the_writer_sees_whole_commits(store: SqliteStore, heard: Heard, tmp_path: Path):
    """Each time it looks: what was told to be durable is there, and jobs and events agree."""
    author = Author()
    with closing(StoreReader(str(tmp_path))) as reader:
        for id_ in range(1, 30):
            heard.wait_for_batch(store.submit(author.job(id_, "clean" if id_ % 2 else "alloc")))
            seen = {job.id for job in [*reader.active(), *reader.finished()]}
            assert seen == set(range(1, id_ + 1))
            assert reader.last_seq() == author.queue.seq
        assert audit(str(tmp_path)) == []


WRITER = """
import sys
from jqsched.adapters.store.writer import SqliteStore
from jqsched.testing.contracts.store import Author, Heard

class Told(Heard):
    def __call__(self, outcome):
        print(outcome, flush=True)
        super().__call__(outcome)

author, heard = Author(), Told()
store = SqliteStore(sys.argv[1], lambda: None)
store.start(heard)
for id_ in range(1, 100_000):
    number = store.submit(author.job(id_, "clean" if id_ % 3 else "alloc"))
    if number > 7:
        heard.wait_for_batch(number - 7)
"""


@pytest.mark.parametrize("told", [1, 5, 25])
def test_what_was_told_durable_survives_kill_9(tmp_path: Path, told: int):
    """A writer killed among its commits: the audit is clean, nothing told is missing, and the next one goes on."""
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parents[2],
    )
    with writer:
        assert writer.stdout is not None
        durable = [int(writer.stdout.readline()) for _ in range(told)][-1]
        writer.kill()
    assert writer.returncode == -signal.SIGKILL
    assert audit(str(tmp_path)) == []
    with closing(StoreReader(str(tmp_path))) as reader:
        there = {job.id for job in [*reader.active(), *reader.finished()]}
        log = [event for _, event in reader.journal()]
    assert there == set(range(1, max(there) + 1))
    assert max(there) >= durable
    with closing(open_store(tmp_path, used_before=True)) as opened:
        assert same(opened.load().queue, evolve_all(EMPTY, log))


def test_a_reader_of_no_store_makes_none(tmp_path: Path):
    """Looking changes nothing."""
    with pytest.raises(FileNotFoundError):
        StoreReader(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


# ---- the audit ----------------------------------------------------------------------------------------------------


@pytest.fixture
def spoiled(tmp_path: Path) -> Path:
    """A folder with a good store of three jobs: finished, running, and finished and purged."""
    author = Author()
    batches = [author.job(1), author.job(2, "alloc"), author.job(3)]
    last = author.queue
    kept = (("seq", str(last.seq)), ("last_us", str(last.last_us)), ("last_id", str(last.last_id)))
    make(tmp_path, *batches, author.batch(purged=(3,), settings=kept))
    assert audit(str(tmp_path)) == []
    return tmp_path


COPIED = ",".join(codec.JOB_COLUMNS[1:])
COPY = f"INSERT INTO jobs (id, {COPIED}) SELECT 9, {COPIED} FROM jobs WHERE id = 1"


@pytest.mark.parametrize(
    ("damage", "finding"),
    [
        ("UPDATE jobs SET status = 256 WHERE id = 1", "job 1 is not in the job table as its events say"),
        ("UPDATE jobs SET name = 'other' WHERE id = 2", "job 2 is not in the job table as its events say"),
        ("DELETE FROM jobs WHERE id = 2", "job 2 is not in the job table as its events say"),
        (COPY, "job 9 is in the job table, but has no events"),
    ],
)
def test_a_wrong_job_table_is_found_and_mended(spoiled: Path, damage: str, finding: str):
    """A row that was changed, one that is missing, one too many: rebuilt from the events."""
    sql(spoiled, damage)
    found = audit(str(spoiled))
    assert len(found) == 1
    assert finding in found[0]
    assert rebuild(str(spoiled)) == 2
    assert audit(str(spoiled)) == []


@pytest.mark.parametrize(
    ("damage", "finding"),
    [
        ("UPDATE events SET context = '{\"status\":256}' WHERE jobid = 1 AND name = 'finish'", "as its events say"),
        ("UPDATE events SET context = '[1]' WHERE jobid = 1 AND name = 'submit'", "job 1 does not fold"),
        ("UPDATE events SET context = '{' WHERE jobid = 1 AND name = 'submit'", "job 1 does not fold"),
        ("UPDATE events SET spec = NULL WHERE jobid = 1 AND name = 'submit'", "job 1 does not fold"),
        ("UPDATE events SET name = 'start' WHERE jobid = 1 AND name = 'validate'", "job 1 does not fold"),
        ("UPDATE events SET t_us = 5 WHERE jobid = 2 AND name = 'alloc'", "is not after the one before it"),
        ("DELETE FROM events WHERE jobid = 2 AND name = 'alloc'", "as its events say"),
        ("DELETE FROM events WHERE jobid = 1 AND name = 'free'", "1 event(s) are missing"),
        ("DELETE FROM events WHERE jobid = 1", "10 event(s) are missing"),
    ],
)
def test_wrong_events_are_found(spoiled: Path, damage: str, finding: str):
    """Changed or missing ones, those included that change no job; whoever wrote them."""
    sql(spoiled, damage)
    sum_up(spoiled)
    assert any(finding in text for text in audit(str(spoiled))), audit(str(spoiled))


def test_a_purge_leaves_no_finding(spoiled: Path):
    """The gap that it makes is counted; purging the same again counts nothing."""
    last, heard = open_store(spoiled), Heard()
    author = Author()
    author.queue = last.load().queue
    last.start(heard)
    heard.wait_for_batch(last.submit(author.batch(purged=(3, 1))))
    heard.wait_for_batch(last.submit(author.batch(purged=(1,))))
    last.close()
    assert audit(str(spoiled)) == []


def test_a_job_whose_events_do_not_fold_keeps_its_row(spoiled: Path):
    """Rebuilding must not lose a job: its file would be taken for a new one's and run again.

    Seen to fail: the row was deleted.
    """
    sql(spoiled, "UPDATE events SET name = 'start' WHERE jobid = 2 AND name = 'validate'")
    sql(spoiled, "DELETE FROM jobs WHERE id = 1")
    sum_up(spoiled)
    rebuild(str(spoiled))
    with closing(StoreReader(str(spoiled))) as reader:
        assert set(reader.jobs([1, 2])) == {1, 2}


def test_damaged_pages_are_found(tmp_path: Path):
    """The audit reports what SQLite says, and does not fall over it."""
    author = Author()
    make(tmp_path, *(author.job(id_, "alloc") for id_ in range(1, 100)))
    path = Path(store_path(tmp_path))
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096 * 2)
        file.write(bytes(size - 4096 * 2))
    assert audit(str(tmp_path)) != []


def test_no_store_is_a_finding(tmp_path: Path):
    """And the audit makes none."""
    assert "there is no store" in audit(str(tmp_path))[0]
    assert list(tmp_path.iterdir()) == []


@given(histories())
def test_the_job_table_of_any_history_passes_the_audit(tmp_path_factory: pytest.TempPathFactory, history: Any):
    """What the core decides, the store keeps, and the audit finds right; cut into batches of seven events."""
    folder = tmp_path_factory.mktemp("spool")
    author, log = Author(), list(history.events)
    make(folder, *(author.batch(log[at : at + 7]) for at in range(0, len(log), 7)))
    assert audit(str(folder)) == []
    with closing(open_store(folder)) as opened:
        assert same(opened.load().queue, history.queue.settled())
