"""What filter rules see of a job: its id, its fields and its reasons.

Rule: only what a new spec alone can change, so an answer about a subject holds until the job has another spec. No
urgency, priority, state or attempt, and never the environment, which may hold secrets. A field is looked up when a
rule tests it; nothing is built ahead.
Source: docs/reference/job-file.md (keys of the job file); docs/reference/filter-rules.md.
"""

from collections.abc import Callable, Mapping
from enum import Enum
from operator import attrgetter

from attrs import frozen

from jqsched.core.job import Job, Reason, Spec
from jqsched.core.jobspec.key import Key, Seen, unchanged
from jqsched.core.jobspec.keys import OF_SPEC


class Absent(Enum):
    """The answer for a field that a job does not have: unlike null, which it may have."""

    ABSENT = 0


ABSENT = Absent.ABSENT


@frozen
class Subject:
    """A job as rules see it. The reasons all have their time."""

    id: int
    spec: Spec
    userid: int
    reasons: tuple[Reason, ...]


def subject(id_: int, spec: Spec, userid: int, t_submit_us: int) -> Subject:
    """Make what rules see of a job; a reason without a time gets that of the submission.

    Cost: below a microsecond.
    """
    reasons = spec.reasons and tuple([_timed(reason, t_submit_us * 1_000) for reason in spec.reasons])
    return Subject(id_, spec, userid, reasons)


def subject_of(job: Job) -> Subject:
    """Make what rules see of a job that is in the queue."""
    return subject(job.id, job.spec, job.userid, job.t_submit_us)


def _timed(reason: Reason, t_submit_ns: int) -> Reason:
    return reason if reason.t_ns is not None else reason._replace(t_ns=t_submit_ns)


# ---- the fields of a job --------------------------------------------------------------------------------------------

Getter = Callable[[Subject], object]


def _looked_up(key: Key) -> Getter:
    """Make the getter of a key: without a Python call where the value is seen as it is, for rules ask often."""
    whole: Getter = attrgetter(f"spec.{key.fills}")
    if key.seen is Seen.SOMETIMES:
        return lambda subject: ABSENT if (value := whole(subject)) is None else key.as_seen(value)
    return whole if key.as_seen is unchanged else lambda subject: key.as_seen(whole(subject))


ALWAYS: Mapping[str, Getter] = {
    **{key.name: _looked_up(key) for key in OF_SPEC if key.seen is Seen.ALWAYS},
    "tasks": lambda subject: subject.spec.tasks,
    "nodes": lambda subject: subject.spec.nodes,
    "userid": lambda subject: subject.userid,
}
"""The fields that every job has: keys of the job file, what only a jobspec says, and the job's user."""

SOMETIMES: Mapping[str, Getter] = {
    **{key.name: _looked_up(key) for key in OF_SPEC if key.seen is Seen.SOMETIMES},
    "queue": lambda subject: _attribute(subject, "system", ("queue",)),
    "project": lambda subject: _attribute(subject, "system", ("project",)),
    "bank": lambda subject: _attribute(subject, "system", ("bank",)),
}
"""The fields that a job may lack. Beside them: `user.X.Y`, whatever stands under `attributes.user` of a jobspec."""

USER = "user."
OURS = "jqsched"


def getter(field: str) -> Getter | None:
    """Find how a field is looked up; None for a field that no job can have.

    Shape: `user.X.Y` follows objects only, no list; `user.jqsched` is not shown, for its keys are fields already, and
    whether a jobspec is kept verbatim depends on what else it says.
    """
    if not field.startswith(USER):
        return ALWAYS.get(field) or SOMETIMES.get(field)
    keys = tuple(field.removeprefix(USER).split("."))
    return None if keys[0] == OURS else lambda subject: _attribute(subject, "user", keys)


def _attribute(subject: Subject, section: str, keys: tuple[str, ...]) -> object:
    if subject.spec.jobspec is None:
        return ABSENT
    found: object = subject.spec.jobspec
    for key in ("attributes", section, *keys):
        if type(found) is not dict and not isinstance(found, Mapping):  # the first is quick, and mostly decides
            return ABSENT
        found = found.get(key, ABSENT)
    return found
