"""A store in which bits were flipped: each damaged row and each lost commit is said, and no scheduler acts upon it."""

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
from attrs import evolve

from jqsched.adapters.store import codec, wal
from jqsched.adapters.store.fsck import audit, rebuild
from jqsched.adapters.store.reader import StoreReader
from jqsched.adapters.store.schema import StoreRefused, store_path
from jqsched.adapters.store.writer import SqliteStore
from jqsched.core.job import Spec
from jqsched.ports import Attempt, Batch
from jqsched.testing.contracts.store import Author, Heard
from tests.adapters.store_damage import flip, run

SEED = 20_261_121
FRAME_BYTES = 24 + 4096
COMMITS = 6


def start(folder: Path) -> SqliteStore:
    return SqliteStore(str(folder), lambda: None, used_before=True)


# ---- any bit ------------------------------------------------------------------------------------------------------


def test_flipped_bits_deceive_nobody():
    """Each flip has no effect, or is found and refused by the reader that it would mislead. More: `store_damage`."""
    tally = run(SEED, 60)
    assert tally.deceived == []
    assert tally.found > 20
    assert tally.harmless > 5


def test_without_checksums_somebody_is_deceived(monkeypatch: pytest.MonkeyPatch):
    """So the test above can fail."""
    monkeypatch.setattr(codec, "checksum", lambda _: 0)
    assert run(SEED, 60).deceived != []


# ---- rows ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A store of a finished job, a running one and one that waits; closed."""
    author, heard = Author(), Heard()
    with closing(SqliteStore(str(tmp_path), lambda: None)) as store:
        store.start(heard)
        attempt = Attempt(2, 1, 77, 5, "boot")
        store.submit(author.job(1))
        store.submit(author.job(2, "start", attempts=(attempt,), files=((2, '{"command": ["true"]}'),)))
        store.submit(author.job(3, "priority", spec=Spec(("echo", "hello"), "echo", "/"), settings=(("drained", "1"),)))
        heard.wait(lambda heard: heard and heard[-1] == 3)
    assert audit(str(tmp_path)) == []
    return tmp_path


def change(folder: Path, statement: str) -> None:
    """Change a store behind the scheduler's back."""
    with closing(sqlite3.connect(store_path(folder), isolation_level=None)) as connection:
        assert connection.execute(statement).rowcount == 1


DAMAGED = {
    "UPDATE files SET text = replace(text, 'true', 'trum')": "the text of the file of job 2 is damaged",
    "UPDATE attempts SET pid = 76": "the record of attempt 1 of job 2 is damaged",
    "UPDATE meta SET value = '0' WHERE key = 'drained'": "the setting 'drained' is damaged",
    "UPDATE jobs SET spec = replace(spec, 'hello', 'hellm') WHERE id = 3": "job 3 is not in the job table as",
    "UPDATE jobs SET crc = crc + 1 WHERE id = 3": "job 3: the checksum in the job table is damaged",
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_what_a_scheduler_begins_with_is_whole_or_refused(folder: Path, damage: str):
    """The command of a waiting job, which job a pid belongs to, whether nothing is to start: a line, and no start."""
    change(folder, damage)
    (finding,) = audit(str(folder))
    assert DAMAGED[damage] in finding
    with closing(start(folder)) as store, pytest.raises(StoreRefused, match="check-spool"):
        store.load()


def test_a_damaged_event_is_named_and_nothing_is_made_of_it(folder: Path):
    """The job table made anew of damaged events would look whole; so it is left, with what is true in it."""
    change(folder, "UPDATE events SET context = replace(context, '1000', '1001') WHERE jobid = 1 AND name = 'submit'")
    change(folder, "UPDATE jobs SET priority = 5 WHERE id = 3")
    found = audit(str(folder))
    assert "event 1 (submit of job 1) is damaged: put a backup in its place" in found[0]
    with pytest.raises(StoreRefused, match=r"event\(s\) 1 are damaged"):
        rebuild(str(folder))
    assert audit(str(folder)) == found


def test_a_finished_job_with_a_damaged_event_can_be_purged(folder: Path):
    """Then nothing is left of the damage, and the table can be made anew."""
    change(folder, "UPDATE events SET context = replace(context, '1000', '1001') WHERE jobid = 1 AND name = 'submit'")
    author, heard = Author(), Heard()
    with closing(start(folder)) as store:
        author.queue = store.load().queue
        store.start(heard)
        heard.wait_for_batch(store.submit(author.batch(purged=(1,))))
    assert audit(str(folder)) == []
    assert rebuild(str(folder)) == 2


def test_nothing_is_made_of_events_of_which_some_are_missing(folder: Path):
    """A job that lacks its last events would be run again."""
    change(folder, "DELETE FROM events WHERE jobid = 1 AND name = 'clean'")
    with pytest.raises(StoreRefused, match=r"1 event\(s\) are missing"):
        rebuild(str(folder))


def test_a_damaged_job_that_is_over_is_not_run_again(folder: Path):
    """`requeue` and dependencies read finished jobs: what is damaged is refused, not passed on."""
    change(folder, "UPDATE jobs SET spec = replace(spec, 'true', 'trum'), status = 1 WHERE id = 1")
    with closing(start(folder)) as store:
        store.load()
        for ask in (lambda: store.spec(1), lambda: store.outcomes([1], []), lambda: store.userid(1)):
            with pytest.raises(StoreRefused, match="jobs 1: not as it was written"):
                ask()


def define(folder: Path, index: str, sql: str) -> None:
    """Change the definition of an index, and nothing else."""
    with closing(sqlite3.connect(store_path(folder))) as connection:
        connection.execute("PRAGMA writable_schema=ON")
        connection.execute("UPDATE sqlite_master SET sql = ? WHERE name = ?", (sql, index))
        connection.commit()


@pytest.mark.parametrize("lost", [2, 3])
def test_a_live_job_that_its_index_has_lost_is_not_taken_for_none(folder: Path, lost: int):
    """Its row is whole, but no reader would look at it: its attempt, or its file, tells."""
    heard = Heard()
    with closing(start(folder)) as store:
        queue = store.load().queue
        store.start(heard)
        heard.wait_for_batch(store.submit(Batch(queue, queue.seq + 1, files=((3, "{}"),))))
    right = "CREATE INDEX jobs_live ON jobs (id) WHERE state < 64"
    define(folder, "jobs_live", f"{right} AND id <> {lost}")
    with closing(sqlite3.connect(store_path(folder))) as connection:
        connection.execute("REINDEX jobs_live")
    define(folder, "jobs_live", right)
    assert f"row {lost} missing from index jobs_live" in audit(str(folder))[0]
    with closing(start(folder)) as store, pytest.raises(StoreRefused, match=f"job {lost}: not found among the live"):
        store.load()


@pytest.mark.parametrize("statement", ["PRAGMA user_version=0", "PRAGMA user_version=-2147483646"])
def test_a_format_that_never_was_is_no_empty_store(folder: Path, statement: str):
    """Seen to fail: with its version gone, a store was read as one without jobs."""
    with closing(sqlite3.connect(store_path(folder))) as connection:
        connection.execute(statement)
    assert len(audit(str(folder))) == 1
    with pytest.raises(StoreRefused, match="damaged"):
        StoreReader(str(folder))
    with pytest.raises(StoreRefused, match="damaged"):
        start(folder)


def test_a_changed_definition_of_a_table_is_found(folder: Path):
    """SQLite believes any that it can read."""
    with closing(sqlite3.connect(store_path(folder))) as connection:
        connection.execute("PRAGMA writable_schema=ON")
        connection.execute("UPDATE sqlite_master SET sql = replace(sql, 'pid INTEGER NOT', 'pid INTEGER_NOT')")
        connection.commit()
    assert any("the definition of a table or index is damaged" in finding for finding in audit(str(folder)))


# ---- the log ------------------------------------------------------------------------------------------------------


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """A store as kill -9 leaves it after some commits, all of them in its log."""
    there, left = tmp_path / "there", tmp_path / "left"
    there.mkdir()
    left.mkdir()
    author, heard = Author(), Heard()
    with closing(SqliteStore(str(there), lambda: None)) as store:
        store._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        store.start(heard)
        for number in range(1, COMMITS + 1):
            heard.wait_for_batch(store.submit(author.job(number, "priority")))
        for name in ("jqsched.db", "jqsched.db-wal"):
            shutil.copyfile(there / name, left / name)
    assert audit(str(left)) == []
    return left


def log_of(folder: Path) -> Path:
    return Path(f"{store_path(folder)}-wal")


def ids(folder: Path) -> list[int]:
    with closing(StoreReader(str(folder))) as reader:
        return [job.id for job in reader.active()]


def frames(folder: Path) -> int:
    return (log_of(folder).stat().st_size - 32) // FRAME_BYTES


@pytest.mark.parametrize("where", ["a page", "a frame's head", "a salt", "the log's head", "the log's salt"])
def test_commits_that_are_lost_in_a_log_are_said_and_refused(killed: Path, where: str):
    """SQLite drops all that follows the first frame that is not whole, without a word.

    Nothing is changed before a user says so; the way out that is named is one.
    """
    frame = 32 + (frames(killed) // 2) * FRAME_BYTES
    places = {"a page": frame + 1000, "a frame's head": frame + 4, "a salt": frame + 9}
    flip(log_of(killed), 8 * {**places, "the log's head": 1, "the log's salt": 18}[where])
    before = log_of(killed).read_bytes()
    (finding,) = audit(str(killed))
    with pytest.raises(StoreRefused) as refusal:
        start(killed)
    assert str(refusal.value) == finding
    assert "lost" in finding
    assert len(ids(killed)) < COMMITS
    assert log_of(killed).read_bytes() == before
    (way_out,) = [word for word in finding.split('"') if word.startswith("PRAGMA")]
    with closing(sqlite3.connect(store_path(killed))) as connection:
        connection.execute(way_out)
    assert audit(str(killed)) == []
    start(killed).close()


@pytest.mark.parametrize("back_bytes", [100, FRAME_BYTES - 10], ids=["its page", "its salt"])
def test_a_last_commit_that_is_not_whole_is_said_once(killed: Path, back_bytes: int):
    """A crash may have torn it while it was written, so there is a start; or it is damaged, so it is not silent."""
    flip(log_of(killed), 8 * (log_of(killed).stat().st_size - back_bytes))
    (finding,) = audit(str(killed))
    assert "the last commit" in finding
    with closing(start(killed)) as store:
        assert store.doubt == finding
        assert list(store.load().queue.enqueued) == list(range(1, COMMITS))
        assert audit(str(killed)) == []
    with closing(start(killed)) as store:
        assert store.doubt == ""


@pytest.mark.parametrize("cut", [1, 24, 4096, FRAME_BYTES])
def test_a_torn_end_of_a_log_is_no_damage(killed: Path, cut: int):
    """What a process that is killed leaves of a commit that it was writing: no client was told of that."""
    os.truncate(log_of(killed), log_of(killed).stat().st_size - cut)
    assert all("the last commit" in finding for finding in audit(str(killed)))
    start(killed).close()


def test_an_older_log_behind_the_new_one_is_no_damage(killed: Path):
    """A log is written over from its beginning, and what was behind stays."""
    author, heard = Author(), Heard()
    with closing(start(killed)) as store:
        author.queue = store.load().queue
        store.start(heard)
        store._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        size = log_of(killed).stat().st_size
        heard.wait_for_batch(store.submit(author.job(COMMITS + 1, "priority")))
        assert log_of(killed).stat().st_size == size
        assert wal.look(store_path(killed)) == wal.Look()


def test_frames_that_are_summed_up_at_once_are_judged_as_one_after_the_other(
    killed: Path, monkeypatch: pytest.MonkeyPatch
):
    """Whatever is wrong with a log, and however its frames are portioned, the finding is the same.

    Seen to fail: with 64 pairs of words before a sum was cut off, whole frames were found broken.
    """
    log, at_once = log_of(killed), wal._are_whole
    content, random, findings, right = log.read_bytes(), Random(SEED), set[str](), list[int]()
    spoiled = [content, _flipped(content, 40), *(content[: random.randrange(len(content))] for _ in range(10))]
    spoiled += [_flipped(content, random.randrange(8 * len(content))) for _ in range(40)]

    def spy(portion: memoryview, frames: int, magic: int, sums: wal.Sums, salts: list[int]) -> bool:
        is_right = at_once(portion, frames, magic, sums, salts)
        right.append(frames if is_right else 0)
        return is_right

    for data in spoiled:
        log.write_bytes(data)
        monkeypatch.setattr(wal, "_are_whole", lambda *_: False)
        found = wal.look(store_path(killed))
        findings.add(found.lost[:8] or found.doubt[:15])
        monkeypatch.setattr(wal, "_are_whole", spy)
        for portion in (1, 3, 256):
            monkeypatch.setattr(wal, "AT_ONCE", portion)
            assert wal.look(store_path(killed)) == found
    assert findings == {"", "its head", "damaged ", "the last commit"}
    assert max(right) > 3


def _flipped(data: bytes, bit: int) -> bytes:
    return b"%s%c%s" % (data[: bit // 8], data[bit // 8] ^ 1 << bit % 8, data[bit // 8 + 1 :])


def test_the_log_of_a_busy_writer_is_no_damage(tmp_path: Path):
    """It is looked at while it grows, and begins anew."""
    code = """
import sys
from jqsched.adapters.store.writer import SqliteStore
from jqsched.testing.contracts.store import Author, Heard
author, heard = Author(), Heard()
store = SqliteStore(sys.argv[1], lambda: None)
store._connection.execute("PRAGMA wal_autocheckpoint=20")
store.start(heard)
print("begun", flush=True)
for number in range(1, 100_000):
    heard.wait_for_batch(store.submit(author.job(number)))
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        found = [text for _ in range(100) for text in audit_of_the_log(tmp_path)]
        writer.kill()
    assert found == []


def test_a_log_that_was_half_written_at_one_look_is_looked_at_again(monkeypatch: pytest.MonkeyPatch):
    """Where it breaks at the same frame again, it is damaged; unless it has begun anew in between."""
    torn, whole = [wal.Look(at, lost="lost") for at in range(1, 9)], wal.Look()
    anew = evolve(torn[4], head=b"another")
    monkeypatch.setattr(wal, "PAUSE_S", 0.0)
    for looks, found in (
        ([torn[4], whole], whole),
        ([torn[4], torn[6], torn[6]], torn[6]),
        (torn, whole),
        ([torn[4], anew, whole], whole),
        ([torn[4], anew, anew], anew),
    ):
        left = iter(looks)
        monkeypatch.setattr(wal, "look", lambda _, left=left: next(left))
        assert wal.look_beside_a_writer("x") == found


def audit_of_the_log(folder: Path) -> list[str]:
    found = wal.look_beside_a_writer(store_path(folder))
    return [found.lost or found.doubt] if found.at else []
