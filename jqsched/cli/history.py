"""`jqsched events`, `jqsched journal` and `jqsched log`: what happened, and what jobs wrote; at once or as it comes.

Rule: the store is read in portions and let go in between: a reader that waits in front of a pager must not keep the
writer's log from being cleared.
"""

import errno
import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import IO, Self

from jqsched.adapters.store.codec import EventRow, event_from_row
from jqsched.adapters.store.reader import Choice, StoreReader
from jqsched.adapters.store.schema import damage_refused
from jqsched.cli import formats
from jqsched.cli.failure import NOT_NOW, OK, Failure, tell
from jqsched.cli.fastjson import event_line
from jqsched.cli.follow import moments, rest
from jqsched.cli.target import Place, hostname, known_job, reading
from jqsched.client.outputs import NotReadable, open_output
from jqsched.core.event import LAST_EVENTS, Event
from jqsched.core.job import Job, Spec, State, output_paths
from jqsched.core.view import event_entry

PORTION = 2000  # events read at once
LOG_POLL_S = 0.2  # the job writes straight to its file, and tells nobody
_COPY_BYTES = 1 << 18

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


# ---- output -------------------------------------------------------------------------------------------------------


def log(where: Place, id_: int, *, follow: bool, error: bool) -> int:
    """Print what a job wrote, byte by byte; with `follow` as it comes, until the job is finished."""
    with reading(where) as reader:
        job = known_job(reader, id_)
        path = log_path(where, job, error=error)
        with _Tail(path, job.userid) as tail:
            tail.print_new()
            while follow and job.state is not State.INACTIVE:
                rest(LOG_POLL_S)
                now = reader.jobs([id_]).get(id_)  # before its output is read: what it wrote last comes before its end
                tail.print_new()
                if now is None:  # purged: it was over
                    break
                job = now
    if not tail.printed_bytes:
        _explain_silence(job, path)
    return OK


def log_path(where: Place, job: Job, *, error: bool = False) -> str:
    """The file that a job writes to."""
    output, error_path = output_paths(job.spec, job.id, f"{where.root}/output", job.attempt)
    return error_path or output if error else output


class _Tail:
    """An output file that is printed as it grows, as `tail -F` does it.

    One that was truncated is read from its beginning, one that another took the place of to its end and then the other.
    """

    def __init__(self, path: str, userid: int) -> None:
        self.printed_bytes = 0
        self._path, self._userid = path, userid
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def print_new(self) -> None:
        """Print what was not printed yet. A file that is not there (yet) is empty."""
        if self._file is not None:
            self._copy(self._file)
            if not self._was_replaced(self._file):
                return
            self._copy(self._file)  # what was written until then
            self._file.close()
        self._file = self._opened()
        if self._file is not None:
            self._copy(self._file)

    def _opened(self) -> IO[bytes] | None:
        try:
            return open(open_output(self._path, self._userid), "rb", buffering=0)
        except NotReadable as reason:
            raise Failure(str(reason), NOT_NOW) from None
        except OSError as wrong:
            if wrong.errno in (errno.ENOENT, errno.ENOTDIR):
                return None
            raise

    def _was_replaced(self, file: IO[bytes]) -> bool:
        try:
            return not os.path.samestat(os.stat(self._path), os.fstat(file.fileno()))
        except OSError:  # removed, so far without a successor
            return False

    def _copy(self, file: IO[bytes]) -> None:
        if os.fstat(file.fileno()).st_size < file.tell():
            file.seek(0)
        while data := file.read(_COPY_BYTES):
            sys.stdout.buffer.write(data)
            self.printed_bytes += len(data)
        sys.stdout.buffer.flush()


def _explain_silence(job: Job, path: str) -> None:
    if not job.t_start_us and job.state < State.RUN:
        raise Failure(f"job {job.id}: has not started, so there is no output yet (-f waits for it)", NOT_NOW)
    if not os.path.exists(path):
        raise Failure(f"job {job.id}: {path} does not exist: the job never ran, or it was removed", NOT_NOW)
    tell(f"job {job.id}: has written nothing to {path}")
