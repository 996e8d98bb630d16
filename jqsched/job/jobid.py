"""Job ids in all encodings of RFC 19.

Rule: an id is its integer; the encodings are ways to write it. Here ids are small and counted up, so `str()` is the
decimal number (Flux writes `ƒ…`); everything that Flux reads is read. Source: RFC 19.
"""

import locale
import re
from collections.abc import Callable
from functools import cache
from typing import Self

from jqsched.core.jobspec.values import Wrong, decode_f58

_END = 1 << 64  # ids have 64 bits
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_DECIMAL = re.compile(r"\d+", re.ASCII)
_HEX = re.compile(r"0x[0-9a-f]+", re.IGNORECASE)
_DOTHEX = re.compile(r"(?:job\.)?" + r"\.".join([r"([0-9a-f]{1,4})"] * 4), re.IGNORECASE)
_NO_LETTERS = re.compile(r"[^A-Za-z]+")
_BLANKS = " \t\n\v\f\r"


class JobID(int):
    """A job's id: an int that is made of any of its encodings and can be written in all of them.

    Raises: ValueError for an invalid id, OverflowError when a number that is no id (-1) is written as one.
    """

    _orig: str

    def __new__(cls, value: object) -> Self:
        self = super().__new__(cls, value if isinstance(value, int) else _read(value))
        self._orig = value.orig if isinstance(value, JobID) else _text(value)
        return self

    def encode(self, encoding: str = "dec") -> str:
        """Write the id in one of dec, f58, f58plain, hex, dothex, kvs, words and emoji."""
        write = _WRITERS.get(encoding)
        if write is None:
            raise ValueError(f"{encoding} is no encoding of job ids; there are {', '.join(_WRITERS)}")
        number = int(self)
        if not 0 <= number < _END:
            raise OverflowError(f"{number:d} is no job id: it is not in 0 to 2^64 - 1")
        return write(number)

    @property
    def dec(self) -> str:
        """The decimal number."""
        return self.encode("dec")

    @property
    def f58(self) -> str:
        """Base 58 after `ƒ`; after `f` where the locale has no such letter."""
        return self.encode("f58")

    @property
    def f58plain(self) -> str:
        """Base 58 after `f`."""
        return self.encode("f58plain")

    @property
    def hex(self) -> str:
        """Hexadecimal after `0x`."""
        return self.encode("hex")

    @property
    def dothex(self) -> str:
        """Four groups of four hexadecimal digits, with dots between."""
        return self.encode("dothex")

    @property
    def kvs(self) -> str:
        """The folder of a job in Flux's KVS: `job.` and the dotted hexadecimal."""
        return self.encode("kvs")

    @property
    def words(self) -> str:
        """Six words."""
        return self.encode("words")

    @property
    def emoji(self) -> str:
        """Up to seven emoji."""
        return self.encode("emoji")

    @property
    def orig(self) -> str:
        """The text that the id was parsed from."""
        return self._orig

    def __str__(self) -> str:
        return self.encode("dec")

    def __repr__(self) -> str:
        return f"JobID({self.dec})"


def id_number(jobid: object) -> int:
    """Return the number of a job's id for a request.

    Raises, as Flux: TypeError for None and the like, OverflowError for a number that is no id (-1); ValueError.
    """
    if not isinstance(jobid, int | str):
        raise TypeError(f"a job id is an integer or a text, not {type(jobid).__name__}")
    if not 0 <= (number := int(JobID(jobid))) < _END:
        raise OverflowError(f"{number:d} is no job id: it is not in 0 to 2^64 - 1")
    return number


def id_parse(jobid: str) -> int:
    """Read a job's id in any of its encodings. Raises ValueError for invalid text."""
    return int(JobID(jobid))


def id_encode(jobid: int | str, encoding: str = "f58") -> str:
    """Write a job's id in an encoding: dec, f58, f58plain, hex, dothex, kvs, words or emoji. Raises as `JobID`."""
    return JobID(jobid).encode(encoding)


# ---- writing ------------------------------------------------------------------------------------------------------


def _digits(number: int, alphabet: str) -> str:
    base, text = len(alphabet), ""
    while True:
        number, digit = divmod(number, base)
        text = alphabet[digit] + text
        if not number:
            return text


def _f58(number: int) -> str:
    return ("ƒ" if locale.getencoding().lower() in ("utf-8", "utf8") else "f") + _digits(number, _BASE58)


def _dothex(number: int) -> str:
    return ".".join(f"{number >> shift & 0xFFFF:04x}" for shift in (48, 32, 16, 0))


def _words(number: int) -> str:
    return "--".join("-".join(_three(half)) for half in (number & 0xFFFFFFFF, number >> 32))


def _three(half: int) -> list[str]:
    """Write 32 bits as three words, the lowest digit first."""
    words, _ = _word_digits()
    base = len(words)
    return [words[half // base**place % base] for place in range(3)]


@cache
def _word_digits() -> tuple[tuple[str, ...], dict[str, int]]:
    from jqsched.job.alphabets import WORDS  # noqa: PLC0415  # the tables are large, and rarely used

    return WORDS, {word: digit for digit, word in enumerate(WORDS)}


@cache
def _emoji_digits() -> tuple[str, dict[str, int]]:
    from jqsched.job.alphabets import EMOJI  # noqa: PLC0415  # as the words

    return EMOJI, {emoji: digit for digit, emoji in enumerate(EMOJI)}


_WRITERS: dict[str, Callable[[int], str]] = {
    "dec": str,
    "f58": _f58,
    "f58plain": lambda number: "f" + _digits(number, _BASE58),
    "hex": hex,
    "dothex": _dothex,
    "kvs": lambda number: "job." + _dothex(number),
    "words": _words,
    "emoji": lambda number: _digits(number, _emoji_digits()[0]),
}
ENCODINGS = tuple(_WRITERS)


# ---- reading ------------------------------------------------------------------------------------------------------


def _text(value: object) -> str:
    return int.__repr__(value) if isinstance(value, int) else str(value)


def _read(value: object) -> int:
    """Read an id in whatever encoding. The order of the choices matters: `f` begins words and dotted numbers too."""
    if isinstance(value, str):
        number = _decode(value.strip(_BLANKS))
        if number is not None and number < _END:
            return number
    raise ValueError(f"{value} is not a valid Flux jobid")


def _decode(text: str) -> int | None:
    if "." in text:
        groups = _DOTHEX.fullmatch(text)
        return int("".join(group.zfill(4) for group in groups.groups()), 16) if groups else None
    if "-" in text:
        return _decode_words(text)
    if text.startswith(("ƒ", "f")):
        return _decode_f58(text[1:])
    if text.encode("utf-8", "surrogatepass").startswith(b"\xf0\x9f"):
        return _decode_emoji(text)
    if _HEX.fullmatch(text):
        return int(text, 16) if len(text) <= 100 else None
    return int(text) if _DECIMAL.fullmatch(text) and len(text) <= 100 else None


def _decode_f58(digits: str) -> int | None:
    try:
        return decode_f58("ƒ" + digits)
    except Wrong:
        return None


def _decode_words(text: str) -> int | None:
    _, digit_of = _word_digits()
    digits = [digit_of.get(word.lower(), -1) for word in _NO_LETTERS.split(text) if word]
    if len(digits) != 6 or -1 in digits:
        return None
    base = len(digit_of)
    low, high = (a + base * (b + base * c) for a, b, c in (digits[:3], digits[3:]))
    return low | high << 32 if max(low, high) < 1 << 32 else None


def _decode_emoji(text: str) -> int | None:
    _, digit_of = _emoji_digits()
    number = 0
    for emoji in text[:8]:
        digit = digit_of.get(emoji)
        if digit is None:
            return None
        number = number * len(digit_of) + digit
    return number if len(text) <= 7 else None
