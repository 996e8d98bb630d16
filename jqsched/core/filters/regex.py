"""Regular expressions by RE2: compile one to a function that searches a text for it.

Rule: RE2 only, for its time is linear in the text whatever the expression is, and its memory is bounded. It is
imported when the first expression is compiled, for that takes 5 to 10 ms, and most rules have none. Its untyped
interface is used in this module only. Source: docs/adr/0009-re2-for-rules.md.
"""

from collections.abc import Callable
from functools import cache
from typing import Protocol, cast

REGEX_BYTES_MAX = 1_000
TEXT_BYTES_MAX = 16_384
_MEMORY_BYTES = 256 * 1024  # of one compiled expression; what needs more is refused
_PROGRAM_MAX = 2_000  # steps; where RE2 falls back to its slow machine, a search takes 3 ns for each step and byte


class BadRegex(ValueError):
    """Not a regular expression that RE2 takes, or one that is too big; the text says why."""


class _Options(Protocol):
    max_mem: int
    log_errors: bool
    never_capture: bool


class _Compiled(Protocol):
    @property
    def programsize(self) -> int: ...

    def search(self, text: bytes, /) -> object: ...


class _Re2(Protocol):
    error: type[Exception]

    def Options(self) -> _Options: ...  # noqa: N802  # its name there

    def compile(self, pattern: str, options: _Options, /) -> _Compiled: ...


@cache
def _re2() -> _Re2:
    import re2  # type: ignore[import-untyped]  # noqa: PLC0415  # has no stubs; slow, and seldom needed

    return cast(_Re2, re2)


def compile_regex(pattern: str) -> Callable[[str], bool | None]:
    """Compile an expression (RE2's syntax) to a search for it anywhere in a text.

    Answers:  of the search: whether it was found; None for a text of more than TEXT_BYTES_MAX, which is not searched.
    Raises:   BadRegex, also for an expression that would take too much memory or time.
    Cost:     some ten microseconds, three milliseconds at most; of a search about one, and 0.1 s at the very worst.
    """
    try:
        encoded = pattern.encode()
    except UnicodeEncodeError:
        raise BadRegex("is not valid Unicode: it contains a lone surrogate") from None
    if len(encoded) > REGEX_BYTES_MAX:
        raise BadRegex(f"must be at most {REGEX_BYTES_MAX} bytes long, not {len(encoded)}")
    module = _re2()
    options = module.Options()
    options.max_mem, options.log_errors, options.never_capture = _MEMORY_BYTES, False, True
    try:
        compiled = module.compile(pattern, options)
    except module.error as error:
        raise BadRegex(f"is no regular expression of RE2: {_said(error)}") from None
    if compiled.programsize > _PROGRAM_MAX:
        raise BadRegex(f"is too big: it comes to {compiled.programsize} steps, and may to {_PROGRAM_MAX}")
    search = compiled.search

    def found(text: str) -> bool | None:
        data = text.encode(errors="surrogatepass")
        return search(data) is not None if len(data) <= TEXT_BYTES_MAX else None

    return found


def _said(error: Exception) -> str:
    """Decode RE2's error message: bytes that may quote the expression."""
    said = error.args[0] if error.args else ""
    text = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
    shown = text if len(text) <= 100 else text[:99] + "…"
    return shown if shown.isprintable() else repr(shown)[1:-1]
