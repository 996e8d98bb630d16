"""The handle: where the spool is, requests and their errors, the reactor; and a scheduler that comes, goes, refuses."""

import errno
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import jqsched
from jqsched import Handle
from jqsched.adapters import server
from jqsched.adapters.store.elsewhere import note_store_folder
from jqsched.client import handle as handles
from jqsched.client.connection import NoScheduler
from jqsched.constants import FLUX_REACTOR_NOWAIT, FLUX_REACTOR_ONCE, FLUX_RPC_NORESPONSE, FLUX_RPC_STREAMING
from jqsched.job.event import event_watch
from tests.cli.conftest import COMPLETED, QUEUED, FakeScheduler, SpoolMaker, fatal
from tests.e2e.conftest import PATIENCE_S, Daemon

# --- where -------------------------------------------------------------------------------------------------------


def test_the_spool_is_named_or_in_the_environment(spool: SpoolMaker, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("JQSCHED_SPOOL", str(spool.root))
    with Handle() as found, Handle(spool.root) as named:
        assert found.spool == named.spool == str(spool.root)


def test_a_spool_that_is_not_there_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("JQSCHED_SPOOL", raising=False)
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(handles, "user_spool", lambda *_: str(tmp_path / "own"))
    with pytest.raises(FileNotFoundError, match="JQSCHED_SPOOL"):
        Handle()
    (tmp_path / "own").mkdir()
    with Handle() as found:
        assert found.spool == str(tmp_path / "own")
    with pytest.raises(FileNotFoundError):
        Handle(tmp_path / "absent")
    with pytest.raises(NotADirectoryError):
        Handle(tmp_path / "file")


def test_the_store_may_be_elsewhere(tmp_path: Path, spool: SpoolMaker, monkeypatch: pytest.MonkeyPatch):
    job = spool.add(*COMPLETED)
    (tmp_path / "other").mkdir()
    with Handle(tmp_path / "other", store=spool.root) as named:
        assert named.rpc("job-info.lookup", {"id": job.id, "keys": []}).get() == {"id": job.id}
    monkeypatch.setenv("JQSCHED_STORE", str(spool.root))
    with Handle(tmp_path / "other") as found:
        assert found.rpc("job-info.lookup", {"id": job.id, "keys": []}).get() == {"id": job.id}


def test_a_store_elsewhere_is_found_by_the_note_in_the_spool(tmp_path: Path, spool: SpoolMaker):
    """Also where the note comes after the handle. Another folder is refused as by commands. Seen to show no jobs."""
    job = spool.add(*COMPLETED)
    root = tmp_path / "other"
    root.mkdir(mode=0o700)
    with Handle(root) as early, Handle(root, store=root) as wrong:
        with pytest.raises(FileNotFoundError):
            early.rpc("job-info.lookup", {"id": job.id, "keys": []}).get()
        note_store_folder(str(root), str(spool.root))
        with Handle(root) as handle:
            for found in (early, handle):
                assert found.rpc("job-info.lookup", {"id": job.id, "keys": []}).get() == {"id": job.id}
        with pytest.raises(OSError, match=f"its store is in {spool.root}"):
            wrong.rpc("job-info.lookup", {"id": job.id, "keys": []}).get()


def names(handle: Handle) -> list[str]:
    log = handle.rpc("job-info.lookup", {"id": 1, "keys": ["eventlog"]}).get()["eventlog"]
    return [json.loads(line)["name"] for line in log.splitlines()]


def test_a_store_that_comes_or_is_put_in_another_s_place_is_read(spool: SpoolMaker, handle: Handle, tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        names(handle)
    (spool.root / "jqsched.db").touch()  # a scheduler begins
    with pytest.raises(FileNotFoundError):
        names(handle)
    spool.add("validate")
    assert names(handle) == ["submit", "validate"]
    (tmp_path / "backup").mkdir()
    backup = SpoolMaker(tmp_path / "backup", spool._capture)
    backup.add(*QUEUED)
    os.rename(backup.root / "jqsched.db", spool.root / "jqsched.db")
    assert names(handle) == ["submit", *QUEUED[:2], "priority"]


def test_a_store_that_cannot_be_read_is_told_with_its_path(spool: SpoolMaker, handle: Handle):
    spool.add("validate")
    with sqlite3.connect(spool.root / "jqsched.db") as store:
        store.execute("PRAGMA user_version = 999")
    with pytest.raises(OSError, match=r"jqsched\.db: written by a newer jqsched") as caught:
        names(handle)
    assert caught.value.errno == errno.EIO
    (spool.root / "jqsched.db").write_bytes(b"no database" * 1000)
    with pytest.raises(OSError, match=r"jqsched\.db"):
        names(handle)


def test_a_handle_holds_no_descriptor_when_it_is_closed(spool: SpoolMaker, scheduler: FakeScheduler):
    spool.add("validate")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        opened = Handle(spool.root)
        opened.rpc("job-manager.status").get()
        opened.rpc("job-info.eventlog-watch", {"id": 1}, flags=FLUX_RPC_STREAMING).get()
        opened.close()
        opened.close()
    assert len(os.listdir("/proc/self/fd")) < before + 10, "the fake scheduler, in this process, closes its ends later"


def test_nothing_can_be_asked_of_a_closed_handle(spool: SpoolMaker):
    opened = Handle(spool.root)
    opened.close()
    with pytest.raises(OSError) as caught:
        opened.rpc("job-manager.status")
    assert caught.value.errno == errno.EBADF


def test_importing_jqsched_imports_neither_asyncio_nor_the_command_line():
    """A script pays for what it uses."""
    heavy = ("asyncio", "typer", "rich", "re2", "watchdog")
    code = f"import sys, jqsched; jqsched.Handle; print(*[name for name in {heavy} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []
    assert not hasattr(jqsched, "Absent")


# --- children and threads ------------------------------------------------------------------------------------------

PARENT = """
import gc, os, signal, sys, warnings
from jqsched import Handle, job
from jqsched.client.connection import Connection
handle = Handle()
submit = lambda of: job.submit(of, {"command": ["true"]}, urgency=0)
first = submit(handle)
waiting = job.event_watch_async(handle, first)
while waiting.is_ready():
    waiting.get_event()
generator = job.event_watch(handle, first)
next(generator)
connection = Connection(handle.spool)
stream = connection.stream("job-manager.bell", {})
next(stream)
if (child := os.fork()) == 0:
    CHILD
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
signal.alarm(20)
second = submit(handle)
job.cancel(handle, first)
while waiting.get_event() is not None:
    pass
status = connection.request("job-manager.status")
print(*[event.name for event in generator][-2:], next(stream)["seq"] > 0, "max_running" in status)
stream.close()
connection.close()
"""

CHILDREN = {
    "opens its own": "handle = Handle(); submit(handle)",
    "closes": "handle.close(); connection.close()",
    "drops": "del handle, waiting, generator, stream; gc.collect()",
    "ends": "connection.close(); sys.exit(0)",
    "cancels": "waiting.cancel(stop=True); generator.close(); stream.close()",
    "has other files under the same descriptors": "os.closerange(3, 100); new = [os.open('/', 0) for _ in range(90)]; "
    "del handle, waiting, generator; gc.collect(); [os.fstat(descriptor) for descriptor in new]",
    "forks again": "os.fork() or (handle.close(), os._exit(0)); os.wait(); handle.close()",
}


def test_what_a_child_does_with_its_parent_s_handle_the_parent_does_not_notice(daemon: Daemon):
    daemon.start()
    environment = os.environ | {"JQSCHED_SPOOL": str(daemon.spool)}
    for what, child in CHILDREN.items():
        parent = [sys.executable, "-W", "error", "-c", PARENT.replace("CHILD", child)]
        ran = subprocess.run(parent, capture_output=True, text=True, timeout=PATIENCE_S, check=False, env=environment)
        assert (ran.stdout.split(), ran.stderr) == (["exception", "clean", "True", "True"], ""), what


def test_a_child_is_told_that_the_handle_is_its_parent_s(spool: SpoolMaker, handle: Handle, scheduler: FakeScheduler):
    spool.add("validate")
    watch = handle.rpc("job-info.eventlog-watch", {"id": 1}, flags=FLUX_RPC_STREAMING)
    waiting = handle.rpc("job-manager.wait", {})
    asks = {
        "a request to the scheduler": lambda: handle.rpc("job-manager.status"),
        "a request to the store": lambda: handle.rpc("job-list.list-attrs"),
        "an answer that waits": lambda: (watch.get(), watch.reset(), watch.get()),
        "an answer that will come": waiting.get,
        "the reactor": handle.reactor_run,
        "a callback": lambda: waiting.then(print),
    }
    for what, ask in asks.items():
        child = os.fork()
        if child == 0:
            try:
                ask()
                os._exit(1)
            except OSError as error:
                os._exit(0 if error.errno == errno.EBADF and str(os.getppid()) in str(error) else 2)
            except BaseException:  # nothing of pytest's goes on in the child
                os._exit(3)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, what


def in_threads(*calls) -> list[object]:
    """Run these at once, each in a thread of its own; what they returned or raised."""
    with ThreadPoolExecutor(len(calls)) as pool:
        futures = [pool.submit(call) for call in calls]
        return [future.exception(PATIENCE_S) or future.result() for future in futures]


def test_threads_share_a_handle(spool: SpoolMaker, handle: Handle, scheduler: FakeScheduler):
    """Some wait for ever or long while others ask and wait; each gets its own answers."""
    id_ = spool.add("validate").id
    scheduler.answers["cancel"] = {"outcome": "dequeued"}

    def watch() -> list[str]:
        return [event.name for event in event_watch(handle, id_)]

    def ask() -> bool:
        return all(handle.rpc("job-manager.cancel", {"id": 7}).get() == {"outcome": "dequeued"} for _ in range(50))

    def end() -> None:
        ask()
        spool.add(fatal("cancel"), "clean", id_=id_)

    *watched, asked, _ = in_threads(watch, watch, watch, ask, end)
    assert watched == [["submit", "validate", "exception", "clean"]] * 3
    assert asked is True


def test_only_one_thread_runs_the_reactor(handle: Handle, scheduler: FakeScheduler):
    seen: list[object] = []
    handle.rpc("job-manager.wait", {}).then(lambda _: None)

    def other(_: object) -> None:
        seen.extend(in_threads(handle.reactor_run))
        handle.reactor_stop()

    handle.rpc("job-manager.status").then(other)
    handle.reactor_run()
    assert [type(error) for error in seen] == [RuntimeError]


def test_a_thread_that_waits_is_told_that_the_handle_was_closed(handle: Handle, scheduler: FakeScheduler):
    waiting = handle.rpc("job-manager.wait", {})
    begun = threading.Event()

    def wait() -> None:
        begun.set()
        waiting.get()

    def close() -> None:
        begun.wait(PATIENCE_S)
        handle.close()

    error, _ = in_threads(wait, close)
    assert isinstance(error, OSError)


# --- requests ----------------------------------------------------------------------------------------------------


def test_a_request_is_answered_by_the_scheduler(handle: Handle, scheduler: FakeScheduler):
    scheduler.answers["cancel"] = {"outcome": "dequeued"}
    future = handle.rpc("job-manager.cancel", {"id": 7})
    assert future.get() == {"outcome": "dequeued"}
    assert json.loads(future.get_str()) == {"outcome": "dequeued"}
    assert scheduler.asked == [("cancel", {"id": 7})]


@pytest.mark.parametrize("payload", ['{"id": 7}', b'{"id": 7}', {"id": 7}])
def test_a_payload_is_a_mapping_or_its_text(handle: Handle, scheduler: FakeScheduler, payload: object):
    scheduler.answers["cancel"] = {}
    handle.rpc("job-manager.cancel", payload).get()
    assert scheduler.asked == [("cancel", {"id": 7})]


@pytest.mark.parametrize("payload", ["{", "[]", 7, {"a": object()}, {"a": float("nan")}, "[" * 100_000])
def test_what_is_no_payload_is_refused_where_it_is_given(handle: Handle, payload: object):
    with pytest.raises(OSError) as caught:
        handle.rpc("job-manager.cancel", payload)
    assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize("topic", ["", None])
def test_a_request_needs_a_topic(handle: Handle, topic: object):
    with pytest.raises(OSError) as caught:
        handle.rpc(topic)
    assert caught.value.errno == errno.EINVAL


def test_an_error_has_its_errno_and_text(handle: Handle, scheduler: FakeScheduler):
    scheduler.answers["cancel"] = OSError(errno.ENOENT, "unknown job id")
    with pytest.raises(FileNotFoundError, match="unknown job id"):
        handle.rpc("job-manager.cancel", {"id": 7}).get()
    with pytest.raises(OSError) as caught:
        handle.rpc("no.such-topic").get()
    assert caught.value.errno == errno.ENOSYS


def test_answers_find_their_requests_whatever_their_order(handle: Handle, scheduler: FakeScheduler):
    held: list[server.Request] = []

    def hold(request: server.Request) -> None:
        held.append(request)
        if len(held) == 3:
            for one in reversed(held):
                one.respond({"id": one.payload["id"]})

    scheduler.answers["cancel"] = hold
    futures = [handle.rpc("job-manager.cancel", {"id": id_}) for id_ in (1, 2, 3)]
    assert [future.get()["id"] for future in futures] == [1, 2, 3]


def test_a_request_without_response_is_sent_and_answered_at_once(handle: Handle, scheduler: FakeScheduler):
    sent = threading.Event()
    scheduler.answers["cancel"] = lambda request: sent.set()
    assert handle.rpc("job-manager.cancel", {"id": 1}, flags=FLUX_RPC_NORESPONSE).get() == {}
    assert sent.wait(10)


def test_a_stream_is_given_in_order_until_its_end(handle: Handle, scheduler: FakeScheduler):
    def count(request: server.Request) -> None:
        for n in range(1000):
            request.stream({"n": n})
        request.end()

    scheduler.answers["count"] = count
    stream = handle.rpc("job-manager.count", flags=FLUX_RPC_STREAMING)
    for n in range(1000):
        assert stream.get() == {"n": n}
        stream.reset()
    with pytest.raises(OSError) as caught:
        stream.get()
    assert caught.value.errno == errno.ENODATA


def test_a_canceled_stream_ends_at_both_sides(handle: Handle, scheduler: FakeScheduler):
    closed = threading.Event()

    def forever(request: server.Request) -> None:
        request.on_close = closed.set
        request.stream({"n": 0})

    scheduler.answers["forever"] = forever
    stream = handle.rpc("job-manager.forever", flags=FLUX_RPC_STREAMING)
    assert stream.get() == {"n": 0}
    stream.cancel()
    stream.reset()
    with pytest.raises(OSError) as caught:
        stream.wait_for(10).get()
    assert caught.value.errno == errno.ENODATA
    assert closed.wait(10)


def test_a_large_request_and_answer_pass(handle: Handle, scheduler: FakeScheduler):
    scheduler.answers["echo"] = lambda request: request.respond(request.payload)
    text = "ä" * 600_000
    assert handle.rpc("job-manager.echo", {"text": text}).get()["text"] == text


# --- a scheduler that is not there, or not any more --------------------------------------------------------------


def test_without_a_scheduler_a_change_is_refused_when_it_is_asked_for(handle: Handle):
    future = handle.rpc("job-manager.cancel", {"id": 1})
    with pytest.raises(NoScheduler) as caught:
        future.get()
    assert caught.value.errno == errno.EHOSTDOWN


def test_one_that_goes_away_leaves_no_request_waiting(spool: SpoolMaker, handle: Handle):
    fake = FakeScheduler(spool.root)
    fake.answers["cancel"] = lambda request: request._client.drop()
    waiting = handle.rpc("job-manager.cancel", {"id": 1})
    with pytest.raises(NoScheduler):
        waiting.wait_for(10).get()
    fake.close()


def test_the_next_scheduler_is_found(spool: SpoolMaker, handle: Handle):
    for number in range(3):
        fake = FakeScheduler(spool.root)
        fake.answers["cancel"] = {"number": number}
        assert handle.rpc("job-manager.cancel", {"id": 1}).get() == {"number": number}
        assert fake.asked == [("cancel", {"id": 1})], "asked once"
        fake.close()
    with pytest.raises(NoScheduler):
        handle.rpc("job-manager.cancel", {"id": 1}).get()


def test_who_is_refused_is_told_why(spool: SpoolMaker, scheduler: FakeScheduler, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(server, "CLIENTS_MAX", 1)
    monkeypatch.setattr(server, "EXTRA_CLIENTS_MAX", 0)
    with Handle(spool.root) as first, Handle(spool.root) as second:
        first.rpc("job-manager.status").get()
        for _ in range(20):
            with pytest.raises(OSError, match="too many clients") as caught:
                second.rpc("job-manager.status").get()
            assert caught.value.errno == errno.EAGAIN
        assert first.rpc("job-manager.status").get()["pid"] == 4711


def test_closing_ends_what_waits(spool: SpoolMaker, scheduler: FakeScheduler):
    scheduler.answers["wait"] = lambda request: None
    opened = Handle(spool.root)
    waiting = opened.rpc("job-manager.wait", {})
    opened.close()
    with pytest.raises(NoScheduler):
        waiting.get()


# --- the reactor -------------------------------------------------------------------------------------------------


def test_the_reactor_calls_until_nobody_waits(handle: Handle, scheduler: FakeScheduler):
    seen = []
    for number in range(3):
        handle.rpc("job-manager.status").then(lambda future, number: seen.append((number, future.get()["pid"])), number)
    assert handle.reactor_run() == 0
    assert sorted(seen) == [(number, 4711) for number in range(3)]


def test_a_callback_may_stop_the_reactor(handle: Handle, scheduler: FakeScheduler):
    scheduler.answers["wait"] = lambda request: None
    handle.rpc("job-manager.wait", {}).then(lambda _: None)
    handle.rpc("job-manager.status").then(lambda _: handle.reactor_stop())
    assert handle.reactor_run() == 1, "one still waits"


def test_another_thread_may_stop_the_reactor(handle: Handle, scheduler: FakeScheduler):
    turning = threading.Event()
    scheduler.answers["wait"] = lambda request: None
    handle.rpc("job-manager.wait", {}).then(lambda _: None)
    handle.rpc("job-manager.status").then(lambda _: turning.set())
    stopper = threading.Thread(target=lambda: turning.wait(10) and handle.reactor_stop())
    stopper.start()
    assert handle.reactor_run(handle.get_reactor(), 0) == 1
    stopper.join()


def test_a_signal_interrupts_the_reactor(handle: Handle, scheduler: FakeScheduler):
    scheduler.answers["wait"] = lambda request: None
    before = signal.signal(signal.SIGUSR1, handle.reactor_interrupt)
    try:
        handle.rpc("job-manager.wait", {}).then(lambda _: None)
        handle.rpc("job-manager.status").then(lambda _: os.kill(os.getpid(), signal.SIGUSR1))
        with pytest.raises(KeyboardInterrupt):
            handle.reactor_run()
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_the_reactor_can_be_run_once_or_without_waiting(handle: Handle, scheduler: FakeScheduler):
    scheduler.answers["wait"] = lambda request: None
    seen = []
    handle.rpc("job-manager.wait", {}).then(lambda _: None)
    assert handle.reactor_run(flags=FLUX_REACTOR_NOWAIT) == 1
    handle.rpc("job-manager.status").then(lambda _: seen.append("status"))
    assert handle.reactor_run(flags=FLUX_REACTOR_ONCE) == 1
    assert seen == ["status"]


def test_times_come_in_their_order_and_keep_nobody(handle: Handle):
    seen = []
    handle.reactor.call_later(0.002, lambda: seen.append("second"))
    handle.reactor.call_later(0.001, lambda: seen.append("first"))
    assert handle.reactor_run() == 0
    assert seen == []
    assert handle.reactor.wait(lambda: len(seen) == 2, 10)
    assert seen == ["first", "second"]
