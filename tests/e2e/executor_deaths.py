"""A scheduler on fakes with the real executor process, which dies at a call of its own that the test names.

Rule: the scheduler's store is a value, so that its crash is one too; processes, sockets and the executor's files are
real. A call is named by its function and the how-many-eth it is of that name, so that a run with another timing means
the same one.
"""

import contextlib
import fcntl
import json
import os
import select
import signal
import time
from collections import Counter
from pathlib import Path

from attrs import evolve

from jqsched.adapters.executors.local import client as local
from jqsched.adapters.executors.local.client import LocalExecutor
from jqsched.adapters.executors.local.wire import LOCK, boot_id
from jqsched.core.job import Job, State
from jqsched.ports import PortError
from jqsched.testing.harness import LIMITS, Rig
from tests.ports.executor_contract import _belongs, _kill
from tests.scheduler.conftest import parse

PATIENCE_S = 120.0
# Counts the calls by which the executor can be seen from outside, and dies before the one that is meant. What only
# looks (/proc, the clock, epoll) is left out: to die there is to die before the next call that does something.
FUSE = """
import os, signal, sys
def _arm(name, nth, error, report):
    seen, scheduler = {{}}, os.getppid()
    kinds = ("posix", "_signal", "fcntl", "socket", "_socket", "select", "_io", "io")
    def hit(frame, event, called):
        code = frame.f_code
        here = "/executors/local/" in code.co_filename and not code.co_filename.endswith("procfs.py")
        if event != "c_call" or not here:
            return
        if (called.__module__ or type(called.__self__).__module__) not in kinds or called.__name__ in {looks!r}:
            return
        seen[called.__name__] = seen.get(called.__name__, 0) + 1
        if not nth:
            with open(report, "a") as file:
                file.write(called.__name__ + "\\n")
        elif called.__name__ == name and seen[name] == nth:
            os.close(os.open(report, os.O_WRONLY | os.O_CREAT))
            if error:
                raise OSError(error, os.strerror(error))
            os.kill(os.getpid(), signal.SIGKILL)
    sys.setprofile(hit)
_arm({name!r}, {nth!r}, {error!r}, {report!r})
"""
CODES = {"quick": 0, "long": 3, "once": 4, "late": 5}
LOOKS = ("poll", "fstat", "stat", "getsockopt", "fileno", "getpid", "geteuid", "waitstatus_to_exitcode", "sysconf")


class Meant:
    """The call before which an executor dies: the executor's number in the story (from 1), the call's name and number.

    `nth` 0: none; the names of all calls are noted instead. `error`: the call fails with it, and no process dies.
    """

    def __init__(self, executor: int, name: str = "", nth: int = 0, *, both: bool = False, error: int = 0) -> None:
        self.executor, self.name, self.nth, self.both, self.error = executor, name, nth, both, error


class MortalExecutor(LocalExecutor):
    """The real one; the process that is meant has a fuse."""

    def __init__(self, stage: "Stage") -> None:
        super().__init__(str(stage.folder), stage.log.append)
        self._stage = stage

    def _spawn(self, deadline_s: float) -> None:
        stage, plain = self._stage, local._BOOT
        stage.executors += 1
        if stage.executors == stage.meant.executor:
            meant, report = stage.meant, str(stage.report)
            local._BOOT = FUSE.format(**vars(meant), report=report, looks=LOOKS) + plain
        try:
            super()._spawn(deadline_s)
        finally:
            local._BOOT = plain


class Stage(Rig):
    """A scheduler that crashes when it is told to, and an executor that dies when its fuse has burned."""

    def __init__(self, folder: Path, meant: Meant) -> None:
        super().__init__(parse, evolve(LIMITS, max_running=2))
        self.folder, self.meant = folder, meant
        self.report, self.ran = folder / "fuse.report", folder / "ran"
        self.executors = self.crashes = self.refusals = 0
        self.boot_id = boot_id()
        self.executor = MortalExecutor(self)  # type: ignore[assignment]  # the port is all that is used here

    # ---- life

    def boot(self) -> None:
        """Start a scheduler that gives what it stops little time."""
        super().boot()
        self.scheduler.set_limits(self.limits, 20_000)

    def crash(self, *, executor: bool = False) -> None:
        """kill -9 of the scheduler."""
        self.crashes += 1
        self.fuse.put_out()
        self.store = self.store.crash(self._sync)
        self.spool = self.spool.reopen(self._accepted)
        dead = self.executor
        if dead._link is not None:
            dead._link.close()  # no goodbye
            dead._link = None
        children = [*dead._former, dead._child]
        self.executor = MortalExecutor(self)  # type: ignore[assignment]  # as above
        self.executor._former = children  # in truth they would be init's to reap

    def rise(self) -> None:
        """Start a scheduler, again and again where its executor dies before it is ready, as systemd would."""
        deadline_s = time.monotonic() + PATIENCE_S
        while True:
            assert time.monotonic() < deadline_s, "it does not start"
            try:
                self.boot()
            except PortError:
                self.refusals += 1
                self.crash()
            else:
                return

    @property
    def has_burned(self) -> bool:
        """Whether the executor that is meant has died at its call."""
        return self.meant.nth > 0 and self.report.exists()

    # ---- moving

    def until(self, condition: object) -> None:
        """Go on until the condition holds; where both are meant to die, the scheduler does when its executor has."""
        deadline_s = time.monotonic() + PATIENCE_S
        assert callable(condition)
        while not condition():
            assert time.monotonic() < deadline_s, f"waited in vain: {self.log} {self.ran.read_text()}"
            if self.meant.both and self.has_burned:
                self.meant.both = False
                self.crash()
                self.rise()
            self._step()

    def _step(self) -> None:
        executor: LocalExecutor = self.executor  # type: ignore[assignment]  # as above
        if executor.fileno() >= 0:
            readable, writable, _ = select.select([executor], [executor] if executor.wants_write else [], [], 0.005)
            if self.meant.both and self.has_burned:
                return
            if writable:
                executor.on_writable()
            if readable:
                executor.on_readable()
        try:
            self.turn()
            self.commit()
        except PortError:  # no executor to be had: the scheduler ends
            self.refusals += 1
            self.crash()
            self.rise()

    def wait_for_the_executors_end(self) -> None:
        """Until the executor's lock is free."""
        deadline_s = time.monotonic() + PATIENCE_S
        pause = select.poll()
        while True:
            assert time.monotonic() < deadline_s, "the executor does not end"
            with (self.folder / LOCK).open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    pause.poll(2)
                else:
                    return

    def kill_executor(self) -> None:
        """kill -9 of the process that holds the executor's lock, and has written its pid there."""
        words = (self.folder / LOCK).read_text().split()
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(words[2]), signal.SIGKILL)

    # ---- the jobs

    def drop(self, name: str, work: str, **keys: object) -> None:
        """Drop a job that writes down its runs, and whether one of them met another."""
        script = (
            f"mkdir lock.{name} || echo meets {name} $JQSCHED_ATTEMPT >> ran\n"
            f"echo begin {name} $JQSCHED_ATTEMPT >> ran\n{work}\n"
            f"echo end {name} $JQSCHED_ATTEMPT >> ran; rmdir lock.{name}; exit $code"
        )
        text = {"name": name, "script": script, "cwd": str(self.folder), "output": f"{name}.log", **keys}
        self.spool.files.drops[f"{len(self.spool.files.drops):06}-{name}.json"] = json.dumps(text)
        self.scheduler.intake.more = True

    def cancel(self, name: str) -> None:
        """Cancel a job, again where the scheduler crashed before it could answer, and wait for its end."""
        asked = -1

        def is_over() -> bool:
            nonlocal asked
            if asked != self.crashes:
                asked = self.crashes
                self.commands.run("job-manager.cancel", {"id": self.jobs[name].id}, lambda _: None)
            return self.are_over(name)

        self.until(is_over)

    def began(self, name: str) -> bool:
        """Whether a run of this job has begun."""
        return self.ran.exists() and f"begin {name} " in self.ran.read_text()

    @property
    def jobs(self) -> dict[str, Job]:
        """All jobs as they are durable, by name."""
        return {job.spec.name: job for job in self.store.disk.jobs.values()}

    def are_over(self, *names: str) -> bool:
        """Whether these are durably finished."""
        jobs = self.jobs
        return all(name in jobs and jobs[name].state is State.INACTIVE for name in names)

    def close(self) -> None:
        """Let go, and leave no process behind, whatever became of the story."""
        self.executor.close()
        mark = os.fsencode(self.folder)
        for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))):
            if _belongs(pid, mark):
                _kill(pid, mark)


def tell(stage: Stage) -> None:
    """The story: four jobs, one of them at most once, one that is canceled and does not heed TERM; the scheduler
    crashes with two of them running, and is back when its executor has done all it can do alone.
    """
    stage.rise()
    stage.drop("quick", "code=0")
    stage.drop("long", "until test -e go; do sleep 0.01; done; code=3")
    stage.drop("once", "code=4", on_interrupt="fail")
    stage.until(lambda: stage.began("long") and stage.are_over("quick", "once"))
    stage.drop("stubborn", "trap '' TERM; until test -e never; do sleep 0.01; done; code=0")
    stage.until(lambda: stage.began("stubborn") and stage.jobs["stubborn"].started)
    stage.cancel("stubborn")
    stage.drop("late", "code=5")
    stage.until(lambda: stage.began("late"))
    stage.crash()
    (stage.folder / "go").touch()
    stage.wait_for_the_executors_end()
    stage.rise()
    stage.until(lambda: stage.are_over("quick", "long", "once", "stubborn", "late"))


def tell_adoption(stage: Stage) -> None:
    """The other story: the first executor is killed with two jobs running, and the second one adopts them; one of them
    is canceled, the other one ends, and as it cannot be known how, it runs again.
    """
    stage.rise()
    stage.drop("long", "until test -e go; do sleep 0.01; done; code=3")
    stage.drop("stubborn", "trap '' TERM; until test -e never; do sleep 0.01; done; code=0")
    stage.until(lambda: all(name in stage.jobs and stage.jobs[name].started for name in ("long", "stubborn")))
    stage.until(lambda: stage.began("long") and stage.began("stubborn"))
    stage.kill_executor()
    stage.until(lambda: stage.executors > 1 and stage.scheduler.dispatch.executor_lost is None)
    stage.drop("late", "code=5")
    stage.cancel("stubborn")
    stage.until(lambda: stage.are_over("late"))
    (stage.folder / "go").touch()
    stage.until(lambda: stage.are_over("long"))


def judge(stage: Stage) -> None:
    """Nothing lost, no two runs of a job at a time, none of an attempt twice, and none after a known end."""
    stage.check()
    said = [line.split() for line in stage.ran.read_text().splitlines()]
    assert not [line for line in said if line[0] == "meets"], said
    begun = Counter((name, int(attempt)) for word, name, attempt in said if word == "begin")
    assert set(begun.values()) == {1}, f"an attempt ran twice: {begun}"
    jobs = stage.jobs
    for name, job in jobs.items():
        attempts = [attempt for who, attempt in begun if who == name]
        names = stage.events(job.id)
        assert names[-1] == "clean"
        assert max(attempts, default=1) <= job.attempt
        assert names.count("finish") <= 1, "it ran on after an end that was known"
        assert job.attempt == 1 + names.count("requeue"), "it was run again, and the journal does not say so"
        if name in CODES and (name != "once" or job.success is None or "finish" in names):
            assert job.status == CODES[name] << 8
            assert (name, job.attempt) in begun
    assert jobs["stubborn"].exception is not None
    assert "once" not in jobs or jobs["once"].attempt == 1
