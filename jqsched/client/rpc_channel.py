"""RPC channel: requests to the scheduler, many at once on one connection.

Rule: every request is answered: by the scheduler, or with `NoScheduler` when there is none or it goes away. One that
could not be sent at all is sent again on a new connection; one that was sent is never sent twice.
"""

import errno
from collections import deque
from itertools import count
from typing import cast

from jqsched.client.connection import NoScheduler, Payload, error_of
from jqsched.client.reactor import Reactor
from jqsched.client.stream_connection import Line
from jqsched.future import Answer

_EVERYBODY = -1  # the matchtag of what the scheduler says of the connection itself


class Wire:
    """The connection for requests, made when there is one, and again after the scheduler came back."""

    def __init__(self, root: str, reactor: Reactor) -> None:
        self._root, self._reactor = root, reactor
        self._line: Line | None = None
        self._matchtags = count(1)
        self._open: dict[int, WireChannel] = {}

    def close(self) -> None:
        """Close the connection; pending requests are answered with NoScheduler."""
        if self._line is not None:
            self._line.close()
        self._gone()

    def ask(self, topic: str, payload: Payload | None, *, streaming: bool) -> "WireChannel":
        """Send a request."""
        with self._reactor.lock:
            return self._ask(topic, payload, streaming=streaming)

    def _ask(self, topic: str, payload: Payload | None, *, streaming: bool) -> "WireChannel":
        matchtag = next(self._matchtags)
        message: Payload = {"topic": topic, "matchtag": matchtag, "payload": payload or {}}
        if streaming:
            message["streaming"] = True
        channel = WireChannel(self, matchtag, streaming=streaming)
        if self._line is not None:
            if self._line.send(message):
                self._open[matchtag] = channel
                return channel
            self._line.drain()  # gone since: this request did not reach it, those before it may have
        self._open[matchtag] = channel
        try:
            self._line = Line(self._root, self._reactor, self._heard, self._gone)
        except OSError as error:
            del self._open[matchtag]
            channel.answers.append(error)
            return channel
        if not self._line.send(message):
            self._line.drain()  # a scheduler that refuses a connection says why before it closes it
        return channel

    def _heard(self, message: Payload) -> None:
        matchtag = cast(int, message["matchtag"])
        answer: Answer
        if "errnum" in message:
            answer = error_of(message)
        else:
            answer = cast(Payload, message["payload"])
        if matchtag == _EVERYBODY:  # the connection is about to end: nothing more is to be sent on it
            if self._line is not None:
                self._line.close()
                self._line = None
            for number in list(self._open):
                self._open.pop(number).answers.append(answer)
        elif matchtag in self._open:
            channel = self._open[matchtag]
            channel.answers.append(answer)
            if isinstance(answer, OSError) or not channel.streaming:
                del self._open[matchtag]

    def _gone(self) -> None:
        self._line = None
        waiting, self._open = self._open, {}
        for channel in waiting.values():
            channel.answers.append(NoScheduler(errno.ENOTCONN, "the scheduler went away", self._root))
        self._reactor.wake()  # other threads may wait for these answers

    def cancel(self, matchtag: int) -> None:
        """Cancel a request at the scheduler, which answers ENODATA."""
        if matchtag in self._open and self._line is not None:
            self._line.send({"topic": "cancel", "matchtag": matchtag})


class WireChannel:
    """The answers to one request."""

    def __init__(self, wire: Wire, matchtag: int, *, streaming: bool) -> None:
        self._wire, self._matchtag, self.streaming = wire, matchtag, streaming
        self.answers: deque[Answer] = deque()

    def poll(self) -> Answer | None:
        """Return the next answer, None if it has not arrived."""
        return self.answers.popleft() if self.answers else None

    def cancel(self) -> None:
        """Cancel the request."""
        self._wire.cancel(self._matchtag)
