"""What others do to the files of a store that is in use: taken away, locked, or read without an end."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from jqsched.adapters.store import presence, writer
from jqsched.adapters.store.fsck import audit
from jqsched.adapters.store.reader import StoreReader
from jqsched.adapters.store.schema import store_path
from jqsched.adapters.store.writer import SqliteStore
from jqsched.core.event import Event
from jqsched.core.job import Spec
from jqsched.ports import PortError
from jqsched.testing.contracts.store import PATIENCE_S, Author, Heard
from tests.adapters.store_case import PAGE_BYTES, open_store


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def store(tmp_path: Path, heard: Heard) -> Iterator[SqliteStore]:
    made = open_store(tmp_path)
    made.start(heard)
    yield made
    made.close()


# ---- taken away ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["removed", "replaced"])
@pytest.mark.parametrize("suffix", ["", "-wal", "-shm"])
def test_a_file_that_is_taken_away_is_noticed_before_anything_is_told_durable(
    store: SqliteStore, heard: Heard, tmp_path: Path, suffix: str, how: str
):
    """With the next commit, and with the next look."""
    author, path = Author(), Path(store_path(tmp_path) + suffix)
    heard.wait_for_batch(store.submit(author.job(1)))
    store.check()
    path.rename(f"{path}.away")
    if how == "replaced":
        path.write_bytes(Path(f"{path}.away").read_bytes())
    with pytest.raises(PortError) as found:
        store.check()
    assert (found.value.path, "put it back" in str(found.value)) == (str(path), True)
    store.submit(author.job(2))
    heard.wait(lambda heard: len(heard) == 2)
    assert str(heard.all[1]) == str(found.value)


# ---- locked -------------------------------------------------------------------------------------------------------


def test_a_write_lock_is_waited_for_and_said(
    store: SqliteStore, heard: Heard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """However long another process holds it; nothing is lost, and it goes on by itself."""
    author, waited = Author(), Heard()
    monkeypatch.setattr(writer, "LOCKED_OUT_S", 0.0)
    store._connection.execute("PRAGMA busy_timeout=1")
    real = presence.StoreFiles.check

    def check(files: presence.StoreFiles) -> None:
        waited(1)
        real(files)

    monkeypatch.setattr(presence.StoreFiles, "check", check)
    with closing(sqlite3.connect(store_path(tmp_path), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        number = store.submit(author.job(1))
        waited.wait(lambda times: len(times) > 3)
        (said,) = store.warnings()
        assert "the write lock" in said
        assert heard.all == []
        other.execute("ROLLBACK")
    heard.wait_for_batch(number)
    assert store.warnings() == []
    assert audit(str(tmp_path)) == []


LOCKS = """1: POSIX  ADVISORY  READ 700 fe:00:4711 124 124
1: -> POSIX  ADVISORY  WRITE 701 fe:00:4711 124 124
2: POSIX  ADVISORY  READ 702 fe:00:4711 128 128
3: POSIX  ADVISORY  WRITE 703 fe:00:4711 120 120
4: FLOCK  ADVISORY  WRITE 704 fe:00:4711 0 EOF
5: POSIX  ADVISORY  READ 705 fe:00:47110 124 124
6: POSIX  ADVISORY  READ 706 fe:00:4711 100 EOF
7: OFDLCK ADVISORY  READ -1 fe:00:4711 127 127
"""


def test_who_holds_a_lock_is_read_from_the_kernel():
    """Those whose range covers the byte; not those that wait for it, nor those of other files."""
    lines = LOCKS.splitlines()
    assert list(presence._lock_holders(lines, 4711, presence._READ_MARKS)) == [700, 706, -1]
    assert list(presence._lock_holders(lines, 4711, presence._WRITE_LOCK)) == [703, 706]


# ---- read without an end ------------------------------------------------------------------------------------------


def test_a_log_that_a_reader_keeps_from_beginning_anew_is_said(
    store: SqliteStore, heard: Heard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """How long it is, that fewer commits are better, and when it is too long; when the reader ends, it is cut back."""
    author = Author()
    monkeypatch.setattr(writer, "LOG_KEPT_BYTES", 100_000)
    monkeypatch.setattr(writer, "LOG_LONG_BYTES", 100_000)
    store._connection.execute("PRAGMA journal_size_limit=100000")
    store._connection.execute("PRAGMA wal_autocheckpoint=1")
    with closing(StoreReader(str(tmp_path))) as reader, reader.snapshot():
        reader.last_seq()
        heard.wait_for_batch(store.submit(author.job(1)))
        assert (store.warnings(), store.spacing_us, store.is_log_full) == ([], 0, False)
        heard.wait_for_batch(store.submit(author.job(2, spec=Spec(("x" * 200_000,), "big", "/"))))
        (said,) = store.warnings()
        assert "a read transaction: end it" in said
        assert 0 < store.spacing_us < writer.SPACING_MAX_US
        assert not store.is_log_full
        monkeypatch.setattr(writer, "LOG_BYTES_PER_US", 0.001)
        assert store.spacing_us == writer.SPACING_MAX_US
        monkeypatch.setattr(writer, "LOG_MAX_BYTES", 100_000)
        assert store.is_log_full
        assert "nothing is accepted or started" in store.warnings()[0]
    for id_ in (3, 4, 5):
        heard.wait_for_batch(store.submit(author.job(id_)))
    assert (store.warnings(), store.spacing_us, store.is_log_full) == ([], 0, False)


def test_a_change_of_a_job_leaves_the_index_over_names_as_it_is(store: SqliteStore, heard: Heard, tmp_path: Path):
    """A commit writes each page that it touches to the log, and names are anywhere in that index; a rename is in it."""
    author, log = Author(), Path(f"{store_path(tmp_path)}-wal")
    life = author.life(1)
    heard.wait_for_batch(store.submit(author.batch(life[:3])))
    index = "SELECT rootpage FROM sqlite_master WHERE name = 'jobs_by_name'"
    (page,) = store._reading.execute(index).fetchone()
    before = log.stat().st_size
    heard.wait_for_batch(store.submit(author.batch(life[3:])))
    assert page not in pages_since(log, before)
    renamed = Event(2, author.queue.last_us + 9, "jobspec-update", {}, Spec(("true",), "other", "/"))
    heard.wait_for_batch(store.submit(author.job(2, "priority")))
    before = log.stat().st_size
    heard.wait_for_batch(store.submit(author.batch([renamed])))
    assert page in pages_since(log, before)
    with closing(StoreReader(str(tmp_path))) as reader:
        assert {id_: job.spec.name for id_, job in reader.jobs([1, 2]).items()} == {1: "job", 2: "other"}
    assert audit(str(tmp_path)) == []


def pages_since(log: Path, size: int) -> set[int]:
    """The pages whose frames were added to a log."""
    data = log.read_bytes()
    return {int.from_bytes(data[at : at + 4], "big") for at in range(max(size, 32), len(data), 24 + PAGE_BYTES)}


# ---- space --------------------------------------------------------------------------------------------------------


def big(author: Author, id_: int) -> object:
    return author.job(id_, spec=Spec(("x" * 100_000,), "big", "/"))


def test_space_of_purged_jobs_is_given_back(tmp_path: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch):
    """In the commit that deletes them, as far as time allows, and the rest when there is nothing else to write; what is
    left is whole.
    """
    author = Author()
    monkeypatch.setattr(writer, "FREE_PAGES_KEPT", 200)
    monkeypatch.setattr(writer, "GIVE_BACK_S", PATIENCE_S)
    with closing(open_store(tmp_path)) as store:
        store.start(heard)
        for id_ in range(1, 21):
            heard.wait_for_batch(store.submit(big(author, id_)))
        store._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        before = os.path.getsize(store_path(tmp_path))
        heard.wait_for_batch(store.submit(author.batch(purged=tuple(range(1, 20)), settings=(("seq", "200"),))))
        assert store._reading.execute("PRAGMA freelist_count").fetchone() == (200,)
    monkeypatch.setattr(writer, "FREE_PAGES_KEPT", 10)
    with closing(open_store(tmp_path, used_before=True)) as store:
        monkeypatch.setattr(writer, "GIVE_BACK_S", 0.0)
        assert store._shrink(), "one page at least, or it would never end"
        assert store._reading.execute("PRAGMA freelist_count").fetchone() == (199,)
        monkeypatch.setattr(writer, "GIVE_BACK_S", PATIENCE_S)
        assert not store._shrink()
    assert os.path.getsize(store_path(tmp_path)) < before / 4
    assert audit(str(tmp_path)) == []


def test_a_store_that_was_made_before_keeps_its_space_until_it_is_told(tmp_path: Path, heard: Heard):
    """The way to tell it is in the handbook: one statement of SQLite's own."""
    author = Author()
    with closing(open_store(tmp_path)) as store:
        store.start(heard)
        store.submit(big(author, 1))
    sql_free(tmp_path, "PRAGMA auto_vacuum=NONE", "VACUUM")
    with closing(open_store(tmp_path, used_before=True)) as store:
        assert not store._gives_back
    sql_free(tmp_path, "PRAGMA auto_vacuum=INCREMENTAL", "VACUUM")
    with closing(open_store(tmp_path, used_before=True)) as store:
        assert store._connection.execute("PRAGMA auto_vacuum").fetchone() == (2,)
    assert audit(str(tmp_path)) == []


def sql_free(folder: Path, *statements: str) -> None:
    with closing(sqlite3.connect(store_path(folder), isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)
