"""The encoding of values in the store: events and jobs as rows, specs as small readable JSON, a checksum in each row.

In: values. Out: rows, and back; `Damaged` for a row whose checksum does not fit.
Rule: encode and decode are exact inverses (a property test checks it); no SQL and no IO here. Checksums are computed
here only; another algorithm needs a new format version.
"""

import json
import marshal
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from operator import attrgetter
from typing import Any, cast
from zlib import crc32

from attrs import astuple, fields

from jqsched.core.event import NO_CONTEXT, Event
from jqsched.core.job import (
    Array,
    Dependency,
    Element,
    Job,
    JobException,
    OnInterrupt,
    Reason,
    Retries,
    Spec,
    State,
)
from jqsched.core.jobspec.writers import reason_list
from jqsched.core.json import Json

# Encoders are kept: json.dumps with options builds one for each call, which costs more than the encoding.
encode_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_decode = json.JSONDecoder().raw_decode

EVENT_COLUMNS = ("seq", "jobid", "t_us", "name", "context", "spec")
JOB_COLUMNS = (
    "id", "name", "spec", "userid", "state", "urgency", "urgency_before", "pin", "priority", "waits", "attempt",
    "interruptions", "requeuing", "fatal", "exception", "status", "t_submit_us", "t_depend_us", "t_priority_us",
    "t_sched_us", "t_run_us", "t_start_us", "t_cleanup_us", "t_inactive_us",
)  # fmt: skip
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "meta": ("key", "value"),
    "files": ("id", "text"),
    "arrays": ("id", "count", "indexes"),
    "attempts": ("id", "attempt", "pid", "start_ticks", "boot_id"),
    "events": EVENT_COLUMNS,
    "jobs": JOB_COLUMNS,
}  # of each table, the key first; the column `crc` comes after them

EventRow = tuple[int, int, int, str, str | None, str | None]
Row = tuple[Any, ...]  # a row of SQLite: what it holds is known by the column, not by the type

_MORE = tuple(field.name for field in fields(Spec) if field.name not in ("command", "name", "cwd"))
_DEFAULTS = tuple(getattr(fields(Spec), field).default for field in _MORE)
_more = attrgetter(*_MORE)
# The fields whose values are not JSON as they are: how they are written in a store, and read.
_PACK: Mapping[str, Callable[[Any], object]] = {
    "env": dict,
    "on_interrupt": lambda policy: policy.value,
    "retries": lambda retries: astuple(retries, recurse=False),
    "dependencies": lambda wanted: [[one.scheme, one.value, one.next_only] for one in wanted],
    "reasons": lambda trail: [reason_list(reason) for reason in trail],
    "element": lambda element: (element.index, element.value, *astuple(element.array)),
}
_UNPACK: Mapping[str, Callable[[Any], object]] = {
    "env": lambda entries: tuple(entries.items()),
    "on_interrupt": OnInterrupt,
    "retries": lambda parts: _retries(*parts),
    "dependencies": lambda wanted: tuple(Dependency(*parts) for parts in wanted),
    "reasons": lambda trail: tuple(Reason(*parts) for parts in trail),
    "element": lambda parts: _element(*parts),
}
_SHORT = 200  # characters of a context that may be remembered
_REQUEUING, _RETRYING, _RETRIED = 1, 2, 4  # what the bits of the column `requeuing` mean
_STATES = {state.value: state for state in State}
_JOINED = tuple("\0".join(["%s"] * width) for width in range(len(JOB_COLUMNS) + 1))


class Damaged(ValueError):
    """A row is not as it was written."""


def checksum(row: Row) -> int:
    """Compute a row's checksum: CRC-32 of its values as texts, NULs between them, which no text in a store holds."""
    return crc32((_JOINED[len(row)] % row).encode(errors="surrogateescape"))


def summed(row: Row) -> Row:
    """Append the checksum to a row."""
    return (*row, checksum(row))


def is_whole(row: Row) -> bool:
    """Whether a row with its checksum is as it was written."""
    return bool(row[-1] == checksum(row[:-1]))


def whole(table: str, row: Row) -> Row:
    """Return a row without its checksum. Raises: Damaged."""
    if row[-1] != checksum(row[:-1]):
        raise Damaged(f"{table} {row[0]}: not as it was written")
    return row[:-1]


def decode_json(text: str) -> Any:
    """Read what `encode_json` wrote, which has no space around it that costs to look for. Raises: JSONDecodeError."""
    value, end = _decode(text)
    if end != len(text):
        raise json.JSONDecodeError("Extra data", text, end)
    return value


def spec_to_json(spec: Spec) -> str:
    """Write a spec: what differs from the defaults, under the names of its fields."""
    document: dict[str, object] = {"command": spec.command, "name": spec.name, "cwd": spec.cwd}
    more = _more(spec)
    if more != _DEFAULTS:
        for field, value, default in zip(_MORE, more, _DEFAULTS, strict=True):
            if value != default:
                document[field] = _PACK[field](value) if field in _PACK else value
    return encode_json(document)


def spec_from_json(text: str) -> Spec:
    """Read a spec back."""
    document = cast(dict[str, Any], decode_json(text))
    document["command"] = tuple(document["command"])
    if len(document) == 3:
        return Spec(document["command"], document["name"], document["cwd"])
    for field in document.keys() & _UNPACK.keys():
        document[field] = _UNPACK[field](document[field])
    return Spec(**document)


def _retries(most: int, delay_us: int, factor: float, max_delay_us: int, on: list[Any], *more: Any) -> Retries:
    return Retries(most, delay_us, factor, max_delay_us, tuple(on), *more)


def _element(index: int, value: str | None, *array: Any) -> Element:
    return Element(_array(*array), index, value)


@lru_cache(64)
def _array(id_: int, count: int, limit: int | None, max_failures: int | None) -> Array:
    """Make an array once for all of its elements."""
    return Array(id_, count, limit, max_failures)


def event_to_row(seq: int, event: Event) -> EventRow:
    """Write an event; an empty context is NULL."""
    context = encode_json(event.context) if event.context else None
    spec = spec_to_json(event.spec) if event.spec is not None else None
    return (seq, event.jobid, event.t_us, event.name, context, spec)


def event_from_row(row: Row) -> tuple[int, Event]:
    """Read an event and its seq back."""
    seq, jobid, t_us, name, context, spec = row
    parsed = context_from_json(context) if context else NO_CONTEXT
    return seq, Event(jobid, t_us, name, parsed, spec_from_json(spec) if spec else None)


def context_from_json(text: str) -> dict[str, Json]:
    """Read a context, a dict of the caller's own. Cost: 0.1 us where it was read before, for few are different."""
    return _copies(text)() if len(text) <= _SHORT else cast(dict[str, Json], decode_json(text))


@lru_cache(1024)
def _copies(text: str) -> Callable[[], dict[str, Json]]:
    """Parse a context once; return a function that makes independent copies of it."""
    context = cast(dict[str, Json], decode_json(text))
    nested = any(isinstance(value, dict | list) for value in context.values())
    return partial(marshal.loads, marshal.dumps(context)) if nested else context.copy


def job_to_row(job: Job, spec: str | None = None) -> Row:
    """Write a job; `spec` spares encoding it again."""
    told = job.exception
    return (
        job.id,
        job.spec.name,
        spec if spec is not None else spec_to_json(job.spec),
        job.userid,
        job.state.value,
        job.urgency,
        job.urgency_before,
        job.pin,
        job.priority,
        encode_json(job.waits) if job.waits else None,
        job.attempt,
        job.interruptions,
        _packed(job),
        int(job.fatal),
        encode_json([told.type, told.severity, told.note]) if told is not None else None,
        job.status,
        job.t_submit_us,
        job.t_depend_us,
        job.t_priority_us,
        job.t_sched_us,
        job.t_run_us,
        job.t_start_us,
        job.t_cleanup_us,
        job.t_inactive_us,
    )


def job_from_row(row: Row) -> Job:
    """Read a job back; the columns are JOB_COLUMNS."""
    id_, _name, spec, userid, state, urgency, before, pin, priority, waits, attempt, *rest = row
    interruptions, requeuing, fatal, told, *later = rest
    later += (requeuing // _RETRIED, bool(requeuing & _RETRYING))
    return Job(
        id_,
        spec_from_json(spec),
        userid,
        _STATES[state],
        urgency,
        before,
        pin,
        priority,
        tuple(decode_json(waits)) if waits else (),
        attempt,
        interruptions,
        bool(requeuing & _REQUEUING),
        bool(fatal),
        JobException(*decode_json(told)) if told else None,
        *later,
    )


def _packed(job: Job) -> int:
    """Write the column `requeuing`: two flags and a count, since format 3. A column more would be every row anew."""
    return job.requeuing * _REQUEUING + job.retrying * _RETRYING + job.retried * _RETRIED
