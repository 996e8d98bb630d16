"""What a job wrote: all of it by `job_output`, or piece by piece as it comes by `output_watch`.

Rule: made of `guest.output`. Where several tasks write to one file (the job names it, without `{rank}`), what one of
them wrote cannot be told from the rest: to ask for some tasks, or for labels, is refused there. Source: Flux's
`flux.job.output`.
"""

import base64
import errno
import re
from collections.abc import Iterator
from typing import NamedTuple

from jqsched.job.event import EventLogEvent, event_wait, event_watch
from jqsched.job.list import get_job
from jqsched.job.lookup import job_kvs_lookup
from jqsched.rpc import Asked

__all__ = ["JobOutput", "job_output", "output_watch"]

_ALL = ("*", "all")
_RANGE = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?")
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

    `tasks`: of these ranks only, an idset as `0,2-3` (RFC 22). `labelio`: each line begins with the rank of its task.

    Raises: FileNotFoundError for an unknown job, and with `nowait` where nothing is there yet; JobException when the
    job was ended before it ran; ValueError for what is no idset, and for some tasks or labels where several tasks write
    to one file.
    """
    ranks = _read_ranks(tasks)
    if nowait:
        found = job_kvs_lookup(flux_handle, jobid, ["guest.output"])
        if found is None:
            raise FileNotFoundError(errno.ENOENT, f"job {jobid} does not exist or output not ready")
        events = iter([EventLogEvent(line) for line in found["guest.output"].splitlines()])
    else:
        _wait_for_start(flux_handle, jobid)
        events = event_watch(flux_handle, jobid, "guest.output")
    text = {"stdout": "", "stderr": ""}
    for stream, data in _data(flux_handle, jobid, events, ranks, labelio=labelio):
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
    _wait_for_start(flux_handle, jobid)
    yield from _data(flux_handle, jobid, event_watch(flux_handle, jobid, "guest.output"), None, labelio=labelio)


def _read_ranks(tasks: str) -> list[range] | None:
    """Read an idset; None: all tasks."""
    if tasks in _ALL:
        return None
    found = [_RANGE.fullmatch(part) for part in tasks.removeprefix("[").removesuffix("]").split(",")]
    ranges = [range(int(one[1]), int(one[2] or one[1]) + 1) for one in found if one is not None]
    if len(ranges) < len(found) or not all(ranges):
        raise ValueError(f"{tasks!r} is no idset of tasks, as 0,2-3")
    return ranges


def _wait_for_start(flux_handle: Asked, jobid: int | str) -> None:
    try:
        event_wait(flux_handle, jobid, "start")
    except OSError as error:
        if error.errno != errno.ENODATA:
            raise
        raise FileNotFoundError(errno.ENOENT, f"job {jobid} never ran") from None


def _data(
    flux_handle: Asked, jobid: int | str, events: Iterator[EventLogEvent], ranks: list[range] | None, *, labelio: bool
) -> Iterator[tuple[str, str]]:
    lines: dict[tuple[str, str], str] = {}  # of what is labelled, the lines that have not ended
    for event in events:
        if event.name == "header" and (ranks is not None or labelio) and event.context["count"]["stdout"] == 1:
            _refuse_several(flux_handle, jobid)
        if event.name != "data":
            continue
        stream, rank = event.context["stream"], event.context["rank"]
        if ranks is not None and not any(int(rank) in some for some in ranks):
            continue
        data = event.context.get("data", "")
        if event.context.get("encoding") == "base64":
            data = base64.b64decode(data).decode("utf-8", "surrogateescape")
        if labelio:
            data, lines[stream, rank] = labelled(rank, lines.get((stream, rank), "") + data, event.context.get("eof"))
        if data:
            yield stream, data


def _refuse_several(flux_handle: Asked, jobid: int | str) -> None:
    job = get_job(flux_handle, jobid)
    if job is not None and job["ntasks"] != 1:
        raise ValueError(f"the tasks of job {jobid} write to one file: what one of them wrote cannot be told apart")


def labelled(rank: str, text: str, is_last: object) -> tuple[str, str]:
    """Write the rank before each line that has ended; returns these, and what is left."""
    *lines, rest = text.split("\n")
    if is_last and rest:
        lines, rest = [*lines, rest], ""
    return "".join(f"{rank}: {line}\n" for line in lines), rest
