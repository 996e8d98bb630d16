"""The scheduler's handle, as a plugin gets it: requests, timers, and a way in from other threads.

Rule: all callbacks are called on the scheduler's thread, one at a time; nothing here blocks. What the plugin hands
over is checked and copied (`boundary`), and nothing that it gets is used by the scheduler afterwards.
"""

import errno
from collections.abc import Callable, Mapping
from typing import Protocol

from jqsched.core.json import Json
from jqsched.jobtap import boundary

Payload = Mapping[str, Json]
Callback = Callable[[], object]

DELAY_MAX_S = 1_000_000_000.0  # thirty years
REPEAT_MIN_S = 0.001  # more often, and the scheduler would do nothing else


class Timer:
    """A call at a later time; `cancel` calls it off."""

    def __init__(self) -> None:
        self.is_canceled = False

    def cancel(self) -> None:
        """Do not make the call."""
        self.is_canceled = True


class Reply:
    """The answer to a request that will come. Only `then` waits for it: the scheduler's thread cannot."""

    def __init__(self) -> None:
        self._answer: Payload | OSError | None = None
        self._callback: Callable[[Reply], object] | None = None

    def answered(self, answer: Payload | OSError) -> None:
        """Give the answer. Called by the scheduler."""
        self._answer = answer if isinstance(answer, OSError) else boundary.given_object(answer)
        if self._callback is not None:
            self._callback(self)

    def is_ready(self) -> bool:
        """Whether `get` has an answer."""
        return self._answer is not None

    def then(self, callback: Callable[["Reply"], object]) -> None:
        """Have this called with the reply when it is ready; at once when it is. Raises: EINVAL."""
        boundary.function(callback, "callback")
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

    def call_at(self, due_us: int, callback: Callback, repeat_us: int, timer: Timer) -> None:
        """Have this called at a time, and then again and again if `repeat_us` is not 0, until the timer is canceled."""

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
        """Ask for anything that users can ask for: `job-manager.urgency` and so on. Raises: EINVAL."""
        reply = Reply()
        asked = boundary.json_object(payload, "payload", boundary.ANSWER_SIZE_MAX)
        self._loop.request(boundary.line(topic, "topic"), asked, reply.answered)
        return reply

    def call_later(self, delay_s: float, callback: Callback, repeat_s: float = 0.0) -> Timer:
        """Have this called after so many seconds, and then again every `repeat_s` if that is not 0. Raises: EINVAL."""
        delay_s = boundary.seconds(delay_s, "delay_s", DELAY_MAX_S)
        repeat_s = boundary.seconds(repeat_s, "repeat_s", DELAY_MAX_S)
        boundary.function(callback, "callback")
        timer, repeat_us = Timer(), round(max(repeat_s, REPEAT_MIN_S) * 1_000_000) if repeat_s else 0
        self._loop.call_at(self._loop.now_us() + round(delay_s * 1_000_000), callback, repeat_us, timer)
        return timer

    def call_soon_threadsafe(self, callback: Callback) -> None:
        """Have this called on the scheduler's thread: all that other threads may call.

        Raises: EINVAL.
        """
        boundary.function(callback, "callback")
        self._loop.call_soon(callback)

    def log(self, text: str) -> None:
        """Log a line, under the plugin's name. Raises: EINVAL."""
        line = boundary.one_line(boundary.text(text, "text", boundary.EVENT_SIZE_MAX))
        self._loop.log(f"{self._name}: {line}")
