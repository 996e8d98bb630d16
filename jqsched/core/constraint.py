"""Constraints on lists of jobs (RFC 31 with job-list's operators): read, and matched against jobs.

Rule: a constraint says of one job whether it matches; the work is bounded when it is read (depth, hosts) and when it is
matched (`Budget`). Refusals have Flux's wording. Source: RFC 31, RFC 43; RFC 22, RFC 29.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from math import isfinite
from typing import TypeAlias

from attrs import define, frozen

from jqsched.core.job import Job, Result, State
from jqsched.core.jobspec.values import is_unicode, show
from jqsched.core.view import ACTIVE, PENDING, RUNNING, accounting

COMPARISONS_MAX = 1_000_000
DEPTH_MAX = 32
HOSTS_MAX = 1024
LIMIT_S_MAX = 1e300  # later than all times, as what is more; in microseconds it is still a number
EVERYONE = 2**32 - 1  # the userid that stands for all users
THE_RANK = 0  # there is one node, and it has this rank

EXCESSIVE = "Excessive comparisons made, limit search via states or since"


class Excessive(ValueError):
    """A search that took more comparisons than it may; the text is Flux's, the errno EINVAL."""


@define
class Budget:
    """How many comparisons one request may still make."""

    left: int = COMPARISONS_MAX

    def spend(self) -> None:
        """Take one; Raises Excessive when there is none."""
        if self.left <= 0:
            raise Excessive(EXCESSIVE)
        self.left -= 1


# ---- the values ---------------------------------------------------------------------------------------------------


@frozen
class Every:
    """Matches all jobs: no constraint."""


@frozen
class And:
    """Matches a job that all of these match; empty: all jobs."""

    parts: tuple["Constraint", ...]


@frozen
class Or:
    """Matches a job that one of these matches; empty: all jobs."""

    parts: tuple["Constraint", ...]


@frozen
class Not:
    """Matches a job that not all of these match; empty: none."""

    parts: tuple["Constraint", ...]


@frozen
class UserIds:
    """Matches the jobs of these users; `EVERYONE` among them: all."""

    ids: frozenset[int]


@frozen
class Names:
    """Matches jobs with one of these names."""

    names: frozenset[str]


@frozen
class Queues:
    """Matches jobs whose jobspec says one of these queues."""

    queues: frozenset[str]


@frozen
class States:
    """Matches jobs in one of these states (a bit mask)."""

    mask: int


@frozen
class Results:
    """Matches jobs that ended with one of these results (a bit mask)."""

    mask: int


@frozen
class Hosts:
    """Matches jobs that got one of these hosts."""

    hosts: frozenset[str]


@frozen
class Ranks:
    """Matches jobs that got a rank in one of these ranges, ends included."""

    ranges: tuple[tuple[int, int], ...]


@frozen
class Time:
    """Matches jobs that entered a state before or after a time; `field` is the job's, `limit_s` as it was given (but at
    most LIMIT_S_MAX).
    """

    field: str
    operator: str
    limit_s: float


Constraint: TypeAlias = Every | And | Or | Not | UserIds | Names | Queues | States | Results | Hosts | Ranks | Time


@frozen
class BadConstraint:
    """What is no constraint: Flux's text, whose errno is EPROTO."""

    text: str


# ---- names of states and results ----------------------------------------------------------------------------------

_VIRTUAL = {"PENDING": ("PD", PENDING), "RUNNING": ("RU", RUNNING), "ACTIVE": ("A", ACTIVE)}
_SHORT_RESULTS = {Result.COMPLETED: "CD", Result.FAILED: "F", Result.CANCELED: "CA", Result.TIMEOUT: "TO"}

# mask -> (long, short); Flux knows both, in upper and in lower case
STATE_NAMES: Mapping[int, tuple[str, str]] = {
    **{state.value: (state.name, state.name[0]) for state in State},
    **{int(mask): (name, short) for name, (short, mask) in _VIRTUAL.items()},
}
RESULT_NAMES: Mapping[int, tuple[str, str]] = {result.value: (result.name, _SHORT_RESULTS[result]) for result in Result}


def _by_name(names: Mapping[int, tuple[str, str]]) -> dict[str, int]:
    return {form: mask for mask, both in names.items() for name in both for form in (name, name.lower())}


STATES_BY_NAME: Mapping[str, int] = _by_name(STATE_NAMES)
RESULTS_BY_NAME: Mapping[str, int] = _by_name(RESULT_NAMES)


@frozen
class BadFilter:
    """A filter that names what is neither a state nor a result; the text says what could be named."""

    text: str


def read_filter(text: str) -> Constraint | BadFilter:
    """Read a comma list of states, virtual states and results, long or short, upper or lower case: any of them."""
    states = results = 0
    for word in text.split(","):
        name = word.strip().lower()
        if name not in STATES_BY_NAME and name not in RESULTS_BY_NAME:
            names = [long.lower() for long, _ in (*STATE_NAMES.values(), *RESULT_NAMES.values())]
            return BadFilter(f"{show(word.strip())} is no state or result; there are {', '.join(names)}")
        states |= STATES_BY_NAME.get(name, 0)
        results |= RESULTS_BY_NAME.get(name, 0)
    return Or((States(states), Results(results)))


# ---- matching -----------------------------------------------------------------------------------------------------


def matches(constraint: Constraint, job: Job, budget: Budget, hostname: str = "localhost") -> bool:
    """Whether the constraint matches the job; `hostname` is the node that jobs run on.

    Raises: Excessive. Cost: one comparison for each leaf looked at; `and` and `or` stop at the first that decides.
    """
    match constraint:
        case And(parts):
            return _all(parts, job, budget, hostname)
        case Or(parts):
            return not parts or any(matches(part, job, budget, hostname) for part in parts)
        case Not(parts):
            return not _all(parts, job, budget, hostname)
        case _:
            budget.spend()
            return _leaf_matches(constraint, job, hostname)


def _all(parts: Iterable[Constraint], job: Job, budget: Budget, hostname: str) -> bool:
    return all(matches(part, job, budget, hostname) for part in parts)


_Leaf: TypeAlias = Every | UserIds | Names | Queues | States | Results | Hosts | Ranks | Time


def _leaf_matches(leaf: _Leaf, job: Job, hostname: str) -> bool:
    match leaf:
        case Every():
            return True
        case UserIds(ids):
            return job.userid in ids or EVERYONE in ids
        case Names(names):
            return job.spec.name in names
        case Queues(queues):
            return job.spec.jobspec is not None and accounting(job.spec)[0] in queues
        case States(mask):
            return bool(job.state & mask)
        case Results(mask):
            result = job.result
            return result is not None and bool(result & mask)
        case Hosts(hosts):
            return job.t_run_us > 0 and hostname in hosts
        case Ranks():
            return job.t_run_us > 0 and holds_the_rank(leaf)
        case Time(field, operator, limit_s):
            time_us: int = getattr(job, f"{field}_us")
            return time_us > 0 and OPERATORS[operator](time_us / 1_000_000, limit_s)


def holds_the_rank(ranks: Ranks) -> bool:
    """Whether the rank that all jobs run on is one of these."""
    return any(low <= THE_RANK <= high for low, high in ranks.ranges)


OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": lambda time_s, limit_s: time_s >= limit_s,
    "<=": lambda time_s, limit_s: time_s <= limit_s,
    ">": lambda time_s, limit_s: time_s > limit_s,
    "<": lambda time_s, limit_s: time_s < limit_s,
}  # the longer ones first: they are looked for in this order


# ---- reading ------------------------------------------------------------------------------------------------------


class _Bad(ValueError):
    """What is wrong with a constraint."""


def read_constraint(document: object) -> Constraint | BadConstraint:
    """Read a constraint object.

    Refuses: with Flux's text (EPROTO) what is none; what is nested more than `DEPTH_MAX` deep, too (ours).
    Cost:    O(size), a host range counted before it is spelled out.
    """
    try:
        return _read(document, 1)
    except _Bad as bad:
        return BadConstraint(f"invalid payload: constraint object invalid: {bad}")


def _read(document: object, depth: int) -> Constraint:
    if not isinstance(document, Mapping):
        raise _Bad("constraint must be JSON object")
    if len(document) > 1:
        raise _Bad("constraint must only contain 1 element")
    if depth > DEPTH_MAX:
        raise _Bad(f"nested more than {DEPTH_MAX} deep")
    for operator, values in document.items():
        if not isinstance(values, list | tuple):
            raise _Bad(f"operator {_shown(operator)} values not an array")
        if operator in _COMPOUND:
            return _COMPOUND[operator](tuple(_read(value, depth + 1) for value in values))
        if operator not in _READERS:
            raise _Bad(f"unknown constraint operator: {_shown(operator)}")
        return _READERS[operator](values)
    return Every()


def _shown(word: object) -> str:
    return show(word)[1:-1]  # Flux puts no quotes, or its own, around it


_Values: TypeAlias = list[object] | tuple[object, ...]


def _user_ids(values: _Values) -> Constraint:
    if not all(type(value) is int for value in values):
        raise _Bad("userid value must be an integer")
    return UserIds(frozenset(value & EVERYONE for value in values if isinstance(value, int)))


def _texts(what: str, values: _Values) -> list[str]:
    texts = [value for value in values if isinstance(value, str)]
    if len(texts) != len(values):
        raise _Bad(f"{what} value must be a string")
    return texts


def _mask(what: str, values: _Values, by_name: Mapping[str, int]) -> int:
    known = mask = 0
    for bits in by_name.values():
        known |= bits
    for value in values:
        if isinstance(value, str):
            if value not in by_name:
                raise _Bad(f"invalid {what} value '{_shown(value)}' specified")
            mask |= by_name[value]
        elif type(value) is int:
            if value & ~known:
                shown = value if value >= 0 else value & 0xFFFFFFFF
                raise _Bad(f"invalid {what} value '{shown:X}h' specified")
            mask |= value
        else:
            raise _Bad(f"{what} value invalid type")
    return mask


_NUMBER = re.compile(r"[+-]?(?:\d++\.?\d*+|\.\d++)(?:[eE][+-]?\d++)?", re.ASCII)  # possessive: linear


def _time(field: str) -> Callable[[_Values], Constraint]:
    def read(values: _Values) -> Constraint:
        if not values:
            raise _Bad("timestamp value not specified")
        text = values[0]
        if not isinstance(text, str):
            raise _Bad(f"{field} value must be a string")
        operator = next((operator for operator in OPERATORS if text.startswith(operator)), None)
        if operator is None:
            raise _Bad("timestamp comparison operator not specified")
        number = text.removeprefix(operator).lstrip()
        limit_s = float(number) if _NUMBER.fullmatch(number) else float("nan")
        if not isfinite(limit_s):
            raise _Bad("Invalid timestamp value specified")
        if limit_s < 0:
            raise _Bad("timestamp value must be >= 0.0")
        return Time(field, operator, min(limit_s, LIMIT_S_MAX))

    return read


# ---- hosts and ranks ----------------------------------------------------------------------------------------------

_HOST = re.compile(r"([^\[\],\s]*)(?:\[([\d,-]+)\]([^\[\],\s]*))?", re.ASCII)
_HOST_PART = re.compile(r"(?:[^,\[]|\[[^\]]*+\]?)*+")
_RANGE = re.compile(r"(\d{1,10})(?:-(\d{1,10}))?", re.ASCII)


def _hosts(values: _Values) -> Constraint:
    """Read hosts in RFC 29's form: `a`, `a,b`, `a[1-3,7]`, `a[01-10]b`; one pair of brackets in each."""
    hosts: set[str] = set()
    for text in _texts("host", values):
        for part in _host_parts(text):
            found = _HOST.fullmatch(part)
            if found is None or not part:
                raise _Bad("host value not in valid Hostlist format")
            prefix, ranges, suffix = found.groups()
            hosts.update([prefix] if ranges is None else _spelled_out(prefix, ranges, suffix, HOSTS_MAX - len(hosts)))
            if len(hosts) > HOSTS_MAX:
                raise _Bad("too many hosts specified")
    return Hosts(frozenset(hosts))


def _host_parts(text: str) -> Iterator[str]:
    """Split at the commas outside brackets, in one go: a look ahead from each comma would be quadratic."""
    at = 0
    while at <= len(text) and (found := _HOST_PART.match(text, at)):
        yield found[0]
        at = found.end() + 1


def _spelled_out(prefix: str, ranges: str, suffix: str, most: int) -> list[str]:
    hosts: list[str] = []
    for part in ranges.split(","):
        low, high = _range(part, "host value not in valid Hostlist format")
        if high - low >= most - len(hosts) + 1:
            raise _Bad("too many hosts specified")
        width = len(part.partition("-")[0])
        hosts += [f"{prefix}{number:0{width}}{suffix}" for number in range(low, high + 1)]
    return hosts


def _ranks(values: _Values) -> Constraint:
    """Read ranks as idsets (RFC 22): `0`, `0-3,7`, or with brackets around."""
    ranges: list[tuple[int, int]] = []
    for text in _texts("ranks", values):
        inner = text[1:-1] if text.startswith("[") and text.endswith("]") else text
        ranges += [_range(part, "ranks value not in valid Idset format") for part in inner.split(",") if inner]
    return Ranks(tuple(ranges))


def _range(text: str, otherwise: str) -> tuple[int, int]:
    found = _RANGE.fullmatch(text)
    low, high = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
    if low > high:
        raise _Bad(otherwise)
    return low, high


_COMPOUND: Mapping[str, Callable[[tuple[Constraint, ...]], Constraint]] = {"and": And, "or": Or, "not": Not}
TIMES = ("t_submit", "t_depend", "t_priority", "t_sched", "t_run", "t_cleanup", "t_inactive")
_READERS: Mapping[str, Callable[[_Values], Constraint]] = {
    "userid": _user_ids,
    "name": lambda values: Names(frozenset(filter(is_unicode, _texts("name", values)))),
    "queue": lambda values: Queues(frozenset(_texts("queue", values))),
    "states": lambda values: States(_mask("states", values, STATES_BY_NAME)),
    "results": lambda values: Results(_mask("results", values, RESULTS_BY_NAME)),
    "hostlist": _hosts,
    "ranks": _ranks,
    **{field: _time(field) for field in TIMES},
}
