"""Views: jobs and events as the documents that lists, logs and the journal show, and the order of lists.

In: jobs, events and queues. Out: JSON objects; a value that is not known is None.
Rule: only here do microseconds become seconds and values become documents; nothing is decided. Source: RFC 43, RFC 18
(events), RFC 20 (R), RFC 21 (states and results).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from attrs import frozen

from jqsched.core import admission, order
from jqsched.core.admission import Position, gates_of
from jqsched.core.event import NO_CONTEXT, Event
from jqsched.core.filters import Rules
from jqsched.core.idmap import id_map
from jqsched.core.job import UNSET_PRIORITY, Job, Result, Spec, State
from jqsched.core.jobspec import shown_jobspec
from jqsched.core.json import Json, JsonObject
from jqsched.core.order import Key
from jqsched.core.queue import Queue, end_key, is_ready, position_of, rank_key

PENDING = State.DEPEND | State.PRIORITY | State.SCHED
RUNNING = State.RUN | State.CLEANUP
ACTIVE = PENDING | RUNNING

NOTES = ("annotations", "memo")  # the events by which plugins note something of a job
_HERE = "localhost"  # the name of the one node where the caller knows no better

JobDocument: TypeAlias = dict[str, Json]


# ---- jobs ---------------------------------------------------------------------------------------------------------


def job_info(
    job: Job,
    *,
    username: str,
    now_us: int,
    reasons: Sequence[str],
    hostname: str = _HERE,
    notes: JsonObject = NO_CONTEXT,
) -> JobDocument:
    """Show one job: the 36 keys of Flux's `get_job()` in its order, then `attempt` and `reasons`.

    Shape:    None where a value is not known (yet); `jobid` is the id as a string. `notes`: as `notes_of` makes them.
    Units:    seconds as floats. Cost: some microseconds.
    Source:   docs/reference/python-api.md; RFC 43.
    """
    spec, status = job.spec, job.status
    ended, ran = job.state is State.INACTIVE, job.t_run_us > 0
    result = job.result
    queue, project, bank = accounting(spec) if spec.jobspec is not None else (None, None, None)
    return {
        "t_depend": _seconds(job.t_depend_us),
        "t_priority": _seconds(job.t_priority_us),
        "t_sched": _seconds(job.t_sched_us),
        "t_run": _seconds(job.t_run_us),
        "t_cleanup": _seconds(job.t_cleanup_us),
        "t_inactive": _seconds(job.t_inactive_us),
        "duration": spec.time_limit_us / 1_000_000 if spec.time_limit_us is not None else 0.0,
        "expiration": expiration_us(job) / 1_000_000 if ran else None,
        "name": spec.name,
        "cwd": spec.cwd,
        "queue": queue,
        "project": project,
        "bank": bank,
        "ntasks": spec.tasks,
        "ncores": spec.cores,
        "nnodes": spec.nodes if ran or spec.nodes > 1 else None,
        "priority": job.priority if job.priority != UNSET_PRIORITY else None,
        "ranks": "0" if ran else None,
        "nodelist": hostname if ran else None,
        "success": job.success if ended else None,
        "result": result.name if result is not None else None,
        "waitstatus": status,
        "id": job.id,
        "t_submit": _seconds(job.t_submit_us),
        "t_remaining": remaining_us(job, now_us) / 1_000_000,
        "state": job.state.name,
        "username": username,
        "userid": job.userid,
        "urgency": job.urgency,
        "runtime": runtime_us(job, now_us) / 1_000_000,
        "status": result.name if result is not None else job.state.name,
        "returncode": returncode(job),
        "dependencies": list(job.waits),
        "jobid": str(job.id),
        "annotations": annotations(job, notes),
        "exception": _exception(job),
        "attempt": job.attempt,
        "reasons": list(reasons),
    }


def _seconds(time_us: int) -> float | None:
    return time_us / 1_000_000 if time_us else None


def expiration_us(job: Job) -> int:
    """When the time limit of a job that runs is over, 0 = never. It counts from the start of the process."""
    return job.expires_us or 0


def remaining_us(job: Job, now_us: int) -> int:
    """How long a running job has until its time limit; 0 when it does not run or has none."""
    return max(0, expiration_us(job) - now_us) if job.state is State.RUN else 0


def runtime_us(job: Job, now_us: int) -> int:
    """How long a job has run, or ran; 0 when it did not."""
    if not job.t_run_us:
        return 0
    return max(0, (job.t_cleanup_us or now_us) - job.t_run_us)


def returncode(job: Job) -> int | None:
    """Return how a job ended, as a shell does: exit code or 128 + signal; -128 canceled, 1 failed before it started."""
    if job.status is not None:  # known from `finish` on, as in Flux
        signum = job.status & 0x7F
        return -signum if signum else job.status >> 8
    if job.state is not State.INACTIVE:
        return None
    return -128 if job.result is Result.CANCELED else 1


def _exception(job: Job) -> Json:
    """Show the exception of a job that ended; a job that has not ended shows none, as in Flux."""
    if job.state is not State.INACTIVE:
        return {"occurred": None, "severity": None, "type": None, "note": None}
    told = job.exception
    if told is None:
        return {"occurred": False, "severity": None, "type": None, "note": None}
    return {"occurred": True, "severity": told.severity, "type": told.type, "note": told.note}


def cores_text(cores: int) -> str:
    """Say how many cores a job got, as the annotation of its `alloc` does."""
    return "1 core" if cores == 1 else f"{cores} cores"


def annotations(job: Job, notes: JsonObject) -> dict[str, Json]:
    """Make a job's annotations: what it got, and what plugins noted."""
    ours: dict[str, Json] = {"sched": {"resource_summary": cores_text(job.spec.cores)}} if job.t_run_us else {}
    return _merged(ours, notes) if notes else ours


def notes_of(events: Iterable[Event]) -> dict[str, Json]:
    """Merge the notes that plugins made of a job into one object, in the order in which they were made.

    Source: RFC 21 (`annotations`, ours in the log too; the keys of a `memo` are annotations of the user).
    """
    notes: dict[str, Json] = {}
    for event in events:
        noted = dict(event.context) if event.name == "memo" else event.context.get("annotations")
        if event.name in NOTES and isinstance(noted, Mapping):
            notes = _merged(notes, {"user": dict(noted)} if event.name == "memo" else noted)
    return notes


def _merged(document: JsonObject, changes: JsonObject) -> dict[str, Json]:
    """Update an object and the objects in it, key by key; None removes a key."""
    merged = dict(document)
    for key, value in changes.items():
        present = merged.get(key)
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping):
            merged[key] = _merged(present if isinstance(present, Mapping) else {}, value)
        else:
            merged[key] = value
    return merged


def accounting(spec: Spec) -> tuple[Json, Json, Json]:
    """Read queue, project and bank of a job that was given as a jobspec; the short form has none of them."""
    attributes = (spec.jobspec or {}).get("attributes")
    system = attributes.get("system") if isinstance(attributes, Mapping) else None
    if not isinstance(system, Mapping):
        return None, None, None
    return system.get("queue"), system.get("project"), system.get("bank")


_SAMPLE = Job(1, Spec(("true",), "true", "/"), 0)
INFO_KEYS = tuple(job_info(_SAMPLE, username="", now_us=0, reasons=()))


# ---- events -------------------------------------------------------------------------------------------------------


def log_entry(event: Event) -> dict[str, Json]:
    """Show one event as an entry of its job's log; an empty context is left out. Source: RFC 18."""
    entry: dict[str, Json] = {"timestamp": event.t_us / 1_000_000, "name": event.name}
    if event.context:
        entry["context"] = dict(event.context)
    return entry


def event_entry(seq: int, event: Event, spec: Spec | None = None, hostname: str = _HERE) -> dict[str, Json]:
    """Show one event as its log does, with `jobid` and `seq`; `jobspec` on submit, without the environment.

    `spec` is the job's: with it an `alloc` gets `R`. Source: RFC 18, RFC 20.
    """
    entry = log_entry(event)
    entry["jobid"], entry["seq"] = event.jobid, seq
    if event.name == "submit" and event.spec is not None:
        entry["jobspec"] = shown_jobspec(event.spec)
    elif event.name == "alloc" and spec is not None:
        entry["R"] = resource_set(spec, event.t_us, hostname)
    return entry


def resource_set(spec: Spec, alloc_us: int, hostname: str = _HERE) -> dict[str, Json]:
    """Write R: what a job got, cores counted from 0 (which ones they are is the kernel's choice). Source: RFC 20."""
    cores = "0" if spec.cores == 1 else f"0-{spec.cores - 1}"
    expiration_us = alloc_us + spec.time_limit_us if spec.time_limit_us is not None else 0
    return {
        "version": 1,
        "execution": {
            "R_lite": [{"rank": "0", "children": {"core": cores}}],
            "starttime": alloc_us / 1_000_000,
            "expiration": expiration_us / 1_000_000,
            "nslots": spec.tasks,
            "nodelist": [hostname],
        },
    }


# ---- order --------------------------------------------------------------------------------------------------------


def list_key(job: Job) -> tuple[int, int, int]:
    """The order of lists: pending by priority (none yet = 0), running by last start, inactive by last end.

    This is the definition; the store sorts by its indexes, and a property test compares the two.
    """
    if job.state is State.INACTIVE:
        return 2, -job.t_inactive_us, -job.id
    if job.state & RUNNING:
        return 1, -job.t_run_us, job.id
    return 0, -max(job.priority, 0), job.id


@frozen
class Shown:
    """The three lists of a queue, as ids: enqueued by id, running and manipulated by their start, then by id."""

    enqueued: tuple[int, ...]
    running: tuple[int, ...]
    manipulated: tuple[int, ...]


def show(queue: Queue) -> Shown:
    """List the ids of enqueued, running and manipulated jobs. O(n log n).  Source: Ganeti JQScheduler.hs showQueue."""

    def by_start(jobs: Iterable[Job]) -> tuple[int, ...]:
        return tuple(job.id for job in sorted(jobs, key=lambda job: (job.t_run_us, job.id)))

    claimed = (claim.job for claim in queue.manipulated.values())
    return Shown(tuple(sorted(queue.enqueued)), by_start(queue.running.values()), by_start(claimed))


def standing(jobs: Iterable[Job], rules: Rules = ()) -> Queue:
    """Make the part of a queue of stored jobs that `explain.reasons` reads: which jobs run and until when, and which
    come first.

    Cost: a third of `queue.load`, whose other indexes a list does not need.
    """
    running: dict[int, Job] = {}
    enqueued: dict[int, Job] = {}
    ready: list[Key] = []
    stands: list[tuple[int, Position]] = []
    for job in jobs:
        (running if job.state & RUNNING else enqueued)[job.id] = job
        gates = gates_of(rules, job)
        if gates:
            stands.append((job.id, position_of(job, gates)))
        elif is_ready(job):
            ready.append(rank_key(job))
    return Queue(
        enqueued=id_map(enqueued),
        running=id_map(running),
        ready=order.build(ready),
        rules=rules,
        admission=admission.build(stands),
        cores_used=sum(job.spec.cores for job in running.values()),
        ends=order.build(filter(None, map(end_key, running.values()))),
    )
