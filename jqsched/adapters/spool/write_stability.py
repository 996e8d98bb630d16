"""Which files may still be being written, and when to look at them again.

Rule: a file is quiet when it has not changed for two seconds: by its ctime, or, where the clock contradicts that, by
repeated looks. Only files that are not quiet are kept here.
"""

import os
from collections.abc import Iterator

from jqsched.adapters.spool.folder import signature
from jqsched.ports import Clock

QUIET_US = 2_000_000


class Quiet:
    """The files that are not quiet yet: what they looked like, and since when (monotonic)."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since: dict[str, tuple[int, int]] = {}

    def __len__(self) -> int:
        """How many files are not quiet yet."""
        return len(self._since)

    def settled(self, key: str, found: os.stat_result) -> bool:
        """Whether the file is quiet; if not, it will be due."""
        now_us, sign = self._clock.monotonic_us(), signature(found)
        known = self._since.get(key)
        if known is None or known[0] != sign:
            age_us = self._clock.now_us() - found.st_ctime_ns // 1000
            known = sign, now_us - min(max(age_us, 0), QUIET_US)
        if now_us - known[1] >= QUIET_US:
            self._since.pop(key, None)
            return True
        self._since[key] = known
        return False

    def again(self, key: str, found: os.stat_result) -> None:
        """Look at this file again after a while, whether it has changed or not: a process has it open for writing."""
        self._since[key] = signature(found), self._clock.monotonic_us()

    def absent(self, key: str, for_us: int) -> bool:
        """Whether the file has been missing for that long; if not, it will be due."""
        now_us = self._clock.monotonic_us()
        known = self._since.get(key)
        if known is None or known[0] != 0:
            known = 0, now_us + for_us - QUIET_US
        if now_us - known[1] >= QUIET_US:
            self._since.pop(key, None)
            return True
        self._since[key] = known
        return False

    def waits(self, key: str, found: os.stat_result) -> bool:
        """Whether it is of no use to look at this file yet: it is as it was, and not due."""
        known = self._since.get(key)
        if known is None or known[0] != signature(found):
            return False
        return self._clock.monotonic_us() - known[1] < QUIET_US

    def forget(self, key: str) -> None:
        """Drop a file that needs no further look."""
        self._since.pop(key, None)

    def __iter__(self) -> Iterator[str]:
        """The files that are not quiet yet."""
        return iter(self._since)

    def due(self) -> list[str]:
        """The files whose time is up."""
        if not self._since:
            return []
        now_us = self._clock.monotonic_us()
        return [key for key, (_, since_us) in self._since.items() if now_us - since_us >= QUIET_US]

    def again_us(self) -> int | None:
        """When the next is due (monotonic); None: nothing waits."""
        return min(since_us for _, since_us in self._since.values()) + QUIET_US if self._since else None
