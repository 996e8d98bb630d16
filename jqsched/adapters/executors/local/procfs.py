"""Processes in /proc: their identity and owner, and signals that never hit a process that reuses a pid.

Rule: reads and signals only, remembers nothing. A process is its pid and its start time (in ticks since boot) together;
a pid alone is only a number that the kernel gives out again.
"""

import fcntl
import os
import signal
import sys
from collections.abc import Callable, Container, Iterable, Mapping

_READ_BYTES = 1 << 20  # more than an environment of ours can hold
_INFO_BYTES, _INFO_EXIT = 64, 1 << 3
_GET_INFO = 3 << 30 | _INFO_BYTES << 16 | 0xFF << 8 | 11  # PIDFD_GET_INFO: _IOWR(0xFF, 11, struct pidfd_info)
_MARK = b"JQSCHED_JOB_ID="


class Process:
    """One line of /proc/PID/stat, as far as it matters here."""

    __slots__ = ("alive", "pgrp", "pid", "ppid", "session", "start_ticks")

    def __init__(self, pid: int, stat: bytes) -> None:
        fields = stat[stat.rindex(b")") + 2 :].split()  # the name before it may hold blanks and brackets
        self.pid = pid
        self.ppid, self.pgrp, self.session = int(fields[1]), int(fields[2]), int(fields[3])
        self.start_ticks = int(fields[19])
        # A zombie whose other threads go on is a process whose first thread has ended: it can still do harm.
        self.alive = fields[0] not in (b"Z", b"X") or int(fields[17]) > 1

    @property
    def identity(self) -> tuple[int, int]:
        """Return the pid and start time, which no other process of this boot has together."""
        return self.pid, self.start_ticks


class Mark:
    """The mark in a process's environment: spool, id and attempt; `ranked` when it is one of several tasks. `userid` is
    the real user of the process that says so (-1: it is gone).
    """

    __slots__ = ("attempt", "id", "ranked", "spool", "userid")

    def __init__(self, spool: bytes, id_: int, attempt: int, ranked: bool, userid: int) -> None:
        self.spool, self.id, self.attempt, self.ranked, self.userid = spool, id_, attempt, ranked, userid


def _read(path: str) -> bytes:
    """Read a file of /proc; empty when the process is gone or is not ours to look at."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(fd, _READ_BYTES)
    except OSError:
        return b""
    finally:
        os.close(fd)


def look(pid: int) -> Process | None:
    """Return the process that has this pid now; None when there is none."""
    stat = _read(f"/proc/{pid}/stat")
    return Process(pid, stat) if stat else None


def start_ticks(pid: int) -> int:
    """Say when the process with this pid started; 0 when there is none."""
    process = look(pid)
    return process.start_ticks if process else 0


def state(pid: int) -> str:
    """Return the letter of a process's state (proc(5)); empty when there is none."""
    return _read(f"/proc/{pid}/stat").rpartition(b") ")[2][:1].decode()


def cpu_ticks(pid: int) -> int:
    """Return how long a process has had a processor; 0 when there is none."""
    fields = _read(f"/proc/{pid}/stat").rpartition(b") ")[2].split()
    return int(fields[11]) + int(fields[12]) if fields else 0


def newcomers(known: Container[int]) -> list[Process]:
    """Return all processes but these."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    return [process for pid in pids if pid not in known and (process := look(pid))]


def mark(pid: int) -> Mark | None:
    """Read the marks of a job in the environment of a process; None when it has none."""
    data = _read(f"/proc/{pid}/environ")
    if _MARK not in data:
        return None
    values = dict(item.partition(b"=")[::2] for item in data.split(b"\0") if item.startswith(b"JQSCHED_"))
    id_, attempt = values.get(b"JQSCHED_JOB_ID", b""), values.get(b"JQSCHED_ATTEMPT", b"")
    if not (id_.isdigit() and attempt.isdigit()):
        return None
    ranked = b"JQSCHED_TASK_RANK" in values
    return Mark(values.get(b"JQSCHED_SPOOL", b""), int(id_), int(attempt), ranked, real_userid(pid))


def real_userid(pid: int) -> int:
    """Return the real user of a process; -1 when it is gone."""
    _, found, rest = _read(f"/proc/{pid}/status").partition(b"\nUid:")
    return int(rest.split(None, 1)[0]) if found else -1


def tree(processes: Mapping[int, Process], is_root: Callable[[Process], bool]) -> list[Process]:
    """Return the roots among the processes and all that descends from them, the caller itself excepted."""
    children: dict[int, list[Process]] = {}
    for process in processes.values():
        children.setdefault(process.ppid, []).append(process)
    found: dict[int, Process] = {}
    open_ends = [process for process in processes.values() if is_root(process)]
    while open_ends:
        process = open_ends.pop()
        if process.pid in found or process.pid == os.getpid():
            continue
        found[process.pid] = process
        open_ends += children.get(process.pid, ())
    return list(found.values())


def exit_status(pid: int, start_ticks: int, pidfd: int = -1) -> int | None:
    """Return the wait status of a process that has ended and is no child of ours; None: it cannot be known.

    As long as it is a zombie /proc tells; once it is reaped its pidfd does, from Linux 6.15 on.
    """
    if _may_look_into(pid):
        stat = _read(f"/proc/{pid}/stat")
        if stat and (process := Process(pid, stat)).start_ticks == start_ticks and not process.alive:
            return int(stat.split()[-1])
    return _status_of_reaped(pidfd) if pidfd >= 0 else None


def _may_look_into(pid: int) -> bool:
    """Whether /proc/PID/stat tells us an exit status: where we may not look it says 0, whatever it is (proc(5))."""
    try:
        os.readlink(f"/proc/{pid}/exe")
    except PermissionError:
        return False
    except OSError:  # as it is of a zombie
        pass
    return True


def _status_of_reaped(pidfd: int) -> int | None:
    info = bytearray(_INFO_BYTES)  # struct pidfd_info: the mask is first, the exit code last
    info[:8] = _INFO_EXIT.to_bytes(8, sys.byteorder)
    try:
        fcntl.ioctl(pidfd, _GET_INFO, info)
    except OSError:  # a kernel that does not know it
        return None
    is_told = int.from_bytes(info[:8], sys.byteorder) & _INFO_EXIT
    return int.from_bytes(info[60:64], sys.byteorder) if is_told else None


def watch(process: Process) -> int | None:
    """Open a pidfd of exactly this process; None when it is gone."""
    try:
        fd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return None
    if start_ticks(process.pid) == process.start_ticks:
        return fd
    os.close(fd)
    return None


def send(processes: Iterable[Process], signum: int) -> None:
    """Signal exactly these processes. Those that are gone, or not ours to signal, are passed over."""
    for process in processes:
        try:
            fd = watch(process)
        except OSError:  # out of descriptors: the caller looks again, and repeats this
            continue
        if fd is None:
            continue
        try:
            signal.pidfd_send_signal(fd, signum)
        except OSError:  # gone meanwhile, or set-user-id: the look after this tells
            pass
        finally:
            os.close(fd)
