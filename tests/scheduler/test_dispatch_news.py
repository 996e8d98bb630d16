"""Dispatch: news that come twice or late end no other attempt; a lost executor is replaced, its jobs are settled."""

import pytest
from attrs import evolve

from jqsched.core.job import State
from jqsched.ports import Attempt, Finished, News, PortError, Started, Starting, Withdrawn
from tests.scheduler.conftest import LIMITS, World
from tests.scheduler.dispatched import given, lose_executor

# ---- repeated and late news ---------------------------------------------------------------------------------------


def second_attempt(world: World, *, sent: bool) -> None:
    """Job 1 was requeued, and is queued for its second attempt."""
    world.limits = evolve(LIMITS, max_running=2)
    world.scheduler.set_limits(world.limits, 0)
    world.add("a")
    world.ask("requeue", id=1)
    world.turn()
    world.commit()
    world.executor.limit(0, 0, 0)
    world.drop("other", urgency=0)
    world.turn()
    world.advance()  # Finished(1, 1), with a commit under way
    world.turn()
    assert world.job(1).attempt == 2
    assert 1 in world.head.permits
    assert world.store.pending == 1
    if sent:
        world.settle()
        assert world.executor.orders == [(1, 1), (1, 2)]


def test_an_end_told_twice_leaves_the_next_attempt_alone(world: World) -> None:
    """Its record stays: without it a restart would not know of the process, and run the job a third time.

    Seen to fail: the record of whatever attempt was noted last was forgotten.
    """
    second_attempt(world, sent=False)
    world.scheduler.deliver_news([Finished(1, 1, 15 << 8)])
    assert world.scheduler.dispatch._attempts[1].attempt == 2
    world.settle()
    assert world.executor.orders == [(1, 1), (1, 2)]
    assert world.store.disk.attempts == {1: Attempt(1, 2, boot_id="boot")}
    world.check()


def test_an_end_that_is_not_durable_is_known_to_the_next_executor(world: World) -> None:
    """The end is told, the executor dies, another one is had; then the scheduler dies before the end is durable.

    Seen to fail (found by a seeded story): the new executor had never heard of the attempt, so it said that it never
    started, and it was started again.
    """
    world.drop("a")
    world.turn()
    world.turn()
    world.commit()
    assert world.executor.orders == [(1, 1)]
    world.executor.end(1)
    world.advance()  # Started and Finished: decided, not durable
    world.executor.kill()
    world.advance()
    world.turn()  # has another executor
    world.restart()
    assert world.executor.orders == [(1, 1), (1, 2)]
    assert "exception" in world.events(1)
    world.check()


@pytest.mark.parametrize("late", [Finished(1, 1, 15 << 8), Started(1, 1, 1001, 0), Withdrawn(1, 1)])
def test_late_news_answer_no_question_about_the_next_attempt(world: World, late: News) -> None:
    """A cancel waits for the second attempt's permit; a repeated word about the first says nothing of that.

    Seen to fail: "dequeued" was answered while the executor could still start the job.
    """
    second_attempt(world, sent=True)
    answers = world.ask("cancel", id=1)
    world.scheduler.deliver_news([late])
    world.turn()
    world.commit()
    assert answers == []
    assert 1 in world.head.manipulated
    assert world.scheduler.dispatch._attempts[1].attempt == 2
    world.settle()
    assert given(answers) == {"outcome": "dequeued"}


def test_a_late_withdrawal_does_not_end_what_runs(world: World) -> None:
    """The job runs, and is being ended: it is over when its process is."""
    world.executor.run_for(1, None, stubborn=True)
    world.add("a")
    world.ask("cancel", id=1)
    world.settle()
    world.scheduler.deliver_news([Withdrawn(1, 1)])
    world.settle()
    assert world.job(1).state is State.CLEANUP
    assert set(world.store.disk.attempts) == {1}


def test_an_end_told_twice_is_one_end(world: World) -> None:
    """Repeatable: no event more, and acknowledged again."""
    world.add("a")
    world.end(1)
    before = world.events(1)
    world.scheduler.deliver_news([Started(1, 1, 1001, 0), Finished(1, 1, 0)])
    world.settle()
    assert world.events(1) == before
    assert world.store.disk.attempts == {}


# ---- the executor is lost -----------------------------------------------------------------------------------------


def test_a_lost_executor_is_replaced(world: World) -> None:
    """It has the limits, and permits that it never got are given anew."""
    world.add("a", "b")
    world.executor.limits = (0, 0, 0)
    lose_executor(world)
    world.settle()
    assert any("starting another" in line for line in world.log)
    assert world.executor.limits[:2] == (1, 4)
    assert world.executor.running() == [(1, 1)]
    world.check()


def test_attempts_that_are_gone_without_a_trace_are_interrupted(world: World) -> None:
    """By `on_interrupt`: queued again, or ended; and not one that was permitted and provably never started."""
    world.limits = evolve(LIMITS, max_running=2)
    world.scheduler.set_limits(world.limits, 0)
    world.add("again")
    world.add("once", on_interrupt="fail")
    world.executor.kill()
    world.executor._orphans.clear()  # the processes died with it
    world.advance()
    world.settle()
    assert world.job(1).attempt == 2
    assert world.job(1).interruptions == 0  # that counts those of the machine
    assert world.store.disk.jobs[2].exception is not None
    assert world.store.disk.jobs[2].exception.type == "interrupted"
    assert world.executor.orders.count((2, 1)) == 1
    world.check()


def test_orders_decided_while_it_was_lost_are_sent_to_the_next(world: World) -> None:
    """Their permits became durable between the loss and the new one."""
    world.drop("a")
    world.turn()
    assert world.store.pending == 1
    lose_executor(world)
    world.store.commit()
    world.turn()
    assert world.executor.orders == [(1, 1)]
    world.settle()
    assert world.executor.running() == [(1, 1)]
    world.check()


def test_a_change_that_waits_when_the_executor_is_lost_is_answered(world: World) -> None:
    """The next one knows nothing of the order: gone, so the job was interrupted, or is dequeued; never silence."""
    world.add("a", "b")
    answers = world.ask("cancel", id=2)
    lose_executor(world)
    world.settle()
    assert len(answers) == 1
    assert 2 not in world.head.manipulated
    world.check()


def test_an_old_recall_does_not_touch_a_new_permit(world: World) -> None:
    """Recalled, the executor lost and replaced, permitted anew: the new permit is not asked back.

    Seen to fail: the recall came with the commit, when the job had another permit.
    """
    world.add("a", "b")
    world.drop("first", urgency=30)
    world.turn()
    asked = list(world.executor.asked_back)
    lose_executor(world)
    world.settle()
    assert world.executor.asked_back in (asked, [(2, 1)])
    assert world.executor.asked_back.count((2, 1)) <= 1
    world.check()


def test_no_executor_to_be_had_ends_the_scheduler(world: World) -> None:
    """PortError out of turn(), and not a retry for ever."""
    world.add("a")
    world.executor.unavailable = PortError("start the executor", "/x", 12, "Cannot allocate memory")
    lose_executor(world)
    with pytest.raises(PortError, match="start the executor"):
        world.turn()


# ---- starts that hang, and those that are put off ------------------------------------------------------------------


@pytest.mark.parametrize("end", ["starts", "ends", "dies with the executor", "is canceled"])
def test_a_start_that_hangs_is_known_as_long_as_it_does(world: World, end: str) -> None:
    world.executor.hang(1, "chdir /mnt")
    world.add("a")
    assert world.scheduler.dispatch.slow_starts == {1: Starting(1, 1, "chdir /mnt")}
    match end:
        case "starts":
            world.scheduler.deliver_news([Starting(1, 1, "")])
        case "ends":
            world.executor.end(1)
        case "is canceled":
            world.ask("cancel", id=1)
            world.settle()
        case _:
            lose_executor(world)
    world.settle()
    assert world.scheduler.dispatch.slow_starts == {}


def test_a_restarted_scheduler_learns_of_a_start_that_hangs(world: World) -> None:
    world.executor.hang(1, "chdir /mnt")
    world.add("a")
    world.restart()
    assert world.scheduler.dispatch.slow_starts == {1: Starting(1, 1, "chdir /mnt")}


@pytest.mark.parametrize("on_interrupt", ["requeue", "fail"])
def test_an_attempt_that_is_put_off_is_followed_by_another(world: World, on_interrupt: str) -> None:
    """The scheduler dies before that is durable: the next one hears of it again. Others run meanwhile."""
    world.executor.put_off(1, "no room")
    world.drop("a", on_interrupt=on_interrupt)
    world.turn()
    world.turn()
    world.commit()
    world.advance()  # told and not durable
    world.restart()
    assert (world.job(1).attempt, world.job(1).state) == (2, State.DEPEND)
    world.add("b")
    assert world.executor.orders == [(1, 1), (2, 1)]
    world.executor.run_for(1, 1_000)
    world.executor.end(2)
    world.clock.advance(2_000_000)
    world.settle()
    assert world.executor.orders[-1] == (1, 2)
    assert world.events(1).count("requeue") == 1
    world.check()
