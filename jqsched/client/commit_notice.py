"""Commit notice: tells a reader when the store has changed and is worth reading again.

Rule: only a hint. A follower reads on from where it is, so nothing is missed or seen twice, whatever becomes of
the scheduler meanwhile. Where none runs the bell rings once a second: commands change the store then, too.
"""

from jqsched.client.connection import Payload
from jqsched.client.reactor import Reactor
from jqsched.client.stream_connection import Line

POLL_S = 1.0


class Bell:
    """Count commit notices; subscribe to the scheduler when the first reader waits for one."""

    def __init__(self, root: str, reactor: Reactor) -> None:
        self.rings = 0
        self._root, self._reactor = root, reactor
        self._line: Line | None = None
        self._listening = False

    def listen(self) -> None:
        """Subscribe. The scheduler sends a notice at once, to cover commits made since the last read."""
        if not self._listening:
            self._listening = True
            self._connect()

    def close(self) -> None:
        """End the subscription."""
        if self._line is not None:
            self._line.close()

    def _connect(self) -> None:
        try:
            self._line = Line(self._root, self._reactor, self._ring, self._gone)
            self._line.send({"topic": "job-manager.bell", "matchtag": 1, "payload": {}, "streaming": True})
        except OSError:  # none runs, or it has no room for us: look for it again
            self._gone()

    def _ring(self, message: Payload) -> None:
        if "errnum" not in message:
            self.rings += 1
        elif self._line is not None:
            self._line.close()
            self._gone()

    def _gone(self) -> None:
        self._line = None
        self.rings += 1  # a scheduler may die before it sends a notice, and commands change the store without one
        self._reactor.call_later(POLL_S, self._connect)
