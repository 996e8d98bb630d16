"""The real executor: a job is given what is documented and no more; what cannot be started says why; order is kept."""

import errno
import os
import resource
import signal
import stat
from pathlib import Path

import pytest
from attrs import evolve

from jqsched.ports import Finished, Withdrawn
from jqsched.testing.contracts.executor import GRACE_US, finished, of, started
from tests.adapters.executor_case import run
from tests.ports.executor_contract import LocalRig, until


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


def test_input_is_read_from_its_beginning_by_each_task(rig: LocalRig):
    """Relative to the job's folder, behind a link, and nothing in its name is filled in. No descriptor is left."""
    (rig.spool / "{id}.txt").write_text("one\ntwo\n")
    (rig.spool / "link").symlink_to("{id}.txt")
    script = ("sh", "-c", "cat; ls /proc/self/fd | wc -l")
    orders = [
        rig.order(1, *script, input="{id}.txt", tasks=2, cores=2),
        rig.order(2, *script, input=f"{rig.spool}/link"),
    ]
    rig.executor.start(orders)
    assert [end.status for end in finished(rig, 1, 2)] == [0, 0]
    assert sorted(rig.output(1).read_text().split()) == sorted(["one", "two", "4"] * 2)
    assert rig.output(2).read_text() == "one\ntwo\n4\n"


@pytest.mark.parametrize("kind", ["missing", "folder", "fifo"])
def test_input_that_cannot_be_read(rig: LocalRig, kind: str):
    """The job fails at its start; a FIFO without a writer keeps no other job waiting."""
    path = rig.spool / kind
    if kind == "folder":
        path.mkdir()
    if kind == "fifo":
        os.mkfifo(path)
    why = os.strerror(errno.ENOENT) if kind == "missing" else "not a regular file"
    assert refused(rig, input=kind) == (126 << 8, f"{path}: {why}")


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


@pytest.mark.parametrize("in_children", [False, True])
def test_tasks_have_files_of_their_own_where_the_path_says_so(rig: LocalRig, in_children: bool):
    """Also where a lease on the second one's output is in the way of the usual start: no task is started twice."""
    output, error = str(rig.spool / "{rank}.out"), str(rig.spool / "{rank}.err")
    script = "echo out $JQSCHED_TASK_RANK; echo err $JQSCHED_TASK_RANK >&2"
    if in_children:
        rig.hanging(1)
        (rig.spool / "1.leased").rename(rig.spool / "1.out")
    order = rig.script(1, script, tasks=3)
    rig.executor.start([evolve(order, output=output, error=error)])
    if in_children:
        until(lambda: (rig.spool / "2.err").exists() and (rig.spool / "2.err").read_text())
        rig.let_go(1)
    assert finished(rig, 1)[0].status == 0
    for rank in range(3):
        assert (rig.spool / f"{rank}.out").read_text() == f"out {rank}\n"
        assert (rig.spool / f"{rank}.err").read_text() == f"err {rank}\n"
    assert not (rig.spool / "{rank}.out").exists()


def test_the_folder_of_the_default_output_is_made_again(rig: LocalRig):
    """It was removed while the scheduler runs, by a user who tidies up. Seen to fail the job."""
    order = rig.script(1, "echo out")
    rig.executor.start([evolve(order, output=str(rig.spool / "output/1.log"))])
    assert finished(rig, 1)[0].status == 0
    assert (rig.spool / "output/1.log").read_text() == "out\n"
    assert stat.S_IMODE((rig.spool / "output").stat().st_mode) == 0o700


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
    assert (status, text) == (126 << 8, f"{rig.spool}/link: is a symbolic link, which an output file must not be")
    assert (rig.spool / "target").read_text() == "precious"


def test_output_is_behind_a_loop_of_links(rig: LocalRig):
    (rig.spool / "loop").symlink_to("loop")
    text = refused(rig, output=f"{rig.spool}/loop/file")[1]
    assert text == f"{rig.spool}/loop/file: {os.strerror(errno.ELOOP)}"


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
