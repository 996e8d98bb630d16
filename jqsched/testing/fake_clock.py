"""A clock that stands still until it is told to go on.

Rule: it keeps the contract of `ports.Clock`: the wall clock may jump, the other one never does.
"""

from jqsched.ports import Clock
from jqsched.testing.scenario import START_US


class FakeClock:
    """Wall-clock and monotonic time as two numbers, set apart so that neither is taken for the other."""

    def __init__(self, wall_us: int = START_US, monotonic_us: int = 7_000_000) -> None:
        self.wall_us = wall_us
        self._monotonic_us = monotonic_us

    def now_us(self) -> int:
        """Wall-clock time."""
        return self.wall_us

    def monotonic_us(self) -> int:
        """Time for timeouts."""
        return self._monotonic_us

    def advance(self, us: int) -> None:
        """Let time pass."""
        assert us >= 0, "time does not go back; the wall clock may be set"
        self.wall_us += us
        self._monotonic_us += us


_PORT: type[Clock] = FakeClock  # for mypy: it has the port's methods
