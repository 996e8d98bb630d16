"""The SQLite store: commits are whole, durable and told; an error is told once; readers beside a writer see commits."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from jqsched.adapters.store.fsck import audit
from jqsched.adapters.store.reader import StoreReader
from jqsched.adapters.store.schema import store_path
from jqsched.adapters.store.writer import SqliteStore
from jqsched.core.event import Event
from jqsched.core.job import Spec
from jqsched.core.queue import EMPTY, evolve_all, same
from jqsched.ports import PortError
from jqsched.testing.contracts.store import Author, Heard
from tests.adapters.store_case import open_store


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def store(tmp_path: Path, heard: Heard) -> Iterator[SqliteStore]:
    made = open_store(tmp_path)
    made.start(heard)
    yield made
    made.close()


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
