"""`jqsched.job.list`: which jobs, in which order, in which form; what is wrong is said as Flux says it."""

import copy
import errno
import os
import pwd
import shutil
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
    FLUX_JOB_STATE_SCHED,
    FLUX_RPC_STREAMING,
    FLUX_USERID_UNKNOWN,
)
from jqsched.core.attributes import ALL, ATTRIBUTES
from jqsched.core.job import Dependency
from jqsched.job import (
    JobID,
    JobInfo,
    JobList,
    JobListIdRPC,
    JobListIdsFuture,
    JobListRPC,
    get_job,
    job_list,
    job_list_id,
    job_list_inactive,
)
from tests.cli.conftest import (
    CANCELED,
    COMPLETED,
    ENDED,
    QUEUED,
    STARTED,
    T0_US,
    TIMED_OUT,
    FakeScheduler,
    SpoolMaker,
    failed,
)
from tests.e2e.conftest import Daemon

EVERYBODY = FLUX_USERID_UNKNOWN


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> SpoolMaker:
    """1 completed, 2 failed, 3 canceled, 4 timeout, 5 and 6 running, 7 queued, 8 queued higher, 9 waits, 10 held."""
    spool = SpoolMaker(tmp_path_factory.mktemp("written"), None)
    spool.add(*COMPLETED, name="build")
    spool.add(*failed(3 << 8), name="build", jobspec={"attributes": {"system": {"queue": "batch"}}})
    spool.add(*CANCELED)
    spool.add(*TIMED_OUT)
    spool.add(*STARTED, name="build")
    spool.add(*STARTED)
    spool.add(*QUEUED)
    spool.add("validate", "depend", ("priority", {"priority": 500}))
    spool.add(("dependency-add", {"description": "after-success=5"}), "validate")
    spool.add(*QUEUED, ("urgency", {"urgency": 0, "userid": 0}), ("priority", {"priority": 0}))
    return spool


@pytest.fixture
def spool(tmp_path: Path, written: SpoolMaker) -> SpoolMaker:
    """A copy of it, which may be gone on with."""
    spool = copy.copy(written)
    spool.root, spool.jobs = tmp_path / "spool", dict(written.jobs)
    shutil.copytree(written.root, spool.root)
    return spool


IN_ORDER = [8, 7, 9, 10, 6, 5, 4, 3, 2, 1]


def ids(rpc: JobListRPC) -> list[int]:
    return [job["id"] for job in rpc.get_jobs()]


def everybody_s(handle: Handle, **how: object) -> list[int]:
    return ids(job_list(handle, userid=EVERYBODY, **how))


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


# ---- what is wrong ------------------------------------------------------------------------------------------------

GOOD = {"max_entries": 5, "attrs": ["all"]}
BAD = [
    ("list", {**GOOD, "max_entries": -1}, errno.EPROTO, "invalid payload: max_entries < 0 not allowed"),
    ("list", {"attrs": []}, errno.EPROTO, "invalid payload: max_entries must be an integer"),
    ("list", {**GOOD, "max_entries": "5"}, errno.EPROTO, "invalid payload: max_entries must be an integer"),
    ("list", {**GOOD, "since": -0.5}, errno.EPROTO, "invalid payload: since < 0.0 not allowed"),
    ("list", {**GOOD, "since": "x"}, errno.EPROTO, "invalid payload: since must be a number"),
    ("list", {**GOOD, "attrs": "all"}, errno.EPROTO, "invalid payload: attrs must be an array"),
    ("list", {"max_entries": 5}, errno.EPROTO, "invalid payload: attrs must be an array"),
    ("list", {**GOOD, "attrs": ["nope"]}, errno.EINVAL, "nope is not a valid attribute"),
    ("list", {**GOOD, "attrs": ["all", "id"]}, errno.EINVAL, "id is not a valid attribute"),
    ("list", {**GOOD, "attrs": [1]}, errno.EINVAL, "attr has no string value"),
    (
        "list",
        {**GOOD, "constraint": {"foo": [1]}},
        errno.EPROTO,
        "invalid payload: constraint object invalid: unknown constraint operator: foo",
    ),
    (
        "list",
        {**GOOD, "constraint": None},
        errno.EPROTO,
        "invalid payload: constraint object invalid: constraint must be JSON object",
    ),
    ("list", None, errno.EPROTO, "Protocol error"),
    ("list-id", {"attrs": []}, errno.EPROTO, "invalid payload: id must be an integer"),
    ("list-id", {"id": "1", "attrs": []}, errno.EPROTO, "invalid payload: id must be an integer"),
    ("list-id", {"id": 1}, errno.EPROTO, "invalid payload: attrs must be an array"),
    ("list-id", {"id": 1, "attrs": ["nope"]}, errno.EINVAL, "nope is not a valid attribute"),
    ("list-id", {"id": 1, "attrs": [], "state": 1}, errno.EPROTO, "invalid payload: invalid state specified"),
    ("list-id", {"id": 1, "attrs": [], "state": "RUN"}, errno.EPROTO, "invalid payload: state must be an integer"),
    ("list-id", {"id": 99, "attrs": []}, errno.ENOENT, "No such file or directory"),
]


@pytest.mark.parametrize(("topic", "payload", "number", "text"), BAD, ids=[f"{row[0]}-{row[1]}" for row in BAD])
def test_what_is_wrong_is_said_as_flux_says_it(handle: Handle, topic: str, payload: object, number: int, text: str):
    rpc = handle.rpc(f"job-list.{topic}", payload)
    with pytest.raises(OSError) as caught:
        rpc.get()
    assert (caught.value.errno, caught.value.strerror) == (number, text)


@pytest.mark.parametrize(
    ("how", "number"),
    [
        ({"max_entries": -1}, errno.EPROTO),
        ({"since": -1}, errno.EPROTO),
        ({"attrs": ["nope"]}, errno.EINVAL),
        ({"attrs": "all"}, errno.EPROTO),
        ({"attrs": None}, errno.EPROTO),
        ({"states": 128}, errno.EPROTO),
        ({"results": 16}, errno.EPROTO),
        ({"name": 5}, errno.EPROTO),
        ({"constraint": {"t_run": ["5"]}}, errno.EPROTO),
    ],
)
def test_wrong_arguments_are_said_when_the_answer_is_taken(handle: Handle, how: dict, number: int):
    rpc = job_list(handle, **how)
    with pytest.raises(OSError) as caught:
        rpc.get_jobs()
    assert caught.value.errno == number


def test_a_search_that_compares_too_often_is_refused(handle: Handle, monkeypatch: pytest.MonkeyPatch):
    from jqsched.client.services import list as service
    from jqsched.core.constraint import Budget

    monkeypatch.setattr(service, "Budget", lambda: Budget(0))
    with pytest.raises(OSError) as caught:
        job_list(handle, queue="batch").get_jobs()
    assert (caught.value.errno, caught.value.strerror) == (
        errno.EINVAL,
        "Excessive comparisons made, limit search via states or since",
    )


def test_a_list_needs_a_handle():
    for ask in (lambda: job_list(None), lambda: job_list_id(None, 1), lambda: get_job(None, 1)):
        with pytest.raises(OSError) as caught:
            ask()
        assert caught.value.errno == errno.EINVAL


# ---- JobList ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        ((), IN_ORDER),
        (["running"], [6, 5]),
        (["Pending,FAILED"], [8, 7, 9, 10, 2]),
        (["run", "timeout,completed"], [6, 5, 4, 1]),
        (["sched"], [8, 7, 10]),
        (["active"], IN_ORDER[:6]),
        (["inactive"], [4, 3, 2, 1]),
        (["priority", "cleanup"], []),
    ],
)
def test_filters_name_states_and_results(handle: Handle, filters: list[str], wanted: list[int]):
    assert [job.id for job in JobList(handle, filters=filters, user="all").jobs()] == wanted


@pytest.mark.parametrize("name", ["sleeping", "all", "new", "", "run ", "RUNNING,nope"])
def test_a_filter_that_is_none_is_said(handle: Handle, name: str):
    with pytest.raises(ValueError, match=f"^Invalid filter specified: {name.rpartition(',')[2]}$"):
        JobList(handle, filters=[name])


def test_filters_add_up(handle: Handle):
    jobs = JobList(handle, user="all")
    jobs.add_filter("failed")
    jobs.add_filter("CANCELED")
    assert [job.id for job in jobs.jobs()] == [3, 2]
    assert (jobs.states, jobs.results) == (0, 6)


def test_all_other_parameters_are_passed_on(spool: SpoolMaker, handle: Handle):
    since = spool.jobs[2].t_inactive_us / 1_000_000

    def listed(**how: object) -> list[int]:
        return [job.id for job in JobList(handle, user="all", **how).jobs()]

    assert listed(name="build") == [5, 2, 1]
    assert listed(queue="batch") == [2]
    assert listed(max_entries=2) == [8, 7]
    assert listed(since=since, filters=["inactive"]) == [4, 3]
    assert listed(constraint={"results": ["timeout"]}) == [4]
    assert [job.name for job in JobList(handle, ["name"], user="all", max_entries=1).jobs()] == ["job8"]
    with pytest.raises(AttributeError):
        JobList(handle, ["name"], user="all", max_entries=1).jobs()[0].urgency  # noqa: B018 - it was not asked for


def test_users(handle: Handle, monkeypatch: pytest.MonkeyPatch):
    me = pwd.getpwuid(os.getuid()).pw_name
    assert JobList(handle).userid == JobList(handle, user=me).userid == os.getuid()
    assert JobList(handle, user="all").userid == FLUX_USERID_UNKNOWN
    assert JobList(handle, user="4711").userid == JobList(handle, user=4711).userid == 4711
    jobs = JobList(handle, user="4711")
    assert jobs.jobs() == []
    jobs.set_user("0")
    assert len(jobs.jobs()) == 10
    with pytest.raises(ValueError, match=r"^Invalid user no such user specified$"):
        jobs.set_user("no such user")


def test_ids_take_the_place_of_filters_and_keep_their_order(handle: Handle):
    jobs = JobList(handle, ids=["ƒ4", 99, "1", JobID("0x63"), 1], filters=["running"], user="4711", max_entries=1)
    assert jobs.errors == []
    assert [job.id for job in jobs.jobs()] == [3, 1, 1]
    assert jobs.errors == ["JobID 99 unknown", "JobID 0x63 unknown"]
    assert [job.id for job in jobs.jobs()] == [3, 1, 1]
    assert len(jobs.errors) == 2, "errors are those of the last query"


def test_ids_are_read_when_the_list_is_made(handle: Handle):
    with pytest.raises(ValueError, match="x17 is not a valid Flux jobid"):
        JobList(handle, ids=[1, "x17"])


def test_other_errors_of_ids_are_told(handle: Handle):
    jobs = JobList(handle, ids=[1, 2], attrs=["nope"])
    assert jobs.jobs() == []
    assert jobs.errors == ["rpc: nope is not a valid attribute"] * 2


def test_a_query_can_be_fetched_now_and_read_later(handle: Handle):
    listed = JobList(handle, user="all", max_entries=2).fetch_jobs()
    assert isinstance(listed, JobListRPC)
    assert [info.id for info in listed.get_jobinfos()] == [8, 7]
    by_id = JobList(handle, ids=[2, 1]).fetch_jobs()
    assert isinstance(by_id, JobListIdsFuture)
    assert [job["id"] for job in by_id.get_jobs()] == [2, 1]
    assert [type(info) for info in by_id.get_jobinfos()] == [JobInfo, JobInfo]
    heard = []
    JobList(handle, user="all", max_entries=2).fetch_jobs().then(lambda rpc: heard.extend(ids(rpc)))
    JobList(handle, ids=[2, 1]).fetch_jobs().then(lambda future: heard.extend(job["id"] for job in future.get_jobs()))
    handle.reactor_run()
    assert sorted(heard) == [1, 2, 7, 8]


def test_a_query_is_asked_anew_each_time(spool: SpoolMaker, handle: Handle):
    jobs = JobList(handle, filters=["running"], user="all")
    assert [job.id for job in jobs.jobs()] == [6, 5]
    spool.add(("finish", {"status": 0}), *ENDED, id_=6)
    assert [job.id for job in jobs.jobs()] == [5]


def test_the_names_of_filters_are_flux_s():
    assert set(JobList.STATES) == {
        *("depend", "priority", "sched", "run", "cleanup", "inactive"),
        *("pending", "running", "active"),
    }
    assert sorted(JobList.RESULTS) == ["canceled", "completed", "failed", "timeout"]
    with pytest.raises(TypeError):
        JobList.STATES["new"] = 1


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
