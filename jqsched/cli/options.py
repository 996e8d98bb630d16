"""Options and arguments that several commands share, and how values on the command line are read.

Rule: declarations, and readers for them. Every number, text and path is read by one of these readers, so that whatever
is typed (other digits, 5,000 of them, a NUL, half a character) is refused where it is given, with the option's name.
`tests/cli/test_hostile_values.py` asks it of every parameter of every command.
"""

from collections.abc import Callable
from typing import Annotated

import typer

INTEGER_MAX = 2**63 - 1  # what the store holds
LIMIT_MAX = 1_000_000  # jobs or cores at a time, as `jqsched.toml` has it
_DIGITS_MAX = 20


# ---- readers ------------------------------------------------------------------------------------------------------


def integer(low: int, high: int = INTEGER_MAX) -> Callable[[str | int], int]:
    """Make a reader of decimal integers in a range: ASCII digits, perhaps after a sign."""
    bound = f"from {low}" if high == INTEGER_MAX else f"from {low} to {high}"

    def read(value: str | int) -> int:
        if isinstance(value, int):
            return value  # a default
        digits = value.removeprefix("-") if value.startswith("-") else value.removeprefix("+")
        if digits.isascii() and digits.isdigit() and len(digits) <= _DIGITS_MAX and low <= int(value) <= high:
            return int(value)
        raise typer.BadParameter(f"must be an integer {bound}, not {_shown(value)}")

    return read


def any_integer(value: str | int) -> int:
    """Read an integer; its range is checked where the value is used."""
    return integer(-INTEGER_MAX - 1)(value)


def probability(value: str | float) -> float:
    """Read a number from 0 to 1."""
    if isinstance(value, float):
        return value
    try:
        number = float(value) if value.isascii() and "_" not in value else -1.0
    except ValueError:
        number = -1.0
    if not 0.0 <= number <= 1.0:
        raise typer.BadParameter(f"must be a number from 0 to 1, not {_shown(value)}")
    return number


def text(value: str) -> str:
    """Read a text that files, databases and programs can take: valid Unicode without NUL."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise typer.BadParameter(f"is not valid UTF-8: {_shown(value)}") from None
    return path(value)


def path(value: str) -> str:
    """Read a path: any bytes but NUL."""
    if "\0" in value:
        raise typer.BadParameter("must not contain NUL")
    return value


def _shown(value: str) -> str:
    from jqsched.core.jobspec.values import show

    return show(value)


# ---- declarations -------------------------------------------------------------------------------------------------

Spool = Annotated[
    str | None,
    typer.Option("--spool", envvar="JQSCHED_SPOOL", metavar="DIR", help="The spool directory.", parser=path),
]
Store = Annotated[
    str | None,
    typer.Option(
        "--store", envvar="JQSCHED_STORE", metavar="DIR", help="Where the store is, if not in the spool.", parser=path
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]
Follow = Annotated[bool, typer.Option("-f", "--follow", help="Go on with what comes.")]
_JOBS_HELP = "Ids, ranges as 40-44, names, last; - reads ids from stdin."
AJob = Annotated[str, typer.Argument(metavar="JOB", help="An id, a name, or last.", parser=text)]
SomeJobs = Annotated[list[str] | None, typer.Argument(metavar="[JOB...]", help=_JOBS_HELP, parser=text)]
Failed = Annotated[bool, typer.Option("--failed", help="Only jobs that failed or ran out of time.")]
FilteredBy = Annotated[
    str | None,
    typer.Option("--filter", metavar="F", help="Only jobs in these states, such as pending,failed.", parser=text),
]
AllJobs = Annotated[bool, typer.Option("-a", "--all", help="All jobs that it applies to.")]
Yes = Annotated[bool, typer.Option("-y", "--yes", help="Do not ask before changing many jobs.")]
OlderThan = Annotated[
    str | None,
    typer.Option(metavar="DURATION", help="Only jobs that ended so long ago (seconds, or 90m, 12h, 30d).", parser=text),
]
MaxRunning = Annotated[
    int | None, typer.Option(metavar="N", help="Jobs that run at a time.", parser=integer(1, LIMIT_MAX))
]
Cores = Annotated[int | None, typer.Option(metavar="N", help="Cores that jobs share.", parser=integer(1, LIMIT_MAX))]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for the end; end with the job's status.")]
FollowOutput = Annotated[bool, typer.Option("--follow", help="As --wait, and show its output meanwhile.")]
