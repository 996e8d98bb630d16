"""Commands about jobs that live, as typer sees them: wait for an event, look on, send a signal, raise an exception.

Rule: declarations only, as in `app`.
"""

from typing import Annotated

import typer

from jqsched.cli.options import AsJson, Id, Ids, Spool, Store, integer, text


def wait_event(
    id_: Id,
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
    from jqsched.cli.target import duration_us, job_id, place

    wanted = waiting.wanted(event, match, count)
    timeout_us = duration_us(timeout) if timeout is not None else None
    shown = waiting.Shown(before=verbose, itself=not quiet, as_json=as_json)
    return waiting.wait_event(place(spool, store), job_id(id_), wanted, shown, path=path, timeout_us=timeout_us)


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


def kill(
    ids: Ids,
    spool: Spool = None,
    signal: Annotated[
        str, typer.Option("-s", "--signal", metavar="SIGNAL", help="A name or a number; default TERM.", parser=text)
    ] = "TERM",
    store: Store = None,
) -> int:
    """Send a signal to all processes of running jobs."""
    from jqsched.cli import control
    from jqsched.cli.target import job_ids, place

    return control.kill(place(spool, store), job_ids(ids), signal)


def raise_exception(
    ids: Ids,
    spool: Spool = None,
    type_: Annotated[
        str, typer.Option("-t", "--type", metavar="TYPE", help="A word; default cancel.", parser=text)
    ] = "cancel",
    severity: Annotated[
        int, typer.Option("-s", "--severity", metavar="N", help="0 (ends the job; default) to 7.", parser=integer(0, 7))
    ] = 0,
    note: Annotated[
        str, typer.Option("-m", "--note", metavar="TEXT", help="Why; kept in the job's events.", parser=text)
    ] = "",
    store: Store = None,
) -> int:
    """Raise an exception on jobs."""
    from jqsched.cli import control
    from jqsched.cli.target import job_ids, place

    return control.raise_exception(place(spool, store), job_ids(ids), type_, severity, note)
