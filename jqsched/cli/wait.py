"""`jqsched wait`: until jobs are finished, and what was dropped as well; ends with their status.

Rule: what there is to wait for is read from the spool and its store; the scheduler says when it is over. One that is
restarted meanwhile makes no difference. Whatever goes wrong that is no job's status ends with a code of its own, which
`main` sees to (`failure.of_wait`).
"""

import errno
import os
import time
from collections.abc import Callable, Collection, Iterable, Sequence

from jqsched.adapters.spool.inbox import is_job_name
from jqsched.cli import formats
from jqsched.cli.failure import NO_JOB, NO_SCHEDULER, OK, WAIT_TIMEOUT, Failure, refusal, tell
from jqsched.cli.selection import Filters, Scope, select
from jqsched.cli.target import Place, known_job, reading
from jqsched.client.connection import Connection, NoScheduler
from jqsched.core.job import Job, Result, State
from jqsched.core.json import Json, JsonObject

RESTART_S = 10.0  # so long a scheduler that went away may take to come back
LOOK_S = 0.1
SLOW_S = 10.0  # after which it is said that a file is not taken
_TOLD_MAX = 20  # jobs that did not succeed, each of which has a line
_REQUEST_MAX_S = 86_400.0
_AWAY = {errno.ENOTCONN, errno.EHOSTDOWN, errno.ENODATA, errno.ECONNRESET, errno.EPIPE}

Look = Callable[[], JsonObject | None]


def wait(where: Place, words: Sequence[str], filters: Filters, count: int | None, timeout_us: int | None) -> int:
    """Wait until these jobs, or so many in all, or all that are active or dropped now are finished."""
    patience = _Patience(timeout_us)
    if count is not None:
        _await(where, lambda: {"count": count} if _finished(where) < count else None, patience)
        return OK
    if not words and not (filters.failed or filters.filter is not None):
        wanted = list(_await_all(where, patience))
        with reading(where) as reader:
            return tell_ends(reader.jobs(wanted).values())
    return await_jobs(where, _chosen(where, words, filters, patience), patience)


def await_jobs(where: Place, ids: Sequence[int], patience: "_Patience | None" = None) -> int:
    """Wait until these jobs are finished; their status."""
    _await(where, lambda: _open(where, ids), patience or _Patience(None))
    with reading(
        where
    ) as reader:  # one that was purged as soon as it ended has no status to end with: known_job says so
        return tell_ends([known_job(reader, id_) for id_ in ids])


def tell_ends(jobs: Collection[Job]) -> int:
    """Say which of these finished jobs did not succeed, and how each ended; return the largest exit status."""
    failed = [job for job in jobs if job.result is not Result.COMPLETED]
    for job in failed[:_TOLD_MAX]:
        ending = formats.ending(job)
        tell(f"job {job.id} ({job.spec.name}): {formats.status(job)}" + (f" ({ending})" if ending else ""))
    if len(failed) > _TOLD_MAX:
        tell(
            f"and {len(failed) - _TOLD_MAX} more jobs did not succeed (`jqsched jobs --filter failed,timeout,canceled`)"
        )
    return max(map(exit_status, jobs), default=OK)


def _chosen(where: Place, words: Sequence[str], filters: Filters, patience: "_Patience") -> list[int]:
    """Return the jobs that are named, which may be in the drop zone still."""
    try:
        return select(where, "wait", words, filters, Scope.AWAITED)
    except Failure as failure:
        dropped = _dropped(where)
        if failure.code != NO_JOB or not dropped or "-" in words:  # standard input can be read once
            raise
    _await_taken(where, dropped, patience)
    return select(where, "wait", words, filters, Scope.AWAITED)


def exit_status(job: Job) -> int:
    """The exit code that says how a job ended: its own, 124 time limit, 125 canceled, never 0 unless all was well."""
    if job.result in (Result.TIMEOUT, Result.CANCELED):
        return 124 if job.result is Result.TIMEOUT else 125
    if job.result is Result.COMPLETED:
        return OK
    return (job.status or 0) >> 8 & 0xFF or 1


# ---- what there is to wait for ------------------------------------------------------------------------------------


def _finished(where: Place) -> int:
    """How many jobs are finished, purged ones included."""
    with reading(where) as reader:
        return reader.counts().get(State.INACTIVE, 0) + int(reader.setting("purged") or 0)


def _open(where: Place, ids: Sequence[int]) -> JsonObject | None:
    with reading(where) as reader:
        left = [id_ for id_ in ids if known_job(reader, id_).state is not State.INACTIVE]
    return {"ids": list[Json](left)} if left else None


def _await_all(where: Place, patience: "_Patience") -> Iterable[int]:
    """Wait for what is active or lies in the drop zone now; the ids of these jobs.

    A file that leaves the drop zone is a job of the scheduler's in the same turn of its loop, so whatever it is asked
    after that comes behind it. Ids only grow.
    """
    with reading(where) as reader:
        last_id = max(reader.last_id(), int(reader.setting("last_id") or 0))
    dropped = _dropped(where)
    with reading(where) as reader:
        active = [job.id for job in reader.active()]
    _await_taken(where, dropped, patience)

    def look() -> JsonObject | None:
        with reading(where) as reader:
            is_idle = next(reader.active(), None) is None
        return {"all": True} if not is_idle or dropped or _job_files(f"{where.root}/jobs") else None

    _await(where, look, patience)
    with reading(where) as reader:
        return [*active, *range(last_id + 1, reader.last_id() + 1)]


def _await_taken(where: Place, dropped: dict[str, int], patience: "_Patience") -> None:
    """Wait until none of these files, by path and inode, is in the drop zone."""
    said_at, left = time.monotonic() + SLOW_S, dropped
    while left:
        try:
            Connection(where.root).close()
            patience.served()
        except OSError as error:
            patience.gone(error)
        began = time.monotonic()
        here = _dropped(where)
        left = {path: inode for path, inode in left.items() if here.get(path) == inode}
        if left and began > said_at:
            said_at = float("inf")
            tell(f"wait: {min(left)} was not taken yet (`jqsched status` may say why)")
        if left:
            patience.check()
            time.sleep(max(LOOK_S, 10 * (time.monotonic() - began)))


def _dropped(where: Place) -> dict[str, int]:
    """The job files in the drop zone."""
    return _job_files(where.root) | _job_files(f"{where.root}/drop")


def _job_files(folder: str) -> dict[str, int]:
    """The job files in a folder: their paths and inodes."""
    try:
        with os.scandir(folder) as entries:
            return {
                entry.path: entry.inode()
                for entry in entries
                if is_job_name(entry.name) and entry.is_file(follow_symlinks=False)
            }
    except FileNotFoundError:
        return {}


# ---- the scheduler ------------------------------------------------------------------------------------------------


class _Patience:
    """How long to wait: for the end, and for a scheduler to come back. One that never ran is not waited for."""

    def __init__(self, timeout_us: int | None) -> None:
        self._limit_s = timeout_us / 1_000_000 if timeout_us is not None else float("inf")
        self._until_s = time.monotonic() + self._limit_s
        self._was_served, self._back_by_s = False, float("inf")

    @property
    def left_s(self) -> float:
        """How long a request may take."""
        return min(max(0.0, self._until_s - time.monotonic()), _REQUEST_MAX_S)

    def check(self) -> None:
        """Raise Failure when the time is over."""
        if not self.left_s:
            raise Failure(f"wait: not finished after {self._limit_s:g} s", WAIT_TIMEOUT)

    def served(self) -> None:
        """Note that there is a scheduler."""
        self._was_served, self._back_by_s = True, float("inf")

    def gone(self, error: OSError) -> None:
        """Pause where a scheduler may come back, or has no room for another client; else raise Failure."""
        now_s = time.monotonic()
        if error.errno in _AWAY:
            if not self._was_served:
                raise refusal(NoScheduler(errno.EHOSTDOWN, "no scheduler serves this spool"), "wait") from None
            self._back_by_s = min(self._back_by_s, now_s + RESTART_S)
            if now_s > self._back_by_s:
                text = f"wait: the scheduler went away, and none came for {RESTART_S:g} s (`jqsched run` starts one)"
                raise Failure(text, NO_SCHEDULER) from None
        elif error.errno != errno.EAGAIN:
            raise refusal(error, "wait") from None
        self.check()
        time.sleep(min(LOOK_S, self.left_s))


def _await(where: Place, look: Look, patience: _Patience) -> None:
    """Wait until the scheduler reports the end of what `look` finds; None from `look`: nothing is left to wait for."""
    while (payload := look()) is not None:
        try:
            with Connection(where.root) as connection:
                patience.served()
                patience.check()
                connection.request("job-manager.wait", payload, timeout_s=patience.left_s)
                return
        except TimeoutError:
            patience.check()
        except OSError as error:
            patience.gone(error)
