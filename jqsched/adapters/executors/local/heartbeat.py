"""The heartbeat of the executor process: detect that it does not answer, continue it (SIGCONT), and at last kill it.

In: the time, and the arrival of messages. Out: when to ping, a line for the log, and signals. Jobs are not harmed: the
end of the executor is noticed by its connection, and the next one adopts them.

Rule: only time in which the scheduler itself was awake counts, at most a tick for each look: a scheduler that was
frozen, or a machine that slept, does not make the executor look silent. Standard library only.
"""

import contextlib
import os
import signal
import socket
import struct
from collections.abc import Callable

from jqsched.adapters.executors.local import procfs

ASK_S = 4.0  # after this long without a message, it is sent a ping
TICK_S = 1.0
SILENT_S = 3.0  # without an answer for so long, that is logged, and it is sent SIGCONT: most likely it was stopped
KILL_S = 10.0  # after this long it is killed
KILL_BUSY_S = 60.0  # the same while it uses its processor


class Heartbeat:
    """One executor process, from its answer to hello on."""

    def __init__(self, sock: socket.socket, now_s: float, log: Callable[[str], None]) -> None:
        self.pid = peer(sock)
        self._log = log
        self._is_heard = self._is_asked = self.is_killed = False
        self.silent_s = 0.0  # how long it has not answered
        self._last_s, self.due_s = now_s, now_s + ASK_S
        self._cpu_ticks = 0

    def heard(self) -> None:
        """Note that a message came. Must be cheap, for it is called with all news."""
        self._is_heard = True

    def look(self, now_s: float) -> bool:
        """Log or signal, if that is due; returns whether to send a ping now."""
        if now_s < self.due_s:
            return False
        if self._is_heard:
            if self.is_silent:
                self._log(f"the executor (pid {self.pid}) answers again")
            self._is_heard = self._is_asked = False
            self.silent_s, self.due_s = 0.0, now_s + ASK_S
            return False
        if not self._is_asked:
            self._is_asked, self._last_s, self.due_s = True, now_s, now_s + TICK_S
            return True
        was_silent = self.is_silent
        self.silent_s += min(now_s - self._last_s, TICK_S)
        self._last_s, self.due_s = now_s, now_s + TICK_S
        if self.is_silent:
            self._act(was_silent)
        return False

    @property
    def is_silent(self) -> bool:
        """Whether an answer is overdue."""
        return self.silent_s >= SILENT_S

    @property
    def text(self) -> str:
        """Return a message if it does not answer; empty while it does."""
        if not self.is_silent:
            return ""
        return (
            f"the executor (pid {self.pid}{_state(self.pid)}) has not answered for {self.silent_s:.0f} s:"
            " nothing starts, ends or is stopped until it does or is replaced"
        )

    def _act(self, was_silent: bool) -> None:
        cpu_ticks = procfs.cpu_ticks(self.pid)
        if not was_silent:
            self._cpu_ticks = cpu_ticks
            self._log(f"{self.text}; continuing it")
            send(self.pid, signal.SIGCONT)
        elif self.silent_s >= (KILL_S if cpu_ticks == self._cpu_ticks else KILL_BUSY_S):
            if not self.is_killed:
                self._log(f"{self.text}; killing it, another one takes over its jobs")
            self.is_killed = True
            send(self.pid, signal.SIGKILL)


def peer(sock: socket.socket) -> int:
    """Return the pid of the process that listens at the other end; 0 where it is not visible."""
    pid: int = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
    return pid


def send(pid: int, signum: signal.Signals) -> None:
    """Signal a process that is connected to us, and so has not ended."""
    with contextlib.suppress(OSError):
        if pid > 0:
            os.kill(pid, signum)


def _state(pid: int) -> str:
    state = procfs.state(pid)
    return {"T": ", stopped", "t": ", traced", "D": ", waiting for a disk or a network"}.get(state, "")
