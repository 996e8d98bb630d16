"""The rig of the real executor for the contract in `jqsched.testing.contracts.executor`."""

import fcntl
import os
import select
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jqsched.adapters.executors.local.client import LocalExecutor
from jqsched.adapters.executors.local.wire import boot_id
from jqsched.core.job import Spec
from jqsched.ports import Attempt, Executor, News, Recovery, Start, Started

DEADLINE_S = 120.0


class LocalRig:
    """The real one: an open job reads its exit code from a FIFO; waiting waits for news."""

    def __init__(self, spool: Path) -> None:
        self.spool = spool
        self.log: list[str] = []
        self.executor = LocalExecutor(str(spool), self.log.append)
        self.news: list[News] = []
        self.boot_id = boot_id()
        self._leases: dict[int, int] = {}

    def connect(self, attempts: Sequence[Attempt] = ()) -> Recovery:
        return self.executor.recover(attempts, self.news.extend)

    def crash_scheduler(self) -> None:
        link = self.executor._link
        assert link
        link.close()  # no goodbye: what it had not sent is gone
        child = self.executor._child
        self.executor = LocalExecutor(str(self.spool), self.log.append)
        self.executor._child = child  # in truth it would be init's to reap

    def crash_executor(self) -> None:
        pid = self.executor._child
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

    def order(self, id_: int, *command: str, output: str | None = None, error: str | None = None, **spec: Any) -> Start:
        spec = {"name": "job", "cwd": str(self.spool), **spec}
        return Start(id_, 1, Spec(command=command, **spec), output or str(self.output(id_)), error)

    def script(self, id_: int, text: str, **spec: Any) -> Start:
        return self.order(id_, "/bin/sh", "-c", text, **spec)

    def output(self, id_: int) -> Path:
        return self.spool / f"{id_}.log"

    def quick(self, id_: int, status: int = 0, **spec: Any) -> Start:
        return self.script(id_, f"exit {status}", **spec)

    def open(self, id_: int, **spec: Any) -> Start:
        os.mkfifo(self.spool / f"{id_}.fifo")
        return self.script(id_, f"read code < {id_}.fifo; exit $code", **spec)

    def stubborn(self, id_: int) -> Start:
        return self.script(id_, "trap '' TERM; echo ready; while :; do sleep 100; done")

    def broken(self, id_: int) -> Start:
        return self.order(id_, "nosuch")

    def hanging(self, id_: int) -> Start:
        """A job whose output file is under a lease that this process does not give up."""
        leased = self.spool / f"{id_}.leased"
        leased.touch()
        signal.signal(signal.SIGIO, signal.SIG_IGN)  # by which the kernel asks for it
        self._leases[id_] = os.open(leased, os.O_RDWR)
        fcntl.fcntl(self._leases[id_], fcntl.F_SETLEASE, fcntl.F_WRLCK)
        return self.order(id_, "true", output=str(leased))

    def let_go(self, id_: int) -> None:
        os.close(self._leases.pop(id_))

    def end(self, id_: int, code: int = 0) -> None:
        (self.spool / f"{id_}.fifo").write_text(f"{code}\n")

    def wait(self, condition: Callable[[], object]) -> None:
        until(condition, self.executor, self.news)

    def wait_until_ready(self, id_: int) -> None:
        """Wait until a job has written a line."""
        until(lambda: "ready\n" in self.output(id_).read_text())

    def wait_until_ended(self, start: Started) -> None:
        until(lambda: not alive(start.pid))

    def close(self) -> None:
        """End all that is left of this spool: by their marks, through pidfds."""
        self.executor.close()
        for id_ in list(self._leases):
            self.let_go(id_)
        signal.signal(signal.SIGIO, signal.SIG_DFL)
        mark = os.fsencode(self.spool)
        for _ in range(100):
            left = [pid for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))) if _belongs(pid, mark)]
            for pid in left:
                _kill(pid, mark)
            if not left:
                break
        self.executor._reap()


def attempt(item: Started | Start) -> Attempt:
    """The record of an attempt that was ordered here, or is known to have started."""
    if isinstance(item, Started):
        return Attempt(item.id, item.attempt, item.pid, item.start_ticks, boot_id())
    return Attempt(item.id, item.attempt, boot_id=boot_id())


def until(condition: Callable[[], object], executor: Executor | None = None, so_far: object = None) -> None:
    """Wait for a condition, driven by the executor's news; a look every few milliseconds where there are none."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline_s, f"waited for {DEADLINE_S} s; so far {so_far}"
        if executor is not None and executor.fileno() >= 0:  # type: ignore[attr-defined]  # not in the port
            writers = [executor] if executor.wants_write else []  # type: ignore[attr-defined]  # not in the port
            readable, writable, _ = select.select([executor], writers, [], 0.05)
            if writable:
                executor.on_writable()  # type: ignore[attr-defined]  # not in the port
            if readable:
                executor.on_readable()  # type: ignore[attr-defined]  # not in the port
        else:
            select.select([], [], [], 0.005)


def alive(pid: int) -> bool:
    """Whether a process with this pid runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _belongs(pid: int, mark: bytes) -> bool:
    if pid == os.getpid() or not alive(pid):
        return False
    try:
        words = Path(f"/proc/{pid}/environ").read_bytes() + b"\0" + Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return any(word in (mark, b"JQSCHED_SPOOL=" + mark) for word in words.split(b"\0"))


def _kill(pid: int, mark: bytes) -> None:
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if _belongs(pid, mark):
            signal.pidfd_send_signal(fd, signal.SIGKILL)
            select.select([fd], [], [], DEADLINE_S)
    except ProcessLookupError:
        pass
    finally:
        os.close(fd)
