"""The boundary between plugins and the scheduler: all that a plugin hands over is checked and copied here.

In goes any Python object, out comes JSON of exact built-in types (or a text, an integer) of bounded size and depth: no
subclass, no cycle, no lone surrogate, no number that JSON lacks. Only real types are looked at (`type`, never
`isinstance`, which asks the object), and only built-in methods are called, so nothing of the plugin's runs here.
What does not fit is an OSError EINVAL that names the place, as `context.seen: must be JSON, not a set`.
"""

import errno
import marshal
import math
import os
from collections.abc import Callable, Iterable
from typing import TypeGuard, TypeVar

from jqsched.core.json import Json, JsonObject

T = TypeVar("T")

DEPTH_MAX = 32
EVENT_SIZE_MAX = 64 * 1024  # of what stays in a job's log: characters, and one for each value
ANSWER_SIZE_MAX = 4 << 20  # of what is sent as an answer, and not kept
TEXT_MAX = 1024
WORD_MAX = 100
INTEGER_MIN, INTEGER_MAX = -(2**63), 2**63 - 1

_PLACE_MAX = 100  # characters of the place that a message names
_name_of: Callable[[type], str] = type.__dict__["__name__"].__get__  # the real one: a metaclass may have another


def failure(number: int, text: str = "") -> OSError:
    """An error as Flux would give it: errno, and a text where there is more to say."""
    return OSError(number, text or os.strerror(number))


# ---- handed over by a plugin --------------------------------------------------------------------------------------


def json_value(value: object, what: str, size_max: int = EVENT_SIZE_MAX) -> Json:
    """Copy a JSON value; tuples become lists. Raises: EINVAL."""
    copier = _Copier(size_max)
    try:
        return copier.copy(value, 0)
    except _NotJson as wrong:
        place = "".join((what, *reversed(wrong.place)))
        raise failure(errno.EINVAL, f"{place[:_PLACE_MAX]}: {wrong.text}") from None


def json_object(value: object, what: str, size_max: int = EVENT_SIZE_MAX) -> dict[str, Json]:
    """Copy a JSON object; None is an empty one. Raises: EINVAL."""
    if value is None:
        return {}
    if not _is_a(value, dict):
        raise failure(errno.EINVAL, f"{what}: must be an object, not {_kind(value)}")
    copied = json_value(value, what, size_max)
    assert isinstance(copied, dict)
    return copied


def text(value: object, what: str, most: int = TEXT_MAX) -> str:
    """Copy a text of valid Unicode without NUL. Raises: EINVAL."""
    copied = json_value(value, what, EVENT_SIZE_MAX)
    if not isinstance(copied, str):
        raise failure(errno.EINVAL, f"{what}: must be a text, not {_kind(value)}")
    if len(copied) > most or "\0" in copied:
        raise failure(errno.EINVAL, f"{what}: must be at most {most} characters long, without NUL")
    return copied


def line(value: object, what: str, most: int = TEXT_MAX) -> str:
    """Copy a text of at least one character, all of them printable. Raises: EINVAL."""
    copied = text(value, what, most)
    if not copied or not copied.isprintable():
        raise failure(errno.EINVAL, f"{what}: must be a text of printable characters")
    return copied


def word(value: object, what: str) -> str:
    """Copy a name: a line without white space. Raises: EINVAL."""
    copied = line(value, what, WORD_MAX)
    if " " in copied:
        raise failure(errno.EINVAL, f"{what}: must be a name without white space")
    return copied


def integer(value: object, what: str, low: int = INTEGER_MIN, high: int = INTEGER_MAX) -> int:
    """Copy an integer in a range. Raises: EINVAL."""
    copied = int.__int__(value) if _is_a(value, int) and type(value) is not bool else None
    if copied is None or not low <= copied <= high:
        raise failure(errno.EINVAL, f"{what}: must be an integer from {low} to {high}")
    return copied


def seconds(value: object, what: str, most: float) -> float:
    """Copy a number of seconds, 0 or more. Raises: EINVAL."""
    copied = json_value(value, what)
    if isinstance(copied, bool) or not isinstance(copied, int | float) or not 0 <= copied <= most:
        raise failure(errno.EINVAL, f"{what}: must be 0 to {most:.0f} seconds")
    return float(copied)


def function(value: object, what: str) -> None:
    """Check that something can be called. Raises: EINVAL."""
    if not callable(value):
        raise failure(errno.EINVAL, f"{what}: must be a function, not {_kind(value)}")


def readable_parts(value: object, size_max: int) -> tuple[dict[str, Json], list[str]]:
    """Copy what a callback left in `args.out`, key by key: those that are JSON, and what is wrong with the others."""
    if not _is_a(value, dict):
        return {}, [f"out: must be an object, not {_kind(value)}"]
    good, wrong = dict[str, Json](), list[str]()
    for key, item in list(dict.items(value)):
        try:
            good[word(key, "out")] = json_value(item, word(key, "out"), size_max)
        except OSError as error:
            wrong.append(str(error.strerror))
    return good, wrong


def is_refusal(answer: object) -> bool:
    """Whether a callback's answer is a negative number; what is no number counts as 0."""
    return _is_a(answer, int) and int.__lt__(answer, 0)


def _is_a(value: object, kind: type[T]) -> TypeGuard[T]:
    """Whether a value is of a built-in type by its real type, or of a subclass."""
    return issubclass(type(value), kind)


class _NotJson(Exception):
    """A value that cannot cross; `place` grows from the inside out."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text, self.place = text, list[str]()


class _Copier:
    """One copy in the making: what it may still hold."""

    def __init__(self, size_max: int) -> None:
        self._size_max = self._left = size_max

    def copy(self, value: object, depth: int) -> Json:
        self._count(1)
        if value is None or value is True or value is False:
            return value
        if _is_a(value, str):
            return self._text(str.__str__(value))
        if _is_a(value, int):
            number = int.__int__(value)
            if not INTEGER_MIN <= number <= INTEGER_MAX:
                raise _NotJson("must be an integer of 64 bits")
            return number
        if _is_a(value, float):
            real = float.__float__(value)
            if not math.isfinite(real):
                raise _NotJson("must be a finite number")
            return real
        if depth >= DEPTH_MAX:
            raise _NotJson(f"must not be nested more than {DEPTH_MAX} deep")
        if _is_a(value, dict):
            return self._object(dict.items(value), depth)
        if _is_a(value, list):
            return self._list(list.__iter__(value), depth)
        if _is_a(value, tuple):
            return self._list(tuple.__iter__(value), depth)
        raise _NotJson(f"must be JSON, not {_kind(value)}")

    def _list(self, items: Iterable[object], depth: int) -> Json:
        return [self._inside(f"[{at}]", item, depth) for at, item in enumerate(items)]

    def _object(self, items: Iterable[tuple[object, object]], depth: int) -> Json:
        copied: dict[str, Json] = {}
        try:
            for key, item in items:
                if not _is_a(key, str):
                    raise _NotJson(f"must have texts as keys, not {_kind(key)}")
                name = self._text(str.__str__(key))
                copied[name] = self._inside(f".{name if name.isprintable() else '?'}", item, depth)
        except RuntimeError:  # another thread changes it
            raise _NotJson("was changed while it was read") from None
        return copied

    def _inside(self, place: str, item: object, depth: int) -> Json:
        try:
            return self.copy(item, depth + 1)
        except _NotJson as wrong:
            wrong.place.append(place)
            raise

    def _text(self, text: str) -> str:
        self._count(len(text))
        try:
            text.encode()
        except UnicodeEncodeError:
            raise _NotJson("must be valid Unicode: it contains a lone surrogate") from None
        return text

    def _count(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise _NotJson(f"must not be larger than {self._size_max} characters")


def _kind(value: object) -> str:
    """Name a value's type in a message."""
    if value is None:
        return "null"
    name = _name_of(type(value))
    return f"a {name}" if name.isidentifier() and len(name) <= WORD_MAX else "an object"


# ---- what a plugin raises -----------------------------------------------------------------------------------------


def describe_error(error: BaseException) -> str:
    """An exception in a line: its kind, its text, and the line of the plugin where it came from. Raises nothing."""
    return f"{one_line(_name_of(type(error)))}: {error_text(error)}{_origin(error)}"


def _origin(error: BaseException) -> str:
    """The line of the plugin where an exception came from, as ` (file.py:17)`; empty where it cannot be known."""
    try:
        at = error.__traceback__
        while at is not None and at.tb_next is not None:
            at = at.tb_next
        return (
            one_line(f" ({os.path.basename(at.tb_frame.f_code.co_filename)}:{at.tb_lineno})") if at is not None else ""
        )
    except BaseException:  # its class may have a `__traceback__` of its own
        return ""


def error_text(error: BaseException) -> str:
    """What an exception says, in a line. Raises nothing: its text is made by the plugin's own code."""
    try:
        return one_line(str.__str__(str(error.strerror or error) if _is_system_error(error) else str(error)))
    except BaseException:  # whatever a plugin raises, the scheduler goes on
        return "(its text cannot be read)"


_SYSTEM_ERRORS = (OSError, *OSError.__subclasses__())


def _is_system_error(error: BaseException) -> TypeGuard[OSError]:
    """Whether this is an OSError of a built-in class, whose attributes are what they should be."""
    return type(error) in _SYSTEM_ERRORS


def error_number(error: BaseException) -> int:
    """The errno of an exception, EINVAL where it has none that the system knows. Raises nothing."""
    number = error.errno if _is_system_error(error) else None
    return number if type(number) is int and number in errno.errorcode else errno.EINVAL


def one_line(text: str, most: int = TEXT_MAX) -> str:
    """Make a text fit for a log and a terminal: one line, at most so long, what cannot be printed as escapes."""
    if len(text) > most:
        text = f"{text[: most - 1]}…"
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else " " if char in "\n\t" else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    return char.encode("unicode_escape", "backslashreplace").decode("ascii")


# ---- handed to a plugin -------------------------------------------------------------------------------------------


def given(value: Json) -> Json:
    """Copy what is handed to a plugin, so that changing it changes nothing else."""
    if type(value) not in (dict, list):
        return value
    try:
        copied: Json = marshal.loads(marshal.dumps(value))  # noqa: S302 - of our own making; a fifth of deepcopy's time
    except ValueError:  # a plugin's own, for another plugin: not the scheduler's
        return value
    return copied


def given_object(value: JsonObject) -> dict[str, Json]:
    """Copy an object that is handed to a plugin."""
    copied = given(dict(value))
    assert isinstance(copied, dict)
    return copied
