"""A connection to the scheduler that never blocks: JSON Lines out and in, turned by a reactor.

Rule: it does not interpret messages. Its owner's callback gets each message, and one notice when the connection
is gone.
"""

import json
import selectors
import socket
from collections.abc import Callable

from jqsched.client.connection import Payload, connect
from jqsched.client.reactor import Reactor

_READ_BYTES = 1 << 16  # more would be memory of its own from the kernel, each time

_encode = json.JSONEncoder(separators=(",", ":")).encode


class Line:
    """One connection. Raises NoScheduler when there is none to connect to."""

    def __init__(self, root: str, reactor: Reactor, heard: Callable[[Payload], None], gone: Callable[[], None]) -> None:
        self._reactor, self._heard, self._gone = reactor, heard, gone
        self._socket: socket.socket | None = connect(root)
        self._socket.setblocking(False)
        self._received, self._unsent = bytearray(), bytearray()
        reactor.register(self._socket.fileno(), selectors.EVENT_READ, self._ready)

    def close(self) -> None:
        """Close it without a notice. In a child process, only drop the reference to the parent's connection."""
        if self._socket is not None:
            if self._reactor.is_inherited:
                self._socket.detach()
            else:
                self._reactor.unregister(self._socket.fileno())
                self._socket.close()
            self._socket = None

    def send(self, message: Payload) -> bool:
        """Send a message now, or as soon as the other end reads; False when the other end is gone."""
        if self._socket is None:
            return False
        waits = bool(self._unsent)
        self._unsent += _encode(message).encode() + b"\n"
        return waits or self._flush()

    def drain(self) -> None:
        """Read the last messages, then close: for a connection that can no longer send."""
        while self._socket is not None and self._receive():
            pass
        self._end()

    def _ready(self, mask: int) -> None:
        if self._socket is None:
            return  # closed by another thread since epoll reported data
        if mask & selectors.EVENT_WRITE and not self._flush():
            self.drain()
        elif mask & selectors.EVENT_READ:
            self._receive()

    def _flush(self) -> bool:
        assert self._socket is not None
        try:
            while self._unsent:
                del self._unsent[: self._socket.send(self._unsent)]
        except BlockingIOError:
            pass
        except OSError:
            return False
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._unsent else 0)
        self._reactor.register(self._socket.fileno(), events, self._ready)
        return True

    def _receive(self) -> bool:
        """Read once and deliver the complete messages; return False when there was nothing to read, and at the end."""
        assert self._socket is not None
        try:
            data = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        *lines, rest = (self._received + data).split(b"\n") if b"\n" in data else (self._received + data,)
        self._received = bytearray(rest)
        for line in lines:
            self._heard(json.loads(line))
        if not data:
            self._end()
        return bool(data)

    def _end(self) -> None:
        if self._socket is not None:
            self.close()
            self._gone()
