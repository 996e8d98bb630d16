"""The protocol between the executor process and `LocalExecutor`: file names, messages, and lines of JSON.

Rule: standard library only and nothing slow to import, because the executor process starts lean.

A line is a JSON list of messages, so one write carries many; a message is a list whose first item is its kind.

| order                                                           | answered by                            |
|-----------------------------------------------------------------|----------------------------------------|
| hello, version, [[id, attempt, pid, start_ticks, boot_id, cores, userid]] | state, or refused and the end |
| limits, max_running, cores, grace_us                             |                                        |
| start, id, attempt, and the fields of `spawn.Order`     | started, finished                      |
| withdraw, [[id, attempt]]                                        | withdrawn, or started/finished again   |
| stop, id, attempt; signal, id, attempt, signum; relimit, id, attempt, time_limit_us | finished; nothing; expired |
| ack, [[id, attempt]]                                             | nothing: these are forgotten           |
| ping                                                             | pong                                   |

News: state, [[id, attempt, pid, start_ticks, start_us, expired]] (running), [finished], [[id, attempt]] (never
started); started, id, attempt, pid, start_ticks, start_us; starting, id, attempt, step, since_us;
finished, id, attempt, status, error, pid, start_ticks, expired, start_us, end_us;
withdrawn, id, attempt; expired, id, attempt; pong; refused, why.

`start_us` and `end_us` are of the wall clock, as it is when they are said, and as far apart as the attempt ran; 0: not
known. A finished attempt without a status, but with an error, was not begun, and may be ordered again. `step` is what a
process does, since `since_us`, before it becomes its program; empty: it has become that.
"""

import contextlib
import errno
import json
import os
import socket

VERSION = 5
LOCK = "jqsched-executor.lock"
SOCKET = "jqsched-executor.sock"
STATE = "jqsched-executor.state"  # JSON, but not by its name: the folder is a drop zone
LOG = "jqsched-executor.log"
READY = b"ready\n"
NO_ROOM = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE})  # for a process now; later perhaps

TYPE_CHECKING = False  # as in `typing`, which is slow to import
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    Message: TypeAlias = list[Any]  # a kind and its fields
else:
    Message = list
Key = tuple[int, int]  # id and attempt

_INT, _NONE = (int,), type(None)
# The types of the fields of news. What is said of a finished attempt is what the state file keeps of it, too.
FIELDS = {
    "started": (_INT,) * 5,
    "starting": (_INT, _INT, (str,), _INT),
    "finished": (_INT, _INT, (int, _NONE), (str, _NONE), _INT, _INT, (bool,), _INT, _INT),
    "withdrawn": (_INT,) * 2,
    "expired": (_INT,) * 2,
    "pong": (),
}

_CHUNK_BYTES = 1 << 16
_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def boot_id() -> str:
    """Return the id of this boot of the machine."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def address(directory_fd: int) -> str:
    """Return an address of the socket in the spool, however long the spool's path is: sun_path holds 107 bytes."""
    return f"/proc/self/fd/{directory_fd}/{SOCKET}"


class Link:
    """One end of the connection: whole lines in, buffered lines out, never blocking."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self._in = bytearray()
        self._out = bytearray()
        self._broken = False

    @property
    def wants_write(self) -> bool:
        """Whether something is left that the other end has not taken yet."""
        return bool(self._out)

    def receive(self, *, to_line_end: bool = False) -> list[Message] | None:
        """Read once and return the messages of all complete lines; None when the other end is gone.

        `to_line_end`: leave what comes after the first line for later calls, so that the socket is readable then.
        Raises ValueError for any other line.
        """
        try:
            size = _CHUNK_BYTES
            if to_line_end:
                size = self.sock.recv(_CHUNK_BYTES, socket.MSG_PEEK).find(b"\n") + 1 or _CHUNK_BYTES
            data = self.sock.recv(size)
        except (BlockingIOError, InterruptedError):
            return []
        except OSError:  # reset: what it had sent before is gone with it
            return None
        if not data:
            return None
        self._in += data
        end = self._in.rfind(b"\n") + 1
        if not end:
            return []
        lines = bytes(self._in[:end]).splitlines()
        del self._in[:end]
        return [message for line in lines for message in _messages(line)]

    def send(self, messages: list[Message]) -> None:
        """Send one line, or keep what does not go at once for `flush`."""
        self._out += _encode(messages).encode("ascii") + b"\n"
        self.flush()

    def flush(self) -> None:
        """Send what is left. A broken connection is noticed by `receive`, which still finds what came before."""
        while self._out and not self._broken:
            try:
                sent = self.sock.send(self._out, socket.MSG_NOSIGNAL)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                self._broken = True
                with contextlib.suppress(OSError):  # the other end may live (ENOBUFS): both are to notice
                    self.sock.shutdown(socket.SHUT_RDWR)
                break
            del self._out[:sent]
        if self._broken:
            self._out.clear()

    def close(self) -> None:
        """Let go. Closing cannot fail in a way that matters: nothing is promised to be delivered."""
        with contextlib.suppress(OSError):
            self.sock.close()


def has_fields(kind: str, fields: "Message") -> bool:
    """Whether these are the fields of news of this kind."""
    wanted = FIELDS[kind]
    return len(fields) == len(wanted) and all(type(field) in types for field, types in zip(fields, wanted, strict=True))


def _messages(line: bytes) -> list[Message]:
    try:
        messages: object = json.loads(line)
    except RecursionError:
        raise ValueError("a line is nested too deeply") from None
    if not isinstance(messages, list) or not all(isinstance(message, list) and message for message in messages):
        raise ValueError("a line is no list of messages")
    return messages


def open_spool(spool: str) -> int:
    """Open the spool folder, to reach its files also when it is renamed and however long its path is."""
    return os.open(spool, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
