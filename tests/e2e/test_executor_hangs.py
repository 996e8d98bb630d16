"""What hangs is named by every command that says how things are: a job at its start, and the executor itself."""

import fcntl
import os
import signal

from jqsched.adapters.executors.local.wire import LOCK
from jqsched.core.job import Result
from tests.e2e.conftest import Daemon, until

# The heartbeat of the scheduler, faster.
IMPATIENT = """
from jqsched.adapters.executors.local import heartbeat
heartbeat.ASK_S, heartbeat.TICK_S, heartbeat.SILENT_S = 0.5, 0.2, 1.0
"""


def _executor(daemon: Daemon) -> int:
    """Return the pid of the executor: it holds the lock."""
    inode = (daemon.spool / LOCK).stat().st_ino
    with open("/proc/locks", encoding="ascii") as locks:
        lines = [line.split() for line in locks if "FLOCK" in line]
    return next((int(line[4]) for line in lines if line[5].endswith(f":{inode}")), 0)


def test_a_start_that_hangs_and_an_executor_that_is_stopped_are_named(daemon: Daemon) -> None:
    """One job's output is under a lease; then the executor is stopped (SIGSTOP), and jobs wait until it goes on.

    `status`, `explain` and the log say so, the executor is continued or replaced, and nothing runs twice.
    """
    leased, ran = daemon.elsewhere / "leased", daemon.elsewhere / "ran"
    leased.touch()
    handler = signal.signal(signal.SIGIO, signal.SIG_IGN)
    fd = os.open(leased, os.O_RDWR)
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        daemon.start("--max-running", "3", patch=IMPATIENT)
        daemon.drop("a.json", {"name": "slow", "command": ["true"], "output": str(leased)})
        daemon.drop("b.json", {"name": "other", "command": ["true"]})
        daemon.wait(1)
        text = f"open {leased}"
        until(lambda: daemon.request("status")["starting"], "the slow start")
        slow = next(job.id for job in daemon.jobs().values() if job.spec.name == "slow")
        for command in (("explain", str(slow)), ("show", str(slow)), ("status",)):
            assert text in daemon.command(*command).stdout, command
        assert f"job {slow}: its process takes long to become its program: {text}" in daemon.said.read_text()
    finally:
        os.close(fd)
        signal.signal(signal.SIGIO, handler)
    daemon.wait(2)

    daemon.drop("c.json", {"name": "running", "script": f"echo once >> {ran}; exec sleep 1000"})
    until(lambda: ran.exists() and "running" in daemon.jobs() and daemon.jobs()["running"].started, "the job to run")
    executor = _executor(daemon)
    os.kill(executor, signal.SIGSTOP)
    until(lambda: f"the executor (pid {executor}, stopped) has not answered" in daemon.said.read_text(), "the log")
    daemon.drop("d.json", {"name": "waiting", "command": ["true"]})
    daemon.wait(3)
    assert "continuing it" in daemon.said.read_text()
    running = daemon.jobs()["running"]
    assert daemon.request("cancel", id=running.id) is not None
    daemon.wait(4)
    assert {job.spec.name: job.result for job in daemon.jobs().values()} == {
        "slow": Result.COMPLETED,
        "other": Result.COMPLETED,
        "waiting": Result.COMPLETED,
        "running": Result.CANCELED,
    }
    assert ran.read_text() == "once\n"
    assert [event for event in daemon.events(running.id) if event in ("start", "finish")] == ["start", "finish"]
