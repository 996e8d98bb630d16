"""The SQLite store: the audit finds whatever is wrong in a store, and the job table is mended from the events."""

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from jqsched.adapters.store import codec
from jqsched.adapters.store.fsck import audit, rebuild
from jqsched.adapters.store.reader import StoreReader
from jqsched.core.queue import same
from jqsched.testing.contracts.store import Author, Heard
from jqsched.testing.strategies import histories
from tests.adapters.store_case import make, open_store, overwrite, sql, sum_up


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
    """Changed or missing ones, those included that change no job, by whatever program they were written."""
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
    overwrite(tmp_path, 2, bytes)
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
