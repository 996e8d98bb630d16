"""The bells of those who follow: each is told when there is something to read, and not more often than it is worth.

Rule: a ring is a hint (docs/adr/0008), so rings may be put together, never lost. The readers share the cores with the
jobs: after some rings at once the bells take turns, so that each rings within ROUND_US; where there are only a few
readers, who cost little, much sooner.
"""

from typing import Protocol

from jqsched.core.json import JsonObject
from jqsched.ports import Clock

APART_US = 600  # between two rings where one follows; it grows with the square of how many do
ROUND_US = 200_000
AT_ONCE = 16


class Bell(Protocol):
    """The open request of somebody who follows."""

    @property
    def unread_bytes(self) -> int:
        """How much he was told and has not read."""

    def stream(self, payload: JsonObject) -> None:
        """Tell him."""


class Bells:
    """All bells. `due_us` is the monotonic time at which `ring_due` has something to do, None when it has not."""

    def __init__(self, clock: Clock) -> None:
        self.due_us: int | None = None
        self._clock = clock
        self._seq = 0
        self._bells: dict[int, Bell] = {}
        self._waiting: dict[int, None] = {}  # who is to be told something, in the order of their turns
        self._numbers = 0
        self._quiet_us = 0  # from then on it counts as if nothing had been rung
        self._apart_us = 0  # as it was for as many as followed when something happened: who leaves slows nobody down

    def add(self, bell: Bell, seq: int) -> int:
        """Somebody follows: he is told at once how far there is something to read. Returns his number."""
        self._numbers += 1
        self._bells[self._numbers] = bell
        bell.stream({"seq": seq})
        return self._numbers

    def remove(self, number: int) -> None:
        """He does not any more."""
        self._bells.pop(number, None)
        self._waiting.pop(number, None)

    def ring(self, seq: int) -> None:
        """There is something to read up to a seq."""
        self._seq = seq
        self._waiting |= dict.fromkeys(self._bells)  # who waits already keeps his place
        if self._bells:
            self._apart_us = min(APART_US * len(self._bells) ** 2, ROUND_US // len(self._bells))
            self._quiet_us = min(self._quiet_us, self._clock.monotonic_us() + AT_ONCE * self._apart_us)
        self.ring_due()

    def ring_due(self) -> None:
        """Ring for those whose turn it is. Who has not read the last word has no turn; call again when he may have."""
        self.due_us = None
        if not self._waiting:
            return
        now_us = self._clock.monotonic_us()
        for number in list(self._waiting):
            bell = self._bells.get(number)
            if bell is None or bell.unread_bytes:
                continue
            turn_us = self._quiet_us - (AT_ONCE - 1) * self._apart_us
            if turn_us > now_us:
                self.due_us = turn_us
                return
            self._quiet_us = max(self._quiet_us, now_us) + self._apart_us
            del self._waiting[number]
            bell.stream({"seq": self._seq})
