"""`--format` and `--sort`: a template like `{id:>6} {name}`, keys like `-t_run`; filled in with what is known of a job.

Rule: keys and nothing else (no attributes, indexes or conversions reach an object of ours), and widths that are sane.
The keys are those of the JSON document, and those of Flux's lists that are computed; conversions are Flux's.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from string import Formatter
from typing import NamedTuple

from jqsched.cli.failure import USAGE, Failure, printable
from jqsched.core.attributes import ATTRIBUTES, job_attributes
from jqsched.core.job import Job
from jqsched.core.jobspec import values
from jqsched.core.json import Json
from jqsched.core.view import INFO_KEYS
from jqsched.job.info import JobInfo, standard_duration
from jqsched.job.jobid import ENCODINGS

Show = Callable[[Job], Mapping[str, Json]]

_EXCEPTION_KEYS = tuple(f"exception.{key}" for key in ("occurred", "severity", "type", "note"))
_ID_KEYS = tuple(f"id.{encoding}" for encoding in ENCODINGS)
_INFO_KEYS = ("status_abbrev", "state_single", "result_abbrev", "contextual_info", "contextual_time", "inactive_reason")
_NO_SCALARS = ("dependencies", "annotations", "exception", "reasons")
KEYS = (*INFO_KEYS, *_EXCEPTION_KEYS, *_ID_KEYS, *_INFO_KEYS)
_NOTES = re.compile(r"(?:annotations|sched|user)(?:\.\w+)+", re.ASCII)

_SPEC = re.compile(r"(.?[<>=^])?[-+ ]?0?(\d{0,3})(?:\.\d{1,3})?[sdfeg]?(h)?", re.ASCII)
_TIME_SPEC = re.compile(r"((?:%[a-zA-Z%]|(?!::)[^%{}])*)(?:::((?:.?[<>^])?\d{0,3}h?))?", re.ASCII)


class _Piece(NamedTuple):
    """A part of a template: a literal text (`key` None), or a key with its conversion and its format."""

    text: str
    key: str | None = None
    conversion: str | None = None


def compiled(template: str, show: Show, hostname: str) -> Callable[[Job], str]:
    """Make a function that writes a job; refuses a template with anything but keys and plain formats."""
    pieces = list(_pieces(template))

    def write(job: Job) -> str:
        values = _Values(job, show, hostname)
        return "".join(piece.text if piece.key is None else _written(piece, values.get(piece.key)) for piece in pieces)

    return write


def sorted_by(keys: str, jobs: Iterable[Job], show: Show) -> list[Job]:
    """Sort by a comma list of keys, `-` before one for the other direction; what is not known comes first."""
    wanted = [word.strip() for word in keys.split(",")]
    for word in wanted:
        key = word.removeprefix("-")
        if key not in KEYS or key in _NO_SCALARS:
            raise Failure(f"--sort: {values.show(key)} is no key to sort by; there are {', '.join(_scalars())}", USAGE)
    rows = [(job, _Values(job, show, "")) for job in jobs]
    for word in reversed(wanted):
        key = word.removeprefix("-")

        def rank(row: tuple[Job, "_Values"], key: str = key) -> tuple[bool, Json]:
            value = row[1].get(key)
            known = value not in (None, "")
            return known, value if known else 0

        rows.sort(key=rank, reverse=word.startswith("-"))
    return [job for job, _ in rows]


def _scalars() -> list[str]:
    return [key for key in KEYS if key not in _NO_SCALARS]


# ---- reading ------------------------------------------------------------------------------------------------------


def _pieces(template: str) -> Iterable[_Piece]:
    if not values.is_unicode(template):  # nothing of it could be printed, and no date be written by it
        raise Failure("--format: is not valid Unicode", USAGE)
    try:
        parsed = list(Formatter().parse(template.replace("\\t", "\t").replace("\\n", "\n")))
    except ValueError as error:
        raise Failure(f"--format: {error}", USAGE) from None
    for literal, key, spec, conversion in parsed:
        if literal:
            yield _Piece(literal)
        if key is None:
            continue
        if key not in KEYS and not _NOTES.fullmatch(key):
            raise Failure(f"--format: {{{values.show(key)[1:-1]}}} is no key; there are {', '.join(KEYS)}", USAGE)
        grammar = _TIME_SPEC if conversion == "d" else _SPEC
        if conversion not in (None, *_CONVERSIONS) or not grammar.fullmatch(spec or ""):
            raise Failure(
                f"--format: {{{key}}} has a format that is not known: {values.show(conversion or spec)[1:-1]}", USAGE
            )
        yield _Piece(spec or "", key, conversion)


# ---- writing ------------------------------------------------------------------------------------------------------


class _Values:
    """What is known of a job by key, made when it is first asked for."""

    def __init__(self, job: Job, show: Show, hostname: str) -> None:
        self._job, self._show, self._hostname = job, show, hostname
        self._document: Mapping[str, Json] | None = None
        self._info: JobInfo | None = None

    def get(self, key: str) -> Json:
        """The value of a key; None where it is not known."""
        if key in _INFO_KEYS or key in _ID_KEYS:
            return self._computed(key)
        if self._document is None:
            self._document = self._show(self._job)
        if key in self._document:
            return self._document[key]
        path = key.split(".")
        value: Json = self._document["annotations"] if path[0] in ("sched", "user") else dict(self._document)
        for part in path:
            value = value.get(part) if isinstance(value, Mapping) else None
        return value

    def _computed(self, key: str) -> Json:
        if self._info is None:
            self._info = JobInfo(job_attributes(self._job, ATTRIBUTES, self._hostname))
        first, _, encoding = key.partition(".")
        value: Json = self._info.id.encode(encoding) if encoding else getattr(self._info, first)
        return value


def _written(piece: _Piece, value: Json) -> str:
    if piece.conversion is not None:
        return _CONVERSIONS[piece.conversion](piece, value)
    return _formatted(piece, value, piece.text)


def _formatted(piece: _Piece, value: Json, spec: str) -> str:
    dashed = spec.endswith("h")
    spec = spec.removesuffix("h")
    if (
        dashed and not isinstance(value, int) and value in (None, "", 0.0, [], {})
    ):  # the number 0 is a value, as in Flux
        value = "-"
    if value is None or value in ("", "-"):
        return _blank("-" if value == "-" else "", spec)
    if isinstance(value, bool | dict | list):
        value = (
            ", ".join(map(str, value))
            if isinstance(value, list)
            else str(value)
            if isinstance(value, bool)
            else json.dumps(value)
        )
    try:
        return format(printable(value) if isinstance(value, str) else value, spec)
    except ValueError as error:
        raise Failure(f"--format: {{{piece.key}:{spec}}}: {error}", USAGE) from None


def _blank(text: str, spec: str) -> str:
    """Write what has no value as wide as the others are, whatever their type is."""
    parts = _SPEC.fullmatch(spec)
    align, width = (parts[1] or ">", parts[2]) if parts else (">", "")
    return format(text, f"{align.replace('=', '>')}{width}")


def _seconds(value: Json) -> float:
    """A time or a duration; what is not known, or is none, is 0."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else 0.0


def _date(piece: _Piece, value: Json) -> str:
    moment_s = _seconds(value)
    return _formatted(piece, f"{_local(moment_s):%FT%T}" if moment_s else "", piece.text)


def _chosen_date(piece: _Piece, value: Json) -> str:
    parts = _TIME_SPEC.fullmatch(piece.text)
    pattern, spec = (parts[1] or "%FT%T", parts[2] or "") if parts else ("%FT%T", "")
    moment_s = _seconds(value)
    return _formatted(piece, _local(moment_s).strftime(pattern) if moment_s else "", spec)


def _local(moment_s: float) -> datetime:
    return datetime.fromtimestamp(moment_s).astimezone()


def _standard(piece: _Piece, value: Json) -> str:
    duration_s = _seconds(value)
    return _formatted(piece, standard_duration(duration_s) if duration_s else "", piece.text)


def _clock(piece: _Piece, value: Json) -> str:
    duration_s = _seconds(value)
    return _formatted(piece, str(timedelta(seconds=round(duration_s))) if duration_s else "", piece.text)


# Flux's conversions: a time as a date, or as one's own pattern says; a duration as RFC 23 says, or in hours.
_CONVERSIONS: Mapping[str, Callable[[_Piece, Json], str]] = {
    "D": _date,
    "d": _chosen_date,
    "F": _standard,
    "H": _clock,
}
