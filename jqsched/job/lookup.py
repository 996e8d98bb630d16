"""What is kept of jobs, by key: `job_kvs_lookup(handle, jobid, ["jobspec", "R"])`, of many jobs, or as a mapping.

Keys: `eventlog`, `guest.exec.eventlog`, `guest.output`, `jobspec`, `R`. There is no key-value store here: what Flux
keeps under these keys is read from the store and the output files (`job-info.lookup`). Source: Flux's `flux.job`.
"""

import errno
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from jqsched.core.json import Json
from jqsched.future import WaitAllFuture
from jqsched.job.jobid import JobID, id_number
from jqsched.rpc import RPC, Asked

__all__ = [
    "JobInfoLookupRPC", "JobKVSLookup", "JobKVSLookupFuture", "job_info_lookup", "job_kvs", "job_kvs_guest",
    "job_kvs_lookup",
]  # fmt: skip

_OBJECTS = ("jobspec", "R")
_KEYS = ("R", "eventlog", "guest.exec.eventlog", "guest.output", "jobspec")


class JobInfoLookupRPC(RPC):
    """What is kept of one job, as text."""

    def __init__(self, flux_handle: Asked, jobid: int | str, keys: Iterable[str]) -> None:
        self.jobid = JobID(jobid)
        payload: dict[str, Json] = {"id": id_number(jobid), "keys": list[Json](keys), "flags": 0}
        super().__init__(flux_handle, "job-info.lookup", payload)

    def get_decode(self) -> dict[str, Any]:
        """The same, with `jobspec` and `R` as objects."""
        return {key: json.loads(str(value)) if key in _OBJECTS else value for key, value in self.get().items()}


def job_info_lookup(flux_handle: Asked, jobid: int | str, keys: Iterable[str] = ("jobspec",)) -> JobInfoLookupRPC:
    """Ask for what is kept of a job. The future raises FileNotFoundError for an unknown job, and what is not there."""
    return JobInfoLookupRPC(flux_handle, jobid, keys)


def job_kvs_lookup(
    flux_handle: Asked, jobid: int | str, keys: Iterable[str] = ("jobspec",), decode: bool = True
) -> dict[str, Any] | None:
    """Look up what is kept of a job; with `decode` `jobspec` and `R` are objects. None where one of it is not there."""
    future = job_info_lookup(flux_handle, jobid, keys)
    try:
        return future.get_decode() if decode else future.get()
    except FileNotFoundError:
        return None


class JobKVSLookupFuture(WaitAllFuture):
    """What is kept of several jobs; `errors` has a line for each of which something is not there."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[str] = []

    def get(self) -> list[dict[str, Any]]:
        """Wait for all; what there is, as text."""
        return self._all(decode=False)

    def get_decode(self) -> list[dict[str, Any]]:
        """Wait for all; the same with `jobspec` and `R` as objects."""
        return self._all(decode=True)

    def _all(self, *, decode: bool) -> list[dict[str, Any]]:
        self.wait_for()
        found = []
        for child in self.children:
            assert isinstance(child, JobInfoLookupRPC)
            try:
                found.append(child.get_decode() if decode else child.get())
            except OSError as error:
                is_unknown = error.errno == errno.ENOENT
                self.errors.append(f"JobID {child.jobid.orig} unknown" if is_unknown else f"rpc: {error.strerror}")
        return found


class JobKVSLookup:
    """Looks up what is kept of several jobs."""

    def __init__(
        self,
        flux_handle: Asked,
        ids: Iterable[int | str] = (),
        keys: Iterable[str] = ("jobspec",),
        decode: bool = True,
    ) -> None:
        self.handle, self.keys, self.decode = flux_handle, list(keys), decode
        self.ids = [JobID(id_) for id_ in ids]
        self.errors: list[str] = []

    def fetch_data(self) -> JobKVSLookupFuture:
        """Ask for it."""
        future = JobKVSLookupFuture()
        for id_ in self.ids:
            future.push(job_info_lookup(self.handle, id_, self.keys))
        return future

    def data(self) -> list[dict[str, Any]]:
        """Ask for it and wait; what is not there is in `errors`."""
        future = self.fetch_data()
        found = future.get_decode() if self.decode else future.get()
        self.errors = future.errors
        return found


class _JobFolder(Mapping[str, Any]):
    """What is kept of a job, as a mapping that is read when it is asked. Objects are decoded, logs are text."""

    def __init__(self, flux_handle: Asked, jobid: int | str, prefix: str = "") -> None:
        self._handle, self._jobid, self._prefix = flux_handle, JobID(jobid), prefix

    def __getitem__(self, key: str) -> Any:
        found = job_kvs_lookup(self._handle, self._jobid, [self._prefix + key])
        if found is None:
            raise KeyError(key)
        return found[self._prefix + key]

    def __iter__(self) -> Iterator[str]:
        for key in _KEYS:
            if key.startswith(self._prefix) and (name := key.removeprefix(self._prefix)) in self:
                yield name

    def __len__(self) -> int:
        return sum(1 for _ in self)


def job_kvs(flux_handle: Asked, jobid: int | str) -> Mapping[str, Any]:
    """What is kept of a job, as a read-only mapping: `job_kvs(handle, jobid)["jobspec"]`."""
    return _JobFolder(flux_handle, jobid)


def job_kvs_guest(flux_handle: Asked, jobid: int | str) -> Mapping[str, Any]:
    """What a job's processes left, as a read-only mapping: `output` and `exec.eventlog`."""
    return _JobFolder(flux_handle, jobid, "guest.")
