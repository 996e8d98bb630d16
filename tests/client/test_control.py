"""Changing jobs and waiting for them: what is asked of the scheduler, and what its answers become."""

import asyncio
import errno
import json
import signal
from collections import ChainMap

import pytest

from jqsched import Handle, job
from jqsched.client.connection import NoScheduler
from jqsched.constants import FLUX_RPC_STREAMING
from jqsched.job.control import submit_get_id
from tests.cli.conftest import CANCELED, COMPLETED, ENDED, QUEUED, STARTED, TIMED_OUT, FakeScheduler, SpoolMaker, failed

SPEC = {"version": 1, "resources": [], "tasks": [], "attributes": {}}


def submitted(scheduler: FakeScheduler) -> dict:
    ((topic, payload),) = scheduler.asked
    assert topic == "submit"
    return json.loads(payload["text"])


# --- submit ------------------------------------------------------------------------------------------------------


def test_a_job_is_submitted_in_any_form(handle: Handle, scheduler: FakeScheduler):
    scheduler.answers["submit"] = {"id": 7}
    spec = job.JobspecV1.from_command(["true"], environment={})
    for form in (spec, spec.jobspec, json.dumps(spec.jobspec)):
        id_ = job.submit(handle, form)
        assert (id_, type(id_)) == (7, job.JobID)
        assert submitted(scheduler) == spec.jobspec
        scheduler.asked.clear()


@pytest.mark.parametrize("form", [{"command": ["true"]}, '{"command": ["true"]}'])
def test_an_urgency_stands_beside_the_jobspec(handle: Handle, scheduler: FakeScheduler, form: object):
    scheduler.answers["submit"] = {"id": 7}
    job.submit(handle, form, urgency=31)
    assert submitted(scheduler) == {"command": ["true"], "urgency": 31}


@pytest.mark.parametrize(("form", "urgency"), [("{", 17), ("[]", 17), ({"a": float("nan")}, 16), ({}, 32), ({}, -1)])
def test_what_is_no_job_is_refused(handle: Handle, scheduler: FakeScheduler, form: object, urgency: int):
    with pytest.raises(OSError) as caught:
        job.submit_async(handle, form, urgency)
    assert caught.value.errno == errno.EINVAL
    assert scheduler.asked == []


def test_signed_jobs_there_are_not(handle: Handle):
    with pytest.raises(OSError) as caught:
        job.submit(handle, SPEC, pre_signed=True)
    assert caught.value.errno == errno.EINVAL


def test_what_the_scheduler_refuses_is_told_when_the_id_is_asked_for(handle: Handle, scheduler: FakeScheduler):
    scheduler.answers["submit"] = OSError(errno.EINVAL, "command: missing (or script)")
    future = job.submit_async(handle, "{}", 16, False, True, False, True)
    with pytest.raises(OSError, match="command: missing"):
        submit_get_id(future)


def test_without_a_scheduler_nothing_is_submitted(handle: Handle):
    with pytest.raises(NoScheduler):
        job.submit(handle, SPEC)


# --- changes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "asked"),
    [
        (lambda h: job.cancel(h, 7), ("cancel", {"id": 7, "note": ""})),
        (lambda h: job.cancel(h, "ƒ8", "because"), ("cancel", {"id": 7, "note": "because"})),
        (lambda h: job.cancel_async(h, 7, reason="x").get(), ("cancel", {"id": 7, "note": "x"})),
        (lambda h: job.raise_exception(h, 7, note="x"), ("cancel", {"id": 7, "note": "x"})),
        (
            lambda h: job.raise_exception(h, 7, "cancel", 3),
            ("raise", {"id": 7, "type": "cancel", "severity": 3, "note": ""}),
        ),
        (
            lambda h: job.raise_exception(h, 7, "mine", severity=0, note="x"),
            ("raise", {"id": 7, "type": "mine", "severity": 0, "note": "x"}),
        ),
        (lambda h: job.kill(h, 7), ("kill", {"id": 7, "signum": signal.SIGTERM})),
        (lambda h: job.kill_async(h, 7, 9).get(), ("kill", {"id": 7, "signum": 9})),
    ],
)
def test_a_change_is_asked_of_the_scheduler(handle: Handle, scheduler: FakeScheduler, call, asked: tuple):
    scheduler.answers.update({topic: {"outcome": "x"} for topic in ("cancel", "raise", "kill")})
    assert call(handle) == {"outcome": "x"}
    assert scheduler.asked == [asked]


def test_an_urgency_is_changed_and_the_old_one_told(handle: Handle, scheduler: FakeScheduler):
    scheduler.answers["urgency"] = {"outcome": "changed", "old_urgency": 16}
    assert (job.set_urgency(handle, 7, 20), job.urgency(handle, 7, 20)) == (16, 16)
    assert scheduler.asked[0] == ("urgency", {"id": 7, "urgency": 20})


@pytest.mark.parametrize(
    ("call", "topic", "answered", "raised"),
    [
        (job.cancel_async, "cancel", (errno.EALREADY, "job is finished"), (errno.ENOENT, "job is inactive")),
        (job.cancel_async, "cancel", (errno.ENOENT, "unknown job id"), (errno.ENOENT, "unknown job id")),
        (job.cancel_async, "cancel", (errno.EBUSY, "no"), (errno.EBUSY, "no")),
        (job.set_urgency_async, "urgency", (errno.ENOENT, "unknown job id"), (errno.EINVAL, "unknown job")),
        (job.set_urgency_async, "urgency", (errno.EALREADY, "job is finished"), (errno.EINVAL, "job is inactive")),
        (
            job.set_urgency_async,
            "urgency",
            (errno.EBUSY, "already started"),
            (errno.EINVAL, "urgency cannot be changed once resources are allocated"),
        ),
        (
            job.set_urgency_async,
            "urgency",
            (errno.EINVAL, "urgency value is out of range"),
            (errno.EINVAL, "urgency value is out of range"),
        ),
    ],
)
def test_errors_are_flux_s(handle: Handle, scheduler: FakeScheduler, call, topic: str, answered: tuple, raised: tuple):
    scheduler.answers[topic] = OSError(*answered)
    future = call(handle, 7, 20) if topic == "urgency" else call(handle, 7)
    with pytest.raises(OSError) as caught:
        future.get()
    assert (caught.value.errno, caught.value.strerror) == raised


@pytest.mark.parametrize(("kind", "severity"), [("", 0), ("a b", 0), ("a=b", 0), ("mine", 8), ("mine", -1)])
def test_an_exception_must_be_one_of_rfc_21(handle: Handle, kind: str, severity: int):
    with pytest.raises(OSError, match="invalid exception") as caught:
        job.raise_exception(handle, 7, kind, severity)
    assert caught.value.errno == errno.EPROTO


def test_what_is_no_job_id_is_no_job_id(handle: Handle):
    for call in (job.cancel, job.kill, job.result, job.wait):
        with pytest.raises(ValueError, match="not a valid"):
            call(handle, "?")


# --- the end -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "success", "errstr", "returncode", "result"),
    [
        (COMPLETED, True, "", 0, "COMPLETED"),
        (failed(3 << 8), False, "Exit 3", 3, "FAILED"),
        (CANCELED, False, "Canceled: because", -128, "CANCELED"),
        (TIMED_OUT, False, "Timeout", 142, "TIMEOUT"),
    ],
)
def test_how_a_job_ended(
    spool: SpoolMaker, handle: Handle, facts: tuple, success: bool, errstr: str, returncode: int, result: str
):
    """Without a scheduler, too."""
    id_ = spool.add(*facts).id
    assert job.wait(handle, id_) == (id_, success, errstr.encode())
    info = job.result(handle, id_)
    assert (info.id, info.returncode, info.result, info.state) == (id_, returncode, result, "INACTIVE")
    assert job.result_async(handle, id_).get_dict()["id"] == id_


def test_a_job_that_goes_on_is_waited_for(spool: SpoolMaker, handle: Handle):
    id_ = spool.add(*STARTED).id
    future = job.result_async(handle, id_)
    assert not future.is_ready()
    spool.add(("finish", {"status": 256}), *ENDED, id_=id_)
    assert future.wait_for(10).get_info().returncode == 1
    assert job.wait_get_status(job.wait_async(handle, id_)).errstr == b"Exit 1"


def test_an_unknown_job_is_not_waited_for(spool: SpoolMaker, handle: Handle):
    spool.add(*COMPLETED)
    for call in (job.wait, job.result):
        with pytest.raises(FileNotFoundError):
            call(handle, 99)


def test_a_job_that_is_purged_meanwhile_is_not_waited_for_any_more(spool: SpoolMaker, handle: Handle):
    import sqlite3

    future = job.result_async(handle, spool.add(*STARTED).id)
    assert not future.is_ready()
    with sqlite3.connect(spool.root / "jqsched.db") as store:
        store.execute("DELETE FROM jobs")
    with pytest.raises(FileNotFoundError):
        future.wait_for(10).get()


def test_without_an_id_the_waitable_jobs_come_in_the_order_of_their_ends(
    spool: SpoolMaker, handle: Handle, scheduler: FakeScheduler
):
    """Each once, though several wait at the same time; one that was not waitable never."""
    ids = [spool.add(*STARTED).id for _ in range(4)]
    for id_ in ids:
        scheduler.answers["submit"] = {"id": id_}
        job.submit(handle, SPEC, waitable=id_ != 2)
    futures = [job.wait_async(handle), job.wait_async(handle)]
    assert not any(future.is_ready() for future in futures)
    for id_ in (3, 2, 1):
        spool.add(("finish", {"status": 0}), *ENDED, id_=id_)
    for future in futures:
        future.wait_for(10)
    assert sorted(future.get_status().jobid for future in futures) == [1, 3]
    future = job.wait_async(handle)
    spool.add(("finish", {"status": 256}), *ENDED, id_=4)
    assert future.get_status() == (4, False, b"Exit 1")
    with pytest.raises(ChildProcessError):
        job.wait(handle)


def test_a_job_submitted_while_somebody_waits_is_waited_for_too(
    spool: SpoolMaker, handle: Handle, scheduler: FakeScheduler
):
    first, second = spool.add(*STARTED).id, spool.add(*STARTED).id
    scheduler.answers["submit"] = {"id": first}
    job.submit(handle, SPEC, waitable=True)
    future = job.wait_async(handle)
    assert not future.is_ready()
    scheduler.answers["submit"] = {"id": second}
    job.submit(handle, SPEC, waitable=True)
    spool.add(("finish", {"status": 0}), *ENDED, id_=second)
    assert future.wait_for(10).get_status().jobid == second


def test_the_order_of_ends_is_kept(spool: SpoolMaker, handle: Handle, scheduler: FakeScheduler):
    for id_ in [spool.add(*STARTED).id for _ in range(3)]:
        scheduler.answers["submit"] = {"id": id_}
        job.submit(handle, SPEC, waitable=True)
    for id_ in (3, 1, 2):
        spool.add(("finish", {"status": 0}), *ENDED, id_=id_)
    assert [job.wait(handle).jobid for _ in range(3)] == [3, 1, 2]


def test_a_job_waited_for_by_its_id_is_not_waitable_any_more(
    spool: SpoolMaker, handle: Handle, scheduler: FakeScheduler
):
    id_ = spool.add(*COMPLETED).id
    scheduler.answers["submit"] = {"id": id_}
    job.submit(handle, SPEC, waitable=True)
    assert job.wait(handle, id_).success
    with pytest.raises(ChildProcessError):
        job.wait(handle)


def test_no_job_is_waitable_at_first(handle: Handle):
    with pytest.raises(ChildProcessError):
        job.wait(handle)
    with pytest.raises(OSError) as caught:
        handle.rpc("job-info.result", {"ids": 7}, flags=FLUX_RPC_STREAMING).get()
    assert caught.value.errno == errno.EPROTO


def test_in_asyncio_await_gives_what_the_blocking_call_returns(spool: SpoolMaker, scheduler: FakeScheduler):
    id_ = spool.add(*QUEUED, *STARTED[3:]).id
    scheduler.answers["submit"] = {"id": id_}

    async def main() -> None:
        async with Handle(spool.root) as handle:
            assert await job.submit_async(handle, SPEC, waitable=True) == id_
            waiting = asyncio.gather(job.wait_async(handle).ready(), job.result_async(handle, id_).ready())
            await asyncio.sleep(0)
            spool.add(("finish", {"status": 256}), *ENDED, id_=id_)
            await asyncio.wait_for(waiting, 10)
            assert (await job.wait_async(handle, id_)).errstr == b"Exit 1"
            assert (await job.result_async(handle, id_)).returncode == 1

    asyncio.run(main())


def test_every_name_of_flux_job_is_there():
    for name in job.__all__:
        assert getattr(job, name) is not None
    assert set(job.__all__) <= set(dir(job))
    with pytest.raises(AttributeError):
        job.nosuch  # noqa: B018 - asking is what fails


def test_type_checkers_are_told_the_same_names():
    """The imports that only they see are those of the table."""
    import ast
    import inspect

    tree = ast.parse(inspect.getsource(job))
    seen = {
        (node.module.rpartition(".")[2], alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module.startswith("jqsched.job.")
        for alias in node.names
        if alias.name == alias.asname
    }
    assert seen == {(module, name) for name, module in job._MODULE_OF.items()}


def test_what_cannot_be_a_job_or_a_future_is_refused_as_in_flux(handle: Handle, scheduler: FakeScheduler):
    scheduler.answers["submit"] = {"id": 7}
    for wrong in (0, ["true"], 1.5, {1, 2}):
        with pytest.raises(TypeError, match="a job is a Jobspec, a mapping or a text"):
            job.submit(handle, wrong)
    for text in (b'{"command": ["true"]}', '{"command": ["true"]}', ChainMap({"command": ["true"]})):
        assert job.submit(handle, text) == 7
        assert json.loads(scheduler.asked[-1][1]["text"]) == {"command": ["true"]}
    for ask, arguments in ((job.submit, (handle, None)), (job.submit_get_id, (None,)), (job.wait_get_status, (None,))):
        with pytest.raises(OSError) as caught:
            ask(*arguments)
        assert caught.value.errno == errno.EINVAL
    for ask in (job.event_watch_async, job.cancel_async, job.result_async, job.kill_async):
        with pytest.raises(TypeError, match="a job id is an integer or a text"):
            ask(handle, None)
