"""Policy: which jobs may start now, in what order, and what a dependency means.

Rule: questions about a queue, answered without changing it. `select` is the one place that chooses; everything that
explains or simulates asks the same functions. `candidates` and `select` use what the queue keeps; `eligible`,
`filter_jobs`, `limit_rates` and `admit` say the same of any jobs, from the jobs alone.
Source: Ganeti JQScheduler.hs selectJobsToRun, jobEligible.
"""

from collections.abc import Callable, Container, Iterable, Iterator
from enum import Enum
from heapq import merge
from itertools import islice

from attrs import evolve, frozen

from jqsched.core import admission as admissions
from jqsched.core import order
from jqsched.core.admission import Gate, GateKind, Gates, gates_of
from jqsched.core.filters import Rule
from jqsched.core.job import (
    ArrayId,
    Dependency,
    Job,
    OnInterrupt,
    Outcome,
    OwnName,
    Progress,
    Scheme,
    State,
    read_wait,
)
from jqsched.core.order import Key
from jqsched.core.queue import Queue, elements, find, gates_known, holds_slot, live, namesakes, progress_of

UUID_SHOWN = 8  # so much of a rule's uuid is shown, and is enough to name it


@frozen
class Backfill:
    """How jobs may start before one of higher rank (`core.backfill`).

    `depth`: at most so many jobs behind the reservation are looked at in a pass, 0 = all. `grace_us`: how long after
    its time limit a job may take to end.
    """

    depth: int = 1000
    grace_us: int = 0


@frozen
class Limits:
    """How many jobs may run on how many cores, and how many may be permitted ahead of a free slot.

    `draining` starts nothing. `interruptions_max`: a job is held after so many interruptions. `plugged`: plugins have a
    say, so a decision takes a job no further than to the next point where one is asked (`core.plugin_stages`).
    `backfill` None: no job starts before one of higher rank that waits for a slot or cores.
    """

    max_running: int
    cores: int
    ahead: int = 0
    interruptions_max: int = 5
    draining: bool = False
    plugged: bool = False
    backfill: Backfill | None = None


class Verdict(Enum):
    """What is known of a dependency: met, can never be met, or still open."""

    SATISFIED = "satisfied"
    NEVER = "never"
    OPEN = "open"


def select(queue: Queue, limits: Limits) -> tuple[int, ...]:
    """Choose the jobs that get a permit now.

    Shape:    ids in the order in which they are to start; always a prefix of `candidates`.
    Units:    permits that have not started count like running jobs; `limits.ahead` jobs more are chosen than there
              are slots, but none that has gates or runs at most once, and nothing behind one that waits for slot or
              cores.
    Cost:     O(k log n) for k chosen, whatever the number of held, blocked, paused or limited jobs.
    Source:   Ganeti JQScheduler.hs selectJobsToRun. Differs: dependents of manipulated jobs are not eligible; rules and
              rate limits at once.
    """
    if limits.draining:
        return ()
    slots = limits.max_running - queue.busy - len(queue.permits)
    cores = limits.cores - queue.cores_used - queue.cores_permitted
    ahead = limits.ahead + min(slots, 0)
    chosen: list[int] = []
    waiting = False
    for id_ in candidates(queue):
        spec = queue.enqueued[id_].spec
        waiting = waiting or slots <= 0 or spec.cores > cores
        if waiting:
            if ahead <= 0 or spec.on_interrupt is OnInterrupt.FAIL or gates_known(queue, id_):
                break
            ahead -= 1
        chosen.append(id_)
        slots, cores = slots - 1, cores - spec.cores
    return tuple(chosen)


def candidates(queue: Queue, passed_over: Container[int] = ()) -> Iterator[int]:
    """The ids of the jobs that lack nothing but a slot and cores, in order: each if all before it start.

    Shape:    a job that is in `passed_over` when the next is asked for does not start: it takes no place at its gates.
    Cost:     O(log n) for each that is asked for.
    """
    keys = order.ascending(queue.ready)
    if queue.admission.openings is not None:
        keys = merge(keys, admissions.passing(queue.admission, passed_over))
    for key in keys:
        yield key[-1]


def first_candidate(queue: Queue) -> Key | None:
    """The key of the first of `candidates`, None if there is none. O(log n)."""
    firsts = (order.first(queue.ready), admissions.first_passing(queue.admission))
    return min(filter(None, firsts), default=None)


def overtaken(queue: Queue, limits: Limits) -> tuple[int, ...]:
    """The permitted jobs that must be recalled: all when draining, else those behind a candidate of higher rank, but
    for those that were let past just this one (`core.backfill`).
    """
    if limits.draining:
        return tuple(sorted(id_ for id_, permit in queue.permits.items() if not permit.recalled))
    best = first_candidate(queue)
    worst = order.last(queue.permitted)
    if best is None or worst is None or worst < best:
        return ()
    behind = (id_ for key in order.ascending(queue.permitted) if best < key for id_ in key[1:])
    return tuple(id_ for id_ in behind if not (permit := queue.permits[id_]).recalled and permit.passed != best[-1])


def no_longer_admitted(queue: Queue) -> tuple[int, ...]:
    """The permitted jobs that other rules do not let through any more: to be recalled when rules have changed."""
    return tuple(
        id_
        for _, id_ in order.ascending(queue.permitted)
        if not queue.permits[id_].recalled and admissions.over_limit(queue.admission, gates_known(queue, id_))
    )


# ---- the same, from the jobs alone --------------------------------------------------------------------------------


def eligible(queue: Queue, job: Job) -> bool:
    """Whether an enqueued job could start but for rules, rate limits, slots and cores: it waits for nothing, and is
    not held. Source: Ganeti JQScheduler.hs jobEligible.
    """
    return job.id in queue.enqueued and job.state is State.SCHED and job.priority > 0


def filter_jobs(queue: Queue, jobs: Iterable[Job]) -> list[Job]:
    """Those of the jobs, in their order, that the rules let through, each counted against the limit of its rule or
    array.

    Cost: O(running + jobs), times rules.  Source: Ganeti Filtering.hs jobFiltering.
    """
    return _let_through(queue, jobs, lambda gate: gate.kind is not GateKind.BUCKET)


def limit_rates(queue: Queue, jobs: Iterable[Job]) -> list[Job]:
    """Those of the jobs, in their order, for which each of their buckets has a slot, which they then take.

    Cost: O(running + jobs).  Source: Ganeti ReasonRateLimiting.hs reasonRateLimit.
    """
    return _let_through(queue, jobs, lambda gate: gate.kind is GateKind.BUCKET)


def admit(queue: Queue, jobs: Iterable[Job]) -> list[Job]:
    """Those of the jobs, in their order, that rules and rate limits let through together."""
    return _let_through(queue, jobs, lambda _: True)


def _let_through(queue: Queue, jobs: Iterable[Job], concerns: Callable[[Gate], bool]) -> list[Job]:
    def gates(job: Job) -> list[Gate]:
        return [gate for gate in gates_of(queue.rules, job) if concerns(gate)]

    through: dict[Gate, int] = {}

    def enter(job: Job) -> None:
        for gate in gates(job):
            through[gate] = through.get(gate, 0) + 1

    for job in live(queue):
        if is_admitted(queue, job):
            enter(job)
    passed: list[Job] = []
    for job in jobs:
        if all(through.get(gate, 0) < gate.limit for gate in gates(job)):
            enter(job)
            passed.append(job)
    return passed


def may_start(queue: Queue, id_: int) -> bool:
    """Whether a job that has not started has a permit, or had one when it was claimed: it may start at any moment."""
    claim = queue.manipulated.get(id_)
    return id_ in queue.permits or (claim is not None and claim.permitted)


def is_admitted(queue: Queue, job: Job) -> bool:
    """Whether a live job takes a place in each of its gates: it runs, or may start at any moment, or did when it was
    claimed.
    """
    claim = queue.manipulated.get(job.id)
    return claim.admitted if claim is not None else job.id in queue.permits or holds_slot(job)


# ---- rules --------------------------------------------------------------------------------------------------------


def rule_of(queue: Queue, gate: Gate) -> Rule | None:
    """The rule that a gate was made by, None if it is a bucket or of an array."""
    if gate.kind in (GateKind.BUCKET, GateKind.ARRAY):
        return None
    return next((rule for rule in queue.rules if rule.uuid == gate.key), None)


def rejecting(queue: Queue, gates: Gates) -> Rule | None:
    """The REJECT rule among these gates, None if there is none."""
    return next((rule_of(queue, gate) for gate in gates if gate.kind is GateKind.REJECT), None)


def rule_name(rule: Rule) -> str:
    """How a rule is called where its effect is told: the beginning of its uuid, and its note."""
    return f"rule {rule.uuid[:UUID_SHOWN]}" + (f" ({rule.note})" if rule.note else "")


def rejected(queue: Queue) -> list[int]:
    """The ids of the jobs that have not started and to which a REJECT rule applies. O(jobs with gates): only asked when
    rules have changed.
    """
    ids = [id_ for id_, gates in queue.admission.gates.items() if rejecting(queue, gates) is not None]
    jobs = [job for id_ in sorted(ids) if (job := find(queue, id_)) is not None]
    return [job.id for job in jobs if job.state < State.RUN]


# ---- what could never run -----------------------------------------------------------------------------------------


def is_feasible(job: Job, limits: Limits) -> bool:
    """Whether the job could run here at all: on one node, with the cores that there are."""
    return job.spec.cores <= limits.cores and job.spec.nodes <= 1


def infeasible(queue: Queue, limits: Limits) -> list[int]:
    """The scheduled jobs that could never run with these limits, permitted and claimed ones too, and those of arrays of
    which too many have failed. O(n log n): only asked at start and when limits are lowered.
    """
    return [
        job.id
        for job in live(queue)
        if job.state is State.SCHED and (not is_feasible(job, limits) or _is_spent(queue, job))
    ]


def _is_spent(queue: Queue, job: Job) -> bool:
    """Whether so many elements of a job's array have failed that it is not to start."""
    progress = queue.arrays.get(job.spec.element.array.id) if job.spec.element is not None else None
    return progress is not None and progress.is_spent


# ---- dependencies -------------------------------------------------------------------------------------------------


def judge_outcome(scheme: Scheme, outcome: Outcome) -> Verdict:
    """What a finished antecedent means for a dependency on it. Source: RFC 26; Flux dependency-after.c."""
    met = {
        Scheme.AFTERANY: True,
        Scheme.AFTEROK: outcome.success,
        Scheme.AFTERNOTOK: outcome.entered_run and not outcome.success,
        Scheme.AFTEREXCEPT: outcome.is_fatal,
        Scheme.AFTER: outcome.ran,
        Scheme.AFTERSTART: outcome.ran,
    }[scheme]
    return Verdict.SATISFIED if met else Verdict.NEVER


def judge_array(scheme: Scheme, progress: Progress) -> Verdict:
    """What the elements of an array that are over mean for a dependency on the array.

    Shape:    `afterok` can never be met once an element has ended otherwise than well; whatever else waits for an end
              waits for the end of all. What waits for a start is met by the first one (`is_array_started`).
    Source:   Slurm's sbatch(1), --dependency on a job array.
    """
    if scheme is Scheme.AFTEROK and progress.spoiled:
        return Verdict.NEVER
    if is_met_by_start(scheme) and progress.ran:
        return Verdict.SATISFIED
    if not progress.is_over:
        return Verdict.OPEN
    met = {
        Scheme.AFTERANY: True,
        Scheme.AFTEROK: True,
        Scheme.AFTERNOTOK: progress.failed_running,
        Scheme.AFTEREXCEPT: progress.is_fatal,
    }.get(scheme, False)
    return Verdict.SATISFIED if met else Verdict.NEVER


def judge_live_array(scheme: Scheme, queue: Queue, progress: Progress) -> Verdict:
    """What an array that is not over means for a dependency on it. O(elements) for what waits for a start."""
    if is_met_by_start(scheme) and any(job.started for job in elements(queue, progress.array)):
        return Verdict.SATISFIED
    return judge_array(scheme, progress)


def why_array_not(scheme: Scheme) -> str:
    """Say how an array stands that can never meet a dependency on it."""
    return {
        Scheme.AFTEROK: "has an element that failed or was canceled",
        Scheme.AFTERNOTOK: "has no element that failed",
        Scheme.AFTEREXCEPT: "has no element that an exception ended",
    }.get(scheme, "has no element that started")


def why_not(scheme: Scheme, outcome: Outcome) -> str:
    """Say how a finished antecedent ended that can never meet a dependency on it."""
    if is_met_by_start(scheme) and not outcome.ran:
        return "ended without having started"
    if scheme is Scheme.AFTERNOTOK and not outcome.success:
        return "ended before it ran"
    if scheme is Scheme.AFTEREXCEPT:
        return "ended without an exception"
    return "ended well" if outcome.success else "failed or was canceled"


def judge_live(scheme: Scheme, antecedent: Job) -> Verdict:
    """What an unfinished antecedent means: only `after` and `afterstart` can be met before the end."""
    return Verdict.SATISFIED if is_met_by_start(scheme) and antecedent.started else Verdict.OPEN


def is_met_by_start(scheme: Scheme) -> bool:
    """Whether the start of the antecedent is all that is waited for."""
    return scheme in (Scheme.AFTER, Scheme.AFTERSTART)


def outcome_of(job: Job) -> Outcome:
    """What others remember of a job that has just finished."""
    return Outcome(
        job.id,
        job.spec.name,
        job.userid,
        job.success,
        ran=job.t_start_us > 0,
        entered_run=job.t_run_us > 0,
        is_fatal=job.fatal,
        element=job.spec.element,
    )


def known_outcomes(finished: Iterable[Job]) -> dict[int | OwnName, Outcome]:
    """What others remember of jobs that are over, by id and by name the newest; each first element of an array, and the
    newest job of a name, with what is known of its whole array.
    """
    jobs = sorted(finished, key=lambda job: job.id)
    members: dict[int, list[Job]] = {}
    for job in jobs:
        if job.spec.element is not None:
            members.setdefault(job.spec.element.array.id, []).append(job)
    known: dict[int | OwnName, Outcome] = {}
    for job in jobs:
        outcome = outcome_of(job)
        if (element := job.spec.element) is not None:
            whole = progress_of(element.array, members[element.array.id])
            known[job.own_name] = evolve(outcome, whole=whole)
            known[job.id] = known[job.own_name] if job.id == element.array.id else outcome
        else:
            known[job.id] = known[job.own_name] = outcome
    return known


def singleton_waits(queue: Queue, name: OwnName, id_: int) -> bool:
    """Whether a job of this name and user and a lower id is not finished yet. O(log n)."""
    eldest = order.first(namesakes(queue, name))
    return eldest is not None and eldest < (id_,)


def antecedents(queue: Queue, job: Job) -> Iterator[int]:
    """The ids of live jobs that this one waits for; of an array the first that is not over."""
    for wait in filter(None, map(read_wait, job.waits)):
        if wait.scheme is Scheme.SINGLETON:
            yield from (id_ for (id_,) in order.ascending(namesakes(queue, job.own_name)) if id_ < job.id)
        elif isinstance(wait.target, ArrayId):
            progress = queue.arrays.get(wait.target.id)
            if progress is not None:
                yield from (element.id for element in islice(elements(queue, progress.array), 1))
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


def is_live(queue: Queue, id_: int) -> bool:
    """Whether an id in a dependency is that of a live job, or of an array that is not over."""
    return id_ in queue.arrays or find(queue, id_) is not None


def lookups(queue: Queue, dependencies: Iterator[tuple[int, Dependency]]) -> tuple[set[int], set[OwnName]]:
    """The ids and names to be asked of the store, as the queue does not know them; each dependency with its user."""
    ids: set[int] = set()
    names: set[OwnName] = set()
    for userid, dependency in dependencies:
        if dependency.scheme in (Scheme.BEGIN_TIME.value, Scheme.SINGLETON.value):
            continue
        if isinstance(dependency.value, int) and not is_live(queue, dependency.value):
            ids.add(dependency.value)
        elif isinstance(dependency.value, str) and namesakes(queue, (userid, dependency.value)) is None:
            names.add((userid, dependency.value))
    return ids, names
