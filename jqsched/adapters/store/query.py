"""Constraints on lists as SQL: which jobs may match, found by index where one serves, in the order of lists.

Rule: the condition never misses a job that matches. Where it may let others through (`exact` is false) the caller asks
`core.constraint.matches` again; what it says exactly needs no second look.
"""

from collections.abc import Callable, Iterable, Sequence

from attrs import frozen

from jqsched.core.constraint import (
    EVERYONE,
    And,
    Constraint,
    Every,
    Hosts,
    Names,
    Not,
    Or,
    Queues,
    Ranks,
    Results,
    States,
    Time,
    UserIds,
    holds_the_rank,
)
from jqsched.core.job import Result, State
from jqsched.core.view import ACTIVE, RUNNING

TERMS_MAX = 200  # SQLite takes expressions 1,000 deep; a chain of AND is one
VALUES_MAX = 500
RARE = 500  # so many jobs of a name are sooner sorted than found among all others
_TIME_END_US = 2**62

_CANCEL = "(fatal AND ifnull(substr(exception, 1, 10) = '[\"cancel\",', 0))"
_TIMEOUT = "(fatal AND ifnull(substr(exception, 1, 11) = '[\"timeout\",', 0))"
_COMPLETED = "(NOT fatal AND status IS 0)"
_RESULTS = {
    Result.COMPLETED: _COMPLETED,
    Result.FAILED: f"NOT ({_COMPLETED} OR {_CANCEL} OR {_TIMEOUT})",
    Result.CANCELED: _CANCEL,
    Result.TIMEOUT: _TIMEOUT,
}


@frozen
class Part:
    """A part of the job table: the states in it, the index over it, and the order of lists in it."""

    states: int
    where: str
    index: str
    order: str


_LIVE_ORDER = f"state & {RUNNING} > 0, CASE WHEN state & {RUNNING} THEN -t_run_us ELSE -max(priority, 0) END, id"
LIVE = Part(State.NEW | ACTIVE, "state < 64", "jobs_live", _LIVE_ORDER)
FINISHED = Part(State.INACTIVE, "state = 64", "jobs_inactive", "t_inactive_us DESC, id DESC")


@frozen
class Condition:
    """A condition on jobs, its values, whether it says exactly what the constraint does, and its size."""

    sql: str
    values: tuple[object, ...] = ()
    exact: bool = True
    terms: int = 1

    @property
    def matches_none(self) -> bool:
        """Whether no job of this part can match."""
        return self.sql == "0"


# These three stand alone, never inside another condition: for what is false whatever the row is, SQLite finds "no query
# solution" where an index is prescribed.
_ALL, _NONE, _PERHAPS = Condition("1"), Condition("0"), Condition("1", exact=False)


def condition(constraint: Constraint, part: Part, hostname: str) -> Condition:
    """Translate a constraint, for jobs of one part of the table; `hostname` is the node that jobs run on."""
    match constraint:
        case Every():
            return _ALL
        case And(parts):
            return _all([condition(inner, part, hostname) for inner in parts])
        case Or(parts):
            return _any([condition(inner, part, hostname) for inner in parts])
        case Not(parts):
            return _none(condition(And(parts), part, hostname))
        case UserIds(ids):
            return _ALL if EVERYONE in ids else _one_of("userid", ids)
        case Names(names):
            return _one_of("name", names)
        case Queues(queues):
            return Condition("instr(spec, '\"queue\"')", exact=False) if queues else _NONE
        case States(mask):
            return _states(mask & part.states, part)
        case Results(mask):
            return _results(mask if part is FINISHED else 0)
        case Hosts(hosts):
            return _RAN if hostname in hosts else _NONE
        case Ranks():
            return _RAN if holds_the_rank(constraint) else _NONE
        case Time():
            return _time(constraint)


_RAN = Condition("t_run_us > 0")


def _all(parts: Sequence[Condition]) -> Condition:
    if _NONE in parts:
        return _NONE
    exact = all(part.exact for part in parts)
    return _joined(" AND ", [part for part in parts if part.sql != _ALL.sql], _ALL if exact else _PERHAPS, exact)


def _any(parts: Sequence[Condition]) -> Condition:
    if not parts or _ALL in parts:
        return _ALL
    if _PERHAPS in parts:
        return _PERHAPS
    return _joined(" OR ", [part for part in parts if part != _NONE], _NONE, all(part.exact for part in parts))


def _none(whole: Condition) -> Condition:
    if whole in (_ALL, _NONE):
        return _NONE if whole == _ALL else _ALL
    return Condition(f"NOT ({whole.sql})", whole.values, terms=whole.terms + 1) if whole.exact else _PERHAPS


def _joined(operator: str, parts: Sequence[Condition], empty: Condition, exact: bool) -> Condition:
    if not parts:
        return empty
    terms, values = sum(part.terms for part in parts), [value for part in parts for value in part.values]
    if terms > TERMS_MAX or len(values) > VALUES_MAX:
        return _PERHAPS
    return Condition(operator.join(f"({part.sql})" for part in parts), tuple(values), exact, terms)


def _states(mask: int, part: Part) -> Condition:
    if mask == part.states:
        return _ALL
    return Condition(f"state & {mask}") if mask else _NONE


def _results(mask: int) -> Condition:
    wanted = [sql for result, sql in _RESULTS.items() if mask & result]
    return Condition(f"({' OR '.join(wanted)})", terms=4 * len(wanted)) if wanted else _NONE


def _one_of(column: str, wanted: Iterable[int] | Iterable[str]) -> Condition:
    values = tuple(sorted(wanted))
    if not values or len(values) > VALUES_MAX:
        return _PERHAPS if values else _NONE
    return Condition(f"{column} IN ({','.join('?' * len(values))})", values)


def _time(wanted: Time) -> Condition:
    """Compare as `matches` does, in seconds; and in microseconds, a little wider, for the index's sake.

    The `+` keeps the index for this one comparison: of two lower bounds SQLite takes either.
    """
    column, limit_us = f"{wanted.field}_us", min(int(wanted.limit_s * 1_000_000), _TIME_END_US)
    near = f"{column} >= ?" if wanted.operator.startswith(">") else f"{column} <= ?"
    margin_us = 2 + limit_us // 2**50  # what a float of this size may be off by
    bound_us = limit_us - margin_us if wanted.operator.startswith(">") else limit_us + margin_us
    return Condition(
        f"{near} AND +{column} > 0 AND {column} / 1000000.0 {wanted.operator} ?", (bound_us, wanted.limit_s), terms=3
    )


# ---- queries ------------------------------------------------------------------------------------------------------


def required_names(constraint: Constraint) -> frozenset[str] | None:
    """Return the names of which a matching job must have one; None when it may have any."""
    match constraint:
        case Names(names):
            return names
        case And(parts):
            found = [required_names(part) for part in parts]
            return min((names for names in found if names is not None), key=len, default=None)
        case _:
            return None


def statement(
    select: str,
    part: Part,
    constraint: Constraint,
    since_us: int,
    found: Condition,
    count: Callable[[str, Sequence[object]], int],
) -> tuple[str, tuple[object, ...]]:
    """Write the query for the jobs of one part, in the order of lists; finished ones that ended after `since_us`.

    `count` runs a query for one number. Where few jobs have the names that are asked for, these are fetched and sorted;
    else finished jobs are walked in the order of their ends until there are enough, and live ones are sorted.
    """
    index, names = part.index, required_names(constraint)
    if names is not None and len(names) <= VALUES_MAX:
        marks = ",".join("?" * len(names))
        few = f"SELECT count(*) FROM (SELECT 1 FROM jobs INDEXED BY jobs_by_name WHERE name IN ({marks}) LIMIT {RARE})"
        if count(few, tuple(sorted(names))) < RARE:
            index = "jobs_by_name"
    clauses, values = [part.where, f"({found.sql})"], found.values
    if part is FINISHED and since_us > 0:
        clauses, values = [*clauses, "t_inactive_us > ?"], (*values, since_us)
    return f"{select} INDEXED BY {index} WHERE {' AND '.join(clauses)} ORDER BY {part.order}", values
