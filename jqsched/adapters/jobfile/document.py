"""From bytes to one JSON object: the syntax of job files and configuration, JSON and TOML.

Rule: everything that only another parser would accept is an error (doubled keys, NaN, lone surrogates, other
encodings), and no file, however made, takes more than about a second or the stack.
"""

import json
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import NoReturn, TypeAlias

from attrs import frozen

from jqsched.core.jobspec.values import is_unicode, show

Object: TypeAlias = dict[str, object]

DEPTH_MAX = 32
DIGITS_MAX = 20
ERRORS_MAX = 20
_SAID_MAX = 200
_BOM = b"\xef\xbb\xbf"
# tomllib takes a minute for one key of 60,000 parts. Possessive and anchored at a part's start, so itself linear.
_LONG_KEY = re.compile(r"""(?<![\w-])(?>(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){64}""")


@frozen
class BadFile:
    """Why a file is no job file: all errors, each with its place.

    `incomplete`: it does not parse, so it may be a file that is still being written.
    """

    errors: tuple[str, ...]
    incomplete: bool = False


def bad(errors: Iterable[str]) -> BadFile:
    """Make a `BadFile` of many errors: each once, the first ones, and how many there are."""
    errors = list(dict.fromkeys(errors))
    if len(errors) > ERRORS_MAX:
        errors = [*errors[:ERRORS_MAX], f"… and {len(errors) - ERRORS_MAX} more errors"]
    return BadFile(tuple(errors))


def read_document(data: bytes, suffix: str) -> tuple[Object, list[str]] | BadFile:
    """Read one object, and tell what may stand in none. `suffix` is `.json` or `.toml`; a byte order mark is skipped.

    Cost: what the json module takes; the checks that need a walk are made only where the text gives cause.
    """
    kind = "TOML" if suffix == ".toml" else "JSON"
    try:
        text = data.decode()
    except UnicodeDecodeError as wrong:
        return BadFile((f"not {kind} at byte {wrong.start}: not UTF-8 ({wrong.reason})",), incomplete=True)
    if data.startswith(_BOM):
        text = text[1:]
    if not text.strip():
        return BadFile((f"not {kind} at byte 0: the file is empty",), incomplete=True)
    try:
        value, walk = _parse_toml(text) if kind == "TOML" else _parse_json(text)
    except _NoSuchNumber as wrong:
        return BadFile((f"number not allowed: {wrong}",))
    except json.JSONDecodeError as wrong:
        return BadFile((_no_json(wrong, len(data) - len(text.encode())),), incomplete=True)
    except tomllib.TOMLDecodeError as wrong:
        return BadFile((f"not TOML: {_parser_message(wrong)}",), incomplete=True)
    except RecursionError:
        return BadFile((f"nested more than {DEPTH_MAX} deep",))
    except ValueError as wrong:  # tomllib: a number of 5,000 digits, a date that is none
        return BadFile((f"not {kind}: {_parser_message(wrong)}",))
    if not isinstance(value, dict):
        return BadFile((f"must be an object, not {show(value)}",))
    return value, list(_walk(value, "", 1)) if walk else []


def _no_json(wrong: json.JSONDecodeError, skipped_bytes: int) -> str:
    byte = skipped_bytes + len(wrong.doc[: wrong.pos].encode())
    return f"not JSON at byte {byte} (line {wrong.lineno}, column {wrong.colno}): {wrong.msg}"


def _parser_message(wrong: ValueError) -> str:
    """Return the parser's message, cut short, for it may quote the file at any length; the place is at its end."""
    text = str(wrong)
    return text if len(text) <= _SAID_MAX else f"{text[: _SAID_MAX - 40]}…{text[-39:]}"


# ---- parsing ------------------------------------------------------------------------------------------------------


class _NoSuchNumber(ValueError):
    """A number that JSON cannot express, or that is too large to be meant."""


class _DoubledKey(Exception):
    """The fast parser met a key twice."""


class _Doubled(Object):
    """An object in which keys stood twice: which."""

    keys_twice: tuple[str, ...] = ()


def _fast_pairs(pairs: list[tuple[str, object]]) -> Object:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise _DoubledKey
    return entries


def _slow_pairs(pairs: list[tuple[str, object]]) -> Object:
    entries = dict(pairs)
    if len(entries) == len(pairs):
        return entries
    times = Counter(key for key, _ in pairs)
    doubled = _Doubled(entries)
    doubled.keys_twice = tuple(key for key, count in times.items() if count > 1)
    return doubled


def _integer(digits: str) -> int:
    if len(digits) > DIGITS_MAX:
        raise _NoSuchNumber(f"{digits[:DIGITS_MAX]}… (more than {DIGITS_MAX} digits)")
    return int(digits)


def _float(text: str) -> float:
    number = float(text)
    if number - number != 0:  # inf and nan
        raise _NoSuchNumber(text[:DIGITS_MAX])
    return number


def _constant(text: str) -> NoReturn:
    raise _NoSuchNumber(text)


def _decoder(pairs: Callable[[list[tuple[str, object]]], Object]) -> Callable[[str], object]:
    return json.JSONDecoder(
        object_pairs_hook=pairs, parse_int=_integer, parse_float=_float, parse_constant=_constant
    ).decode


_decode_fast, _decode_slowly = _decoder(_fast_pairs), _decoder(_slow_pairs)


def _parse_json(text: str) -> tuple[object, bool]:
    """Parse, and say whether a walk is needed: the text has escapes, or more brackets than it may have levels."""
    walk = "\\u" in text or text.count("[") + text.count("{") > DEPTH_MAX
    try:
        return _decode_fast(text), walk
    except _DoubledKey:
        return _decode_slowly(text), True


def _parse_toml(text: str) -> tuple[object, bool]:
    if text.count(".") >= 64 and _LONG_KEY.search(text):
        raise _NoSuchNumber("a key of more than 64 parts")
    return tomllib.loads(text, parse_float=_float), True


# ---- checks beyond the parser -------------------------------------------------------------------------------------


def _walk(value: object, place: str, depth: int) -> Iterator[str]:
    """Find what is allowed nowhere: keys given twice, NUL, surrogates, dates, and more levels than a job can need."""
    if isinstance(value, str):
        if "\0" in value:
            yield f"{place}: must not contain NUL (\\u0000)"
        elif not is_unicode(value):
            yield f"{place}: is not valid Unicode: it contains a lone surrogate"
    elif isinstance(value, dict | list):
        if depth > DEPTH_MAX:
            yield f"{place}: nested more than {DEPTH_MAX} deep"
        elif isinstance(value, dict):
            yield from _walk_object(value, place, depth)
        else:
            for index, item in enumerate(value):
                yield from _walk(item, f"{place}[{index}]", depth + 1)
    elif isinstance(value, int) and abs(value) >= 10**DIGITS_MAX:
        yield f"{place}: number not allowed: more than {DIGITS_MAX} digits"
    elif not (value is None or isinstance(value, int | float)):
        yield f"{place}: dates and times are written as strings here"


def _walk_object(value: Object, place: str, depth: int) -> Iterator[str]:
    dot = "." if place else ""
    if isinstance(value, _Doubled):
        yield from (f"{place}{dot}{shown(key)}: stands there twice" for key in value.keys_twice)
    for key, item in value.items():
        if "\0" in key or not is_unicode(key):
            yield f"{place}{dot}{shown(key)}: no such key: it contains NUL or a lone surrogate"
        else:
            yield from _walk(item, f"{place}{dot}{shown(key)}", depth + 1)


def shown(key: str) -> str:
    """Write a key as part of a place: as it is, or escaped and cut short where it is odd."""
    return key if key.isidentifier() and len(key) <= 40 else show(key)[1:-1]
