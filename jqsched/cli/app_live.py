"""Commands that watch jobs, as typer sees them: wait for an event, look on.

Rule: declarations only, as in `app`.
"""

from typing import Annotated

import typer

from jqsched.cli.options import AJob, AsJson, Spool, Store, integer, text


def wait_event(
    job: AJob,
    event: Annotated[str, typer.Argument(metavar="EVENT", help="Its name, such as start or clean.", parser=text)],
    spool: Spool = None,
    timeout: Annotated[
        str | None,
        typer.Option("-t", "--timeout", metavar="DURATION", help="At most so long (seconds, or 90s, 5m).", parser=text),
    ] = None,
    count: Annotated[
        int, typer.Option("-c", "--count", metavar="N", help="Until it came so often.", parser=integer(1))
    ] = 1,
    match: Annotated[
        str | None,
        typer.Option("-m", "--match-context", metavar="KEY=VAL", help="Only one whose context says so.", parser=text),
    ] = None,
    path: Annotated[
        str, typer.Option("-p", "--path", metavar="LOG", help="eventlog (default), exec or output.", parser=text)
    ] = "eventlog",
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Print the events before it, too.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Do not print the event itself.")] = False,
    as_json: AsJson = False,
    store: Store = None,
) -> int:
    """Wait for an event of a job; one that has happened counts."""
    from jqsched.cli import wait_event as waiting
    from jqsched.cli.selection import select_one
    from jqsched.cli.target import duration_us, place

    wanted = waiting.wanted(event, match, count)
    timeout_us = duration_us(timeout) if timeout is not None else None
    shown = waiting.Shown(before=verbose, itself=not quiet, as_json=as_json)
    where = place(spool, store)
    return waiting.wait_event(where, select_one(where, job), wanted, shown, path=path, timeout_us=timeout_us)


def top(
    spool: Spool = None,
    once: Annotated[bool, typer.Option("--once", help="Print it as it is now, and end.")] = False,
    as_json: AsJson = False,
    store: Store = None,
) -> int:
    """Look on at what runs and what waits, and cancel or hold it."""
    from jqsched.cli import top as looking
    from jqsched.cli.target import place

    return looking.top(place(spool, store), once=once, as_json=as_json)
