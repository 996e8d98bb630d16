"""What only the real executor has to do: processes, files, descriptors, deaths. The contract is in `tests/ports`."""

import errno
import fcntl
import json
import os
import resource
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jqsched.adapters.executor.local import LocalExecutor
from jqsched.adapters.executor.wire import LOCK, LOG, SOCKET, STATE, boot_id
from jqsched.ports import Attempt, ExecutorLost, Finished, PortError, Started, Withdrawn
from jqsched.testing.contracts.executor import GRACE_US, finished, of, started
from tests.ports.executor_contract import LocalRig, alive, attempt, until

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[LocalRig]:
    rig = LocalRig(tmp_path)
    rig.connect()
    rig.executor.limit(2, 2, GRACE_US)
    yield rig
    rig.close()


def run(rig: LocalRig, text: str, id_: int = 1, **spec: object) -> str:
    """Run a script and return what it wrote; it must end well."""
    rig.executor.start([rig.script(id_, text, **spec)])
    end = finished(rig, id_)[0]
    assert (end.status, end.error) == (0, None)
    return rig.output(id_).read_text()


def pid_in(path: Path) -> int:
    """Wait for a pid that a job writes, and return it."""
    until(lambda: path.exists() and path.read_text().endswith("\n"))
    return int(path.read_text())


def lock_is_free(rig: LocalRig) -> bool:
    with (rig.spool / LOCK).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def state_of(pid: int, field: str) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split(":")[1].strip() for line in lines if line.startswith(field + ":"))


# ---- what a job is given ------------------------------------------------------------------------------------------


def test_the_environment_is_exactly_what_is_documented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Of the scheduler's environment nothing comes through, though the executor itself keeps it."""
    monkeypatch.setenv("SECRET_OF_THE_SCHEDULER", "1")
    monkeypatch.setenv("JQSCHED_JOB_ID", "77")
    rig = LocalRig(tmp_path)
    try:
        rig.connect()
        rig.executor.limit(1, 1, GRACE_US)
        environ = Path(f"/proc/{rig.executor._child}/environ").read_bytes()
        assert b"SECRET_OF_THE_SCHEDULER=1" in environ
        assert b"JQSCHED_JOB_ID" not in environ  # else it would pass for a part of that job
        rig.executor.start([rig.order(1, "env", env=(("HOME", "/elsewhere"), ("MINE", "a b=ü\n2")))])
        finished(rig, 1)
        told = dict(line.split("=", 1) for line in rig.output(1).read_text().splitlines() if "=" in line)
    finally:
        rig.close()
    assert told.keys() == {
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "MINE"),
        *("JQSCHED_JOB_ID", "JQSCHED_NAME", "JQSCHED_ATTEMPT", "JQSCHED_SPOOL"),
    }
    assert told["HOME"] == "/elsewhere"
    assert told["MINE"] == "a b=ü"
    assert (told["JQSCHED_JOB_ID"], told["JQSCHED_NAME"], told["JQSCHED_ATTEMPT"]) == ("1", "job", "1")
    assert told["JQSCHED_SPOOL"] == str(tmp_path)


def test_no_descriptor_is_inherited(rig: LocalRig):
    rig.executor.start([rig.order(1, "ls", "-l", "/proc/self/fd")])
    finished(rig, 1)
    arrows = [line.split()[-3:] for line in rig.output(1).read_text().splitlines() if " -> " in line]
    told = {fd: target for fd, _, target in arrows}
    assert told.pop("3").startswith("/proc/")  # the folder that ls reads
    assert told == {"0": "/dev/null", "1": str(rig.output(1)), "2": str(rig.output(1))}


def test_no_signal_is_ignored_or_blocked_and_the_session_is_its_own(rig: LocalRig):
    rig.executor.start([rig.order(1, "sleep", "1000")])
    pid = started(rig, 1)[0].pid
    until(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n")
    glibc_s_own = 0b11 << 31  # 32 and 33, which its posix_spawn leaves ignored in whatever it starts
    assert int(state_of(pid, "SigIgn"), 16) & ~glibc_s_own == int(state_of(pid, "SigBlk"), 16) == 0
    assert state_of(pid, "Umask") == "0022"
    assert os.getsid(pid) == os.getpgid(pid) == pid
    rig.executor.stop(1, 1)
    finished(rig, 1)


def test_stdin_is_empty_and_output_is_appended_with_0600(rig: LocalRig):
    rig.output(1).write_text("before\n")
    assert run(rig, "cat; echo out; echo err >&2") == "before\nout\nerr\n"
    run(rig, "true", 2)
    assert stat.S_IMODE(rig.output(2).stat().st_mode) == 0o600


def test_error_goes_to_a_file_of_its_own(rig: LocalRig):
    order = rig.order(1, "sh", "-c", "echo out; echo err >&2", error=str(rig.spool / "1.err"))
    rig.executor.start([order])
    finished(rig, 1)
    assert (rig.output(1).read_text(), (rig.spool / "1.err").read_text()) == ("out\n", "err\n")


def test_the_command_is_found_in_the_job_s_path_from_its_folder(rig: LocalRig):
    (rig.spool / "bin").mkdir()
    (rig.spool / "bin" / "own").write_text("#!/bin/sh\necho own\n")
    (rig.spool / "bin" / "own").chmod(0o755)
    orders = [
        rig.order(1, "own", env=(("PATH", "/nowhere:bin"),)),
        rig.order(2, "own", cwd=str(rig.spool / "bin"), env=(("PATH", ""),)),
        rig.order(3, "bin/own"),
    ]
    rig.executor.start(orders)
    assert [end.status for end in finished(rig, 1, 2, 3)] == [0, 0, 0]
    assert rig.output(1).read_text() == "own\n"


def test_each_job_has_its_own_folder(rig: LocalRig):
    """Also when the folder is replaced by another of the same name between two jobs."""
    folder = rig.spool / "work"
    folder.mkdir()
    assert run(rig, "pwd", 1, cwd=str(folder)) == f"{folder}\n"
    folder.rename(rig.spool / "old")
    folder.mkdir()
    (folder / "new").touch()
    assert run(rig, "ls", 2, cwd=str(folder)) == "new\n"
    assert os.readlink(f"/proc/{rig.executor._child}/cwd") == "/"


def test_several_tasks(rig: LocalRig):
    """It ends when all have ended, with the largest status; each knows its rank."""
    rig.executor.start([rig.script(1, "echo rank $JQSCHED_TASK_RANK; exit $JQSCHED_TASK_RANK", tasks=3)])
    assert finished(rig, 1)[0].status == 2 << 8
    assert sorted(rig.output(1).read_text().splitlines()) == ["rank 0", "rank 1", "rank 2"]


def test_several_tasks_are_stopped_together(rig: LocalRig):
    rig.executor.start([rig.order(1, "sleep", "1000", tasks=3), rig.quick(2)])
    started(rig, 1)
    rig.executor.stop(1, 1)
    assert finished(rig, 1, 2)[0].status == (128 + signal.SIGTERM) << 8


# ---- what cannot be started ---------------------------------------------------------------------------------------


def refused(rig: LocalRig, **order: object) -> tuple[int | None, str]:
    command = order.pop("command", ("true",))
    assert isinstance(command, tuple)
    rig.executor.start([rig.order(1, *command, **order), rig.quick(2)])  # type: ignore[arg-type]  # any field
    end = finished(rig, 1, 2)[0]
    assert end.error is not None
    assert end.pid == 0
    return end.status, end.error.removeprefix(f"task 0 (host {os.uname().nodename}): start failed: ")


def test_command_not_found(rig: LocalRig):
    assert refused(rig, command=("nosuch", "x")) == (127 << 8, "nosuch: No such file or directory")


def test_path_not_found(rig: LocalRig):
    assert refused(rig, command=("./no/such",)) == (127 << 8, "./no/such: No such file or directory")


def test_command_is_not_executable(rig: LocalRig):
    (rig.spool / "plain").write_text("echo no")
    assert refused(rig, command=("./plain",)) == (126 << 8, "./plain: Permission denied")


def test_command_has_no_format(rig: LocalRig):
    (rig.spool / "plain").write_text("echo no")
    (rig.spool / "plain").chmod(0o755)
    assert refused(rig, command=("./plain",)) == (126 << 8, "./plain: Exec format error")


def test_command_is_a_folder_in_path(rig: LocalRig):
    assert refused(rig, command=("bin",), env=(("PATH", "/"),))[0] == 127 << 8


def test_arguments_are_too_long(rig: LocalRig):
    assert refused(rig, command=("true", "x" * 200_000)) == (126 << 8, "true: Argument list too long")


def test_nul_in_the_environment(rig: LocalRig):
    status, text = refused(rig, env=(("A", "x\0y"),))
    assert status == 126 << 8
    assert "null" in text


def test_folder_is_missing(rig: LocalRig):
    missing = f"{rig.spool}/missing"
    assert refused(rig, cwd=missing) == (126 << 8, f"{missing}: No such file or directory")


def test_folder_is_a_file(rig: LocalRig):
    (rig.spool / "file").touch()
    assert refused(rig, cwd=f"{rig.spool}/file") == (126 << 8, f"{rig.spool}/file: Not a directory")


def test_output_is_a_fifo(rig: LocalRig):
    fifo = rig.spool / "fifo"
    os.mkfifo(fifo)
    assert refused(rig, output=str(fifo)) == (126 << 8, f"{fifo}: not a regular file")


def test_output_is_a_fifo_that_somebody_reads(rig: LocalRig):
    fifo = rig.spool / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    assert refused(rig, output=str(fifo)) == (126 << 8, f"{fifo}: not a regular file")
    os.close(reader)


def test_output_is_a_link(rig: LocalRig):
    (rig.spool / "target").write_text("precious")
    (rig.spool / "link").symlink_to("target")
    status, text = refused(rig, output=f"{rig.spool}/link")
    assert (status, text) == (126 << 8, f"{rig.spool}/link: {os.strerror(errno.ELOOP)}")
    assert (rig.spool / "target").read_text() == "precious"


def test_output_is_a_folder_or_in_none(rig: LocalRig):
    assert refused(rig, output=str(rig.spool)) == (126 << 8, f"{rig.spool}: not a regular file")


def test_error_file_cannot_be_opened(rig: LocalRig):
    missing = f"{rig.spool}/no/such/file"
    assert refused(rig, error=missing) == (126 << 8, f"{missing}: No such file or directory")


def test_one_that_has_no_room_now_waits_and_the_others_go_on(rig: LocalRig):
    """Out of descriptors: the order stays first, and is tried again."""
    rig.executor.start([rig.open(1)])
    started(rig, 1)
    limits = resource.prlimit(rig.executor._child, resource.RLIMIT_NOFILE)
    resource.prlimit(rig.executor._child, resource.RLIMIT_NOFILE, (3, limits[1]))
    rig.executor.start([rig.quick(2), rig.quick(3)])
    rig.end(1, 7)
    assert finished(rig, 1)[0].status == 7 << 8
    assert not of(rig.news, Finished, 2)
    resource.prlimit(rig.executor._child, resource.RLIMIT_NOFILE, limits)
    assert [end.status for end in finished(rig, 2, 3)] == [0, 0]


# ---- stopping -----------------------------------------------------------------------------------------------------


def test_what_a_job_leaves_behind_lives_on_unless_it_is_stopped(rig: LocalRig):
    left = rig.spool / "left"
    run(rig, f"setsid sh -c 'echo $$ > {left}; exec sleep 1000' &\nwhile [ ! -s {left} ]; do :; done")
    pid = pid_in(left)
    run(rig, "true", 2)
    assert alive(pid)


def test_stop_reaches_all_that_descends_from_a_job(rig: LocalRig):
    """Another session, an emptied environment, an orphan, one that ignores TERM: the slot is free when all are gone."""
    texts = {
        "session": "exec setsid sleep 1000",
        "stripped": "exec env -i sleep 1000",
        "orphan": "(setsid sleep 1000 &) & exec sleep 1000",
        "stubborn": "trap '' TERM; while :; do sleep 0.05; done",
    }
    script = "".join(f"(echo $(sh -c 'echo $PPID') > {name}; {text}) &\n" for name, text in texts.items())
    rig.executor.start([rig.script(1, script + "wait")])
    pids = {name: pid_in(rig.spool / name) for name in texts}
    until(lambda: Path(f"/proc/{pids['stubborn']}/task/{pids['stubborn']}/children").read_text())
    rig.executor.stop(1, 1)
    assert finished(rig, 1)[0].status == (128 + signal.SIGTERM) << 8
    assert not any(alive(pid) for pid in pids.values())
    assert not marked(rig, 1)


def test_stop_reaches_what_is_hardly_known_any_more(rig: LocalRig):
    """One without marks, session or parent, that was seen before; and one without marks that was born after TERM."""
    text = """
        setsid env -i sh -c 'trap "" TERM; echo $$; while :; do sleep 0.05; done' > seen &
        trap 'env -i sleep 1000 & echo $! > late; exit 0' TERM
        while :; do sleep 0.05; done
    """
    rig.executor.start([rig.script(1, text)])
    seen = pid_in(rig.spool / "seen")
    rig.executor.stop(1, 1)
    assert finished(rig, 1)[0].status == 0
    assert not alive(seen)
    assert not alive(pid_in(rig.spool / "late"))


def marked(rig: LocalRig, id_: int) -> list[int]:
    """Find living processes of a job by their environment."""
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{name}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"JQSCHED_SPOOL=" + os.fsencode(rig.spool) in words and b"JQSCHED_JOB_ID=%d" % id_ in words:
            found.append(int(name))
    return found


def test_a_signal_goes_to_the_group(rig: LocalRig):
    rig.executor.start([rig.script(1, "trap 'echo got; exit 3' USR1; echo ready; while :; do sleep 0.05; done")])
    started(rig, 1)
    rig.wait_until_ready(1)
    rig.executor.signal(1, 1, signal.SIGUSR1)
    end = finished(rig, 1)[0]
    assert end.status == 3 << 8
    assert "got" in rig.output(1).read_text()


def test_the_executor_heeds_no_signal_but_kill(rig: LocalRig):
    for signum in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        os.kill(rig.executor._child, signum)
    assert run(rig, "echo on") == "on\n"


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
        assert found.finished == (Finished(1, 1, 4 << 8, None, begin.pid, begin.start_ticks),)
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
    """Whoever connects takes the scheduler's place; one that talks nonsense is let go of, and logged."""
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


# ---- many ---------------------------------------------------------------------------------------------------------


def test_many_jobs_in_order_without_zombies(rig: LocalRig):
    rig.executor.limit(1, 1, GRACE_US)
    rig.executor.start([rig.order(id_, "true", output="/dev/null") for id_ in range(500, 0, -1)])
    rig.wait(lambda: len(of(rig.news, Finished)) == 500)
    assert [item.id for item in of(rig.news, Finished)] == list(range(500, 0, -1))
    executor = rig.executor._child
    assert Path(f"/proc/{executor}/task/{executor}/children").read_text() == ""
    assert len(os.listdir(f"/proc/{executor}/fd")) < 12


def test_orders_that_the_executor_does_not_take_at_once_are_kept(rig: LocalRig):
    """More than a socket holds: nothing blocks, and nothing is lost."""
    rig.executor.limit(0, 2, GRACE_US)
    os.kill(rig.executor._child, signal.SIGSTOP)
    orders = [rig.order(id_, "true", env=(("A", "x" * 1000),), output="/dev/null") for id_ in range(1, 1001)]
    rig.executor.start(orders)
    assert rig.executor.wants_write
    os.kill(rig.executor._child, signal.SIGCONT)
    rig.executor.withdraw([(order.id, 1) for order in orders])
    rig.wait(lambda: len(of(rig.news, Withdrawn)) == 1000)
    assert not rig.executor.wants_write


def test_an_unacknowledged_status_that_nobody_asks_about_is_forgotten(rig: LocalRig):
    run(rig, "true")
    rig.crash_scheduler()
    rig.connect()
    executor = rig.executor._child
    rig.executor.close()
    until(lambda: not alive(executor))
    assert not (rig.spool / STATE).exists()


def test_the_file_of_statuses_says_what_it_holds(rig: LocalRig):
    run(rig, "exit 0")
    executor = rig.executor._child
    rig.executor.close()
    until(lambda: not alive(executor))
    kept = json.loads((rig.spool / STATE).read_text())["finished"]
    assert [entry[:4] for entry in kept] == [[1, 1, 0, None]]
