"""The filter language: its values, and what they mean.

Rule: a filter answers true, false or, as None, that it went wrong; an error makes a whole predicate false, also under
`!`, but a part that `&` or `|` never reached does no harm. Filters are compiled to closures once; evaluating builds
nothing. Source: docs/reference/filter-rules.md, with W1 of docs/explanation/ganeti-weaknesses.md (`=~ ? =[]` work in
every kind of predicate).
"""

import operator
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from itertools import chain
from typing import Generic, TypeAlias, TypeVar, cast

from attrs import frozen

from jqsched.core.filters.regex import compile_regex
from jqsched.core.filters.subject import ABSENT, ALWAYS, Subject, getter
from jqsched.core.job import Reason

DEPTH_MAX = 64
WATERMARK = "watermark"

Value: TypeAlias = str | int | float


class Kind(Enum):
    """What a predicate looks at."""

    JOBID = "jobid"
    REASON = "reason"
    JOB = "job"


@frozen
class And:
    """All parts hold; without parts: true."""

    parts: tuple["Filter", ...]


@frozen
class Or:
    """One part holds; without parts: false."""

    parts: tuple["Filter", ...]


@frozen
class Not:
    """The part does not hold."""

    part: "Filter"


@frozen
class Truth:
    """The field, which must be a boolean, is true."""

    field: str


@frozen
class Compare:
    """The field compared with a value; `operator` as it was written (`=` and `==` are one)."""

    operator: str
    field: str
    value: Value


@frozen
class Search:
    """A regular expression is found in the field, which must be a string."""

    field: str
    regex: str


@frozen
class Contains:
    """The field, which must be a list of strings or of integers as the value is, has the value in it."""

    field: str
    value: Value


Filter: TypeAlias = And | Or | Not | Truth | Compare | Search | Contains | None  # None: true
Leaf: TypeAlias = Truth | Compare | Search | Contains


@frozen
class Predicate:
    """A filter, and what it is applied to."""

    kind: Kind
    filter: Filter


def leaves(filter_: Filter) -> Iterator[Leaf]:
    """Walk over the tests of a filter, from left to right."""
    if isinstance(filter_, And | Or):
        yield from chain.from_iterable(map(leaves, filter_.parts))
    elif isinstance(filter_, Not):
        yield from leaves(filter_.part)
    elif filter_ is not None:
        yield filter_


def depth(filter_: Filter) -> int:
    """How deep a filter is nested; one test alone is 1."""
    if isinstance(filter_, And | Or):
        return 1 + max(map(depth, filter_.parts), default=0)
    return 1 + depth(filter_.part) if isinstance(filter_, Not) else 1


# ---- predicates -----------------------------------------------------------------------------------------------------

E = TypeVar("E")
Test = Callable[[E], bool | None]
Holds = Callable[[Subject], bool]


def compile_predicate(predicate: Predicate, watermark: int) -> Holds:
    """Compile a predicate of a rule with this watermark.

    Raises: BadRegex. Cost: a few microseconds for each test, some ten for one with a regular expression.
    """
    if predicate.kind is Kind.JOB:
        return _of_job(predicate.filter)
    if predicate.kind is Kind.REASON:
        return _of_reasons(predicate.filter)
    return _of_id(predicate.filter, watermark)


def _of_job(filter_: Filter) -> Holds:
    """All fields are looked up first: one that is not there makes the predicate false, also behind a decided `|`."""
    fields = {leaf.field for leaf in leaves(filter_)}
    if any(getter(field) is None for field in fields):
        return _never
    test = _Compiler(getter, _rank).test(filter_)
    uncertain = [get for field in sorted(fields - ALWAYS.keys()) if (get := getter(field)) is not None]
    if not uncertain or not _has_choice(filter_):
        return lambda subject: test(subject) is True

    def holds(subject: Subject) -> bool:
        for get in uncertain:
            if get(subject) is ABSENT:
                return False
        return test(subject) is True

    return holds


def _has_choice(filter_: Filter) -> bool:
    """Whether a part may be left unreached; a test alone, `!` before it or not, looks its field up in any case."""
    return isinstance(filter_, And | Or) or (isinstance(filter_, Not) and _has_choice(filter_.part))


def _never(_: Subject) -> bool:
    return False


_REASON_FIELDS: Mapping[str, Callable[[Reason], object]] = {
    "source": operator.attrgetter("source"),
    "reason": operator.attrgetter("text"),
    "timestamp": operator.attrgetter("t_ns"),
}
REASON_FIELDS = tuple(_REASON_FIELDS)


def _of_reasons(filter_: Filter) -> Holds:
    """True if one entry makes it true; without entries it is false, even for `null`."""
    test = _Compiler(_REASON_FIELDS.get, _rank_of_reasons).test(filter_)

    def holds(subject: Subject) -> bool:
        for reason in subject.reasons:  # noqa: SIM110  # any() costs three times as much
            if test(reason) is True:
                return True
        return False

    return holds


_ID_FIELDS: Mapping[str, Callable[[Subject], object]] = {"id": operator.attrgetter("id")}


def _of_id(filter_: Filter, watermark: int) -> Holds:
    def value(given: Value) -> Value | None:
        if isinstance(given, str):
            return watermark if given == WATERMARK else None
        return given

    test = _Compiler(_ID_FIELDS.get, _rank, value).test(filter_)
    return lambda subject: test(subject) is True


# ---- the order of values --------------------------------------------------------------------------------------------

_RANKS: Mapping[type, int] = {type(None): 0, int: 3, float: 3, str: 4, list: 5, tuple: 5, dict: 6}


def _rank(value: object) -> int:
    """The order of JSON values of unlike kinds: null < false < true < numbers < strings < arrays < objects.

    Two arrays or two objects never meet: the other side is always a filter's value, a string or a number.
    """
    if type(value) is bool:
        return 2 if value else 1
    return _RANKS.get(type(value), _RANKS[dict])


def _rank_of_reasons(value: object) -> int:
    """In reasons every string is smaller than every number."""
    return 0 if isinstance(value, str) else 1


_HOLDS = cast(  # two values of one rank always have an order
    Mapping[str, Callable[[object, object], bool]],
    {
        "=": operator.eq,
        "==": operator.eq,
        "!=": operator.ne,
        "<": operator.lt,
        "<=": operator.le,
        ">": operator.gt,
        ">=": operator.ge,
    },
)
COMPARISONS = tuple(_HOLDS)


# ---- filters --------------------------------------------------------------------------------------------------------


@frozen
class _Compiler(Generic[E]):
    """How a filter becomes a test: where its fields are found (None: nowhere), in what order unlike values are, and
    what its values stand for (None: for nothing).
    """

    getter: Callable[[str], Callable[[E], object] | None]
    rank: Callable[[object], int]
    value: Callable[[Value], Value | None] = lambda given: given

    def test(self, filter_: Filter) -> Test[E]:
        """Compile a filter. The answers are passed up, so that an error reaches the predicate from wherever it is."""
        if isinstance(filter_, And | Or):
            return _first_not(isinstance(filter_, And), tuple([self.test(part) for part in filter_.parts]))
        if isinstance(filter_, Not):
            return _not(self.test(filter_.part))
        if filter_ is None:
            return lambda _: True
        get = self.getter(filter_.field)
        if get is None:
            return lambda _: None
        return self.leaf(filter_, get)

    def leaf(self, leaf: Leaf, get: Callable[[E], object]) -> Test[E]:
        """Compile one test of a field."""
        if isinstance(leaf, Truth):
            return _truth(get)
        if isinstance(leaf, Search):
            return _search(get, compile_regex(leaf.regex))
        value = self.value(leaf.value)
        if value is None:
            return lambda _: None
        if isinstance(leaf, Contains):
            return _contains(get, value)
        return _compare(get, _HOLDS[leaf.operator], value, self.rank)


def _first_not(going: bool, tests: tuple[Test[E], ...]) -> Test[E]:
    """`&` goes on while parts are true, `|` while they are false; the first other answer is the answer."""

    def test(entry: E) -> bool | None:
        for part in tests:
            answer = part(entry)
            if answer is not going:
                return answer
        return going

    return test


def _not(part: Test[E]) -> Test[E]:
    def test(entry: E) -> bool | None:
        answer = part(entry)
        return None if answer is None else not answer

    return test


def _truth(get: Callable[[E], object]) -> Test[E]:
    def test(entry: E) -> bool | None:
        found = get(entry)
        return found if isinstance(found, bool) else None

    return test


def _search(get: Callable[[E], object], search: Callable[[str], bool | None]) -> Test[E]:
    def test(entry: E) -> bool | None:
        found = get(entry)
        return search(found) if isinstance(found, str) else None

    return test


def _contains(get: Callable[[E], object], value: Value) -> Test[E]:
    fits = _is_text if isinstance(value, str) else _is_integer
    if not fits(value):
        return lambda _: None

    def test(entry: E) -> bool | None:
        found = get(entry)
        return value in found if isinstance(found, list | tuple) and all(map(fits, found)) else None

    return test


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_integer(value: object) -> bool:
    return type(value) is int or (type(value) is float and value.is_integer())


def _compare(
    get: Callable[[E], object],
    holds: Callable[[object, object], bool],
    value: Value,
    rank: Callable[[object], int],
) -> Test[E]:
    kind, wanted = type(value), rank(value)

    def test(entry: E) -> bool | None:
        found = get(entry)
        if type(found) is kind:
            return holds(found, value)
        if found is ABSENT:
            return None
        there = rank(found)
        return holds(found, value) if there == wanted else holds(there, wanted)

    return test
