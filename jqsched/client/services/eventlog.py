"""`job-info.eventlog-watch` and `job-info.lookup`: the logs of one job, as they are or as they grow.

Rule: the main log is what the store holds; the others are made of it, and of the output files, when they are read.
A log ends when nothing more can come. Source: RFC 18, RFC 24 (output), RFC 32 (exec log).
"""

import errno
import json
from collections.abc import Iterator
from os import uname

from jqsched.client.services import payload as reading
from jqsched.client.services.output import output_log
from jqsched.client.store_channel import PAUSE, Call, Pause
from jqsched.core.event import LAST_EVENTS, Event
from jqsched.core.job import Job, Spec
from jqsched.core.jobspec import shown_jobspec
from jqsched.core.json import Json
from jqsched.core.view import log_entry, resource_set
from jqsched.future import Payload

MAIN, EXEC, OUTPUT = "eventlog", "guest.exec.eventlog", "guest.output"
JSON_DECODE = 1  # FLUX_JOB_LOOKUP_JSON_DECODE

Entry = dict[str, Json]

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def watch(call: Call) -> Iterator[Payload | Pause]:
    """Each entry of a log, as a line: those that are there, and those that come, until the log ends.

    Raises: EPROTO; ENOENT for an unknown job or log.
    """
    if not call.streaming:
        raise reading.protocol_error("job-info.eventlog-watch requires streaming RPC flag")
    payload = reading.given(call)
    id_, path = _id(payload), reading.optional(payload, "path", reading.text, MAIN)
    for entry in _log(call, _known(call, id_), path):
        yield entry if isinstance(entry, Pause) else {"event": _encode(entry) + "\n"}


def lookup(call: Call) -> Iterator[Payload | Pause]:
    """What is kept of a job by these keys, as text; with JSON_DECODE, `jobspec` and `R` as objects.

    Raises: EPROTO; ENOENT for an unknown job, an unknown key, and what is not there yet.
    """
    payload = reading.given(call)
    job = _known(call, _id(payload))
    keys = reading.optional(payload, "keys", reading.many(reading.text), None) or []
    decode = bool(reading.optional(payload, "flags", reading.integer, 0) & JSON_DECODE)
    answer: Payload = {"id": job.id}
    for key in keys:
        if key in ("jobspec", "R"):
            document = shown_jobspec(job.spec) if key == "jobspec" else _resources(call, job)
            answer[key] = document if decode else _encode(document)
        else:
            entries = (entry for entry in _log(call, job, key, follow=False) if not isinstance(entry, Pause))
            answer[key] = "".join(_encode(entry) + "\n" for entry in entries)
    yield answer


def _id(payload: Payload) -> int:
    return reading.job_id("id", payload.get("id"))


def _known(call: Call, id_: int) -> Job:
    job = call.records.reader().jobs([id_]).get(id_)
    if job is None:
        raise _no_entry()
    return job


def _no_entry() -> OSError:
    return FileNotFoundError(errno.ENOENT, "No such file or directory")


def _resources(call: Call, job: Job) -> Entry:
    granted = [event.t_us for _, event in call.records.reader().events(job.id) if event.name == "alloc"]
    if not granted:
        raise _no_entry()
    return resource_set(job.spec, granted[-1], uname().nodename)


# ---- the logs -----------------------------------------------------------------------------------------------------


def _log(call: Call, job: Job, path: str, *, follow: bool = True) -> Iterator[Entry | Pause]:
    events = _events(call, job.id, follow=follow)
    if path == MAIN:
        return (event if isinstance(event, Pause) else log_entry(event) for event in events)
    if path == EXEC:
        return exec_log(events, job)
    if path == OUTPUT:
        return output_log(events, job, f"{call.records.root}/output")
    raise _no_entry()


def _events(call: Call, id_: int, *, follow: bool) -> Iterator[Event | Pause]:
    """The events of a job until its last one; without `follow`, as many as there are."""
    last = 0
    while True:
        reader = call.records.reader()
        portion = list(reader.events(id_, after_seq=last))
        if not portion and not reader.known([id_]):
            return  # purged meanwhile
        for seq, event in portion:
            if not call.is_wanted(seq):
                break
            last = seq
            yield event
            if event.name in LAST_EVENTS:
                return
        if not follow:
            return
        yield PAUSE


def exec_log(events: Iterator[Event | Pause], job: Job) -> Iterator[Entry | Pause]:
    """What Flux's shells would have said of each attempt, at the times of the events that it is made of.

    Ours is one log for all attempts: `done` stands at the job's end.
    """
    ran = False
    for event in events:
        if isinstance(event, Pause):
            yield event
            continue
        stamp = event.t_us / 1_000_000
        if event.name == "alloc":
            ran = True
            yield {"timestamp": stamp, "name": "init"}
            yield {"timestamp": stamp, "name": "starting"}
        elif event.name == "start":
            yield {"timestamp": stamp, "name": "shell.init", "context": {"leader-rank": 0, "size": 1}}
            taskmap: Json = {"version": 1, "map": [[0, 1, job.spec.tasks, 1]]}
            yield {"timestamp": stamp, "name": "shell.start", "context": {"taskmap": taskmap}}
        elif event.name == "finish":
            yield from _task_exit(event, job.spec)
        elif event.name in LAST_EVENTS and ran:
            yield {"timestamp": stamp, "name": "done"}


def _task_exit(event: Event, spec: Spec) -> Iterator[Entry]:
    """How the process ended. Of several tasks only the largest status is known, so no task is named."""
    stamp, status = event.t_us / 1_000_000, event.context.get("status")
    assert isinstance(status, int)
    code = status >> 8
    signum = code - 128 if 128 < code <= 128 + 64 else 0
    wait_status = signum or status
    if spec.tasks == 1:
        told: Entry = {
            "localid": 0,
            "rank": 0,
            "state": "Exited",
            "wait_status": wait_status,
            "signaled": signum,
            "exitcode": code,
        }
        yield {"timestamp": stamp, "name": "shell.task-exit", "context": told}
    yield {"timestamp": stamp, "name": "shell-exit", "context": {"rank": 0, "wait_status": status}}
    yield {"timestamp": stamp, "name": "complete", "context": {"status": status}}
