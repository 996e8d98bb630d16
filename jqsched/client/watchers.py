"""What a handle's reactor can wait for beside futures: times, signals, descriptors.

Rule: a watcher that was started keeps `reactor_run` going until it is stopped. It calls
`callback(handle, watcher, revents, args)`, as Flux's do. Source: Flux's `flux.core.watchers`.
"""

import signal
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Protocol, Self

from jqsched.client.reactor import Reactor

FLUX_POLLIN, FLUX_POLLOUT = 1, 2  # the reactor's EVENT_READ and EVENT_WRITE


class _Owner(Protocol):
    @property
    def reactor(self) -> Reactor: ...


class Watcher:
    """What watchers share. One may be started again after it was stopped; `with` starts and stops it."""

    def __init__(self, handle: _Owner, callback: Callable[..., object], args: object) -> None:
        self.flux_handle, self.callback, self.args = handle, callback, args
        self._reactor = handle.reactor
        self._is_active = False

    def start(self) -> Self:
        """Begin to watch."""
        if not self._is_active:
            self._begin()
            self._is_active = True
            self._reactor.watch(self, self._is_ready, self._fire)
        return self

    def stop(self) -> Self:
        """Stop watching."""
        if self._is_active:
            self._is_active = False
            self._reactor.forget(self)
            self._end()
        return self

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def _begin(self) -> None:
        raise NotImplementedError

    def _end(self) -> None:
        """Undo `_begin`."""

    def _is_ready(self) -> bool:
        raise NotImplementedError

    def _fire(self) -> None:
        raise NotImplementedError

    def _tell(self, revents: int) -> None:
        self.callback(self.flux_handle, self, revents, self.args)


class TimerWatcher(Watcher):
    """Calls once after a time, and then each `repeat` seconds if that is not 0. A missed time is not made up for."""

    def __init__(
        self, handle: _Owner, after: float, callback: Callable[..., object], repeat: float = 0.0, args: object = None
    ) -> None:
        super().__init__(handle, callback, args)
        if after < 0 or repeat < 0:
            raise ValueError("a timer's times must not be negative")
        self.after, self.repeat = after, repeat
        self._due_s = 0.0

    def _begin(self) -> None:
        self._wind_up(self.after)

    def _wind_up(self, delay_s: float) -> None:
        self._due_s = time.monotonic() + delay_s
        self._reactor.call_later(delay_s, lambda: None)

    def _is_ready(self) -> bool:
        return time.monotonic() >= self._due_s

    def _fire(self) -> None:
        if self.repeat:
            self._wind_up(self.repeat)
        else:
            self.stop()
        self._tell(0)


class SignalWatcher(Watcher):
    """Calls when the process gets a signal. Only the main thread may start and stop it (ValueError)."""

    def __init__(self, handle: _Owner, signum: int, callback: Callable[..., object], args: object = None) -> None:
        super().__init__(handle, callback, args)
        self.signum = signum
        self._count = 0
        self._before: Any = signal.SIG_DFL

    def _begin(self) -> None:
        self._count = 0
        self._before = signal.signal(self.signum, self._caught)

    def _end(self) -> None:
        signal.signal(self.signum, self._before if self._before is not None else signal.SIG_DFL)

    def _caught(self, _: int, __: FrameType | None) -> None:
        self._count += 1
        self._reactor.wake()

    def _is_ready(self) -> bool:
        return self._count > 0

    def _fire(self) -> None:
        self._count = 0
        self._tell(0)


class FDWatcher(Watcher):
    """Calls while a descriptor can be read (`events` FLUX_POLLIN) or written (FLUX_POLLOUT).

    Raises at `start`: PermissionError for one that cannot be waited for, as a file; FileExistsError for one that is
    watched already.
    """

    def __init__(
        self, handle: _Owner, fd_int: int, events: int, callback: Callable[..., object], args: object = None
    ) -> None:
        super().__init__(handle, callback, args)
        self.fd, self.events = fd_int, events
        self._mask = 0

    def _begin(self) -> None:
        self._mask = 0
        if self._reactor.is_registered(self.fd):
            raise FileExistsError(f"descriptor {self.fd} is watched already")
        self._reactor.register(self.fd, self.events, self._heard)

    def _end(self) -> None:
        if not self._mask:
            self._reactor.unregister(self.fd)

    def _heard(self, mask: int) -> None:
        """Note the event and pause watching until the callback ran: a descriptor stays ready, and would end waits."""
        self._mask = mask
        self._reactor.unregister(self.fd)

    def _is_ready(self) -> bool:
        return self._mask != 0

    def _fire(self) -> None:
        mask, self._mask = self._mask, 0
        self._reactor.register(self.fd, self.events, self._heard)
        self._tell(mask)
