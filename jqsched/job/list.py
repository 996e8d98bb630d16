"""Lists of jobs: `JobList(handle, filters=["running"]).jobs()`, and the calls below it, under Flux's names.

Rule: a list is a request to `job-list`; what matches, in which order, is answered there. Keyword-only parameters are
ours. Source: the documentation of `flux.job.list`.
"""

import errno
import os
import pwd
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias, cast

from jqsched import constants
from jqsched.core.json import Json
from jqsched.future import WaitAllFuture
from jqsched.job.info import JobInfo
from jqsched.job.jobid import JobID
from jqsched.rpc import RPC, Asked

Document: TypeAlias = dict[str, Json]
Names: TypeAlias = Iterable[str]

_ALL = ("all",)
_CALLER = os.getuid()


class JobListRPC(RPC):
    """The answer to `job_list`: jobs as documents or as objects."""

    _streamed: list[Json] | None = None

    def get_jobs(self) -> list[Document]:
        """Wait for the answer, and give all jobs of it as documents; of a stream, all until its end."""
        if not self._streaming:
            return cast(list[Document], self.get()["jobs"])
        if self._streamed is None:
            self._streamed = list(self._rest())
        return cast(list[Document], self._streamed)

    def _rest(self) -> Iterator[Json]:
        while True:
            try:
                yield from cast(list[Json], self.get()["jobs"])
            except OSError as error:
                if error.errno != errno.ENODATA:
                    raise
                return
            self.reset()

    def get_jobinfos(self) -> Iterator[JobInfo]:
        """Give each job as an object."""
        return map(JobInfo, self.get_jobs())


class JobListIdRPC(RPC):
    """The answer to `job_list_id`: one job. `jobid` is whose."""

    jobid: JobID | None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.jobid = None

    def get_job(self) -> Document:
        """Wait for the answer, and give the job as a document. Raises FileNotFoundError when it is unknown."""
        return cast(Document, self.get()["job"])

    def get_jobinfo(self) -> JobInfo:
        """Wait for the answer, and give the job as an object. Raises FileNotFoundError when it is unknown."""
        return JobInfo(self.get_job())


class JobListIdsFuture(WaitAllFuture):
    """The answers to many `job_list_id` as one list; what went wrong is in `errors`."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[str] = []

    def get_jobs(self) -> list[Document]:
        """Wait for all, and give the jobs that are known as documents; the others are added to `errors`."""
        self.wait_for()
        jobs: list[Document] = []
        for child in cast(list[JobListIdRPC], self.children):
            try:
                jobs.append(child.get_job())
            except OSError as error:
                if error.errno == errno.ENOENT and child.jobid is not None:
                    self.errors.append(f"JobID {child.jobid.orig} unknown")
                else:
                    self.errors.append(f"rpc: {error.strerror}")
        return jobs

    def get_jobinfos(self) -> list[JobInfo]:
        """Wait for all, and give the jobs that are known as objects; the others are added to `errors`."""
        return list(map(JobInfo, self.get_jobs()))


# ---- calls --------------------------------------------------------------------------------------------------------


def job_list(
    flux_handle: Asked,
    max_entries: int = 1000,
    attrs: Names = _ALL,
    userid: int = _CALLER,
    states: int = 0,
    results: int = 0,
    since: float = 0.0,
    name: str | None = None,
    queue: str | None = None,
    *,
    constraint: Mapping[str, Json] | None = None,
) -> JobListRPC:
    """Ask for jobs of a user (`FLUX_USERID_UNKNOWN`: of all) that are in one of the states or ended with one of the
    results (bit masks), and that match the constraint (RFC 31).

    `max_entries` 0: as many as there are. `since`: of finished jobs those that ended after it.
    Raises: OSError when the answer is taken: EPROTO, EINVAL for an attribute that there is not.
    """
    wanted: list[Json] = [dict(constraint)] if constraint is not None else []
    if userid != constants.FLUX_USERID_UNKNOWN:
        wanted.append({"userid": [userid]})
    if name:
        wanted.append({"name": [name]})
    if queue:
        wanted.append({"queue": [queue]})
    stands: list[Json] = [{key: [mask]} for key, mask in (("states", states), ("results", results)) if mask]
    if stands:
        wanted.append({"or": stands})
    payload: Document = {
        "max_entries": int(max_entries),
        "attrs": _listed(attrs),
        "since": float(since),
        "constraint": {"and": wanted},
    }
    return JobListRPC(flux_handle, "job-list.list", payload)


def _listed(attrs: object) -> Json:
    """Names may come in any iterable; what is none is sent as it is, and refused there."""
    return list(attrs) if isinstance(attrs, Iterable) and not isinstance(attrs, str | Mapping) else cast(Json, attrs)


def job_list_inactive(
    flux_handle: Asked,
    since: float = 0.0,
    max_entries: int = 1000,
    attrs: Names = _ALL,
    name: str | None = None,
    queue: str | None = None,
    *,
    constraint: Mapping[str, Json] | None = None,
) -> JobListRPC:
    """Ask for finished jobs, of all users, the last to end first."""
    return job_list(
        flux_handle,
        max_entries=max_entries,
        attrs=attrs,
        userid=constants.FLUX_USERID_UNKNOWN,
        states=constants.FLUX_JOB_STATE_INACTIVE,
        since=since,
        name=name,
        queue=queue,
        constraint=constraint,
    )


def job_list_id(flux_handle: Asked, jobid: int | str, attrs: Names = _ALL) -> JobListIdRPC:
    """Ask for one job, by its id in any form. Raises: ValueError for what is no id."""
    id_ = JobID(jobid)
    rpc = JobListIdRPC(flux_handle, "job-list.list-id", {"id": int(id_), "attrs": _listed(attrs)})
    rpc.jobid = id_
    return rpc


def get_job(flux_handle: Asked, jobid: int | str) -> Document | None:
    """Ask for one job, and wait: all that is known of it as a dict, None when the job is unknown.

    Shape: the 36 keys of `JobInfo.to_dict(filtered=False)`.
    """
    try:
        return job_list_id(flux_handle, jobid).get_jobinfo().to_dict(filtered=False)
    except FileNotFoundError:
        return None


# ---- the class ----------------------------------------------------------------------------------------------------


class JobList:
    """A query for jobs, to be asked as often as one likes.

    `filters` are names of `STATES` and `RESULTS`, or comma lists of them; a job is listed when one of them is true of
    it. `ids`, in any form, take the place of all other filters. `user`: a name or a number, `"all"`, or None for the
    caller. `errors` says what went wrong with ids. Raises: ValueError for filters, ids and users that are none.
    """

    STATES: Mapping[str, int] = MappingProxyType(
        {
            "depend": constants.FLUX_JOB_STATE_DEPEND,
            "priority": constants.FLUX_JOB_STATE_PRIORITY,
            "sched": constants.FLUX_JOB_STATE_SCHED,
            "run": constants.FLUX_JOB_STATE_RUN,
            "cleanup": constants.FLUX_JOB_STATE_CLEANUP,
            "inactive": constants.FLUX_JOB_STATE_INACTIVE,
            "pending": constants.FLUX_JOB_STATE_PENDING,
            "running": constants.FLUX_JOB_STATE_RUNNING,
            "active": constants.FLUX_JOB_STATE_ACTIVE,
        }
    )
    RESULTS: Mapping[str, int] = MappingProxyType(
        {
            "completed": constants.FLUX_JOB_RESULT_COMPLETED,
            "failed": constants.FLUX_JOB_RESULT_FAILED,
            "canceled": constants.FLUX_JOB_RESULT_CANCELED,
            "timeout": constants.FLUX_JOB_RESULT_TIMEOUT,
        }
    )

    def __init__(
        self,
        flux_handle: Asked,
        attrs: Names = _ALL,
        filters: Names = (),
        ids: Iterable[int | str] = (),
        user: str | int | None = None,
        max_entries: int = 1000,
        since: float = 0.0,
        name: str | None = None,
        queue: str | None = None,
        *,
        constraint: Mapping[str, Json] | None = None,
    ) -> None:
        self.handle, self.attrs = flux_handle, list(attrs)
        self.states = self.results = 0
        self.max_entries, self.since = max_entries, since
        self.name, self.queue, self.constraint = name, queue, constraint
        self.ids = [JobID(id_) for id_ in ids]
        self.errors: list[str] = []
        for names in filters:
            for fname in names.split(","):
                self.add_filter(fname)
        self.set_user(user)

    def set_user(self, user: str | int | None) -> None:
        """List only jobs of this user. Raises: ValueError when there is none such."""
        if user is None:
            self.userid = os.getuid()
        elif user == "all":
            self.userid = constants.FLUX_USERID_UNKNOWN
        else:
            self.userid = _userid(user)

    def add_filter(self, fname: str) -> None:
        """List jobs of this state or result, too. Raises: ValueError when it is neither."""
        name = fname.lower()
        if name not in self.STATES and name not in self.RESULTS:
            raise ValueError(f"Invalid filter specified: {fname}")
        self.states |= self.STATES.get(name, 0)
        self.results |= self.RESULTS.get(name, 0)

    def fetch_jobs(self) -> JobListRPC | JobListIdsFuture:
        """Ask, and do not wait: the future is ready when the jobs are there."""
        if self.ids:
            found = JobListIdsFuture()
            for id_ in self.ids:
                found.push(job_list_id(self.handle, id_, self.attrs))
            return found
        return job_list(
            self.handle,
            max_entries=self.max_entries,
            attrs=self.attrs,
            userid=self.userid,
            states=self.states,
            results=self.results,
            since=self.since,
            name=self.name,
            queue=self.queue,
            constraint=self.constraint,
        )

    def jobs(self) -> list[JobInfo]:
        """Ask anew, and wait for the jobs."""
        rpc = self.fetch_jobs()
        jobs = list(rpc.get_jobinfos())
        self.errors = rpc.errors if isinstance(rpc, JobListIdsFuture) else []
        return jobs


def _userid(user: str | int) -> int:
    try:
        return pwd.getpwnam(str(user)).pw_uid
    except (KeyError, ValueError):
        pass  # no name, so perhaps a number
    try:
        return int(user)
    except ValueError:
        raise ValueError(f"Invalid user {user} specified") from None
