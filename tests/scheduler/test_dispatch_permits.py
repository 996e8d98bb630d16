"""Dispatch: no order leaves before its permit is durable, and permits keep to ranks, drain and limits."""

from attrs import evolve

from jqsched.core.job import State
from jqsched.core.policy import Limits
from tests.scheduler.conftest import LIMITS, World
from tests.scheduler.dispatched import given

# ---- permits and orders -------------------------------------------------------------------------------------------


def test_no_order_leaves_before_its_permit_is_durable(world: World) -> None:
    """Handed over is not durable; then it leaves with the commit."""
    world.drop("a")
    world.turn()
    world.turn()
    assert world.head.permits
    assert world.store.pending == 1
    assert world.executor.orders == []
    world.commit()
    assert world.executor.orders == [(1, 1)]


def test_a_job_that_is_permitted_again_waits_for_its_own_permit(world: World) -> None:
    """Edited while its first permit was being written: the order leaves with the commit that holds the edit.

    Seen to fail: the first permit's commit sent the order for what was edited meanwhile, before that was durable.
    """
    world.scheduler.set_drained(True)
    world.add("a")
    world.scheduler.set_drained(False)
    world.turn()
    assert world.store.pending == 1
    world.edit(1, command=["false"])
    world.turn()
    assert 1 in world.head.permits
    world.commit()
    assert world.executor.orders == []
    world.commit()
    assert world.executor.orders == [(1, 1)]


def test_permits_run_ahead_of_the_slots(world: World) -> None:
    """One runs, three wait at the executor, the fifth waits here; in the order of ids."""
    world.add("a", "b", "c", "d", "e")
    assert world.executor.running() == [(1, 1)]
    assert world.executor.waiting() == [(2, 1), (3, 1), (4, 1)]
    world.end(1)
    assert world.executor.running() == [(2, 1)]
    assert world.executor.waiting() == [(3, 1), (4, 1), (5, 1)]
    world.check()


def test_an_overtaking_job_recalls_what_it_overtakes(world: World) -> None:
    """Those of higher rank stay, and the recalled come behind it again (law 4)."""
    world.add("a")
    world.add("first", urgency=20)
    world.add("last")
    assert world.executor.waiting() == [(2, 1), (3, 1)]
    world.add("between", urgency=18)
    assert world.executor.asked_back == [(3, 1)]
    assert world.executor.waiting() == [(2, 1), (4, 1), (3, 1)]


def test_what_is_overtaken_before_its_order_left_is_just_dropped(world: World) -> None:
    """The executor never hears of it."""
    world.add("a")
    world.drop("late")
    world.turn()
    assert 2 in world.head.permits
    world.commit()  # accepted, permitted, and not ordered yet
    world.drop("first", urgency=30)
    world.settle()
    assert world.executor.waiting() == [(3, 1), (2, 1)]


def test_a_recalled_job_that_starts_all_the_same_runs(world: World) -> None:
    """The executor was faster: it is started, and the overtaking one comes next."""
    world.add("a", "b")
    world.executor.holding = True
    world.executor.end(1)
    world.advance()  # 2 starts; no news yet
    world.drop("first", urgency=30)
    world.settle()
    world.executor.let_go()
    world.settle()
    assert world.executor.running() == [(2, 1)]
    assert world.job(2).started
    assert world.executor.waiting() == [(3, 1)]
    world.check()


def test_an_at_most_once_job_is_allocated_and_never_ahead(world: World) -> None:
    """Its `alloc` is durable before its order leaves, and it gets none while no slot is free."""
    world.add("a")
    world.add("once", on_interrupt="fail")
    assert world.executor.waiting() == []
    assert world.job(2).state is State.SCHED
    world.executor.holding = True
    world.executor.end(1)
    world.advance()
    world.executor.let_go()
    world.turn()
    assert world.job(2).state is State.RUN
    assert (2, 1) not in world.executor.orders
    world.settle()
    assert world.executor.running() == [(2, 1)]


def test_an_end_is_acknowledged_when_it_is_durable(world: World) -> None:
    """Not before: after a crash the next scheduler must still hear of it."""
    world.add("a")
    world.executor.end(1)
    world.advance()
    world.turn()
    assert world.store.pending == 1
    assert world.executor._finished
    world.commit()
    assert not world.executor._finished


# ---- drain and limits ---------------------------------------------------------------------------------------------


def test_drain_recalls_and_starts_nothing(world: World) -> None:
    """What runs runs on; a free slot stays free; resume starts what was recalled, in order."""
    world.add("a", "b", "c")
    answers = world.ask("stop-starts")
    world.settle()
    assert given(answers) == {}
    assert world.executor.running() == [(1, 1)]
    assert world.executor.waiting() == []
    world.add("d")
    world.end(1)
    assert world.executor.running() == []
    world.ask("resume")
    world.settle()
    assert world.executor.running() == [(2, 1)]
    assert world.executor.waiting() == [(3, 1), (4, 1)]
    world.check()


def test_drained_is_durable(world: World) -> None:
    """A restart starts nothing either."""
    world.ask("stop-starts")
    world.settle()
    world.restart()
    world.add("a")
    assert world.scheduler.drained
    assert world.executor.orders == []


def test_lower_limits_stop_nobody(world: World) -> None:
    """Three run on; the next starts when there is room under the new limit."""
    world.limits = Limits(3, 4)
    world.scheduler.set_limits(world.limits, 0)
    world.add("a", "b", "c", "d")
    assert len(world.executor.running()) == 3
    world.scheduler.set_limits(Limits(1, 4), 0)
    world.settle()
    assert world.executor.limits == (1, 4, 0)
    assert len(world.executor.running()) == 3
    world.end(1)
    world.end(2)
    assert world.executor.running() == [(3, 1)]
    world.end(3)
    assert world.executor.running() == [(4, 1)]


def test_queued_jobs_that_could_never_run_any_more_end(world: World) -> None:
    """Fewer cores: permitted or not, the large ones end with an `alloc` exception, the running one does not."""
    world.add("running", cores=4)
    world.add("permitted", cores=3)
    world.add("held", cores=3, urgency=0)
    world.add("small")
    world.scheduler.set_limits(evolve(LIMITS, cores=2), 0)
    world.settle()
    assert world.events(2)[-2:] == ["exception", "clean"]
    assert world.events(3)[-2:] == ["exception", "clean"]
    assert world.executor.running() == [(1, 1)]
    assert world.job(4).state is State.SCHED
    world.check()
