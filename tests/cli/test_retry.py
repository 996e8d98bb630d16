"""`retry`, and what lists and simulations say of retries."""

import json
from pathlib import Path

import pytest

from jqsched.cli import formats
from jqsched.core.job import Retries
from tests.cli.conftest import (
    CANCELED,
    COMPLETED,
    QUEUED,
    STARTED,
    T0_US,
    TIMED_OUT,
    FakeScheduler,
    SpoolMaker,
    failed,
)

# ---- the command --------------------------------------------------------------------------------------------------


def test_failed_jobs_are_submitted_again_as_they_were_run(spool: SpoolMaker) -> None:
    """In the order of their ids; what succeeded or was canceled is not. Without a scheduler, too."""
    spool.add(*failed(256), name="a", command=("false",))
    spool.add(*COMPLETED, name="b")
    spool.add(*CANCELED, name="c")
    spool.add(*TIMED_OUT, name="d", time_limit_us=5_000_000)
    code, out, err = spool.run("retry", "--failed")
    assert (code, out) == (0, "5\n6\n")
    assert err == "jqsched: job 1: is run again as job 5\njqsched: job 4: is run again as job 6\n"
    assert spool.run("jobs", "--format", "{id} {name} {duration}", "--sort", "id")[1] == "5 a 0.0\n6 d 5.0\n"


def test_a_job_that_is_not_finished_is_refused(spool: SpoolMaker, scheduler: FakeScheduler) -> None:
    """The others are retried all the same; and nothing is stopped, as `requeue` would."""
    spool.add(*failed(256))
    spool.add(*STARTED)
    scheduler.answers["requeue"] = {"outcome": "resubmitted", "id": 3, "held": True}
    code, out, err = spool.run("retry", "1", "2")
    assert (code, out) == (5, "3\n")
    assert "job 2: is not finished (`jqsched requeue 2`" in err
    assert "job 1: is run again as job 3, held as it was (`jqsched release 3`)" in err
    assert scheduler.asked == [("requeue", {"id": 1})]


def test_which_jobs_must_be_said(spool: SpoolMaker) -> None:
    spool.add(*failed(256))
    assert spool.run("retry")[0] == 2
    assert spool.run("retry", "7")[0] == 4
    assert spool.run("retry", "--filter", "canceled") == (0, "", "jqsched: retry: no such jobs\n")


def test_the_new_jobs_are_waited_for(spool: SpoolMaker, scheduler: FakeScheduler) -> None:
    spool.add(*failed(256))
    spool.add(*failed(256))

    for _ in range(2):
        spool.add(*STARTED)
    scheduler.answers["requeue"] = [{"outcome": "resubmitted", "id": id_} for id_ in (3, 4)]

    def end(request) -> None:
        spool.add(*COMPLETED[len(STARTED) :], id_=3)
        spool.add(*failed(2 << 8)[len(STARTED) :], id_=4)
        request.respond({})

    scheduler.answers["wait"] = end
    code, out, err = spool.run("retry", "--failed", "--wait")
    assert (code, out) == (2, "3\n4\n")
    assert err.endswith("jqsched: job 4 (job4): FAILED (exit 2)\n")


# ---- what is shown ------------------------------------------------------------------------------------------------

AGAIN = (
    *STARTED,
    ("exception", {"type": "retry", "severity": 2, "note": "exit 75, 1 of 3", "userid": 0, "retry": 1}),
    ("release", {"ranks": "all", "final": True}),
    "free",
    ("requeue", {"attempt": 2, "status": 75 << 8}),
)


def test_a_list_says_when_the_next_retry_comes_and_which_one_runs(spool: SpoolMaker) -> None:
    until_us = T0_US + 8_000_000
    wait = f"begin-time={until_us / 1_000_000:.6f}"
    job = spool.add(*AGAIN, ("dependency-add", {"description": wait}), retries=Retries(3, delay_us=8_000_000))
    assert formats.remark(job, T0_US) == "retry 1 of 3 in 8 s"
    assert formats.remark(job, until_us + 5_000_000) == "retry 1 of 3 in 0 s"
    assert spool.run("jobs")[1].endswith("  retry 1 of 3 in 0 s\n")
    top = json.loads(spool.run("top", "--once", "--json")[1])
    assert "retry 1 of 3" in top["jobs"][0]["remark"]
    job = spool.add(("dependency-remove", {"description": wait}), "depend", *QUEUED[2:], *STARTED[3:], id_=1)
    assert formats.remark(job) == "retry 1 of 3"


@pytest.mark.parametrize(("fail", "result", "starts"), [("1", "FAILED", 3), ("0", "COMPLETED", 1)])
def test_a_simulation_retries(spool: SpoolMaker, tmp_path: Path, fail: str, result: str, starts: int) -> None:
    """Each attempt takes its time, and so do the delays between them."""
    (tmp_path / "drop").mkdir()
    file = tmp_path / "drop" / "a.json"
    file.write_text(json.dumps({"command": ["true"], "retries": {"max": 2, "delay": "10s", "factor": 3}}))
    file.chmod(0o600)
    line = ("simulate", str(tmp_path / "drop"), "--runtime", "60", "--fail", fail)
    (job,) = json.loads(spool.run(*line, "--json", spool=False)[1])["jobs"]
    assert job["result"] == result
    delays = 10 + 30 if starts == 3 else 0
    assert 60 * starts + delays <= job["end"] <= 60 * starts + delays * 1.1 + 1
    events = [json.loads(line)["name"] for line in spool.run(*line, "--events", spool=False)[1].splitlines()]
    assert events.count("start") == starts
    assert events.count("finish") == 1
