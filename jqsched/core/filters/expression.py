"""Predicates as a line of text for people, and back: `name =~ "^build" and (cores > 4 or queue = "big")`.

Rule: `read_expression(expression_of(predicates))` is the document of exactly these predicates; what has no readable
form stands in the line as JSON. A line says nothing that the filter language does not.
Source: docs/reference/filter-rules.md (the grammar; what becomes one predicate).
"""

import json
import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import NamedTuple

from attrs import frozen

from jqsched.core.filters.documents import RULE_SIZE_MAX, predicate_document, read_predicate, read_value
from jqsched.core.filters.predicates import (
    COMPARISONS,
    DEPTH_MAX,
    WATERMARK,
    And,
    Compare,
    Contains,
    Filter,
    Kind,
    Leaf,
    Not,
    Or,
    Predicate,
    Search,
    Truth,
    Value,
    depth,
)
from jqsched.core.filters.regex import BadRegex, compile_regex
from jqsched.core.jobspec.values import SHOWN_MAX, Wrong, show
from jqsched.core.json import Json

ALL_JOBS = "true"
_AND_ALSO = "and also"
_ID = "id"
_REASONS = {"reason.text": "reason", "reason": "reason", "reason.source": "source", "reason.time_ns": "timestamp"}
_REASON_NAMES = {field: name for name, field in reversed(_REASONS.items())}
_KEYWORDS = ("and", "or", "not", "also", "contains", "true", "false", WATERMARK)


@frozen
class BadExpression:
    """Why a text is no expression, and where: `column` counts characters from 1."""

    text: str
    column: int


# ---- writing --------------------------------------------------------------------------------------------------------

_FIELD = re.compile(r"[^\W\d][\w-]*(?:\.[\w-]+)*")
_ATOM, _AND, _OR = 2, 1, 0  # how tightly a form binds


def expression_of(predicates: Iterable[Predicate]) -> str:
    """Write predicates as an expression: in one line, and with nothing in it that a terminal acts on."""
    segments: list[list[Predicate]] = []
    for predicate in predicates:
        if not segments or any(predicate.kind is earlier.kind for earlier in segments[-1]):
            segments.append([])
        segments[-1].append(predicate)
    return f" {_AND_ALSO} ".join(map(_write_segment, segments)) or ALL_JOBS


def _write_segment(segment: Sequence[Predicate]) -> str:
    around = _AND if len(segment) > 1 else _OR
    return " and ".join(_write_predicate(predicate, around) for predicate in segment)


def _write_predicate(predicate: Predicate, around: int) -> str:
    written = _write(predicate.kind, predicate.filter, around)
    return written if written is not None else json.dumps(predicate_document(predicate))


def _write(kind: Kind, filter_: Filter, around: int) -> str | None:
    """Write a filter for a place that binds so tightly; None when it has no readable form."""
    if filter_ is None:
        return None
    if isinstance(filter_, Not):
        part = _write(kind, filter_.part, _ATOM)
        return None if part is None else f"not {part}"
    if not isinstance(filter_, And | Or):
        return _write_test(kind, filter_)
    binds, word = (_AND, " and ") if isinstance(filter_, And) else (_OR, " or ")
    # A part of the same form keeps its brackets: `a and (b and c)` is not `a and b and c`.
    parts = [_write(kind, part, binds + 1) for part in filter_.parts]
    if len(parts) < 2 or None in parts:
        return None
    joined = word.join(filter(None, parts))
    return joined if binds >= around else f"({joined})"


def _write_test(kind: Kind, leaf: Leaf) -> str | None:
    name = _write_field(kind, leaf.field)
    if name is None:
        return None
    if isinstance(leaf, Truth):
        return f"{name}?"
    given: Value = leaf.regex if isinstance(leaf, Search) else leaf.value
    value = _write_value(given)
    if isinstance(leaf, Compare) and kind is Kind.JOBID and given == WATERMARK:
        value = WATERMARK
    sign = "=~" if isinstance(leaf, Search) else "contains" if isinstance(leaf, Contains) else leaf.operator
    return None if value is None else f"{name} {sign} {value}"


def _write_field(kind: Kind, field: str) -> str | None:
    if kind is Kind.JOBID:
        return _ID if field == _ID else None
    if kind is Kind.REASON:
        return _REASON_NAMES.get(field)
    is_plain = _FIELD.fullmatch(field) and field.isprintable() and field not in _KEYWORDS
    return field if is_plain and _kind_of(field) is Kind.JOB else None


def _write_value(value: Value) -> str | None:
    if not isinstance(value, str):
        return repr(value)
    return _quoted(value) if value.isprintable() else None


def _quoted(text: str) -> str:
    r"""Quote a text. A backslash is doubled only where it would be read as one that quotes: `a\.b` stays readable."""
    escaped = re.sub(r"""\\(?=["'\\]|\Z)|\"""", r"\\\g<0>", text)
    return f'"{escaped}"'


def _kind_of(name: str) -> Kind:
    """Tell by a field's name what it is a field of."""
    if name == _ID:
        return Kind.JOBID
    return Kind.REASON if name == "reason" or name.startswith("reason.") else Kind.JOB


# ---- reading --------------------------------------------------------------------------------------------------------


def read_expression(text: str) -> list[Json] | BadExpression:
    """Translate an expression to the predicates of a rule's document.

    Shape:    terms joined by `and` become one predicate for each kind (id, reason, job), in the order of their first
              terms; so all tests of a reason are about one entry. After `and also` new predicates begin.
    Refuses:  kinds mixed under `or` or `not`, and what is nested deeper than DEPTH_MAX. Never raises.
    """
    try:
        return [predicate_document(predicate) for predicate in _Parser(text).read()]
    except _Stop as stop:
        return BadExpression(stop.text, stop.at + 1)


class _Stop(Exception):
    """Leaves the parser; its text and place become the BadExpression."""

    def __init__(self, text: str, at: int) -> None:
        super().__init__(text)
        self.text, self.at = text, at


class _Token(NamedTuple):
    """A piece of the text: `form` is number, name, text, json, sign or end."""

    form: str
    text: str
    at: int


class _Term(NamedTuple):
    """A filter of one kind; `parts` are the terms of which a plain `and` made it. Without a kind it has parts only."""

    kind: Kind | None
    filter: Filter
    parts: tuple["_Term", ...] = ()


_SPACE = re.compile(r"\s*")


@cache
def _pattern() -> re.Pattern[str]:
    """Compiled when it is first needed: most commands read no expression."""
    return re.compile(_PIECES, re.VERBOSE | re.DOTALL)


_PIECES = r"""(?P<number>[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?(?![\w.]))
    | (?P<name>[^\W\d][\w-]*(?:\.[\w-]+)*)
    | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<json>\[)
    | (?P<sign>=~|==|!=|<=|>=|=|<|>|\(|\)|\?)"""
_SIGNS = (*COMPARISONS, "=~", "contains")
_THINGS = {Kind.JOBID: "the id", Kind.REASON: "a reason", Kind.JOB: "fields of the job"}
_DECODER = json.JSONDecoder()


class _Parser:
    """One reading of a text, from left to right; `token` is the next one."""

    def __init__(self, text: str) -> None:
        if len(text) > RULE_SIZE_MAX:
            raise _Stop(f"too long: an expression may have {RULE_SIZE_MAX} characters", 0)
        self.source = text
        self.token = self.scan(0)

    def read(self) -> list[Predicate]:
        """Read all of it: segments, joined by `and also`."""
        if self.token.text == ALL_JOBS and self.scan(self.token.at + len(ALL_JOBS)).form == "end":
            return []
        predicates = self.segment()
        while self.take("and"):
            self.expect("also")
            predicates += self.segment()
        if self.token.form != "end":
            raise self.unexpected("'and', 'or', or the end")
        return predicates

    # -- tokens

    def scan(self, at: int) -> _Token:
        space = _SPACE.match(self.source, at)
        start = space.end() if space else at
        if start == len(self.source):
            return _Token("end", "", start)
        found = _pattern().match(self.source, start)
        if found is None:
            quote = self.source[start] in "\"'"
            told = "this text has no end" if quote else f"{show(self.source[start])} is not expected here"
            raise _Stop(f"{told}{_OTHER_SIGNS.get(self.source[start], '')}", start)
        return _Token(found.lastgroup or "", found[0], start)

    def next(self) -> _Token:
        """Take the next token."""
        taken = self.token
        self.token = self.scan(taken.at + len(taken.text))
        return taken

    def sees(self, word: str) -> bool:
        """Whether the next token is this word or sign."""
        return self.token.form in ("name", "sign") and self.token.text == word

    def take(self, word: str) -> bool:
        """Take the next token if it is this."""
        if not self.sees(word):
            return False
        self.next()
        return True

    def expect(self, word: str) -> None:
        if not self.take(word):
            raise self.unexpected(repr(word))

    def unexpected(self, wanted: str) -> _Stop:
        seen = "the end" if self.token.form == "end" else show(self.token.text)
        return _Stop(f"expected {wanted}, not {seen}", self.token.at)

    # -- the grammar

    def segment(self) -> list[Predicate]:
        """Read what `and also` separates, and make one predicate of all its terms of a kind."""
        start = self.token.at
        filters: dict[Kind, list[Filter]] = {}
        for term in _plain_terms(self.either(0)):
            assert term.kind is not None
            filters.setdefault(term.kind, []).append(term.filter)
        predicates = [Predicate(kind, _all_of(parts)) for kind, parts in filters.items()]
        if any(depth(predicate.filter) > DEPTH_MAX for predicate in predicates):
            raise _Stop(f"nested deeper than {DEPTH_MAX}", start)
        return predicates

    def either(self, nested: int) -> _Term:
        """Read terms joined by `or`."""
        terms = [self.all(nested)]
        at = self.token.at
        while self.take("or"):
            terms.append(self.all(nested))
        if len(terms) == 1:
            return terms[0]
        return _Term(_one_kind("or", terms, at), Or(tuple([term.filter for term in terms])))

    def all(self, nested: int) -> _Term:
        """Read terms joined by `and`; these may be of different kinds."""
        terms = [self.negated(nested)]
        while self.sees("and") and not self.is_also_next():
            self.next()
            terms.append(self.negated(nested))
        if len(terms) == 1:
            return terms[0]
        kinds = {term.kind for term in terms}
        kind = kinds.pop() if len(kinds) == 1 else None
        return _Term(kind, And(tuple([term.filter for term in terms])), tuple(terms))

    def is_also_next(self) -> bool:
        after = self.scan(self.token.at + len(self.token.text))
        return (after.form, after.text) == ("name", "also")

    def negated(self, nested: int) -> _Term:
        if nested > DEPTH_MAX:
            raise _Stop(f"nested deeper than {DEPTH_MAX}", self.token.at)
        at = self.token.at
        if self.take("not"):
            term = self.negated(nested + 1)
            return _Term(_one_kind("not", [term], at), Not(term.filter))
        if self.take("("):
            term = self.either(nested + 1)
            self.expect(")")
            return term
        return self.json() if self.token.form == "json" else self.test()

    def json(self) -> _Term:
        """Read a predicate as it stands in a rule's document."""
        at = self.token.at
        try:
            document, end = _DECODER.raw_decode(self.source, at)
        except (ValueError, RecursionError):  # the decoder of the standard library has no limit of its own
            raise _Stop('no JSON: a predicate is written as ["job", ["=", "name", "build"]]', at) from None
        predicate = read_predicate(document)
        if not isinstance(predicate, Predicate):
            raise _Stop("; ".join(error.removeprefix(": ") for error in predicate.errors[:3]), at)
        self.token = self.scan(end)
        return _Term(predicate.kind, predicate.filter)

    def test(self) -> _Term:
        """Read the test of a field: `FIELD?`, or field, sign and value."""
        if self.token.form != "name" or self.token.text in _KEYWORDS:
            alone = f"; {ALL_JOBS} stands alone" if self.sees(ALL_JOBS) else ""
            raise _Stop(f"{self.unexpected('a field, not, or a bracket').text}{alone}", self.token.at)
        name = self.next()
        kind, field = _field(name)
        if self.take("?"):
            return _Term(kind, Truth(field))
        sign = self.token
        if sign.form not in ("sign", "name") or sign.text not in _SIGNS:
            raise self.unexpected(f"one of ? {' '.join(_SIGNS)} after the field {show(name.text)}")
        self.next()
        if sign.text == "=~":
            return _Term(kind, Search(field, self.regex()))
        value = self.value(kind)
        leaf = Contains(field, value) if sign.text == "contains" else Compare(sign.text, field, value)
        return _Term(kind, leaf)

    def regex(self) -> str:
        if self.token.form != "text":
            raise self.unexpected('a regular expression in quotes, as "^build"')
        taken = self.next()
        pattern = _unquoted(taken.text)
        try:
            compile_regex(pattern)
        except BadRegex as bad:
            raise _Stop(str(bad), taken.at) from None
        return pattern

    def value(self, kind: Kind) -> Value:
        taken = self.token
        if taken.form == "name" and (kind, taken.text) == (Kind.JOBID, WATERMARK):
            return self.next().text
        if taken.form not in ("number", "text"):
            told = self.unexpected("a number, or a text in quotes").text
            raise _Stop(f"{told}{_value_hint(taken)}", taken.at)
        self.next()
        try:
            return read_value(_unquoted(taken.text) if taken.form == "text" else _number(taken.text))
        except Wrong as wrong:
            raise _Stop(str(wrong), taken.at) from None


_OTHER_SIGNS = {"&": ": write and", "|": ": write or", "!": ": write not, or !=", "~": ": write =~"}


def _value_hint(taken: _Token) -> str:
    if taken.text in ("true", "false"):
        return "; whether a field is true is asked by FIELD?, and not FIELD?"
    if taken.text == WATERMARK:
        return f"; {WATERMARK} is for {_ID} only"
    return f': write "{taken.text}"' if taken.form == "name" and len(taken.text) <= SHOWN_MAX else ""


def _field(name: _Token) -> tuple[Kind, str]:
    kind = _kind_of(name.text)
    if kind is Kind.JOBID:
        return kind, _ID
    if kind is Kind.JOB:
        return kind, name.text
    if name.text not in _REASONS:
        raise _Stop(f"no reason has the field {show(name.text)} (known: {' '.join(_REASONS)})", name.at)
    return kind, _REASONS[name.text]


def _plain_terms(term: _Term) -> list[_Term]:
    """Take apart what `and` joined at the top, and what it joined in brackets where kinds are mixed."""
    return [plain for part in term.parts for plain in (_plain_terms(part) if part.kind is None else [part])] or [term]


def _all_of(parts: Sequence[Filter]) -> Filter:
    return parts[0] if len(parts) == 1 else And(tuple(parts))


def _one_kind(word: str, terms: Sequence[_Term], at: int) -> Kind:
    """The kind of terms that must not be mixed."""
    kinds: dict[Kind, None] = {}
    for term in terms:
        kinds |= dict.fromkeys(plain.kind for plain in _plain_terms(term) if plain.kind is not None)
    if len(kinds) == 1:
        return next(iter(kinds))
    mixed = " and ".join(_THINGS[kind] for kind in kinds)
    instead = "one for each side" if word == "or" else "each with not before one of them"
    raise _Stop(
        f"{word!r} cannot join tests of {mixed}: a predicate is about one of them, and all predicates of a rule must "
        f"hold; make two rules, {instead}",
        at,
    )


def _unquoted(text: str) -> str:
    r"""Take the quotes off: `\"`, `\'` and `\\` are one character, any other backslash stands for itself."""
    return re.sub(r"""\\(["'\\])""", r"\1", text[1:-1])


def _number(text: str) -> int | float:
    if re.fullmatch(r"[-+]?[0-9]{1,101}", text):
        return int(text)
    return float(text)
