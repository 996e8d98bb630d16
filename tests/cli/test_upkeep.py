"""`check`, `archive` and `check-spool`."""

import json
import sqlite3
import stat
from contextlib import closing

import pytest

from jqsched.adapters.store.reader import StoreReader
from jqsched.core.job import Job
from tests.cli.conftest import CANCELED, COMPLETED, QUEUED, SpoolMaker


def test_check_tells_good_from_bad(spool: SpoolMaker, tmp_path):
    good, bad = tmp_path / "good.json", tmp_path / "bad.toml"
    good.write_text('{"command": ["true"]}')
    bad.write_text("urgency = 99\ncores = 0\n")
    code, out, err = spool.run("check", str(good), str(bad), spool=False)
    assert (code, out) == (3, f"{good}: ok, a job named true\n")
    assert len(err.splitlines()) == 3
    assert all(line.startswith(f"{bad}: ") for line in err.splitlines())


@pytest.mark.parametrize("name", ["absent.json", "folder.json", "script.sh"])
def test_what_is_no_job_file_is_said(spool: SpoolMaker, tmp_path, name: str):
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "script.sh").write_text("true")
    code, out, err = spool.run("check", str(tmp_path / name), spool=False)
    assert (code, out) == (3, "")
    assert err.startswith(f"{tmp_path / name}: ")


def test_archive_keeps_all_that_is_known_of_finished_jobs(spool: SpoolMaker):
    spool.add(*COMPLETED, env=(("A", "1"),))
    spool.add(*QUEUED)
    code, out, err = spool.run("archive")
    assert (code, out) == (0, "")
    assert "archived 1 job(s)" in err
    (file,) = (spool.root / "archive").iterdir()
    assert file.name == "1.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    document = json.loads(file.read_text())
    assert document["job"]["result"] == "COMPLETED"
    assert len(document["events"]) == 10
    assert document["jobspec"]["attributes"]["system"]["environment"] == {"A": "1"}
    before = file.stat().st_mtime_ns
    assert "archived 0 job(s)" in spool.run("archive")[2]
    assert file.stat().st_mtime_ns == before


def test_archive_of_some(spool: SpoolMaker):
    for _ in range(3):
        spool.add(*COMPLETED)
    spool.add(*QUEUED)
    code, _, err = spool.run("archive", "2", "4", "9")
    assert code == 4
    assert "job 4: is not finished" in err
    assert "job 9: unknown" in err
    assert [file.name for file in (spool.root / "archive").iterdir()] == ["2.json"]
    assert "archived 0" in spool.run("archive", "--older-than", "90000d")[2]


def test_check_spool_finds_what_is_wrong_and_rebuild_mends_it(spool: SpoolMaker):
    spool.add(*COMPLETED)
    assert spool.run("check-spool")[:2] == (0, "")
    with sqlite3.connect(spool.root / "jqsched.db") as database:
        database.execute("UPDATE jobs SET urgency = 3")
    database.close()
    code, out, err = spool.run("check-spool")
    assert code == 1
    assert "job 1 is not in the job table as its events say" in out
    assert "--rebuild" in err
    code, out, err = spool.run("check-spool", "--rebuild")
    assert (code, out) == (0, "")
    assert spool.run("check-spool")[0] == 0


def test_rebuild_needs_the_spool_for_itself(spool: SpoolMaker):
    from jqsched.runtime import Role, spool_lock

    spool.add(*COMPLETED)
    with spool_lock(str(spool.root), Role.SCHEDULER, lambda *_: False):
        code, _, err = spool.run("check-spool", "--rebuild")
    assert code == 8
    assert "in use" in err


def test_there_must_be_a_store(spool: SpoolMaker):
    assert spool.run("check-spool")[0] == 1
    assert spool.run("check-spool", "--rebuild")[0] == 1


def test_many_are_archived_in_portions(spool: SpoolMaker, monkeypatch: pytest.MonkeyPatch):
    """All of them, and no transaction stays open while files are written: the store's log would grow."""
    for _ in range(5):
        spool.add(*COMPLETED)
    monkeypatch.setattr("jqsched.cli.maintenance.PORTION", 2)
    blocked: list[int] = []
    read = StoreReader.ended_after

    def spy(reader: StoreReader, end: tuple[int, int], most: int) -> list[Job]:
        found = read(reader, end, most)
        with closing(sqlite3.connect(reader.path)) as other:
            blocked.append(other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0])
        return found

    monkeypatch.setattr(StoreReader, "ended_after", spy)
    assert "archived 5 job(s)" in spool.run("archive")[2]
    assert blocked == [0] * 4
    assert len(list((spool.root / "archive").iterdir())) == 5


def test_archive_and_purge_of_all_leave_out_none(spool: SpoolMaker):
    """Those that ended just now, and those canceled while they were queued (Ganeti's W5 and W17)."""
    spool.add(*COMPLETED)
    spool.add(*CANCELED)
    assert "archived 1 job(s)" in spool.run("archive", "2")[2]
    assert "archived 1 job(s)" in spool.run("archive", "--older-than", "0")[2]
    assert sorted(file.name for file in (spool.root / "archive").iterdir()) == ["1.json", "2.json"]
    assert spool.run("purge", "--older-than", "0") == (0, "", "jqsched: purged 2 job(s)\n")
    assert spool.run("jobs", "-a", "--ids")[1] == ""


def test_output_of_a_job_that_the_store_does_not_know_is_a_finding(spool: SpoolMaker):
    """Commits are lost, or the store was put back from an older backup than the folders; of purged jobs it is none."""
    spool.add(*COMPLETED)
    (spool.root / "output").mkdir()
    for name in ("1.log", "2.log.txt", "notes.log", "0.log"):
        (spool.root / "output" / name).touch()
    assert spool.run("check-spool")[0] == 0
    assert spool.run("purge", "1")[0] == 0
    assert spool.run("check-spool")[0] == 0
    for name in ("3.log", "3.0.out"):  # of one task, of several
        (spool.root / "output" / name).touch()
        code, out, _ = spool.run("check-spool")
        assert code == 1
        assert out.startswith(f"{spool.root}/output/{name}: of a job that the store does not know")
        assert len(out.splitlines()) == 1
        (spool.root / "output" / name).unlink()


def test_each_damaged_row_is_a_line_and_rebuild_does_not_hide_it(spool: SpoolMaker):
    """What is to be done stands in it."""
    spool.add(*COMPLETED)
    spool.add(*QUEUED)
    with sqlite3.connect(spool.root / "jqsched.db") as database:
        database.execute("UPDATE events SET context = replace(context, '0', '1') WHERE seq IN (1, 12)")
        database.execute("UPDATE jobs SET priority = 3 WHERE id = 2")
    database.close()
    code, out, err = spool.run("check-spool")
    assert code == 1
    assert "event 1 (submit of job 1) is damaged: put a backup in its place" in out
    assert f"jqsched: {len(out.splitlines())} finding(s)" in err
    code, out, err = spool.run("check-spool", "--rebuild")
    assert (code, out) == (1, "")
    assert "event(s) 1" in err
    assert len(err.splitlines()) == 1
