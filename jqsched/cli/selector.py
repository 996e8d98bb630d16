"""How a command line names jobs: `42`, `40-44`, `42_7`, `42_[1-5]`, `build`, `name:build`, `last`, `-`.

In: a word. Out: a `Selector`, which says which jobs are meant and not whether there are any: `cli.selection` looks.
Pure. A word that can name no job raises Failure. What reads as an id is an id and no name; `name:` before it says
that it is a name.
"""

import enum
import re
from typing import TypeAlias

from attrs import frozen

from jqsched.cli.failure import USAGE, Failure
from jqsched.core.jobspec import values
from jqsched.core.jobspec.values import Wrong

NAME_PREFIX = "name:"
_IDS_END = 2**63
_RANGE = re.compile(r"(\d+)-(\d+)", re.ASCII)
_ELEMENTS = re.compile(r"(\d+)_(?:(\d+)|\[(\d+(?:-\d+)?(?:,\d+(?:-\d+)?)*)\])", re.ASCII)
_DIGITS_MAX = 20  # of a number; more make it no larger, only slower to read


@frozen
class Ids:
    """The jobs with the ids from `first` to `last`; one job where they are equal."""

    first: int
    last: int

    @property
    def is_one(self) -> bool:
        """Whether this is one id, not a range of them."""
        return self.first == self.last


@frozen
class Elements:
    """Elements of an array: the array's id, and ranges of their indexes, ends included."""

    array: int
    indexes: tuple[tuple[int, int], ...]


@frozen
class Named:
    """The jobs of a name."""

    name: str


class Special(enum.Enum):
    """Words that stand for jobs."""

    LAST = "last"
    STANDARD_INPUT = "-"


Selector: TypeAlias = Ids | Elements | Named | Special


def read_selector(word: str) -> Selector:
    """Read what names jobs."""
    if word in ("last", "-"):
        return Special(word)
    if word.startswith(NAME_PREFIX):
        return _named(word.removeprefix(NAME_PREFIX))
    numbered = read_numbered(word)
    return numbered if numbered is not None else _named(word)


def read_numbered(word: str) -> Ids | Elements | None:
    """Read an id, a range of ids or elements of an array; None for any other word."""
    if (range_ := _RANGE.fullmatch(word)) is not None:
        first, last = (_number(digits, word) for digits in range_.groups())
        return Ids(*_ordered(first, last, word))
    if (elements := _ELEMENTS.fullmatch(word)) is not None:
        array, index, indexes = elements.groups()
        return Elements(_number(array, word), tuple(_indexes(index or indexes, word)))
    if (id_ := _id(word)) is not None:
        return Ids(id_, id_)
    return None


def is_read_as_other(name: str) -> bool:
    """Whether a job of this name is named on the command line by `name:` only."""
    try:
        return read_selector(name) != Named(values.normal(name))
    except Failure:
        return True


def job_id(word: str) -> int:
    """Read one job id: decimal, or in any other form of RFC 19."""
    id_ = _id(word)
    if id_ is None:
        raise _no_id(word)
    return id_


def _named(text: str) -> Named:
    name = values.normal(text)
    if not values.is_name(name):
        raise Failure(f"{values.show(text)} names no job: an id, a range such as 40-44, a name, or last", USAGE)
    return Named(name)


def _no_id(word: str) -> Failure:
    return Failure(f"{values.show(word)} is no job id (an integer)", USAGE)


def _number(digits: str, word: str) -> int:
    if len(digits) > _DIGITS_MAX or int(digits) >= _IDS_END:
        raise _no_id(word)
    return int(digits)


def _ordered(first: int, last: int, word: str) -> tuple[int, int]:
    if first > last:
        raise Failure(f"{values.show(word)}: a range begins with its smallest number", USAGE)
    return first, last


def _indexes(text: str, word: str) -> list[tuple[int, int]]:
    ends = (part.partition("-") for part in text.split(","))
    return [_ordered(_number(first, word), _number(last or first, word), word) for first, _, last in ends]


def _id(word: str) -> int | None:
    """Read an id in any form of RFC 19; None for a word that has no such form. `f…` is a word sooner than an id."""
    try:
        found = values.target(word)
    except Wrong:
        found = word
    if isinstance(found, str):
        if word.startswith("ƒ") or word.lstrip("+-").isdigit():
            raise _no_id(word)
        other = _other_form(word)
        if other is None:
            return None
        found = other
    if not 0 < found < _IDS_END:
        raise _no_id(word)
    return found


def _other_form(word: str) -> int | None:
    """Read a hexadecimal, dotted, worded or pictured id."""
    from jqsched.job.jobid import JobID

    try:
        return None if word.startswith("f") else int(JobID(word))
    except ValueError:
        return None
