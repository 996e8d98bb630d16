"""The keys under which the queue's indexes file a job, each computed from the job alone.

Rule: nothing is known of a queue here; the code that keeps an index and the code that rebuilds it use the same
functions.
"""

from typing import TypeAlias

from jqsched.core import order
from jqsched.core.job import ArrayId, Job, OwnName, Scheme, State, Wait
from jqsched.core.order import Key, Node, Order

Awaited: TypeAlias = int | OwnName | ArrayId
Ids: TypeAlias = int | Node  # most names have one job, and most jobs one dependent: a tree of one would cost 170 bytes


def rank_key(job: Job) -> Key:
    """The one order of starting: highest priority first, then lowest id."""
    return (-job.priority, job.id)


def is_ready(job: Job) -> bool:
    """Whether a job waits for nothing and is not held."""
    return job.state is State.SCHED and job.priority > 0


def holds_slot(job: Job) -> bool:
    """Whether a job takes a slot by its state: it was allocated, and is not over."""
    return job.state is State.RUN or (job.state is State.CLEANUP and job.t_run_us > 0)


def awaited(job: Job, wait: Wait) -> Awaited | None:
    """Under what a wait is filed in `dependents`; None for a begin time."""
    if wait.scheme is Scheme.SINGLETON:
        return singleton_key(job.own_name)
    if wait.scheme is Scheme.BEGIN_TIME:
        return None
    return (job.userid, wait.target) if isinstance(wait.target, str) else wait.target


def singleton_key(name: OwnName) -> OwnName:
    """Where those are filed that wait for a name to be free; no name begins with `+`."""
    return (name[0], f"+{name[1]}")


def end_key(job: Job | None) -> Key | None:
    """The key in `ends` of a job that holds a slot; None for no job, and for one without a time limit."""
    return (job.expires_us, job.id) if job is not None and job.expires_us is not None else None


def as_order(ids: Ids | None) -> Order:
    """The keys `(id,)` of some ids."""
    return order.add(None, (ids,)) if isinstance(ids, int) else ids


def ids_with(ids: Ids | None, id_: int) -> Ids:
    """These ids and one more."""
    return id_ if ids is None else order.add(as_order(ids), (id_,))


def ids_without(ids: Ids | None, id_: int) -> Ids | None:
    """These ids without one; None when none is left."""
    left = order.discard(as_order(ids), (id_,))
    return left.key[0] if left is not None and left.size == 1 else left
