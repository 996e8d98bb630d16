"""The main job: drop a file, it runs, once, and all of it is kept."""

import json
import os
import re
import signal
from pathlib import Path

import pytest

from jqsched.adapters.store.reader import StoreReader
from tests.e2e.conftest import NO_SCAN, Daemon, until

# Of the end of a process that is no child: Linux 6.15 on (PIDFD_INFO_EXIT)
KERNEL_TELLS = tuple(map(int, re.findall(r"\d+", os.uname().release)[:2])) >= (6, 15)
TEN = ["submit", "validate", "depend", "priority", "alloc", "start", "finish", "release", "free", "clean"]


def test_a_dropped_file_runs_and_all_of_it_is_kept(daemon: Daemon) -> None:
    """Output, status, the ten events; the job file is gone when the job has ended."""
    daemon.start()
    daemon.drop("hello.json", {"command": ["echo", "hello"]})
    daemon.wait(1)
    job = daemon.jobs()["echo"]
    assert (job.status, job.success) == (0, True)
    assert daemon.events(job.id) == TEN
    assert (daemon.spool / "output" / f"{job.id}.log").read_text() == "hello\n"
    assert list((daemon.spool / "jobs").iterdir()) == []


def test_submit_runs_the_program_that_its_caller_would(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program of an active virtual environment: found by the PATH of the caller, not of the scheduler."""
    programs = daemon.elsewhere / "venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "python-of-mine").write_text('#!/bin/sh\necho "$VIRTUAL_ENV $1"\n')
    (programs / "python-of-mine").chmod(0o755)
    daemon.start()
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("VIRTUAL_ENV", str(programs.parent))
    daemon.command("submit", "--", "python-of-mine", "x.py")
    daemon.wait(1)
    assert (daemon.spool / "output" / "1.log").read_text() == f"{programs.parent} x.py\n"


def test_files_dropped_while_it_was_down_run_when_it_starts(daemon: Daemon) -> None:
    """Submission by rename needs no scheduler; TOML counts as well."""
    daemon.drop("a.json", {"name": "a", "command": ["true"]})
    daemon.drop("b.toml", 'name = "b"\nscript = "exit 3"\n')
    daemon.start()
    daemon.wait(2)
    assert daemon.jobs()["a"].status == 0
    assert daemon.jobs()["b"].status == 3 << 8


def test_higher_priority_runs_first(daemon: Daemon) -> None:
    """By priority, then by id: not by the order of arrival."""
    ran = daemon.elsewhere / "ran"
    for name, urgency in (("a", 3), ("b", 30), ("c", 16), ("d", 30)):
        daemon.drop(f"{name}.json", {"name": name, "urgency": urgency, "script": f"echo {name} >> {ran}"})
    daemon.start("--max-running", "1", "--exit-when-idle", wait=False)
    assert daemon.process is not None
    assert daemon.process.wait(30) == 0
    assert ran.read_text().split() == ["b", "d", "c", "a"]


def test_a_dependency_on_a_name_that_is_dropped_later(daemon: Daemon) -> None:
    """`after` a name waits for it, and shows why; it is bound when the job of that name comes."""
    daemon.start()
    daemon.drop("second.json", {"name": "second", "command": ["true"], "after": ["first"]})
    until(lambda: "second" in daemon.jobs())
    assert daemon.jobs()["second"].waits == ("after-success=first",)
    daemon.drop("first.json", {"name": "first", "command": ["true"]})
    daemon.wait(2)
    jobs = daemon.jobs()
    assert jobs["first"].t_cleanup_us < jobs["second"].t_run_us


def test_what_cannot_be_a_job_is_set_aside_with_all_reasons(daemon: Daemon) -> None:
    """The file is kept unchanged, every error is told, and the good jobs are unharmed."""
    daemon.start()
    bad = json.dumps({"comand": ["true"], "urgency": 99})
    daemon.drop("bad.json", bad)
    daemon.drop("good.json", {"command": ["true"]})
    daemon.wait(1)
    reason = daemon.spool / "rejected" / "bad.json.reason"
    until(reason.exists)
    assert "command" in reason.read_text()
    assert "urgency" in reason.read_text()
    assert (daemon.spool / "rejected" / "bad.json").read_text() == bad


def test_cancel_of_a_running_job_ends_its_whole_tree(daemon: Daemon) -> None:
    """TERM, then KILL to what ignores it; the result is CANCELED and the slot is free again."""
    (daemon.spool / "jqsched.toml").write_text("grace_s = 0.2\n")
    daemon.start("--max-running", "1")
    pids = daemon.elsewhere / "pids"
    script = f"trap '' TERM; (trap '' TERM; echo $$ >> {pids}; sleep 100) & echo $$ >> {pids}; sleep 100"
    daemon.drop("stubborn.json", {"name": "stubborn", "script": script})
    until(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    assert daemon.command("cancel", str(daemon.jobs()["stubborn"].id)).returncode == 0
    daemon.drop("next.json", {"name": "next", "command": ["true"]})
    daemon.wait(2)
    job = daemon.jobs()["stubborn"]
    assert job.exception is not None
    assert job.exception.type == "cancel"
    assert daemon.jobs()["next"].success


def test_a_time_limit_ends_a_job(daemon: Daemon) -> None:
    """The exception is `timeout`, and so is the result."""
    daemon.start()
    daemon.drop("long.json", {"name": "long", "command": ["sleep", "100"], "time_limit": 0.2})
    daemon.wait(1)
    job = daemon.jobs()["long"]
    assert job.result is not None
    assert job.result.name == "TIMEOUT"


def test_what_cannot_be_run_fails_at_once(daemon: Daemon) -> None:
    """Not found: 127, with the reason in an `exec` exception."""
    daemon.start()
    daemon.drop("nosuch.json", {"name": "nosuch", "command": ["/nonexistent/program"]})
    daemon.wait(1)
    job = daemon.jobs()["nosuch"]
    assert job.status == 127 << 8
    assert job.exception is not None
    assert "No such file" in job.exception.note


def test_a_running_job_outlives_the_scheduler_and_is_adopted(daemon: Daemon) -> None:
    """kill -9 of the scheduler does not touch it; its status and output are recorded by the next one."""
    daemon.start()
    go = daemon.elsewhere / "go"
    script = f"echo begun; while ! test -e {go}; do sleep 0.02; done; echo ended; exit 7"
    daemon.drop("long.json", {"name": "long", "script": script})
    until(lambda: "long" in daemon.jobs() and daemon.jobs()["long"].started)
    daemon.kill()
    go.touch()
    daemon.start()
    daemon.wait(1)
    job = daemon.jobs()["long"]
    assert (job.status, job.attempt) == (7 << 8, 1)
    assert (daemon.spool / "output" / f"{job.id}.log").read_text() == "begun\nended\n"


def test_sigterm_leaves_running_jobs_alone(daemon: Daemon) -> None:
    """A clean stop starts nothing more, ends with 0 at once (no scan is waited for), and the job goes on."""
    daemon.start("--max-running", "1", patch=NO_SCAN)
    go = daemon.elsewhere / "go"
    daemon.drop("a.json", {"name": "a", "script": f"while ! test -e {go}; do sleep 0.02; done"})
    daemon.drop("b.json", {"name": "b", "command": ["true"]})
    until(lambda: len(daemon.jobs()) == 2 and daemon.jobs()["a"].started)
    assert daemon.stop() == 0
    assert not daemon.jobs()["b"].started
    go.touch()
    daemon.start()
    daemon.wait(2)
    assert [job.attempt for job in daemon.jobs().values()] == [1, 1]


def test_a_second_scheduler_is_refused(daemon: Daemon) -> None:
    """Exit 8, with the pid of the first."""
    daemon.start()
    assert daemon.process is not None
    second = daemon.command("run")
    assert second.returncode == 8
    assert str(daemon.process.pid) in second.stderr
    assert "Traceback" not in second.stderr


def test_exit_when_idle_names_what_is_left(daemon: Daemon) -> None:
    """Held and waiting jobs do not keep it; they are named on stderr, with the reason."""
    daemon.drop("held.json", {"name": "held", "urgency": 0, "command": ["true"]})
    daemon.drop("waits.json", {"name": "waits", "after": ["nobody"], "command": ["true"]})
    ended = daemon.command("run", "--exit-when-idle")
    assert ended.returncode == 0
    assert "held" in ended.stderr
    assert "nobody" in ended.stderr


def test_an_executor_that_is_killed_is_replaced(daemon: Daemon) -> None:
    """The scheduler stays up; the job goes on, and its status is known where the kernel tells it. Else it is run again,
    and that does not count as one of the interruptions after which it is held."""
    daemon.start()
    begun, go = daemon.elsewhere / "begun", daemon.elsewhere / "go"
    daemon.drop(
        "long.json", {"name": "long", "script": f"touch {begun}; until test -e {go}; do sleep 0.05; done; exit 3"}
    )
    until(lambda: begun.exists() and daemon.jobs()["long"].started)
    killed = _executor_of(daemon.spool)
    os.kill(killed, signal.SIGKILL)
    lock = daemon.spool / "jqsched-executor.lock"
    until(lambda: not lock.read_text().endswith(f" {killed}\n"))  # it is written when the job has been adopted
    go.touch()
    daemon.wait(1)
    job = daemon.jobs()["long"]
    assert (job.status, job.attempt, job.interruptions) == (3 << 8, 1 if KERNEL_TELLS else 2, 0)


def test_a_status_that_nobody_took_is_found_by_the_next_scheduler(daemon: Daemon) -> None:
    """Scheduler killed, job ended, executor ended too, and a command took the spool meanwhile: still once.

    Seen to fail: the executor's file was called `.json`, and the command took it for a dropped job.
    """
    daemon.start()
    ran = daemon.elsewhere / "ran"
    daemon.drop("once.json", {"name": "once", "script": f"echo begun >> {ran}; sleep 0.3; exit 3"})
    until(ran.exists)
    until(lambda: daemon.jobs()["once"].started)
    daemon.kill()
    until((daemon.spool / "jqsched-executor.state").exists)
    assert daemon.command("submit", "--", "true").returncode == 0
    daemon.start()
    daemon.wait(2)
    assert ran.read_text() == "begun\n"
    assert daemon.jobs()["once"].status == 3 << 8
    assert list((daemon.spool / "rejected").iterdir()) == []


def _executor_of(spool: Path) -> int:
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if os.fsencode(spool) in words and any(b"executors.local.process" in word for word in words):
            return int(pid)
    raise AssertionError("no executor")


def test_the_journal_tells_it_in_the_order_in_which_it_happened(daemon: Daemon) -> None:
    """At every prefix of the journal no more run than may, and of equal age the higher rank started first.

    Seen to fail: an executor that told starts before the ends that made room for them.
    """
    for number in range(120):
        command = ["sleep", "0.02"] if number % 3 else ["true"]  # those that end at once are told when they have
        job = {"name": f"j{number:03}", "command": command, "urgency": 1 + number * 7 % 30}
        daemon.drop(f"j{number:03}.json", job)
    assert daemon.command("run", "--max-running", "2", "--exit-when-idle").returncode == 0
    reader = StoreReader(str(daemon.spool))
    journal = [event for _, event in reader.journal()]
    running, most, ranks = 0, 0, []
    for event in journal:
        running += (event.name == "alloc") - (event.name == "free")
        most = max(most, running)
        if event.name == "start":
            ranks.append((-reader.jobs([event.jobid])[event.jobid].priority, event.jobid))
    assert most == 2
    assert ranks == sorted(ranks)
    reader.close()
