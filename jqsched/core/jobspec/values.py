"""The rules for single values in job files and jobspecs: a reader for each, from a JSON value to a value of ours.

Rule: a reader returns a valid value or raises `Wrong` with *all* that is wrong, each with its place inside the value;
it never converts what merely looks right ("5" is no number, true is none either).
Source: docs/reference/job-file.md; RFC 19 (ids), RFC 23 (durations), RFC 26 (dependencies).
"""

import math
import re
import unicodedata
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import TypeVar

from jqsched.core.job import ARROW, PRIORITY_MAX, Dependency, OnInterrupt, Reason, Scheme
from jqsched.core.jobspec.clock_durations import clock_seconds
from jqsched.core.jobspec.script import TOO_LONG, interpreter_of, is_too_long

T = TypeVar("T")

ID_MAX = 2**63 - 1
NAME_MAX = 100
SECONDS_MAX = 8_500_000_000  # the year 2239; up to here a float tells microseconds apart
PATH_BYTES_MAX, SHOWN_MAX = 4095, 40
COUNT_MAX = 2**31 - 1

# Nearly all names: what this matches need not be looked at closely.
_PLAIN_NAME = re.compile(r"(?!\d+\Z)[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}", re.ASCII)
_JOINERS = str.maketrans("", "", "\u200c\u200d")  # not printable by themselves, and parts of words in some scripts
# Possessive, for two runs of digits side by side would be told apart in every way: a minute for 50,000 of them.
_NUMBER = r"(?:\d++\.?\d*+|\.\d++)(?:[eE][+-]?\d++)?"
_DURATION = re.compile(rf"({_NUMBER})(ms|s|m|h|d)?", re.ASCII)
_UNIT_S = {None: 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SECONDS = re.compile(_NUMBER, re.ASCII)
_PLACEHOLDERS = re.compile(r"\{(?:id|name|attempt|rank)\}")
_BASE58 = {c: i for i, c in enumerate("123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz")}
_SCHEMES = {scheme.value: scheme for scheme in Scheme}
_FOREIGN_SCHEME = re.compile(r"[A-Za-z][\w.-]{0,99}", re.ASCII)


class Wrong(ValueError):
    """All that is wrong with one value: pairs of a place inside it (`[2]`, `.scheme`, or empty) and what is wrong."""

    def __init__(self, *errors: tuple[str, str]) -> None:
        super().__init__("; ".join(f"{place}: {what}" if place else what for place, what in errors))
        self.errors = errors


def show(value: object, most: int = SHOWN_MAX) -> str:
    """Write a value for an error message: short, on one line, and with nothing in it that a terminal acts on.

    `most`: so many characters of a text.
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return repr(value if len(value) <= most else value[: most - 1] + "…")
    if isinstance(value, int):
        return str(value) if value.bit_length() <= 128 else "a huge number"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, Mapping):
        return "an object"
    return "a list" if isinstance(value, list | tuple) else f"a {type(value).__name__}"


def must(be: str, value: object) -> Wrong:
    """Say what a value must be and is not."""
    return Wrong(("", f"must be {be}, not {show(value)}"))


# ---- shapes -------------------------------------------------------------------------------------------------------


def integer(low: int, high: int, what: str = "") -> Callable[[object], int]:
    """Make a reader of integers in a range; `what` names the range where the bounds say little."""
    range_ = what or f"an integer {low}…{high}"

    def read(value: object) -> int:
        if type(value) is not int or not low <= value <= high:
            raise must(range_, value)
        return value

    return read


def finite(text: str) -> float:
    """Read a number of a JSON text, for `json.loads(…, parse_float=…, parse_constant=…)`: 1e400 is none, nor is NaN.

    Raises: ValueError.
    """
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{show(text)} is no JSON number")
    return value


def number(value: object) -> float:
    """Read a finite number."""
    if type(value) is int:
        if abs(value) > 2**63:
            raise Wrong(("", f"number not allowed: {show(value)}"))
        return float(value)
    if type(value) is not float:
        raise must("a number", value)
    if not math.isfinite(value):
        raise Wrong(("", f"number not allowed: {value}"))
    return value


def boolean(value: object) -> bool:
    """Read true or false."""
    if type(value) is not bool:
        raise must("true or false", value)
    return value


def string(value: object) -> str:
    """Read a string that can be handed to the system: valid Unicode without NUL."""
    if type(value) is not str:
        raise must("a string", value)
    if "\0" in value:
        raise Wrong(("", "must not contain NUL (\\u0000)"))
    if not value.isascii() and not is_unicode(value):
        raise Wrong(("", "is not valid Unicode: it contains a lone surrogate"))
    return value


def is_unicode(text: str) -> bool:
    """Whether a string has no lone surrogates, which JSON's escapes can make and no file or process can take."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def many(value: object, read: Callable[[object], T], of: str) -> tuple[T, ...]:
    """Read a list, each item by `read`; all errors, each with its index."""
    if type(value) is not list:
        raise must(f"a list of {of}", value)
    try:
        return tuple([read(item) for item in value])
    except Wrong:
        raise Wrong(*_wrong_items(value, read)) from None


def _wrong_items(items: list[object], read: Callable[[object], T]) -> list[tuple[str, str]]:
    errors: list[tuple[str, str]] = []
    for index, item in enumerate(items):
        try:
            read(item)
        except Wrong as wrong:
            errors.extend((f"[{index}]{place}", what) for place, what in wrong.errors)
    return errors


def mapping(value: object) -> Mapping[str, object]:
    """Read an object."""
    if not isinstance(value, Mapping):
        raise must("an object", value)
    return value


# ---- the keys of the short form -----------------------------------------------------------------------------------

urgency = integer(0, 31)
priority = integer(0, PRIORITY_MAX)
cores = integer(1, COUNT_MAX)
count = cores
job_id = integer(1, ID_MAX, "a job id (an integer from 1)")


def command(value: object) -> tuple[str, ...]:
    """Read a command: a list of strings, the first not empty."""
    words = many(value, string, "strings")
    if not words:
        raise Wrong(("", "must not be empty"))
    if not words[0]:
        raise Wrong(("[0]", "must not be empty: it names the program"))
    too_long = [(f"[{index}]", TOO_LONG) for index, word in enumerate(words) if is_too_long(word)]
    if too_long:
        raise Wrong(*too_long)
    return words


def script(value: object) -> str:
    """Read a script for /bin/sh."""
    text = string(value)
    if not text.strip():
        raise Wrong(("", "must not be empty"))
    if is_too_long(text):
        raise Wrong(("", f"{TOO_LONG}; put it into a file, and name that in `command`"))
    try:
        interpreter_of(text)
    except ValueError as wrong:
        raise Wrong(("", str(wrong))) from None
    return text


def name(value: object) -> str:
    """Read a job's name."""
    text = normal(string(value))
    if not is_name(text):
        raise Wrong(("", f"must be {_NAME_RULE}, not {show(text)}"))
    return text


_NAME_RULE = (
    f"a name of at most {NAME_MAX} printable characters (blanks only inside, no {ARROW}, not digits alone, "
    "not starting with + - . or ƒ)"
)


def is_name(text: str) -> bool:
    """Whether a job may be called this, a text in normal form.

    What would be taken for an id (`17`, `ƒ2oLk`) is no name, nor is what would end one in a dependency's description.
    """
    if _PLAIN_NAME.fullmatch(text):
        return True
    return (
        0 < len(text) <= NAME_MAX
        and text[0] not in "+-.ƒ"
        and text == text.strip()
        and not text.isdigit()
        and ARROW not in text
        and text.translate(_JOINERS).isprintable()
        and text[0] not in "\u200c\u200d"
        and unicodedata.is_normalized("NFC", text)
    )


def normal(text: str) -> str:
    """Write a name as it is compared: composed (NFC), as most programs write it; macOS takes it apart in file names."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def name_from(path: str) -> str:
    """Make a name of a command's path or a file's name: its last part, other characters as `_`."""
    last = normal(path.rstrip("/").rpartition("/")[2])
    text = "".join(char if char in "_.+-" or _is_of_a_word(char) else "_" for char in last)[:NAME_MAX]
    return text if is_name(text) else f"_{text[: NAME_MAX - 1]}"


def _is_of_a_word(char: str) -> bool:
    """Whether this is a letter, a digit, or a mark on one (a vowel sign, an accent)."""
    return char.isalnum() or (not char.isascii() and unicodedata.category(char)[0] == "M")


def cwd(value: object) -> str:
    """Read a working directory: an absolute path."""
    path = string(value)
    if not path.startswith("/"):
        raise Wrong(("", f"must be an absolute path, not {show(path)}"))
    if len(path.encode()) > PATH_BYTES_MAX:
        raise Wrong(("", f"must be at most {PATH_BYTES_MAX} bytes long"))
    return path


def env(value: object) -> tuple[tuple[str, str], ...]:
    """Read an environment: strings by name, sorted."""
    entries = mapping(value)
    errors: list[tuple[str, str]] = []
    for key, item in entries.items():
        place = f".{key}" if key.isidentifier() and len(key) <= SHOWN_MAX else f"[{show(key)}]"
        if isinstance(item, str) and is_too_long(f"{key}={item}"):
            errors.append((place, TOO_LONG))
        if not key or "=" in key or "\0" in key or not is_unicode(key):
            errors.append((place, "is no name for a variable: empty, or with = or NUL, or not Unicode"))
        try:
            string(item)
        except Wrong as wrong:
            errors.extend((place + inner, what) for inner, what in wrong.errors)
    if errors:
        raise Wrong(*errors)
    return tuple(sorted(entries.items()))  # type: ignore[arg-type]  # each item was read as a string above


def duration_s(value: object) -> float:
    """Read a duration: seconds, as RFC 23 writes it (`10m`), or as Slurm does (`1:30:00`); perhaps a very long one."""
    if type(value) is str:
        match = _DURATION.fullmatch(value)
        seconds = float(match[1]) * _UNIT_S[match[2]] if match is not None else clock_seconds(value)
        if seconds is not None:
            return seconds
    else:
        with suppress(Wrong):
            return number(value)
    raise must("seconds, or a duration like 90s, 10m, 1.5h, 2d, 100ms", value)


def duration_us(value: object) -> int:
    """Read a time limit, in seconds or as RFC 23 writes it (`10m`, `1.5h`); more than 0."""
    seconds = duration_s(value)
    if seconds > SECONDS_MAX or microseconds(seconds) < 1:
        raise must(f"more than 0 and at most {SECONDS_MAX} seconds", value)
    return microseconds(seconds)


def microseconds(seconds: float) -> int:
    """Convert so that n / 1_000_000 comes back as n: the product alone would be rounded once too often."""
    whole = int(seconds)
    return whole * 1_000_000 + round((seconds - whole) * 1_000_000)


def begin_us(value: object) -> int:
    """Read a begin time: seconds since the epoch (also as a string), or RFC 3339 with an offset."""
    if type(value) is str:
        seconds = float(value) if _SECONDS.fullmatch(value) else _rfc3339(value)
    else:
        seconds = number(value)
    if not 0 <= seconds <= SECONDS_MAX:
        raise must(f"0…{SECONDS_MAX} seconds since 1970", value)
    return microseconds(seconds)


def _rfc3339(text: str) -> float:
    try:
        time = datetime.fromisoformat(text.upper() if text[10:11] == "t" or text.endswith("z") else text)
    except ValueError:
        raise must("seconds since 1970, or a time like 2026-03-01T06:00:00+01:00", text) from None
    if time.tzinfo is None:
        raise Wrong(("", f"needs an offset from UTC (like Z or +01:00): {show(text)}"))
    return time.timestamp()


def path(value: object) -> str:
    """Read the path of an output file, with `{id}`, `{name}`, `{attempt}` and `{rank}` in it."""
    text = string(value)
    if not text or text.endswith("/"):
        raise must("the path of a file", value)
    if re.search(r"[{}]", _PLACEHOLDERS.sub("", text)):
        raise Wrong(("", f"may contain {{id}}, {{name}}, {{attempt}} and {{rank}} and no other braces: {show(text)}"))
    if len(text.encode()) > PATH_BYTES_MAX:
        raise Wrong(("", f"must be at most {PATH_BYTES_MAX} bytes long"))
    return text


def on_interrupt(value: object) -> OnInterrupt:
    """Read what becomes of a job that was interrupted."""
    if value == "requeue":
        return OnInterrupt.REQUEUE
    if value == "fail":
        return OnInterrupt.FAIL
    raise must("requeue or fail", value)


def reasons(value: object) -> tuple[Reason, ...]:
    """Read a reason trail: texts, [source, text], or [source, text, nanoseconds]; a text alone has the source ""."""
    return many(value, _reason, "strings, of [source, text], or of [source, text, nanoseconds]")


def _reason(value: object) -> Reason:
    if type(value) is str:
        return Reason("", string(value))
    if type(value) is not list or len(value) not in (2, 3):
        raise must("a string, [source, text] or [source, text, nanoseconds]", value)
    errors: list[tuple[str, str]] = []
    try:
        many(value[:2], string, "strings")
    except Wrong as wrong:
        errors += wrong.errors
    try:
        many(value[2:], _nanoseconds, "integers")
    except Wrong as wrong:
        errors += [("[2]", what) for _, what in wrong.errors]
    if errors:
        raise Wrong(*errors)
    return Reason(*value)


_nanoseconds = integer(0, 2**63 - 1, "nanoseconds since 1970 (an integer)")


# ---- dependencies -------------------------------------------------------------------------------------------------


def target(value: object) -> int | str:
    """Read what names a job: an id (integer, digits, or RFC 19's ƒ…), or a name."""
    if type(value) is int:
        return job_id(value)
    if type(value) is not str:
        raise must("a job's id or name", value)
    if value.isascii() and value.isdigit() and len(value) <= 20:
        return job_id(int(value))
    if value.startswith("ƒ"):
        return job_id(decode_f58(value))
    wanted = normal(string(value))
    if not is_name(wanted):
        raise Wrong(("", f"no job could have this name: {show(value)}"))
    return wanted


def decode_f58(text: str) -> int:
    """Decode an id in RFC 19's base58 form, `ƒ2oLkTLb`."""
    digits = text.removeprefix("ƒ")
    if not 1 <= len(digits) <= 11 or not all(digit in _BASE58 for digit in digits):
        raise Wrong(("", f"is no id: {show(text)} (ƒ and base58 digits)"))
    id_ = 0
    for digit in digits:
        id_ = id_ * 58 + _BASE58[digit]
    return id_


def after(value: object) -> tuple[Dependency, ...]:
    """Read the key `after`: ids and names of jobs that must succeed first."""
    return tuple([Dependency("afterok", wanted) for wanted in many(value, target, "ids and names")])


def dependencies(value: object) -> tuple[Dependency, ...]:
    """Read a list of RFC 26 dependency objects."""
    return many(value, dependency, "dependency objects")


def dependency(value: object) -> Dependency:
    """Read one RFC 26 object: `scheme`, `value`, and our `next`."""
    entries = mapping(value)
    errors = [(f".{show(key)[1:-1]}", "unknown key") for key in entries if key not in ("scheme", "value", "next")]
    scheme = _SCHEMES.get(wanted) if isinstance(wanted := entries.get("scheme"), str) else None
    next_only, found = False, None
    try:
        if scheme is not None:
            found = _value_of(scheme, entries)
        elif isinstance(wanted, str) and _FOREIGN_SCHEME.fullmatch(wanted):
            found = string(entries.get("value", ""))
        else:
            errors.append((".scheme", f"must be one of {' '.join(_SCHEMES)}, or a plugin's, not {show(wanted)}"))
    except Wrong as wrong:
        errors += [(f".value{place}", what) for place, what in wrong.errors]
    try:
        next_only = boolean(entries.get("next", False))
    except Wrong as wrong:
        errors += [(f".next{place}", what) for place, what in wrong.errors]
    if next_only and not errors and (scheme is None or not isinstance(found, str)):
        errors.append((".next", "is for names only"))
    if errors or not isinstance(wanted, str):
        raise Wrong(*errors)
    return Dependency(wanted, found, next_only)


def _value_of(scheme: Scheme, entries: Mapping[str, object]) -> int | str | None:
    if scheme is Scheme.SINGLETON:
        if entries.get("value", "") != "":
            raise Wrong(("", "must be left out or empty: singleton takes none"))
        return None
    if "value" not in entries:
        raise Wrong(("", "missing"))
    return begin_us(entries["value"]) if scheme is Scheme.BEGIN_TIME else target(entries["value"])
