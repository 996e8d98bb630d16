"""`jqsched wait-event`: until an event stands in a log of a job, or never will.

Rule: what has happened counts, and an exception is an event like any other. Whether a scheduler runs, or is restarted
meanwhile, makes no difference. Source: flux-job(1), `wait-event`.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator

from attrs import frozen

from jqsched.cli import formats
from jqsched.cli.failure import NO_JOB, NOT_NOW, OK, USAGE, WAIT_TIMEOUT, Failure
from jqsched.cli.target import Place
from jqsched.client.handle import Handle
from jqsched.client.services.eventlog import EXEC, MAIN, OUTPUT
from jqsched.core.event import Event
from jqsched.core.jobspec.values import show
from jqsched.job.event import EventLogEvent, event_watch_async

PATHS = {MAIN: MAIN, EXEC: EXEC, "exec": EXEC, OUTPUT: OUTPUT, "output": OUTPUT}  # as they may be called

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@frozen(str=False)
class Wanted:
    """What is waited for: the `count`th event of a name, of those whose context has `value` under `key` ("": any)."""

    name: str
    key: str
    value: str
    count: int

    def __str__(self) -> str:
        return f"'{self.name} {self.key}={self.value}'" if self.key else f"{self.name!r}"

    def is_met_by(self, event: EventLogEvent) -> bool:
        """Whether an event is one of those. A value counts as it is written in JSON, a string without quotes, too."""
        if event.name != self.name:
            return False
        if not self.key:
            return True
        value = event.context.get(self.key)
        return self.key in event.context and self.value in (value, _encode(value))


@frozen
class Shown:
    """What is printed: the events before it, and itself."""

    before: bool
    itself: bool
    as_json: bool


def wanted(name: str, match: str | None, count: int) -> Wanted:
    """Read what is waited for."""
    key, equals, value = (match or "").partition("=")
    if match is not None and (not key or not equals):
        raise Failure(f"--match-context {show(match)}: must be KEY=VAL", USAGE)
    return Wanted(name, key, value, count)


def wait_event(where: Place, id_: int, awaited: Wanted, shown: Shown, *, path: str, timeout_us: int | None) -> int:
    """Wait for an event, and print it."""
    if path not in PATHS:
        raise Failure(f"--path {show(path)}: there are {', '.join(PATHS)}", USAGE)
    write = _as_json if shown.as_json else _for_people
    came = 0
    for event in _events(where, id_, PATHS[path], _clock(timeout_us)):
        came += awaited.is_met_by(event)
        if shown.itself if came == awaited.count else shown.before:
            sys.stdout.write(write(event))
            sys.stdout.flush()
        if came == awaited.count:
            return OK
    raise Failure(f"job {id_}: its log ended: {awaited} came {came} times of {awaited.count}", NOT_NOW)


def _clock(timeout_us: int | None) -> Callable[[], float]:
    """How many seconds are left; negative when there is no end to it."""
    if timeout_us is None:
        return lambda: -1.0
    until_s = time.monotonic() + timeout_us / 1_000_000
    return lambda: max(0.0, until_s - time.monotonic())


def _events(where: Place, id_: int, path: str, left_s: Callable[[], float]) -> Iterator[EventLogEvent]:
    """The events of a log, until it ends or the time is over."""
    with Handle(where.root, store=where.store) as handle:
        watch = event_watch_async(handle, id_, path)
        try:
            while (event := watch.wait_for(left_s()).get_event()) is not None:
                yield event
        except TimeoutError:
            raise Failure(f"job {id_}: no such event within the time", WAIT_TIMEOUT) from None
        except FileNotFoundError:
            raise Failure(f"job {id_}: unknown (never given out, or purged)", NO_JOB) from None


def _for_people(event: EventLogEvent) -> str:
    t_us = round(event.timestamp * 1_000_000)
    return f"{formats.clock(t_us)}  {formats.happening(Event(0, t_us, event.name, event.context))}\n"


def _as_json(event: EventLogEvent) -> str:
    """An entry as RFC 18 writes it: without a context that says nothing."""
    return _encode({key: value for key, value in event.items() if value or key != "context"}) + "\n"
