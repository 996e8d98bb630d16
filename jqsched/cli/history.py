"""`jqsched events` and `jqsched journal`: what happened, at once or as it comes.

Rule: the store is read in portions and let go in between: a reader that waits in front of a pager must not keep the
writer's log from being cleared.
"""

import json
import sys
from collections.abc import Callable, Iterator

from jqsched.adapters.store.codec import EventRow, event_from_row
from jqsched.adapters.store.reader import Choice, StoreReader
from jqsched.adapters.store.schema import damage_refused
from jqsched.cli import formats
from jqsched.cli.failure import OK
from jqsched.cli.fastjson import event_line
from jqsched.cli.follow import moments
from jqsched.cli.target import Place, hostname, known_job, reading
from jqsched.core.event import LAST_EVENTS, Event
from jqsched.core.job import Spec
from jqsched.core.view import event_entry

PORTION = 2000  # events read at once

Write = Callable[[StoreReader, int, Event], str]


# ---- events -------------------------------------------------------------------------------------------------------


def events(where: Place, id_: int, *, follow: bool, as_json: bool) -> int:
    """Print the event log of a job; with `follow` until it is finished."""
    last, write = 0, _in_json() if as_json else _for_people(with_id=False)
    for _ in moments(where.root, follow=follow):
        with reading(where) as reader:
            if not last:
                known_job(reader, id_)
            ended = id_ not in reader.jobs([id_])  # purged meanwhile
            for seq, event in reader.events(id_, after_seq=last):
                sys.stdout.write(write(reader, seq, event))
                last, ended = seq, event.name in LAST_EVENTS
        sys.stdout.flush()
        if ended:
            return OK
    return OK


def journal(where: Place, *, since_us: int, since_seq: int, follow: bool, as_json: bool) -> int:
    """Print the events of all jobs, those after a time and a seq; with `follow` for ever."""
    last, write = since_seq, _rows_in_json() if as_json else _rows_for_people()
    for _ in moments(where.root, follow=follow):
        for reader, rows in _portions(where, last, since_us):
            with damage_refused("read the store", reader.path):
                lines = [write(reader, row) for row in rows]
            sys.stdout.write("".join(lines))
            last = rows[-1][0]
        sys.stdout.flush()
    return OK


def _portions(where: Place, last: int, since_us: int) -> Iterator[tuple[StoreReader, list[EventRow]]]:
    with reading(where) as reader:
        newest, choice = reader.last_seq(), Choice(since_us=since_us)
        while rows := reader.stretch(last, newest, choice, PORTION):
            yield reader, rows
            last = rows[-1][0]


def _rows_for_people() -> Callable[[StoreReader, EventRow], str]:
    write = _for_people(with_id=True)
    return lambda reader, row: write(reader, *event_from_row(row))


def _rows_in_json() -> Callable[[StoreReader, EventRow], str]:
    """A writer of rows; what has no more to it than stands in its row is written at once."""
    write = _in_json()
    return lambda reader, row: event_line(row) or write(reader, *event_from_row(row))


def _for_people(*, with_id: bool) -> Write:
    def write(_: StoreReader, seq: int, event: Event) -> str:
        who = f"{event.jobid:>6}  " if with_id else ""
        return f"{formats.clock(event.t_us)}  {who}{formats.happening(event)}\n"

    return write


def _in_json() -> Write:
    """A writer of one object a line. What `alloc` gave is told of the job's spec, remembered while it is needed."""
    encode = json.JSONEncoder(separators=(",", ":")).encode
    here, specs = hostname(), dict[int, Spec]()

    def write(reader: StoreReader, seq: int, event: Event) -> str:
        if event.spec is not None:
            specs[event.jobid] = event.spec
        spec = _spec(reader, specs, event.jobid) if event.name == "alloc" else None
        if event.name in LAST_EVENTS:
            specs.pop(event.jobid, None)
        return encode(event_entry(seq, event, spec, here)) + "\n"

    return write


def _spec(reader: StoreReader, specs: dict[int, Spec], id_: int) -> Spec | None:
    if id_ in specs:
        return specs[id_]
    job = reader.jobs([id_]).get(id_)
    return job.spec if job is not None else None
