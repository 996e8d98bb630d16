"""stderr as the scheduler writes to it: nothing that happens to it holds the scheduler up or ends it.

Rule: no write waits. What cannot be written now (a pipe without a reader, a terminal that is stopped) is kept up to a
bound; what is lost beyond it, or because stderr is closed or its disk is full, is counted, and reported as soon as
stderr can be written again. The flags of stderr itself stay as they are, for other programs share them.
"""

import os
import select
import socket
import stat
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Protocol, TextIO

KEPT_MAX_BYTES = 256 << 10
FINISH_S = 1.0  # how long `finish` waits for the rest to be read
_PIECE_BYTES = 4096  # PIPE_BUF: so much a pipe that can be written to takes without waiting

Send = Callable[[bytes], int]


class _Closable(Protocol):
    def close(self) -> None: ...


class LogStream:
    """A text stream onto another one, stderr as a rule (None: closed). `lost`: lost lines not reported yet."""

    encoding = "utf-8"

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self.encoding = getattr(stream, "encoding", None) or "utf-8"
        self.lost = 0
        self._fd = _descriptor(stream)
        self._own: _Closable | None = None  # what was opened here, to write without waiting
        self._send: Send = _nothing if stream is None else self._to_stream
        if self._fd is not None:
            self._send, self._own = _sender(self._fd)
        self._kept = bytearray()
        self._mutex = threading.Lock()  # a display writes from a thread of its own

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self._fd is not None and os.isatty(self._fd)

    def write(self, text: str) -> int:
        """Write a text, now or later, or count its lines as lost."""
        data = text.encode(self.encoding, "backslashreplace")
        with self._mutex:
            if len(self._kept) + len(data) > KEPT_MAX_BYTES:
                self._flush()
            if len(self._kept) + len(data) > KEPT_MAX_BYTES:
                self.lost += data.count(b"\n")
            else:
                self._kept += data
                self._flush()
        return len(text)

    def flush(self) -> None:
        """Write what could not be written before, as far as it can be now."""
        with self._mutex:
            self._flush()

    def finish(self) -> None:
        """Write what is left, waiting a moment for it to be read. Anything written later is discarded."""
        deadline = time.monotonic() + FINISH_S
        self.flush()
        while self._kept and self._fd is not None and (left_s := deadline - time.monotonic()) > 0:
            poll = select.poll()
            poll.register(self._fd, select.POLLOUT)
            poll.poll(left_s * 1000)
            self.flush()
        with self._mutex:
            self._send = _nothing
            if self._own is not None:
                self._own.close()

    def _flush(self) -> None:
        self._send_kept()
        if self.lost and not self._kept:
            lost, self.lost = self.lost, 0
            text = f"{lost} line(s) of this log are lost: it could not be written"
            self._kept += f"{time.strftime('%H:%M:%S')} {text}\n".encode()
            self._send_kept(lost)

    def _send_kept(self, lines: int | None = None) -> None:
        """Send what is kept. `lines`: how many count as lost when that fails; None: those that it has."""
        while self._kept:
            try:
                sent = self._send(bytes(self._kept[: 16 * _PIECE_BYTES]))
            except BlockingIOError:
                return
            except (OSError, ValueError):  # closed, its reader gone, its disk full: the scheduler goes on
                self.lost += self._kept.count(b"\n") if lines is None else lines
                self._kept.clear()
                return
            del self._kept[:sent]

    def _to_stream(self, data: bytes) -> int:
        assert self._stream is not None
        self._stream.write(data.decode(self.encoding, "replace"))
        self._stream.flush()
        return len(data)


def _nothing(data: bytes) -> int:
    return len(data)


def _descriptor(stream: TextIO | None) -> int | None:
    """The descriptor behind a stream; None where there is none."""
    try:
        return None if stream is None else stream.fileno()
    except (OSError, ValueError):  # closed, or not a file at all
        return None


def _sender(fd: int) -> tuple[Send, _Closable | None]:
    """What writes to a descriptor without waiting, and raises BlockingIOError instead; and what it opened for that."""
    mode = os.fstat(fd).st_mode
    if stat.S_ISSOCK(mode):
        connection = socket.socket(fileno=os.dup(fd))
        return (lambda data: connection.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)), connection
    if not (stat.S_ISFIFO(mode) or os.isatty(fd)):
        return partial(os.write, fd), None  # a file, or /dev/null: writing to these does not wait for a reader
    flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        file = open(os.open(f"/proc/self/fd/{fd}", flags), "wb", buffering=0)  # noqa: SIM115  # closed by `finish`
    except OSError:  # a terminal of another user, say
        return partial(_write_if_ready, fd), None
    return partial(os.write, file.fileno()), file


def _write_if_ready(fd: int, data: bytes) -> int:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    if not poll.poll(0):
        raise BlockingIOError
    return os.write(fd, data[:_PIECE_BYTES])
