"""Writing a job by a format: `JobInfoFormat("{id.f58:>12} {name:<10} {runtime!F:>8h}").format(info)`.

Rule: the fields are the attributes of `JobInfo`, the conversions and the `h` at the end of a specification are Flux's:
`!D` a time as a date, `!d:PATTERN` by a pattern of one's own, `!F` and `!H` a duration; `h` writes `-` for what has no
value. A value that is not known is blank, whatever its type. Source: Flux's `flux.job.JobInfoFormat`.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from string import Formatter
from typing import Any

from jqsched.core.attributes import ATTRIBUTES
from jqsched.job.info import JobInfo, standard_duration

__all__ = ["JobInfoFormat", "job_fields_to_attrs"]

_NOTHING = ("", "0s", "0.0", "0:00:00", "1970-01-01T00:00:00")
_PATTERN = "%FT%T"

# Computed attributes, and the raw attributes that each needs.
_COMPUTED: dict[str, tuple[str, ...]] = {
    "runtime": ("state", "t_run", "t_cleanup"),
    "t_remaining": ("state", "expiration", "result"),
    "status": ("state", "result"),
    "status_abbrev": ("state", "result"),
    "state_single": ("state",),
    "result_abbrev": ("result",),
    "returncode": ("state", "result", "waitstatus", "exception_occurred", "exception_severity", "exception_type"),
    "username": ("userid",),
    "exception": ("exception_occurred", "exception_severity", "exception_type", "exception_note"),
    "contextual_info": ("state", "dependencies", "nodelist", "annotations", "result", "waitstatus", "exception_note"),
    "contextual_time": ("state", "t_run", "t_cleanup", "duration"),
    "inactive_reason": ("state", "result", "waitstatus", "exception_occurred", "exception_type", "exception_note"),
    "sched": ("annotations",),
    "user": ("annotations",),
}


def job_fields_to_attrs(fields: Iterable[str]) -> list[str]:
    """Return the attributes to ask for, so that a `JobInfo` has these fields; `["all"]` for one that is not known."""
    found: dict[str, None] = {}
    for field in fields:
        name = field.removeprefix("0.").partition(".")[0]
        if name != "id" and name not in _COMPUTED and name not in ATTRIBUTES:
            return ["all"]
        found |= dict.fromkeys(_COMPUTED.get(name, () if name == "id" else (name,)))
    return list(found)


class JobInfoFormat:
    """A format. Raises ValueError for a malformed one."""

    def __init__(self, fmt: str, headings: Mapping[str, str] | None = None, prepend: str = "0.") -> None:
        self.fmt, self._headings, self._prepend = fmt, dict(headings or {}), prepend
        try:
            self._pieces = [
                (literal, None if field is None else field.removeprefix(prepend), spec or "", conversion)
                for literal, field, spec, conversion in Formatter().parse(fmt)
            ]
        except ValueError as error:
            raise ValueError(f"Invalid format: {error}") from None
        for _, field, _, conversion in self._pieces:
            if field is not None and (not field or (conversion or "D") not in "DdFHrs"):
                raise ValueError(f"Invalid format: {{{field}!{conversion}}}")

    @property
    def fields(self) -> list[str]:
        """The fields that the format uses."""
        return [field for _, field, _, _ in self._pieces if field is not None]

    def get_format(self) -> str:
        """The format as `str.format` reads it, with the job as its first argument."""
        return "".join(
            _escaped(literal)
            + (
                ""
                if field is None
                else f"{{{self._prepend}{field}{f'!{how}' if how else ''}{f':{spec}' if spec else ''}}}"
            )
            for literal, field, spec, how in self._pieces
        )

    def header(self) -> str:
        """Return the headings of the fields, in the fields' widths."""
        return self._written(lambda field, spec, how: _fitted(self._headings.get(field, field.upper()), spec, how))

    def format(self, obj: JobInfo) -> str:
        """Format a job. Raises: AttributeError for an unknown field; ValueError where a format does not fit."""
        return self._written(lambda field, spec, how: _value(_attribute(obj, field), spec, how))

    def _written(self, write: Callable[[str, str, str | None], str]) -> str:
        return "".join(
            literal + ("" if field is None else write(field, spec, how)) for literal, field, spec, how in self._pieces
        )


def _escaped(literal: str) -> str:
    return literal.replace("{", "{{").replace("}", "}}")


def _attribute(obj: object, path: str) -> Any:
    first, *rest = path.split(".")
    value = getattr(getattr(obj, "annotations", obj) if first in ("sched", "user") else obj, first)
    for name in rest:
        value = value.get(name, "") if isinstance(value, Mapping) else getattr(value, name)
    return value


def _fitted(heading: str, spec: str, conversion: str | None) -> str:
    """Write a heading as wide as its column: digits of a number's precision are none of its width."""
    _, width = _split(spec, conversion)
    width = width.removesuffix("h").rstrip("bcdoxXeEfFgGn%")
    return format(heading, width.partition(".")[0].replace("=", ">").replace(",", "").replace("0>", ">"))


def _split(spec: str, conversion: str | None) -> tuple[str, str]:
    """Split the specification of `!d` into the pattern of the date and the rest; any other has no pattern."""
    if conversion != "d":
        return _PATTERN, spec
    pattern, _, rest = spec.partition("::")
    return pattern or _PATTERN, rest


def _value(value: Any, spec: str, conversion: str | None) -> str:
    pattern, spec = _split(spec, conversion)
    if conversion in ("D", "d"):
        value = datetime.fromtimestamp(value).astimezone().strftime(pattern) if value else ""
    elif conversion == "F":
        value = standard_duration(value) if isinstance(value, int | float) else ""
    elif conversion == "H":
        value = str(timedelta(seconds=round(value))) if isinstance(value, int | float) else ""
    elif conversion is not None:
        value = format(value, "") if conversion == "s" else repr(value)
    if spec.endswith("h"):
        spec = spec.removesuffix("h")
        value = "-" if str(value) in _NOTHING else value
    if isinstance(value, bool) or str(value) in ("", "-"):
        return format(str(value), spec.rstrip("bcdoxXeEfFgGn%").partition(".")[0].replace("=", ">"))
    return format(value, spec)
