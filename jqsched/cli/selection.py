"""Which jobs a command is about: names, ranges and filters of the command line, looked up in the store.

In: selectors, filters, and the scope of a command (live jobs, finished ones). Out: ids in the order given, each once.
Raises Failure where a selector names no job; a filter that matches none is no failure.

Rule: an id is taken as it is, whether there is such a job or not: what is done with it says so. A name, a range and a
filter stand for those jobs in the scope of the command that there are. The id of an array stands for its elements.
"""

import enum
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from attrs import frozen

from jqsched.adapters.store.reader import StoreReader
from jqsched.cli.arrays import elements_at, one_of
from jqsched.cli.failure import NO_JOB, USAGE, Failure, tell
from jqsched.cli.selector import Elements, Ids, Named, Selector, Special, read_numbered, read_selector
from jqsched.cli.target import Place, hostname, known_job, reading
from jqsched.core.constraint import And, BadFilter, Budget, Constraint, Every, Names, States, matches, read_filter
from jqsched.core.job import Job, State
from jqsched.core.jobspec.values import show
from jqsched.core.view import ACTIVE

FAILED = "failed,timeout"  # what `--failed` stands for
UNASKED_MAX = 10  # so many jobs are changed by a filter without a question
INPUT_MAX = 1_000_000  # words on standard input
_WORD_BYTES_MAX = 4096
_ALL_COMPARISONS = 2**63  # no limit: a search of one's own store holds up no other user

_LIVE = States(State.NEW | ACTIVE)
_FINISHED = States(State.INACTIVE)


class Scope(enum.Enum):
    """Which jobs a name, a range or a filter stands for."""

    LIVE = "active"
    FINISHED = "finished"
    EITHER = "active, or with --all or a filter any"
    AWAITED = "as EITHER; and of a name that no active job has, the newest finished one"


_STRICT = (Scope.LIVE, Scope.FINISHED)


@frozen
class Filters:
    """The options that choose jobs. `yes`: more than a few of them are changed without a question."""

    failed: bool = False
    filter: str | None = None
    everything: bool = False
    yes: bool = False

    @property
    def constraint(self) -> Constraint:
        """What a job must be."""
        parts = [read_states(text) for text in (FAILED if self.failed else None, self.filter) if text is not None]
        return And(tuple(parts)) if len(parts) > 1 else parts[0] if parts else Every()

    @property
    def is_empty(self) -> bool:
        """Whether none was given."""
        return not (self.failed or self.everything or self.filter is not None)


def read_states(text: str) -> Constraint:
    """Read a comma list of states and results."""
    wanted = read_filter(text)
    if isinstance(wanted, BadFilter):
        raise Failure(f"--filter: {wanted.text}", USAGE)
    return wanted


# ---- several jobs -------------------------------------------------------------------------------------------------


def select(where: Place, command: str, words: Sequence[str] | None, filters: Filters, scope: Scope) -> list[int]:
    """Return the jobs that a command line chooses, by words and filters or by filters alone."""
    selectors = [read_selector(word) for word in words or ()]
    if not selectors and filters.is_empty:
        raise Failure(f"{command}: say which jobs: ids, names, --failed, --filter F or --all", USAGE)
    constraint = filters.constraint
    with reading(where) as reader, reader.snapshot():
        if not selectors:
            return sorted(job.id for job in _search(reader, _both(_bound(scope, widened=True), constraint)))
        ids = resolve(reader, selectors, scope, widened=not filters.is_empty)
        if constraint == Every():
            return ids
        jobs, budget, here = reader.jobs(ids), Budget(_ALL_COMPARISONS), hostname()
        return [id_ for id_ in ids if id_ not in jobs or matches(constraint, jobs[id_], budget, here)]


def select_to_change(
    where: Place, command: str, words: Sequence[str] | None, filters: Filters, scope: Scope
) -> list[int]:
    """Return the jobs that a command line chooses to be changed; many by a filter only after a question."""
    ids = select(where, command, words, filters, scope)
    if not ids:
        tell(f"{command}: no such jobs")
    if not filters.is_empty and len(ids) > UNASKED_MAX and not filters.yes:
        _ask(command, len(ids))
    return ids


def _ask(command: str, count: int) -> None:
    """Ask whether so many jobs are meant; without a terminal to ask on, refuse."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise Failure(f"{command}: {count} jobs would be changed; --yes says that they are meant", USAGE)
    sys.stderr.write(f"jqsched: {command} {count} jobs? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Failure(f"{command}: nothing was changed", USAGE)


def resolve(reader: StoreReader, selectors: Iterable[Selector], scope: Scope, *, widened: bool) -> list[int]:
    """Return the jobs that selectors stand for. `widened`: of the scope `EITHER` finished ones, too."""
    found: dict[int, None] = {}
    for selector in selectors:
        found.update(dict.fromkeys(_resolved(reader, selector, scope, widened=widened)))
    return list(found)


def _resolved(reader: StoreReader, selector: Selector, scope: Scope, *, widened: bool) -> Iterable[int]:
    match selector:
        case Ids(first, last):
            return _one(reader, first, scope, widened) if selector.is_one else _between(reader, first, last, scope)
        case Elements(id_, indexes):
            array = reader.array(id_)
            if array is None:
                raise _no_array(reader, id_)
            ids = elements_at(array, indexes)
            return ids if len(ids) == 1 else _in_scope(reader.jobs(ids).values(), scope) or ids
        case Named(name):
            return _of_name(reader, name, scope, widened=widened)
        case Special.LAST:
            return [_newest(reader)]
        case Special.STANDARD_INPUT:
            numbered = read_ids(sys.stdin.buffer)
            return resolve(reader, numbered, scope, widened=widened)


def _one(reader: StoreReader, id_: int, scope: Scope, widened: bool) -> list[int]:
    """Return the job of an id; where that is an array's its elements: those in the scope, if there are any. Where a
    command takes both active and finished jobs, the active ones are meant.
    """
    array = reader.array(id_)
    if array is None:
        return [id_]
    jobs = list(reader.between(id_, id_ + array.count - 1))
    is_narrow = scope is Scope.EITHER and not widened
    return _in_scope(jobs, Scope.LIVE if is_narrow else scope) or _in_scope(jobs, scope) or [id_]


def _in_scope(jobs: Iterable[Job], scope: Scope) -> list[int]:
    return [job.id for job in jobs if _is_in(job, scope)]


def _between(reader: StoreReader, first: int, last: int, scope: Scope) -> list[int]:
    """Return the jobs of a range. It names finished ones as well as active ones, where a command takes both."""
    ids = _in_scope(reader.between(first, last), scope)
    if not ids:
        kind = f"{scope.value} " if scope in _STRICT else ""
        raise Failure(f"{first}-{last}: no {kind}job has one of these ids", NO_JOB)
    return ids


def _is_in(job: Job, scope: Scope) -> bool:
    return scope not in _STRICT or (job.state is State.INACTIVE) == (scope is Scope.FINISHED)


def _of_name(reader: StoreReader, name: str, scope: Scope, *, widened: bool) -> list[int]:
    of_name, bound = Names(frozenset((name,))), _bound(scope, widened=widened)
    ids = sorted(job.id for job in _search(reader, _both(bound, of_name)))
    if not ids and scope is Scope.AWAITED:
        ids = [max((job.id for job in _search(reader, of_name)), default=0)]
    if not any(ids):
        raise _no_such_name(reader, name, scope)
    return ids


def _no_such_name(reader: StoreReader, name: str, scope: Scope) -> Failure:
    others = sum(1 for _ in _search(reader, Names(frozenset((name,)))))
    if not others:
        return Failure(f"no job is named {show(name)}", NO_JOB)
    if scope is Scope.FINISHED:
        return Failure(f"no finished job is named {show(name)}: {others} active", NO_JOB)
    return Failure(f"no active job is named {show(name)}: {others} finished (`jqsched jobs -a`)", NO_JOB)


def _no_array(reader: StoreReader, id_: int) -> Failure:
    known_job(reader, id_)
    return Failure(f"job {id_} is no array: it has no elements", NO_JOB)


def _newest(reader: StoreReader) -> int:
    id_ = reader.last_id()
    if not id_:
        raise Failure("last: there are no jobs", NO_JOB)
    return id_


def _bound(scope: Scope, *, widened: bool) -> Constraint:
    """Return what a job must be to be in a scope."""
    if scope is Scope.FINISHED:
        return _FINISHED
    return Every() if widened and scope is not Scope.LIVE else _LIVE


def _both(one: Constraint, other: Constraint) -> Constraint:
    return other if one == Every() else one if other == Every() else And((one, other))


def _search(reader: StoreReader, constraint: Constraint) -> Iterator[Job]:
    return reader.search(constraint, budget=Budget(_ALL_COMPARISONS), hostname=hostname())


# ---- standard input -----------------------------------------------------------------------------------------------


class Lines(Protocol):
    """A stream of lines."""

    def readline(self, size: int = -1, /) -> bytes:
        """Read a line, at most so many bytes of it."""


def read_ids(stream: Lines) -> list[Ids | Elements]:
    """Read ids and ranges, separated by blanks or line breaks, up to the end."""
    found: list[Ids | Elements] = []
    number = 0
    while line := stream.readline(_WORD_BYTES_MAX):
        number += 1
        for word in line.decode(errors="replace").split():
            numbered = read_numbered(word)
            if numbered is None:
                raise Failure(f"standard input, line {number}: {show(word)} is no job id", USAGE)
            found.append(numbered)
        if len(found) > INPUT_MAX:
            raise Failure(f"standard input: more than {INPUT_MAX} ids", USAGE)
    return found


# ---- one job ------------------------------------------------------------------------------------------------------


def select_one(where: Place, word: str) -> int:
    """Return the job that a word names; of several the newest active one, else the newest, which is said."""
    selector = read_selector(word)
    with reading(where) as reader, reader.snapshot():
        if isinstance(selector, Ids) and selector.is_one:
            array = reader.array(selector.first)
            return selector.first if array is None else one_of(reader, array)
        ids = resolve(reader, [selector], Scope.EITHER, widened=True)
        if not ids:
            raise Failure("standard input: no id", NO_JOB)
        if len(ids) == 1:
            return ids[0]
        return _newest_of(reader, word, ids)


def _newest_of(reader: StoreReader, word: str, ids: Sequence[int]) -> int:
    live = [id_ for id_, job in reader.jobs(ids).items() if job.state is not State.INACTIVE]
    newest = max(live or ids)
    tell(f"{show(word)} names {len(ids)} jobs; this is the newest{' active one' if live else ''}, {newest}")
    return newest
