"""`job-manager.events-journal`: the events of all jobs, past and future.

Rule: in the order of their seq, each once. History comes in portions as it is wanted, so a journal of any length costs
no memory. Events of one job that follow each other directly share an answer, as Flux's history does it; `seq` is that
of the last of them, and the others have the seqs just below. Ours beside Flux's `full`, `allow` and `deny`:
`since_seq`, `since`, `ids`, `names`, and `columns`: answers of many events of any jobs, at three quarters of the cost,
for ten readers beside a busy scheduler take a fifth of the processors. Source: docs/reference/python-api.md.
"""

from collections.abc import Callable, Iterable, Iterator
from os import uname
from typing import TypeAlias

from attrs import frozen

from jqsched.adapters.store.codec import EventRow, context_from_json, spec_from_json
from jqsched.adapters.store.reader import Choice, StoreReader
from jqsched.adapters.store.schema import damage_refused
from jqsched.client.services import payload as reading
from jqsched.client.store_channel import PAUSE, Call, Pause
from jqsched.core.event import LAST_EVENTS
from jqsched.core.job import Spec
from jqsched.core.jobspec import shown_jobspec
from jqsched.core.json import Json
from jqsched.core.view import resource_set
from jqsched.future import Payload

PORTION = 128  # events read at once: as many as stay in a cache, and end before the garbage collector looks for them
JOBS_PORTION = 200  # active jobs whose history is read at once
SPECS_MAX = 10_000  # specs remembered; that of any other job is looked up
TOLD = frozenset({"submit", "jobspec-update", "alloc", *LAST_EVENTS})

Portion: TypeAlias = list[EventRow]


@frozen
class _Wanted:
    full: bool
    since_seq: int
    choice: Choice
    columns: bool


def events_journal(call: Call) -> Iterator[Payload | Pause]:
    """History, the sentinel, and then each event as it is committed.

    With `full` or `since_seq`, history is that of all jobs in the order of time: a reader that resumes wants each
    event that it missed. Otherwise it is that of the active jobs, job by job.
    Raises: EPROTO.
    """
    if not call.streaming:
        raise reading.protocol_error("job-manager.events requires streaming RPC flag")
    wanted = _wanted(reading.given(call))
    reader, answers = call.records.reader, _Answers(call.records.reader, wanted.columns)
    last = reader().last_seq()
    if wanted.full:
        start = max(wanted.since_seq, _seq_at(reader(), wanted.choice.since_us))
        history = _stretch(reader, start, last, wanted.choice)
    else:
        history = _active_history(reader, last, wanted.choice)
    yield from answers.of(history)
    last = max(last, wanted.since_seq)
    yield {"id": -1, "events": [], "seq": last}
    while True:
        now = reader().last_seq()
        if call.until_seq is not None:
            now = min(now, call.until_seq)
        yield from answers.of(_stretch(reader, last, now, wanted.choice))
        last = max(last, now)
        yield PAUSE


def _wanted(payload: Payload) -> _Wanted:
    allow = reading.optional(payload, "allow", reading.names, None)
    deny = reading.optional(payload, "deny", reading.names, None)
    ids = reading.optional(payload, "ids", reading.many(reading.job_id), None)
    names = reading.optional(payload, "names", reading.many(reading.text), None)
    since_s = reading.optional(payload, "since", reading.number, 0.0)
    since_seq = reading.optional(payload, "since_seq", reading.integer, None)
    return _Wanted(
        full=reading.optional(payload, "full", reading.boolean, False) or since_seq is not None,
        since_seq=since_seq or 0,
        choice=Choice(ids=ids, names=names, allow=allow, deny=deny or (), since_us=reading.last_us(since_s)),
        columns=reading.optional(payload, "columns", reading.boolean, False),
    )


# ---- which --------------------------------------------------------------------------------------------------------


def _stretch(reader: Callable[[], StoreReader], after: int, last: int, choice: Choice) -> Iterator[Portion]:
    """The chosen events after one seq and up to another, read in portions."""
    while after < last:
        portion = reader().stretch(after, last, choice, PORTION)
        yield portion
        after = portion[-1][0] if len(portion) == PORTION else last


def _active_history(reader: Callable[[], StoreReader], last: int, choice: Choice) -> Iterator[Portion]:
    """The events so far of each job that was active at that seq."""
    ids = reader().active_at(last)
    for begin in range(0, len(ids), JOBS_PORTION):
        some = [id_ for id_ in ids[begin : begin + JOBS_PORTION] if choice.ids is None or id_ in choice.ids]
        found = reader().stretch(0, last, choice.of(some), -1) if some else []
        found.sort(key=lambda row: (row[1], row[0]))
        yield from (found[begin : begin + PORTION] for begin in range(0, len(found), PORTION))


def _seq_at(reader: StoreReader, time_us: int) -> int:
    """A seq up to which nothing is after a time, or not long before: times increase with the seqs. O(log n)."""
    if not time_us:
        return 0
    low, high = 0, reader.last_seq()
    while low < high:
        middle = (low + high) // 2
        found = reader.stretch(middle, high, EVERYTHING, 1)
        if found and found[0][2] <= time_us:
            low = found[0][0]
        else:
            high = middle
    return low


EVERYTHING = Choice()


# ---- how ----------------------------------------------------------------------------------------------------------


class _Answers:
    """Writes answers. What `alloc` gave is told of the job's spec, remembered while the job is active."""

    def __init__(self, reader: Callable[[], StoreReader], columns: bool) -> None:
        self._reader, self._host = reader, uname().nodename
        self._written = self._columns if columns else self._job_by_job
        self._specs: dict[int, Spec] = {}

    def of(self, portions: Iterable[Portion]) -> Iterator[Payload]:
        """Yield the answers for these events; no answer spans two portions."""
        with damage_refused("read the store", self._reader().path):
            for portion in filter(None, portions):
                yield from self._written(portion)

    def _job_by_job(self, found: Portion) -> Iterator[Payload]:
        entries: list[Json] = []
        answer: Payload = {}
        last_id = last_seq = -1
        for seq, id_, t_us, name, context, spec in found:
            told = self._told(id_, t_us, name, spec) if name in TOLD else {}
            if id_ != last_id or seq != last_seq + 1 or ("R" in told and "R" in answer):  # it began again meanwhile
                if entries:
                    yield answer
                last_id, entries = id_, []
                answer = {"id": id_, "events": entries}
            entry: dict[str, Json] = {"timestamp": t_us / 1_000_000, "name": name}
            if context:
                entry["context"] = context_from_json(context)
            entries.append(entry)
            answer["seq"] = last_seq = seq
            answer |= told
        yield answer

    def _columns(self, found: Portion) -> Iterator[Payload]:
        seqs, ids, times_us, names, contexts, specs = map(list, zip(*found, strict=True))
        all_told: list[Json] = []
        for index, name in enumerate(names):
            if name in TOLD and (told := self._told(ids[index], times_us[index], name, specs[index])):
                all_told.append([index, told])
        yield {
            "seqs": seqs,
            "ids": ids,
            "timestamps": [t_us / 1_000_000 for t_us in times_us],
            "names": names,
            "contexts": [context_from_json(context) if context else {} for context in contexts],
            "told": all_told,
        }

    def _told(self, id_: int, t_us: int, name: str, text: str | None) -> Payload:
        """Return the data that goes with an event: the jobspec, or R."""
        if text:
            spec = spec_from_json(text)
            if len(self._specs) >= SPECS_MAX:  # the ends of jobs may not be among what was chosen
                del self._specs[next(iter(self._specs))]
            self._specs[id_] = spec
            return {"jobspec": shown_jobspec(spec)} if name == "submit" else {}
        if name == "alloc":
            known = self._spec(id_)
            return {"R": resource_set(known, t_us, self._host)} if known is not None else {}
        self._specs.pop(id_, None)
        return {}

    def _spec(self, id_: int) -> Spec | None:
        if id_ not in self._specs:
            job = self._reader().jobs([id_]).get(id_)
            return job.spec if job is not None else None
        return self._specs[id_]
