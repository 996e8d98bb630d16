"""What is kept of jobs, by key, by format and by time; what they wrote; and several jobs watched at once."""

import errno
import io
import math
import time

import pytest

from jqsched import Handle, job
from jqsched.job.jobid import JobID
from tests.cli.conftest import CANCELED, COMPLETED, QUEUED, STARTED, SpoolMaker, failed


def write_output(spool: SpoolMaker, id_: int, text: bytes) -> None:
    (spool.root / "output").mkdir(exist_ok=True)
    (spool.root / "output" / f"{id_}.log").write_bytes(text)


# --- by key ------------------------------------------------------------------------------------------------------


def test_what_is_kept_of_a_job(spool: SpoolMaker, handle: Handle):
    done, waits = spool.add(*COMPLETED).id, spool.add(*QUEUED).id
    found = job.job_kvs_lookup(handle, done, ["jobspec", "R", "eventlog"])
    assert found["jobspec"]["version"] == found["R"]["version"] == 1
    assert found["eventlog"].count("\n") == len(COMPLETED) + 1
    text = job.job_kvs_lookup(handle, JobID(done).f58, decode=False)
    assert text["jobspec"].startswith("{")
    assert job.job_kvs_lookup(handle, waits, ["R"]) is None, "there is none yet"
    assert job.job_kvs_lookup(handle, 99) is None
    with pytest.raises(FileNotFoundError):
        job.job_info_lookup(handle, 99).get_decode()


def test_what_is_kept_of_several_jobs(spool: SpoolMaker, handle: Handle):
    ids = [spool.add(*COMPLETED).id for _ in range(2)]
    lookup = job.JobKVSLookup(handle, [*ids, "ƒA"], ["jobspec"])
    assert [found["id"] for found in lookup.data()] == ids
    assert lookup.errors == ["JobID ƒA unknown"]
    future = job.JobKVSLookup(handle, ids, decode=False).fetch_data()
    assert all(isinstance(found["jobspec"], str) for found in future.get())
    assert job.JobKVSLookup(handle).data() == []


def test_what_is_kept_of_a_job_as_a_mapping(spool: SpoolMaker, handle: Handle):
    id_ = spool.add(*COMPLETED).id
    write_output(spool, id_, b"hello\n")
    kept = job.job_kvs(handle, id_)
    assert set(kept) == {"R", "eventlog", "guest.exec.eventlog", "guest.output", "jobspec"}
    assert kept["jobspec"]["tasks"][0]["command"] == ["sleep", "1"]
    assert "hello" in job.job_kvs_guest(handle, id_)["output"]
    assert set(job.job_kvs(handle, spool.add(*QUEUED).id)) >= {"eventlog", "jobspec"}
    assert "none" not in kept
    assert "R" not in job.job_kvs(handle, 2)


# --- ids, formats, times -----------------------------------------------------------------------------------------


def test_ids_are_read_and_written(spool: SpoolMaker):
    assert job.id_parse("ƒ2") == job.id_parse("0x1") == 1
    assert (job.id_encode(1), job.id_encode("ƒ2", "dec")) == ("ƒ2", "1")


@pytest.mark.parametrize(
    ("template", "wanted", "header"),
    [
        ("{id:>4}|{name:<8}|{id.f58}", "   1|job1    |ƒ2", "  ID|NAME    |ID.F58"),
        ("{0.returncode:>3h} {0.status_abbrev:>3}", "  3   F", "RETURNCODE STATUS_ABBREV"),
        ("{{{queue:>5h}}}{annotations.sched.none:>3}", "{    -}   ", "{QUEUE}ANNOTATIONS.SCHED.NONE"),
        ("{t_depend!d:%Y::>6}|{duration!F:>3h}|{runtime!H}", "  2026|  -|0:00:00", "T_DEPEND|DURATION|RUNTIME"),
        ("{success}|{exception.type:>3}", "False|   ", "SUCCESS|EXCEPTION.TYPE"),
    ],
)
def test_a_job_is_written_by_a_format(spool: SpoolMaker, handle: Handle, template: str, wanted: str, header: str):
    info = job.result(handle, spool.add(*failed(768)).id)
    made = job.JobInfoFormat(template)
    assert (made.format(info), made.header()) == (wanted, header)
    assert job.JobInfoFormat(made.get_format()).format(info) == wanted
    asked = job.job_list(handle, attrs=[*job.job_fields_to_attrs(made.fields)] or ["all"]).get_jobinfos()
    assert made.format(next(iter(asked))) == wanted, "these attributes are enough"


def test_a_format_that_is_none(spool: SpoolMaker):
    for wrong in ("{", "{}", "{id!x}"):
        with pytest.raises(ValueError, match="Invalid format"):
            job.JobInfoFormat(wrong)
    assert job.job_fields_to_attrs(["nothing"]) == ["all"]


def test_the_time_that_is_left(spool: SpoolMaker, handle: Handle, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("JQSCHED_JOB_ID", raising=False)
    with pytest.raises(OSError, match="belongs to no job") as caught:
        job.timeleft(handle)
    assert caught.value.errno == errno.ESRCH
    monkeypatch.setenv("JQSCHED_SPOOL", str(spool.root))
    monkeypatch.setattr(time, "time", lambda: spool.t_us / 1_000_000 + 10)
    for limit_us, low, high in ((None, math.inf, math.inf), (60_000_000, 49.9, 50.1), (1_000_000, 0, 0)):
        monkeypatch.setenv("JQSCHED_JOB_ID", str(spool.add(*STARTED, time_limit_us=limit_us).id))
        assert low <= job.timeleft() <= high


# --- what they wrote ---------------------------------------------------------------------------------------------


def test_what_a_job_wrote(spool: SpoolMaker, handle: Handle):
    id_ = spool.add(*COMPLETED).id
    write_output(spool, id_, b"one\ntwo\xff\n")
    assert job.job_output(handle, id_) == ("one\ntwo\udcff\n", "", "")
    assert job.job_output(handle, id_, tasks="0", labelio=True).stdout == "0: one\n0: two\udcff\n"
    assert list(job.output_watch(handle, id_)) == [("stdout", "one\ntwo\udcff\n")]
    runs = spool.add(*STARTED).id
    write_output(spool, runs, b"so far")
    assert job.job_output(handle, runs, nowait=True).stdout == "so far"


def test_what_a_job_did_not_write(spool: SpoolMaker, handle: Handle):
    with pytest.raises(FileNotFoundError):
        job.job_output(handle, 99)
    with pytest.raises(FileNotFoundError, match="does not exist or output not ready"):
        job.job_output(handle, 99, nowait=True)
    with pytest.raises(job.JobException, match="because"):
        job.job_output(handle, spool.add(*CANCELED).id)
    together = spool.add(*COMPLETED, tasks=2, output="/nowhere/{id}").id
    for choice in ({"tasks": "1"}, {"labelio": True}):
        with pytest.raises(ValueError, match="write to one file"):
            job.job_output(handle, together, **choice)
    for tasks in ("", "x", "1-", "2-1", "0,,1", "-1"):
        with pytest.raises(ValueError, match="is no idset of tasks"):
            job.job_output(handle, together, tasks)


def test_what_several_tasks_wrote(spool: SpoolMaker, handle: Handle):
    """By rank and stream; labelled line by line, the last one too if it did not end."""
    id_ = spool.add(*COMPLETED, tasks=3).id
    (spool.root / "output").mkdir(exist_ok=True)
    for rank in range(3):
        (spool.root / f"output/{id_}.{rank}.out").write_text(f"out {rank}\nmore {rank}")
        (spool.root / f"output/{id_}.{rank}.err").write_text(f"err {rank}\n")
    assert job.job_output(handle, id_, tasks="1") == ("out 1\nmore 1", "err 1\n", "")
    assert job.job_output(handle, id_, tasks="[0,2-9]").stderr == "err 0\nerr 2\n"
    labelled = job.job_output(handle, id_, labelio=True, tasks="0-1").stdout
    assert sorted(labelled.splitlines()) == ["0: more 0", "0: out 0", "1: more 1", "1: out 1"]
    assert ("stderr", "2: err 2\n") in list(job.output_watch(handle, id_, labelio=True))
    out, err = io.StringIO(), io.StringIO()
    job.JobWatcher(handle, labelio=True, stdout=out, stderr=err).add_jobid(id_)
    handle.reactor_run()
    wrote = [f"{rank}: {what} {rank}" for rank in range(3) for what in ("more", "out")]
    assert sorted(out.getvalue().splitlines()) == wrote
    assert sorted(err.getvalue().splitlines()) == [f"{rank}: err {rank}" for rank in range(3)]


def test_several_jobs_are_watched(spool: SpoolMaker, handle: Handle):
    good, bad, never = (spool.add(*facts).id for facts in (COMPLETED, failed(768), CANCELED))
    write_output(spool, good, b"good\n")
    write_output(spool, bad, b"bad\n")
    out, err = io.StringIO(), io.StringIO()
    watcher = job.JobWatcher(handle, log_events=True, log_status=True, stdout=out, stderr=err).start()
    watcher.add_jobs(job.result(handle, good)).add_jobid(bad).add_jobid(never)
    handle.reactor_run()
    watcher.stop()
    assert sorted(out.getvalue().splitlines()) == ["bad", "good"]
    assert watcher.exitcode == 3
    assert f"{bad}: exit code 3\n" in err.getvalue()
    assert " clean {}" in err.getvalue()
    with pytest.raises(FileNotFoundError):
        watcher.add_jobid(99)
    with pytest.raises(ValueError, match="progress is not supported"):
        job.JobWatcher(handle, progress=True)
    quick = job.JobWatcher(handle, wait="submit", watch=False, stderr=err).add_jobid(bad)
    handle.reactor_run()
    assert quick.exitcode == 0, "it was watched no further"
