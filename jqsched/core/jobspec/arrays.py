"""Arrays: read the keys `array`, `each`, `array_limit` and `max_failures` of a job file, and fill in its placeholders.

In: the keys' JSON values. Out: a `Plan`, which knows how many elements there are and makes each when it is asked for,
so that a range of 10^12 costs nothing but its refusal; `Wrong` with all that is wrong, each with its place.
Rule: only known placeholders are replaced; all other braces (awk, JSON, shell) stay as they are, and `{{index}}` stands
for `{index}`. Source: docs/reference/job-file.md (Arrays).
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from math import prod
from typing import TypeAlias, TypeVar

from attrs import frozen

from jqsched.core.evolve import evolve
from jqsched.core.job import Array, Element, Spec
from jqsched.core.jobspec.script import is_too_long
from jqsched.core.jobspec.values import Wrong, count, integer, many, mapping, must, show, string
from jqsched.core.json import Json

T = TypeVar("T")

KEYS = ("array", "each", "array_limit", "max_failures")
FILLED = ("command", "env", "output", "error", "cwd")  # the keys in which placeholders are replaced
ELEMENTS_MAX = 10_000
INDEX_MAX = 2**31 - 1
_RESERVED = ("index", "value", "id", "name", "attempt")
_DIGITS_MAX = 20  # of a number in a range; more make it no smaller, only slower to read

_KEY = re.compile(r"[A-Za-z_]\w{0,63}", re.ASCII)
_PLACEHOLDER = re.compile(r"\{\{([A-Za-z_]\w*)\}\}|\{([A-Za-z_]\w*)\}", re.ASCII)
_PART = re.compile(r"(\d+)(?:-(\d+)(?::(\d+))?)?", re.ASCII)

Fields: TypeAlias = Mapping[str, str]
Item: TypeAlias = tuple[str | None, Fields]  # an element's value as a text (None: it has an index only), and its keys


@frozen
class Plan:
    """The elements of an array: their indexes, ascending, and what each has beside its index.

    `limit`: so many run at a time; `max_failures`: after so many failures the rest is canceled; None: no such limit.
    """

    indexes: Sequence[int]
    item: Callable[[int], Item]
    limit: int | None = None
    max_failures: int | None = None

    @property
    def count(self) -> int:
        """How many elements there are."""
        return len(self.indexes)

    def value(self, position: int) -> str | None:
        """Return the value of the element at this position, as its job gets it; None: it has an index only."""
        return self.item(position)[0]

    def fields(self, position: int) -> Fields:
        """Return what the placeholders of the element at this position stand for."""
        value, fields = self.item(position)
        index = {"index": str(self.indexes[position])}
        return {**fields, **index} if value is None else {**fields, **index, "value": value}


# ---- reading ------------------------------------------------------------------------------------------------------


def is_array(entries: Mapping[str, object]) -> bool:
    """Whether a job file asks for an array."""
    return "array" in entries or "each" in entries


def file_of(entries: Mapping[str, object]) -> str | None:
    """Return the path of the file that `each` takes its values from; None where it names none."""
    each = entries.get("each")
    path = each.get("file") if isinstance(each, Mapping) and set(each) == {"file"} else None
    return path if isinstance(path, str) else None


def read_plan(entries: Mapping[str, object], lines: Sequence[str] = ()) -> Plan:
    """Read the keys of an array. `lines`: of the file that `each` names. Raises: Wrong."""
    errors: list[tuple[str, str]] = []

    def take(key: str, read: Callable[[object], T], default: T) -> T:
        try:
            return read(entries[key]) if key in entries else default
        except Wrong as wrong:
            errors.extend((f"{key}{place}", what) for place, what in wrong.errors)
            return default

    if "array" in entries and "each" in entries:
        errors.append(("array, each", "only one of the two"))
    no_array: tuple[Sequence[int], int | None] = (range(1), None)
    indexes, percent = take("array", _array, no_array)
    no_items: tuple[int, Callable[[int], Item]] | None = None
    items = take("each", lambda each: _each(each, lines), no_items)
    no_limit: int | None = None
    limit = take("array_limit", count, no_limit)
    if limit is not None and percent is not None:
        errors.append(("array_limit", f"array says it already (%{percent})"))
    max_failures = take("max_failures", count, no_limit)
    if errors:
        raise Wrong(*errors)
    if items is None:
        return Plan(indexes, lambda _: (None, {}), limit or percent, max_failures)
    return Plan(range(items[0]), items[1], limit, max_failures)


def without_array(entries: Mapping[str, object]) -> list[str]:
    """Find the keys that are of no use where a job file asks for no array."""
    if is_array(entries):
        return []
    return [f"{key}: is for arrays, and neither array nor each is there" for key in KEYS[2:] if key in entries]


def _array(value: object) -> tuple[Sequence[int], int | None]:
    """Read `0-99`, `1-9:2`, `1,5,9`, each perhaps with `%4`: the indexes and that limit."""
    text = string(value)
    body, percent, most = text.partition("%")
    limit = None
    if percent:
        if not (most.isascii() and most.isdigit() and len(most) <= _DIGITS_MAX and int(most) > 0):
            raise _wrong_at(text, len(body) + 1, "after % stands how many may run at a time, from 1")
        limit = int(most)
    return _indexes(text, body), limit


def read_indexes(text: str) -> Sequence[int]:
    """Read indexes: `0-99`, `1-9:2`, `1,5,9`. Raises: Wrong."""
    return _indexes(text, text)


def _indexes(text: str, body: str) -> Sequence[int]:
    """Read the indexes of `body`, which is the beginning of `text`; ascending, each once."""
    parts: list[range] = []
    at = 0
    for word in body.split(","):
        parts.append(_part(text, at, word))
        at += len(word) + 1
    total = sum(len(part) for part in parts)
    _refuse_many(total)
    if len(parts) == 1:
        return parts[0]
    return sorted({index for part in parts for index in part})


def _part(text: str, at: int, word: str) -> range:
    """Read one part: `5`, `1-9` or `1-9:2`."""
    match = _PART.fullmatch(word)
    if match is None:
        raise _wrong_at(text, at, "must be an index (5), a range (0-99) or one with a step (1-9:2)")
    numbers = [digits for digits in match.groups() if digits is not None]
    for group, digits in enumerate(numbers, 1):
        if len(digits) > _DIGITS_MAX:
            raise _wrong_at(text, at + match.start(group), f"is a huge number: indexes go up to {INDEX_MAX}")
    first = int(numbers[0])
    last = int(numbers[1]) if len(numbers) > 1 else first
    step = int(numbers[2]) if len(numbers) > 2 else 1
    if not step:
        raise _wrong_at(text, at + match.start(3), "the step must be from 1")
    if last < first:
        raise _wrong_at(text, at, f"the range ends before it begins: {first} to {last}")
    _refuse_many((last - first) // step + 1)
    if last > INDEX_MAX:
        raise _wrong_at(text, at, f"indexes go up to {INDEX_MAX}")
    return range(first, last + 1, step)


def _wrong_at(text: str, at: int, what: str) -> Wrong:
    return Wrong(("", f"{show(text)} at character {at + 1}: {what}"))


def _refuse_many(total: int) -> None:
    if total > ELEMENTS_MAX:
        raise Wrong(("", f"would be {total} elements: at most {ELEMENTS_MAX} are possible"))


def write_indexes(indexes: Sequence[int]) -> str:
    """Write indexes, short where they are evenly spaced; `read_indexes` reads it back."""
    steps = {after - before for before, after in pairwise(indexes)}
    if len(steps) > 1:
        return ",".join(map(str, indexes))
    if not steps:
        return str(indexes[0])
    step = steps.pop()
    return f"{indexes[0]}-{indexes[-1]}" + (f":{step}" if step != 1 else "")


# ---- values -------------------------------------------------------------------------------------------------------


def _each(value: object, lines: Sequence[str]) -> tuple[int, Callable[[int], Item]]:
    """Read `each`: a list, a product, or a file, of which the lines are given; how many there are, and each."""
    if isinstance(value, Mapping):
        if set(value) == {"file"}:
            string(value["file"])
            return _list(list(lines), "the file has no lines")
        if set(value) == {"product"}:
            return _at(".product", lambda: _product(value["product"]))
        raise Wrong(("", "must be a list, or have one key: product or file"))
    if type(value) is not list:
        raise must("a list of strings or objects, or an object with product or file", value)
    return _list(value, "must not be empty")


def _at(place: str, read: Callable[[], T]) -> T:
    try:
        return read()
    except Wrong as wrong:
        raise Wrong(*((place + inner, what) for inner, what in wrong.errors)) from None


def _list(values: list[object], if_empty: str) -> tuple[int, Callable[[int], Item]]:
    if not values:
        raise Wrong(("", if_empty))
    _refuse_many(len(values))
    items = many(values, _item, "strings or objects")
    return len(items), items.__getitem__


def _item(value: object) -> Item:
    """Read one value: a text or number, or an object of them."""
    if not isinstance(value, Mapping):
        return _short_enough(_scalar(value)), {}
    fields: dict[str, str] = {}
    errors: list[tuple[str, str]] = []
    for key, inner in value.items():
        try:
            fields[_key(key)] = _scalar(inner)
        except Wrong as wrong:
            errors.extend((f".{show(key)[1:-1]}{place}", what) for place, what in wrong.errors)
    if errors:
        raise Wrong(*errors)
    return _short_enough(json.dumps(dict(value), ensure_ascii=False, separators=(",", ":"))), fields


def _scalar(value: object) -> str:
    """Read what stands for itself in a text: a string, a number, true or false."""
    if isinstance(value, str):
        return string(value)
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    raise must("a string, a number, true or false", value)


def _key(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise Wrong(("", "is no name for a placeholder (letters, digits and _)"))
    if key in _RESERVED:
        raise Wrong(("", f"cannot be a key: {{{key}}} stands for something else"))
    return key


def _short_enough(value: str) -> str:
    if is_too_long(f"JQSCHED_ARRAY_VALUE={value}"):
        raise Wrong(("", "is too long to be handed to a program"))
    return value


def _product(value: object) -> tuple[int, Callable[[int], Item]]:
    """Read a product: every combination of the values of its keys, those of the last key changing first."""
    axes = mapping(value)
    if not axes:
        raise Wrong(("", "must not be empty"))
    columns: dict[str, Sequence[object]] = {}
    errors: list[tuple[str, str]] = []
    for key, axis in axes.items():
        try:
            columns[_key(key)] = _axis(axis)
        except Wrong as wrong:
            errors.extend((f".{show(key)[1:-1]}{place}", what) for place, what in wrong.errors)
    if errors:
        raise Wrong(*errors)
    total = prod(map(len, columns.values()))
    _refuse_many(total)

    def item(position: int) -> Item:
        chosen: dict[str, object] = {}
        for key, axis in reversed(columns.items()):
            position, at = divmod(position, len(axis))
            chosen[key] = axis[at]
        return _item({key: chosen[key] for key in columns})

    return total, item


def _axis(value: object) -> Sequence[object]:
    """Read the values of one key of a product: a list, or a range of numbers."""
    if isinstance(value, str):
        return _indexes(value, value)
    if type(value) is not list:
        raise must("a list, or a range like 1-5", value)
    if not value:
        raise Wrong(("", "must not be empty"))
    many(value, _scalar, "strings or numbers")
    return value


# ---- elements in a jobspec ----------------------------------------------------------------------------------------


def element_object(element: Element) -> Json:
    """Write which element of which array a job is; limits and value where there are any."""
    array = element.array
    entries: dict[str, Json] = {"id": array.id, "index": element.index, "count": array.count}
    more: dict[str, Json] = {"limit": array.limit, "max_failures": array.max_failures, "value": element.value}
    return entries | {key: value for key, value in more.items() if value is not None}


def element(value: object) -> Element:
    """Read what `element_object` wrote."""
    entries = mapping(value)
    errors: list[tuple[str, str]] = []

    def take(key: str, read: Callable[[object], T], default: T, *, required: bool = False) -> T:
        try:
            return read(entries.get(key)) if required or key in entries else default
        except Wrong as wrong:
            errors.extend((f".{key}{place}", what) for place, what in wrong.errors)
            return default

    no_limit: int | None = None
    no_value: str | None = None
    array = Array(
        take("id", integer(0, 2**63 - 1), 0, required=True),
        take("count", count, 1, required=True),
        take("limit", count, no_limit),
        take("max_failures", count, no_limit),
    )
    found = Element(array, take("index", integer(0, INDEX_MAX), 0, required=True), take("value", string, no_value))
    errors += [(f".{show(key)[1:-1]}", "unknown key") for key in entries if key not in _ELEMENT_KEYS]
    if errors:
        raise Wrong(*errors)
    return found


def with_place(spec: Spec) -> Spec:
    """Tell the process of an element, in its environment, which one it is; any other job's spec as it is."""
    element = spec.element
    if element is None:
        return spec
    place = {
        "JQSCHED_ARRAY_ID": str(element.array.id),
        "JQSCHED_ARRAY_INDEX": str(element.index),
        "JQSCHED_ARRAY_COUNT": str(element.array.count),
    }
    if element.value is not None:
        place["JQSCHED_ARRAY_VALUE"] = element.value
    return evolve(spec, env=tuple(sorted({**dict(spec.env), **place}.items())))


_ELEMENT_KEYS = ("id", "index", "count", "limit", "max_failures", "value")


# ---- placeholders -------------------------------------------------------------------------------------------------


def fill(entries: Mapping[str, object], fields: Fields) -> dict[str, object]:
    """Make the job file of one element: the same with its placeholders replaced.

    What is no string where one must stand is left for those that read it to refuse. Cost: some microseconds.
    """
    filled = dict(entries)
    for key in FILLED:
        if key in filled:
            filled[key] = _filled(filled[key], fields)
    return filled


def _filled(value: object, fields: Fields) -> object:
    if isinstance(value, str):
        return fill_text(value, fields) if "{" in value else value
    if isinstance(value, list):
        return [_filled(item, fields) if isinstance(item, str) else item for item in value]
    if isinstance(value, Mapping):
        return {key: _filled(item, fields) if isinstance(item, str) else item for key, item in value.items()}
    return value


def fill_text(text: str, fields: Fields) -> str:
    """Replace the placeholders of a text that are known, and write `{index}` for `{{index}}`."""

    def replaced(match: re.Match[str]) -> str:
        escaped, name = match.groups()
        if escaped is not None:
            return f"{{{escaped}}}" if escaped in fields else match[0]
        return fields.get(name, match[0])

    return _PLACEHOLDER.sub(replaced, text)
