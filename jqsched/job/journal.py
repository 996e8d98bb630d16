"""The journal: the events of all jobs, past and future, by `poll`, by callback, or by `async for`.

Rule: in the order of time, each event once, with or without a scheduler; one that is restarted in between makes no
difference. It behaves as Flux's class does; parameters that Flux has not are keyword-only. Source: Flux's module.
"""

import errno
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, Generic, Self, TypeVar, cast

from jqsched.constants import FLUX_RPC_STREAMING
from jqsched.core.json import Json
from jqsched.future import Payload
from jqsched.job.event import EventLogEvent
from jqsched.job.jobid import JobID
from jqsched.rpc import RPC, Asked

__all__ = ["SENTINEL_EVENT", "JournalConsumer", "JournalConsumerBase", "JournalEvent", "JournalEventBase"]

_AT_ONCE = 500  # events (or a few more) given to one callback before the reactor serves other watchers
_BREATHER = 32  # events of one answer given to an `async for` before the loop's other tasks have their turn


class JournalEventBase(EventLogEvent):
    """An entry of a journal. One without a time gets the present one."""

    __slots__ = ()

    def __init__(self, event: str | Mapping[str, Json]) -> None:
        super().__init__(event)
        if "timestamp" not in self:
            self["timestamp"] = time.time()

    def is_empty(self) -> bool:
        """Whether it is no event but the sentinel."""
        return "name" not in self


class JournalEvent(JournalEventBase):
    """An event of a job. `jobspec` comes with `submit` (without its environment), `R` with `alloc`, else they are None.

    `seq` is its number in the journal: what `since_seq` takes, to go on after it.
    """

    __slots__ = ("R", "jobid", "jobspec", "seq")

    def __init__(
        self,
        jobid: int,
        event: str | Mapping[str, Json],
        jobspec: dict[str, Any] | None = None,
        R: dict[str, Any] | None = None,  # noqa: N803 - Flux's parameter
        *,
        seq: int = 0,
    ) -> None:
        super().__init__(event)
        self.jobid = jobid if isinstance(jobid, JobID) else JobID(jobid)
        self.jobspec = jobspec if self.get("name") == "submit" else None
        self.R = R if self.get("name") == "alloc" else None
        self.seq = seq

    def is_empty(self) -> bool:
        """Whether it is no event but the sentinel."""
        return self.jobid == -1

    def __str__(self) -> str:
        if self.jobid == -1:
            return "-1: End of historical data stream"
        parts = [f"{self.jobid}: {self.timestamp:.5f} {self.name}"]
        if self.context:
            parts.append(self.context_string)
        if self.jobspec is not None:
            parts.append(f"jobspec={self.jobspec}")
        if self.R is not None:
            parts.append(f"R={self.R}")
        return " ".join(parts)


SENTINEL_EVENT = JournalEvent(-1, {"timestamp": time.time(), "context": {}})


_EventT = TypeVar("_EventT", bound=JournalEventBase)


class JournalConsumerBase(Generic[_EventT]):
    """What consumers of journals share: a stream of responses, and the events made of them.

    A journal of one's own says what it asks for (`request_payload`), what an answer holds (`process_response`), and
    what an event is (`create_event`); it may say what marks the end of the history (`is_empty_response`) and what
    stands for that (`SENTINEL_EVENT`). `cancel_topic` is taken as Flux takes it: here every stream ends by the same
    request.
    """

    SENTINEL_EVENT: JournalEventBase = JournalEventBase({})

    def __init__(
        self,
        flux_handle: Asked,
        topic: str,
        cancel_topic: str | None = None,
        full: bool = True,
        since: float = 0.0,
        include_sentinel: bool = False,
        *,
        deliver_end: bool = False,
    ) -> None:
        self.handle, self.topic, self.cancel_topic = flux_handle, topic, cancel_topic or f"{topic}-cancel"
        self.full, self.since, self.include_sentinel, self.deliver_end = full, since, include_sentinel, deliver_end
        self.rpc: RPC | None = None
        self._ready: deque[_EventT] = deque()
        self._given: _EventT | None = None  # the last one
        self._is_over = False
        self._call: Callable[[_EventT | None], object] | None = None

    # -- what a journal is

    @property
    def request_payload(self) -> dict[str, Json]:
        """What is asked for."""
        raise NotImplementedError

    def process_response(self, resp: Payload) -> dict[str, Any]:
        """Read what a response says of its events: the keyword arguments of `create_event`."""
        raise NotImplementedError

    def create_event(self, entry: Mapping[str, Json], *args: Any, **kwargs: Any) -> _EventT:
        """Make an event of an entry."""
        raise NotImplementedError

    def is_empty_response(self, resp: Payload) -> bool:
        """Whether a response marks the end of the history."""
        return not resp["events"]

    # -- the stream

    def start(self) -> Self:
        """Ask for the events; once more to have them from the beginning again."""
        if self.rpc is not None:
            self.rpc.cancel(stop=True)
        self._ready.clear()
        self._is_over = False
        self.rpc = RPC(self.handle, self.topic, self.request_payload, flags=FLUX_RPC_STREAMING)
        if self._call is not None:
            self.rpc.then(self._answered)
        return self

    def stop(self) -> None:
        """Stop the stream. Events that have happened still arrive, then `poll` returns None."""
        if self.rpc is not None:
            self.rpc.cancel()

    def poll(self, timeout: float = -1.0) -> _EventT | None:
        """Wait for the next event; None after the last one, when it was stopped.

        Raises: TimeoutError when nothing came for so many seconds (negative: wait for ever), and one may go on;
        RuntimeError before `start`; OSError.
        """
        if self.rpc is None:
            raise RuntimeError("poll() called before start()")
        while not self._ready:
            if self._is_over:
                return None
            self.rpc.wait_for(timeout)
            self._take(self.rpc)
        event = self._given = self._ready.popleft()  # as `_next` does, which costs here
        return event

    def set_callback(
        self,
        event_cb: Callable[..., object],
        *args: Any,
        **kwargs: Any,
    ) -> Self:
        """Have `event_cb(event, *args, **kwargs)` called by the reactor; in place of another one, where there is one.

        With `deliver_end` the callback gets None at the end.
        """
        self._call = lambda event: event_cb(event, *args, **kwargs)
        if self.rpc is not None:
            with suppress(FileExistsError):  # it calls `_answered` already
                self.rpc.then(self._answered)
        return self

    def _answered(self, rpc: RPC) -> None:
        """Give what is there to the callback, whichever it is by then; the reactor calls again for the rest."""
        given = 0
        while given < _AT_ONCE:
            self._take(rpc)
            while self._ready:
                assert self._call is not None
                self._call(self._next())
                given += 1
            if self._is_over or rpc is not self.rpc or not rpc.is_ready():
                break
        if self._is_over and self.deliver_end and self._call is not None:
            self._call(None)

    def _take(self, rpc: RPC) -> None:
        """Make events of the response that is there, and ask for the next one."""
        try:
            response = rpc.get()
        except OSError as error:
            if error.errno != errno.ENODATA:
                raise
            self._is_over = True
            return
        rpc.reset()
        self._ready.extend(self._events(response))

    def _next(self) -> _EventT:
        event = self._given = self._ready.popleft()
        return event

    def _events(self, response: Payload) -> Sequence[_EventT]:
        """Make the events of a response; one without events marks the end of the history."""
        if self.is_empty_response(response):
            return (cast(_EventT, self.SENTINEL_EVENT),) if self.full and self.include_sentinel else ()
        more = self.process_response(response)
        return [self.create_event(entry, **more) for entry in _entries(response)]

    async def __aiter__(self) -> AsyncIterator[Any]:
        """Each event in asyncio, from `start` on; stopped when it is left before its end."""
        from asyncio import sleep  # noqa: PLC0415 - loaded only where asyncio is used

        if self.rpc is None:
            self.start()
        assert self.rpc is not None
        async for response in self.rpc:
            self._ready.extend(self._events(response))
            while self._ready:
                yield self._next()
                if self._ready and len(self._ready) % _BREATHER == 0:  # between two answers the future sees to it
                    await sleep(0)


class JournalConsumer(JournalConsumerBase[JournalEvent]):
    """The events of all jobs: history first, then each as it is committed, until `stop`.

    `full`: the history of all jobs, in the order of time; else of the active ones, job by job. `since`: only what
    happened after that time. `include_sentinel`: SENTINEL_EVENT between history and what comes (with `full`).
    Ours: `since_seq` goes on after the event of that `seq`, with all that happened meanwhile; `ids`, `names` and
    `events` choose jobs by id and by name, and events by name, before they are sent; with `deliver_end`
    the callback gets None at the end. `last_seq` is the `since_seq` that resumes after the last event received.
    """

    SENTINEL_EVENT = SENTINEL_EVENT

    def __init__(
        self,
        flux_handle: Asked,
        full: bool = True,
        since: float = 0.0,
        include_sentinel: bool = False,
        *,
        since_seq: int | None = None,
        ids: Iterable[int | str] | None = None,
        names: Iterable[str] | None = None,
        events: Iterable[str] | None = None,
        deliver_end: bool = False,
    ) -> None:
        topic = "job-manager.events-journal"
        super().__init__(
            flux_handle, topic, full=full, since=since, include_sentinel=include_sentinel, deliver_end=deliver_end
        )
        cls, ours = type(self), JournalConsumer
        self._is_ours = cls.create_event is ours.create_event and cls.process_response is ours.process_response
        self._since_seq = since_seq or 0  # or that of the history's end
        self._in_order = full or since_seq is not None
        self._chosen: dict[str, Json] = {}
        if since_seq is not None:
            self._chosen["since_seq"] = since_seq
        if ids is not None:
            self._chosen["ids"] = [int(JobID(id_)) for id_ in ids]
        if names is not None:
            self._chosen["names"] = list[Json](_words(names))
        if events is not None:
            self._chosen["allow"] = dict.fromkeys(_words(events), 1)

    @property
    def last_seq(self) -> int:
        """The `seq` up to which the journal was read; history that comes job by job does not change it."""
        return max(self._since_seq, self._given.seq) if self._in_order and self._given is not None else self._since_seq

    @property
    def request_payload(self) -> dict[str, Json]:
        """What is asked for."""
        return {"full": self.full, "since": self.since, "columns": self._is_ours, **self._chosen}

    def process_response(self, resp: Payload) -> dict[str, Any]:
        """Read what a response says of its events: job id, and jobspec and R where they come with it."""
        return {
            "jobid": _job_id(resp["id"]),  # type: ignore[arg-type]  # as below
            "jobspec": resp.get("jobspec"),
            "R": resp.get("R"),
        }

    def _events(self, response: Payload) -> Sequence[JournalEvent]:
        """Make the events of a response: in columns, or of one job, without gaps up to the one whose seq it has."""
        if "seqs" in response:
            return _made(response)
        last = cast(int, response.get("seq", 0))
        entries = _entries(response)
        if not entries:
            self._in_order, self._since_seq = True, last
            return super()._events(response)
        more = self.process_response(response)
        return [self.create_event(entry, **more, seq=seq) for seq, entry in enumerate(entries, last - len(entries) + 1)]

    def create_event(
        self,
        entry: Mapping[str, Json],
        jobid: int = -1,
        jobspec: dict[str, Any] | None = None,
        R: dict[str, Any] | None = None,  # noqa: N803 - Flux's parameter
        *,
        seq: int = 0,
    ) -> JournalEvent:
        """Make an event of an entry. Of what came with its response, it has what belongs to it."""
        return JournalEvent(jobid, entry, jobspec, R, seq=seq)


_blank = JournalEvent.__new__


def _made(columns: Mapping[str, Any]) -> list[JournalEvent]:
    """Make events of columns as `create_event` does, each without calling it: at half of the cost."""
    ids, seqs = map(_job_id, columns["ids"]), columns["seqs"]
    entries = zip(ids, seqs, columns["timestamps"], columns["names"], columns["contexts"], strict=True)
    events = []
    for jobid, seq, timestamp, name, context in entries:
        event = _blank(JournalEvent)
        event["timestamp"], event["name"], event["context"] = timestamp, name, context
        event.jobid, event.jobspec, event.R, event.seq = jobid, None, None, seq
        events.append(event)
    for index, told in columns["told"]:
        events[index].jobspec, events[index].R = told.get("jobspec"), told.get("R")
    return events


def _entries(response: Payload) -> Sequence[Mapping[str, Json]]:
    return response["events"]  # type: ignore[return-value]  # a cast for each event costs


_job_id = lru_cache(4096)(JobID)  # events of one job come near each other


def _words(words: Iterable[str]) -> list[str]:
    if isinstance(words, str):
        raise TypeError(f"a list of names is wanted, not one string: {words!r}")
    return list(words)
