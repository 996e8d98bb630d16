"""`JobWatcher`: follow several jobs on one handle, and write what they write, until all are over.

Rule: it works by callbacks: after `start` it is the handle's reactor that runs it. Source: Flux's `flux.job.watcher`.
"""

import os
import sys
from typing import Protocol, Self, TextIO

from jqsched.client.handle import Handle
from jqsched.job.event import EventLogEvent, JobEventWatchFuture, event_watch_async
from jqsched.job.info import JobInfo
from jqsched.job.jobid import JobID
from jqsched.job.list import job_list_id
from jqsched.job.output import labelled

__all__ = ["JobWatcher"]


class _Stream(Protocol):
    def write(self, text: str, /) -> object: ...


class JobWatcher:
    """Watches jobs: their output goes to `stdout` and `stderr`, with `log_events` their events to `stderr`.

    `exitcode` is the largest of the jobs that have ended, 1 for one that an exception ended before it ran. `wait` is
    the event at which a job is watched no more. `labelio`: each line of output begins with the rank of its
    task, 0 where all write to one file. Refuses `progress` with ValueError: there is no progress bar.
    """

    def __init__(
        self,
        flux_handle: Handle,
        jobs: list[JobInfo] | None = None,
        progress: bool = False,
        jps: bool = False,
        wait: str = "clean",
        watch: bool = True,
        log_events: bool = False,
        log_status: bool = False,
        stdout: TextIO | None = None,
        stderr: TextIO | None = None,
        labelio: bool = False,
        starttime: float | None = None,
    ) -> None:
        for name, value in (("progress", progress), ("jps", jps), ("starttime", starttime)):
            if value:
                raise ValueError(f"{name} is not supported here")
        self.flux_handle, self.wait, self.watch = flux_handle, wait, watch
        self.log_events, self.log_status, self.labelio = log_events, log_status, labelio
        self.stdout: _Stream = stdout or sys.stdout
        self.stderr: _Stream = stderr or sys.stderr
        self.exitcode = 0
        self.add_jobs(*(jobs or ()))

    def start(self) -> Self:
        """Return itself: watching begins with each job that is added, and goes on while the reactor runs."""
        return self

    def stop(self) -> Self:
        """Return itself: a job's watch ends with the job."""
        return self

    def add_jobs(
        self, *jobs: JobInfo, stdout: TextIO | None = None, stderr: TextIO | None = None, wait: str | None = None
    ) -> Self:
        """Watch these jobs, too."""
        for job in jobs:
            self.add_jobid(job.id, stdout, stderr, wait)
        return self

    def add_jobid(
        self, jobid: int | str, stdout: TextIO | None = None, stderr: TextIO | None = None, wait: str | None = None
    ) -> Self:
        """Watch this job, too. Raises FileNotFoundError for an unknown one."""
        id_ = JobID(jobid)
        job_list_id(self.flux_handle, id_).get()
        out, err = stdout or self.stdout, stderr or self.stderr
        event_watch_async(self.flux_handle, id_).then(self._event, id_, wait or self.wait, err)
        if self.watch:
            event_watch_async(self.flux_handle, id_, "guest.output").then(
                _copy, {"stdout": out, "stderr": err}, {} if self.labelio else None
            )
        return self

    def _event(self, watch: JobEventWatchFuture, id_: JobID, wait: str, err: _Stream) -> None:
        event = watch.get_event()
        if event is None:
            return
        if self.log_events:
            err.write(f"{id_}: {event}\n")
        code = _exit_code(event)
        if code is not None:
            self.exitcode = max(self.exitcode, code)
            if self.log_status and code:
                err.write(f"{id_}: exit code {code}\n")
        if event.name == wait:
            watch.cancel(stop=True)


def _exit_code(event: EventLogEvent) -> int | None:
    """What an event says of how the job ended, if it does."""
    if event.name == "exception" and event.context["severity"] == 0:
        return 1
    if event.name != "finish":
        return None
    status = event.context["status"]
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def _copy(watch: JobEventWatchFuture, streams: dict[str, _Stream], lines: dict[tuple[str, str], str] | None) -> None:
    """Copy output; `lines`: it is labelled, and these have not ended."""
    event = watch.get_event()
    if event is None or event.name != "data":
        return
    stream, rank, data = event.context["stream"], event.context["rank"], event.context.get("data", "")
    if lines is not None:
        data, lines[stream, rank] = labelled(rank, lines.get((stream, rank), "") + data, event.context.get("eof"))
    if data:
        streams[stream].write(data)
