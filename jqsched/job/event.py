"""The events of one job: wait for one, or watch them come, in a loop or by callback.

Rule: entries of every log have the form of RFC 18. The end of a log is None; a failure is OSError.
Source: Flux's module of the same name; RFC 18.
"""

import errno
import json
from collections.abc import Iterator, Mapping
from typing import Any

from jqsched.constants import FLUX_RPC_STREAMING, MAIN_EVENTS
from jqsched.core.json import Json
from jqsched.future import Future
from jqsched.job.jobid import id_number
from jqsched.rpc import RPC, Asked

__all__ = [
    "MAIN_EVENTS", "EventLogEvent", "JobEventWatchFuture", "JobException", "event_wait", "event_watch",
    "event_watch_async",
]  # fmt: skip


class EventLogEvent(dict[str, Any]):
    """One entry of an event log, made of its JSON text or of a mapping. One without a context has an empty one.

    Raises: JSONDecodeError for text that is no JSON; KeyError where it has no name or no time, when that is asked for.
    """

    __slots__ = ()  # saves memory: there may be millions of entries

    def __init__(self, event: str | Mapping[str, Json]) -> None:
        super().__init__(json.loads(event) if isinstance(event, str) else event)
        if "context" not in self:
            self["context"] = {}

    def __str__(self) -> str:
        return f"{self.timestamp:.5f}: {self.name} {self.context}"

    @property
    def name(self) -> str:
        """The event's name. Source: RFC 21."""
        name: str = self["name"]
        return name

    @property
    def timestamp(self) -> float:
        """The event's time, in seconds since the epoch."""
        timestamp: float = self["timestamp"]
        return timestamp

    @property
    def context(self) -> dict[str, Any]:
        """The event's data."""
        context: dict[str, Any] = self["context"]
        return context

    @property
    def context_string(self) -> str:
        """The context as compact JSON with sorted keys, "" where it is empty."""
        context = self.context
        return json.dumps(context, ensure_ascii=False, separators=(",", ":"), sort_keys=True) if context else ""


class JobException(Exception):
    """The event `exception` of a job. One of severity 0 ends the job; any other does not.

    Shape: `timestamp`, `type`, `note`, `severity`.
    """

    def __init__(self, event: EventLogEvent) -> None:
        super().__init__(event)  # an exception is pickled by its arguments
        self.timestamp = event.timestamp
        self.type: str = event.context["type"]
        self.note: str = event.context["note"]
        self.severity: int = event.context["severity"]

    def __str__(self) -> str:
        return f"job.exception: type={self.type}: {self.note}"


class JobEventWatchFuture(Future):
    """The events of a log, one after the other. In asyncio: `async for event in future`."""

    def __init__(self, future_handle: Future) -> None:
        super().__init__(future_handle)

    def get(self) -> EventLogEvent:
        """Wait for the event that is there now; the same one until `reset`. Raises OSError, ENODATA at the end."""
        return EventLogEvent(super().get()["event"])

    def get_event(self, autoreset: bool = True) -> EventLogEvent | None:
        """Wait for the next event; None at the end of the log, and from then on.

        Without `autoreset` it gives the same one until `reset`.
        Raises: FileNotFoundError for an unknown job or log.
        """
        try:
            event = self.get()
        except OSError as error:
            if error.errno == errno.ENODATA:
                return None
            raise
        if autoreset:
            self.reset()
        return event


def event_watch_async(flux_handle: Asked, jobid: int | str, eventlog: str = "eventlog") -> JobEventWatchFuture:
    """Watch a log of a job: `eventlog`, `guest.exec.eventlog`, or `guest.output`. Nothing is raised before `get_event`.

    It ends with the job (`guest.exec.eventlog` with `done`), whatever becomes of the scheduler meanwhile.
    Raises: OSError EINVAL where there is no handle; ValueError or TypeError for an invalid job id.
    """
    payload: dict[str, Json] = {"id": id_number(jobid), "path": eventlog, "flags": 0}
    return JobEventWatchFuture(RPC(flux_handle, "job-info.eventlog-watch", payload, flags=FLUX_RPC_STREAMING))


def event_watch(flux_handle: Asked, jobid: int | str, eventlog: str = "eventlog") -> Iterator[EventLogEvent]:
    """Watch a log of a job, blocking: those events that are there, and those that come, until the log ends.

    Raises: as `event_watch_async`, when the first one is asked for; FileNotFoundError for an unknown job or log.
    """
    watcher = event_watch_async(flux_handle, jobid, eventlog)
    try:
        while (event := watcher.get_event()) is not None:
            yield event
    finally:
        watcher.cancel(stop=True)


def event_wait(
    flux_handle: Asked,
    jobid: int | str,
    name: str,
    eventlog: str = "eventlog",
    raiseJobException: bool = True,  # noqa: N803 - Flux's parameter
) -> EventLogEvent:
    """Wait for the first event of a name; one that has happened counts.

    Raises: JobException when a fatal exception (severity 0) stands before it, unless `raiseJobException` is false or it
    is `exception` that is waited for; OSError ENODATA when the log ends without it; FileNotFoundError.
    """
    for event in event_watch(flux_handle, jobid, eventlog):
        if event.name == name:
            return event
        if raiseJobException and event.name == "exception" and event.context["severity"] == 0:
            raise JobException(event)
    raise OSError(errno.ENODATA, f"eventlog ended before event='{name}'")
