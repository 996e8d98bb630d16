"""Requests that are answered here, from the store: how a service is called, and how it waits for more.

Rule: a service is a generator of answers, advanced only when its reader wants the next one. It raises OSError for
what is wrong, and yields a `Pause` where there is nothing more for now; what goes wrong below becomes an OSError here.
"""

import errno
from collections.abc import Callable, Iterator
from contextlib import suppress
from time import monotonic
from typing import NamedTuple, TypeAlias

from attrs import define

from jqsched.adapters.store.schema import StoreRefused
from jqsched.client.commit_notice import Bell
from jqsched.client.reactor import Reactor
from jqsched.client.store_reader import Records
from jqsched.future import Answer, Payload
from jqsched.ports import PortError


class Pause(NamedTuple):
    """Nothing more until something is committed, or until so much time has passed."""

    timeout_s: float | None = None


PAUSE = Pause()


@define(eq=False)
class Call:
    """One request to a service."""

    payload: Payload | None
    streaming: bool
    records: Records
    until_seq: int | None = None
    """Canceled: no event after this one is wanted. It may be set between any two answers."""

    def is_wanted(self, seq: int) -> bool:
        """Whether an event was there when the call was canceled, or it was not."""
        return self.until_seq is None or seq <= self.until_seq


Service: TypeAlias = Callable[[Call], Iterator[Payload | Pause]]

_NEVER = float("inf")


class LocalChannel:
    """The answers of a service, which is asked at once: what "now" is to it is when the request was made.

    Canceled, it goes on to its next pause: what was committed before still comes, nothing later, and then ENODATA.
    """

    def __init__(self, service: Service, call: Call, bell: Bell, reactor: Reactor) -> None:
        self._answers, self._call, self._bell, self._reactor = service(call), call, bell, reactor
        self._noted = -1
        self._until = 0.0
        self._is_paused = True  # at its beginning
        self._first: Answer | None = None
        self._first = self.poll()

    def poll(self) -> Answer | None:
        """The next answer if there is one now. None is said only when all that was rung for was looked at."""
        if self._first is not None:
            first, self._first = self._first, None
            return first
        while not (self._is_paused and self._is_quiet()):
            if self._is_paused:  # before the store is read, not while it is: whatever is rung for from here on is new
                self._noted, self._is_paused = self._bell.rings, False
            answer = self._next()
            if not isinstance(answer, Pause):
                return answer
            self._rest(answer)
        return None

    def _is_quiet(self) -> bool:
        return self._bell.rings == self._noted and self._call.until_seq is None and monotonic() < self._until

    def _next(self) -> Answer | Pause:
        try:
            answer = next(self._answers)
        except StopIteration:
            return self._end()
        except OSError as error:
            return error
        except (PortError, StoreRefused) as error:
            return OSError(getattr(error, "errno_", None) or errno.EIO, str(error))
        return self._end() if isinstance(answer, Pause) and self._call.until_seq is not None else answer

    def _rest(self, pause: Pause) -> None:
        self._is_paused = True
        self._bell.listen()
        self._until = _NEVER
        if pause.timeout_s is not None:
            self._until = monotonic() + pause.timeout_s
            self._reactor.call_later(pause.timeout_s, lambda: None)

    def _end(self) -> OSError:
        self._answers = iter(())
        return OSError(errno.ENODATA, "No data available")

    def cancel(self) -> None:
        """Cancel the call: nothing committed from now on is answered."""
        if self._call.until_seq is None:
            self._call.until_seq = 0
            with suppress(PortError, StoreRefused, OSError):  # what cannot be read is said by the next answer
                self._call.until_seq = self._call.records.reader().last_seq()
