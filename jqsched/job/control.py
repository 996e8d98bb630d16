"""Change jobs and wait for them: submit, cancel, kill, urgency, wait, result; each blocking, and as a future.

Rule: a change needs a scheduler, and is durable when it is answered; waiting and results are read from the store.
Errors have Flux's errno and text. Source: Flux's `flux.job`.
"""

import errno
import json
import os
import signal
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias, cast
from weakref import WeakKeyDictionary

from jqsched.constants import FLUX_JOB_URGENCY_DEFAULT, FLUX_JOBID_ANY
from jqsched.core.json import Json, as_object
from jqsched.future import Answer, Channel, Future
from jqsched.job.info import JobInfo
from jqsched.job.jobid import JobID, id_number
from jqsched.job.jobspec import Jobspec
from jqsched.rpc import RPC, Asked

Given: TypeAlias = Jobspec | Mapping[str, Json] | str | bytes

# errno as our scheduler answers it -> errno and text as Flux does (None: the scheduler's own text).
Errors: TypeAlias = Mapping[int, tuple[int, str | None]]

_CANCEL_ERRORS: Errors = {errno.EALREADY: (errno.ENOENT, "job is inactive")}
_URGENCY_ERRORS: Errors = {
    errno.ENOENT: (errno.EINVAL, "unknown job"),
    errno.EALREADY: (errno.EINVAL, "job is inactive"),
    errno.EBUSY: (errno.EINVAL, "urgency cannot be changed once resources are allocated"),
}


class ControlFuture(RPC):
    """The answer to a change: `get` gives it when the change is durable. Raises OSError as Flux does."""

    def __init__(self, flux_handle: Asked, topic: str, payload: dict[str, Json], errors: Errors) -> None:
        self._errors = errors
        super().__init__(flux_handle, topic, payload)

    def get(self) -> dict[str, Json]:
        """Wait for the answer."""
        try:
            return super().get()
        except OSError as error:
            number, text = self._errors.get(error.errno or 0, (error.errno, None))
            if text is None:
                raise
            raise OSError(number, text) from None


# ---- submit -------------------------------------------------------------------------------------------------------


class SubmitFuture(RPC):
    """The answer to a submission: the job's id, when the job is durable."""

    def __init__(self, flux_handle: Asked, text: str, *, waitable: bool = False) -> None:
        super().__init__(flux_handle, "job-manager.submit", {"text": text})
        self._waitable = waitable

    def get_id(self) -> JobID:
        """Wait for the id. Raises OSError EINVAL with every error of the job; NoScheduler."""
        id_ = JobID(self.get()["id"])
        if self._waitable:
            self._waitable = False
            _waitables(self.get_flux()).add(id_)
        return id_

    def _awaited(self) -> JobID:
        return self.get_id()


def submit_async(
    flux_handle: Asked,
    jobspec: Given,
    urgency: int = FLUX_JOB_URGENCY_DEFAULT,
    waitable: bool = False,
    debug: bool = False,
    pre_signed: bool = False,
    novalidate: bool = False,
) -> SubmitFuture:
    """Submit a job: a jobspec, as an object, a mapping or JSON, or a job file in the short form.

    `waitable` has `wait` find it without its id. `debug` and `novalidate` are taken and have no effect.
    Raises: OSError EINVAL for what is no job, where that can be told here, and TypeError for what cannot be any; the
    rest is told by the future.
    """
    if pre_signed:
        raise OSError(errno.EINVAL, "pre_signed: there are no signatures here")
    if not 0 <= urgency <= 31:
        raise OSError(errno.EINVAL, "urgency range is [0:31]")
    return SubmitFuture(flux_handle, _text(jobspec, urgency), waitable=waitable)


def submit(
    flux_handle: Asked,
    jobspec: Given,
    urgency: int = FLUX_JOB_URGENCY_DEFAULT,
    waitable: bool = False,
    debug: bool = False,
    pre_signed: bool = False,
    novalidate: bool = False,
) -> JobID:
    """Submit a job, and wait until it is durable; returns its id. Parameters and errors as `submit_async`."""
    return submit_async(flux_handle, jobspec, urgency, waitable, debug, pre_signed, novalidate).get_id()


def submit_get_id(future: SubmitFuture) -> JobID:
    """Wait for the id of a job that was submitted by `submit_async`. Raises OSError EINVAL for another object."""
    if not isinstance(future, SubmitFuture):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    return future.get_id()


def _text(jobspec: Given, urgency: int) -> str:
    """Write the text of a job's file. The urgency stands beside the jobspec, which has no place for it."""
    if isinstance(jobspec, bytes):
        jobspec = os.fsdecode(jobspec)
    if isinstance(jobspec, str) and urgency == FLUX_JOB_URGENCY_DEFAULT:
        return jobspec
    if jobspec is None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    if not isinstance(jobspec, Jobspec | Mapping | str):
        raise TypeError(f"a job is a Jobspec, a mapping or a text, not {type(jobspec).__name__}")
    try:
        document = json.loads(jobspec) if isinstance(jobspec, str) else jobspec
        if isinstance(document, Jobspec):
            document = document.jobspec
        if not isinstance(document, Mapping):
            raise OSError(errno.EINVAL, f"a job must be an object, not {type(document).__name__}")
        if urgency != FLUX_JOB_URGENCY_DEFAULT:
            document = {**document, "urgency": urgency}
        return json.dumps(document, ensure_ascii=False, allow_nan=False, default=as_object)
    except (ValueError, TypeError, RecursionError) as error:
        raise OSError(errno.EINVAL, f"not JSON: {error}") from None


# ---- changes ------------------------------------------------------------------------------------------------------


def cancel_async(flux_handle: Asked, jobid: int | str, reason: str | None = None) -> ControlFuture:
    """Cancel a job. Raises by the future: OSError ENOENT for one that is unknown or inactive."""
    payload: dict[str, Json] = {"id": id_number(jobid), "note": reason or ""}
    return ControlFuture(flux_handle, "job-manager.cancel", payload, _CANCEL_ERRORS)


def cancel(flux_handle: Asked, jobid: int | str, reason: str | None = None) -> dict[str, Json]:
    """Cancel a job; returns when that is durable: one that runs ends later. Raises as `cancel_async`."""
    return cancel_async(flux_handle, jobid, reason).get()


def raise_exception_async(
    flux_handle: Asked,
    jobid: int | str,
    type: str = "cancel",  # noqa: A002 - Flux's parameter
    severity: int = 0,
    note: str = "",
) -> ControlFuture:
    """Raise an exception on a job; severity 0 ends it.

    Raises: OSError EPROTO for a type or severity that RFC 21 does not know; by the future as `cancel_async`.
    """
    if not type or any(letter.isspace() or letter == "=" for letter in type):
        raise OSError(errno.EPROTO, "invalid exception type")
    if not 0 <= severity <= 7:
        raise OSError(errno.EPROTO, "invalid exception severity")
    if (type, severity) == ("cancel", 0):
        return cancel_async(flux_handle, jobid, note)
    payload: dict[str, Json] = {"id": id_number(jobid), "type": type, "severity": severity, "note": note}
    return ControlFuture(flux_handle, "job-manager.raise", payload, _CANCEL_ERRORS)


def raise_exception(
    flux_handle: Asked,
    jobid: int | str,
    type: str = "cancel",  # noqa: A002 - Flux's parameter
    severity: int = 0,
    note: str = "",
) -> dict[str, Json]:
    """Raise an exception on a job; returns when that is durable. Raises as `raise_exception_async`."""
    return raise_exception_async(flux_handle, jobid, type, severity, note).get()


def job_raise_async(
    flux_handle: Asked,
    jobid: int | str,
    type: str = "cancel",  # noqa: A002 - as above
    severity: int = 0,
    note: str = "",
) -> ControlFuture:
    """Raise an exception on a job: `raise_exception_async` by the name that it has in Flux."""
    return raise_exception_async(flux_handle, jobid, type, severity, note)


def job_raise(
    flux_handle: Asked,
    jobid: int | str,
    type: str = "cancel",  # noqa: A002 - as above
    severity: int = 0,
    note: str = "",
) -> dict[str, Json]:
    """Raise an exception on a job: `raise_exception` by the name that it has in Flux."""
    return raise_exception(flux_handle, jobid, type, severity, note)


def kill_async(flux_handle: Asked, jobid: int | str, signum: int = signal.SIGTERM) -> ControlFuture:
    """Send a signal to all processes of a running job."""
    payload: dict[str, Json] = {"id": id_number(jobid), "signum": int(signum)}
    return ControlFuture(flux_handle, "job-manager.kill", payload, _CANCEL_ERRORS)


def kill(flux_handle: Asked, jobid: int | str, signum: int = signal.SIGTERM) -> dict[str, Json]:
    """Send a signal to all processes of a running job; returns when it was sent."""
    return kill_async(flux_handle, jobid, signum).get()


def set_urgency_async(flux_handle: Asked, jobid: int | str, urgency: int) -> ControlFuture:
    """Change the urgency of a job: 0 holds it, 31 has it run first; answered with `old_urgency`.

    Raises by the future: OSError EINVAL for a value out of range, and for a job that is unknown, running or inactive.
    """
    payload: dict[str, Json] = {"id": id_number(jobid), "urgency": urgency}
    return ControlFuture(flux_handle, "job-manager.urgency", payload, _URGENCY_ERRORS)


def set_urgency(flux_handle: Asked, jobid: int | str, urgency: int) -> int:
    """Change the urgency of a job; returns the one before. Raises as `set_urgency_async`."""
    return cast(int, set_urgency_async(flux_handle, jobid, urgency).get()["old_urgency"])


urgency = set_urgency


# ---- the end ------------------------------------------------------------------------------------------------------


class JobWaitResult(NamedTuple):
    """How a job ended: success, or the reason of its failure (bytes, as in Flux)."""

    jobid: JobID
    success: bool
    errstr: bytes


class JobResultFuture(RPC):
    """The end of a job."""

    def __init__(self, flux_handle: Asked, jobid: int | str) -> None:
        super().__init__(flux_handle, "job-info.result", {"ids": [id_number(jobid)]})

    def get_dict(self) -> dict[str, Json]:
        """Wait for the end, and give what is known of the job. Raises FileNotFoundError for an unknown one."""
        return cast(dict[str, Json], self.get()["job"])

    def get_info(self) -> JobInfo:
        """Wait for the end, and give what is known of the job as an object. Raises as `get_dict`."""
        return JobInfo(self.get_dict())

    def _awaited(self) -> object:
        return self.get_info()


class JobWaitFuture(Future):
    """The end of a job, or of the next of those that are waitable. Of several futures each gets another job."""

    def __init__(self, flux_handle: Asked, jobid: int | str = FLUX_JOBID_ANY) -> None:
        if jobid == FLUX_JOBID_ANY:
            super().__init__(_AnyJob(flux_handle), flux_handle)
        else:
            super().__init__(JobResultFuture(flux_handle, jobid))

    def get_status(self) -> JobWaitResult:
        """Wait for the end, and say how it was. Raises FileNotFoundError; OSError ECHILD when no job is waitable."""
        info = JobInfo(self.get()["job"])
        _waitables(self.get_flux()).remove(info.id)
        success = bool(info.success)
        return JobWaitResult(info.id, success, b"" if success else info.inactive_reason.encode())

    def _awaited(self) -> JobWaitResult:
        return self.get_status()


class _Waitables:
    """The waitable jobs of a handle that were not waited for, and the request for the next to end."""

    def __init__(self) -> None:
        self._ids: dict[int, None] = {}
        self._request: Channel | None = None

    def add(self, id_: int) -> None:
        """Add a job to wait for."""
        self._ids[id_] = None
        self._request = None

    def remove(self, id_: int) -> None:
        """Stop waiting for a job."""
        if id_ in self._ids:
            del self._ids[id_]
            self._request = None

    def next_ended(self, flux_handle: Asked) -> Answer | None:
        """Return the next job that has ended, if there is one; each is returned to one caller only."""
        if not self._ids:
            return OSError(errno.ECHILD, os.strerror(errno.ECHILD))
        if self._request is None:
            self._request = flux_handle.ask("job-info.result", {"ids": list[Json](self._ids)}, streaming=False)
        answer = self._request.poll()
        if isinstance(answer, dict):
            self.remove(cast(int, cast(dict[str, Json], answer["job"])["id"]))
        return answer


_submitted: WeakKeyDictionary[Any, _Waitables] = WeakKeyDictionary()


def _waitables(flux_handle: Asked) -> _Waitables:
    return _submitted.setdefault(flux_handle, _Waitables())


class _AnyJob:
    """The channel of a future that waits for any of the waitable jobs."""

    def __init__(self, flux_handle: Asked) -> None:
        self._flux_handle = flux_handle

    def poll(self) -> Answer | None:
        """Return the next job that has ended, if there is one now."""
        return _waitables(self._flux_handle).next_ended(self._flux_handle)

    def cancel(self) -> None:
        """Do nothing: there is one answer, and no stream to end."""


def result_async(flux_handle: Asked, jobid: int | str, flags: int = 0) -> JobResultFuture:
    """Wait for the end of a job."""
    return JobResultFuture(flux_handle, jobid)


def result(flux_handle: Asked, jobid: int | str, flags: int = 0) -> JobInfo:
    """Wait for the end of a job; returns what is known of it. Raises FileNotFoundError for an unknown one."""
    return result_async(flux_handle, jobid, flags).get_info()


def wait_async(flux_handle: Asked, jobid: int | str = FLUX_JOBID_ANY) -> JobWaitFuture:
    """Wait for the end of a job; without an id, of the next of those that this handle submitted as waitable."""
    return JobWaitFuture(flux_handle, jobid)


def wait(flux_handle: Asked, jobid: int | str = FLUX_JOBID_ANY) -> JobWaitResult:
    """Wait for the end of a job, as `wait_async`; returns how it was.

    Raises: FileNotFoundError for an unknown job; OSError ECHILD when no job is waitable.
    """
    return wait_async(flux_handle, jobid).get_status()


def wait_get_status(future: JobWaitFuture) -> JobWaitResult:
    """Wait for what `wait_async` waits for. Raises OSError EINVAL for what is no such future."""
    if not isinstance(future, JobWaitFuture):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    return future.get_status()
