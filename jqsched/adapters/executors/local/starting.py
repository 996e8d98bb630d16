"""Forked children that have not become their tasks yet: what each is doing, for how long, and why it failed.

A child writes into a pipe what it is about to do, and at last why it could not start; exec closes the pipe. So what
may hang has a name, and a child that is its task is told from one that is not.
Rule: nothing here blocks. A child writes less than a pipe holds, at most one PIPE_BUF at a time, so that its messages
are whole. Standard library only (see `wire`).
"""

import os
from collections.abc import Callable

from jqsched.adapters.executors.local.wire import Key

SLOW_US = 2_000_000  # a start that takes longer is told
_LOOK_US = 1_000_000  # how often one that was told is looked at
_STEP, _FAILURE, _LATER, _END = b">", b"!", b"?", b"\0"
_TEXT_BYTES_MAX = 4000  # with the rest of a message less than PIPE_BUF
_READ_BYTES = 1 << 16

Say = Callable[[str], None]


class NotYet(Exception):
    """A task that cannot start now, for want of something that may be there later. Nothing of it has begun."""


class Child:
    """A forked child, from its start until it is the task or has ended; `since_us` is when it was started."""

    __slots__ = ("_fd", "_said", "failure", "is_later", "since_us", "step")

    def __init__(self, fd: int, since_us: int) -> None:
        self._fd, self.since_us = fd, since_us
        self._said = b""
        self.step = "begin"
        self.failure: tuple[int, str] | None = None  # the wait status and the text, once it has failed
        self.is_later = False  # it failed, and may be started later

    def is_on_its_way(self) -> bool:
        """Read what it has said; returns whether it is neither the task yet nor over."""
        while self._fd >= 0:
            try:
                data = os.read(self._fd, _READ_BYTES)
            except BlockingIOError:
                return True
            self._said += data
            *messages, self._said = self._said.split(_END)
            for message in messages:
                self._note(message)
            if not data:
                self.close()
        return False

    def _note(self, message: bytes) -> None:
        kind, text = message[:1], message[1:].decode(errors="backslashreplace")
        if kind == _STEP:
            self.step = text
            return
        status, _, text = text.partition(" ")
        self.failure, self.is_later = (int(status), text), kind == _LATER

    def close(self) -> None:
        """Stop listening."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1


class StartingChildren:
    """All children that were forked and may not be their tasks yet, by pid."""

    def __init__(self) -> None:
        self._children: dict[int, tuple[Key, Child]] = {}
        self._told: dict[Key, str] = {}  # the steps of those that are slow, as they were told
        self.due_us = 0  # when to look at them; 0: never

    def add(self, pid: int, key: Key, child: Child) -> None:
        """Add a task of this attempt."""
        self._children[pid] = (key, child)
        self.due_us = self.due_us or child.since_us + SLOW_US

    def remove(self, pid: int) -> Child | None:
        """Return what is known of a child that has ended; None: it was the task, or was never here."""
        key, child = self._children.pop(pid, (None, None))
        if key is None or child is None:
            return None
        self._told.pop(key, None)
        child.is_on_its_way()
        child.close()
        return child

    def look(self, now_us: int) -> list[tuple[Key, str, int]]:
        """Return the attempts of which something is to be told, if due: what a slow one does, since when it starts.

        An empty step: it has started, after all.
        """
        if now_us < self.due_us:
            return []
        slow: dict[Key, Child] = {}
        self.due_us = 0
        for pid, (key, child) in list(self._children.items()):
            if not child.is_on_its_way():
                if child.failure is None:  # it is the task, or will be reaped
                    del self._children[pid]
                continue
            if child.since_us + SLOW_US <= now_us:
                slow.setdefault(key, child)
            due_us = max(child.since_us + SLOW_US, now_us + _LOOK_US)
            self.due_us = min(self.due_us or due_us, due_us)
        changed = [
            (key, child.step, child.since_us) for key, child in slow.items() if self._told.get(key) != child.step
        ]
        changed += [(key, "", 0) for key in self._told if key not in slow]
        self._told = {key: child.step for key, child in slow.items()}
        return changed

    def tell_again(self) -> None:
        """Tell all at the next look, which is due now: there is another scheduler."""
        self._told.clear()
        self.due_us = 1 if self._children else 0


def say_step(fd: int, text: str) -> None:
    """Say, in the child, what it does next."""
    _write(fd, _STEP, text)


def say_failure(fd: int, status: int, text: str, *, is_later: bool) -> None:
    """Say, in the child, why it could not start."""
    _write(fd, _LATER if is_later else _FAILURE, f"{status} {text}")


def _write(fd: int, kind: bytes, text: str) -> None:
    said = text.encode(errors="backslashreplace").replace(_END, b"\\0")
    os.write(fd, kind + said[:_TEXT_BYTES_MAX] + _END)
