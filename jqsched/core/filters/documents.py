"""Rules as documents: reading with all errors and their places, and writing.

Rule: `read_rule(rule_document(rule)) == rule`, and operators stay as they were written. Nothing that is no rule raises,
however deep or big it is. Source: docs/reference/filter-rules.md.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import TypeVar

from attrs import frozen

from jqsched.core.filters.predicates import (
    COMPARISONS,
    DEPTH_MAX,
    And,
    Compare,
    Contains,
    Filter,
    Kind,
    Not,
    Or,
    Predicate,
    Search,
    Truth,
    Value,
)
from jqsched.core.filters.regex import BadRegex, compile_regex
from jqsched.core.filters.rule import Action, Rule
from jqsched.core.jobspec.values import Wrong, is_unicode, show
from jqsched.core.json import Json, JsonObject

T = TypeVar("T")

RULE_SIZE_MAX = 65_536  # characters of all texts, and one for each value
INTEGER_MAX = 2**63 - 1  # of watermarks, priorities and limits
VALUE_MAX = 10**100  # of what fields are compared with
NOTE_MAX = 1_000
ERRORS_MAX = 20

_KEYS = ("uuid", "watermark", "priority", "predicates", "action", "note")
_UUID = re.compile(r"[\w.-]{1,100}", re.ASCII)
_ARITY = {"!": 1, "?": 1, **dict.fromkeys((*COMPARISONS, "=~", "=[]"), 2)}
_OPERATORS = ("&", "|", *_ARITY)


@frozen
class BadRule:
    """Why a document is no rule: the first errors, each with its place, as `predicates[0][1][2]: …`."""

    errors: tuple[str, ...]


def _bad(errors: list[str]) -> BadRule:
    more = [f"… and {len(errors) - ERRORS_MAX} more errors"] if len(errors) > ERRORS_MAX else []
    return BadRule((*errors[:ERRORS_MAX], *more))


# ---- writing --------------------------------------------------------------------------------------------------------


def rule_document(rule: Rule) -> JsonObject:
    """Write a rule as a document with Ganeti's keys, and `note` where there is one."""
    action: Json = rule.action.value if rule.limit is None else [rule.action.value, rule.limit]
    document: dict[str, Json] = {
        "uuid": rule.uuid,
        "watermark": rule.watermark,
        "priority": rule.priority,
        "predicates": [predicate_document(predicate) for predicate in rule.predicates],
        "action": action,
    }
    return {**document, "note": rule.note} if rule.note else document


def predicate_document(predicate: Predicate) -> Json:
    """Write a predicate: `["job", ["=", "name", "build"]]`."""
    return [predicate.kind.value, filter_document(predicate.filter)]


def filter_document(filter_: Filter) -> Json:
    """Write a filter as nested lists."""
    if filter_ is None:
        return None
    if isinstance(filter_, And | Or):
        return ["&" if isinstance(filter_, And) else "|", *map(filter_document, filter_.parts)]
    if isinstance(filter_, Not):
        return ["!", filter_document(filter_.part)]
    if isinstance(filter_, Truth):
        return ["?", filter_.field]
    if isinstance(filter_, Search):
        return ["=~", filter_.field, filter_.regex]
    return ["=[]" if isinstance(filter_, Contains) else filter_.operator, filter_.field, filter_.value]


# ---- reading --------------------------------------------------------------------------------------------------------


def read_rule(document: Json, *, uuid: str | None = None, watermark: int | None = None) -> Rule | BadRule:
    """Read a rule. Never raises for what is in the document.

    `uuid` and `watermark` are for a rule that is new: they stand in where the document has none.
    Refuses:  unknown and missing keys, negative numbers, numbers as strings (but for the watermark), bad regular
              expressions, filters deeper than DEPTH_MAX, documents of more than RULE_SIZE_MAX.
    Cost:     some ten microseconds; ten more for each regular expression.
    """
    if not isinstance(document, Mapping):
        return BadRule((f"a rule must be an object, not {show(document)}",))
    if is_too_big(document):
        return BadRule((f"too big: a rule may have {RULE_SIZE_MAX} characters",))
    given: dict[str, Json] = {} if uuid is None else {"uuid": uuid}
    if watermark is not None:
        given["watermark"] = watermark
    return _read({**given, **document})


def read_predicate(document: object) -> Predicate | BadRule:
    """Read one predicate alone; the places of its errors are inside it, as `[1][2]: …`."""
    if is_too_big(document):
        return BadRule(("too big",))
    reading = _Reading()
    predicate = reading.predicate("", document)
    return _bad(reading.errors) if reading.errors else predicate


def is_too_big(value: object) -> bool:
    """Whether a document is more than a rule may be. Walks no further than that, and at any depth."""
    left, todo = RULE_SIZE_MAX, [value]
    while todo and left >= 0:
        item = todo.pop()
        left -= 1 + (len(item) if isinstance(item, str | list | Mapping) else 0)
        if left >= 0 and isinstance(item, list):
            todo += item
        elif left >= 0 and isinstance(item, Mapping):
            todo += [*item, *item.values()]
    return left < 0


_NO_ACTION: tuple[Action, int | None] = (Action.CONTINUE, None)


def _read(document: JsonObject) -> Rule | BadRule:
    reading = _Reading()
    reading.errors += [f"{show(key)[1:-1]}: unknown key{near(key, _KEYS)}" for key in document if key not in _KEYS]
    uuid = reading.take(document, "uuid", _uuid, "")
    watermark = reading.take(document, "watermark", _watermark, 0)
    priority = reading.take(document, "priority", _natural, 0)
    predicates = reading.predicates(document)
    action, limit = reading.take(document, "action", _action, _NO_ACTION)
    note = reading.take(document, "note", _note, "", required=False)
    if reading.errors:
        return _bad(reading.errors)
    return Rule(uuid, watermark, priority, predicates, action, limit, note)


def near(word: object, known: Iterable[str]) -> str:
    """Suggest what may have been meant: `; did you mean PAUSE?`, or nothing."""
    if not isinstance(word, str) or len(word) > 40:  # difflib is quadratic in the length
        return ""
    spelt = {each.lower(): each for each in known}
    found = get_close_matches(word.lower(), spelt, 1)
    return f"; did you mean {spelt[found[0]]}?" if found else ""


class _Reading:
    """The errors of one reading, and how parts are read with their errors noted."""

    def __init__(self) -> None:
        self.errors: list[str] = []

    def take(
        self, document: JsonObject, key: str, read: Callable[[object], T], default: T, *, required: bool = True
    ) -> T:
        if key in document:
            return self.at(key, read, document[key], default)
        if required:
            self.errors.append(f"{key}: missing")
        return default

    def at(self, place: str, read: Callable[[object], T], value: object, default: T) -> T:
        try:
            return read(value)
        except Wrong as wrong:
            self.errors += [f"{place}{inner}: {what}" for inner, what in wrong.errors]
            return default

    def predicates(self, document: JsonObject) -> tuple[Predicate, ...]:
        nothing: list[object] = []
        given = self.take(document, "predicates", _list, nothing)
        return tuple([self.predicate(f"predicates[{index}]", item) for index, item in enumerate(given)])

    def predicate(self, place: str, value: object) -> Predicate:
        if not isinstance(value, list) or len(value) != 2:
            self.errors.append(f"{place}: must be a list of kind and filter, not {show(value)}")
            return Predicate(Kind.JOB, None)
        kind = self.at(f"{place}[0]", _kind, value[0], Kind.JOB)
        return Predicate(kind, self.filter(f"{place}[1]", value[1], DEPTH_MAX))

    def filter(self, place: str, value: object, depth: int) -> Filter:
        """Read a filter that may be nested so deep."""
        if value is None:
            return None
        if not isinstance(value, list) or not value:
            self.errors.append(f"{place}: must be null or a list that begins with an operator, not {_seen(value)}")
            return None
        name, *given = value
        if not isinstance(name, str) or name not in _OPERATORS:
            hint = _hint(name)
            self.errors.append(f"{place}[0]: must be one of {' '.join(_OPERATORS)}, not {show(name)}{hint}")
            return None
        if name in _ARITY and len(given) != _ARITY[name]:
            wanted = "a filter" if name == "!" else "a field" if name == "?" else "a field and a value"
            self.errors.append(f"{place}: {name} takes {wanted}, not {len(given)} parts")
            return None
        if name in ("&", "|", "!"):
            return self.joined(place, name, given, depth - 1)
        return self.test(place, name, given)

    def joined(self, place: str, name: str, given: list[object], depth: int) -> Filter:
        if not depth and given:
            self.errors.append(f"{place}: nested deeper than {DEPTH_MAX}")
            return None
        parts = tuple([self.filter(f"{place}[{index}]", part, depth) for index, part in enumerate(given, 1)])
        return Not(parts[0]) if name == "!" else And(parts) if name == "&" else Or(parts)

    def test(self, place: str, name: str, given: list[object]) -> Filter:
        field_ = self.at(f"{place}[1]", _text, given[0], "")
        if name == "?":
            return Truth(field_)
        if name == "=~":
            return Search(field_, self.at(f"{place}[2]", _regex, given[1], ""))
        nothing: Value = ""
        value = self.at(f"{place}[2]", read_value, given[1], nothing)
        return Contains(field_, value) if name == "=[]" else Compare(name, field_, value)


_WORDS = {"and": "&", "or": "|", "not": "!", "contains": "=[]", "in": "=[]", "eq": "=", "~": "=~", "<>": "!="}
_WORDS |= {"&&": "&", "||": "|", "=<": "<=", "=>": ">=", "~=": "=~", "===": "="}


def _hint(name: object) -> str:
    meant = _WORDS.get(name.lower()) if isinstance(name, str) else None
    return f"; did you mean {meant}?" if meant else ""


def _seen(value: object) -> str:
    return "an empty one" if value == [] else show(value)


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise Wrong(("", f"must be a list of predicates, not {show(value)}"))
    return value


def _kind(value: object) -> Kind:
    for kind in Kind:
        if kind.value == value:
            return kind
    words = [kind.value for kind in Kind]
    hint = "; did you mean job?" if value == "opcode" else near(value, words)
    raise Wrong(("", f"must be one of {' '.join(words)}, not {show(value)}{hint}"))


def _action(value: object) -> tuple[Action, int | None]:
    words = [action.value for action in Action]
    limited = words.pop()
    if value in (limited, [limited]):
        raise Wrong(("", f'{limited} needs a number: ["{limited}", 2]'))
    if isinstance(value, str) and value in words:
        return Action(value), None
    if isinstance(value, list) and len(value) == 2 and value[0] == limited:
        try:
            return Action.RATE_LIMIT, _integer(value[1], 1)
        except Wrong as wrong:
            raise Wrong(*(("[1]", what) for _, what in wrong.errors)) from None
    meant = near(value[0] if isinstance(value, list) and value else value, [*words, limited])
    raise Wrong(("", f'must be one of {" ".join(words)}, or ["{limited}", N], not {show(value)}{meant}'))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise Wrong(("", f"must be a field's name, not {show(value)}"))
    if not is_unicode(value):
        raise Wrong(("", "is not valid Unicode: it contains a lone surrogate"))
    return value


def _uuid(value: object) -> str:
    if not isinstance(value, str) or not _UUID.fullmatch(value):
        raise Wrong(("", f"must be 1 to 100 letters, digits and _ . -, not {show(value)}"))
    return value


def _note(value: object) -> str:
    if not isinstance(value, str) or len(value) > NOTE_MAX or not is_unicode(value):
        raise Wrong(("", f"must be a text of at most {NOTE_MAX} characters"))
    return value


def _watermark(value: object) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 20:
        return _integer(int(value), 0)
    return _natural(value)


def _natural(value: object) -> int:
    return _integer(value, 0)


def _integer(value: object, low: int) -> int:
    """Read an integer; 2.0 is one."""
    found = int(value) if isinstance(value, float) and value.is_integer() else value
    if type(found) is not int or not low <= found <= INTEGER_MAX:
        raise Wrong(("", f"must be an integer from {low}, not {show(value)}"))
    return found


def read_value(value: object) -> Value:
    """Read what a field is compared with: a string or a finite number; a float without a fraction is an integer."""
    if isinstance(value, str):
        if not is_unicode(value):
            raise Wrong(("", "is not valid Unicode: it contains a lone surrogate"))
        return value
    if type(value) is float and abs(value) <= VALUE_MAX:
        return int(value) if value.is_integer() else value
    if type(value) is int and abs(value) <= VALUE_MAX:
        return value
    raise Wrong(("", f"must be a string or a number (of at most 100 digits), not {show(value)}"))


def _regex(value: object) -> str:
    if not isinstance(value, str):
        raise Wrong(("", f"must be a regular expression (a string), not {show(value)}"))
    try:
        compile_regex(value)
    except BadRegex as bad:
        raise Wrong(("", str(bad))) from None
    return value
