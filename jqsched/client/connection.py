"""A blocking connection to the scheduler of a spool: one request after the other, or a stream of answers.

Rule: the standard library only, and light: every command that asks the scheduler imports it. Failures are OSError with
the errno that the scheduler answered; that there is no scheduler is `NoScheduler`.
"""

import errno
import json
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from types import TracebackType
from typing import Self, cast

from jqsched.core.json import Json, JsonObject

FILE_NAME = "jqsched.sock"
_PATH_MAX_BYTES = 100  # sun_path holds 107
_READ_BYTES = 1 << 18

Payload = dict[str, Json]


class NoScheduler(OSError):
    """No scheduler serves the spool, or it went away in the middle."""


class Connection:
    """A connection to the scheduler of the spool `root`. Raises NoScheduler when none is running.

    A request sent while a stream is open is answered between the stream's messages, which are kept for it.
    `timeout_s` is how long a request waits for its answer.
    """

    def __init__(self, root: str, *, timeout_s: float | None = None) -> None:
        self._root, self._timeout_s, self._pid = root, timeout_s, os.getpid()
        self._socket = connect(root)
        self._received = bytearray()
        self._matchtags = count(1)
        self._kept: dict[int, list[Payload]] = {}

    def close(self) -> None:
        """Close the connection; the scheduler ends its open streams. In a child process, only drop the reference."""
        if os.getpid() == self._pid:
            self._socket.close()
        else:
            self._socket.detach()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def fileno(self) -> int:
        """The socket's descriptor, to wait on while nothing `is_received`."""
        return self._socket.fileno()

    @property
    def is_received(self) -> bool:
        """Return whether a message was read from the socket and not yet returned to the caller."""
        return bool(self._received) or any(self._kept.values())

    def request(self, topic: str, payload: JsonObject | None = None, *, timeout_s: float | None = None) -> Payload:
        """Send a request and return its answer. Raises OSError with the scheduler's errno and text; TimeoutError."""
        return self._answer(self._send(topic, payload), self._timeout_s if timeout_s is None else timeout_s)

    def stream(
        self, topic: str, payload: JsonObject | None = None, *, timeout_s: float | None = None
    ) -> Iterator[Payload]:
        """Send a request at once and yield each answer as it arrives, until the scheduler ends the stream.

        `timeout_s` is for each wait; after a TimeoutError the stream is over.
        """
        return self._stream(self._send(topic, payload, streaming=True), timeout_s)

    def _stream(self, matchtag: int, timeout_s: float | None) -> Iterator[Payload]:
        try:
            while True:
                yield self._answer(matchtag, timeout_s)
        except OSError as error:
            if error.errno != errno.ENODATA:
                raise
        finally:
            self._forget(matchtag)

    def _forget(self, matchtag: int) -> None:
        """Abandon a stream: cancel it at the scheduler, and discard the messages that still arrive for it."""
        del self._kept[matchtag]
        if os.getpid() != self._pid:
            return  # the stream is the parent's
        with suppress(OSError):  # closing the connection cancels the stream as well
            self._socket.sendall(json.dumps({"topic": "disconnect", "matchtag": matchtag}).encode() + b"\n")

    # -- lines

    def _send(self, topic: str, payload: JsonObject | None, *, streaming: bool = False) -> int:
        if os.getpid() != self._pid:
            raise OSError(errno.EBADF, f"the connection belongs to process {self._pid}, which made it", self._root)
        matchtag = next(self._matchtags)
        message: Payload = {"topic": topic, "matchtag": matchtag, "payload": dict(payload or {})}
        if streaming:
            message["streaming"] = True
            self._kept[matchtag] = []
        try:
            self._socket.settimeout(None)
            self._socket.sendall(json.dumps(message).encode() + b"\n")
        except (BrokenPipeError, ConnectionResetError):
            self._said_at_the_end()
            raise self._gone() from None
        return matchtag

    def _said_at_the_end(self) -> None:
        """Raise the reason that a scheduler sends before it closes a connection it refuses, if it can still be read."""
        try:
            self._answer(-1, 1.0)
        except NoScheduler:
            return

    def _answer(self, matchtag: int, timeout_s: float | None) -> Payload:
        """Wait for the next answer to a request; those to streams are kept. -1 is the scheduler's word on the line."""
        kept = self._kept.get(matchtag)
        if kept:
            return _payload(kept.pop(0))
        while True:
            answer = self._line(timeout_s)
            if answer["matchtag"] in (matchtag, -1):
                return _payload(answer)
            waiting = self._kept.get(cast(int, answer["matchtag"]))
            if waiting is not None:
                waiting.append(answer)

    def _line(self, timeout_s: float | None) -> Payload:
        searched = 0
        while (end := self._received.find(b"\n", searched)) < 0:
            searched = len(self._received)
            try:
                self._socket.settimeout(timeout_s)
                data = self._socket.recv(_READ_BYTES)
            except ConnectionResetError:
                data = b""
            if not data:
                raise self._gone()
            self._received += data
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        return cast(Payload, json.loads(line))

    def _gone(self) -> NoScheduler:
        return NoScheduler(errno.ENOTCONN, "the scheduler went away", self._root)


def error_of(answer: Payload) -> OSError:
    """The error that the scheduler answered; ENOTCONN is its last word: it goes away, and says why."""
    number, text = cast(int, answer["errnum"]), cast(str, answer.get("errstr", ""))
    return NoScheduler(number, text) if number == errno.ENOTCONN else OSError(number, text)


def _payload(answer: Payload) -> Payload:
    if "errnum" in answer:
        raise error_of(answer)
    return cast(Payload, answer["payload"])


def connect(root: str) -> socket.socket:
    """Connect to the scheduler of a spool. Raises NoScheduler when there is none."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        _connect_to(connection, root)
        _check_peer(connection, root)
    except OSError as error:
        connection.close()
        if error.errno in (errno.ENOENT, errno.ECONNREFUSED, errno.ENOTDIR):
            raise NoScheduler(errno.EHOSTDOWN, "no scheduler serves this spool", root) from None
        raise OSError(error.errno, error.strerror, error.filename or f"{root}/{FILE_NAME}") from None
    return connection


def _check_peer(connection: socket.socket, root: str) -> None:
    """Refuse a socket that another user put there: what is sent holds the environments of jobs.

    Source: unix(7), SO_PEERCRED. Root may command the scheduler of any spool's owner.
    """
    _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    if uid not in (0, os.geteuid()) and not (os.geteuid() == 0 and uid == os.stat(root).st_uid):
        raise PermissionError(errno.EPERM, f"its socket is of user {uid}: nothing was sent", f"{root}/{FILE_NAME}")


def _connect_to(connection: socket.socket, root: str) -> None:
    path = f"{root}/{FILE_NAME}"
    if len(os.fsencode(path)) <= _PATH_MAX_BYTES:
        connection.connect(path)
        return
    folder = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        connection.connect(f"/proc/self/fd/{folder}/{FILE_NAME}")
    finally:
        os.close(folder)
