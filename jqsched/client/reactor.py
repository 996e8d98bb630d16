"""The reactor of a handle: waits on descriptors and timers, and runs the callbacks of the watchers that are ready.

Several threads may wait at once. One of them selects for all; the others wait until it has handled something, and
check again. Shared state is changed under `lock`, which no thread holds while it sleeps or runs a callback. Only one
thread may `run`; `stop`, `interrupt` and `wake` may be called from a signal handler, too.

Rule: it knows nothing of requests. In asyncio the loop drives it and waits on its epoll descriptor, so no thread is
needed. In a child of the process that made it, it is inert: the two share the epoll instance, so
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

_SELECT_MAX_S = 86_400.0  # epoll's limit is 24.8 days; a longer wait is repeated

Ready = Callable[[], bool]
Call = Callable[[], None]


class _Watcher(NamedTuple):
    is_ready: Ready
    fire: Call


class Reactor:
    """Descriptors, timers and watchers; `run` returns when no watcher is left."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._seen = threading.Condition(self._lock)
        self._selecting = False
        self._turns = 0  # how often any thread has handled something
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
        """Close the reactor. A thread that waits gets OSError EBADF."""
        if self._closed or self.is_inherited:
            return
        with self._lock:
            self._closed = True
            self._detach()
            self._watchers.clear()
            if self._selecting:
                self.wake()  # the selecting thread still has the old descriptors
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
        """Return the lock to hold while reading or changing shared state. Raises OSError EBADF in a child."""
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
        """Stop waiting on a descriptor."""
        if not self._closed and not self.is_inherited:
            self._selector.unregister(fileno)

    def is_registered(self, fileno: int) -> bool:
        """Return whether the reactor waits on a descriptor."""
        return fileno in self._selector.get_map()

    def call_later(self, delay_s: float, call: Call) -> None:
        """Run `call` once after a delay. A pending call does not keep `run` from returning."""
        with self.lock:
            heapq.heappush(self._times, (time.monotonic() + delay_s, next(self._numbers), call))
            self._turn_soon()

    def watch(self, key: object, is_ready: Ready, fire: Call) -> None:
        """Call `fire` whenever `is_ready` is true, until `forget`; a key is watched once."""
        with self.lock:
            self._watchers[key] = _Watcher(is_ready, fire)
            self._turn_soon()

    def forget(self, key: object) -> None:
        """Stop watching a key."""
        self._watchers.pop(key, None)

    # -- turning

    def run(self, *, once: bool = False, nowait: bool = False) -> int:
        """Run callbacks until no watcher is left or `stop` is called; return how many watchers are left.

        `once`: return after a callback ran; `nowait`: run only the callbacks that are ready now.
        An exception of a callback ends the run and is raised here.
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
        """Select, unless another thread has handled something since `turns` was read."""
        with self.lock:
            if turns == self._turns:
                self._select(timeout_s)

    def _is_over(self) -> bool:
        return self._stopped or not self._watchers

    def wait(self, is_ready: Ready, timeout_s: float) -> bool:
        """Wait for one condition without running callbacks; return False after the timeout (negative: none).

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
                    self._turn_soon()  # other threads may wait for what was read here

    def stop(self) -> None:
        """Make `run` return. Callable from a callback, a signal handler or another thread."""
        self._stopped = True
        self.wake()

    def interrupt(self) -> None:
        """Make `run` raise KeyboardInterrupt. Callable from a callback, a signal handler or another thread."""
        self._interrupted = True
        self.stop()

    def wake(self) -> None:
        """Make the selecting thread check its watchers again."""
        with suppress(BlockingIOError):
            if not self.is_inherited and (self._selecting or not self._closed):
                os.eventfd_write(self._wake, 1)

    def _woken(self, _: int) -> None:
        with suppress(BlockingIOError):
            os.eventfd_read(self._wake)

    def _fire(self) -> bool:
        """Run the callback of each watcher that is ready, once."""
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
        """Wait for descriptors and timers, up to a timeout (negative: none), and handle them. The caller holds `lock`.

        If another thread is selecting, wait until it has handled something.
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
        """Let the running asyncio loop drive this reactor."""
        import asyncio  # noqa: PLC0415 - loaded only where asyncio is used

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
        """Make waiting threads and the asyncio loop check again which watchers are ready."""
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
        """Handle what is ready, called by the asyncio loop; its exception handler gets what a callback raises."""
        if self._closed or self.is_inherited:
            return
        fired = True  # a callback that raised has run
        try:
            with self.lock:
                self._select(0.0)
            fired = self._fire()
        finally:
            if fired and self._watchers:
                self._turn_at(0.0)
            elif self._times and not self._closed:
                self._turn_at(max(0.001, self._times[0][0] - time.monotonic()))
