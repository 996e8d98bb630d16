"""`timeleft`: how long the job that this process belongs to may still run. Source: Flux's `flux.job.timeleft`."""

import errno
import math
import os
import time
from contextlib import nullcontext
from typing import cast

from jqsched.client.handle import Handle
from jqsched.job.list import job_list_id

__all__ = ["timeleft"]


def timeleft(flux_handle: Handle | None = None) -> float:
    """Return the seconds left to the job that this process belongs to; infinity where it has no time limit.

    Without a handle that of the job's own spool is used. Raises OSError ESRCH outside of a job.
    """
    jobid = os.environ.get("JQSCHED_JOB_ID")
    if jobid is None:
        raise OSError(errno.ESRCH, "this process belongs to no job: JQSCHED_JOB_ID is not set")
    with Handle() if flux_handle is None else nullcontext(flux_handle) as handle:
        info = job_list_id(handle, jobid).get_jobinfo()
    if not info.duration:
        return math.inf
    return max(0.0, cast(float, info.t_run) + cast(float, info.duration) - time.time())
