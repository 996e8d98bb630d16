"""The reactor of a handle: it waits on descriptors and times, asks who is ready, and calls back.

Several threads may wait at once. One of them selects, for all; the others wait until it has seen to something, and
look again. What is shared is changed under `lock`, which nobody holds who sleeps or runs a callback. Only one thread
may `run`; `stop`, `interrupt` and `wake` may be called from a signal handler, too.

Rule: it knows nothing of requests. In asyncio the loop turns it: its epoll descriptor is itself one that the loop waits
on, so no thread is needed. In a child of the process that made it, it is inert: the two share the epoll instance, so
whatever the child changed there, the parent would lose.
"""

import errno
import heapq
import os
import selectors
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import asyncio

_SELECT_MAX_S = 86_400.0  # epoll takes 24.8 days; who waits longer waits again

Ready = Callable[[], bool]
Call = Callable[[], None]


class _Watcher(NamedTuple):
    is_ready: Ready
    fire: Call


class Reactor:
    """Descriptors, times, and watchers: those keep `run` going."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._seen = threading.Condition(self._lock)
        self._selecting = False
        self._turns = 0  # how often something was seen to, by whichever thread
        self._runner: int | None = None
        self._selector = selectors.EpollSelector()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._selector.register(self._wake, selectors.EVENT_READ, self._woken)
        self._watchers: dict[object, _Watcher] = {}
        self._times: list[tuple[float, int, Call]] = []
        self._numbers = count()
        self._stopped = self._interrupted = self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread = 0
        self._next_turn: asyncio.Handle | None = None

    def close(self) -> None:
        """Forget everything. A thread that waits is told that there is nothing to wait for: OSError EBADF."""
        if self._closed or self.is_inherited:
            return
        with self._lock:
            self._closed = True
            self._detach()
            self._watchers.clear()
            if self._selecting:
                self.wake()  # whoever selects has the descriptors in hand
            else:
                self._release()

    def _release(self) -> None:
        self._selector.close()
        os.close(self._wake)

    @property
    def is_inherited(self) -> bool:
        """Whether this process is a child of the one that made it."""
        return os.getpid() != self._pid

    @property
    def lock(self) -> AbstractContextManager[object]:
        """What to hold while one reads or changes what threads share. Raises OSError EBADF in a child."""
        if os.getpid() != self._pid:  # before the lock: another thread of the parent may have held it at the fork
            raise OSError(errno.EBADF, f"the handle belongs to process {self._pid}, which made it: open another one")
        return self._lock

    # -- what it waits for

    def register(self, fileno: int, events: int, ready: Callable[[int], None]) -> None:
        """Call `ready` with the mask when a descriptor is ready; again, with other events, to change them."""
        if self.is_inherited:
            return
        if fileno in self._selector.get_map():
            self._selector.modify(fileno, events, ready)
        else:
            self._selector.register(fileno, events, ready)

    def unregister(self, fileno: int) -> None:
        """Wait on a descriptor no more."""
        if not self._closed and not self.is_inherited:
            self._selector.unregister(fileno)

    def is_registered(self, fileno: int) -> bool:
        """Whether it waits on a descriptor."""
        return fileno in self._selector.get_map()

    def call_later(self, delay_s: float, call: Call) -> None:
        """Call it once after a time. It does not keep `run` going."""
        with self.lock:
            heapq.heappush(self._times, (time.monotonic() + delay_s, next(self._numbers), call))
            self._turn_soon()

    def watch(self, key: object, is_ready: Ready, fire: Call) -> None:
        """Call `fire` whenever `is_ready` says so, until it is forgotten; a key is watched once."""
        with self.lock:
            self._watchers[key] = _Watcher(is_ready, fire)
            self._turn_soon()

    def forget(self, key: object) -> None:
        """Watch it no more."""
        self._watchers.pop(key, None)

    # -- turning

    def run(self, *, once: bool = False, nowait: bool = False) -> int:
        """Call back until nobody is watched, or it is stopped; returns how many are left.

        `once`: until somebody was called back; `nowait`: only those who are ready now.
        What a callback raises ends it, and is raised here.
        Raises: KeyboardInterrupt when interrupted; RuntimeError while another thread runs it.
        """
        outer = self._begin()
        try:
            if nowait:
                self._select_if(self._turns, 0.0)
            while True:
                turns = self._turns
                fired = self._fire()
                if nowait or (fired and once) or self._is_over():
                    break
                self._select_if(turns, 0.0 if fired else -1.0)
        finally:
            self._runner = outer
        if self._interrupted:
            raise KeyboardInterrupt
        return len(self._watchers)

    def _begin(self) -> int | None:
        with self.lock:
            outer, here = self._runner, threading.get_ident()
            if outer not in (None, here):
                raise RuntimeError("another thread runs the reactor of this handle")
            self._runner = here
            self._stopped = self._interrupted = False
        return outer

    def _select_if(self, turns: int, timeout_s: float) -> None:
        """Select, unless another thread has seen to something since `turns` was noted."""
        with self.lock:
            if turns == self._turns:
                self._select(timeout_s)

    def _is_over(self) -> bool:
        return self._stopped or not self._watchers

    def wait(self, is_ready: Ready, timeout_s: float) -> bool:
        """Wait for one thing, calling nobody back; False when the time (negative: any) was over before.

        Raises OSError EBADF when it is closed, and in a child.
        """
        until = time.monotonic() + timeout_s if timeout_s >= 0 else None
        with self.lock:
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
            if not self.is_inherited and (self._selecting or not self._closed):
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
        """Wait for descriptors and times, at most so long (negative: for ever), and see to them. `lock` is held.

        Where another thread selects, wait until it has seen to something.
        """
        self._refuse_closed()
        if self._selecting:
            self._seen.wait(None if timeout_s < 0 else timeout_s)
            self._refuse_closed()
            return
        if self._times:
            due_s = max(0.0, self._times[0][0] - time.monotonic())
            timeout_s = due_s if timeout_s < 0 else min(timeout_s, due_s)
        for key, mask in self._selected(None if timeout_s < 0 else min(timeout_s, _SELECT_MAX_S)):
            key.data(mask)
        while self._times and self._times[0][0] <= time.monotonic():
            heapq.heappop(self._times)[2]()
        if self._loop is not None and threading.get_ident() != self._loop_thread:
            self._turn_soon()

    def _selected(self, timeout_s: float | None) -> list[tuple[selectors.SelectorKey, int]]:
        """Select without the lock; what is called next is called with it."""
        self._selecting = True
        self._lock.release()
        try:
            ready = self._selector.select(timeout_s)
        finally:
            self._lock.acquire()
            self._selecting = False
            self._turns += 1
            self._seen.notify_all()
        if self._closed:
            self._release()
        self._refuse_closed()
        return ready

    def _refuse_closed(self) -> None:
        if self._closed:
            raise OSError(errno.EBADF, "the handle is closed")

    # -- asyncio

    def attach(self) -> None:
        """Be turned by the asyncio loop that runs now."""
        import asyncio  # noqa: PLC0415 - who does not use it need not load it

        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._detach()
            self._loop, self._loop_thread = loop, threading.get_ident()
            loop.add_reader(self._selector.fileno(), self._turn)

    def _detach(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._selector.fileno())
        if self._next_turn is not None:
            self._next_turn.cancel()
        self._loop = self._next_turn = None

    def _turn_soon(self) -> None:
        """Look again at who is ready: another thread that waits, and the loop."""
        if self._selecting:
            self.wake()
        if self._loop is not None and not self._loop.is_closed():
            if threading.get_ident() == self._loop_thread:
                self._turn_at(0.0)
            else:
                self._loop.call_soon_threadsafe(self._turn)

    def _turn_at(self, delay_s: float) -> None:
        assert self._loop is not None
        if self._next_turn is not None:
            self._next_turn.cancel()
        self._next_turn = self._loop.call_later(delay_s, self._turn) if delay_s else self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """One turn in the loop; what a callback raises goes to the loop's exception handler."""
        if self._closed or self.is_inherited:
            return
        fired = True  # who raised has fired
        try:
            with self.lock:
                self._select(0.0)
            fired = self._fire()
        finally:
            if fired and self._watchers:
                self._turn_at(0.0)
            elif self._times and not self._closed:
                self._turn_at(max(0.001, self._times[0][0] - time.monotonic()))
