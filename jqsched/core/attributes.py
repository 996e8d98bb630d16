"""The attributes of a job that `job-list` answers with: which there are, and the raw document of a job.

Rule: what is not known (yet) is absent, states and results are numbers, times are seconds. Nothing is decided.
Source: RFC 43.
"""

import errno
from collections.abc import Callable, Mapping, Sequence

from attrs import frozen

from jqsched.core.event import NO_CONTEXT
from jqsched.core.job import UNSET_PRIORITY, Job, State
from jqsched.core.json import Json, JsonObject
from jqsched.core.view import accounting, annotations, expiration_us

ALL = "all"

Attributes = tuple[str, ...]


@frozen
class BadAttributes:
    """Attributes that cannot be asked for: Flux's errno and text."""

    errno: int
    text: str


def read_attributes(document: object) -> Attributes | BadAttributes:
    """Read the list of attributes that a request asks for; `all` stands for all of them.

    Refuses: what is no list (EPROTO), and what names no attribute (EINVAL).
    """
    if not isinstance(document, list | tuple):
        return BadAttributes(errno.EPROTO, "invalid payload: attrs must be an array")
    wanted: dict[str, None] = {}
    for name in document:
        if not isinstance(name, str):
            return BadAttributes(errno.EINVAL, "attr has no string value")
        if name == ALL:
            wanted.update(dict.fromkeys(ATTRIBUTES))
        elif name in _VALUES:
            wanted[name] = None
        else:
            return BadAttributes(errno.EINVAL, f"{name} is not a valid attribute")
    return tuple(wanted)


def job_attributes(
    job: Job, wanted: Sequence[str], hostname: str = "localhost", notes: JsonObject = NO_CONTEXT
) -> dict[str, Json]:
    """Make the raw document of a job: its id, and those of the wanted attributes that are known.

    Shape: `notes` are what plugins noted (`view.notes_of`): they are part of its annotations.
    Units: seconds as floats. Cost: some microseconds.
    """
    document: dict[str, Json] = {"id": job.id}
    for name in wanted:
        value = _VALUES[name](job)
        if value is not None:
            document[name] = hostname if name == "nodelist" else value
    if notes and "annotations" in wanted:
        document["annotations"] = annotations(job, notes)
    return document


# ---- the values, None where not known -----------------------------------------------------------------------------


def _time(time_us: int) -> Json:
    return time_us / 1_000_000 if time_us else None


def _ended(job: Job, value: Json) -> Json:
    return value if job.state is State.INACTIVE else None


def _ran(job: Job, value: Json) -> Json:
    return value if job.t_run_us else None


def _nodes(job: Job) -> Json:
    return job.spec.nodes if job.t_run_us or job.spec.nodes > 1 else None


def _account(index: int) -> Callable[[Job], Json]:
    return lambda job: accounting(job.spec)[index] if job.spec.jobspec is not None else None


def _annotations(job: Job) -> Json:
    return _ran(job, annotations(job, NO_CONTEXT))


def _dependencies(job: Job) -> Json:
    """What the job still waits for; known (perhaps empty) if it ever waited."""
    return list(job.waits) if job.waits or job.spec.dependencies else None


_VALUES: Mapping[str, Callable[[Job], Json]] = {
    "userid": lambda job: job.userid,
    "urgency": lambda job: job.urgency,
    "priority": lambda job: job.priority if job.priority != UNSET_PRIORITY else None,
    "t_submit": lambda job: job.t_submit_us / 1_000_000,
    "t_depend": lambda job: _time(job.t_depend_us),
    "t_priority": lambda job: _time(job.t_priority_us),
    "t_sched": lambda job: _time(job.t_sched_us),
    "t_run": lambda job: _time(job.t_run_us),
    "t_cleanup": lambda job: _time(job.t_cleanup_us),
    "t_inactive": lambda job: _time(job.t_inactive_us),
    "state": lambda job: job.state.value,
    "name": lambda job: job.spec.name,
    "cwd": lambda job: job.spec.cwd,
    "queue": _account(0),
    "project": _account(1),
    "bank": _account(2),
    "ntasks": lambda job: job.spec.tasks,
    "ncores": lambda job: job.spec.cores,
    "duration": lambda job: (job.spec.time_limit_us or 0) / 1_000_000,
    "nnodes": _nodes,
    "ranks": lambda job: _ran(job, "0"),
    "nodelist": lambda job: _ran(job, ""),  # the caller knows what the one node is called
    "success": lambda job: _ended(job, job.success),
    "exception_occurred": lambda job: _ended(job, job.exception is not None),
    "exception_type": lambda job: _ended(job, job.exception.type) if job.exception else None,
    "exception_severity": lambda job: _ended(job, job.exception.severity) if job.exception else None,
    "exception_note": lambda job: _ended(job, job.exception.note) if job.exception else None,
    "result": lambda job: job.result.value if job.result is not None else None,
    "expiration": lambda job: _ran(job, expiration_us(job) / 1_000_000),
    "annotations": _annotations,
    "waitstatus": lambda job: job.status,
    "dependencies": _dependencies,
}
ATTRIBUTES: Attributes = tuple(_VALUES)
