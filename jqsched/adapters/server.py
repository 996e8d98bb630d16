"""The Unix-socket server: requests in, answers out, as JSON Lines, on the loop's own thread.

Rule: nothing here waits, and no client can make it hold more than its bounds: lines, open requests, unread answers and
the number of clients are limited, and a client that exceeds a limit gets an error (or, not reading, is dropped and
logged). A request is `{"topic": str, "matchtag": int, "payload"?: {}, "streaming"?: bool}`; answers carry its matchtag
and `payload`, or `errnum` and `errstr`. A stream ends with ENODATA. Source: RFC 6 (matchtags, streaming).
"""

import errno
import json
import os
import selectors
import socket
import stat
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import TypeAlias, cast

from attrs import define, field

from jqsched.core.jobspec.values import finite
from jqsched.core.json import Json, JsonObject

FILE_NAME = "jqsched.sock"
LINE_MAX_BYTES = 4 << 20
UNREAD_MAX_BYTES = 16 << 20
OPEN_REQUESTS_MAX = 1024
OPEN_REQUESTS_MAX_BYTES = 16 << 20
CLIENTS_MAX = 256
EXTRA_CLIENTS_MAX = 16  # beyond these: to ask how the scheduler is, and nothing else
EXTRA_TOPIC = "job-manager.status"
_READ_BYTES = 256 << 10
_PATH_MAX_BYTES = 100  # sun_path holds 107
_NO_MATCHTAG = -1  # in the answer to a line in which none could be read

Handle: TypeAlias = Callable[["Request"], None]
Log: TypeAlias = Callable[[str], None]

_encode = json.JSONEncoder(separators=(",", ":")).encode


@define(eq=False)
class Request:
    """One request, open until it is answered, ended, canceled, or its client is gone.

    Answering one that is not open any more does nothing, so its handler need not watch the client. `on_close` is
    called when the client cancels it or goes away, not when it is answered.
    """

    topic: str
    payload: JsonObject
    matchtag: int
    streaming: bool
    _client: "_Client"
    size_bytes: int = 0
    is_open: bool = True
    on_close: Callable[[], None] | None = None

    def respond(self, payload: JsonObject) -> None:
        """Answer, and close the request."""
        if self._finish():
            self._client.send({"matchtag": self.matchtag, "payload": dict(payload)})

    def respond_error(self, errnum: int, text: str) -> None:
        """Answer with an errno and a text, and close the request."""
        if self._finish():
            self._client.send({"matchtag": self.matchtag, "errnum": errnum, "errstr": text})

    def stream(self, payload: JsonObject) -> None:
        """Send one of several answers; the request stays open."""
        if self.is_open:
            self._client.send({"matchtag": self.matchtag, "payload": dict(payload)})

    def end(self) -> None:
        """End a stream."""
        self.respond_error(errno.ENODATA, "end of stream")

    @property
    def unread_bytes(self) -> int:
        """How much of what was sent to this client waits to be read: a long stream is sent in portions by this."""
        return len(self._client.unread)

    def _finish(self) -> bool:
        was_open, self.is_open = self.is_open, False
        if was_open:
            del self._client.requests[self.matchtag]
            self._client.open_bytes -= self.size_bytes
        return was_open

    def abandon(self) -> None:
        """Close it because the client does not wait for the answer any more."""
        if self._finish() and self.on_close is not None:
            self.on_close()


class Server:
    """The socket `root/jqsched.sock` and its clients.

    Each file object is registered in `selector` with a callable as data, to be called with the event mask when it is
    ready. The caller holds the spool's lock, so a socket that is there already is a dead scheduler's.
    Raises OSError when the socket cannot be made.
    """

    def __init__(self, root: str, handle: Handle, selector: selectors.BaseSelector, log: Log) -> None:
        self.handle, self.selector, self.log = handle, selector, log
        self.clients: set[_Client] = set()
        self._root = root
        self._folder = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        # Given up for a moment when no descriptor is left, to accept waiting clients and turn them away.
        self._spare: int | None = _spare()
        try:
            self._socket = _listen(root, self._folder)
        except OSError:
            os.close(self._folder)
            self._give_up_spare()
            raise
        self._bound = os.stat(FILE_NAME, dir_fd=self._folder, follow_symlinks=False)
        selector.register(self._socket, selectors.EVENT_READ, self._accept)

    def ensure(self) -> None:
        """Make the socket again if it was removed, or something else is in its place that can be replaced."""
        with suppress(FileNotFoundError):
            if self._is_bound():
                return
        try:
            listening = _listen(self._root, self._folder)
        except OSError as error:  # tried again with the next call
            self.log(f"{self._root}/{FILE_NAME} was removed, and cannot be made again: {error.strerror or error}")
            return
        self.log(f"{self._root}/{FILE_NAME} was removed or replaced: made again")
        self.selector.unregister(self._socket)
        self._socket.close()
        self._socket = listening
        self._bound = os.stat(FILE_NAME, dir_fd=self._folder, follow_symlinks=False)
        self.selector.register(listening, selectors.EVENT_READ, self._accept)

    def _is_bound(self) -> bool:
        """Whether the socket in the spool is this one. Raises FileNotFoundError where there is none."""
        found = os.stat(FILE_NAME, dir_fd=self._folder, follow_symlinks=False)
        return (found.st_dev, found.st_ino) == (self._bound.st_dev, self._bound.st_ino)

    def close(self, why: str) -> None:
        """End the streams, answer open requests with the reason, close all clients, and remove the socket."""
        for client in list(self.clients):
            for request in list(client.requests.values()):
                if request.streaming:
                    request.end()
                else:
                    request.respond_error(errno.ENOTCONN, why)
            client.drop()
        self.selector.unregister(self._socket)
        self._socket.close()
        with suppress(FileNotFoundError):
            if self._is_bound():
                os.unlink(FILE_NAME, dir_fd=self._folder)
        os.close(self._folder)
        self._give_up_spare()

    def _accept(self, _mask: int) -> None:
        try:
            connection, _ = self._socket.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            self._turn_away(error)
            return
        connection.setblocking(False)
        pid, uid = _peer(connection)
        if uid not in (os.geteuid(), 0):
            _refuse(connection, errno.EPERM, "this spool belongs to another user")
        elif len(self.clients) >= CLIENTS_MAX + EXTRA_CLIENTS_MAX:
            self.log(f"refused a client (pid {pid}): {CLIENTS_MAX} are connected")
            _refuse(connection, errno.EAGAIN, f"too many clients ({CLIENTS_MAX})")
        else:
            self.clients.add(_Client(self, connection, pid, is_extra=len(self.clients) >= CLIENTS_MAX))

    def _turn_away(self, error: OSError) -> None:
        """Take a waiting client off the queue though there is no descriptor for it: else the loop would spin."""
        self.log(f"cannot accept a client: {error.strerror}")
        self._give_up_spare()
        with suppress(OSError):
            self._socket.accept()[0].close()
        with suppress(OSError):  # another thread was faster: the next time there may be room for it again
            self._spare = _spare()

    def _give_up_spare(self) -> None:
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None


def _spare() -> int:
    return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)


@define(eq=False)
class _Client:
    """One connection: what came in and is no line yet, what goes out and is not read yet, its open requests."""

    server: Server
    connection: socket.socket
    pid: int
    is_extra: bool = False
    requests: dict[int, Request] = field(factory=dict)
    open_bytes: int = 0
    unread: bytearray = field(factory=bytearray)
    _received: bytearray = field(factory=bytearray)
    _is_ending: bool = False
    _is_gone: bool = False
    _mask: int = selectors.EVENT_READ

    def __attrs_post_init__(self) -> None:
        self.server.selector.register(self.connection, self._mask, self._ready)

    # -- in

    def _ready(self, mask: int) -> None:
        if mask & selectors.EVENT_WRITE and not self._is_gone:  # dropped by another's turn in the same round
            self._flush()
        if mask & selectors.EVENT_READ and not self._is_gone and not self._is_ending:
            self._receive()

    def _receive(self) -> None:
        try:
            data = self.connection.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.drop()
            return
        searched = len(self._received)
        self._received += data
        end = self._received.find(b"\n", searched)
        begin = 0
        while end >= 0 and not self._is_gone and not self._is_ending:
            self._take(bytes(self._received[begin:end]))
            begin, end = end + 1, self._received.find(b"\n", end + 1)
        del self._received[:begin]
        if len(self._received) > LINE_MAX_BYTES and not self._is_ending:
            self._reject(_NO_MATCHTAG, errno.EMSGSIZE, f"a line of more than {LINE_MAX_BYTES} bytes")

    def _take(self, line: bytes) -> None:
        if len(line) > LINE_MAX_BYTES:
            self._reject(_NO_MATCHTAG, errno.EMSGSIZE, f"a line of more than {LINE_MAX_BYTES} bytes")
            return
        try:
            topic, matchtag, payload, streaming = _parse(line)
        except _Malformed as wrong:
            self._reject(wrong.matchtag, errno.EPROTO, str(wrong))
            return
        if self.is_extra and topic != EXTRA_TOPIC:
            self.server.log(f"refused a client (pid {self.pid}): {CLIENTS_MAX} are connected")
            self._reject(matchtag, errno.EAGAIN, f"too many clients ({CLIENTS_MAX})")
        elif topic in ("cancel", "disconnect"):
            self._cancel(matchtag, tell=topic == "cancel")
        elif matchtag in self.requests:
            self._reject(matchtag, errno.EPROTO, f"matchtag {matchtag} is in use")
        elif len(self.requests) >= OPEN_REQUESTS_MAX or self.open_bytes + len(line) > OPEN_REQUESTS_MAX_BYTES:
            text = f"{len(self.requests)} requests ({self.open_bytes} bytes) of this connection are not answered yet"
            self.send({"matchtag": matchtag, "errnum": errno.EAGAIN, "errstr": text})
        else:
            request = Request(topic, payload, matchtag, streaming, self, len(line))
            self.requests[matchtag] = request
            self.open_bytes += len(line)
            self.server.handle(request)

    def _cancel(self, matchtag: int, *, tell: bool) -> None:
        request = self.requests.get(matchtag)
        if request is None:
            return  # answered meanwhile: the answer is on its way
        request.abandon()
        if tell:
            self.send({"matchtag": matchtag, "errnum": errno.ENODATA, "errstr": "canceled"})

    def _reject(self, matchtag: int, errnum: int, text: str) -> None:
        """Answer a line that cannot be understood, and end the connection when the answer is out."""
        self.send({"matchtag": matchtag, "errnum": errnum, "errstr": text})
        self._is_ending = True
        self._settle()

    # -- out

    def send(self, answer: JsonObject) -> None:
        """Send one line now, or as soon as the client reads. One that leaves too much unread is dropped."""
        if self._is_gone or self._is_ending:
            return
        if len(self.unread) > UNREAD_MAX_BYTES:
            self.server.log(f"dropped a client (pid {self.pid}): it left {len(self.unread)} bytes unread")
            self.drop()
            return
        was_waiting = bool(self.unread)
        self.unread += _encode(answer).encode() + b"\n"
        if not was_waiting:
            self._flush()

    def _flush(self) -> None:
        try:
            while self.unread:
                del self.unread[: self.connection.send(self.unread)]
        except BlockingIOError:
            pass
        except OSError:
            self.drop()
            return
        self._settle()

    def _settle(self) -> None:
        """Close when nothing is left to send, else register for the events that are needed now."""
        if self._is_gone:
            return
        if self._is_ending and not self.unread:
            self.drop()
            return
        mask = selectors.EVENT_READ | (selectors.EVENT_WRITE if self.unread else 0)
        if self._is_ending:
            mask = selectors.EVENT_WRITE
        if mask != self._mask:
            self._mask = mask
            self.server.selector.modify(self.connection, mask, self._ready)

    def drop(self) -> None:
        """Close the connection, and with it all its requests."""
        if self._is_gone:
            return
        self._is_gone = True
        self.server.clients.discard(self)
        self.server.selector.unregister(self.connection)
        self.connection.close()
        for request in list(self.requests.values()):
            request.abandon()


# ---- the socket ---------------------------------------------------------------------------------------------------


def _listen(root: str, folder: int) -> socket.socket:
    """Make the socket, 0600 from its first moment, in place of one that a dead scheduler left."""
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.stat(FILE_NAME, dir_fd=folder, follow_symlinks=False).st_mode):
            raise FileExistsError(errno.EEXIST, "is in the way and no socket", f"{root}/{FILE_NAME}")
        os.unlink(FILE_NAME, dir_fd=folder)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        os.fchmod(listening.fileno(), 0o600)  # bind gives the file the mode of the socket, so there is no gap
        path = f"{root}/{FILE_NAME}"
        listening.bind(path if len(os.fsencode(path)) <= _PATH_MAX_BYTES else f"/proc/self/fd/{folder}/{FILE_NAME}")
        listening.listen(CLIENTS_MAX)
    except OSError:
        listening.close()
        raise
    return listening


def _peer(connection: socket.socket) -> tuple[int, int]:
    """Return the pid and uid of the client. Source: unix(7), SO_PEERCRED."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, _gid = struct.unpack("3i", credentials)
    return pid, uid


def _refuse(connection: socket.socket, errnum: int, text: str) -> None:
    with connection, suppress(OSError):
        line = _encode({"matchtag": _NO_MATCHTAG, "errnum": errnum, "errstr": text})
        connection.send(line.encode() + b"\n")


# ---- requests -----------------------------------------------------------------------------------------------------


class _Malformed(ValueError):
    """A line that is no request; `matchtag` is its own where it could be read."""

    def __init__(self, text: str, matchtag: int = _NO_MATCHTAG) -> None:
        super().__init__(text)
        self.matchtag = matchtag


def _parse(line: bytes) -> tuple[str, int, JsonObject, bool]:
    """Read a request line: topic, matchtag, payload, streaming."""
    try:
        entries: object = json.loads(line.decode(), parse_float=finite, parse_constant=finite)
        if b"\\ud" in line.lower():  # an escape may make a lone surrogate, which no file and no database takes
            json.dumps(entries, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise _Malformed(f"not JSON: {error}") from None
    if not isinstance(entries, dict):
        raise _Malformed("a request must be an object")
    matchtag = entries.get("matchtag")
    if type(matchtag) is not int or not 0 <= matchtag < 2**63:
        raise _Malformed("matchtag must be an integer from 0")
    topic, payload = entries.get("topic"), entries.get("payload", {})
    if not isinstance(topic, str):
        raise _Malformed("topic must be a string", matchtag)
    if not isinstance(payload, dict):
        raise _Malformed("payload must be an object", matchtag)
    streaming = entries.get("streaming", False)
    if not isinstance(streaming, bool):
        raise _Malformed("streaming must be true or false", matchtag)
    return topic, matchtag, cast(dict[str, Json], payload), streaming
