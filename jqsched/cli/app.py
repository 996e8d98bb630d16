"""The commands as typer sees them: names, options, help. What they do is imported when they run.

Rule: declarations only; a function here hands over what it was given.
"""

import sys
import time
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from jqsched.cli import app_live
from jqsched.cli.app_filter import filter_app
from jqsched.cli.app_jobs import jobs
from jqsched.cli.app_plugin import plugin_app
from jqsched.cli.app_simulate import simulate
from jqsched.cli.failure import USAGE, Failure
from jqsched.cli.options import (
    INTEGER_MAX,
    AsJson,
    Cores,
    Follow,
    Id,
    Ids,
    MaxRunning,
    OlderThan,
    OptionalIds,
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
)


FROM_TABLE = ("submit",)


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
def show(id_: Id, spool: Spool = None, as_json: AsJson = False, store: Store = None) -> int:
    """Show all about one job."""
    from jqsched.cli import show as details
    from jqsched.cli.target import job_id, place

    return details.show(place(spool, store), job_id(id_), as_json=as_json)


@app.command()
def events(id_: Id, spool: Spool = None, follow: Follow = False, as_json: AsJson = False, store: Store = None) -> int:
    """Print the event log of a job."""
    from jqsched.cli import history
    from jqsched.cli.target import job_id, place

    return history.events(place(spool, store), job_id(id_), follow=follow, as_json=as_json)


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
    id_: Id,
    spool: Spool = None,
    follow: Follow = False,
    error: Annotated[bool, typer.Option("-e", "--error", help="Its stderr, where that is a file of its own.")] = False,
    store: Store = None,
) -> int:
    """Print what a job wrote."""
    from jqsched.cli import history
    from jqsched.cli.target import job_id, place

    return history.log(place(spool, store), job_id(id_), follow=follow, error=error)


@app.command()
def status(spool: Spool = None, as_json: AsJson = False, store: Store = None) -> int:
    """Show the spool and its scheduler; ends with 6 without one."""
    from jqsched.cli import show as details
    from jqsched.cli.target import place

    return details.status(place(spool, store), as_json=as_json)


@app.command()
def wait(
    ids: OptionalIds = None,
    spool: Spool = None,
    count: Annotated[
        int | None, typer.Option(metavar="N", help="Until so many jobs in all are done.", parser=integer(0))
    ] = None,
    timeout: Annotated[
        str | None, typer.Option(metavar="DURATION", help="At most so long (seconds, or 90s, 5m).", parser=text)
    ] = None,
    store: Store = None,
) -> int:
    """Wait for jobs (all active and dropped ones); ends with their status."""
    from jqsched.cli import wait as waiting
    from jqsched.cli.target import duration_us, job_ids, place

    if ids and count is not None:
        raise Failure("wait: ids or --count, not both", USAGE)
    timeout_us = duration_us(timeout) if timeout is not None else None
    return waiting.wait(place(spool, store), job_ids(ids), count, timeout_us)


app.command("wait-event")(app_live.wait_event)
app.command()(app_live.top)


# ---- changing -----------------------------------------------------------------------------------------------------


@app.command()
def explain(id_: Id, spool: Spool = None, as_json: AsJson = False, store: Store = None) -> int:
    """Show why a job does not run, and what would help."""
    from jqsched.cli import explain as explaining
    from jqsched.cli.target import job_id, place

    return explaining.explain(place(spool, store), job_id(id_), as_json=as_json)


@app.command()
def cancel(
    ids: Ids,
    spool: Spool = None,
    note: Annotated[
        str, typer.Option("-m", "--note", metavar="TEXT", help="Why; kept in the job's events.", parser=text)
    ] = "",
    store: Store = None,
) -> int:
    """Cancel jobs."""
    from jqsched.cli import control
    from jqsched.cli.target import job_ids, place

    return control.cancel(place(spool, store), job_ids(ids), note)


@app.command()
def hold(ids: Ids, spool: Spool = None, store: Store = None) -> int:
    """Keep queued jobs from starting."""
    from jqsched.cli import control
    from jqsched.cli.target import job_ids, place

    return control.change(place(spool, store), job_ids(ids), "hold", told=lambda _: "is held")


@app.command()
def release(ids: Ids, spool: Spool = None, store: Store = None) -> int:
    """Let held jobs start."""
    from jqsched.cli import control
    from jqsched.cli.target import job_ids, place

    return control.change(place(spool, store), job_ids(ids), "release", told=lambda _: "is released")


app.command()(app_live.kill)
app.command("raise")(app_live.raise_exception)


@app.command()
def requeue(ids: Ids, spool: Spool = None, store: Store = None) -> int:
    """Run jobs again; a finished one as a new job (prints its id)."""
    from jqsched.cli import control
    from jqsched.cli.target import job_ids, place

    return control.requeue(place(spool, store), job_ids(ids))


@app.command()
def urgency(
    id_: Id,
    value: Annotated[int, typer.Argument(metavar="N", parser=integer(0, 31))],
    spool: Spool = None,
    store: Store = None,
) -> int:
    """Set how urgent a job is: 0 (hold) to 31 (before all others)."""
    from jqsched.cli import control
    from jqsched.cli.target import job_id, place

    return control.urgency(place(spool, store), job_id(id_), value)


@app.command()
def priority(
    id_: Id,
    value: Annotated[str, typer.Argument(metavar="N|auto", parser=text)],
    spool: Spool = None,
    store: Store = None,
) -> int:
    """Pin the priority of a job, or have it computed again."""
    from jqsched.cli import control
    from jqsched.cli.target import job_id, place

    return control.priority(place(spool, store), job_id(id_), value)


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


def _before_us(older_than: str | None) -> int:
    """The time before which a job must have ended; any time, whatever the clock says, where nothing was asked."""
    from jqsched.cli.target import duration_us

    return time.time_ns() // 1000 - duration_us(older_than) if older_than is not None else INTEGER_MAX


@app.command()
def archive(ids: OptionalIds = None, spool: Spool = None, older_than: OlderThan = None, store: Store = None) -> int:
    """Write what the store knows of finished jobs to SPOOL/archive."""
    from jqsched.cli import maintenance as upkeep
    from jqsched.cli.target import job_ids, place

    return upkeep.archive(place(spool, store), job_ids(ids), _before_us(older_than))


@app.command()
def purge(ids: OptionalIds = None, spool: Spool = None, older_than: OlderThan = None, store: Store = None) -> int:
    """Forget finished jobs."""
    from jqsched.cli import control
    from jqsched.cli.target import job_ids, place

    if not ids and older_than is None:
        raise Failure("purge: say which jobs: ids, or --older-than DURATION", USAGE)
    return control.purge(place(spool, store), job_ids(ids), _before_us(older_than))


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
