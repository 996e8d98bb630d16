"""The client against a real scheduler: streams as they happen, many, slow ones, and schedulers that come and go."""

import asyncio
import json
import os
import socket
import sys
from pathlib import Path

import pytest

from jqsched import Handle, job
from jqsched.client.connection import NoScheduler
from jqsched.job.journal import JournalConsumer
from tests.e2e.conftest import PATIENCE_S, Daemon, until

NAMES = ["submit", "validate", "depend", "priority", "alloc", "start", "finish", "release", "free", "clean"]


def test_a_job_from_submission_to_its_end(daemon: Daemon):
    daemon.start("--max-running", "2")
    with Handle(daemon.spool) as handle:
        spec = job.JobspecV1.from_command(["sh", "-c", "echo one; echo two >&2; exit 3"], name="both")
        id_ = job.submit(handle, spec)
        assert [event.name for event in job.event_watch(handle, id_)] == NAMES
        assert job.wait(handle, id_) == (id_, False, b"Exit 3")
        output = [event.context.get("data", "") for event in job.event_watch(handle, id_, "guest.output")]
        assert "".join(output) == "one\ntwo\n"
        (record,) = [event for event in job.event_watch(handle, id_, "guest.exec.eventlog") if event.name == "complete"]
        assert record.context == {"status": 768}


def test_what_is_answered_can_be_read_at_once(daemon: Daemon):
    daemon.start("--max-running", "2")
    with Handle(daemon.spool) as handle:
        for number in range(20):
            id_ = job.submit(handle, {"command": ["true"]}, urgency=0)
            lookup = {"id": id_, "keys": ["eventlog"]}
            assert '"name":"submit"' in handle.rpc("job-info.lookup", lookup).get()["eventlog"]
            assert job.set_urgency(handle, id_, number % 2 * 5) == 0
            assert '"name":"urgency"' in handle.rpc("job-info.lookup", lookup).get()["eventlog"]
            if number % 2:
                assert job.wait(handle, id_).success
            else:
                job.cancel(handle, id_, "enough")
                assert '"note":"enough"' in handle.rpc("job-info.lookup", lookup).get()["eventlog"]
            with pytest.raises(OSError, match="job is inactive"):
                job.set_urgency(handle, id_, 5)


def test_a_running_job_is_canceled(daemon: Daemon):
    daemon.start()
    with Handle(daemon.spool) as handle:
        id_ = job.submit(handle, {"command": ["sleep", "1000"]})
        job.event_wait(handle, id_, "start")
        job.cancel(handle, id_, "because")
        with pytest.raises(job.JobException, match="type=cancel: because"):
            job.event_wait(handle, id_, "clean")
        assert job.result(handle, id_).result == "CANCELED"


def test_output_is_followed_while_the_job_runs(daemon: Daemon, tmp_path: Path):
    daemon.start()
    with Handle(daemon.spool) as handle:
        gate = tmp_path / "gate"
        os.mkfifo(gate)
        id_ = job.submit(handle, {"script": f"echo first; read word < {gate}; echo $word"})
        future = job.event_watch_async(handle, id_, "guest.output")
        assert future.get_event().name == "header"
        assert future.get_event().context["data"] == "first\n", "read while it runs"
        gate.write_text("second\n")
        assert future.get_event().context["data"] == "second\n"
        assert future.get_event().context["eof"]
        assert future.get_event() is None


def test_the_job_file_s_errors_are_the_submitter_s(daemon: Daemon):
    daemon.start()
    with Handle(daemon.spool) as handle:
        with pytest.raises(OSError, match="comand: unknown key"):
            job.submit(handle, {"comand": ["true"]})
        assert job.submit(handle, {"command": ["true"]}, urgency=0) >= 1


def test_a_signal_reaches_a_running_job(daemon: Daemon):
    daemon.start()
    with Handle(daemon.spool) as handle:
        id_ = job.submit(handle, {"command": ["sleep", "1000"]})
        job.event_wait(handle, id_, "start")
        job.kill(handle, id_, 10)
        assert job.result(handle, id_).returncode == 128 + 10


def test_an_exception_is_raised_on_a_running_job(daemon: Daemon):
    daemon.start()
    with Handle(daemon.spool) as handle:
        id_ = job.submit(handle, {"command": ["sleep", "1000"]})
        job.event_wait(handle, id_, "start")
        job.raise_exception(handle, id_, "mine", 5, "only noted")
        assert job.event_wait(handle, id_, "exception").context["severity"] == 5
        job.raise_exception(handle, id_, "mine", 0, "the end")
        assert job.result(handle, id_).result == "FAILED"


# --- many, and slow ----------------------------------------------------------------------------------------------


def test_many_clients_see_the_same(daemon: Daemon):
    """Each with a connection of its own; more than the scheduler takes do without a bell, and see it too."""
    daemon.start("--max-running", "2", patch="import jqsched.adapters.server as s; s.CLIENTS_MAX = 40")
    handles = [Handle(daemon.spool) for _ in range(50)]
    seen: list[list[int]] = [[] for _ in handles]
    consumers = []
    for number, handle in enumerate(handles):
        consumer = JournalConsumer(handle, events=["clean"])
        consumer.set_callback(lambda event, number: seen[number].append(event.seq), number)
        consumers.append(consumer.start())
        handle.reactor_run(flags=1)
    for number in range(20):
        daemon.drop(f"{number}.json", {"command": ["true"]})
    for number, handle in enumerate(handles):
        assert handle.reactor.wait(lambda number=number, handle=handle: _turned(handle, seen[number]) == 20, PATIENCE_S)
    assert all(seqs == seen[0] for seqs in seen)
    for handle in handles:
        handle.close()


def _turned(handle: Handle, seqs: list[int]) -> int:
    handle.reactor._fire()
    return len(seqs)


def test_who_never_reads_holds_up_nobody_and_hears_the_last_word(daemon: Daemon):
    """A bell is rung again when it was heard, so it takes no memory, and its client is not dropped for being slow."""
    daemon.start(patch="import jqsched.adapters.server as s; s.UNREAD_MAX_BYTES = 300")
    with socket.socket(socket.AF_UNIX) as sleeper, Handle(daemon.spool) as handle:
        sleeper.connect(f"{daemon.spool}/jqsched.sock")
        sleeper.sendall(b'{"topic":"job-manager.bell","matchtag":1,"streaming":true}\n')
        id_ = job.submit(handle, {"command": ["true"], "urgency": 0})
        for number in range(700):
            job.set_urgency(handle, id_, 0)
            handle.rpc("job-manager.priority", {"id": int(id_), "priority": number}).get()
        last = handle._records.reader().last_seq()
        assert last > 1400
        sleeper.settimeout(PATIENCE_S)
        heard, data = 0, b""
        while heard < last:
            data += sleeper.recv(1 << 16)
            assert data, "dropped"
            *lines, data = data.split(b"\n")
            heard = max([heard, *(json.loads(line)["payload"]["seq"] for line in lines)])
        assert heard == last


def test_who_sends_without_end_is_dropped_and_others_are_served(daemon: Daemon):
    daemon.start(patch="import jqsched.adapters.server as s; s.UNREAD_MAX_BYTES = 100_000; s.LINE_MAX_BYTES = 100_000")
    request = b'{"topic":"job-manager.status","matchtag":1}\n'
    for flood in (b"x" * 65_536, request * 1000):
        with socket.socket(socket.AF_UNIX) as sender, Handle(daemon.spool) as handle:
            sender.connect(f"{daemon.spool}/jqsched.sock")
            sender.settimeout(PATIENCE_S)
            with pytest.raises((BrokenPipeError, ConnectionResetError)):
                _flood(sender, flood)
            assert handle.rpc("job-manager.status").get()["running"] == 0
    memory = Path(f"/proc/{daemon.process.pid}/status").read_text()
    kilobytes = next(int(line.split()[1]) for line in memory.splitlines() if line.startswith("VmHWM"))
    assert kilobytes < 150_000


def _flood(sender: socket.socket, data: bytes) -> None:
    while True:
        sender.sendall(data)


def test_a_client_that_dies_is_forgotten(daemon: Daemon):
    daemon.start()
    descriptors = Path(f"/proc/{daemon.process.pid}/fd")
    before = len(list(descriptors.iterdir()))
    for _ in range(30):
        handle = Handle(daemon.spool)
        JournalConsumer(handle).set_callback(lambda event: None).start()
        handle.reactor_run(flags=1)
        handle.rpc("job-manager.wait", {"count": 5})
        handle.close()
    until(lambda: len(list(descriptors.iterdir())) <= before, "the descriptors to be closed")
    with Handle(daemon.spool) as handle:
        assert handle.rpc("job-manager.status").get()["running"] == 0


# --- schedulers come and go --------------------------------------------------------------------------------------


def test_a_watch_begins_before_there_is_a_scheduler(daemon: Daemon):
    with Handle(daemon.spool) as handle:
        consumer = JournalConsumer(handle).start()
        with pytest.raises(TimeoutError):
            consumer.poll(timeout=0)
        with pytest.raises(NoScheduler):
            job.submit(handle, {"command": ["true"]})
        daemon.drop("a.json", {"command": ["true"]})
        daemon.start()
        names = [consumer.poll(timeout=PATIENCE_S).name for _ in range(10)]
        assert names == NAMES


def test_a_watch_outlives_its_scheduler(daemon: Daemon):
    daemon.start()
    with Handle(daemon.spool) as handle:
        id_ = job.submit(handle, {"command": ["sleep", "1000"]})
        watch, end = job.event_watch_async(handle, id_), job.result_async(handle, id_)
        names = [watch.get_event().name for _ in range(6)]
        assert not end.is_ready()
        daemon.kill()
        with pytest.raises(NoScheduler):
            job.cancel(handle, id_)
        daemon.start()
        job.cancel(handle, id_)
        while (event := watch.get_event()) is not None:
            names.append(event.name)
        assert names == [*NAMES[:6], "exception", *NAMES[6:]]
        assert end.wait_for(PATIENCE_S).get_info().result == "CANCELED"


def test_a_command_line_s_change_is_seen_without_a_scheduler(daemon: Daemon):
    with Handle(daemon.spool) as handle:
        submitted = daemon.command("submit", "--", "true")
        watch = job.event_watch_async(handle, submitted.stdout.strip())
        assert [watch.get_event().name for _ in range(4)] == NAMES[:4]
        assert daemon.command("cancel", submitted.stdout.strip()).returncode == 0
        assert [watch.wait_for(PATIENCE_S).get_event().name for _ in range(2)] == ["exception", "clean"]


def test_asyncio_follows_many_jobs_over_a_restart(daemon: Daemon):
    daemon.start("--max-running", "4")

    async def follow(handle: Handle, id_: int) -> list[str]:
        return [event.name async for event in job.event_watch_async(handle, id_)]

    async def main() -> list[list[str]]:
        async with Handle(daemon.spool) as handle:
            ids = [await job.submit_async(handle, {"command": ["sleep", "0.2"]}) for _ in range(30)]
            tasks = [asyncio.create_task(follow(handle, id_)) for id_ in ids]
            await job.wait_async(handle, ids[8])
            await asyncio.to_thread(daemon.kill)
            await asyncio.to_thread(daemon.start, "--max-running", "4")
            return await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE_S)

    for names in asyncio.run(main()):
        assert names[0] == "submit"
        assert names[-1] == "clean"
        assert names.count("finish") == 1


def test_python_of_a_job_may_ask_its_own_scheduler(daemon: Daemon):
    """`Handle()` finds the spool by what each job is told."""
    daemon.start()
    code = "import os, jqsched; from jqsched import job; h = jqsched.Handle();"
    code += "print(job.event_wait(h, os.environ['JQSCHED_JOB_ID'], 'start').name)"
    with Handle(daemon.spool) as handle:
        env = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        id_ = job.submit(handle, {"command": [sys.executable, "-c", code], "env": env})
        assert job.wait(handle, id_).success
        assert (daemon.spool / "output" / f"{id_}.log").read_text() == "start\n"
