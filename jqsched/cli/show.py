"""`jqsched show` and `jqsched status`: all about one job, and about the spool.

Rule: what the store knows, and what the scheduler says where one answers; a document for programs, lines for people.
"""

import json
import shlex
import sys
import time
from collections.abc import Iterator, Sequence

from jqsched.cli import formats
from jqsched.cli.arrays import name_of
from jqsched.cli.failure import NO_SCHEDULER, OK, printable, tell
from jqsched.cli.jobs import reasons_from
from jqsched.cli.target import Place, ask_scheduler, hostname, known_job, reading, slow_start, username
from jqsched.core.event import Event
from jqsched.core.job import Job, State, output_paths
from jqsched.core.jobspec import shown_jobspec, to_jobspec
from jqsched.core.json import Json
from jqsched.core.retries import phase
from jqsched.core.view import event_entry, job_info, notes_of, returncode, runtime_us

JOB_SCHEMA, STATUS_SCHEMA = "jqsched.job/1", "jqsched.status/1"
DRAINED = "drained"  # the scheduler's setting, "1" while it is


# ---- one job ------------------------------------------------------------------------------------------------------


def show(where: Place, id_: int, *, as_json: bool) -> int:
    """Print all about one job."""
    with reading(where) as reader:
        job = known_job(reader, id_)
        why = slow_start(where.root, job) or reasons_from(where, reader, reader.active)(job)
        log = list(reader.events(id_))
    if as_json:
        sys.stdout.write(json.dumps(document(where, job, log, why), indent=1) + "\n")
        return OK
    sys.stdout.writelines(f"{line}\n" for line in lines(where, job, log, why))
    return OK


def lines(where: Place, job: Job, log: Sequence[tuple[int, Event]], why: Sequence[str]) -> Iterator[str]:
    """All about one job, for people."""
    for key, value in _facts(where, job, why):
        yield f"{key:<12} {printable(value)}"
    yield "events"
    for _, event in log:
        yield f"  {formats.clock(event.t_us)}  {formats.happening(event)}"


def document(
    where: Place, job: Job, log: Sequence[tuple[int, Event]], why: Sequence[str] = (), *, redacted: bool = True
) -> dict[str, Json]:
    """All about one job as one document; `redacted` leaves the environment out."""
    here, spec = hostname(), job.spec
    output, error = output_paths(spec, job.id, f"{where.root}/output", job.attempt)
    now_us = time.time_ns() // 1000
    notes = notes_of(event for _, event in log)
    entries = [event_entry(seq, event, spec, here) for seq, event in log]
    return {
        "schema": JOB_SCHEMA,
        "job": job_info(job, username=username(job.userid), now_us=now_us, reasons=why, hostname=here, notes=notes),
        "output": output,
        "error": error,
        "jobspec": shown_jobspec(spec) if redacted else dict(to_jobspec(spec)),
        "events": [*entries],
    }


def _attempt(job: Job) -> str:
    whys = [f"{job.interruptions} interrupted"] if job.interruptions else []
    whys += [phase(job)] if job.retried else []
    return f"{job.attempt}" + (f" ({', '.join(whys)})" if whys else "")


def _facts(where: Place, job: Job, why: Sequence[str]) -> Iterator[tuple[str, str]]:
    spec = job.spec
    ending = formats.ending(job)
    yield "job", f"{job.id} {spec.name}"
    if spec.element is not None:
        yield "array", f"{name_of(job)}, one of {spec.element.array.count}"
    yield "state", formats.status(job) + (f" ({ending})" if ending else "")
    yield from (("reason", reason) for reason in why)
    yield "command", shlex.join(spec.command)
    yield "directory", spec.cwd
    output, error = output_paths(spec, job.id, f"{where.root}/output", job.attempt)
    yield "output", output
    if error is not None:
        yield "error", error
    yield "priority", _priority(job)
    yield "cores", str(spec.cores)
    if spec.time_limit_us is not None:
        yield "time limit", formats.duration(spec.time_limit_us)
    yield "attempt", _attempt(job)
    yield "submitted", f"{formats.clock(job.t_submit_us)} by {username(job.userid)}"
    if job.t_run_us:
        yield "started", formats.clock(job.t_start_us or job.t_run_us)
        yield "run time", formats.duration(runtime_us(job, time.time_ns() // 1000))
    if job.state is State.INACTIVE:
        yield "ended", formats.clock(job.t_inactive_us)
        yield "returncode", str(returncode(job))


def _priority(job: Job) -> str:
    shown = str(job.priority) if job.priority >= 0 else "not known yet"
    pinned = ", pinned" if job.pin is not None else ""
    return f"{shown} (urgency {job.urgency}{pinned})"


# ---- the spool ----------------------------------------------------------------------------------------------------


def status(where: Place, *, as_json: bool) -> int:
    """Print how the spool and its scheduler are; the exit code says whether there is one."""
    try:
        scheduler, stalled = ask_scheduler(where.root), ""
    except TimeoutError:
        scheduler, stalled = None, "the scheduler of this spool does not answer: it is stopped, or hangs"
    if scheduler is not None:
        stalled = scheduler.stalled
    with reading(where) as reader:
        counts = {State(state).name: count for state, count in sorted(reader.counts().items())}
        drained = scheduler.drained if scheduler is not None else reader.setting(DRAINED) == "1"
    if as_json:
        told: Json = scheduler.document() if scheduler is not None else None
        entries = {
            "schema": STATUS_SCHEMA,
            "spool": where.root,
            "scheduler": told,
            "drained": drained,
            "jobs": counts,
            "stalled": stalled or None,
        }
        sys.stdout.write(json.dumps(entries) + "\n")
    else:
        sys.stdout.write(f"spool      {printable(where.root)}\n")
        if scheduler is not None:
            sys.stdout.write(f"scheduler  pid {scheduler.pid}, since {formats.clock(scheduler.since_us)}\n")
            limits = f"{scheduler.max_running} running at a time, {scheduler.cores} cores"
            sys.stdout.write(f"limits     {limits} ({scheduler.running} running now)\n")
        listed = ", ".join(f"{count} {name}" for name, count in counts.items()) or "none"
        sys.stdout.write(f"jobs       {listed}\n")
        sys.stdout.write("drained    yes: nothing is started (`jqsched resume`)\n" if drained else "drained    no\n")
        if stalled:
            sys.stdout.write(f"stalled    {printable(stalled)}\n")
        for start in scheduler.starting if scheduler is not None else ():
            sys.stdout.write(f"starting   job {start.id}, {printable(start.text)}\n")
        for warning in scheduler.warnings if scheduler is not None else ():
            sys.stdout.write(f"warning    {printable(warning)}\n")
    if stalled and scheduler is None:
        tell(stalled)
        return NO_SCHEDULER
    if scheduler is None:
        tell("no scheduler serves this spool (start one with `jqsched run`)")
        return NO_SCHEDULER
    return OK
