"""One attempt as the executor process knows it, and which processes belong to it.

Rule: values and looks at /proc; nothing is started or signalled here. Standard library only (see `wire`).
"""

import contextlib
import os
import time

from jqsched.adapters.executors.local import procfs
from jqsched.adapters.executors.local.mark import Marker
from jqsched.adapters.executors.local.spawn import Order, StartFailed
from jqsched.adapters.executors.local.wire import Key

_LOOKS_MOST = 20
_TICK_US = 1_000_000 // os.sysconf("SC_CLK_TCK")


def now_us() -> int:
    """Return the time for limits: goes on during suspend, never jumps; the clock of `start_ticks`."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


def told_us(us: int) -> int:
    """A time of `now_us` as it is told: on the wall clock as it is now."""
    return time.time_ns() // 1000 - now_us() + us


class Run:
    """An attempt that runs: its main processes (one for each task), its time limit, and how far stopping it has got."""

    __slots__ = (
        "adopted", "cores", "error", "expired", "is_sure", "key", "kill_us", "known", "limit_us", "mains", "pause_us",
        "pid", "pids", "start_ticks", "start_us", "status", "stopping", "userid", "wake_us",
    )  # fmt: skip

    def __init__(self, key: Key, cores: int, start_us: int, userid: int | None, *, adopted: bool = False) -> None:
        self.key, self.cores, self.start_us, self.adopted = key, cores, start_us, adopted
        self.userid = userid  # None: this process's own user
        self.mains: set[int] = set()  # pids that cannot be given out again: unreaped children, or seen by pidfd
        self.pids: tuple[int, ...] = ()  # all that ever were in mains
        self.pid = self.start_ticks = 0  # of the first task
        self.limit_us: int | None = None
        self.expired = self.stopping = False
        self.status: int | None = None if adopted else 0
        self.is_sure = not adopted  # whether how its main process ends is how the attempt does
        self.error: str | None = None
        self.kill_us = self.pause_us = 0  # while stopping: when TERM has had its time; how long till the next look
        self.wake_us = 0  # when something is to be done with it; 0: never
        self.known: set[tuple[int, int]] = set()  # identities of processes that were seen to belong to it

    @classmethod
    def of_order(cls, order: Order, pids: list[int], start_us: int) -> "Run":
        """Make the run of an order whose processes were just started."""
        run = cls(order.key, order.cores, start_us, order.userid)
        run.mains, run.pids = set(pids), tuple(pids)
        run.pid = pids[0]
        run.limit(order.limit_us)
        return run

    @classmethod
    def of_adopted(cls, key: Key, cores: int, userid: int | None, mains: list[procfs.Process]) -> "Run":
        """Make the run of an attempt whose executor died: it goes on, and how it ends only the kernel may tell."""
        run = cls(key, cores, min(main.start_ticks for main in mains) * _TICK_US, userid, adopted=True)
        run.pids = tuple(main.pid for main in mains)
        run.mains = set(run.pids)
        run.pid, run.start_ticks = mains[0].identity
        run.known = {main.identity for main in mains}
        return run

    def limit(self, limit_us: int | None) -> None:
        """Set the time limit, counted from the start."""
        self.limit_us, self.expired = limit_us, False
        self.wake_us = 0 if limit_us is None else self.start_us + limit_us

    def ended(self, status: int, failed: StartFailed | None) -> None:
        """Note that a task ended with this wait status; the attempt's is the largest, or why it did not start."""
        if self.error is None and failed:
            self.status, self.error = failed.status, str(failed)
        elif self.error is None:
            self.status = max(self.status or 0, as_flux_logs_it(status))

    def times_us(self) -> tuple[int, int]:
        """Return when it started and, as it does now, ended: as they are told, and as far apart as it ran."""
        ran_us, end_us = now_us() - self.start_us, time.time_ns() // 1000
        return end_us - ran_us, end_us

    def look_up_start(self) -> None:
        """Learn the start time while the pid is still held: of a child that was not reaped."""
        if not self.start_ticks and self.pid in self.mains:
            self.start_ticks = procfs.start_ticks(self.pid)


def as_flux_logs_it(status: int) -> int:
    """Turn a wait status into that of an event: the exit code, or 128 and the signal, in the second byte."""
    code = os.waitstatus_to_exitcode(status)
    return (code if code >= 0 else 128 - code) << 8


class ProcessTable:
    """All processes of one moment, and which of them carry the marks of a job of this spool: in their limits, which
    they do not lose, or in their environment."""

    def __init__(self, spool_fd: int, spool: str, marker: Marker) -> None:
        self._marker = marker
        self._spool = os.fsencode(spool)
        self._here = os.fstat(spool_fd)
        self._is_spool: dict[bytes, bool] = {}
        self._look()

    def _look(self) -> None:
        self.processes: dict[int, procfs.Process] = {}
        self._marked: dict[Key, list[tuple[procfs.Process, procfs.Mark]]] = {}
        # Again until none is new: a process that ended before it was looked at may have left a child with a higher pid.
        for _ in range(_LOOKS_MOST):
            new = procfs.newcomers(self.processes)
            for process in new:
                self.processes[process.pid] = process
                if mark := self._mark(process.pid):
                    self._marked.setdefault((mark.id, mark.attempt), []).append((process, mark))
            if not new:
                break

    def _mark(self, pid: int) -> procfs.Mark | None:
        if found := self._marker.look(pid):
            key, ranked = found
            return procfs.Mark(self._spool, *key, ranked, procfs.real_userid(pid))
        mark = procfs.mark(pid)
        return mark if mark and self._is_here(mark) else None

    def _is_here(self, mark: procfs.Mark) -> bool:
        """Say whether a mark is of this spool, whatever name that was started under; a path that another user says is
        not followed."""
        path = mark.spool
        if mark.userid != os.geteuid():
            return path == self._spool
        if path not in self._is_spool:
            self._is_spool[path] = False
            with contextlib.suppress(OSError, ValueError):
                self._is_spool[path] = os.path.samestat(os.stat(path), self._here)
        return self._is_spool[path]

    def mains(self, key: Key, pid: int, start_ticks: int, userid: int | None = None) -> list[procfs.Process]:
        """Return the main processes of an attempt whose executor died; none: it is gone.

        A main process leads its session. The recorded one is known by its start time, others (several tasks; a pid that
        was never told) by their marks, as far as they are believed: any process can make such marks.
        """
        recorded = self.processes.get(pid)
        found = [recorded] if recorded and recorded.start_ticks == start_ticks and recorded.alive else []
        marked = [(process, mark) for process, mark in self._believed(key, userid) if process.alive]
        leaders = [(process, mark) for process, mark in marked if process.pid == process.session]
        if pid:  # what else is left was started by its tasks
            return found + [process for process, mark in leaders if mark.ranked and process is not recorded]
        return [process for process, _ in leaders or marked]

    def _believed(self, key: Key, userid: int | None) -> list[tuple[procfs.Process, procfs.Mark]]:
        """Return what carries the marks of this attempt, and is ours or of the user whose attempt it is."""
        return [(process, mark) for process, mark in self._marked.get(key, ()) if mark.userid in (os.geteuid(), userid)]

    def is_single(self, key: Key, pid: int) -> bool:
        """Whether this process, or zombie, is the only task of an attempt."""
        return self._marker.look(pid) == (key, False)

    def watch(self, key: Key, pid: int, start_ticks: int, userid: int | None) -> dict[int, procfs.Process]:
        """Open a pidfd of each main process that still lives."""
        watched = ((procfs.watch(main), main) for main in self.mains(key, pid, start_ticks, userid))
        return {fd: main for fd, main in watched if fd is not None}

    def members(self, run: Run, others: set[int]) -> list[procfs.Process]:
        """Return all living processes that belong to a run. `others` are the main pids of other runs.

        That is: its main processes, what was seen before, its sessions, what carries its marks and is its user's, and
        what descends from any of these. A session's number is trusted while its leader's pid cannot be given out again,
        and after that where an orphan of ours is in it. No process counts as left only if two looks say so: one
        look may fall into the moment in which a process becomes another program, and has no marks.
        """
        found = self._members(run, others)
        if run.stopping and not found:
            self._look()
            found = self._members(run, others)
        run.known = {process.identity for process in found}
        return found

    def _members(self, run: Run, others: set[int]) -> list[procfs.Process]:
        marked = {process.pid for process, _ in self._believed(run.key, run.userid)}
        orphans_of = set(run.pids) - others
        own = os.getpid()

        def is_root(process: procfs.Process) -> bool:
            return (
                process.session in run.mains
                or process.pid in marked
                or process.identity in run.known
                or (process.ppid == own and process.session in orphans_of)
            )

        return [process for process in procfs.tree(self.processes, is_root) if process.alive]
