"""The reactor of a handle: it waits on descriptors and times, asks who is ready, and calls back.

Rule: one thread; nothing is called from elsewhere but `stop`, `interrupt` and `wake`, which a signal handler or another
thread may call. It knows nothing of requests. In asyncio the loop turns it: its epoll descriptor is itself one that
the loop waits on, so no thread is needed there either.
"""

import heapq
import os
import selectors
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import asyncio

Ready = Callable[[], bool]
Call = Callable[[], None]


class _Watcher(NamedTuple):
    is_ready: Ready
    fire: Call


class Reactor:
    """Descriptors, times, and watchers: those keep `run` going."""

    def __init__(self) -> None:
        self._selector = selectors.EpollSelector()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._selector.register(self._wake, selectors.EVENT_READ, self._woken)
        self._watchers: dict[object, _Watcher] = {}
        self._times: list[tuple[float, int, Call]] = []
        self._numbers = count()
        self._stopped = self._interrupted = self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._next_turn: asyncio.Handle | None = None

    def close(self) -> None:
        """Forget everything."""
        if self._closed:
            return
        self._closed = True
        self._detach()
        self._watchers.clear()
        self._selector.close()
        os.close(self._wake)

    # -- what it waits for

    def register(self, fileno: int, events: int, ready: Callable[[int], None]) -> None:
        """Call `ready` with the mask when a descriptor is ready; again, with other events, to change them."""
        if fileno in self._selector.get_map():
            self._selector.modify(fileno, events, ready)
        else:
            self._selector.register(fileno, events, ready)

    def unregister(self, fileno: int) -> None:
        """Wait on a descriptor no more."""
        if not self._closed:
            self._selector.unregister(fileno)

    def call_later(self, delay_s: float, call: Call) -> None:
        """Call it once after a time. It does not keep `run` going."""
        heapq.heappush(self._times, (time.monotonic() + delay_s, next(self._numbers), call))
        self._turn_soon()

    def watch(self, key: object, is_ready: Ready, fire: Call) -> None:
        """Call `fire` whenever `is_ready` says so, until it is forgotten; a key is watched once."""
        self._watchers[key] = _Watcher(is_ready, fire)
        self._turn_soon()

    def forget(self, key: object) -> None:
        """Watch it no more."""
        self._watchers.pop(key, None)

    # -- turning

    def run(self, *, once: bool = False, nowait: bool = False) -> int:
        """Call back until nobody is watched, or it is stopped; returns how many are left.

        `once`: until somebody was called back; `nowait`: only those who are ready now.
        What a callback raises ends it, and is raised here. Raises KeyboardInterrupt when interrupted.
        """
        self._stopped = self._interrupted = False
        if nowait:
            self._select(0.0)
        while True:
            fired = self._fire()
            if nowait or (fired and once) or self._is_over():
                break
            self._select(0.0 if fired else -1.0)
        if self._interrupted:
            raise KeyboardInterrupt
        return len(self._watchers)

    def _is_over(self) -> bool:
        return self._stopped or not self._watchers

    def wait(self, is_ready: Ready, timeout_s: float) -> bool:
        """Wait for one thing, calling nobody back; False when the time (negative: any) was over before."""
        until = time.monotonic() + timeout_s if timeout_s >= 0 else None
        try:
            while not is_ready():
                left_s = -1.0 if until is None else max(0.0, until - time.monotonic())
                self._select(left_s)
                if left_s == 0.0:
                    return is_ready()
            return True
        finally:
            if self._watchers:
                self._turn_soon()  # what was read here may be what others wait for

    def stop(self) -> None:
        """Let `run` return. From a callback, a signal handler or another thread."""
        self._stopped = True
        self.wake()

    def interrupt(self) -> None:
        """Let `run` raise KeyboardInterrupt. From a callback, a signal handler or another thread."""
        self._interrupted = True
        self.stop()

    def wake(self) -> None:
        """Let it look around again."""
        with suppress(BlockingIOError):
            os.eventfd_write(self._wake, 1)

    def _woken(self, _: int) -> None:
        with suppress(BlockingIOError):
            os.eventfd_read(self._wake)

    def _fire(self) -> bool:
        """Call back those who are ready, each once."""
        fired = False
        for key in list(self._watchers):
            watcher = self._watchers.get(key)
            if watcher is not None and watcher.is_ready():
                fired = True
                watcher.fire()
                if self._stopped:
                    break
        return fired

    def _select(self, timeout_s: float) -> None:
        """Wait for descriptors and times, at most so long (negative: for ever), and see to them."""
        if self._times:
            due_s = max(0.0, self._times[0][0] - time.monotonic())
            timeout_s = due_s if timeout_s < 0 else min(timeout_s, due_s)
        for key, mask in self._selector.select(None if timeout_s < 0 else timeout_s):
            key.data(mask)
        while self._times and self._times[0][0] <= time.monotonic():
            heapq.heappop(self._times)[2]()

    # -- asyncio

    def attach(self) -> None:
        """Be turned by the asyncio loop that runs now."""
        import asyncio  # noqa: PLC0415 - who does not use it need not load it

        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._detach()
            self._loop = loop
            loop.add_reader(self._selector.fileno(), self._turn)

    def _detach(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._selector.fileno())
        if self._next_turn is not None:
            self._next_turn.cancel()
        self._loop = self._next_turn = None

    def _turn_soon(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._turn_at(0.0)

    def _turn_at(self, delay_s: float) -> None:
        assert self._loop is not None
        if self._next_turn is not None:
            self._next_turn.cancel()
        self._next_turn = self._loop.call_later(delay_s, self._turn) if delay_s else self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """One turn in the loop; what a callback raises goes to the loop's exception handler."""
        if self._closed:
            return
        fired = True  # who raised has fired
        try:
            self._select(0.0)
            fired = self._fire()
        finally:
            if fired and self._watchers:
                self._turn_at(0.0)
            elif self._times and not self._closed:
                self._turn_at(max(0.001, self._times[0][0] - time.monotonic()))
