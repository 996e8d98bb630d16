"""The scheduler's handle, as a plugin gets it: requests, timers, and a way in from other threads.

Rule: all callbacks are called on the scheduler's thread, one at a time; nothing here blocks.
"""

import errno
from collections.abc import Callable, Mapping
from typing import Protocol

from jqsched.core.json import Json

Payload = Mapping[str, Json]
Callback = Callable[[], object]


class Timer:
    """Something that is to be done at a time; `cancel` forgets it."""

    def __init__(self, due_us: int, callback: Callback, repeat_us: int = 0) -> None:
        self.due_us, self.callback, self.repeat_us = due_us, callback, repeat_us
        self.is_canceled = False

    def cancel(self) -> None:
        """Do not call it any more."""
        self.is_canceled = True


class Reply:
    """The answer to a request that will come. Only `then` waits for it: the scheduler's thread cannot."""

    def __init__(self) -> None:
        self._answer: Payload | OSError | None = None
        self._callback: Callable[[Reply], object] | None = None

    def answered(self, answer: Payload | OSError) -> None:
        """Give the answer. Called by the scheduler."""
        self._answer = answer
        if self._callback is not None:
            self._callback(self)

    def is_ready(self) -> bool:
        """Whether `get` has an answer."""
        return self._answer is not None

    def then(self, callback: Callable[["Reply"], object]) -> None:
        """Have this called with the reply when it is ready; at once when it is."""
        self._callback = callback
        if self._answer is not None:
            callback(self)

    def get(self) -> Payload:
        """The payload. Raises OSError: what was answered, or EDEADLK when there is no answer yet."""
        if self._answer is None:
            raise OSError(errno.EDEADLK, "the scheduler cannot wait for itself: use then()")
        if isinstance(self._answer, OSError):
            raise self._answer
        return self._answer


class Loop(Protocol):
    """What a handle needs of the scheduler."""

    def request(self, topic: str, payload: Payload, reply: Callable[[Payload | OSError], None]) -> None:
        """Do what is asked; the reply is called when it is durable."""

    def call_at(self, timer: Timer) -> None:
        """Have a timer fire."""

    def call_soon(self, callback: Callback) -> None:
        """Have this called on the scheduler's thread. From any thread."""

    def now_us(self) -> int:
        """Monotonic time."""

    def log(self, text: str) -> None:
        """Log a line."""


class Handle:
    """The way into the scheduler for one plugin, the same as long as it is loaded."""

    def __init__(self, loop: Loop, name: str) -> None:
        self._loop, self._name = loop, name

    def rpc(self, topic: str, payload: Payload | None = None) -> Reply:
        """Ask for anything that users can ask for: `job-manager.urgency` and so on."""
        reply = Reply()
        self._loop.request(topic, payload or {}, reply.answered)
        return reply

    def call_later(self, delay_s: float, callback: Callback, repeat_s: float = 0.0) -> Timer:
        """Have this called after so many seconds, and then again every `repeat_s` if that is not 0."""
        timer = Timer(self._loop.now_us() + round(delay_s * 1_000_000), callback, round(repeat_s * 1_000_000))
        self._loop.call_at(timer)
        return timer

    def call_soon_threadsafe(self, callback: Callback) -> None:
        """Have this called on the scheduler's thread: the one thing that may be called from another."""
        self._loop.call_soon(callback)

    def log(self, text: str) -> None:
        """Log a line, under the plugin's name."""
        self._loop.log(f"{self._name}: {text}")
