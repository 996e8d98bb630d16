"""`jqsched jobs`: which jobs, in which order, as a table, ids, a format of the user's, or JSON.

Rule: everything comes out as it is read, portion by portion; only what has to be sorted is held. All of it is of one
moment. Which jobs there are and in which order the store says, here as for `job-list`.
"""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from itertools import chain, islice
from typing import NamedTuple

from attrs import frozen

from jqsched.adapters.store.reader import StoreReader
from jqsched.cli import formats
from jqsched.cli.arrays import Group, grouped, name_of
from jqsched.cli.failure import NO_JOB, OK, USAGE, Failure, printable, tell
from jqsched.cli.selection import Filters, Scope, resolve
from jqsched.cli.selector import Selector
from jqsched.cli.target import Place, Status, hostname, reading, scheduler_status, userid, username
from jqsched.core.constraint import (
    And,
    BadConstraint,
    Budget,
    Constraint,
    Every,
    Names,
    Queues,
    States,
    UserIds,
    matches,
    read_constraint,
)
from jqsched.core.event import NO_CONTEXT
from jqsched.core.explain import LOG_FULL, UNSERVED, Snapshot, reasons, stalled, take_snapshot
from jqsched.core.job import Job, State
from jqsched.core.json import Json, JsonObject
from jqsched.core.policy import Limits
from jqsched.core.queue import Queue
from jqsched.core.view import ACTIVE, job_info, runtime_us, standing

SCHEMA = "jqsched.jobs/1"
PORTION = 500  # jobs written at once
_NO_LIMIT = 2**31
_ALL_COMPARISONS = 2**63  # no limit: a search of one's own store holds up no other user

_ACTIVE = States(State.NEW | ACTIVE)

Why = Callable[[Job], Sequence[str]]


@frozen
class Query:
    """What was asked for; `since_us` is for finished jobs only. `constraint` is JSON, `sort` a list of keys."""

    selectors: Sequence[Selector] = ()
    everything: bool = False
    filter: str | None = None
    failed: bool = False
    name: str | None = None
    queue: str | None = None
    user: str | None = None
    constraint: str | None = None
    since_us: int | None = None
    count: int | None = None
    sort: str | None = None


# ---- which --------------------------------------------------------------------------------------------------------


class Choice:
    """The jobs of a query. `active` are all active jobs, where they had to be read anyway."""

    def __init__(self, reader: StoreReader, query: Query) -> None:
        self.reader, self._query = reader, query
        self._constraint = _constraint_of(query)
        is_widened = query.everything or query.since_us is not None or self._constraint != Every()
        self._ids = resolve(reader, query.selectors, Scope.EITHER, widened=is_widened)
        self._active: list[Job] | None = None
        self.unknown: list[int] = []

    @property
    def active(self) -> list[Job]:
        """All active jobs, in the order of lists, read once."""
        if self._active is None:
            self._active = list(self._search(_ACTIVE))
        return self._active

    def jobs(self) -> Iterator[Job]:
        """The jobs that were asked for, in the order of lists, or that of `--sort`; named by id, in the order given."""
        jobs = self._by_id() if self._query.selectors else self._listed()
        if self._query.sort is None:
            return jobs
        from jqsched.cli.template import sorted_by

        return iter(sorted_by(self._query.sort, jobs, shown_as()))

    def _by_id(self) -> Iterator[Job]:
        """Those of the named jobs that all other options let through, too."""
        found = self.reader.jobs(self._ids)
        self.unknown = [id_ for id_ in self._ids if id_ not in found]
        budget, here, since_us = Budget(_ALL_COMPARISONS), hostname(), self._query.since_us or 0
        chosen = (
            job
            for job in found.values()
            if matches(self._constraint, job, budget, here)
            and (job.state is not State.INACTIVE or job.t_inactive_us > since_us)
        )
        return islice(chosen, self._query.count)

    def _listed(self) -> Iterator[Job]:
        """What all active jobs are part of, or all of, is made of those that were read anyway."""
        if self._query.count is None and self._constraint == _ACTIVE:
            return iter(self.active)
        if self._query.count is None and self._constraint == Every():
            return chain(self.active, self._search(States(State.INACTIVE)))
        return self._search(self._constraint, -1 if self._query.count is None else self._query.count)

    def _search(self, constraint: Constraint, most: int = -1) -> Iterator[Job]:
        since_us, budget = self._query.since_us or 0, Budget(_ALL_COMPARISONS)
        return self.reader.search(constraint, since_us=since_us, most=most, budget=budget, hostname=hostname())


def _constraint_of(query: Query) -> Constraint:
    """What a job must be to be listed; without any word on it, and not named by id, active."""
    parts: list[Constraint] = []
    chosen = Filters(query.failed, query.filter).constraint
    if chosen != Every():
        parts.append(chosen)
    elif not query.everything and query.since_us is None and query.constraint is None and not query.selectors:
        parts.append(_ACTIVE)
    if query.name is not None:
        parts.append(Names(frozenset((query.name,))))
    if query.queue is not None:
        parts.append(Queues(frozenset((query.queue,))))
    if query.user is not None:
        parts.append(UserIds(frozenset((userid(query.user),))))
    if query.constraint is not None:
        parts.append(_read_constraint(query.constraint))
    return And(tuple(parts)) if len(parts) > 1 else parts[0] if parts else Every()


def _read_constraint(text: str) -> Constraint:
    import json

    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Failure(f"--constraint: not JSON: {error}", USAGE) from None
    wanted = read_constraint(document)
    if isinstance(wanted, BadConstraint):
        raise Failure(f"--constraint: {wanted.text.removeprefix('invalid payload: ')}", USAGE)
    return wanted


# ---- how ----------------------------------------------------------------------------------------------------------


def jobs(
    where: Place, query: Query, *, only_ids: bool, template: str | None, as_json: bool, expand: bool = False
) -> int:
    """Print the jobs of a query; the exit code says whether all ids are known. `expand`: each element by itself."""
    with reading(where) as reader, reader.snapshot():
        choice = Choice(reader, query)
        if only_ids:
            _write(f"{job.id}\n" for job in choice.jobs())
        elif template is not None:
            _write_formatted(choice, where, template)
        elif as_json:
            _write_json(choice, where)
        else:
            _write_table(choice, query, expand=expand)
        for id_ in choice.unknown:
            tell(f"job {id_}: unknown (never given out, or purged)")
        return NO_JOB if choice.unknown else OK


def _write(lines: Iterator[str]) -> None:
    while portion := list(islice(lines, PORTION)):
        sys.stdout.write("".join(portion))


def shown_as(
    why: Why = lambda job: (), notes: Callable[[int], JsonObject] = lambda _: NO_CONTEXT
) -> Callable[[Job], dict[str, Json]]:
    """A function that makes the document of a job, as of now; `notes` reads what plugins noted of it."""
    here, now_us, user = hostname(), time.time_ns() // 1000, cache(username)

    def document(job: Job) -> dict[str, Json]:
        noted, reasons = notes(job.id), why(job)
        return job_info(job, username=user(job.userid), now_us=now_us, reasons=reasons, hostname=here, notes=noted)

    return document


def reasons_from(where: Place, reader: StoreReader, active: Callable[[], Iterable[Job]]) -> Why:
    """A function that says why a job does not run; active jobs and scheduler are asked when the first one waits."""
    asked: list[Callable[[Job], list[str]]] = []

    def why(job: Job) -> Sequence[str]:
        if job.state >= State.RUN:
            return ()
        if not asked:
            snapshot = snapshot_of(standing(active(), reader.rules()), scheduler_status(where.root))
            asked.append(partial(reasons, snapshot))
        return asked[0](job)

    return why


def snapshot_of(queue: Queue, scheduler: Status | None) -> Snapshot:
    """What is needed to say why jobs do not run: for each command that says so, that all say the same."""
    if scheduler is None:
        return take_snapshot(queue, Limits(_NO_LIMIT, _NO_LIMIT), time.time_ns() // 1000, (UNSERVED,))
    general = [stalled(scheduler.stalled)] if scheduler.stalled else []
    if scheduler.log_full:
        general.append(LOG_FULL)
    return take_snapshot(queue, scheduler.limits, time.time_ns() // 1000, tuple(general))


def _write_json(choice: Choice, where: Place) -> None:
    from jqsched.cli.fastjson import writer

    line = writer(cache(username), time.time_ns() // 1000, hostname(), choice.reader.notes())
    why = reasons_from(where, choice.reader, lambda: choice.active)
    lines = (line(job, why(job)) for job in choice.jobs())
    head = between = f'{{"schema":"{SCHEMA}","jobs":[\n'  # with the first of them: what fails before prints nothing
    while portion := list(islice(lines, PORTION)):
        sys.stdout.write(between + ",\n".join(portion))
        between = ",\n"
    sys.stdout.write("\n]}\n" if between != head else f"{head}]}}\n")


def _write_formatted(choice: Choice, where: Place, template: str) -> None:
    from jqsched.cli.template import compiled

    why = reasons_from(where, choice.reader, lambda: choice.active)
    write = compiled(template, shown_as(why, choice.reader.notes()), hostname())
    _write(write(job) + "\n" for job in choice.jobs())


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
        name_of(job),
        printable(job.spec.name),
        formats.status(job),
        str(job.priority) if job.priority >= 0 else "-",
        formats.duration(ran_us) if ran_us else "-",
        formats.remark(job, now_us),
    )


def _group_row(group: Group, now_us: int) -> Row:
    """The line of elements of an array that are all alike."""
    row = _row(group.jobs[0], now_us)
    many = len(group.jobs)
    return row if many == 1 else row._replace(id=group.id, runtime="-", remark=f"{many} jobs")


def _rows(choice: Choice, *, expand: bool) -> Iterator[Row]:
    now_us = time.time_ns() // 1000
    if expand or not choice.reader.has_arrays:
        return (_row(job, now_us) for job in choice.jobs())
    return (_group_row(group, now_us) for group in grouped(choice.jobs(), formats.status))


def _write_table(choice: Choice, query: Query, *, expand: bool) -> None:
    """Write the table, portion by portion; columns are as wide as what has come so far. Only where there are arrays all
    is read first, for an array's line stands where its first element does.
    """
    rows = _rows(choice, expand=expand)
    portion = list(islice(rows, PORTION))
    if not portion and not choice.unknown:
        tell("no active jobs (-a shows finished ones too)" if query == Query(query.selectors) else "no such jobs")
        return
    portion.insert(0, HEADER)
    widths, write = [0] * 5, _write_colored if sys.stdout.isatty() else _write_plain
    while portion:
        widths = [max(width, *(formats.cells(row[column]) for row in portion)) for column, width in enumerate(widths)]
        write(portion, widths)
        portion = list(islice(rows, PORTION))


def _write_plain(rows: Sequence[Row], widths: Sequence[int]) -> None:
    sys.stdout.write("".join(f"{''.join(_columns(row, widths)).rstrip()}\n" for row in rows))


def _columns(row: Row, widths: Sequence[int]) -> tuple[str, str, str]:
    """A line in three parts, of which the middle one has a colour."""
    left = f"{row.id:>{widths[0]}}  {formats.padded(row.name, widths[1])}  "
    right = f"  {row.priority:>{widths[3]}}  {row.runtime:>{widths[4]}}  {row.remark}"
    return left, f"{row.status:<{widths[2]}}", right


def _write_colored(rows: Sequence[Row], widths: Sequence[int]) -> None:
    from rich.console import Console
    from rich.text import Text

    console, text = Console(highlight=False), Text()
    for row in rows:
        left, status, right = _columns(row, widths)
        style = "bold" if row is HEADER else formats.STYLES.get(row.status, "dim")
        line = Text.assemble(left, (status, style), right.rstrip())
        line.truncate(console.width, overflow="ellipsis")
        text.append_text(line).append("\n")
    console.print(text, end="", soft_wrap=True)
