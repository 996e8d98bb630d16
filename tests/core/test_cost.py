"""Law 9, without a clock: what a change or a pass costs, counted in calls, hardly grows with the number of queued jobs.

A hundred times the jobs may cost 2.5 times the calls: the logarithm grows by less than that.
"""

import gc
import sys
from collections.abc import Callable
from functools import lru_cache

import pytest
from attrs import evolve

from jqsched.core import accept, binding, decide, explain, policy
from jqsched.core import queue as queues
from jqsched.core.job import Dependency, Draft, Job, OnInterrupt, Spec, State
from jqsched.core.policy import Limits
from jqsched.core.queue import Queue
from jqsched.testing.scenario import START_US

AGAIN, ONCE = OnInterrupt
FEW, MANY = 1_000, 100_000
GROWTH_MAX = 2.5
LIMITS = Limits(max_running=4, cores=4)
SPEC = Spec(command=("true",), name="a", cwd="/")
NINE_IN_TEN = ("ready", "held", "dependent", "timed", "singleton", "same-name", "at-most-once")


def calls(work: Callable[[], object]) -> int:
    """How many functions, of Python and of C, are called while this is done."""
    count = 0

    def note(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    gc.disable()  # Hypothesis has a callback in it, whose calls are not the work's
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
        gc.enable()
    return count


def a_job(id_: int, kind: str) -> Job:
    plain = kind == "ready" or id_ % 10 == 0
    shares_name = kind in ("singleton", "same-name") and not plain
    spec = Spec(
        ("true",), "a" if shares_name else f"n{id_}", "/", on_interrupt=ONCE if kind == "at-most-once" else AGAIN
    )
    waits = {
        "dependent": ("after-success=nobody",),
        "timed": (f"begin-time={START_US // 10**6 + 1000 + id_}",),
        "singleton": ("singleton",) if id_ > 1 else (),
    }.get("" if plain else kind, ())
    state = State.DEPEND if waits else State.SCHED
    return Job(id_, spec, 0, state, priority=0 if kind == "held" and not plain else 1 + id_ % 31, waits=waits)


@lru_cache(maxsize=2)  # more would only make the garbage collector slow
def a_queue(size: int, kind: str) -> Queue:
    """So many queued jobs, of which nine in ten are of this kind and the tenth could start."""
    gc.disable()  # it would look at all jobs again and again, in vain
    try:
        jobs = [a_job(id_, kind) for id_ in range(1, size + 1)]
        return queues.load(jobs, seq=5 * size, last_us=START_US, last_id=size)
    finally:
        gc.enable()


def middle(queue: Queue) -> int:
    return queue.last_id // 2 // 10 * 10 + 3


def drop(queue: Queue, *dependencies: Dependency) -> object:
    draft = Draft(evolve(SPEC, dependencies=dependencies))
    return accept.accept(queue, [binding.Arrival(queue.last_id + 1, draft, 0)], {}, LIMITS, START_US + 1)


def schedule_and_run(queue: Queue) -> None:
    """A pass, the start and the end of the first that it chose."""
    decided = decide.schedule(queue, LIMITS, START_US)
    id_ = decided.permits[0]
    step = decide.started(decided.queue, id_, 1, LIMITS, START_US)
    decide.finished(step.queue, id_, 1, 0, LIMITS, START_US)


def overtake(queue: Queue) -> None:
    permitted = decide.schedule(queue, LIMITS, START_US).queue
    urgent = decide.set_urgency(permitted, middle(queue), 31, LIMITS, START_US, userid=0)
    decide.schedule(urgent.queue, LIMITS, START_US)


def claim_and_release(queue: Queue) -> None:
    claimed, _ = queues.claim(queue, middle(queue))
    queues.release(claimed, middle(queue))


WORK: dict[str, Callable[[Queue], object]] = {
    "enqueue": drop,
    "enqueue after an id": lambda queue: drop(queue, Dependency("afterok", middle(queue))),
    "enqueue after a name": lambda queue: drop(queue, Dependency("afterok", f"n{queue.last_id // 20 * 10}")),
    "enqueue a singleton": lambda queue: drop(queue, Dependency("singleton")),
    "dequeue": lambda queue: decide.dequeue(queue, middle(queue), LIMITS, START_US, userid=0),
    "dequeue the first": lambda queue: decide.dequeue(queue, 1, LIMITS, START_US, userid=0),
    "set_priority": lambda queue: decide.set_priority(queue, middle(queue), 7, LIMITS, START_US),
    "set_urgency": lambda queue: decide.set_urgency(queue, middle(queue), 7, LIMITS, START_US, userid=0),
    "select": lambda queue: policy.select(queue, LIMITS),
    "a pass, a start, an end": schedule_and_run,
    "overtake": overtake,
    "tick": lambda queue: decide.release_due_jobs(queue, LIMITS, START_US + 1),
    "claim and release": claim_and_release,
    "reasons": lambda queue: explain.reasons(explain.take_snapshot(queue, LIMITS), queues.find(queue, middle(queue))),
}


@pytest.mark.parametrize("kind", NINE_IN_TEN)
def test_cost_hardly_grows_with_the_queue(kind: str):
    """Whatever nine in ten of the jobs are: each piece of work costs at most 2.5 times as many calls."""
    few, many = a_queue(FEW, kind), a_queue(MANY, kind)
    for do in WORK.values():
        do(few)  # what is only done the first time is no cost of the queue
    growth = {what: calls(lambda do=do: do(many)) / calls(lambda do=do: do(few)) for what, do in WORK.items()}
    assert {what: factor for what, factor in growth.items() if factor > GROWTH_MAX} == {}


def test_sorting_all_jobs_in_a_pass_would_be_seen(monkeypatch):
    """Ganeti's way, planted: each pass looks at each job, and the count tells by far."""

    def select(queue: Queue, limits: Limits) -> tuple[int, ...]:
        ready = [job for job in queues.live(queue) if job.state is State.SCHED and job.priority > 0]
        return tuple(job.id for job in sorted(ready, key=queues.rank_key)[: limits.max_running])

    monkeypatch.setattr(policy, "select", select)
    few, many = a_queue(FEW, "held"), a_queue(MANY, "held")
    assert calls(lambda: decide.schedule(many, LIMITS, 0)) > 20 * calls(lambda: decide.schedule(few, LIMITS, 0))


def test_a_pass_that_starts_two_costs_what_two_cost():
    """And one that starts forty not more than twenty times that."""
    queue = a_queue(MANY, "held")

    def cost(slots: int) -> int:
        return calls(lambda: decide.schedule(queue, Limits(slots, slots), START_US))

    assert cost(40) < 25 * cost(2)
