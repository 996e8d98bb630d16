"""Requests that are answered here, from the store: how a service is called, and how it waits for more.

Rule: a service is a generator of answers that is asked for the next one when somebody wants it. It raises OSError for
what is wrong, and yields a `Pause` where there is nothing more for now; what goes wrong below becomes an OSError here.
"""

import errno
from collections.abc import Callable, Iterator
from time import monotonic
from typing import NamedTuple, TypeAlias

from attrs import define

from jqsched.adapters.store.schema import StoreRefused
from jqsched.client.bell import Bell
from jqsched.client.reactor import Reactor
from jqsched.client.records import Records
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


Service: TypeAlias = Callable[[Call], Iterator[Payload | Pause]]

_NEVER = float("inf")


class LocalChannel:
    """The answers of a service.

    Canceled, it goes on to its next pause: what was committed by then still comes, and then ENODATA.
    """

    def __init__(self, answers: Iterator[Payload | Pause], bell: Bell, reactor: Reactor) -> None:
        self._answers, self._bell, self._reactor = answers, bell, reactor
        self._heard: int | None = None
        self._until = _NEVER
        self._canceled = False

    def poll(self) -> Answer | None:
        """The next answer if there is one now."""
        if self._heard is not None and self._is_paused():
            return None
        rings = self._bell.rings  # before the store is read: who rings after is heard
        try:
            answer = next(self._answers)
        except StopIteration:
            return self._end()
        except OSError as error:
            return error
        except (PortError, StoreRefused) as error:
            return OSError(getattr(error, "errno_", None) or errno.EIO, str(error))
        if not isinstance(answer, Pause):
            self._heard = None
            return answer
        if self._canceled:
            return self._end()
        self._rest(answer, rings)
        return None

    def _is_paused(self) -> bool:
        return self._bell.rings == self._heard and not self._canceled and monotonic() < self._until

    def _rest(self, pause: Pause, rings: int) -> None:
        self._heard = rings
        self._bell.listen()
        self._until = _NEVER
        if pause.timeout_s is not None:
            self._until = monotonic() + pause.timeout_s
            self._reactor.call_later(pause.timeout_s, lambda: None)

    def _end(self) -> OSError:
        self._answers = iter(())
        return OSError(errno.ENODATA, "No data available")

    def cancel(self) -> None:
        """Ask for no more."""
        self._canceled = True
