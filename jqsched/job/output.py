"""What a job wrote: all of it by `job_output`, or piece by piece as it comes by `output_watch`.

Rule: made of `guest.output`. All tasks of a job write to the same files, so what one of them wrote cannot be told from
the rest: to ask for some tasks, or for labels, is refused for a job of several. Source: Flux's `flux.job.output`.
"""

import base64
import errno
from collections.abc import Iterator
from typing import NamedTuple

from jqsched.job.event import EventLogEvent, event_wait, event_watch
from jqsched.job.list import get_job
from jqsched.job.lookup import job_kvs_lookup
from jqsched.rpc import Asked

__all__ = ["JobOutput", "job_output", "output_watch"]

_ALL = ("*", "all", "0")
LOG_TRACE = 7  # Flux's level of a message of its job shell; here there is none, so there are no messages


class JobOutput(NamedTuple):
    """What a job wrote. `log` has the messages of Flux's job shell: here there are none."""

    stdout: str
    stderr: str
    log: str


def job_output(
    flux_handle: Asked,
    jobid: int | str,
    tasks: str = "*",
    labelio: bool = False,
    nowait: bool = False,
    log_stderr_level: int = LOG_TRACE,
) -> JobOutput:
    """Wait for the end of a job, and give what it wrote; with `nowait`, what it has written so far.

    Raises: FileNotFoundError for an unknown job, and with `nowait` where nothing is there yet; JobException when the
    job was ended before it ran; ValueError for some tasks or labels of a job of several tasks.
    """
    if tasks not in _ALL or labelio:
        _refuse_several(flux_handle, jobid)
    if nowait:
        found = job_kvs_lookup(flux_handle, jobid, ["guest.output"])
        if found is None:
            raise FileNotFoundError(errno.ENOENT, f"job {jobid} does not exist or output not ready")
        events = iter([EventLogEvent(line) for line in found["guest.output"].splitlines()])
    else:
        _wait_for_start(flux_handle, jobid)
        events = event_watch(flux_handle, jobid, "guest.output")
    text = {"stdout": "", "stderr": ""}
    for stream, data in _data(events, labelio=labelio):
        text[stream] += data
    return JobOutput(text["stdout"], text["stderr"], "")


def output_watch(
    flux_handle: Asked,
    jobid: int | str,
    labelio: bool = False,
    log_stderr_level: int = LOG_TRACE,
    nowait: bool = False,
) -> Iterator[tuple[str, str]]:
    """Give what a job writes as it comes, as pairs of `stdout` or `stderr` and a text, until its end.

    Raises as `job_output`.
    """
    if labelio:
        _refuse_several(flux_handle, jobid)
    _wait_for_start(flux_handle, jobid)
    yield from _data(event_watch(flux_handle, jobid, "guest.output"), labelio=labelio)


def _refuse_several(flux_handle: Asked, jobid: int | str) -> None:
    job = get_job(flux_handle, jobid)
    if job is not None and job["ntasks"] != 1:
        raise ValueError(f"job {jobid} has several tasks, and what one of them wrote cannot be told from the rest")


def _wait_for_start(flux_handle: Asked, jobid: int | str) -> None:
    try:
        event_wait(flux_handle, jobid, "start")
    except OSError as error:
        if error.errno != errno.ENODATA:
            raise
        raise FileNotFoundError(errno.ENOENT, f"job {jobid} never ran") from None


def _data(events: Iterator[EventLogEvent], *, labelio: bool) -> Iterator[tuple[str, str]]:
    for event in events:
        if event.name != "data" or "data" not in event.context:
            continue
        data = event.context["data"]
        if event.context.get("encoding") == "base64":
            data = base64.b64decode(data).decode("utf-8", "surrogateescape")
        if labelio:
            data = "".join(f"0: {line}" for line in data.splitlines(keepends=True))
        yield event.context["stream"], data
