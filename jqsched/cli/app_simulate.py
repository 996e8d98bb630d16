"""`jqsched simulate` as typer sees it: what is simulated, under which limits, and how it is shown.

Rule: declarations only, as in `app`.
"""

from typing import Annotated, Literal

import typer

from jqsched.cli.failure import USAGE, Failure
from jqsched.cli.options import AsJson, Cores, MaxRunning, Spool, Store, any_integer, integer, path, probability, text


def simulate(
    files: Annotated[
        list[str] | None, typer.Argument(metavar="[FILE|DIR...]", help="Job files to drop.", parser=path)
    ] = None,
    spool: Spool = None,
    queue: Annotated[
        bool | None, typer.Option("--queue/--no-queue", help="With the present queue; default: if nothing is dropped.")
    ] = None,
    swf: Annotated[
        str | None, typer.Option(metavar="TRACE", help="A trace in the Standard Workload Format.", parser=path)
    ] = None,
    max_running: MaxRunning = None,
    cores: Cores = None,
    backfill: Annotated[
        Literal["none", "easy"] | None, typer.Option(help="Whether jobs may start before one that waits for cores.")
    ] = None,
    backfill_depth: Annotated[
        int | None,
        typer.Option(metavar="N", help="Jobs behind it that are looked at; 0: all.", parser=integer(0)),
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="10m, exp:10m, uniform:1m:10m, lognormal:10m:0.5, history; default: limit.",
            parser=text,
        ),
    ] = None,
    fail: Annotated[
        float, typer.Option(metavar="P", help="The probability that a job fails.", parser=probability)
    ] = 0.0,
    rule: Annotated[
        list[str] | None,
        typer.Option(metavar="EXPR=ACTION|JSON|FILE", help="A filter rule (may be repeated).", parser=text),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="For what is drawn.", parser=any_integer)] = 0,
    now: Annotated[str | None, typer.Option(metavar="TIME", help="When it begins.", parser=text)] = None,
    until: Annotated[str | None, typer.Option(metavar="DURATION", help="Go no further.", parser=text)] = None,
    journal: Annotated[bool, typer.Option("--events", help="The journal as JSON lines, nothing else.")] = False,
    gantt: Annotated[bool, typer.Option("--gantt/--no-gantt", help="Draw a chart.")] = True,
    width: Annotated[
        int | None, typer.Option(metavar="N", help="Columns of the chart.", parser=integer(40, 1000))
    ] = None,
    as_json: AsJson = False,
    store: Store = None,
) -> int:
    """Try out what the scheduler would do, and when."""
    from jqsched.cli import simulate as simulation
    from jqsched.cli.simulation_report import ReportOptions
    from jqsched.cli.target import duration_us, place, time_us

    if journal and as_json:
        raise Failure("--events and --json: only one of them", USAGE)
    now_us = time_us(now) if now is not None else None
    until_us = duration_us(until) if until is not None else None
    request = simulation.Request(
        files=files or (),
        swf=swf,
        queue=queue,
        max_running=max_running,
        cores=cores,
        backfill=backfill,
        backfill_depth=backfill_depth,
        runtime=runtime,
        fail=fail,
        rules=rule or (),
        seed=seed,
        now_us=now_us,
        until_us=until_us,
    )
    shown = ReportOptions(events=journal, as_json=as_json, gantt=gantt, width=width)
    is_of_files = not spool and bool(files or swf) and not queue and runtime != simulation.HISTORY
    return simulation.simulate(request, None if is_of_files else place(spool, store), shown)
