"""Whatever call is the last one of the scheduler or of its executor, nothing is lost and nothing runs twice.

A few points are looked at in each run of the suite, all of them by `python3 dev.py sweep` and `night`.
"""

import os
from pathlib import Path

import pytest

from tests.crash.injection import ERRORS, STRACE, Point, Spool, points

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        STRACE is None and "strace" not in os.environ.get("JQSCHED_DEMANDED", ""),
        reason="strace is not installed (Debian: strace)",
    ),
]

# One for each kind of thing that is lost when it is the last: a file moved, a commit, an order, a process, news.
CHOSEN = [
    Point("renameat2", 2),
    Point("fdatasync", 4),
    Point("sendto", 3),
    Point("clone3", 2),
    Point("pwrite64", 40, "ENOSPC"),
    Point("unlinkat", 2, "EIO"),
]


def survive(folder: Path, point: Point) -> None:
    """Hit a scheduler at a point, start another, and look at what came of the jobs."""
    spool = Spool(folder)
    hit = spool.run_with(point)
    assert "Traceback" not in hit.stderr, f"{point}: {hit.stderr}"
    next_run = spool.run()
    assert next_run.returncode == 0, f"{point}: {next_run.stderr}"
    assert not list(spool.faults()), f"{point}: {hit.stderr}\n{next_run.stderr}"


@pytest.mark.parametrize("point", CHOSEN, ids=lambda point: f"{point.call}-{point.number}-{point.error}")
def test_a_chosen_call_is_the_last_one_or_fails(tmp_path: Path, point: Point):
    survive(tmp_path, point)


@pytest.mark.sweep
@pytest.mark.parametrize("error", [False, True], ids=["killed", "refused"])
@pytest.mark.parametrize("call", sorted(ERRORS))
def test_each_call_is_the_last_one_or_fails(tmp_path: Path, call: str, error: bool):
    """At every number of the call; a call that the scheduler no longer makes is taken off the table."""
    (tmp_path / "counted").mkdir()
    chosen = [point for point in points(tmp_path / "counted", error) if point.call == call]
    assert chosen, f"{call} is never called"
    for point in chosen:
        folder = tmp_path / f"{call}-{point.number}"
        folder.mkdir()
        survive(folder, point)


def test_a_job_that_ran_twice_or_is_missing_is_noticed(tmp_path: Path):
    """After a whole run nothing is wrong; a second attempt of an at-most-once job, and a job that did nothing, are."""
    spool = Spool(tmp_path)
    spool.run()
    assert not list(spool.faults())
    (tmp_path / "ran" / "once.2").mkdir()
    (tmp_path / "ran" / "low.1").rmdir()
    assert [fault.partition(":")[0] for fault in sorted(spool.faults())] == ["low", "once"]
