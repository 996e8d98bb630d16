"""`jqsched.job.list.JobList`: a query by filters, user or ids finds what they name, anew each time."""

import os
import pwd

import pytest

from jqsched import Handle
from jqsched.constants import FLUX_USERID_UNKNOWN
from jqsched.job import JobID, JobInfo, JobList, JobListIdsFuture, JobListRPC
from tests.cli.conftest import ENDED, SpoolMaker
from tests.client.lists.ten_jobs import IN_ORDER, ids


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
