"""Commands that change jobs, as typer sees them: all take jobs by id, range, name, standard input or filter.

Rule: declarations only, as in `app`. Which jobs are meant `cli.selection` says, for each of them in the same way.
"""

import time
from typing import Annotated

import typer

from jqsched.cli.failure import USAGE, Failure
from jqsched.cli.options import (
    INTEGER_MAX,
    AllJobs,
    Failed,
    FilteredBy,
    FollowOutput,
    OlderThan,
    SomeJobs,
    Spool,
    Store,
    Wait,
    Yes,
    integer,
    text,
)

Note = Annotated[str, typer.Option("-m", "--note", metavar="TEXT", help="Why; kept in the job's events.", parser=text)]


def cancel(
    jobs: SomeJobs = None,
    spool: Spool = None,
    note: Note = "",
    failed: Failed = False,
    filter_: FilteredBy = None,
    everything: AllJobs = False,
    yes: Yes = False,
    store: Store = None,
) -> int:
    """Cancel jobs."""
    from jqsched.cli import control
    from jqsched.cli.selection import Filters, Scope, select_to_change
    from jqsched.cli.target import place

    where = place(spool, store)
    filters = Filters(failed, filter_, everything, yes)
    return control.cancel(where, select_to_change(where, "cancel", jobs, filters, Scope.LIVE), note)


def hold(
    jobs: SomeJobs = None,
    spool: Spool = None,
    failed: Failed = False,
    filter_: FilteredBy = None,
    everything: AllJobs = False,
    yes: Yes = False,
    store: Store = None,
) -> int:
    """Keep queued jobs from starting."""
    from jqsched.cli import control
    from jqsched.cli.selection import Filters, Scope, select_to_change
    from jqsched.cli.target import place

    where = place(spool, store)
    filters = Filters(failed, filter_, everything, yes)
    ids = select_to_change(where, "hold", jobs, filters, Scope.LIVE)
    return control.change(where, ids, "hold", told=lambda _: "is held")


def release(
    jobs: SomeJobs = None,
    spool: Spool = None,
    failed: Failed = False,
    filter_: FilteredBy = None,
    everything: AllJobs = False,
    yes: Yes = False,
    store: Store = None,
) -> int:
    """Let held jobs start."""
    from jqsched.cli import control
    from jqsched.cli.selection import Filters, Scope, select_to_change
    from jqsched.cli.target import place

    where = place(spool, store)
    filters = Filters(failed, filter_, everything, yes)
    ids = select_to_change(where, "release", jobs, filters, Scope.LIVE)
    return control.change(where, ids, "release", told=lambda _: "is released")


def kill(
    jobs: SomeJobs = None,
    spool: Spool = None,
    signal: Annotated[
        str, typer.Option("-s", "--signal", metavar="SIGNAL", help="A name or a number; default TERM.", parser=text)
    ] = "TERM",
    failed: Failed = False,
    filter_: FilteredBy = None,
    everything: AllJobs = False,
    yes: Yes = False,
    store: Store = None,
) -> int:
    """Send a signal to all processes of running jobs."""
    from jqsched.cli import control
    from jqsched.cli.selection import Filters, Scope, select_to_change
    from jqsched.cli.target import place

    where = place(spool, store)
    filters = Filters(failed, filter_, everything, yes)
    return control.kill(where, select_to_change(where, "kill", jobs, filters, Scope.LIVE), signal)


def raise_exception(
    jobs: SomeJobs = None,
    spool: Spool = None,
    type_: Annotated[
        str, typer.Option("-t", "--type", metavar="TYPE", help="A word; default cancel.", parser=text)
    ] = "cancel",
    severity: Annotated[
        int, typer.Option("-s", "--severity", metavar="N", help="0 (ends the job; default) to 7.", parser=integer(0, 7))
    ] = 0,
    note: Note = "",
    failed: Failed = False,
    filter_: FilteredBy = None,
    everything: AllJobs = False,
    yes: Yes = False,
    store: Store = None,
) -> int:
    """Raise an exception on jobs."""
    from jqsched.cli import control
    from jqsched.cli.selection import Filters, Scope, select_to_change
    from jqsched.cli.target import place

    where = place(spool, store)
    filters = Filters(failed, filter_, everything, yes)
    ids = select_to_change(where, "raise", jobs, filters, Scope.LIVE)
    return control.raise_exception(where, ids, type_, severity, note)


def requeue(
    jobs: SomeJobs = None,
    spool: Spool = None,
    failed: Failed = False,
    filter_: FilteredBy = None,
    everything: AllJobs = False,
    yes: Yes = False,
    store: Store = None,
) -> int:
    """Run jobs again; a finished one as a new job (prints its id)."""
    from jqsched.cli import control
    from jqsched.cli.selection import Filters, Scope, select_to_change
    from jqsched.cli.target import place

    where = place(spool, store)
    filters = Filters(failed, filter_, everything, yes)
    return control.requeue(where, select_to_change(where, "requeue", jobs, filters, Scope.EITHER))


def retry(
    jobs: SomeJobs = None,
    spool: Spool = None,
    failed: Failed = False,
    filter_: FilteredBy = None,
    everything: AllJobs = False,
    yes: Yes = False,
    wait: Wait = False,
    follow: FollowOutput = False,
    store: Store = None,
) -> int:
    """Submit finished jobs again, as new jobs (prints their ids)."""
    from jqsched.cli import control
    from jqsched.cli.attend import Attention
    from jqsched.cli.selection import Filters, Scope, select_to_change
    from jqsched.cli.target import place

    where = place(spool, store)
    filters = Filters(failed, filter_, everything, yes)
    ids = select_to_change(where, "retry", jobs, filters, Scope.FINISHED)
    return control.retry(where, ids, Attention.of(wait=wait, follow=follow))


def urgency(
    jobs: SomeJobs = None,
    *,
    value: Annotated[int, typer.Argument(metavar="N", parser=integer(0, 31))],
    spool: Spool = None,
    failed: Failed = False,
    filter_: FilteredBy = None,
    everything: AllJobs = False,
    yes: Yes = False,
    store: Store = None,
) -> int:
    """Set how urgent jobs are: 0 (hold) to 31 (before all others)."""
    from jqsched.cli import control
    from jqsched.cli.selection import Filters, Scope, select_to_change
    from jqsched.cli.target import place

    where = place(spool, store)
    filters = Filters(failed, filter_, everything, yes)
    return control.urgency(where, select_to_change(where, "urgency", jobs, filters, Scope.LIVE), value)


def priority(
    jobs: SomeJobs = None,
    *,
    value: Annotated[str, typer.Argument(metavar="N|auto", parser=text)],
    spool: Spool = None,
    failed: Failed = False,
    filter_: FilteredBy = None,
    everything: AllJobs = False,
    yes: Yes = False,
    store: Store = None,
) -> int:
    """Pin the priority of jobs, or have it computed again."""
    from jqsched.cli import control
    from jqsched.cli.selection import Filters, Scope, select_to_change
    from jqsched.cli.target import place

    pin = control.read_priority(value)
    where = place(spool, store)
    filters = Filters(failed, filter_, everything, yes)
    return control.priority(where, select_to_change(where, "priority", jobs, filters, Scope.LIVE), pin)


# ---- finished jobs ------------------------------------------------------------------------------------------------


def _before_us(older_than: str | None) -> int:
    """The time before which a job must have ended; any time, whatever the clock says, where nothing was asked."""
    from jqsched.cli.target import duration_us

    return time.time_ns() // 1000 - duration_us(older_than) if older_than is not None else INTEGER_MAX


def archive(
    jobs: SomeJobs = None,
    spool: Spool = None,
    older_than: OlderThan = None,
    failed: Failed = False,
    filter_: FilteredBy = None,
    everything: AllJobs = False,
    store: Store = None,
) -> int:
    """Write what the store knows of finished jobs to SPOOL/archive."""
    from jqsched.cli import maintenance
    from jqsched.cli.selection import Filters, Scope, select
    from jqsched.cli.target import place

    where, before_us = place(spool, store), _before_us(older_than)
    filters = Filters(failed, filter_, everything)
    is_all = not jobs and (filters == Filters() or filters == Filters(everything=True))
    return maintenance.archive(
        where, None if is_all else select(where, "archive", jobs, filters, Scope.FINISHED), before_us
    )


def purge(
    jobs: SomeJobs = None,
    spool: Spool = None,
    older_than: OlderThan = None,
    failed: Failed = False,
    filter_: FilteredBy = None,
    everything: AllJobs = False,
    yes: Yes = False,
    store: Store = None,
) -> int:
    """Forget finished jobs."""
    from jqsched.cli import control
    from jqsched.cli.selection import Filters, Scope, select_to_change
    from jqsched.cli.target import place

    where, before_us = place(spool, store), _before_us(older_than)
    filters = Filters(failed, filter_, everything, yes)
    if not jobs and filters.is_empty and older_than is None:
        raise Failure("purge: say which jobs: ids, names, --failed, --all, or --older-than DURATION", USAGE)
    is_all = not jobs and filters.is_empty
    return control.purge(
        where, None if is_all else select_to_change(where, "purge", jobs, filters, Scope.FINISHED), before_us
    )
