"""`job-list.list`, `job-list.list-id` and `job-list.list-attrs`: what is known of jobs, of many or of one.

Rule: an answer is of one moment, and what was committed before the question is in it. What is asked for is read and
judged by the core, what is found is found by the store. Source: RFC 43.
"""

import errno
import os
from collections.abc import Callable, Iterator
from math import isnan

from jqsched.client.services import payload as reading
from jqsched.client.store_channel import PAUSE, Call, Pause
from jqsched.core.attributes import ALL, ATTRIBUTES, Attributes, BadAttributes, job_attributes, read_attributes
from jqsched.core.constraint import BadConstraint, Budget, Constraint, Every, Excessive, read_constraint
from jqsched.core.event import NO_CONTEXT
from jqsched.core.job import Job, State
from jqsched.core.json import Json, JsonObject
from jqsched.core.view import ACTIVE
from jqsched.future import Payload

_STATES = ACTIVE | State.INACTIVE


def list_jobs(call: Call) -> Iterator[Payload | Pause]:
    """The jobs that match a constraint, in the order of lists: all in one answer, or streamed one by one.

    Raises: EPROTO, EINVAL for an attribute that there is not.
    """
    payload = reading.given(call)
    most = _most(payload)
    since_us = _since_us(payload)
    attributes = _attributes(payload)
    constraint = _constraint(payload)
    hostname = os.uname().nodename
    found = call.records.reader().search(
        constraint, since_us=since_us, most=most or -1, budget=Budget(), hostname=hostname
    )
    try:
        jobs = list(found)  # to the end: no snapshot is held while the caller thinks
    except Excessive as excessive:
        raise OSError(errno.EINVAL, str(excessive)) from None
    notes = _notes(call, attributes)
    documents: Iterator[Json] = (job_attributes(job, attributes, hostname, notes(job.id)) for job in jobs)
    if not call.streaming:
        yield {"jobs": list(documents)}
        return
    first: Payload = {"version": 1}
    for document in documents:
        yield {"jobs": [document], **first}
        first = {}


def list_id(call: Call) -> Iterator[Payload | Pause]:
    """One job; with `state` when it has been in one of these states, or is finished.

    Raises: EPROTO; ENOENT for an unknown job.
    """
    payload = reading.given(call)
    id_ = reading.job_id("id", payload.get("id"))
    attributes = _attributes(payload)
    state = reading.optional(payload, "state", reading.integer, 0)
    if state & ~_STATES:
        raise reading.protocol_error("invalid payload: invalid state specified")
    while not _has_been(job := _known(call, id_), state):
        yield PAUSE
    yield {"job": job_attributes(job, attributes, os.uname().nodename, _notes(call, attributes)(id_))}


def list_attrs(call: Call) -> Iterator[Payload | Pause]:
    """The names of all attributes, and `all`."""
    yield {"attrs": [*ATTRIBUTES, ALL]}


# ---- what is asked for --------------------------------------------------------------------------------------------


def _most(payload: Payload) -> int:
    most = reading.integer("max_entries", payload.get("max_entries"))
    if most < 0:
        raise reading.protocol_error("invalid payload: max_entries < 0 not allowed")
    return most


def _since_us(payload: Payload) -> int:
    since_s = reading.optional(payload, "since", reading.number, 0.0)
    if since_s < 0 or isnan(since_s):
        raise reading.protocol_error("invalid payload: since < 0.0 not allowed")
    return reading.last_us(since_s)


def _attributes(payload: Payload) -> Attributes:
    attributes = read_attributes(payload.get("attrs"))
    if isinstance(attributes, BadAttributes):
        raise OSError(attributes.errno, attributes.text)
    return attributes


def _notes(call: Call, attributes: Attributes) -> Callable[[int], JsonObject]:
    """Return the function that reads what plugins noted of a job, where that was asked for."""
    return call.records.reader().notes() if "annotations" in attributes else lambda _: NO_CONTEXT


def _constraint(payload: Payload) -> Constraint:
    constraint = read_constraint(payload["constraint"]) if "constraint" in payload else Every()
    if isinstance(constraint, BadConstraint):
        raise reading.protocol_error(constraint.text)
    return constraint


# ---- one job ------------------------------------------------------------------------------------------------------


def _known(call: Call, id_: int) -> Job:
    job = call.records.reader().jobs([id_]).get(id_)
    if job is None:
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
    return job


def _has_been(job: Job, states: int) -> bool:
    """Whether the job has been in one of these states (0: in any), or is finished."""
    if job.state is State.INACTIVE:
        return True
    entered = {
        State.DEPEND: job.t_depend_us,
        State.PRIORITY: job.t_priority_us,
        State.SCHED: job.t_sched_us,
        State.RUN: job.t_run_us,
        State.CLEANUP: job.t_cleanup_us,
    }
    return any(time_us > 0 and (not states or states & state) for state, time_us in entered.items())
