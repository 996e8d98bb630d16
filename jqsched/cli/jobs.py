"""`jqsched jobs`: which jobs, in which order, as a table, ids, a format of the user's, or JSON.

Rule: everything comes out as it is read, portion by portion; only what has to be sorted is held. Active jobs are read
before finished ones, and one that ended in between is shown once.
"""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import islice
from typing import NamedTuple

from attrs import frozen

from jqsched.adapters.store.reader import StoreReader
from jqsched.cli import formats
from jqsched.cli.failure import NO_JOB, OK, USAGE, Failure, tell
from jqsched.cli.place import Place, hostname, reading, scheduler_status, username
from jqsched.core.explain import UNSERVED, look, reasons
from jqsched.core.job import Job, State
from jqsched.core.json import Json
from jqsched.core.policy import Limits
from jqsched.core.queue import Queue
from jqsched.core.view import (
    ACTIVE,
    EVERY_STATE,
    BadFilter,
    Filter,
    job_info,
    list_key,
    matches,
    read_filter,
    runtime_us,
    standing,
)

SCHEMA = "jqsched.jobs/1"
PORTION = 500  # jobs written at once
_NO_LIMIT = 2**31

Why = Callable[[Job], Sequence[str]]


@frozen
class Query:
    """What was asked for; `since_us` is for finished jobs only."""

    ids: Sequence[int] = ()
    everything: bool = False
    filter: str | None = None
    name: str | None = None
    since_us: int | None = None
    count: int | None = None


# ---- which --------------------------------------------------------------------------------------------------------


class Choice:
    """The jobs of a query. `active` are all active jobs, where they had to be read anyway."""

    def __init__(self, reader: StoreReader, query: Query) -> None:
        self.reader, self._query = reader, query
        self._filter = _filter_of(query)
        self._active: list[Job] | None = None
        self.unknown: list[int] = []

    @property
    def active(self) -> list[Job]:
        """All active jobs, read once."""
        if self._active is None:
            self._active = list(self.reader.active())
        return self._active

    def jobs(self) -> Iterator[Job]:
        """The jobs that were asked for, in the order of lists; named by id, in the order given."""
        if self._query.ids:
            found = self.reader.jobs(self._query.ids)
            self.unknown = [id_ for id_ in self._query.ids if id_ not in found]
            return iter(found.values())
        return islice(self._listed(), self._query.count)

    def _listed(self) -> Iterator[Job]:
        shown: set[int] = set()
        if self._filter.states & ACTIVE:
            live = sorted(filter(self._is_wanted, self.active), key=list_key)
            shown = {job.id for job in live}
            yield from live
        if self._filter.states & State.INACTIVE or self._filter.results:
            yield from (job for job in self._finished() if job.id not in shown and self._is_wanted(job))

    def _finished(self) -> Iterator[Job]:
        since_us = self._query.since_us or 0
        if self._query.name is not None:
            named = [job for job in self.reader.named(self._query.name) if job.t_inactive_us > since_us]
            return iter(sorted(named, key=list_key))
        most = self._query.count if not self._filter.results else None
        return self.reader.finished(since_us=since_us, most=-1 if most is None else most)

    def _is_wanted(self, job: Job) -> bool:
        return self._query.name in (None, job.spec.name) and matches(job, self._filter)


def _filter_of(query: Query) -> Filter:
    if query.filter is None:
        return EVERY_STATE if query.everything or query.since_us is not None else Filter(State.NEW | ACTIVE)
    wanted = read_filter(query.filter)
    if isinstance(wanted, BadFilter):
        raise Failure(f"--filter: {wanted.text}", USAGE)
    return wanted


# ---- how ----------------------------------------------------------------------------------------------------------


def jobs(where: Place, query: Query, *, only_ids: bool, template: str | None, as_json: bool) -> int:
    """Print the jobs of a query; the exit code says whether all ids are known."""
    with reading(where) as reader:
        choice = Choice(reader, query)
        if only_ids:
            _write(f"{job.id}\n" for job in choice.jobs())
        elif template is not None:
            _write_formatted(choice, where, template)
        elif as_json:
            _write_json(choice, where)
        else:
            _write_table(choice, query)
        for id_ in choice.unknown:
            tell(f"job {id_}: unknown (never given out, or purged)")
        return NO_JOB if choice.unknown else OK


def _write(lines: Iterator[str]) -> None:
    while portion := list(islice(lines, PORTION)):
        sys.stdout.write("".join(portion))


def documents(choice: Choice, where: Place) -> Iterator[dict[str, Json]]:
    """The documents of the chosen jobs."""
    here, now_us, user = hostname(), time.time_ns() // 1000, cache(username)
    why = reasons_from(where, choice.reader, lambda: choice.active)
    for job in choice.jobs():
        yield job_info(job, username=user(job.userid), now_us=now_us, reasons=why(job), hostname=here)


def reasons_from(where: Place, reader: StoreReader, active: Callable[[], Iterable[Job]]) -> Why:
    """A function that says why a job does not run; active jobs and scheduler are asked when the first one waits."""
    asked: list[Callable[[Job], list[str]]] = []

    def why(job: Job) -> Sequence[str]:
        if job.state >= State.RUN:
            return ()
        if not asked:
            asked.append(_ask(where, standing(active(), reader.rules())))
        return asked[0](job)

    return why


def _ask(where: Place, queue: Queue) -> Callable[[Job], list[str]]:
    scheduler = scheduler_status(where.root)
    if scheduler is None:
        free = look(queue, Limits(_NO_LIMIT, _NO_LIMIT))
        return lambda job: [*reasons(free, job), UNSERVED]
    outlook = look(queue, Limits(scheduler.max_running, scheduler.cores, draining=scheduler.drained))
    return lambda job: reasons(outlook, job)


def _write_json(choice: Choice, where: Place) -> None:
    from jqsched.cli.fastjson import writer

    line = writer(cache(username), time.time_ns() // 1000, hostname())
    why = reasons_from(where, choice.reader, lambda: choice.active)
    lines = (line(job, why(job)) for job in choice.jobs())
    sys.stdout.write(f'{{"schema":"{SCHEMA}","jobs":[')
    between = "\n"
    while portion := list(islice(lines, PORTION)):
        sys.stdout.write(between + ",\n".join(portion))
        between = ",\n"
    sys.stdout.write("\n]}\n")


def _write_formatted(choice: Choice, where: Place, template: str) -> None:
    from jqsched.cli.template import compiled

    write = compiled(template)
    _write(write(document) + "\n" for document in documents(choice, where))


# ---- the table ----------------------------------------------------------------------------------------------------


class Row(NamedTuple):
    """A line of the table."""

    id: str
    name: str
    status: str
    priority: str
    runtime: str
    remark: str


HEADER = Row("ID", "NAME", "STATE", "PRIORITY", "TIME", "REMARK")


def _row(job: Job, now_us: int) -> Row:
    ran_us = runtime_us(job, now_us)
    return Row(
        str(job.id),
        job.spec.name,
        formats.status(job),
        str(job.priority) if job.priority >= 0 else "-",
        formats.duration(ran_us) if ran_us else "-",
        formats.remark(job),
    )


def _write_table(choice: Choice, query: Query) -> None:
    now_us = time.time_ns() // 1000
    rows = [_row(job, now_us) for job in choice.jobs()]
    if not rows and not choice.unknown:
        shown_all = query.everything or query.filter or query.name or query.since_us
        tell("no such jobs" if shown_all else "no active jobs (-a shows finished ones too)")
        return
    rows.insert(0, HEADER)
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    if sys.stdout.isatty():
        _write_colored(rows, widths)
    else:
        _write("".join(_columns(row, widths)).rstrip() + "\n" for row in rows)


def _columns(row: Row, widths: Sequence[int]) -> tuple[str, str, str]:
    """A line in three parts, of which the middle one has a colour."""
    left = f"{row.id:>{widths[0]}}  {row.name:<{widths[1]}}  "
    right = f"  {row.priority:>{widths[3]}}  {row.runtime:>{widths[4]}}  {row.remark}"
    return left, f"{row.status:<{widths[2]}}", right


def _write_colored(rows: Sequence[Row], widths: Sequence[int]) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    for begin in range(0, len(rows), PORTION):
        text = Text(no_wrap=True, overflow="ellipsis")
        for row in rows[begin : begin + PORTION]:
            left, status, right = _columns(row, widths)
            style = "bold" if row is HEADER else formats.STYLES.get(row.status, "dim")
            text.append(left).append(status, style).append(f"{right}\n")
        console.print(text, end="")
