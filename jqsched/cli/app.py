"""The commands as typer sees them: names, options, help. What they do is imported when they run.

Rule: declarations only; a function here hands over what it was given.
"""

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from jqsched.cli import app_change, app_live
from jqsched.cli.app_filter import filter_app
from jqsched.cli.app_jobs import jobs
from jqsched.cli.app_plugin import plugin_app
from jqsched.cli.app_simulate import simulate
from jqsched.cli.failure import USAGE, Failure
from jqsched.cli.options import (
    AJob,
    AllJobs,
    AsJson,
    Cores,
    Failed,
    FilteredBy,
    Follow,
    MaxRunning,
    SomeJobs,
    Spool,
    Store,
    integer,
    path,
    text,
)

# Of the click that typer brings: what it raises when arguments make no sense.
UsageError: type[Exception] = typer.BadParameter.__mro__[1]

app = typer.Typer(
    help="A job scheduler for one machine: drop a job file into the spool, and it runs.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


FROM_TABLE = ("submit", "batch")


def commands(called: Sequence[str] = FROM_TABLE) -> Any:  # a group of the click that typer brings
    """Return all commands as click has them; those of FROM_TABLE have their options only where one of them is called.

    These come from the table of the job file's keys, and to read that costs the other commands more than they take.
    """
    if set(called) & set(FROM_TABLE):
        from jqsched.cli import app_submit

        for info in app.registered_commands:
            if info.name in FROM_TABLE:
                info.callback = getattr(app_submit, info.name)
    return typer.main.get_command(app)


def call(arguments: list[str]) -> int:
    """Call the command that the arguments name. Raises UsageError, and whatever the command lets through.

    Not through click's `main`, which would take Ctrl-C and broken pipes for its own.
    """
    command = commands(arguments[:1])
    try:
        with command.make_context("jqsched", arguments) as context:
            code = command.invoke(context)
    except typer.Exit as end:
        return end.exit_code
    return code if isinstance(code, int) else 0


app.add_typer(filter_app, name="filter")
app.add_typer(plugin_app, name="plugin")


@app.callback(invoke_without_command=True)
def top(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    """A job scheduler for one machine: drop a job file into the spool, and it runs."""
    if version:
        from jqsched import __version__

        sys.stdout.write(f"jqsched {__version__}\n")
        raise typer.Exit


# ---- running ------------------------------------------------------------------------------------------------------


@app.command()
def run(
    spool: Spool = None,
    max_running: MaxRunning = None,
    cores: Cores = None,
    exit_when_idle: Annotated[bool, typer.Option("--exit-when-idle", help="End when nothing is left to do.")] = False,
    plugin: Annotated[
        list[str] | None,
        typer.Option(metavar="P", help="Load a plugin: 'PATH KEY=VALUE…' (may be repeated).", parser=path),
    ] = None,
    executor: Annotated[str | None, typer.Option(metavar="NAME", help="What runs the jobs.", parser=text)] = None,
    adopt: Annotated[bool, typer.Option("--adopt", help="Serve a copy of a spool in place of the original.")] = False,
    store: Store = None,
) -> int:
    """Run the scheduler of a spool."""
    import gc

    from jqsched.cli.monitor import monitor
    from jqsched.cli.plugins import wanted
    from jqsched.cli.target import place
    from jqsched.core.jobspec.values import show
    from jqsched.runtime import RunOptions, run_daemon

    if executor not in (None, "local"):
        raise Failure(f"--executor: {show(executor)} is not known; there is 'local'", USAGE)
    gc.enable()
    root = place(spool, store, may_be_missing=True).root
    options = RunOptions(
        spool=root,
        max_running=max_running,
        cores=cores,
        exit_when_idle=exit_when_idle,
        plugins=tuple(map(wanted, plugin or ())),
        executor=executor,
        store=store,
        adopt=adopt,
    )
    shown = monitor()
    try:
        return run_daemon(options, shown)
    finally:
        shown.close()


@app.command("submit", context_settings={"allow_interspersed_args": False})
def _submit() -> None:
    """Submit a job; prints its id and nothing else."""
    raise AssertionError("`commands` has put app_submit.submit here")


@app.command("batch", context_settings={"allow_interspersed_args": False})
def _batch() -> None:
    """Submit a script with its directives; prints its id and nothing else."""
    raise AssertionError("`commands` has put app_submit.batch here")


@app.command()
def check(
    files: Annotated[list[str] | None, typer.Argument(metavar="[FILE...]", parser=path)] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of the job file.")] = False,
) -> int:
    """Check job files: all errors, with their place."""
    from jqsched.cli import maintenance as upkeep

    if bool(files) is schema:
        raise Failure("check: say which FILE..., or --schema", USAGE)
    return upkeep.print_schema() if schema else upkeep.check(files or ())


# ---- looking ------------------------------------------------------------------------------------------------------


app.command()(jobs)


@app.command()
def show(job: AJob, spool: Spool = None, as_json: AsJson = False, store: Store = None) -> int:
    """Show all about one job."""
    from jqsched.cli import show as details
    from jqsched.cli.selection import select_one
    from jqsched.cli.target import place

    where = place(spool, store)
    return details.show(where, select_one(where, job), as_json=as_json)


@app.command()
def events(job: AJob, spool: Spool = None, follow: Follow = False, as_json: AsJson = False, store: Store = None) -> int:
    """Print the event log of a job."""
    from jqsched.cli import history
    from jqsched.cli.selection import select_one
    from jqsched.cli.target import place

    where = place(spool, store)
    return history.events(where, select_one(where, job), follow=follow, as_json=as_json)


@app.command()
def journal(
    spool: Spool = None,
    follow: Follow = False,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Only what happened after it.", parser=text)] = None,
    since_seq: Annotated[int, typer.Option(metavar="N", help="Only events with a higher seq.", parser=integer(0))] = 0,
    as_json: AsJson = False,
    store: Store = None,
) -> int:
    """Print the events of all jobs."""
    from jqsched.cli import history
    from jqsched.cli.target import place, time_us

    since_us = time_us(since) if since is not None else 0
    return history.journal(place(spool, store), since_us=since_us, since_seq=since_seq, follow=follow, as_json=as_json)


@app.command()
def log(
    job: AJob,
    spool: Spool = None,
    follow: Follow = False,
    error: Annotated[bool, typer.Option("-e", "--error", help="Its stderr, where that is a file of its own.")] = False,
    label: Annotated[bool, typer.Option("-l", "--label-io", help="Each line with the rank of its task.")] = False,
    rank: Annotated[int | None, typer.Option(metavar="N", help="Of this task only.", parser=integer(0))] = None,
    store: Store = None,
) -> int:
    """Print what a job wrote."""
    from jqsched.cli import output
    from jqsched.cli.selection import select_one
    from jqsched.cli.target import place

    where = place(spool, store)
    return output.log(where, select_one(where, job), follow=follow, error=error, label=label, rank=rank)


@app.command()
def status(spool: Spool = None, as_json: AsJson = False, store: Store = None) -> int:
    """Show the spool and its scheduler; ends with 6 without one."""
    from jqsched.cli import show as details
    from jqsched.cli.target import place

    return details.status(place(spool, store), as_json=as_json)


@app.command()
def wait(
    jobs: SomeJobs = None,
    spool: Spool = None,
    count: Annotated[
        int | None, typer.Option(metavar="N", help="Until so many jobs in all are done.", parser=integer(0))
    ] = None,
    timeout: Annotated[
        str | None, typer.Option(metavar="DURATION", help="At most so long (seconds, or 90s, 5m).", parser=text)
    ] = None,
    failed: Failed = False,
    filter_: FilteredBy = None,
    everything: AllJobs = False,
    store: Store = None,
) -> int:
    """Wait for jobs (all active and dropped ones); ends with their status."""
    from jqsched.cli import wait as waiting
    from jqsched.cli.selection import Filters
    from jqsched.cli.target import duration_us, place

    filters = Filters(failed, filter_, everything)
    if count is not None and (jobs or not filters.is_empty):
        raise Failure("wait: jobs or --count, not both", USAGE)
    timeout_us = duration_us(timeout) if timeout is not None else None
    return waiting.wait(place(spool, store), jobs or (), filters, count, timeout_us)


app.command("wait-event")(app_live.wait_event)
app.command()(app_live.top)


# ---- changing -----------------------------------------------------------------------------------------------------


@app.command()
def explain(job: AJob, spool: Spool = None, as_json: AsJson = False, store: Store = None) -> int:
    """Show why a job does not run, and what would help."""
    from jqsched.cli import explain as explaining
    from jqsched.cli.selection import select_one
    from jqsched.cli.target import place

    where = place(spool, store)
    return explaining.explain(where, select_one(where, job), as_json=as_json)


app.command()(app_change.cancel)
app.command()(app_change.hold)
app.command()(app_change.release)
app.command()(app_change.kill)
app.command("raise")(app_change.raise_exception)
app.command()(app_change.requeue)
app.command()(app_change.retry)
app.command()(app_change.urgency)
app.command()(app_change.priority)


@app.command()
def drain(spool: Spool = None, store: Store = None) -> int:
    """Start no more jobs; those that run go on."""
    from jqsched.cli import control
    from jqsched.cli.target import place

    return control.stop_starts(place(spool, store))


@app.command()
def resume(spool: Spool = None, store: Store = None) -> int:
    """Start jobs again."""
    from jqsched.cli import control
    from jqsched.cli.target import place

    return control.resume(place(spool, store))


# ---- trying out ---------------------------------------------------------------------------------------------------


app.command()(simulate)


# ---- upkeep -------------------------------------------------------------------------------------------------------


app.command()(app_change.archive)
app.command()(app_change.purge)


@app.command()
def check_spool(
    spool: Spool = None,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Write the job table anew from the events.")] = False,
    store: Store = None,
) -> int:
    """Check the store: is the job table what the events say?"""
    from jqsched.cli import maintenance as upkeep
    from jqsched.cli.target import place

    return upkeep.check_spool(place(spool, store), rebuild=rebuild)
