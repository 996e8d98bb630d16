"""Run a scheduler under strace, and kill its processes or make a call of theirs fail at a chosen point.

A point is the n-th call of a name; strace counts the calls of each thread by itself, so at one point the scheduler, its
thread for the store, the executor, or several of them are hit. Source: strace(1), "Tampering".
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from jqsched.adapters.store.reader import StoreReader
from jqsched.core.job import Job

PATIENCE_S = 240
STRACE = shutil.which("strace")

# The calls that change something outside the process, and the error each is refused with.
ERRORS = {
    "renameat2": "EIO",
    "unlink": "EIO",
    "unlinkat": "EIO",
    "write": "EIO",
    "pwrite64": "ENOSPC",
    "fsync": "EIO",
    "fdatasync": "EIO",
    "ftruncate": "EIO",
    "sendto": "EPIPE",
    "clone3": "EAGAIN",
    "fchmod": "EPERM",
    "prlimit64": "EPERM",
}
FIRST = {"prlimit64": 2}  # a job's own process makes the first, before it is the job


@frozen
class Point:
    """The `number`-th call of a name, and what happens there: `error` is an errno, or KILL."""

    call: str
    number: int
    error: str = "KILL"

    @property
    def injection(self) -> str:
        """Return the point as strace takes it."""
        tampering = "signal=KILL" if self.error == "KILL" else f"error={self.error}"
        return f"inject={self.call}:{tampering}:when={self.number}"


class Spool:
    """A spool with work for one short life of a scheduler: jobs of every kind that a crash could lose or double."""

    def __init__(self, folder: Path) -> None:
        self.path, self._ran = folder / "spool", folder / "ran"
        self.path.mkdir(mode=0o700)
        self._ran.mkdir()
        jobs = {
            "again": {"on_interrupt": "requeue"},
            "once": {"on_interrupt": "fail"},
            "then": {"dependencies": [{"scheme": "afterok", "value": "again"}]},
            "low": {"urgency": 3},
        }
        for name, keys in jobs.items():
            script = f"mkdir {self._ran}/{name}.$JQSCHED_ATTEMPT"  # fails where the attempt ran already
            self._drop(name, {"name": name, "command": ["sh", "-c", script], "output": "/dev/null", **keys})
        self._drop("bad", {"command": 7})
        self.names = frozenset(jobs)

    def _drop(self, name: str, job: dict[str, object]) -> None:
        (self.path / f"{name}.json").write_text(json.dumps(job))

    def run(self, *tracer: str) -> subprocess.CompletedProcess[str]:
        """Run a scheduler until it is idle, perhaps under a tracer."""
        command = [*tracer, sys.executable, "-m", "jqsched", "run", "--spool", str(self.path), "--exit-when-idle"]
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)

    def run_with(self, point: Point) -> subprocess.CompletedProcess[str]:
        """Run a scheduler that is hit at a point; returns when all of its processes have ended."""
        return self.run(*_strace(os.devnull, point.call), "-e", point.injection)

    def jobs(self) -> list[Job]:
        """Return all jobs that the store knows."""
        reader = StoreReader(str(self.path))
        try:
            return [*reader.active(), *reader.finished()]
        finally:
            reader.close()

    def faults(self) -> Iterator[str]:
        """Return what was lost, done twice or left over, once a later scheduler has been idle."""
        jobs = {job.spec.name: job for job in self.jobs()}
        if Counter(job.spec.name for job in self.jobs()) != Counter(self.names):
            yield f"jobs: {sorted(job.spec.name for job in self.jobs())}"
        for name, job in jobs.items():
            ran = sorted(path.name for path in self._ran.glob(f"{name}.*"))
            if name == "once":
                if len(ran) > 1 or (job.status == 0) != (len(ran) == 1 and job.status is not None):
                    yield f"{name}: ran {ran}, status {job.status}"
            elif job.status != 0 or not ran:
                yield f"{name}: ran {ran}, status {job.status}"
        left = [*self.path.glob("*.json"), *self.path.glob("jobs/*.json")]
        if left:
            yield f"left: {left}"
        rejected = [path.name for path in self.path.glob("rejected/*") if path.suffix != ".reason"]
        if len(rejected) != 1:
            yield f"rejected: {rejected}"


def _strace(output: str, *calls: str) -> list[str]:
    assert STRACE is not None, "strace is missing, and JQSCHED_DEMANDED asks for it"
    return [STRACE, "-f", "-qq", "-o", output, "-e", "trace=" + ",".join(f"?{call}" for call in calls)]


def points(folder: Path, error: bool) -> list[Point]:
    """Return every point of an undisturbed run; which thread makes a call differs a little from run to run."""
    trace = folder / "trace"
    spool = Spool(folder)
    ended = spool.run(*_strace(str(trace), *ERRORS))
    assert ended.returncode == 0, ended.stderr
    calls = Counter(re.findall(r"(?m)^(\d+) +(\w+)\(", trace.read_text()))
    most = {name: max(count for (_, each), count in calls.items() if each == name) for _, name in calls}
    return [
        Point(name, number, ERRORS[name] if error else "KILL")
        for name, count in sorted(most.items())
        for number in range(FIRST.get(name, 1), count + 1)
    ]
