"""The logs of one job: each entry once and in order, to the end of the log; what is waited for; what is not there."""

import copy
import errno
import gc
import json
import os
import pickle

import pytest

from jqsched import Handle
from jqsched.client.connection import NoScheduler
from jqsched.constants import FLUX_RPC_STREAMING
from jqsched.core.jobspec import JobspecError
from jqsched.job.control import JobWaitResult
from jqsched.job.event import (
    MAIN_EVENTS,
    EventLogEvent,
    JobException,
    event_wait,
    event_watch,
    event_watch_async,
)
from jqsched.job.info import JobInfo
from jqsched.job.jobid import JobID
from jqsched.job.journal import SENTINEL_EVENT, JournalEvent
from tests.cli.conftest import CANCELED, COMPLETED, ENDED, QUEUED, STARTED, SpoolMaker, failed, fatal

NAMES = ["submit", "validate", "depend", "priority", "alloc", "start", "finish", "release", "free", "clean"]


# --- an entry ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("made_of", [str, dict])
def test_an_entry_is_a_dict_with_names(made_of: type):
    entry = {"timestamp": 1795247890.10861, "name": "alloc", "context": {"a": 1}}
    event = EventLogEvent(json.dumps(entry) if made_of is str else entry)
    assert event == entry
    assert (event.name, event.timestamp, event.context) == ("alloc", 1795247890.10861, {"a": 1})
    assert str(event) == "1795247890.10861: alloc {'a': 1}"


def test_an_entry_without_a_context_has_an_empty_one():
    event = EventLogEvent({"timestamp": 1.5, "name": "clean"})
    assert event.context == {}
    assert json.loads(json.dumps(event)) == {"timestamp": 1.5, "name": "clean", "context": {}}


def test_what_is_no_entry_is_said_so():
    with pytest.raises(json.JSONDecodeError):
        EventLogEvent("{")
    with pytest.raises(KeyError):
        EventLogEvent("{}").name  # noqa: B018 - asking is what fails


def test_an_exception_has_its_parts():
    event = EventLogEvent(
        {"timestamp": 2.0, "name": "exception", "context": {"type": "cancel", "severity": 0, "note": "because"}}
    )
    error = JobException(event)
    assert (error.timestamp, error.type, error.severity, error.note) == (2.0, "cancel", 0, "because")
    assert str(error) == "job.exception: type=cancel: because"


def test_the_events_of_the_main_log_are_flux_s():
    assert {"submit", "clean", "exception", "flux-restart"} < MAIN_EVENTS
    assert len(MAIN_EVENTS) == 13
    assert "validate" not in MAIN_EVENTS


# --- the main log ------------------------------------------------------------------------------------------------


def test_a_finished_job_s_log_is_given_whole_and_ends(spool: SpoolMaker, handle: Handle):
    spool.add(*COMPLETED)
    job = spool.add(*COMPLETED)
    spool.add(*COMPLETED)
    events = list(event_watch(handle, job.id))
    assert [event.name for event in events] == NAMES
    assert events[0].context == {"userid": 0, "urgency": 16, "flags": 0, "version": 1}
    assert events[1].context == {}
    times = [event.timestamp for event in events]
    assert times == sorted(set(times))
    assert events[0].timestamp == job.t_submit_us / 1_000_000


@pytest.mark.parametrize("jobid", [JobID(1), 1, "1", "ƒ2", "0x1"])
def test_a_job_is_named_by_its_id_in_any_form(spool: SpoolMaker, handle: Handle, jobid: object):
    spool.add(*COMPLETED)
    assert len(list(event_watch(handle, jobid))) == 10


def test_what_comes_later_is_given_when_it_comes(spool: SpoolMaker, handle: Handle):
    """Without a scheduler, too: commands change the store then."""
    job = spool.add(*QUEUED)
    future = event_watch_async(handle, job.id)
    assert [future.get_event().name for _ in range(4)] == NAMES[:4]
    with pytest.raises(TimeoutError):
        future.wait_for(0)
    spool.add(fatal("cancel"), "clean", id_=job.id)
    assert [future.get_event().name, future.get_event().name] == ["exception", "clean"]
    assert [future.get_event(), future.get_event()] == [None, None], "and None from then on"


def test_an_event_stays_until_it_is_let_go(spool: SpoolMaker, handle: Handle):
    future = event_watch_async(handle, spool.add(*COMPLETED).id)
    assert [future.get_event(autoreset=False).name for _ in range(3)] == ["submit"] * 3
    future.reset()
    assert future.get_event().name == "validate"


def test_each_event_calls_back_and_the_end_too(spool: SpoolMaker, handle: Handle):
    seen = []

    def callback(future, more) -> None:
        event = future.get_event()
        seen.append((event and event.name, more))

    event_watch_async(handle, spool.add(*COMPLETED).id).then(callback, "more")
    assert handle.reactor_run() == 0
    assert seen == [(name, "more") for name in [*NAMES, None]]


def test_a_canceled_watch_gives_what_has_happened_and_ends(spool: SpoolMaker, handle: Handle):
    future = event_watch_async(handle, spool.add(*QUEUED).id)
    assert future.get_event().name == "submit"
    future.cancel()
    names = []
    while (event := future.get_event()) is not None:
        names.append(event.name)
    assert names == NAMES[1:4]


def test_a_watch_that_is_stopped_calls_nobody_back(spool: SpoolMaker, handle: Handle):
    future = event_watch_async(handle, spool.add(*QUEUED).id)
    future.then(lambda _: pytest.fail("called back"))
    future.cancel(stop=True)
    assert handle.reactor_run() == 0


def test_an_unknown_job_or_log_is_told_when_its_event_is_asked_for(spool: SpoolMaker, handle: Handle):
    job = spool.add(*COMPLETED)
    for jobid, log in [(99, "eventlog"), (2**63, "eventlog"), (job.id, "guest.nosuch"), (job.id, "")]:
        future = event_watch_async(handle, jobid, log)
        with pytest.raises(FileNotFoundError):
            future.get_event()


def test_a_spool_in_which_nothing_was_dropped_knows_no_job(handle: Handle):
    with pytest.raises(FileNotFoundError):
        event_wait(handle, 1, "clean")


def test_without_a_handle_nothing_is_watched():
    with pytest.raises(OSError) as caught:
        event_watch_async(None, 1)
    assert caught.value.errno == errno.EINVAL
    with pytest.raises(ValueError, match="not a valid"):
        event_watch_async(None, "?")


def test_a_watch_must_be_a_stream_and_name_a_job(spool: SpoolMaker, handle: Handle):
    spool.add(*COMPLETED)
    for payload, flags in [({"id": 1}, 0), ({}, FLUX_RPC_STREAMING), ({"id": "1"}, FLUX_RPC_STREAMING),
                           (None, FLUX_RPC_STREAMING), ({"id": 1, "path": 7}, FLUX_RPC_STREAMING)]:  # fmt: skip
        with pytest.raises(OSError) as caught:
            handle.rpc("job-info.eventlog-watch", payload, flags=flags).get()
        assert caught.value.errno == errno.EPROTO


def test_a_job_that_is_purged_ends_its_watch(spool: SpoolMaker, handle: Handle):
    import sqlite3

    job = spool.add(*QUEUED)
    future = event_watch_async(handle, job.id)
    for _ in range(4):
        future.get_event()
    with sqlite3.connect(spool.root / "jqsched.db") as store:
        store.execute("DELETE FROM jobs")
        store.execute("DELETE FROM events")
    assert future.get_event() is None


# --- waiting for one ---------------------------------------------------------------------------------------------


def test_an_event_that_has_happened_is_found(spool: SpoolMaker, handle: Handle):
    job = spool.add(*COMPLETED)
    assert event_wait(handle, job.id, "finish").context == {"status": 0}
    assert event_wait(handle, JobID(job.id), name="clean").name == "clean"


def test_a_fatal_exception_before_it_is_raised(spool: SpoolMaker, handle: Handle):
    job = spool.add(*CANCELED)
    with pytest.raises(JobException) as caught:
        event_wait(handle, job.id, "clean")
    assert (caught.value.type, caught.value.note, caught.value.severity) == ("cancel", "because", 0)
    assert event_wait(handle, job.id, "clean", raiseJobException=False).name == "clean"
    assert event_wait(handle, job.id, "priority").name == "priority", "what stands before it is found"
    assert event_wait(handle, job.id, "exception").context["type"] == "cancel", "it is what was waited for"


def test_an_exception_that_is_not_fatal_is_passed_over(spool: SpoolMaker, handle: Handle):
    mild = ("exception", {"type": "edit", "severity": 5, "note": "no", "userid": 0})
    job = spool.add(*QUEUED, mild, *STARTED[3:], ("finish", {"status": 0}), *ENDED)
    assert event_wait(handle, job.id, "clean").name == "clean"


def test_a_job_that_fails_raises_nothing(spool: SpoolMaker, handle: Handle):
    assert event_wait(handle, spool.add(*failed(256)).id, "clean").name == "clean"


def test_an_event_that_never_comes_is_no_data(spool: SpoolMaker, handle: Handle):
    with pytest.raises(OSError, match="eventlog ended before event='foo'") as caught:
        event_wait(handle, spool.add(*COMPLETED).id, "foo")
    assert caught.value.errno == errno.ENODATA


def test_waiting_again_and_again_leaves_nothing_behind(spool: SpoolMaker, handle: Handle):
    job = spool.add(*COMPLETED, output=str(spool.root / "output"))
    (spool.root / "output").write_text("some")
    event_wait(handle, job.id, "clean")
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        event_wait(handle, job.id, "start")
        assert len(list(event_watch(handle, job.id, "guest.output"))) == 3
    assert len(os.listdir("/proc/self/fd")) <= before
    assert (len(handle.reactor._watchers), len(handle.reactor._times)) == (0, 0)


# --- what was kept of a job --------------------------------------------------------------------------------------


def test_logs_and_documents_can_be_looked_up(spool: SpoolMaker, handle: Handle):
    job = spool.add(*COMPLETED, env=(("SECRET", "x"),))
    keys = ["eventlog", "jobspec", "R", "guest.exec.eventlog"]
    found = handle.rpc("job-info.lookup", {"id": job.id, "keys": keys}).get()
    assert [json.loads(line)["name"] for line in found["eventlog"].splitlines()] == NAMES
    assert json.loads(found["jobspec"])["tasks"][0]["command"] == ["sleep", "1"]
    assert "SECRET" not in found["jobspec"]
    assert json.loads(found["R"])["execution"]["nslots"] == 1
    assert json.loads(found["guest.exec.eventlog"].splitlines()[-1])["name"] == "done"
    decoded = handle.rpc("job-info.lookup", {"id": job.id, "keys": ["jobspec", "R"], "flags": 1}).get()
    assert decoded["jobspec"] == json.loads(found["jobspec"])
    assert decoded["R"] == json.loads(found["R"])


def test_what_is_not_there_cannot_be_looked_up(spool: SpoolMaker, handle: Handle):
    job = spool.add(*QUEUED)
    for id_, key in [(job.id, "R"), (job.id, "nosuch"), (99, "jobspec")]:
        with pytest.raises(FileNotFoundError):
            handle.rpc("job-info.lookup", {"id": id_, "keys": [key]}).get()


# --- the exec log ------------------------------------------------------------------------------------------------


def exec_log(handle: Handle, id_: int) -> list[tuple[str, dict]]:
    return [(event.name, event.context) for event in event_watch(handle, id_, "guest.exec.eventlog")]


@pytest.mark.parametrize(
    ("status", "exited"),
    [
        (0, {"wait_status": 0, "signaled": 0, "exitcode": 0}),
        (42 << 8, {"wait_status": 42 << 8, "signaled": 0, "exitcode": 42}),
        (137 << 8, {"wait_status": 9, "signaled": 9, "exitcode": 137}),
        (255 << 8, {"wait_status": 255 << 8, "signaled": 0, "exitcode": 255}),
    ],
)
def test_the_exec_log_tells_how_the_process_ended(spool: SpoolMaker, handle: Handle, status: int, exited: dict):
    log = exec_log(handle, spool.add(*failed(status)).id)
    assert [name for name, _ in log] == [
        "init", "starting", "shell.init", "shell.start", "shell.task-exit", "shell-exit", "complete", "done",
    ]  # fmt: skip
    assert log[4][1] == {"localid": 0, "rank": 0, "state": "Exited", **exited}
    assert log[5][1] == {"rank": 0, "wait_status": status}
    assert log[6][1] == {"status": status}


def test_the_exec_log_of_a_job_that_never_ran_is_empty(spool: SpoolMaker, handle: Handle):
    assert exec_log(handle, spool.add(*CANCELED).id) == []


def test_the_exec_log_of_a_pending_job_comes_with_its_start(spool: SpoolMaker, handle: Handle):
    job = spool.add(*QUEUED)
    future = event_watch_async(handle, job.id, "guest.exec.eventlog")
    with pytest.raises(TimeoutError):
        future.wait_for(0)
    spool.add(*STARTED[3:], id_=job.id)
    assert [future.get_event().name for _ in range(4)] == ["init", "starting", "shell.init", "shell.start"]


# --- pickling ----------------------------------------------------------------------------------------------------

EVENT = {"timestamp": 1.5, "name": "exception", "context": {"type": "cancel", "severity": 0, "note": "enough"}}
PICKLED = {
    "an event": EventLogEvent(EVENT),
    "an event of the journal": JournalEvent(7, {"timestamp": 2.0, "name": "submit"}, jobspec={"version": 1}, seq=3),
    "the sentinel": SENTINEL_EVENT,
    "an exception of a job": JobException(EventLogEvent(EVENT)),
    "that no scheduler is there": NoScheduler(errno.EHOSTDOWN, "no scheduler serves this spool", "/spool"),
    "what is wrong with a job": JobspecError(("tasks: missing", "resources: missing")),
    "how a job ended": JobWaitResult(JobID("ƒ2"), False, b"Exit 1"),
    "what is known of a job": JobInfo({"id": 1, "state": 64, "t_submit": 1.0, "annotations": {"user": {"a": 1}}}),
}


@pytest.mark.parametrize("what", PICKLED)
def test_what_is_answered_or_raised_goes_to_another_process(what: str):
    """`concurrent.futures` and `multiprocessing` pickle what a call returns and what it raises."""
    value = PICKLED[what]
    for again in (pickle.loads(pickle.dumps(value)), copy.deepcopy(value)):
        assert type(again) is type(value)
        assert (str(again), getattr(again, "__dict__", {}).keys()) == (
            str(value),
            getattr(value, "__dict__", {}).keys(),
        )
        for name in ("type", "note", "severity", "errno", "filename", "errors", "jobid", "jobspec", "seq", "errstr"):
            assert getattr(again, name, None) == getattr(value, name, None), name
