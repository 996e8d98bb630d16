"""The notifier: send followers the latest sequence number, and no more often than it is worth.

In: the followers, and the number up to which there is something to read. Out: messages `{"seq": N}` on each
follower's open request, and `due_us`, the time of the next one.
Rule: a message is a hint to read (docs/adr/0008), so several may be merged into one, but the last is never lost. The
followers share the cores with the jobs: after AT_ONCE messages without delay they take turns, so that each gets one
within ROUND_US; where there are only a few followers, which cost little, much sooner.
"""

from typing import Protocol

from jqsched.core.json import JsonObject
from jqsched.ports import Clock

APART_US = 600  # between two messages with one follower; it grows with the square of their number
ROUND_US = 200_000
AT_ONCE = 16


class Follower(Protocol):
    """The open request of a client that follows the event log."""

    @property
    def unread_bytes(self) -> int:
        """How many bytes were sent that the client has not read."""

    def stream(self, payload: JsonObject) -> None:
        """Send one message."""


class Notifier:
    """All followers. `due_us` is the monotonic time at which `notify_due` has something to send, None when never."""

    def __init__(self, clock: Clock) -> None:
        self.due_us: int | None = None
        self._clock = clock
        self._seq = 0
        self._followers: dict[int, Follower] = {}
        self._pending: dict[int, None] = {}  # the followers with a message to come, in the order of their turns
        self._numbers = 0
        self._quiet_us = 0  # from then on, messages sent before no longer delay others
        # As of the last `notify`: a follower that leaves after its message must not make the turns of others longer.
        self._apart_us = 0

    def add(self, follower: Follower, seq: int) -> int:
        """Add a follower, and send it the latest sequence number at once. Returns the follower's number."""
        self._numbers += 1
        self._followers[self._numbers] = follower
        follower.stream({"seq": seq})
        return self._numbers

    def remove(self, number: int) -> None:
        """Remove a follower."""
        self._followers.pop(number, None)
        self._pending.pop(number, None)

    def notify(self, seq: int) -> None:
        """Send all followers a new sequence number, now or in their turn."""
        self._seq = seq
        self._pending |= dict.fromkeys(self._followers)  # a follower that is pending already keeps its place
        if self._followers:
            self._apart_us = min(APART_US * len(self._followers) ** 2, ROUND_US // len(self._followers))
            self._quiet_us = min(self._quiet_us, self._clock.monotonic_us() + AT_ONCE * self._apart_us)
        self.notify_due()

    def notify_due(self) -> None:
        """Send to the followers whose turn it is.

        A follower that has not read its last message is passed over: call this again when it may have.
        """
        self.due_us = None
        if not self._pending:
            return
        now_us = self._clock.monotonic_us()
        for number in list(self._pending):
            follower = self._followers.get(number)
            if follower is None or follower.unread_bytes:
                continue
            turn_us = self._quiet_us - (AT_ONCE - 1) * self._apart_us
            if turn_us > now_us:
                self.due_us = turn_us
                return
            self._quiet_us = max(self._quiet_us, now_us) + self._apart_us
            del self._pending[number]
            follower.stream({"seq": self._seq})
