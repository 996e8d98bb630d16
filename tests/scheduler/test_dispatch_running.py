"""Dispatch: jobs that are allocated or run are stopped, requeued and timed out when that is durable."""

from attrs import evolve

from jqsched.core.job import State
from tests.scheduler.conftest import LIMITS, World
from tests.scheduler.dispatched import given

# ---- jobs that are allocated but not started ----------------------------------------------------------------------


def allocated(world: World) -> None:
    """Job 1 takes the slot; 2, at most once, is allocated, and waits at the executor for its cores."""
    world.limits = evolve(LIMITS, max_running=2, cores=4)
    world.scheduler.set_limits(world.limits, 0)
    world.add("a", cores=2)
    world.executor.limit(1, 4, 0)  # the executor knows that something else is in the way
    world.add("once", on_interrupt="fail")
    assert world.job(2).state is State.RUN
    assert not world.job(2).started
    assert world.executor.waiting() == [(2, 1)]


def test_cancel_of_an_allocated_job_that_has_not_started(world: World) -> None:
    """Asked back, and ended without a start."""
    allocated(world)
    answers = world.ask("cancel", id=2)
    world.settle()
    assert given(answers) == {"outcome": "stopping"}
    assert world.events(2)[4:] == ["alloc", "exception", "release", "free", "clean"]
    assert world.executor.waiting() == []
    world.check()


def test_requeue_of_an_allocated_job_that_has_not_started(world: World) -> None:
    """Asked back, and queued again as the next attempt; that is no interruption."""
    allocated(world)
    world.ask("requeue", id=2)
    world.settle()
    assert world.job(2).attempt == 2
    assert world.job(2).interruptions == 0
    assert world.executor.orders[-1] == (2, 2)
    world.check()


def test_cancel_of_an_allocated_job_that_starts_all_the_same(world: World) -> None:
    """The executor was faster: it is stopped, and its end is logged."""
    allocated(world)
    world.executor.holding = True
    world.executor.limit(2, 4, 0)  # it starts
    world.ask("cancel", id=2)
    world.settle()
    world.executor.let_go()
    world.settle()
    assert world.executor.stopped == [(2, 1)]
    assert world.events(2)[4:] == ["alloc", "exception", "start", "finish", "release", "free", "clean"]
    world.check()


def test_cancel_of_an_allocated_job_whose_order_has_not_left(world: World) -> None:
    """Ended when the allocation is durable; no order leaves."""
    world.drop("once", on_interrupt="fail")
    world.turn()
    assert world.job(1).state is State.RUN
    answers = world.ask("cancel", id=1)
    world.settle()
    assert given(answers) == {"outcome": "stopping"}
    assert world.executor.orders == []
    assert world.events(1)[4:] == ["alloc", "exception", "release", "free", "clean"]
    world.check()


def test_an_allocated_job_that_the_executor_gave_up_is_ordered_again(world: World) -> None:
    """No user asked for its end: at most once is not never."""
    allocated(world)
    world.executor.withdraw([(2, 1)])
    world.settle()
    assert world.executor.orders == [(1, 1), (2, 1), (2, 1)]
    assert world.executor.waiting() == [(2, 1)]


# ---- running jobs -------------------------------------------------------------------------------------------------


def test_cancel_of_a_running_job_stops_it_when_that_is_durable(world: World) -> None:
    """First the exception, then TERM, then the end."""
    world.add("a")
    answers = world.ask("cancel", id=1, note="enough")
    world.turn()
    assert (answers, world.executor.stopped) == ([], [])
    world.commit()
    assert (given(answers), world.executor.stopped) == ({"outcome": "stopping"}, [(1, 1)])
    world.settle()
    assert world.events(1)[5:] == ["start", "exception", "finish", "release", "free", "clean"]


def test_requeue_of_a_running_job_runs_it_again_after_its_end(world: World) -> None:
    """The second attempt is ordered when the first is over."""
    world.add("a")
    world.ask("requeue", id=1)
    world.settle()
    assert world.executor.orders == [(1, 1), (1, 2)]
    assert world.executor.running() == [(1, 2)]
    assert world.job(1).interruptions == 0
    world.check()


def test_a_time_limit_ends_a_job(world: World) -> None:
    """The executor stops it by itself, for the scheduler may be frozen; the exception comes before the end."""
    world.add("a", time_limit=1)
    world.advance(1_000_000)
    assert world.executor.running() == []
    world.settle()
    assert world.events(1)[-5:] == ["exception", "finish", "release", "free", "clean"]
    assert world.store.disk.jobs[1].exception is not None
    assert world.store.disk.jobs[1].exception.type == "timeout"


def test_an_adopted_job_keeps_its_time_limit(world: World) -> None:
    """The next executor did not start it, and is told."""
    world.add("a", time_limit=2)
    world.executor.kill()
    world.advance(1_000_000)
    world.settle()
    assert world.executor.running() == [(1, 1)]
    world.advance(1_000_000)
    world.settle()
    assert world.executor.running() == []
    assert world.store.disk.jobs[1].exception is not None
    assert world.store.disk.jobs[1].exception.type == "timeout"


def test_a_new_time_limit_reaches_the_running_job(world: World) -> None:
    """By an edit of its file, which may change nothing else."""
    world.add("a", time_limit=100)
    world.edit(1, time_limit=1)
    world.settle()
    world.advance(1_000_000)
    world.settle()
    assert world.executor.running() == []


def test_what_cannot_be_started_fails(world: World) -> None:
    """With the text of the executor, at once, and the next one runs."""
    world.executor.fail(1, "no such file")
    world.add("a", "b")
    assert world.store.disk.jobs[1].status == 127 << 8
    assert "exception" in world.events(1)
    assert world.executor.running() == [(2, 1)]
