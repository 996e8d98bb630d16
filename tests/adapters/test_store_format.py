"""The SQLite store: what is no whole store of a known format is refused with a way out; an old format is migrated."""

import os
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from jqsched.adapters.store import codec, schema
from jqsched.adapters.store.fsck import audit, rebuild
from jqsched.adapters.store.reader import StoreReader
from jqsched.adapters.store.schema import FORMAT_VERSION, StoreRefused, store_path
from jqsched.core.queue import same
from jqsched.ports import Attempt, Batch, PortError
from jqsched.testing.contracts.store import Author, Heard
from tests.adapters.store_case import make, open_store, overwrite, sql


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
    """By the process that opened it: no other one can."""
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
    overwrite(tmp_path, 1, random.Random(2).randbytes)
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
    """All tables are still in the -wal file, and the .db file alone was copied.

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


# As format 1 stands in stores that exist: not derived from schema.py, which may change.
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
            if table == "arrays":  # since version 4
                continue
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
            assert rows or table == "arrays"
            assert all(map(codec.is_whole, rows)), table


def test_the_audit_of_a_store_of_version_1_finds_what_it_can(tmp_path: Path):
    """What the job table and its events tell of each other."""
    version_1(tmp_path, Author().job(1))
    sql(tmp_path, "UPDATE jobs SET status = 256")
    assert "job 1 is not in the job table as its events say" in audit(str(tmp_path))[0]
    assert rebuild(str(tmp_path)) == 1
    assert audit(str(tmp_path)) == []


def test_the_handbook_tells_the_format():
    """The page names the version of the format that is written."""
    page = Path(__file__).parents[2] / "docs/reference/spool.md"
    assert f"It is format {FORMAT_VERSION} (`PRAGMA user_version`)" in page.read_text()
    assert set(schema.MIGRATIONS) == set(range(1, FORMAT_VERSION))


def test_a_new_store_can_give_space_back(tmp_path: Path):
    """A setting of the file that can only be made while it is empty."""
    make(tmp_path)
    with closing(sqlite3.connect(store_path(tmp_path))) as connection:
        assert connection.execute("PRAGMA auto_vacuum").fetchone() == (schema.INCREMENTAL,)


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
