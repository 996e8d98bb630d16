"""Futures: an answer that will come, or one after the other of a stream; waited for, called back, or awaited.

Rule: a future takes its answers from a channel, one at a time and only on demand, so nothing piles up behind a slow
reader. Source: flux_future_create(3), and the class of the same name in Flux's Python.
"""

import errno
import os
from collections.abc import AsyncIterator, Callable, Generator, Iterable
from contextlib import AbstractContextManager
from time import monotonic
from typing import Any, Protocol, Self, TypeAlias

from jqsched.core.json import Json

Payload: TypeAlias = dict[str, Json]
Answer: TypeAlias = Payload | OSError  # an error is the last one; a stream ends with ENODATA

_NEVER = float("inf")
_BREATHER = 8  # answers given to an `async for` before the loop's other tasks have their turn


class Channel(Protocol):
    """Where the answers to one request come from."""

    def poll(self) -> Answer | None:
        """Return the next answer if there is one now, without waiting."""

    def cancel(self) -> None:
        """Cancel: answers that are on their way may still arrive, then the stream ends."""


class Driver(Protocol):
    """What waits for futures and calls back: the reactor of a handle."""

    @property
    def lock(self) -> AbstractContextManager[object]:
        """Return the lock to hold while taking an answer: threads share a handle. Raises OSError EBADF in a child."""

    @property
    def is_inherited(self) -> bool:
        """Whether this process is a child of the one that made the handle."""

    def call_later(self, delay_s: float, call: Callable[[], None]) -> None:
        """Call it once after a time."""

    def watch(self, key: object, is_ready: Callable[[], bool], fire: Callable[[], None]) -> None:
        """Call `fire` whenever it is ready, until it is forgotten."""

    def forget(self, key: object) -> None:
        """Watch it no more."""

    def wait(self, is_ready: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until it is ready; False when the time (negative: any) was over before."""

    def attach(self) -> None:
        """Be turned by the asyncio loop that runs now."""


class Owner(Protocol):
    """The handle that a future belongs to."""

    @property
    def reactor(self) -> Driver:
        """What turns it."""


class Future:
    """An answer that will come; of a stream, one after the other: `reset` lets go of one and asks for the next.

    `future_handle` is a channel with its owner, or another future, whose answers this one gives in its own way.
    """

    _channel: Channel
    _owner: Owner
    _streaming: bool

    def __init__(
        self, future_handle: "Future | Channel", flux_handle: Owner | None = None, *, streaming: bool = False
    ) -> None:
        if isinstance(future_handle, Future):
            self._channel, self._owner, self._streaming = future_handle._parts()  # noqa: SLF001 - the same class's
        else:
            assert flux_handle is not None
            self._channel, self._owner, self._streaming = future_handle, flux_handle, streaming
        self._answer: Answer | None = None
        self._is_over = self._end_seen = False
        self._resets = 0
        self._call: Callable[[], object] | None = None
        self._is_called = False
        self._timeout_s, self._until = -1.0, _NEVER

    def _parts(self) -> tuple[Channel, Owner, bool]:
        return self._channel, self._owner, self._streaming

    # -- waiting

    def is_ready(self) -> bool:
        """Whether `get` would answer at once."""
        return self._look() or self._owner.reactor.wait(self._look, 0.0)

    def wait_for(self, timeout: float = -1.0) -> Self:
        """Wait until it is ready, at most so many seconds (negative: for ever). Raises TimeoutError."""
        if self._answer is None and not self._look() and not self._owner.reactor.wait(self._look, timeout):
            raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        return self

    def get(self) -> Any:
        """Wait for the answer, and give it; the same one until `reset`. Raises OSError with what was answered."""
        if self._answer is None:
            self.wait_for()
        self._end_seen = self._is_over
        if isinstance(self._answer, OSError):
            raise self._answer.with_traceback(None)
        return self._answer

    def reset(self) -> None:
        """Let go of this answer and ask for the next. The last one stays: there is none after it."""
        if not self._is_over:
            self._answer = None
            self._resets += 1
            self._wind_up()

    def _look(self) -> bool:
        """Take the next answer from the channel, if there is one."""
        if self._answer is None:
            with self._owner.reactor.lock:
                if self._answer is None:
                    self._answer = self._channel.poll()
            if self._answer is None:
                return self._is_late()
            self._is_over = not self._streaming or isinstance(self._answer, OSError)
        return True

    def _is_late(self) -> bool:
        """Whether the time of `then` is over: that is the answer, but not the last one."""
        if monotonic() < self._until:
            return False
        self._until = _NEVER
        self._answer = TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        return True

    def error_string(self) -> str | None:
        """Return the text of the error; None when there was none, or the future is not ready."""
        return self._answer.strerror if self.is_ready() and isinstance(self._answer, OSError) else None

    # -- being called

    def then(self, callback: Callable[..., object], *args: object, timeout: float = -1.0, **kwargs: object) -> Self:
        """Have `callback(future, *args, **kwargs)` called by the reactor when it is ready.

        A callback that resets the future is called again with the next answer. Where no answer comes within `timeout`
        seconds (negative: any), it is called too, and `get` raises TimeoutError; with `reset` one waits as long again.
        Raises: ValueError for a callback that is None; OSError EEXIST where one waits already.
        """
        if callback is None:
            raise ValueError("Callback cannot be None")
        if self._call is not None and not self._is_called:
            raise OSError(errno.EEXIST, "then callback already exists for this future")
        self._call = lambda: callback(self, *args, **kwargs)
        self._timeout_s = timeout
        self._wind_up()
        self._owner.reactor.watch(self, self._look, self._fire)
        return self

    def _wind_up(self) -> None:
        """Start the timer of the callback's timeout."""
        self._until = _NEVER
        if self._timeout_s >= 0 and self._call is not None:
            self._until = monotonic() + self._timeout_s
            self._owner.reactor.call_later(self._timeout_s, lambda: None)

    def _fire(self) -> None:
        call, resets = self._call, self._resets
        assert call is not None
        self._is_called = True  # it may be given another one now
        try:
            call()
        finally:
            self._is_called = False
            wants_more = self._resets != resets and not self._end_seen
            if self._call is call and not wants_more:
                self._call = None
                self._owner.reactor.forget(self)

    def cancel(self, stop: bool = False) -> None:
        """End a stream: what has happened so far still comes, then ENODATA; with `stop`, no callback any more."""
        if self._owner.reactor.is_inherited:
            return
        with self._owner.reactor.lock:
            self._channel.cancel()
        if stop:
            self._call = None
            self._owner.reactor.forget(self)

    def get_flux(self) -> Any:
        """Return the handle of this future."""
        return self._owner

    def get_reactor(self) -> Driver:
        """Return the reactor that runs the callbacks."""
        return self._owner.reactor

    # -- asyncio

    async def ready(self) -> Self:
        """Wait in asyncio until it is ready."""
        if not self._look():
            await _in_loop(self, self._owner.reactor)
        return self

    def __await__(self) -> Generator[Any, None, Any]:
        yield from self.ready().__await__()
        return self._awaited()

    def _awaited(self) -> Any:
        """What `await` gives, once it is ready."""
        return self.get()

    async def __aiter__(self) -> AsyncIterator[Any]:
        """Each answer of a stream until its end; canceled when it is left before."""
        from asyncio import sleep  # noqa: PLC0415 - loaded only where asyncio is used

        given = 0
        try:
            while (answer := await self._next()) is not None:
                yield answer
                given += 1
                if given % _BREATHER == 0:
                    await sleep(0)
        finally:
            if not self._is_over:
                self.cancel(stop=True)

    async def _next(self) -> Any:
        """The next answer of a stream, None at its end."""
        await self.ready()
        try:
            answer = self.get()
        except OSError as error:
            if error.errno != errno.ENODATA:
                raise
            return None
        self.reset()
        return answer


async def _in_loop(future: Future, reactor: Driver) -> None:
    from asyncio import get_running_loop  # noqa: PLC0415 - as above

    waiter = get_running_loop().create_future()

    def wake() -> None:
        reactor.forget(waiter)
        if not waiter.done():
            waiter.set_result(None)

    reactor.attach()
    reactor.watch(waiter, future._look, wake)  # noqa: SLF001 - the same class's
    try:
        await waiter
    finally:
        reactor.forget(waiter)


class WaitAllFuture(Future):
    """A future that is ready when all its children are; its own answer is empty."""

    def __init__(self, children: Iterable[Future] | None = None) -> None:
        self.children: list[Future] = []
        self._named: dict[str, Future] = {}
        self._answer, self._streaming, self._resets = None, False, 0
        self._is_over = self._end_seen = False
        self._channel, self._call = _Children(self.children), None
        self._is_called = False
        self._timeout_s, self._until = -1.0, _NEVER
        for child in children or ():
            self.push(child)

    def push(self, child: Future, name: str | None = None) -> None:
        """Wait for one more. All belong to one handle."""
        self.children.append(child)
        self._named[name if name is not None else str(len(self.children) - 1)] = child
        self._owner = child.get_flux()

    def get_child(self, name: str) -> Future:
        """A child by its name, else by its number. Raises KeyError."""
        return self._named[name]

    def is_ready(self) -> bool:
        """Whether all are ready."""
        return all(child.is_ready() for child in self.children)

    def wait_for(self, timeout: float = -1.0) -> Self:
        """Wait for all. Raises TimeoutError."""
        return super().wait_for(timeout) if self.children else self


class _Children:
    """The channel of a future that waits for others."""

    def __init__(self, children: list[Future]) -> None:
        self._children = children

    def poll(self) -> Answer | None:
        """An empty answer when all are ready."""
        ready = [child._look() for child in self._children]  # noqa: SLF001 - the same class's
        return {} if all(ready) else None

    def cancel(self) -> None:
        """Cancel them all."""
        for child in self._children:
            child.cancel()
