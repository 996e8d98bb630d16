"""Jobs as futures of `concurrent.futures`: results, ids, events, callbacks, cancel, attach, and workers that fail."""

import concurrent.futures as cf
import os
import threading
from collections import deque

import pytest

from jqsched import Handle, job
from jqsched.job import EventLogEvent, FluxExecutor, FluxExecutorFuture, JobException, JobspecV1
from jqsched.job.executor import _FluxExecutorThread, _SubmitPackage
from tests.cli.conftest import SpoolMaker
from tests.e2e.conftest import PATIENCE_S, Daemon


def a_job(*command: str) -> JobspecV1:
    return JobspecV1.from_command(command)


def test_jobs_are_futures(daemon: Daemon):
    """From their submission to their ends, in one scheduler's life."""
    daemon.start("--max-running", "2")
    names: list[str] = []
    told = threading.Event()
    with FluxExecutor(threads=2, handle_args=(daemon.spool,)) as executor:
        assert isinstance(executor, cf.Executor)
        good = [executor.submit(a_job("true")) for _ in range(4)]
        failed = executor.submit(a_job("sh", "-c", "exit 3")).add_jobid_callback(lambda _: told.set())
        killed = executor.submit(a_job("sleep", "1000"))
        absent = executor.submit(a_job("/no/such/program"))
        for name in executor.EVENTS:
            failed.add_event_callback(name, lambda _, event: names.append(event.name))
        assert [future.result(PATIENCE_S) for future in cf.as_completed(good, PATIENCE_S)] == [0] * 4
        assert len({future.jobid() for future in good}) == 4
        assert failed.result(PATIENCE_S) == 3
        assert told.is_set()
        with job_handle(daemon) as handle:
            job.event_wait(handle, killed.jobid(PATIENCE_S), "start")
            job.cancel(handle, killed.jobid())
        for future, kind in ((killed, "cancel"), (absent, "exec")):
            error = future.exception(PATIENCE_S)
            assert isinstance(error, JobException)
            assert error.type == kind
        attached = executor.attach(failed.jobid())
        assert (attached.jobid(0), attached.result(PATIENCE_S)) == (failed.jobid(), 3)
        unknown, none, negative = (executor.attach(jobid) for jobid in (999, None, -1))
        wrong, nothing = executor.submit({"comand": ["x"]}), executor.submit(None)
    with pytest.raises(ValueError, match="does not match any job"):
        unknown.result(0)
    assert isinstance(none.exception(0), TypeError)
    assert isinstance(negative.exception(0), OverflowError)
    for future in (wrong, nothing):
        assert isinstance(future.exception(0), OSError)
        with pytest.raises(RuntimeError, match="job could not be submitted"):
            future.jobid()
    assert names == ["submit", "depend", "priority", "alloc", "start", "finish", "release", "free", "clean"], (
        "all were told when the executor is left"
    )
    for again in (executor.submit, executor.attach):
        with pytest.raises(RuntimeError, match="after shutdown"):
            again(1)
    assert not executor._broken_event.is_set()


def job_handle(daemon: Daemon) -> Handle:
    return Handle(daemon.spool)


def test_an_executor_works_on_when_its_scheduler_is_restarted(daemon: Daemon):
    daemon.start()
    with FluxExecutor(handle_args=(daemon.spool,)) as executor:
        future = executor.submit(a_job("true"), urgency=0)
        id_ = future.jobid(PATIENCE_S)
        daemon.stop()
        daemon.start()
        daemon.request("release", id=int(id_))
        assert future.result(PATIENCE_S) == 0


def test_what_no_worker_has_taken_can_be_canceled(spool: SpoolMaker):
    """Without a scheduler: a job that was taken fails, one that was not does not come to that."""
    executor = FluxExecutor(handle_args=(spool.root,))
    future = executor.submit(a_job("true"))
    executor.shutdown(cancel_futures=True)
    assert future.done()
    executor.shutdown()
    late = FluxExecutorFuture(None)
    assert [late.cancel() for _ in range(2)] == [True, True]
    with pytest.raises(cf.CancelledError):
        late.jobid()


def test_a_worker_that_fails_fails_all_its_futures(spool: SpoolMaker, monkeypatch: pytest.MonkeyPatch):
    broken, over = threading.Event(), threading.Event()
    futures = [FluxExecutorFuture(None) for _ in range(3)]
    queue = deque(_SubmitPackage(({"command": ["true"]},), {}, future) for future in futures)
    worker = _FluxExecutorThread(broken, over, queue, 0.1, (spool.root,), {})
    with monkeypatch.context() as patch:
        patch.setattr("jqsched.client.handle.Handle.reactor_run", lambda _: -1)
        with pytest.raises(RuntimeError, match="reactor start failed"):
            worker.run()
    assert broken.is_set()
    for future in futures:
        with pytest.raises(RuntimeError, match="reactor start failed"):
            future.result(0)
    worker.close()
    with FluxExecutor(handle_args=(spool.root,)) as executor:
        executor._broken_event.set()
        with pytest.raises(RuntimeError, match="Executor is broken"):
            executor.submit({})


def test_a_child_process_gives_an_executor_no_jobs(spool: SpoolMaker):
    with FluxExecutor(handle_args=(spool.root,)) as executor:
        child = os.fork()
        if child == 0:
            try:
                executor.submit({})
            except RuntimeError:
                executor.shutdown()
                os._exit(0)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_what_an_executor_does_not_take(spool: SpoolMaker):
    with pytest.raises(ValueError, match="threads"):
        FluxExecutor(threads=0)
    with FluxExecutor(handle_args=(spool.root,)) as executor, pytest.raises(NotImplementedError, match="jobspecs"):
        executor.map(print, [1])


def event(name: str) -> EventLogEvent:
    return EventLogEvent({"name": name, "timestamp": 0})


def test_a_callback_hears_what_was_before_and_cannot_wait_for_its_own_future():
    future = FluxExecutorFuture(threading.get_ident())
    with pytest.raises(cf.TimeoutError):
        future.jobid(0)
    seen: list[object] = []
    future.add_jobid_callback(lambda future: seen.append(future.result()))
    future._set_jobid(5)
    with pytest.raises(RuntimeError, match="already set"):
        future._set_jobid(5)
    future.add_event_callback(
        "start", lambda future, _: future.add_event_callback("start", lambda *_: seen.append("in"))
    )
    future._set_event(event("start"))
    future.add_event_callback("start", lambda _, event: seen.append(event.name))
    future._set_event(event("urgency"))
    assert seen == ["in", "start"], "the result was not waited for, and that was logged"
    with pytest.raises(RuntimeError, match="from inside callback"):
        future.exception()
    future.set_result(0)
    future.add_jobid_callback(lambda future: seen.append(future.result()))
    assert seen == ["in", "start", 0]
    for call in (lambda: future._set_event(event("none")), lambda: future.add_event_callback("none", print)):
        with pytest.raises(ValueError, match="none"):
            call()
