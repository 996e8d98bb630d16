"""Directives in a script: find the lines `#jq: …`, `# flux: …` and `#SBATCH …`, and split them into words.

In: the text of a script. Out: its directives with their line numbers, and what is odd; or all that is wrong.
Rule: RFC 36 for `jq:` and `flux:`: one prefix for all, the end at the first other line that is not blank, an error for
one that comes later. For `#SBATCH` what Slurm does: up to the first line that is no comment; later ones are ignored.
Source: RFC 36; sbatch(1).
"""

import re
import shlex
import textwrap
from enum import Enum

from attrs import define, field, frozen

from jqsched.core.jobspec.values import show


class Dialect(Enum):
    """Whose names and units the options of a directive have."""

    JQ = "jq"
    FLUX = "flux"
    SLURM = "#SBATCH"


@frozen
class Directive:
    """One directive: the number of its (first) line, and its words as a shell would split them."""

    line: int
    dialect: Dialect
    words: tuple[str, ...]


@frozen
class Directives:
    """What a script says; `notes`: what is ignored, a line each."""

    found: tuple[Directive, ...]
    notes: tuple[str, ...] = ()


class BadDirectives(ValueError):
    """Directives that cannot be understood: all errors, each with its line."""

    def __init__(self, errors: tuple[str, ...]) -> None:
        super().__init__(errors)
        self.errors = errors


_SENTINEL = re.compile(r"(?P<prefix>[^\w\n]*)(?P<tag>jq|JQ|flux|FLUX):(?P<text>.*)")
_SBATCH = re.compile(r"#SBATCH(?:\s+(?P<text>.*))?\Z")
_TRIPLE = re.compile(r"(\"{3}|'{3})(.*?)\1")
_QUOTES = ('"""', "'''")


def read_directives(text: str) -> Directives:
    """Find the directives of a script. Raises: BadDirectives."""
    reading = _Reading()
    for number, line in enumerate(text.split("\n"), 1):
        reading.line(number, line.removesuffix("\r"))
    if reading.open is not None:
        reading.errors.append(f"line {reading.open[0]}: the triple quotes are never closed")
    if reading.errors:
        raise BadDirectives(tuple(reading.errors))
    return Directives(tuple(reading.found), tuple(reading.notes))


@define
class _Reading:
    """The state between two lines. `open`: a literal over several lines: where it began, its quotes, its lines."""

    prefix: str | None = None
    is_over: bool = False
    is_code: bool = False
    open: tuple[int, Dialect, str, str, list[str]] | None = None
    found: list[Directive] = field(factory=list)
    errors: list[str] = field(factory=list)
    notes: list[str] = field(factory=list)

    def line(self, number: int, line: str) -> None:
        slurm, sentinel = _SBATCH.match(line), _SENTINEL.match(line)
        if self.open is not None and (sentinel is None or sentinel["prefix"] != self.prefix):
            self.errors.append(f"line {number}: a literal in triple quotes goes on with directives only")
            self.open = None
        if slurm is not None:
            self.of_slurm(number, slurm["text"] or "")
        elif sentinel is not None:
            self.of_rfc36(number, sentinel)
        elif line.strip() and self.prefix is not None and not line.startswith(self.prefix):
            self.is_over = True
        if line.strip() and not line.startswith("#"):
            self.is_code = True

    def of_slurm(self, number: int, text: str) -> None:
        if self.is_code:
            self.notes.append(f"line {number}: #SBATCH behind the first command is ignored, as Slurm does")
        else:
            self.add(number, Dialect.SLURM, text)

    def of_rfc36(self, number: int, sentinel: "re.Match[str]") -> None:
        prefix, dialect = sentinel["prefix"], Dialect(sentinel["tag"].lower())
        if self.prefix is None:
            self.prefix = prefix
        if self.is_over:
            self.errors.append(f"line {number}: a directive behind the end of the directives, which a line of code is")
        elif prefix != self.prefix:
            self.errors.append(
                f"line {number}: all directives begin alike: with {show(self.prefix)}, not {show(prefix)}"
            )
        elif self.open is not None:
            self.go_on(sentinel["text"])
        else:
            self.begin(number, dialect, sentinel["text"])

    def begin(self, number: int, dialect: Dialect, text: str) -> None:
        quotes = text.rstrip()[-3:]
        if quotes in _QUOTES and text.count(quotes) % 2:
            self.open = (number, dialect, text.rstrip()[:-3], quotes, [])
        else:
            self.add(number, dialect, text)

    def go_on(self, text: str) -> None:
        assert self.open is not None
        number, dialect, head, quotes, lines = self.open
        if text.strip() == quotes:
            self.open = None
            literal = textwrap.dedent("".join(f"{line}\n" for line in lines))
            self.add(number, dialect, head + shlex.quote(literal))
        else:
            lines.append(text)

    def add(self, number: int, dialect: Dialect, text: str) -> None:
        try:
            words = shlex.split(_TRIPLE.sub(lambda match: shlex.quote(match[2]), text), comments=True)
        except ValueError as wrong:
            self.errors.append(f"line {number}: {str(wrong).lower()}")
            return
        if words:
            self.found.append(Directive(number, dialect, tuple(words)))
