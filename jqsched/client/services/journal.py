"""`job-manager.events-journal`: the events of all jobs, those that were and those that come.

Rule: in the order of their seq, each once. History comes in portions as it is wanted, so a journal of any length costs
no memory. Events of one job that follow each other directly share an answer, as Flux's history does it: many a reader
beside a busy scheduler is then worth his cores. Ours beside Flux's `full`, `allow` and `deny`: `since_seq`, `since`,
`ids`, `names`, and `seq` in each answer: that of its last event, before which the others have the seqs just below.
Source: flux.md section 6.
"""

from collections.abc import Callable, Iterable, Iterator
from os import uname

from attrs import frozen

from jqsched.adapters.store.codec import EventRow, context_from_json, spec_from_json
from jqsched.adapters.store.reader import Choice, StoreReader
from jqsched.adapters.store.schema import damage_refused
from jqsched.client.local import PAUSE, Call, Pause
from jqsched.client.services import payload as reading
from jqsched.core.event import LAST_EVENTS
from jqsched.core.job import Spec
from jqsched.core.jobspec import shown_jobspec
from jqsched.core.json import Json
from jqsched.core.view import resource_set
from jqsched.future import Payload

PORTION = 200  # events read at once: as many as stay in a processor's cache
JOBS_PORTION = 200  # active jobs whose history is read at once
TOGETHER = 64  # events in one answer
SPECS_MAX = 10_000  # specs remembered; that of any other job is looked up
TOLD = {"alloc", *LAST_EVENTS}


@frozen
class _Wanted:
    full: bool
    since_seq: int
    since_s: float
    choice: Choice

    def of(self, found: Iterator[EventRow]) -> Iterator[EventRow]:
        """Those that happened after the time that is wanted: compared as the seconds that the reader was given."""
        if self.since_s <= 0:
            return found
        return (row for row in found if _time_s(row) > self.since_s)


def events_journal(call: Call) -> Iterator[Payload | Pause]:
    """History, the sentinel, and then each event as it is committed.

    History is that of all jobs in the order of time with `full`, and from `since_seq` on: who goes on there wants all
    that he missed. Else it is that of the active jobs, job by job.
    Raises: EPROTO.
    """
    if not call.streaming:
        raise reading.protocol_error("job-manager.events requires streaming RPC flag")
    wanted = _wanted(reading.given(call))
    reader, show = call.records.reader, _Shown(call.records.reader)
    last = reader().last_seq()
    if wanted.full:
        start = max(wanted.since_seq, _seq_at(reader(), wanted.since_s))
        history = _stretch(reader, start, last, wanted.choice)
    else:
        history = _active_history(reader, last, wanted.choice)
    yield from show(wanted.of(history))
    last = max(last, wanted.since_seq)
    yield {"id": -1, "events": [], "seq": last}
    while True:
        now = reader().last_seq()
        yield from show(wanted.of(_stretch(reader, last, now, wanted.choice)))
        last = max(last, now)
        yield PAUSE


def _wanted(payload: Payload) -> _Wanted:
    allow = reading.optional(payload, "allow", reading.names, None)
    deny = reading.optional(payload, "deny", reading.names, None)
    ids = reading.optional(payload, "ids", reading.many(reading.job_id), None)
    names = reading.optional(payload, "names", reading.many(reading.text), None)
    since_seq = reading.optional(payload, "since_seq", reading.integer, None)
    return _Wanted(
        full=reading.optional(payload, "full", reading.boolean, False) or since_seq is not None,
        since_seq=since_seq or 0,
        since_s=reading.optional(payload, "since", reading.number, 0.0),
        choice=Choice(ids=ids, names=names, allow=allow, deny=deny or ()),
    )


# ---- which --------------------------------------------------------------------------------------------------------


def _time_s(row: EventRow) -> float:
    return row[2] / 1_000_000


def _stretch(reader: Callable[[], StoreReader], after: int, last: int, choice: Choice) -> Iterator[EventRow]:
    """The chosen events after one seq and up to another, read in portions."""
    while after < last:
        portion = reader().stretch(after, last, choice, PORTION)
        yield from portion
        after = portion[-1][0] if len(portion) == PORTION else last


def _active_history(reader: Callable[[], StoreReader], last: int, choice: Choice) -> Iterator[EventRow]:
    """The events so far of each job that was active at that seq."""
    ids = reader().active_at(last)
    for begin in range(0, len(ids), JOBS_PORTION):
        some = [id_ for id_ in ids[begin : begin + JOBS_PORTION] if choice.ids is None or id_ in choice.ids]
        found = reader().stretch(0, last, choice.of(some), -1) if some else []
        yield from sorted(found, key=lambda row: (row[1], row[0]))


def _seq_at(reader: StoreReader, time_s: float) -> int:
    """A seq up to which nothing is after a time, or not long before: times increase with the seqs. O(log n)."""
    if time_s <= 0:
        return 0
    low, high = 0, reader.last_seq()
    while low < high:
        middle = (low + high) // 2
        found = reader.stretch(middle, high, EVERYTHING, 1)
        if found and _time_s(found[0]) <= time_s:
            low = found[0][0]
        else:
            high = middle
    return low


EVERYTHING = Choice()


# ---- how ----------------------------------------------------------------------------------------------------------


class _Shown:
    """Writes answers. What `alloc` gave is told of the job's spec, remembered while the job is active."""

    def __init__(self, reader: Callable[[], StoreReader]) -> None:
        self._reader, self._host = reader, uname().nodename
        self._specs: dict[int, Spec] = {}

    def __call__(self, found: Iterable[EventRow]) -> Iterator[Payload]:
        with damage_refused("read the store", self._reader().path):
            yield from self._answers(found)

    def _answers(self, found: Iterable[EventRow]) -> Iterator[Payload]:
        entries: list[Json] = []
        answer: Payload = {}
        last_id = last_seq = -1
        for seq, id_, t_us, name, context, spec in found:
            if id_ != last_id or seq != last_seq + 1 or len(entries) == TOGETHER:
                if entries:
                    answer["seq"] = last_seq
                    yield answer
                last_id, entries = id_, []
                answer = {"id": id_, "events": entries}
            entry: dict[str, Json] = {"timestamp": t_us / 1_000_000, "name": name}
            if context:
                entry["context"] = context_from_json(context)
            entries.append(entry)
            last_seq = seq
            if spec or name in TOLD:
                self._tell(answer, id_, t_us, name, spec)
        if entries:
            answer["seq"] = last_seq
            yield answer

    def _tell(self, answer: Payload, id_: int, t_us: int, name: str, text: str | None) -> None:
        if text:
            spec = spec_from_json(text)
            if len(self._specs) >= SPECS_MAX:  # the ends of jobs may not be among what was chosen
                del self._specs[next(iter(self._specs))]
            self._specs[id_] = spec
            if name == "submit":
                answer["jobspec"] = shown_jobspec(spec)
        elif name == "alloc":
            known = self._spec(id_)
            if known is not None:
                answer["R"] = resource_set(known, t_us, self._host)
        elif name in LAST_EVENTS:
            self._specs.pop(id_, None)

    def _spec(self, id_: int) -> Spec | None:
        if id_ not in self._specs:
            job = self._reader().jobs([id_]).get(id_)
            return job.spec if job is not None else None
        return self._specs[id_]
