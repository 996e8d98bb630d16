"""The real executor: who dies, scheduler, executor or job, takes no job and no status along, and harms no stranger."""

import errno
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jqsched.adapters.executors.local.client import LocalExecutor
from jqsched.adapters.executors.local.exit_status_journal import Record
from jqsched.adapters.executors.local.wire import LOCK, LOG, SOCKET, STATE, boot_id
from jqsched.ports import Attempt, ExecutorLost, Finished, PortError, Started, Withdrawn
from jqsched.testing.contracts.executor import GRACE_US, finished, of, started
from tests.adapters.executor_case import lock_is_free, marked, run
from tests.ports.executor_contract import LocalRig, alive, attempt, until

ROOT = Path(__file__).resolve().parents[2]


# ---- deaths -------------------------------------------------------------------------------------------------------


CLIENT = """
import select, sys
from pathlib import Path
from jqsched.testing.contracts.executor import GRACE_US, started
from tests.ports.executor_contract import LocalRig
rig = LocalRig(Path(sys.argv[1]))
rig.connect()
rig.executor.limit(1, 1, GRACE_US)
rig.executor.start([rig.open(1), rig.quick(2)])
item = started(rig, 1)[0]
print(item.pid, item.start_ticks, flush=True)
select.select([], [], [])
"""


def test_jobs_outlive_a_scheduler_that_is_killed(tmp_path: Path):
    """kill -9: the job goes on under the same executor, and its status is known; what had not started has not."""
    client = subprocess.Popen(
        [sys.executable, "-c", CLIENT, str(tmp_path)], stdout=subprocess.PIPE, cwd=ROOT, text=True
    )
    rig = LocalRig(tmp_path)
    try:
        with client:
            assert client.stdout
            pid, start_ticks = map(int, client.stdout.readline().split())
            client.kill()
        found = rig.connect([Attempt(1, 1, 0, 0, boot_id()), Attempt(2, 1, 0, 0, boot_id())])
        assert found.running == (Started(1, 1, pid, start_ticks),)
        assert found.never == ((2, 1),)
        rig.end(1, 9)
        assert finished(rig, 1)[0].status == 9 << 8
    finally:
        rig.close()


def test_what_nobody_took_is_in_a_file_and_the_executor_ends(rig: LocalRig):
    rig.executor.start([rig.open(1)])
    begin = started(rig, 1)[0]
    executor = rig.executor._child
    rig.executor.close()
    rig.end(1, 4)
    until(lambda: not alive(executor))
    assert lock_is_free(rig)
    assert not (rig.spool / SOCKET).exists()
    assert stat.S_IMODE((rig.spool / STATE).stat().st_mode) == 0o600
    for _ in range(2):  # also when the one that took it dies before it is acknowledged
        found = rig.connect([attempt(begin)])
        (end,) = found.finished
        assert end == Finished(1, 1, 4 << 8, None, begin.pid, begin.start_ticks)
        assert 0 < end.start_us < end.end_us <= time.time_ns() // 1000
        assert (rig.spool / STATE).exists()
        rig.crash_scheduler()
    rig.connect([attempt(begin)])
    rig.executor.acknowledge([(1, 1)])
    executor = rig.executor._child
    rig.executor.close()
    until(lambda: lock_is_free(rig))
    assert not (rig.spool / STATE).exists()
    assert not (rig.spool / LOG).exists()


def test_what_one_executor_proved_does_not_count_for_the_next(rig: LocalRig):
    """After one that ended well, what is unknown never started; after one that was killed, it is lost."""
    executor = rig.executor._child
    rig.executor.close()
    until(lambda: not alive(executor))
    unknown = Attempt(1, 1, boot_id=boot_id())
    assert rig.connect([unknown]).never == ((1, 1),)
    rig.crash_executor()
    assert rig.connect([unknown]).lost == ((1, 1),)


def test_nothing_is_left_when_all_was_taken(rig: LocalRig):
    run(rig, "true")
    rig.executor.acknowledge([(1, 1)])
    executor = rig.executor._child
    rig.executor.close()
    until(lambda: not alive(executor))
    assert sorted(path.name for path in rig.spool.iterdir()) == ["1.log", LOCK]


def test_a_damaged_file_of_statuses_is_refused_by_name(tmp_path: Path):
    (tmp_path / STATE).write_text('{"finished": [[1')
    rig = LocalRig(tmp_path)
    with pytest.raises(PortError, match=f"{STATE} is damaged"):
        rig.connect()
    assert (tmp_path / STATE).exists()


def test_a_job_whose_pid_was_never_told_is_found_by_its_environment(rig: LocalRig):
    rig.executor.start([rig.open(1)])
    begin = started(rig, 1)[0]
    rig.crash_executor()
    found = rig.connect([Attempt(1, 1, 0, 0, boot_id())])
    assert found.running == (begin,)
    rig.end(1)
    assert finished(rig, 1)[0].status is None


@pytest.mark.parametrize("how", ["exec env -i sleep 1000", "env -i sleep 1000 & exec env -i sleep 1000"])
def test_a_job_whose_pid_was_never_told_is_found_without_its_environment(rig: LocalRig, how: str):
    rig.executor.start([rig.script(1, how)])
    begin = started(rig, 1)[0]
    until(lambda: not marked(rig, 1))
    rig.crash_executor()
    found = rig.connect([Attempt(1, 1, 0, 0, boot_id())])
    assert found.running == (begin,)
    rig.executor.stop(1, 1)
    assert finished(rig, 1)[0].status is None


def test_adopted_tasks_end_together(rig: LocalRig):
    rig.executor.start([rig.order(1, "sleep", "1000", tasks=2)])
    begin = started(rig, 1)[0]
    until(lambda: len(marked(rig, 1)) == 2)
    other = next(pid for pid in marked(rig, 1) if pid != begin.pid)
    rig.crash_executor()
    assert rig.connect([attempt(begin)]).running == (begin,)
    rig.executor.limit(1, 2, GRACE_US)
    os.kill(begin.pid, signal.SIGKILL)
    rig.executor.start([rig.quick(2)])
    rig.executor.withdraw([(9, 1)])
    rig.wait(lambda: of(rig.news, Withdrawn, 9))
    assert not of(rig.news, Finished)
    os.kill(other, signal.SIGKILL)
    assert finished(rig, 1, 2)[0].status is None


def test_a_stranger_with_the_recorded_pid_is_left_alone(rig: LocalRig):
    """Another start time is another process, whatever its pid."""
    stranger = subprocess.Popen(["sleep", "1000"])
    try:
        rig.crash_executor()
        found = rig.connect([Attempt(1, 1, stranger.pid, 12_345, boot_id())])
        assert found.lost == ((1, 1),)
        rig.executor.stop(1, 1)
        run(rig, "true", 2)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_jobs_hold_no_lock(rig: LocalRig):
    rig.executor.start([rig.open(1)])
    begin = started(rig, 1)[0]
    rig.crash_executor()
    assert lock_is_free(rig)
    assert alive(begin.pid)


def test_the_death_of_an_executor_is_told_once_and_orders_to_the_dead_are_harmless(rig: LocalRig):
    rig.crash_executor()
    rig.wait(lambda: rig.news)
    rig.executor.start([rig.quick(1)])
    rig.executor.stop(1, 1)
    rig.executor.on_readable()
    assert [type(item) for item in rig.news] == [ExecutorLost]
    assert rig.executor.fileno() == -1


def test_a_second_connection_replaces_the_first(rig: LocalRig):
    rig.executor.start([rig.open(1)])
    begin = started(rig, 1)[0]
    other = LocalExecutor(str(rig.spool), rig.log.append)
    assert other.recover([attempt(begin)], lambda _: None).running == (begin,)
    rig.wait(lambda: any(isinstance(item, ExecutorLost) for item in rig.news))
    other.close()


def test_nonsense_on_the_socket_hurts_no_job(rig: LocalRig):
    """A client that connects takes the scheduler's place; one that talks nonsense is dropped, and logged."""
    rig.executor.start([rig.open(1)])
    begin = started(rig, 1)[0]
    for nonsense in (b"GET / HTTP/1.1\n", b'[["fly", 1]]\n', b'[["stop"]]\n', b"[1]\n", b"\xff\n"):
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.connect(str(rig.spool / SOCKET))
            stranger.sendall(nonsense)
            assert stranger.recv(100) == b""
    assert (rig.spool / LOG).stat().st_size
    found = rig.connect([attempt(begin)])
    assert found.running == (begin,)
    rig.end(1, 3)
    assert finished(rig, 1)[0].status == 3 << 8


def test_no_zombie_is_left_of_dead_executors(rig: LocalRig):
    pids = []
    for _ in range(3):
        pids.append(rig.executor._child)
        rig.crash_executor()
        rig.connect()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_a_spool_that_is_not_there(tmp_path: Path):
    rig = LocalRig(tmp_path / "missing")
    with pytest.raises(PortError) as caught:
        rig.connect()
    assert (caught.value.errno_, caught.value.path) == (errno.ENOENT, str(tmp_path / "missing"))


def test_a_spool_with_a_long_path(tmp_path: Path):
    spool = tmp_path / ("x" * 120) / ("y" * 120)
    spool.mkdir(parents=True)
    rig = LocalRig(spool)
    try:
        rig.connect()
        rig.executor.limit(1, 1, GRACE_US)
        assert run(rig, "echo long") == "long\n"
    finally:
        rig.close()


def test_the_files_of_the_executor_are_the_owner_s_only(rig: LocalRig):
    assert stat.S_IMODE((rig.spool / SOCKET).stat().st_mode) == 0o600
    assert stat.S_IMODE((rig.spool / LOCK).stat().st_mode) == 0o600


# ---- statuses that were not taken -----------------------------------------------------------------------------------


def test_an_unacknowledged_status_that_nobody_asks_about_is_forgotten(rig: LocalRig):
    run(rig, "true")
    rig.crash_scheduler()
    rig.connect()
    executor = rig.executor._child
    rig.executor.close()
    until(lambda: not alive(executor))
    assert not (rig.spool / STATE).exists()


def test_a_file_of_statuses_of_before_has_no_times(tmp_path: Path):
    """As the version before this wrote it: it is taken, and nothing is known of when."""
    (tmp_path / STATE).write_text('{"finished": [[1, 1, 1024, null, 77, 900, false]]}')
    spool_fd = os.open(tmp_path, os.O_RDONLY)
    try:
        assert Record(spool_fd).load() == [(1, 1, 1024, None, 77, 900, False, 0, 0)]
    finally:
        os.close(spool_fd)


def test_the_file_of_statuses_says_what_it_holds(rig: LocalRig):
    run(rig, "exit 0")
    executor = rig.executor._child
    rig.executor.close()
    until(lambda: not alive(executor))
    kept = json.loads((rig.spool / STATE).read_text())["finished"]
    assert [entry[:4] for entry in kept] == [[1, 1, 0, None]]


def test_an_executor_whose_socket_was_removed_is_found_by_the_next_scheduler(rig: LocalRig):
    """Seen to keep every scheduler out of the spool until its jobs had ended."""
    rig.executor.start([rig.open(1)])
    begin = started(rig, 1)[0]
    (rig.spool / SOCKET).unlink()
    rig.crash_scheduler()
    assert rig.connect([attempt(begin)]).running == (begin,)
    rig.end(1, 3)
    assert finished(rig, 1)[0].status == 3 << 8
