"""Policy: who may start now, in what order, and what a dependency means.

Rule: questions about a queue, answered without changing it. `select` is the one place that chooses; everything that
explains or simulates asks the same functions. Filter rules and rate limits (the next issue) take their place between
`order.ascending(queue.ready)` and the limits. Source: Ganeti JQScheduler.hs selectJobsToRun, jobEligible.
"""

from collections.abc import Iterator
from enum import Enum

from attrs import frozen

from jqsched.core import order
from jqsched.core.job import Dependency, Job, OnInterrupt, Outcome, Scheme, State, Wait, read_wait
from jqsched.core.queue import Queue, find, live, namesakes, rank_key


@frozen
class Limits:
    """How many jobs may run on how many cores, and how many may be permitted ahead of a free slot.

    `draining` starts nothing. `interruptions_max`: a job is held after so many interruptions.
    """

    max_running: int
    cores: int
    ahead: int = 0
    interruptions_max: int = 5
    draining: bool = False


class Verdict(Enum):
    """What is known of a dependency: met, can never be met, or still open."""

    SATISFIED = "satisfied"
    NEVER = "never"
    OPEN = "open"


def select(queue: Queue, limits: Limits) -> tuple[int, ...]:
    """Choose the jobs that get a permit now.

    Shape:    ids in the order in which they are to start; a subsequence of `queue.ready`, always a prefix of it.
    Units:    permits that have not started count like running jobs; `limits.ahead` jobs more are chosen than there
              are slots, but none that runs at most once, and nothing behind one that waits for slot or cores.
    Cost:     O(k log n) for k chosen, whatever the number of held, blocked or limited jobs.
    Source:   Ganeti JQScheduler.hs selectJobsToRun. Differs: dependents of manipulated jobs are not eligible.
    """
    if limits.draining:
        return ()
    slots = limits.max_running - queue.busy - len(queue.permits)
    cores = limits.cores - queue.cores_used - queue.cores_permitted
    ahead = limits.ahead + min(slots, 0)
    chosen: list[int] = []
    waiting = slots <= 0
    for _, id_ in order.ascending(queue.ready):
        spec = queue.enqueued[id_].spec
        waiting = waiting or slots <= 0 or spec.cores > cores
        if waiting:
            if ahead <= 0 or spec.on_interrupt is OnInterrupt.FAIL:
                break
            ahead -= 1
        chosen.append(id_)
        slots, cores = slots - 1, cores - spec.cores
    return tuple(chosen)


def overtaken(queue: Queue, limits: Limits) -> tuple[int, ...]:
    """The permitted jobs that must be recalled: all when draining, else those behind a ready job of higher rank.

    Source: design.md section 8 (law 4).
    """
    if limits.draining:
        return tuple(sorted(id_ for id_, permit in queue.permits.items() if not permit.recalled))
    best = order.first(queue.ready)
    worst = order.last(queue.permitted)
    if best is None or worst is None or worst < best:
        return ()
    behind = (id_ for key in order.ascending(queue.permitted) if best < key for id_ in key[1:])
    return tuple(id_ for id_ in behind if not queue.permits[id_].recalled)


def is_feasible(job: Job, limits: Limits) -> bool:
    """Whether the job could run here at all: on one node, with the cores that there are."""
    return job.spec.cores <= limits.cores and job.spec.nodes <= 1


def infeasible(queue: Queue, limits: Limits) -> list[int]:
    """The scheduled jobs that could never run with these limits, permitted and claimed ones too. O(n log n): only
    asked at start and when limits are lowered.
    """
    return [job.id for job in live(queue) if job.state is State.SCHED and not is_feasible(job, limits)]


# ---- dependencies -------------------------------------------------------------------------------------------------


def judge_outcome(scheme: Scheme, outcome: Outcome) -> Verdict:
    """What a finished antecedent means for a dependency on it. Source: RFC 26; Flux dependency-after.c."""
    met = {
        Scheme.AFTERANY: True,
        Scheme.AFTEROK: outcome.success,
        Scheme.AFTERNOTOK: not outcome.success,
        Scheme.AFTER: outcome.ran,
    }[scheme]
    return Verdict.SATISFIED if met else Verdict.NEVER


def judge_live(scheme: Scheme, antecedent: Job) -> Verdict:
    """What an unfinished antecedent means: only `after` can be met before the end."""
    return Verdict.SATISFIED if scheme is Scheme.AFTER and antecedent.started else Verdict.OPEN


def outcome_of(job: Job) -> Outcome:
    """What others remember of a job that has just finished."""
    return Outcome(job.id, job.spec.name, job.success, job.t_start_us > 0)


def singleton_waits(queue: Queue, name: str, id_: int) -> bool:
    """Whether a job of this name and a lower id is not finished yet. O(log n)."""
    eldest = order.first(namesakes(queue, name))
    return eldest is not None and eldest < (id_,)


def antecedents(queue: Queue, job: Job) -> Iterator[int]:
    """The ids of live jobs that this one waits for."""
    for wait in filter(None, map(read_wait, job.waits)):
        if wait.scheme is Scheme.SINGLETON:
            yield from (id_ for (id_,) in order.ascending(namesakes(queue, job.spec.name)) if id_ < job.id)
        elif wait.scheme is not Scheme.BEGIN_TIME and isinstance(wait.target, int):
            yield wait.target


def due(queue: Queue, now_us: int) -> list[int]:
    """The ids of the jobs whose begin time has come."""
    ready: list[int] = []
    for begin_us, id_ in order.ascending(queue.timers):
        if begin_us > now_us:
            break
        ready.append(id_)
    return ready


def next_timer_us(queue: Queue) -> int | None:
    """When the next begin time comes, None if no job waits for one."""
    earliest = order.first(queue.timers)
    return earliest[0] if earliest is not None else None


def lookups(queue: Queue, dependencies: Iterator[Dependency]) -> tuple[set[int], set[str]]:
    """The ids and names in dependencies of which the queue knows nothing, to be asked of the store."""
    ids: set[int] = set()
    names: set[str] = set()
    for dependency in dependencies:
        if dependency.scheme in (Scheme.BEGIN_TIME.value, Scheme.SINGLETON.value):
            continue
        if isinstance(dependency.value, int) and find(queue, dependency.value) is None:
            ids.add(dependency.value)
        elif isinstance(dependency.value, str) and namesakes(queue, dependency.value) is None:
            names.add(dependency.value)
    return ids, names


# ---- why not ------------------------------------------------------------------------------------------------------


def reasons(queue: Queue, job: Job, limits: Limits) -> list[str]:
    """Every reason why an enqueued job does not run now, in plain words; empty when it may start or has."""
    if job.state not in (State.DEPEND, State.PRIORITY, State.SCHED):
        return []
    why = [_open_wait(wait) for wait in job.waits]
    if job.urgency == 0:
        why.append("held (urgency 0)")
    elif job.pin == 0 or job.priority == 0:
        why.append("held (priority 0)")
    if job.id in queue.manipulated:
        why.append("being changed")
    if limits.draining:
        why.append("the queue is drained")
    if queue.busy >= limits.max_running:
        why.append(f"slots: {queue.busy} of {limits.max_running} taken")
    if queue.cores_used + job.spec.cores > limits.cores:
        why.append(f"cores: {job.spec.cores} wanted, {max(0, limits.cores - queue.cores_used)} of {limits.cores} free")
    if not why:
        key = rank_key(job)
        ahead = order.rank(queue.ready, key) + order.rank(queue.permitted, key)
        why += [f"{ahead} ahead of it"] if ahead else []
    return why


def _open_wait(description: str) -> str:
    wait: Wait | None = read_wait(description)
    if wait is not None and isinstance(wait.target, str):
        return f"dependency {description}: no job named {wait.target} was dropped yet"
    return f"dependency {description}"
