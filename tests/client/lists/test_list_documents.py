"""`jqsched.job.list`: a job in a list, or asked for by its id, is the document that Flux makes of it."""

import errno
import os
from pathlib import Path

import pytest

from jqsched import Handle
from jqsched.constants import FLUX_JOB_STATE_RUN, FLUX_JOB_STATE_SCHED, FLUX_RPC_STREAMING
from jqsched.core.attributes import ALL, ATTRIBUTES
from jqsched.core.job import Dependency
from jqsched.job import JobID, JobListIdRPC, JobListRPC, get_job, job_list, job_list_id
from tests.cli.conftest import COMPLETED, ENDED, QUEUED, STARTED, T0_US, FakeScheduler, SpoolMaker
from tests.client.lists.ten_jobs import IN_ORDER, ids

# ---- in which form ------------------------------------------------------------------------------------------------


def seconds(offset_us: int) -> float:
    return (T0_US + offset_us) / 1_000_000


def test_a_document_is_flux_s(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """As captured of a completed job: these keys, and no others."""
    spool = SpoolMaker(tmp_path, capsys)
    spool.add(*COMPLETED, name="true")
    with Handle(tmp_path) as handle:
        (document,) = job_list(handle, userid=0).get_jobs()
    assert document == {
        "id": 1,
        "userid": 0,
        "urgency": 16,
        "priority": 16,
        "t_submit": seconds(1),
        "t_depend": seconds(2),
        "t_priority": seconds(3),
        "t_sched": seconds(4),
        "t_run": seconds(5),
        "t_cleanup": seconds(7),
        "t_inactive": seconds(10),
        "state": 64,
        "name": "true",
        "cwd": "/home/user",
        "ntasks": 1,
        "ncores": 1,
        "duration": 0.0,
        "nnodes": 1,
        "ranks": "0",
        "nodelist": os.uname().nodename,
        "success": True,
        "exception_occurred": False,
        "result": 1,
        "expiration": 0.0,
        "annotations": {"sched": {"resource_summary": "1 core"}},
        "waitstatus": 0,
    }


@pytest.mark.parametrize(
    ("number", "there", "absent"),
    [
        (10, {"priority": 0, "urgency": 0}, ("t_run", "nnodes", "ranks", "result", "annotations", "dependencies")),
        (9, {"dependencies": ["after-success=5"], "state": 2}, ("priority", "t_priority", "t_sched")),
        (5, {"nnodes": 1, "ranks": "0", "state": 16}, ("waitstatus", "success", "exception_occurred", "t_cleanup")),
        (3, {"exception_type": "cancel", "exception_severity": 0, "exception_note": "because"}, ("waitstatus",)),
        (2, {"queue": "batch", "waitstatus": 768, "success": False, "result": 2}, ("project", "exception_type")),
    ],
)
def test_what_is_not_known_is_absent(handle: Handle, number: int, there: dict, absent: tuple[str, ...]):
    document = job_list_id(handle, number).get_job()
    assert there.items() <= document.items()
    assert not document.keys() & set(absent)


def test_an_exception_is_told_when_the_job_is_over(spool: SpoolMaker, handle: Handle):
    mild = ("exception", {"type": "edit", "severity": 5, "note": "no", "userid": 0})
    job = spool.add(*STARTED, mild)
    assert not {key for key in job_list_id(handle, job.id).get_job() if key.startswith("exception")}
    spool.add(("finish", {"status": 0}), *ENDED, id_=job.id)
    told = {"exception_occurred": True, "exception_type": "edit", "exception_severity": 5, "exception_note": "no"}
    assert told.items() <= job_list_id(handle, job.id).get_job().items()


def test_dependencies_shrink_and_stay(spool: SpoolMaker, handle: Handle):
    waits = [("dependency-add", {"description": f"after-success={number}"}) for number in (5, 6)]
    job = spool.add(*waits, "validate", dependencies=(Dependency("afterok", 5), Dependency("afterok", 6)))
    seen = [job_list_id(handle, job.id).get_job()["dependencies"]]
    for _, context in waits:
        spool.add(("dependency-remove", context), id_=job.id)
        seen.append(job_list_id(handle, job.id).get_job()["dependencies"])
    assert seen == [["after-success=5", "after-success=6"], ["after-success=6"], []]


def test_nodes_that_were_asked_for_are_known_before_there_are_any(spool: SpoolMaker, handle: Handle):
    document = job_list_id(handle, spool.add(*QUEUED, nodes=2, tasks=2, cores=4, time_limit_us=1_500_000).id).get_job()
    assert [document[key] for key in ("nnodes", "ntasks", "ncores", "duration")] == [2, 2, 4, 1.5]
    assert "expiration" not in document


def test_a_running_job_has_an_expiration(spool: SpoolMaker, handle: Handle):
    """Its time limit counts from the start of its process."""
    job = spool.add(*STARTED, time_limit_us=1_500_000)
    assert job_list_id(handle, job.id).get_jobinfo().expiration == (job.t_start_us + 1_500_000) / 1e6


def test_only_what_is_asked_for(handle: Handle):
    assert job_list(handle, userid=0, attrs=["name", "state"], max_entries=1).get_jobs() == [
        {"id": 8, "name": "job8", "state": 8}
    ]
    assert job_list(handle, userid=0, attrs=[], max_entries=1).get_jobs() == [{"id": 8}]
    assert job_list_id(handle, 8, attrs=("urgency",)).get_job() == {"id": 8, "urgency": 16}
    assert job_list_id(handle, 8, attrs=["name", "all"]).get_job() == job_list_id(handle, 8).get_job()


def test_all_attributes_are_named(handle: Handle):
    attrs = handle.rpc("job-list.list-attrs").get()["attrs"]
    assert attrs == [*ATTRIBUTES, ALL]
    assert len(attrs) == 33


def test_a_list_can_be_streamed(handle: Handle):
    payload = {"max_entries": 3, "attrs": ["name"], "constraint": {}}
    rpc = handle.rpc("job-list.list", payload, flags=FLUX_RPC_STREAMING)
    answers = []
    while rpc.error_string() is None:
        answers.append(rpc.get())
        rpc.reset()
    with pytest.raises(OSError) as caught:
        rpc.get()
    assert caught.value.errno == errno.ENODATA
    assert answers[0] == {"jobs": [{"id": 8, "name": "job8"}], "version": 1}
    assert answers[1:] == [{"jobs": [{"id": 7, "name": "job7"}]}, {"jobs": [{"id": 9, "name": "job9"}]}]
    streamed = JobListRPC(handle, "job-list.list", payload, flags=FLUX_RPC_STREAMING)
    assert ids(streamed) == ids(streamed) == [8, 7, 9]
    assert [info.name for info in streamed.get_jobinfos()] == ["job8", "job7", "job9"]


def test_a_streamed_list_is_of_one_moment(spool: SpoolMaker, handle: Handle):
    rpc = JobListRPC(
        handle, "job-list.list", {"max_entries": 0, "attrs": [], "constraint": {}}, flags=FLUX_RPC_STREAMING
    )
    first = rpc.get()["jobs"][0]["id"]
    rpc.reset()
    spool.add(("finish", {"status": 0}), *ENDED, id_=5)
    assert [first, *ids(rpc)] == IN_ORDER


def test_a_streamed_list_says_what_is_wrong(handle: Handle):
    rpc = JobListRPC(handle, "job-list.list", {"max_entries": -1, "attrs": []}, flags=FLUX_RPC_STREAMING)
    with pytest.raises(OSError) as caught:
        rpc.get_jobs()
    assert caught.value.errno == errno.EPROTO


# ---- one job ------------------------------------------------------------------------------------------------------

KEYS = [
    "t_depend", "t_priority", "t_sched", "t_run", "t_cleanup", "t_inactive", "duration", "expiration", "name",
    "cwd", "queue", "project", "bank", "ntasks", "ncores", "nnodes", "priority", "ranks", "nodelist", "success",
    "result", "waitstatus", "id", "t_submit", "t_remaining", "state", "username", "userid", "urgency", "runtime",
    "status", "returncode", "dependencies", "jobid", "annotations", "exception",
]  # fmt: skip


@pytest.mark.parametrize("number", range(1, 11))
def test_get_job_has_always_the_same_keys(handle: Handle, number: int):
    job = get_job(handle, number)
    assert job is not None
    assert list(job) == KEYS
    assert len(KEYS) == 36
    assert None not in job.values()


def test_get_job_of_a_canceled_job(handle: Handle):
    """As captured: what is not known is `""`, a time 0.0."""
    job = get_job(handle, 3)
    assert job is not None
    wanted = {
        "t_run": 0.0,
        "expiration": 0.0,
        "queue": "",
        "nnodes": "",
        "ranks": "",
        "success": False,
        "result": "CANCELED",
        "waitstatus": "",
        "id": 3,
        "jobid": "3",
        "t_remaining": 0.0,
        "state": "INACTIVE",
        "username": "root",
        "runtime": 0.0,
        "status": "CANCELED",
        "returncode": -128,
        "dependencies": [],
        "annotations": {},
        "exception": {"occurred": True, "severity": 0, "type": "cancel", "note": "because"},
    }
    assert wanted.items() <= job.items()


@pytest.mark.parametrize("jobid", [7, "7", "ƒ8", "f8", "0x7", JobID(7), "job.0000.0000.0000.0007"])
def test_a_job_is_asked_for_by_any_form_of_its_id(handle: Handle, jobid: int | str):
    job = get_job(handle, jobid)
    assert job is not None
    assert job["name"] == "job7"
    assert job_list_id(handle, jobid).jobid == 7


@pytest.mark.parametrize("jobid", [99, 0, -1, 2**63, 2**64, "ƒzzzz"])
def test_an_unknown_job(handle: Handle, jobid: int | str):
    assert get_job(handle, jobid) is None
    for get in (JobListIdRPC.get_job, JobListIdRPC.get_jobinfo):
        with pytest.raises(FileNotFoundError) as caught:
            get(job_list_id(handle, jobid))
        assert caught.value.errno == errno.ENOENT


def test_what_is_no_id_is_said_before_anybody_is_asked(handle: Handle):
    with pytest.raises(ValueError, match="nope is not a valid Flux jobid"):
        get_job(handle, "nope")


def state_of(handle: Handle, number: int, state: int) -> JobListIdRPC:
    return JobListIdRPC(handle, "job-list.list-id", {"id": number, "attrs": ["state"], "state": state})


def test_a_state_can_be_waited_for(spool: SpoolMaker, handle: Handle, scheduler: FakeScheduler):
    rung = []
    scheduler.answers["bell"] = rung.append
    waits = state_of(handle, 7, FLUX_JOB_STATE_RUN)
    assert not waits.is_ready()
    assert state_of(handle, 5, FLUX_JOB_STATE_SCHED).get_job()["state"] == 16, "has been there"
    assert state_of(handle, 3, FLUX_JOB_STATE_RUN).get_job()["state"] == 64, "never will be there"
    while not rung:
        waits.is_ready()
    spool.add(*STARTED[3:], id_=7)
    rung[0].respond({"seq": spool.seq})
    assert waits.wait_for(10).get_job() == {"id": 7, "state": 16}
