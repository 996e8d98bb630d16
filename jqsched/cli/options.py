"""Options and arguments that several commands share.

Rule: declarations only.
"""

from typing import Annotated

import typer

Spool = Annotated[
    str | None, typer.Option("--spool", envvar="JQSCHED_SPOOL", metavar="DIR", help="The spool directory.")
]
Store = Annotated[
    str | None,
    typer.Option("--store", envvar="JQSCHED_STORE", metavar="DIR", help="Where the store is, if not in the spool."),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]
Follow = Annotated[bool, typer.Option("-f", "--follow", help="Go on with what comes.")]
Id = Annotated[str, typer.Argument(metavar="ID")]
Ids = Annotated[list[str], typer.Argument(metavar="ID...")]
OptionalIds = Annotated[list[str] | None, typer.Argument(metavar="[ID...]")]
OlderThan = Annotated[
    str | None, typer.Option(metavar="DURATION", help="Only jobs that ended so long ago (seconds, or 90m, 12h, 30d).")
]
