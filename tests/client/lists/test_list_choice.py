"""`jqsched.job.list`: a list has the jobs that were asked for, in Flux's order, as they are at the moment of asking."""

import os
from pathlib import Path

import pytest

from jqsched import Handle
from jqsched.constants import (
    FLUX_JOB_RESULT_CANCELED,
    FLUX_JOB_RESULT_COMPLETED,
    FLUX_JOB_STATE_INACTIVE,
    FLUX_JOB_STATE_PENDING,
    FLUX_JOB_STATE_RUN,
    FLUX_JOB_STATE_RUNNING,
    FLUX_RPC_STREAMING,
)
from jqsched.job import JobList, get_job, job_list, job_list_id, job_list_inactive
from tests.cli.conftest import QUEUED, T0_US, SpoolMaker
from tests.client.lists.ten_jobs import EVERYBODY, IN_ORDER, everybody_s, ids
from tests.e2e.conftest import Daemon

# ---- which, and in what order -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "wanted"),
    [
        ({}, IN_ORDER),
        ({"max_entries": 3}, [8, 7, 9]),
        ({"max_entries": 7}, [8, 7, 9, 10, 6, 5, 4]),
        ({"max_entries": 0}, IN_ORDER),
        ({"states": FLUX_JOB_STATE_PENDING}, [8, 7, 9, 10]),
        ({"states": FLUX_JOB_STATE_RUNNING}, [6, 5]),
        ({"states": FLUX_JOB_STATE_INACTIVE}, [4, 3, 2, 1]),
        ({"results": FLUX_JOB_RESULT_CANCELED | FLUX_JOB_RESULT_COMPLETED}, [3, 1]),
        ({"states": FLUX_JOB_STATE_RUN, "results": FLUX_JOB_RESULT_CANCELED}, [6, 5, 3]),
        ({"name": "build"}, [5, 2, 1]),
        ({"name": "build", "results": FLUX_JOB_RESULT_COMPLETED}, [1]),
        ({"name": ""}, IN_ORDER),
        ({"queue": "batch"}, [2]),
        ({"queue": "debug"}, []),
        ({"constraint": {"not": [{"states": ["active"]}]}}, [4, 3, 2, 1]),
        ({"constraint": {"or": [{"name": ["build"]}, {"states": ["depend"]}]}, "max_entries": 2}, [9, 5]),
        ({"constraint": {"t_submit": [f">{T0_US / 1e6 + 1}"]}}, []),
    ],
)
def test_which_and_in_what_order(handle: Handle, how: dict, wanted: list[int]):
    assert everybody_s(handle, **how) == wanted


def test_since_is_for_finished_jobs_and_strict(spool: SpoolMaker, handle: Handle):
    """What is passed is a job's own t_inactive: that job is not listed again, the next one is."""
    for number in (2, 3):
        since = job_list_id(handle, number).get_jobinfo().t_inactive
        assert everybody_s(handle, since=since) == [*IN_ORDER[:6], *range(4, number, -1)]
        assert ids(job_list_inactive(handle, since)) == list(range(4, number, -1))
    between_s = (spool.jobs[2].t_inactive_us + 0.5) / 1e6
    assert ids(job_list_inactive(handle, between_s)) == [4, 3]
    assert ids(job_list_inactive(handle, 1e300)) == []


def test_inactive_jobs_are_everybody_s(spool: SpoolMaker, handle: Handle):
    assert ids(job_list_inactive(handle)) == [4, 3, 2, 1]
    assert ids(job_list_inactive(handle, max_entries=2)) == [4, 3]
    assert ids(job_list_inactive(handle, name="build", queue="batch")) == [2]
    assert ids(job_list_inactive(handle, attrs=[], constraint={"results": ["failed"]})) == [2]


def test_without_a_user_the_jobs_are_the_caller_s(handle: Handle, monkeypatch: pytest.MonkeyPatch):
    """The documentation says all users; the code asks for the caller's."""
    assert bool(ids(job_list(handle))) == (os.getuid() == 0)
    assert ids(job_list(handle, userid=0)) == IN_ORDER
    assert ids(job_list(handle, userid=4711)) == []
    monkeypatch.setattr(os, "getuid", lambda: 4711)
    assert JobList(handle).jobs() == []
    monkeypatch.setattr(os, "getuid", lambda: 0)
    assert len(JobList(handle).jobs()) == 10


# ---- whose words are read -----------------------------------------------------------------------------------------


def test_a_spool_in_which_nothing_was_dropped_has_no_jobs(tmp_path: Path):
    with Handle(tmp_path) as handle:
        assert job_list(handle, userid=EVERYBODY).get_jobs() == []
        assert get_job(handle, 1) is None
        assert JobList(handle, user="all").jobs() == []


def test_what_another_request_left_half_read_does_not_hold_the_past(spool: SpoolMaker, handle: Handle):
    """All services read through one connection; a cursor left open in it would show an old moment to the next."""
    journal = handle.rpc("job-manager.events-journal", {"full": True}, flags=FLUX_RPC_STREAMING)
    log = handle.rpc("job-info.eventlog-watch", {"id": 1, "path": "eventlog"}, flags=FLUX_RPC_STREAMING)
    listed = handle.rpc("job-list.list", {"max_entries": 0, "attrs": []}, flags=FLUX_RPC_STREAMING)
    for rpc in (journal, log, listed):
        rpc.get()
    new = spool.add(*QUEUED, name="new")
    assert everybody_s(handle, name="new") == [new.id]
    assert get_job(handle, new.id) is not None


def test_what_was_answered_can_be_read(daemon: Daemon):
    """A submission that is answered is in the next list, and in get_job; a cancellation too, its state and all."""
    daemon.start("--max-running", "1")
    with Handle(daemon.spool) as handle, Handle(daemon.spool) as other:
        for number in range(20):
            text = f'{{"command": ["true"], "urgency": 0, "name": "job{number}"}}'
            id_ = handle.rpc("job-manager.submit", {"text": text}).get()["id"]
            for reader in (handle, other):
                assert everybody_s(reader, name=f"job{number}") == [id_]
                job = get_job(reader, id_)
                assert job is not None
                assert (job["state"], job["priority"]) == ("SCHED", 0)
            handle.rpc("job-manager.cancel", {"id": id_, "note": "because"}).get()
            for reader in (handle, other):
                assert ids(job_list_inactive(reader, max_entries=1)) == [id_]
                job = get_job(reader, id_)
                assert job is not None
                assert (job["result"], job["exception"]["note"]) == ("CANCELED", "because")
