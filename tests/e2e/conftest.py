"""A real scheduler in a process of its own, on a real spool.

Nothing here sleeps for luck: what is waited for is asked of the scheduler, or looked for until a deadline.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jqsched.adapters.store.reader import StoreReader
from jqsched.client.connection import Connection, NoScheduler
from jqsched.core.job import Job

PATIENCE_S = 120.0
# Started like the command, after PATCH: how a test takes a part of the real daemon away.
LAUNCH = "import sys\n{patch}\nfrom jqsched.cli.main import main\nsys.exit(main())"
# A PATCH: after the first scan there is none, so what no ring announces never comes.
NO_SCAN = """
from jqsched.runtime import daemon as module
real, scans = module._Daemon._scan, []
def once(self, now_us):
    scans.append(now_us)
    if len(scans) == 1:
        real(self, now_us)
    self._next_scan_us = now_us + 10**12
module._Daemon._scan = once
"""


def until(condition: Callable[[], object], what: str = "it") -> None:
    """Look until the condition holds."""
    deadline = time.monotonic() + PATIENCE_S
    pause = select.poll()
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE_S} s in vain for {what}"
        pause.poll(5)


class Daemon:
    """One spool, and the scheduler that serves it, or does not."""

    def __init__(self, folder: Path) -> None:
        self.spool = folder / "spool"
        self.spool.mkdir(mode=0o700)
        self.elsewhere = folder / "elsewhere"
        self.elsewhere.mkdir()
        self.process: subprocess.Popen[bytes] | None = None
        self.said = folder / "stderr"

    def start(self, *options: str, patch: str = "", wait: bool = True) -> None:
        """Start the scheduler, and wait until it serves."""
        command = [sys.executable, "-c", LAUNCH.format(patch=patch), "run", "--spool", str(self.spool), *options]
        with self.said.open("ab") as said:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=said, stdout=said)
        if wait:
            until(self.serves, "the scheduler to serve: " + self.said.read_text())

    def serves(self) -> bool:
        """Whether the scheduler answers; fails the test when it has ended instead."""
        assert self.process is not None
        assert self.process.poll() is None, self.said.read_text()
        try:
            with Connection(str(self.spool)) as connection:
                return bool(connection.request("job-manager.status"))
        except NoScheduler:
            return False

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)

    def drop(self, name: str, job: dict[str, object] | str) -> None:
        """Drop a job file by rename."""
        text = job if isinstance(job, str) else json.dumps(job)
        (self.elsewhere / name).write_text(text)
        (self.elsewhere / name).rename(self.spool / name)

    def request(self, topic: str, **payload: object) -> dict[str, object]:
        """Ask the scheduler."""
        with Connection(str(self.spool)) as connection:
            return dict(connection.request(f"job-manager.{topic}", payload))  # type: ignore[arg-type]  # JSON values only

    def wait(self, count: int) -> None:
        """Wait until so many jobs in all are finished."""
        self.request("wait", count=count)

    def jobs(self) -> dict[str, Job]:
        """All jobs by name, as committed."""
        reader = StoreReader(str(self.spool))
        try:
            return {job.spec.name: job for job in [*reader.active(), *reader.finished()]}
        finally:
            reader.close()

    def by_id(self) -> dict[int, Job]:
        """All jobs by id, as committed."""
        reader = StoreReader(str(self.spool))
        try:
            return {job.id: job for job in [*reader.active(), *reader.finished()]}
        finally:
            reader.close()

    def events(self, id_: int) -> list[str]:
        """The names in a job's event log."""
        reader = StoreReader(str(self.spool))
        try:
            return [event.name for _, event in reader.events(id_)]
        finally:
            reader.close()

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the command line on this spool."""
        command, *rest = arguments
        return subprocess.run(
            [sys.executable, "-m", "jqsched", command, "--spool", str(self.spool), *rest],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            stdin=subprocess.DEVNULL,
            check=False,
        )

    def close(self) -> None:
        """Leave no process behind."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        mark = f"JQSCHED_SPOOL={self.spool}".encode()
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                    os.kill(int(pid), signal.SIGKILL)
            except OSError:
                continue


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A spool with no scheduler yet."""
    made = Daemon(tmp_path)
    yield made
    made.close()
